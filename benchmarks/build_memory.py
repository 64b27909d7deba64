"""Memory of a build and of streaming while records become many: it should not grow.

    python benchmarks/build_memory.py [--records 10000 100000] [--shards 16]

Records are lines of run lengths over one small photograph (`rle` source). Each size is built and read in a process of
its own; printed are the peaks of resident memory, and the records a second.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

MEASURE = "--measure"


def main(argv: list[str] | None = None) -> None:
    """Print a line a size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--shards", type=int, default=16)
    given = parser.parse_args(argv)
    print(f"{'records':>9} {'build: peak MB':>15} {'records/s':>10} {'stream: peak MB':>16} {'records/s':>10}")
    for count in given.records:
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), count)
            told = [measured(what, folder, given.shards) for what in ("build", "stream")]
            (built, first), (read, second) = told
            print(f"{count:9d} {built:15.0f} {count / first:10.0f} {read:16.0f} {count / second:10.0f}", flush=True)


def write(root: Path, count: int) -> None:
    """The photograph and the annotations."""
    Image.new("RGB", (16, 16), (200, 30, 30)).save(root / "a.jpg")
    with (root / "all.jsonl").open("w") as lines:
        for number in range(count):
            rle = {"size": [16, 16], "counts": [number % 200, 20, 236 - number % 200]}
            row = {"id": f"r{number}", "image": "a.jpg", "objects": [{"label": f"thing {number}", "rle": rle}]}
            lines.write(json.dumps(row) + "\n")


def measured(what: str, folder: str, shards: int) -> tuple[float, float]:
    """Peak MB and seconds of one step in a fresh process."""
    command = [sys.executable, __file__, MEASURE, what, folder, str(shards)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(told[-2]), float(told[-1])


def measure(what: str, folder: Path, shards: int) -> None:
    """Do one step; print peak MB and seconds."""
    from text4seg.data.settings import BuildSettings
    from text4seg.data.shards.build import build
    from text4seg.data.shards.index import Index
    from text4seg.data.shards.read import records

    start = time.perf_counter()
    if what == "build":
        options = {"annotations": str(folder / "all.jsonl"), "images": str(folder)}
        build(BuildSettings("rle", options, "referring", shards=shards), folder / "set", (4, 4), "rrle", "center")
    else:
        for entry in Index.load(folder / "set").shards:
            for record in records(folder / "set" / entry.name):
                record.sample()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, time.perf_counter() - start)


if __name__ == "__main__":
    if sys.argv[1:2] == [MEASURE]:
        measure(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
