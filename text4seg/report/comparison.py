"""Two evaluations of the same questions side by side: is the difference more than luck of the draw of questions?

Paired bootstrap: pictures are drawn with replacement, all answers about a drawn picture of both evaluations come along,
and the difference of each score is taken again. The interval holds the middle 95 % of those differences; when it does
not contain 0, another draw of pictures would most likely have the same winner. It says nothing about the luck of
training: that takes runs with other seeds.
Axis legend: P pictures, D draws.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from text4seg.metrics.tally import ANSWER

Line = Mapping[str, Any]
Place = tuple[str, int, int | None]
MIDDLE = (2.5, 97.5)
HELD = 1_000_000
"""Most drawn numbers (draws times pictures) that are in memory at a time, each as a whole number and as a float."""


class Difference(NamedTuple):
    """One score of both, the second minus the first, and the 95 % interval of that."""

    name: str
    first: float
    second: float
    change: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0


def read_items(folder: Path) -> dict[Place, Line]:
    """The lines of an evaluation by what was asked.

    Args:
        folder: an evaluation (``RUN/eval/NAME``), or a run, whose evaluation ``val`` is meant.

    Raises:
        ValueError: there is none, or a line is damaged.
    """
    found = next((path for path in (folder, folder / "eval" / "val") if (path / "items.jsonl").is_file()), None)
    if found is None:
        raise ValueError(
            f"{folder} holds no items.jsonl: give RUN/eval/NAME as `python -m text4seg.evaluate` wrote it, or a RUN "
            "with an evaluation called val."
        )
    path = found / "items.jsonl"
    read: dict[Place, Line] = {}
    for number, text in enumerate(path.read_bytes().splitlines(), 1):
        try:
            line = json.loads(text)
            if line.get("task") != "text":  # answers in words have no mask to compare
                read[line["key"], line["turn"], line.get("wording")] = line
        except (ValueError, KeyError, AttributeError) as error:
            raise ValueError(f"{path}, line {number} is no answer ({error!r}): evaluate again.") from error
    if not read:
        raise ValueError(f"{path} holds no answer that is a mask; answers in words are not compared.")
    return read


def compare(
    first: Mapping[Place, Line], second: Mapping[Place, Line], draws: int = 10_000, seed: int = 0
) -> list[Difference]:
    """Differences of cIoU and gIoU, and of the shares of IoU of at least 0.5 and of well-formed answers.

    Args:
        first: lines by place.
        second: the same of the other evaluation; only places that both have count.
        draws: how often pictures are drawn.
        seed: of the draws.

    Raises:
        ValueError: no common question, or a picture or a target that differs between the two.
    """
    places = [place for place in first if place in second]
    if not places:
        raise ValueError(_why_none(first, second))
    for place in places:
        if first[place]["picture"] != second[place]["picture"]:
            raise ValueError(f"{place[0]} is another picture in the second evaluation: score both on the same set.")
        if _target(first[place]) != _target(second[place]):
            raise ValueError(
                f"question {place[1]} about {place[0]} is after something else in the second evaluation, as where "
                "shards are built with another seed: score both on the same shards."
            )
    number: dict[str, int] = {}
    which = np.array([number.setdefault(first[place]["picture"], len(number)) for place in places])
    sums = [_sums([lines[place] for place in places], which) for lines in (first, second)]
    drawn = _drawn(sums[0], sums[1], len(number), draws, seed)
    return [_difference(name, sums[0][name], sums[1][name], drawn[name]) for name in sums[0]]


def _target(line: Line) -> dict[int, int]:
    """Pixels of each label that the question is after; they stay where the same target is asked for in other words."""
    pixels: dict[int, int] = {}
    for true, _, number in line["tally"]["views"][ANSWER]["pixels"] if "tally" in line else ():
        pixels[true] = pixels.get(true, 0) + number
    return pixels


def _why_none(first: Mapping[Place, Line], second: Mapping[Place, Line]) -> str:
    wordings = [sorted({str(place[2]) for place in lines}) for lines in (first, second)]
    if wordings[0] != wordings[1] and {place[:2] for place in first} & {place[:2] for place in second}:
        return (
            f"the two evaluations asked in other wordings ({wordings[0]} and {wordings[1]}; None: as stored): score "
            "both with one `wording`."
        )
    return "the two evaluations have no question in common: score both runs on the same set."


def _sums(lines: Sequence[Line], which: NDArray[np.intp]) -> dict[str, NDArray[np.float64]]:
    """Of each score what stands above and below its line, summed over each picture, ``[2, P]``."""
    ones = [1.0] * len(lines)
    columns = {
        "cIoU": ([line["intersection"] for line in lines], [line["union"] for line in lines]),
        "gIoU": ([line["iou"] for line in lines], ones),
        "IoU at least 0.5": ([line["iou"] >= 0.5 for line in lines], ones),
        "ok": ([line["status"] == "ok" for line in lines], ones),
    }
    return {
        name: np.stack([np.bincount(which, weights=np.array(column, float)) for column in pair]).astype(np.float64)
        for name, pair in columns.items()
    }


def _drawn(
    first: Mapping[str, NDArray[np.float64]],
    second: Mapping[str, NDArray[np.float64]],
    pictures: int,
    draws: int,
    seed: int,
) -> dict[str, NDArray[np.float64]]:
    """The difference of each score in each draw, ``[D]``; the draws do not depend on how many are held at a time."""
    rng = np.random.default_rng(seed)
    even = np.full(pictures, 1 / pictures)
    most = max(1, HELD // pictures)
    drawn = {name: np.empty(draws) for name in first}
    for start in range(0, draws, most):
        piece = slice(start, min(start + most, draws))
        weights_DP = rng.multinomial(pictures, even, size=piece.stop - start).astype(np.float64)
        for name, change in drawn.items():
            change[piece] = _ratio(*(weights_DP @ second[name].T).T) - _ratio(*(weights_DP @ first[name].T).T)
    return drawn


def _difference(
    name: str, first: NDArray[np.float64], second: NDArray[np.float64], drawn: NDArray[np.float64]
) -> Difference:
    before, after = (float(_ratio(*part.sum(1))) for part in (first, second))
    low, high = (float(value) for value in np.percentile(drawn, MIDDLE))
    return Difference(name, before, after, after - before, low, high)


def _ratio(above: Any, below: Any) -> NDArray[np.float64]:
    """Above over below; 1 where nothing is there and nothing was marked."""
    return np.where(np.asarray(below) > 0, above / np.maximum(below, 1e-300), 1.0)
