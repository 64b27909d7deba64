"""Memory of a build and of streaming while records become many: it should not grow.

    python benchmarks/build_memory.py [--records 10000 100000 1000000] [--shards 16]

Records are lines of run lengths over one picture of 16x16 pixels (`rle` source), each with a label of its own; they go
through `build` and then, for one epoch, through the training stream, as batches. Each step has a process of its own.
Printed are the peaks of resident memory on the way, at 1,000, 3,000, 10,000, ... records, how much of it was there
before the first record (the libraries), and records a second. A million records take 5 GB of disk.
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
MARKS = [digit * 10**power for power in range(3, 7) for digit in (1, 3)]


def main(argv: list[str] | None = None) -> None:
    """Print a line a size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument("--folder", type=Path, help="where the records are written, and removed again")
    given = parser.parse_args(argv)
    print(f"{'records':>9} {'of':>9} {'step':>7} {'peak MB':>8} {'before MB':>10} {'records/s':>10}", flush=True)
    for count in given.records:
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            write(Path(folder), count)
            for step in STEPS:
                command = [sys.executable, __file__, MEASURE, step, folder, str(given.shards), str(count)]
                subprocess.run(command, check=True)


def write(root: Path, count: int) -> None:
    """The photograph and the annotations."""
    Image.new("RGB", (16, 16), (200, 30, 30)).save(root / "a.jpg")
    with (root / "all.jsonl").open("w") as lines:
        for number in range(count):
            rle = {"size": [16, 16], "counts": [number % 200, 20, 236 - number % 200]}
            row = {"id": f"r{number}", "image": "a.jpg", "objects": [{"label": f"thing {number}", "rle": rle}]}
            lines.write(json.dumps(row) + "\n")


class Peaks:
    """Prints the peak whenever so many records have passed, the last time at the end.

    Args:
        step: what is measured.
        count: records of the set.
    """

    def __init__(self, step: str, count: int) -> None:
        self.step, self.count, self.before, self.start = step, count, peak(), time.perf_counter()
        self.at = [*(at for at in MARKS if at < count), count]

    def passed(self, records: int) -> None:
        """Note that so many records are done."""
        if self.at and records >= self.at[0]:
            self.at = [at for at in self.at if at > records]
            rate = records / (time.perf_counter() - self.start)
            line = f"{records:9d} {self.count:9d} {self.step:>7} {peak():8.0f} {self.before:10.0f} {rate:10.0f}"
            print(line, flush=True)


def build_step(folder: Path, shards: int, count: int) -> None:
    """Build the set."""
    from text4seg.data.settings import BuildSettings
    from text4seg.data.shards.build import build

    options = {"annotations": str(folder / "all.jsonl"), "images": str(folder)}
    settings = BuildSettings("rle", options, "referring", shards=shards)
    peaks = Peaks("build", count)
    # The last line comes behind the index, which is made of all shards.
    build(settings, folder / "set", (4, 4), "rrle", "center", tell=lambda done: peaks.passed(min(done, count - 1)))
    peaks.passed(count)


def stream_step(folder: Path, shards: int, count: int) -> None:
    """Take an epoch of batches from the training stream."""
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
    peaks, taken = Peaks("stream", count), 0
    for batch in islice(stream, -(-count // BATCH)):
        taken += len(batch["origin"].keys)
        peaks.passed(taken)


STEPS = {"build": build_step, "stream": stream_step}


def peak() -> float:
    """Largest resident memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    if sys.argv[1:2] == [MEASURE]:
        STEPS[sys.argv[2]](Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
    else:
        main()
