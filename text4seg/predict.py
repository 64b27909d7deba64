"""Segment pictures by words with a trained run.

    python -m text4seg.predict IMAGE... --run RUN --query "the dog on the left" [--query ...] [--out DIR] [--grid 16x16]
    python -m text4seg.predict IMAGE... --run RUN --query cat --query dog --together

For each picture and query DIR gets an overlay PNG, a mask PNG and a JSON with the COCO RLE, box, area, the raw text
and its status. A picture that cannot be read, or whose answer cannot be written, is named and skipped; the exit code is
then 1.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from text4seg.decoding.settings import ENGINES, GRAMMARS
from text4seg.descriptors import check_queries
from text4seg.mistakes import guarded, reason
from text4seg.report.run import check_run


def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; returns the exit code: 0, 1 when a picture was skipped, 2 for a mistake in what was asked for."""
    given = _parser().parse_intermixed_args(argv)
    return guarded(lambda: _predict(given))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m text4seg.predict", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    parser.add_argument("--run", type=Path, required=True, help="folder that `python -m text4seg.fit` wrote")
    parser.add_argument("--query", action="append", required=True, help="what to look for; may be given several times")
    parser.add_argument(
        "--together", action="store_true", help="one question names all queries, as semantic training asks"
    )
    parser.add_argument("--out", type=Path, default=Path("predictions"), help="default: %(default)s")
    parser.add_argument("--grid", type=grid_size, help="ROWSxCOLS; default: the run's")
    parser.add_argument("--which", default="best", help="best, last, or base (before tuning); default: %(default)s")
    parser.add_argument("--grammar", choices=GRAMMARS, help="on: only well-formed answers; default: the run's")
    parser.add_argument("--engine", choices=ENGINES, help="hf: plain generation, for comparison; default: the run's")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps, or spread over all GPUs")
    return parser


def grid_size(text: str) -> tuple[int, int]:
    """``16x16`` as (rows, cols)."""
    match = re.fullmatch(r"([1-9]\d{0,2})x([1-9]\d{0,2})", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected ROWSxCOLS such as 16x16, got {text!r}")
    return int(match[1]), int(match[2])


def _predict(given: argparse.Namespace) -> int:
    check_run(given.run, given.which)
    check_queries(given.query)
    if given.out.exists() and not given.out.is_dir():
        raise ValueError(f"--out must be a folder, but {given.out} is a file: give another name.")
    missing = [path for path in given.images if not path.is_file()]
    for path in missing:
        what = "is a folder; name the pictures in it, e.g. DIR/*.jpg" if path.is_dir() else "there is no such file"
        print(f"error: {path}: {what}.", file=sys.stderr)
    if len(missing) == len(given.images):
        return 1
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from text4seg.decoding.engine.prepack import prepacked
    from text4seg.report.evaluation import SPREAD, place
    from text4seg.report.prediction import predict, read_picture, write_prediction
    from text4seg.report.run import load_run
    from text4seg.report.table import printable

    config, backbone = load_run(given.run, given.which, given.device == SPREAD)
    place(backbone, given.device)
    wanted = {name: getattr(given, name) for name in ("grammar", "engine") if getattr(given, name)}
    decoding = replace(config.decoding, repeatable=False, **wanted)
    table = Table("picture", "query", "status", "area", "seconds", "written to")
    skipped = len(missing)
    with prepacked(backbone, decoding):
        for path in given.images:
            if path in missing:
                continue
            try:
                picture = read_picture(path)
                for found in predict(backbone, config, picture, given.query, given.grid, decoding, given.together):
                    written = write_prediction(found, picture, path, given.out)
                    area, seconds = f"{found.mask.mean():.1%}", f"{found.cost['seconds']:.2f}"
                    cells = (path.name, found.query, found.decoded.status, area, seconds, str(written))
                    table.add_row(*(Text(printable(cell)) for cell in cells))  # names and words are no markup
            except (ValueError, OSError) as error:
                print(f"error: {path}: {reason(error).removeprefix(f'{path}: ')}", file=sys.stderr)
                skipped += 1
    if table.rows:
        Console().print(table)
    return 1 if skipped else 0


if __name__ == "__main__":
    sys.exit(main())
