"""Compare two evaluations of the same questions.

    python -m text4seg.compare RUN_A RUN_B [--draws 10000] [--seed 0]

RUN is a folder RUN/eval/NAME that `python -m text4seg.evaluate` wrote, or a run, whose evaluation `val` is meant.
Prints both scores, their difference and its 95 % interval by paired bootstrap over pictures.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from text4seg.mistakes import guarded


def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; returns the exit code (0, or 2 for a mistake in what was asked for)."""
    parser = argparse.ArgumentParser(
        prog="python -m text4seg.compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("first", type=Path, metavar="RUN_A")
    parser.add_argument("second", type=Path, metavar="RUN_B")
    parser.add_argument("--draws", type=int, default=10_000, help="bootstrap draws; default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of the draws; default: %(default)s")
    given = parser.parse_args(argv)
    return guarded(lambda: _compare(given))


def _compare(given: argparse.Namespace) -> int:
    if given.draws < 1:
        raise ValueError(f"--draws must be 1 or more, got {given.draws}.")
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    from text4seg.report.comparison import compare, read_items

    first, second = read_items(given.first), read_items(given.second)
    common = sum(place in second for place in first)
    folders = (Column(Text(str(folder))) for folder in (given.first, given.second))  # names are no markup
    table = Table("score", *folders, "change", "95 % interval", "", title_justify="left")
    table.title = f"{common} questions in common, of {len(first)} and {len(second)}"
    for row in compare(first, second, given.draws, given.seed):
        verdict = ("better" if row.change > 0 else "worse") if row.clear else "not told apart"
        interval = f"{row.low:+.4f} .. {row.high:+.4f}"
        table.add_row(row.name, f"{row.first:.4f}", f"{row.second:.4f}", f"{row.change:+.4f}", interval, verdict)
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
