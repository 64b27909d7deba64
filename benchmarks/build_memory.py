"""Memory of a build and of streaming while records become many: it should not grow.

    python benchmarks/build_memory.py [--records 10000 100000 1000000] [--shards 16]

Records are lines of run lengths over one picture of 16x16 pixels (`rle` source), each with a label of its own; they go
through `build` and then, for one epoch, through the training stream, as batches. Each step has a process of its own.
Printed are the peaks of resident memory, how much of it was there before the first record (the libraries), and records
a second. A million records take 5 GB of disk.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

from PIL import Image

MEASURE, BATCH = "--measure", 8


def main(argv: list[str] | None = None) -> None:
    """Print a line a size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument("--folder", type=Path, help="where the records are written, and removed again")
    given = parser.parse_args(argv)
    print(f"{'records':>9} {'step':>7} {'peak MB':>8} {'before MB':>10} {'records/s':>10}")
    for count in given.records:
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            write(Path(folder), count)
            for step in STEPS:
                command = [sys.executable, __file__, MEASURE, step, folder, str(given.shards)]
                told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
                peak, before, seconds = map(float, told[-3:])
                print(f"{count:9d} {step:>7} {peak:8.0f} {before:10.0f} {count / seconds:10.0f}", flush=True)


def write(root: Path, count: int) -> None:
    """The photograph and the annotations."""
    Image.new("RGB", (16, 16), (200, 30, 30)).save(root / "a.jpg")
    with (root / "all.jsonl").open("w") as lines:
        for number in range(count):
            rle = {"size": [16, 16], "counts": [number % 200, 20, 236 - number % 200]}
            row = {"id": f"r{number}", "image": "a.jpg", "objects": [{"label": f"thing {number}", "rle": rle}]}
            lines.write(json.dumps(row) + "\n")


def build_step(folder: Path, shards: int) -> float:
    """Build the set; MB before the first record."""
    from text4seg.data.settings import BuildSettings
    from text4seg.data.shards.build import build

    options = {"annotations": str(folder / "all.jsonl"), "images": str(folder)}
    before = peak()
    build(BuildSettings("rle", options, "referring", shards=shards), folder / "set", (4, 4), "rrle", "center")
    return before


def stream_step(folder: Path, shards: int) -> float:
    """Take an epoch of batches from the training stream; MB before the first record."""
    from text4seg.data.lanes import lanes_of
    from text4seg.data.position import Position
    from text4seg.data.settings import DataSettings
    from text4seg.data.shards.index import Index
    from text4seg.data.stream import Seat, TrainStream
    from text4seg.models.registry import load_processor
    from text4seg.models.settings import ModelSettings

    index = Index.load(folder / "set")
    settings, processor = DataSettings(batch_size=BATCH, grid=[4, 4]), load_processor(ModelSettings())
    processor.geometry = replace(processor.geometry, side=16)
    lanes = lanes_of({"set": (folder / "set", index, None)})
    stream = TrainStream(lanes, settings, processor, 0, Seat(), Position.start(1), lambda batch: 0.0)
    before = peak()
    assert sum(len(batch["origin"].keys) for batch in islice(stream, index.samples // BATCH)) > index.samples - BATCH
    return before


STEPS = {"build": build_step, "stream": stream_step}


def peak() -> float:
    """Largest resident memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(step: str, folder: Path, shards: int) -> None:
    """Do one step; print peak MB, MB before the first record, seconds."""
    start = time.perf_counter()
    before = STEPS[step](folder, shards)
    print(peak(), before, time.perf_counter() - start)


if __name__ == "__main__":
    if sys.argv[1:2] == [MEASURE]:
        measure(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
