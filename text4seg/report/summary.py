"""What a set of answers amounts to: scores, and where they come from. A pure function of the lines of ``items.jsonl``.

The lines are taken in their order, so the same lines give the same bytes.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torchmetrics.functional import spearman_corrcoef

from text4seg.descriptors import OTHERS
from text4seg.metrics.board import ScoreBoard
from text4seg.metrics.class_iou import ClassRow
from text4seg.metrics.legacy import legacy_scores
from text4seg.metrics.measure import VOID
from text4seg.metrics.tally import COARSE, Tally, from_json

Line = Mapping[str, Any]
Pair = tuple[Line, Tally]
SIZES = ((0.0, "nothing there"), (0.01, "below 1 %"), (0.05, "1 to 5 %"), (0.2, "5 to 20 %"), (1.0, "20 % and more"))
"""Upper ends of the target's share of the picture."""
LENGTHS = (64, 128, 256, 512, 1024)
"""Tokens of an answer: upper ends of the bins."""
MOST_CONFUSED = 24
ELSE = "anything else"


def summarise(lines: Sequence[Line]) -> dict[str, Any]:
    """Scores and their origins.

    Returns:
        ``items``, ``pictures``, ``scores`` (names as in :mod:`text4seg.metrics.board`, and the legacy twins),
        ``wordings`` (scores of each, and their spread, where there are several), ``classes``, ``confusion``,
        ``by_size``, ``by_length``, ``by_task``, ``statuses``, ``repairs``, ``matches`` (words read as labels), and
        ``left_language``: how many answers left the language of descriptors (0 where nobody looked), ``confidence``.
    """
    pairs = [(line, from_json(line["tally"])) for line in lines]
    each = {str(wording): scores_of(group) for wording, group in _by_wording(pairs).items()}
    board = _board(pairs)
    semantic = [made for _, made in pairs if made.semantic]
    return {
        "items": len(pairs),
        "pictures": len({line["picture"] for line in lines}),
        "scores": _means(list(each.values())),
        "wordings": {"each": each, "spread": _spread(list(each.values()))} if len(each) > 1 else {},
        "classes": [_class(name, row) for name, row in board.by_class().items() if row.true] if semantic else [],
        "confusion": _confusion(semantic) if semantic else _found(pairs),
        "by_size": _groups(pairs, _size, [name for _, name in SIZES]),
        "by_length": _groups(pairs, _length, [*map(_up_to, LENGTHS), f"over {LENGTHS[-1]}"]),
        "by_task": _groups(pairs, lambda pair: pair[1].task),
        "statuses": dict(Counter(made.status for _, made in pairs).most_common()),
        "left_language": sum(line.get("left") is not None for line in lines),
        "confidence": _confidence(lines),
        "repairs": dict(Counter(_kind(what) for line in lines for what in line["repairs"]).most_common(12)),
        "matches": _matches(lines),
    }


def scores_of(pairs: Sequence[Pair]) -> dict[str, float]:
    """Every score of some answers, with its ceiling and its legacy twin."""
    return _board(pairs).compute() | legacy_scores([(line["picture"], made) for line, made in pairs])


def _board(pairs: Sequence[Pair]) -> ScoreBoard:
    board = ScoreBoard(refined=any(COARSE in made.views for _, made in pairs), merged=False)
    for _, made in pairs:
        board.add(made)
    return board


def _confidence(lines: Sequence[Line]) -> dict[str, float | None]:
    """Mean confidence, and how well it ranks answers by their IoU (Spearman's coefficient); None where it cannot."""
    known = [(line["confidence"], line["iou"]) for line in lines if line.get("confidence") is not None]
    sure, ious = zip(*known, strict=True) if known else ((), ())
    ranks = len(set(sure)) > 1 and len(set(ious)) > 1
    return {
        "mean": round(statistics.fmean(sure), 6) if known else None,
        "ranks_iou": round(float(spearman_corrcoef(torch.tensor(sure), torch.tensor(ious))), 6) if ranks else None,
    }


def _matches(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """Every word that was read as a label which it is not exactly, the most frequent first."""
    times = Counter(tuple(match) for line in lines for match in line["matches"])
    order = sorted(times, key=lambda match: (-times[match], match[:3]))
    return [
        dict(zip(("word", "label", "how", "near"), match, strict=True)) | {"times": times[match]} for match in order
    ]


def _means(each: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: statistics.fmean(values) for name, values in _columns(each).items()}


def _spread(each: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Standard deviation, lowest and highest value of each score over the wordings."""
    return {
        name: {"deviation": statistics.stdev(values), "lowest": min(values), "highest": max(values)}
        for name, values in _columns(each).items()
        if len(values) > 1
    }


def _columns(each: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """Each score's values, of those that have it."""
    names = dict.fromkeys(name for scores in each for name in scores)
    return {name: [scores[name] for scores in each if name in scores] for name in names}


def _by_wording(pairs: Sequence[Pair]) -> dict[int | None, list[Pair]]:
    """Answers of each wording; those to questions that have but one belong to every wording."""
    numbers = {line["wording"]: None for line, _ in pairs if line["wording"] is not None} or {None: None}
    return {number: [pair for pair in pairs if pair[0]["wording"] in (number, None)] for number in numbers}


def _by(pairs: Iterable[Pair], key: Callable[[Pair], str]) -> dict[str, list[Pair]]:
    groups: dict[str, list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(key(pair), []).append(pair)
    return groups


def _groups(
    pairs: Sequence[Pair], key: Callable[[Pair], str], order: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """Items, mean IoU, its ceiling and cIoU of each group."""
    groups = _by(pairs, key)
    return [_group(name, groups[name]) for name in (order or sorted(groups)) if name in groups]


def _group(name: str, pairs: Sequence[Pair]) -> dict[str, Any]:
    overlaps = [made.views[""].overlap for _, made in pairs]
    union = sum(pixels for _, pixels in overlaps)
    return {
        "group": name,
        "items": len(pairs),
        "gIoU": statistics.fmean(line["iou"] for line, _ in pairs),
        "ceiling_gIoU": statistics.fmean(line["ceiling"] for line, _ in pairs),
        "cIoU": sum(pixels for pixels, _ in overlaps) / union if union else 1.0,
    }


def _size(pair: Pair) -> str:
    measured = pair[1].views[""]
    share = measured.target / max(1, sum(n for *_, n in measured.pixels))
    return next(name for end, name in SIZES if share <= end)


def _length(pair: Pair) -> str:
    tokens = pair[0]["tokens"]
    return next((_up_to(end) for end in LENGTHS if tokens <= end), f"over {LENGTHS[-1]}")


def _up_to(end: int) -> str:
    return f"up to {end} tokens"


def _class(name: str, row: ClassRow) -> dict[str, Any]:
    return {
        "label": name,
        "iou": row.iou,
        "iou_nobg": None if name == OTHERS else row.iou_inside,  # of what is left out there is none
        "accuracy": row.hits / row.true,
        "precision": row.hits / row.guessed if row.guessed else 0.0,
        "pixels": row.true,
    }


def _confusion(answers: Sequence[Tally]) -> dict[str, Any]:
    """Pixels by the label that is there (rows) and the label that was written (columns), the largest classes only; a
    last column for all other words, so that a row holds every pixel of its class."""
    pixels: Counter[tuple[str, str]] = Counter()
    for made in answers:
        for true, guess, n in made.views[""].pixels:
            if true != VOID:
                pixels[made.labels[true], made.labels[guess]] += n
    there: Counter[str] = Counter()
    for (true, _), n in pixels.items():
        there[true] += n
    labels = sorted((name for name, _ in there.most_common(MOST_CONFUSED)), key=lambda name: (name != OTHERS, name))
    rows = [[pixels[true, guess] for guess in labels] for true in labels]
    rows = [[*row, there[true] - sum(row)] for true, row in zip(labels, rows, strict=True)]
    return {"unit": "pixels", "rows": labels, "columns": [*labels, ELSE], "counts": rows}


def _found(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Answers by what is there and what was said."""
    columns = ("marked something", "marked nothing", "cannot be read")
    counts = [[0, 0, 0], [0, 0, 0]]
    for _, made in pairs:
        said = 2 if made.invalid else int(made.views[""].empty)
        counts[0 if made.views[""].target else 1][said] += 1
    return {"unit": "answers", "rows": ["a target", "no target"], "columns": list(columns), "counts": counts}


def _kind(repair: str) -> str:
    """What was mended, without the row and the numbers."""
    what = repair.partition(": ")[2]
    return " ".join("#" if word.strip(",.;()").isdecimal() else word for word in what.split())[:80]
