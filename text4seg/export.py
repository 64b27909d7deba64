"""Save a trained run as one ordinary checkpoint: adapter merged into the weights, processor beside them.

    python -m text4seg.export --run RUN --out DIR [--dtype bfloat16]
    python -m text4seg.export --run RUN --out DIR --grammar "red car" [--grammar LABEL ...] [--grid 16x16]

The second writes no weights but the language of the answers about these labels, for serving engines: grammar.ebnf,
grammar.regex and a request each for vLLM and SGLang.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from text4seg.mistakes import guarded
from text4seg.predict import grid_size
from text4seg.report.run import check_run

OWN_CLASSES = {"compose": "text4seg.models.families.compose", "tiny": "text4seg.models.families.conv_tower"}
"""What has to be imported where transformers alone does not know a family's classes."""
PUBLISHED_LAYOUTS = ("qwen_vl",)
"""Families that are saved as their authors publish them, with the files that came along."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; returns the exit code (0, or 2 for a mistake in what was asked for)."""
    parser = argparse.ArgumentParser(
        prog="python -m text4seg.export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True, help="folder that `python -m text4seg.fit` wrote")
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--which", default="best", help="best or last; default: %(default)s")
    parser.add_argument("--dtype", default="float32", help="float32, bfloat16 or float16; default: %(default)s")
    parser.add_argument("--grammar", action="append", metavar="LABEL", help="write the language of answers about this")
    parser.add_argument("--grid", type=grid_size, help="with --grammar: ROWSxCOLS; default: the run's")
    given = parser.parse_args(argv)
    return guarded(lambda: _grammar(given) if given.grammar else _export(given))


def _grammar(given: argparse.Namespace) -> int:
    from text4seg.config import load_whole
    from text4seg.report.asking import words_of
    from text4seg.report.serving import write_grammar

    data = load_whole(given.run / "config.yaml").data
    size = given.grid or (data.grid[0], data.grid[1])
    words = words_of(data, "referring")
    for path in write_grammar(given.out, size, data.codec, given.grammar, data.format_hint, words):
        print(f"written: {path}")
    return 0


def _export(given: argparse.Namespace) -> int:
    check_run(given.run, given.which)
    if given.grid:
        raise ValueError("--grid is for --grammar LABEL: an export of weights has no grid. Take it away.")
    from text4seg.report.export import check_export, export
    from text4seg.report.run import load_run

    check_export(given.out, given.dtype)
    config, backbone = load_run(given.run, given.which, whole=True)
    export(backbone, given.out, given.dtype)
    kind = type(backbone.model).__name__
    out, family = str(given.out), config.model.family
    print(f"{given.out} now holds the merged {kind}. To use it here:\n")
    words = f"model.family={family} {quote(f'model.path={out}')}"
    print(f"    python -m text4seg.fit --config CONFIG {words}\n")
    if family in PUBLISHED_LAYOUTS:
        print("and anywhere else like the checkpoint that it came from, in whose layout it is.")
        return 0
    print("and anywhere else:\n")
    if family in OWN_CLASSES:
        print(f"    import {OWN_CLASSES[family]}  # makes its class known to transformers")
    print("    from transformers import AutoModelForImageTextToText, AutoTokenizer")
    print(f"    model = AutoModelForImageTextToText.from_pretrained({out!r})")
    print(f"    tokenizer = AutoTokenizer.from_pretrained({out!r})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
