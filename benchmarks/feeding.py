"""How fast shards become batches, beside a bare loop over the same JPEGs and beside a textbook Dataset.

    python benchmarks/feeding.py [--pictures 200] [--side 448] [--workers 1 2] [--reduced] [--batches 20] [--rounds 5]

Three contestants in the same number of processes, over the same photographs (drawn here, 640x480):
* `bare`: decodes, resizes and normalises JPEGs that lie in memory; no text, no mask.
* `shards`: `TrainStream`, whole: tars, masks, questions, descriptors, tokens, batches.
* `textbook`: annotations as JSON in memory, a JPEG and a mask opened an item, the descriptor spelled cell by cell.
They take turns, for some rounds. Printed are samples a second after the first batches, and the ratios of the rates in
one round, which a busy machine moves less: the median of the rounds, and in brackets the lowest and the highest.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, Dataset, RandomSampler, default_collate

from text4seg.data.image import open_image
from text4seg.data.lanes import lanes_of
from text4seg.data.position import Position
from text4seg.data.settings import BuildSettings, DataSettings
from text4seg.data.shards.build import build
from text4seg.data.shards.index import Index
from text4seg.data.stream import Seat, TrainStream
from text4seg.models.processor import Processor
from text4seg.models.registry import load_processor
from text4seg.models.settings import ModelSettings

SIZE, GRID, BATCH = (480, 640), (16, 16), 8


def main(argv: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--side", type=int, default=448, help="the model's square, pixels")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--reduced", action="store_true", help="decode JPEGs small where that is enough, in all three")
    parser.add_argument("--batches", type=int, default=20, help="measured in a round, by each")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args(argv)
    torch.set_num_threads(1)
    processor = load_processor(ModelSettings())
    processor.geometry = replace(processor.geometry, side=given.side)
    least = given.side if given.reduced else None
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        rows = draw(root, given.pictures)
        options = {"annotations": str(root / "all.jsonl"), "images": str(root)}
        recipe = BuildSettings("rle", options, "referring", shards=8)
        index = build(recipe, root / "set", GRID, "rrle", "labelled")
        settings = DataSettings(batch_size=BATCH, reduced_jpeg=given.reduced, shuffle_buffer=100)
        print(f"{index.samples} samples, side {given.side}, batches of {BATCH}, reduced decoding: {given.reduced}")
        print(
            f"{'processes':>9} {'bare/s':>18} {'shards/s':>18} {'book/s':>18} {'shards/bare':>18} {'shards/book':>18}"
        )
        for workers in given.workers:
            contestants = [
                loader(Bare(root, rows, processor, least), default_collate, workers),
                loader(streamed(root / "set", index, settings, processor, workers), None, workers),
                loader(Textbook(root, rows, processor, least), processor.collate, workers),
            ]
            rounds = [[rate(batches, given.batches) for batches in contestants] for _ in range(given.rounds)]
            bare, shards, book = map(np.array, zip(*rounds, strict=True))
            told = [f"{spread(bare, 1)} {spread(shards, 1)} {spread(book, 1)}"]
            told += [f"{spread(shards / bare, 2)} {spread(shards / book, 2)}"]
            print(f"{workers:9d}", *told, flush=True)


def spread(values: NDArray[Any], digits: int) -> str:
    """Median (lowest-highest)."""
    low, middle, high = (f"{value:.{digits}f}" for value in np.quantile(values, [0, 0.5, 1]))
    return f"{middle} ({low}-{high})".rjust(18)


def streamed(folder: Path, index: Index, settings: DataSettings, processor: Processor, workers: int) -> TrainStream:
    """The training stream over a folder of shards."""
    lanes = lanes_of({"set": (folder, index, None)})
    return TrainStream(lanes, settings, processor, 0, Seat(), Position.start(workers), lambda batch: 0.0)


def draw(root: Path, count: int) -> list[dict[str, Any]]:
    """Photographs with the detail of a real one, an ellipse each as the target; masks as PNG and as run lengths."""
    from pycocotools import mask as coco

    rows = []
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    for number in range(count):
        rng = np.random.default_rng(number)
        coarse = Image.fromarray(rng.integers(0, 255, (60, 80, 3), np.uint8)).resize(
            SIZE[::-1], Image.Resampling.BICUBIC
        )
        coarse.save(root / f"{number}.jpg", quality=90)
        cy, cx, ry, rx = rng.uniform(150, 330), rng.uniform(200, 440), rng.uniform(40, 120), rng.uniform(40, 160)
        mask = ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1
        Image.fromarray(mask.astype(np.uint8)).save(root / f"{number}.png")
        rle: Any = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        objects = [
            {"label": f"the thing number {number}", "rle": {"size": list(SIZE), "counts": rle["counts"].decode()}}
        ]
        rows.append({"id": str(number), "image": f"{number}.jpg", "objects": objects})
    (root / "all.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return rows


class Bare(Dataset[Any]):
    """Pixels of the photographs, whose bytes are in memory already."""

    def __init__(self, root: Path, rows: list[dict[str, Any]], processor: Processor, least: int | None) -> None:
        self.data = [(root / row["image"]).read_bytes() for row in rows]
        self.geometry, self.least = processor.geometry, least

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Any:
        return self.geometry.pixels(open_image(self.data[index], "", least=self.least))


class Textbook(Dataset[Any]):
    """One item a row of the annotations, as tutorials write it."""

    def __init__(self, root: Path, rows: list[dict[str, Any]], processor: Processor, least: int | None) -> None:
        self.root, self.rows, self.processor, self.least = root, rows, processor, least

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        row = self.rows[index]
        image = open_image((self.root / row["image"]).read_bytes(), "", least=self.least)
        mask = Image.open(self.root / row["image"].replace(".jpg", ".png"))
        small = mask.resize(GRID[::-1], Image.Resampling.NEAREST)
        label = row["objects"][0]["label"]
        lines = []
        for r in range(GRID[0]):
            runs: list[list[Any]] = []
            for c in range(GRID[1]):
                word = label if small.getpixel((c, r)) else "others"
                if runs and runs[-1][0] == word:
                    runs[-1][1] += 1
                else:
                    runs.append([word, 1])
            lines.append("| ".join(f"{word} *{count}" for word, count in runs))
        answer = "Here it is:\n<seg>" + "\n ".join(lines) + "\n</seg>"
        return self.processor.encode(image, [(f"Segment {label}.", answer)])


def loader(dataset: Dataset[Any], collate: Any, workers: int) -> DataLoader[Any]:
    """Items in batches, in drawn order; a stream makes its batches itself."""
    if isinstance(dataset, TrainStream):
        return DataLoader(dataset, batch_size=None, num_workers=workers)
    endless = RandomSampler(dataset, replacement=True, num_samples=1_000_000)  # type: ignore[arg-type]
    return DataLoader(dataset, BATCH, sampler=endless, num_workers=workers, collate_fn=collate)


def rate(batches: DataLoader[Any], count: int) -> float:
    """Samples a second over `count` batches, once the processes run."""
    stream = iter(batches)
    for _ in range(4):
        next(stream)
    start = time.perf_counter()
    for _ in range(count):
        next(stream)
    return count * BATCH / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
