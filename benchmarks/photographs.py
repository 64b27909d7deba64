"""A composed run on photographs beside honest yardsticks: majority, a linear probe on the same features, the ceiling.

    python benchmarks/photographs.py RUN [--which last] [--out FOLDER] [--pictures 12]

RUN was trained by `fit` from a frozen tower on one question about named classes (conf/smol.yaml). Its own training and
validation shards are used, pictures uncropped; everything is scored at the photographs' size, void pixels left out:

* majority   the most frequent class of the training pixels, everywhere
* model      what RUN answers, greedy (`text4seg.evaluate`, RUN/eval/photographs; goes on where it was killed)
* probe      one linear layer from the tower's patch features to the patch's label (multinomial logistic regression on
             all training photographs, LBFGS, L2 1e-4), painted as a grid of the tower's patches
* ceiling    the perfect grid of RUN's own size, painted

Prints mIoU over the classes that the truth shows (`others` too), mean IoU of foreground against background, IoU by
class, and how long RUN trained; writes the table (photographs.md) and a sheet of pictures (photographs.png) to FOLDER,
RUN itself by default.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from text4seg.config import Config
from text4seg.data.datamodule import folder_of
from text4seg.data.items import Item
from text4seg.data.settings import SplitSettings
from text4seg.descriptors import LabelGrid, paint, rasterize
from text4seg.models.backbone import Backbone
from text4seg.report.evaluation import evaluate_run
from text4seg.report.overlay import open_picture
from text4seg.report.questions import Questions
from text4seg.report.record import stored_mask
from text4seg.report.run import load_run
from text4seg.report.settings import EvaluateSettings
from text4seg.report.sheet import Entry, draw_sheet

VOID = 255
Mask = NDArray[np.uint8]


@dataclass(frozen=True)
class Split:
    """A split's items and the tower's features of their pictures, ``[N, patches, width]``."""

    items: list[Item]
    features: torch.Tensor

    @property
    def side(self) -> int:
        """Patches along a side."""
        return round(self.features.shape[1] ** 0.5)


def main(argv: Sequence[str] | None = None) -> None:
    """Score, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--which", default="last", choices=("last", "best"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--pictures", type=int, default=12)
    given = parser.parse_args(argv)
    out = given.out or given.run
    out.mkdir(parents=True, exist_ok=True)
    config, backbone = load_run(given.run, given.which)
    train, val = (split(config, backbone, name) for name in ("train", "val"))
    labels = val.items[0].labels
    evaluate_run(EvaluateSettings(run=str(given.run), name="photographs", which=given.which))
    answers = answers_of(given.run / "eval" / "photographs")
    read = probe(train, len(labels))
    most = int(np.argmax(np.sum([np.bincount(i.mask.ravel(), minlength=256)[:VOID] for i in train.items], axis=0)))
    ways: dict[str, Callable[[int], Mask]] = {
        "majority": lambda n: np.full(val.items[n].mask.shape, most, np.uint8),
        "model": lambda n: stored_mask(answers[val.items[n].key], val.items[n].mask.shape),
        "probe": lambda n: painted(read(val.features[n]).reshape(val.side, val.side), val.items[n]),
        "ceiling": lambda n: painted(grid_of(val.items[n], val.items[n].size).ids, val.items[n]),
    }
    text = table(val.items, labels, ways) + "\n" + training_of(given.run, config, train, val) + "\n"
    print(text)
    (out / "photographs.md").write_text(text, encoding="utf-8")
    numbers = np.linspace(0, len(val.items) - 1, min(given.pictures, len(val.items))).round().astype(int)
    shown = ("model", "probe")
    entries = [
        Entry(
            open_picture(val.items[n].image),
            {"truth": val.items[n].mask, **{name: ways[name](n) for name in shown}},
            val.items[n].question,
            f"{val.items[n].key}: {answers[val.items[n].key]['status']}",
            tuple(labels),
        )
        for n in numbers
    ]
    draw_sheet(entries).save(out / "photographs.png")


def split(config: Config, backbone: Backbone, name: str) -> Split:
    """Items of `train` or `val`, one a photograph, and the frozen tower's features.

    Raises:
        SystemExit: more than one question a photograph, or differing classes: there is no one probe then.
    """
    source = getattr(config.data, name)
    data = replace(config.data, val=SplitSettings(shards=str(folder_of(source, name))))
    items = [question.item for question in Questions(Path(folder_of(source, name)), data)]
    if len({item.labels for item in items}) != 1 or len({item.key for item in items}) != len(items):
        raise SystemExit(f"{name}: this comparison needs one question a photograph, and one list of classes for all.")
    model = backbone.core.model
    with torch.inference_mode():
        made = [
            model.patch_features(backbone.processor.geometry.pixels(open_picture(item.image))[None]).float()
            for item in items
        ]
    return Split(items, torch.cat(made))


def grid_of(item: Item, size: tuple[int, int]) -> LabelGrid:
    """The perfect grid of an item."""
    return rasterize(item.mask, item.labels, size, item.rule, VOID)


def painted(ids: NDArray[np.generic], item: Item) -> Mask:
    """A grid of ids at the photograph's size, nearest."""
    return paint(LabelGrid(np.asarray(ids), item.labels), item.mask.shape).astype(np.uint8)  # type: ignore[arg-type]


def probe(train: Split, classes: int) -> Callable[[torch.Tensor], NDArray[np.int64]]:
    """Fit a linear layer on patches; gives a function from features ``[P, C]`` to labels ``[P]``."""
    ids = np.stack([grid_of(item, (train.side, train.side)).ids.reshape(-1) for item in train.items])
    target = torch.from_numpy(ids.astype(np.int64)).flatten()
    mean, spread = train.features.mean((0, 1)), train.features.std((0, 1)) + 1e-6
    inputs = ((train.features - mean) / spread).flatten(0, 1)
    layer = torch.nn.Linear(inputs.shape[1], classes)
    torch.nn.init.zeros_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    search = torch.optim.LBFGS(layer.parameters(), max_iter=200, history_size=20, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        search.zero_grad()
        value = functional.cross_entropy(layer(inputs), target) + 1e-4 * layer.weight.square().sum()
        value.backward()
        return value

    search.step(loss)  # type: ignore[arg-type]
    return lambda features: layer((features - mean) / spread).argmax(-1).numpy()


def answers_of(folder: Path) -> dict[str, dict]:
    """What was answered, by the photograph's key."""
    with (folder / "items.jsonl").open(encoding="utf-8") as stream:
        return {line["key"]: line for line in map(json.loads, stream)}


def table(items: Sequence[Item], labels: Sequence[str], ways: dict[str, Callable[[int], Mask]]) -> str:
    """A line a way, as Markdown."""
    lines = [
        f"| {len(items)} photographs | mIoU | fg/bg | fg | bg | {' | '.join(labels)} |",
        "|---" * (len(labels) + 5) + "|",
    ]
    for name, way in ways.items():
        by_class, coarse = scores(items, len(labels), way)
        figures = [np.nanmean(by_class), np.nanmean(coarse), coarse[1], coarse[0], *by_class]
        cells = ("-" if np.isnan(value) else f"{value:.3f}" for value in figures)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def scores(items: Sequence[Item], classes: int, way: Callable[[int], Mask]) -> tuple[NDArray, NDArray]:
    """IoU by class and of (background, foreground), pixels of all photographs counted together; nan: none is true."""
    counts = np.zeros((classes, classes), np.int64)
    for number, item in enumerate(items):
        seen = item.mask != VOID
        pairs = item.mask[seen].astype(np.int64) * classes + way(number)[seen]
        counts += np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
    both = np.array([[counts[0, 0], counts[0, 1:].sum()], [counts[1:, 0].sum(), counts[1:, 1:].sum()]])
    return tuple(iou(np.asarray(c)) for c in (counts, both))  # type: ignore[return-value]


def iou(counts: NDArray) -> NDArray:
    """Of each class, from a confusion matrix ``[true, said]``; nan for a class that no pixel is of."""
    true, right = counts.sum(1), np.diag(counts)
    return np.where(true > 0, right / (true + counts.sum(0) - right).clip(1), np.nan)


def training_of(run: Path, config: Config, train: Split, val: Split) -> str:
    """How RUN was trained, in a line."""
    lines = list(step_lines(run))
    seconds, samples = (sum(float(line[name]) for line in lines) for name in ("seconds", "samples"))
    rows, cols = val.items[0].size
    return (
        f"\n{run.name}: {len(train.items)} training photographs, {samples:,.0f} samples in {len(lines):,} steps, "
        f"{seconds / 60:.0f} min with {config.trainer.threads or 'all'} threads, seed {config.seed}; "
        f"{config.data.codec} {rows}x{cols}, probe on {val.side}x{val.side} patches."
    )


def step_lines(run: Path) -> Iterator[dict[str, str]]:
    """The lines of the run's log."""
    with (run / "logs" / "steps.csv").open(encoding="utf-8") as stream:
        yield from csv.DictReader(stream)


if __name__ == "__main__":
    main()
