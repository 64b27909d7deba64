"""The decoding engine, measured: one door, a sub-command a question.

    python benchmarks/decoding.py passes DATA --tokenizer Qwen3=PATH [...]     forward passes that drafts save
    python benchmarks/decoding.py identity                                     texts equal to plain generation's
    python benchmarks/decoding.py wall RUN [--large]                           seconds a mask
    python benchmarks/decoding.py validity [--tokenizer PATH ...]              well-formed answers, the grammar's cost

Each sub-command says in its `--help` what is compared, on what and how often. They live in `benchmarks/decoding_*.py`.
"""

from __future__ import annotations

import argparse
import importlib

COMMANDS = {
    "passes": "how many forward passes an answer takes with each kind of draft",
    "identity": "whether texts are those of plain generation, on every family",
    "wall": "seconds a mask",
    "validity": "whether all is well formed under the grammar, and what that costs",
}


def main(argv: list[str] | None = None) -> None:
    """Hand over to the sub-command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    modules = {}
    for name, summary in COMMANDS.items():
        modules[name] = importlib.import_module(f"decoding_{name}")
        raw = argparse.RawDescriptionHelpFormatter
        command = commands.add_parser(name, help=summary, description=modules[name].__doc__, formatter_class=raw)
        modules[name].add_arguments(command)
    options = parser.parse_args(argv)
    modules[options.command].run(options)


if __name__ == "__main__":
    main()
