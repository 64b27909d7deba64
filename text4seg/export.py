"""Save a trained run as one ordinary checkpoint: adapter merged into the weights, processor beside them.

python -m text4seg.export --run RUN --out DIR [--dtype bfloat16]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from text4seg.mistakes import guarded
from text4seg.report.run import check_run


def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; returns the exit code (0, or 2 for a mistake in what was asked for)."""
    parser = argparse.ArgumentParser(
        prog="python -m text4seg.export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True, help="folder that `python -m text4seg.fit` wrote")
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--which", default="best", help="best or last; default: %(default)s")
    parser.add_argument("--dtype", default="float32", help="float32, bfloat16 or float16; default: %(default)s")
    given = parser.parse_args(argv)
    return guarded(lambda: _export(given))


def _export(given: argparse.Namespace) -> int:
    check_run(given.run, given.which)
    from text4seg.report.export import export
    from text4seg.report.run import load_run

    config, backbone = load_run(given.run, given.which)
    export(backbone, given.out, given.dtype)
    kind = type(backbone.model).__name__
    print(f"{given.out} now holds the merged {kind}. To use it here:\n")
    print(f"    python -m text4seg.fit --config CONFIG model.family={config.model.family} model.path={given.out}\n")
    print("and anywhere else:\n")
    if config.model.family == "compose":
        print("    import text4seg.models.families.compose  # makes the class known to transformers")
        print("    from transformers import AutoModelForImageTextToText, AutoTokenizer")
        print(f"    model = AutoModelForImageTextToText.from_pretrained({str(given.out)!r})")
    else:
        print(f"    from transformers import AutoTokenizer, {kind}")
        print(f"    model = {kind}.from_pretrained({str(given.out)!r})")
    print(f"    tokenizer = AutoTokenizer.from_pretrained({str(given.out)!r})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
