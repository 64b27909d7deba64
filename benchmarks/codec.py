"""How fast descriptors are written and read, beside the published functions when a clone of them is at hand.

    python benchmarks/codec.py [--official PATH] [--grids 100] [--rounds 30]

PATH is your own clone of https://github.com/mc-lan/Text4Seg (with or without a work tree). Three functions are lifted
out of it by name at run time (`encode_mask`, `decode_mask`, `translate_sequence`), so that none of the packages which
their files import is needed; nothing of it is kept here. The texts are checked to be the same bytes first.

Every contestant of a block is timed in turn within each round, over all grids; a figure is microseconds a grid, the
ratio is published / ours of the medians. Grids have labels of their own each, as referring data has, and what `encode`
remembers of labels is forgotten before each round, so no cache of words is warm.
"""

from __future__ import annotations

import argparse
import ast
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from text4seg.descriptors import LabelGrid, codecs, encode, encode_many, parse

ENCODER = "playground/data/create_json/utils.py"
DECODER = "ms-swift/text4seg/utils.py"
SIZES = (16, 32, 64)


def main(argv: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--official", type=Path, help="a clone of mc-lan/Text4Seg")
    parser.add_argument("--grids", type=int, default=100, help="grids of each size (default 100)")
    parser.add_argument("--rounds", type=int, default=30, help="rounds of each block (default 30)")
    options = parser.parse_args(argv)
    published = {}
    if options.official:
        published = lift(options.official, ENCODER, "encode_mask")
        published |= lift(options.official, DECODER, "decode_mask", "translate_sequence")
    print(f"Python {platform.python_version()}, numpy {np.__version__}, {os.cpu_count()} CPUs", end="")
    print(
        f", load {os.getloadavg()[0]:.1f}; {options.grids} grids a size, {options.rounds} rounds; microseconds a grid"
    )
    if not published:
        print("published functions: not compared (give --official PATH)")
    print(f"\n{'':58}{'min':>9}{'median':>9}{'max':>9}   published / ours")
    for name, kind in (("referring", referring), ("semantic", semantic)):
        for size in SIZES:
            block(name, size, list(kind(size, options.grids)), published, options.rounds)


def lift(clone: Path, path: str, *names: str) -> dict[str, Callable[..., Any]]:
    """Compile the named functions of one file of a clone, without running the rest of the file."""
    if (clone / path).is_file():
        source = (clone / path).read_text()
    else:
        shown = subprocess.run(["git", "-C", str(clone), "show", f"HEAD:{path}"], capture_output=True, text=True)
        if shown.returncode:
            raise SystemExit(
                f"no {path} in {clone}: give the root of a clone of mc-lan/Text4Seg. {shown.stderr.strip()}"
            )
        source = shown.stdout
    wanted = [n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef) and n.name in names]
    space: dict[str, Any] = {}
    exec(compile(ast.Module(wanted, []), path, "exec"), space)
    return {name: space[name] for name in names}


def referring(size: int, grids: int) -> Iterator[LabelGrid]:
    """One to three ellipses of one label on the background."""
    rng = np.random.default_rng(size)
    y, x = np.mgrid[:size, :size] / size
    for i in range(grids):
        mask = np.zeros((size, size), dtype=bool)
        for _ in range(rng.integers(1, 4)):
            (cy, cx), (ry, rx) = rng.random(2), rng.uniform(0.1, 0.35, 2)
            mask |= ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1
        yield LabelGrid(mask.astype(np.int32), ("others", f"the red car number {i}"))


def semantic(size: int, grids: int) -> Iterator[LabelGrid]:
    """Twelve regions of eight labels that fill the picture."""
    rng = np.random.default_rng(size + 1)
    y, x = np.mgrid[:size, :size]
    for i in range(grids):
        centres, ids = rng.uniform(0, size, (12, 2)), rng.integers(0, 8, 12)
        nearest = np.argmin([(y - cy) ** 2 + (x - cx) ** 2 for cy, cx in centres], axis=0)
        yield LabelGrid(ids[nearest], ("others", *(f"class {i} {j}" for j in range(7))))


def block(kind: str, size: int, grids: list[LabelGrid], published: dict[str, Callable[..., Any]], rounds: int) -> None:
    """Time everything on one set of grids and print its lines."""
    words, texts = [grid.words() for grid in grids], encode_many(grids)
    wrong = [miscount(text, seed) for seed, text in enumerate(texts)]
    contest: dict[str, dict[str, Callable[[], object]]] = {
        "encode": {
            "ours": lambda: cold(lambda: [encode(grid) for grid in grids]),
            "ours, encode_many": lambda: cold(lambda: encode_many(grids)),
        },
        "parse, well formed": {"ours": lambda: [parse(text, (size, size)) for text in texts]},
        "parse, one wrong count": {"ours (mended row by row)": lambda: [parse(text, (size, size)) for text in wrong]},
    }
    if published:
        encode_mask, decode_mask, translate = (
            published[k] for k in ("encode_mask", "decode_mask", "translate_sequence")
        )
        assert texts == [encode_mask(table) for table in words], "not the same bytes"
        assert all(decode_mask(t) == "|".join([x for row in w for x in row]) for t, w in zip(texts, words, strict=True))
        arrays = [np.array(table) for table in words]

        def to_ids(bodies: list[str]) -> list[object]:
            return [flat(translate(decode_mask(body)), size) for body in bodies]

        contest["encode"] |= {
            "published, list of lists": lambda: [encode_mask(table) for table in words],
            "published, array of str (its builders' call)": lambda: [encode_mask(table) for table in arrays],
        }
        contest["parse, well formed"] |= {
            "published, decode_mask alone (to one string)": lambda: [decode_mask(text) for text in texts],
            "published, to an id grid": lambda: to_ids(texts),
        }
        contest["parse, one wrong count"] |= {"published, to an id grid (flat repair)": lambda: to_ids(wrong)}
    runs = statistics.mean(text.count("*") for text in texts)
    print(f"{kind} {size}x{size}, {runs:.0f} runs" + (", same bytes as published" if published else ""))
    for name, sides in contest.items():
        report(name, sides, len(grids), rounds)


def cold(call: Callable[[], object]) -> object:
    """Call with no label known from an earlier round."""
    codecs._heads.cache_clear()
    return call()


def flat(ids: list[int], size: int) -> object:
    """The published length repair: one list, filled up with its last id or cut."""
    cells = size * size
    return np.array((ids + ids[-1:] * (cells - len(ids)))[:cells]).reshape(size, size)


def miscount(text: str, seed: int) -> str:
    """Change one count by one."""
    parts = text.split("*")
    which = 1 + seed % (len(parts) - 1)
    digits = parts[which].split("|")[0].split("\n")[0]
    parts[which] = str(int(digits) + 1) + parts[which][len(digits) :]
    return "*".join(parts)


def report(name: str, sides: dict[str, Callable[[], object]], grids: int, rounds: int) -> None:
    """Time the sides in turn and print a line for each."""
    times: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side, call in sides.items():
            start = time.perf_counter()
            call()
            times[side].append((time.perf_counter() - start) / grids * 1e6)
    ours = {side: statistics.median(values) for side, values in times.items() if side.startswith("ours")}
    for side, values in times.items():
        median = statistics.median(values)
        ratio = " / ".join(f"{median / value:.1f}x" for value in ours.values()) if side not in ours else ""
        print(f"  {name + ': ' + side:56}{min(values):9.1f}{median:9.1f}{max(values):9.1f}   {ratio}")


if __name__ == "__main__":
    main()
