"""Build shards of samples, check them, and look into them.

    python -m text4seg.shards build --out DIR --source scenes [key=value ...]
    python -m text4seg.shards build [--out DIR] --config conf/X.yaml [--split train|val] [key=value ...]
    python -m text4seg.shards build --check --source semantic options.layout=ade20k options.root=DIR
    python -m text4seg.shards verify DIR...
    python -m text4seg.shards inspect DIR [--json]
    python -m text4seg.shards stats DIR [--grids 16 32] [--config conf/X.yaml | --tokenizer PATH] [--plot FILE.png]
    python -m text4seg.shards show DIR --out FILE.png [--limit 12]

Keys of build: `text4seg/data/settings.py` (shards, seed, limit, task, ...), options.KEY of
`text4seg/data/sources/settings.py`, task_options.KEY of `text4seg/data/tasks/settings.py`, grid=[16,16], codec, rule.
Building again does nothing where the folder is whole and of the same recipe; otherwise all of it is built anew.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from text4seg.data.shards.remote import SCHEME
from text4seg.mistakes import guarded
from text4seg.recipe import read_recipe

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; returns the exit code: 0, 1 for damaged shards, 2 for a mistake in what was asked for."""
    parser = _parser()
    given, rest = parser.parse_known_args(argv)
    if rest and not (given.command == "build" and all("=" in word and word[0] != "-" for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:  # words between options
        given.words += rest
    work = {"build": _build, "verify": _verify, "inspect": _inspect, "show": _show, "stats": _stats}[given.command]
    return guarded(lambda: work(given))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m text4seg.shards", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    build = commands.add_parser("build", help="write shards; keeps a whole folder of the same recipe")
    build.add_argument("--out", type=_local, metavar="DIR", help="default: the folder that the configuration names")
    origin = build.add_mutually_exclusive_group(required=True)
    origin.add_argument("--config", type=Path, metavar="FILE", help="a configuration of fit with a recipe")
    origin.add_argument("--source", metavar="NAME", help="scenes, folder, refer, semantic, coco, panoptic, ...")
    build.add_argument("--split", choices=("train", "val"), default="train", help="which recipe of the configuration")
    build.add_argument("--check", action="store_true", help="say which of the source's files are there; write nothing")
    build.add_argument("--force", action="store_true", help="build even where nothing is to be done")
    build.add_argument("--processes", type=int, default=1, metavar="N", help="shards built at once (1)")
    build.add_argument("--engine", choices=("processes", "ray"), default="processes", help="what builds them")
    build.add_argument("words", nargs="*", metavar="key=value", help="e.g. options.root=data/pets task=semantic")
    verify = commands.add_parser("verify", help="read everything and list the damage")
    verify.add_argument("folders", nargs="+", type=_local, metavar="DIR")
    inspect = commands.add_parser("inspect", help="say what a folder holds")
    inspect.add_argument("folder", type=_local, metavar="DIR")
    inspect.add_argument("--json", action="store_true", help="print JSON instead of a table")
    stats = commands.add_parser("stats", help="objects lost, ceilings and lengths by grid and rule")
    stats.add_argument("folder", type=_local, metavar="DIR")
    stats.add_argument("--grids", nargs="+", type=int, default=[16, 24, 32], metavar="N", help="cells a side")
    stats.add_argument("--rules", nargs="+", default=["center", "labelled", "majority", "coverage"], metavar="RULE")
    counter = stats.add_mutually_exclusive_group()
    counter.add_argument("--tokenizer", metavar="PATH", help="count its tokens of answers (default: characters)")
    counter.add_argument("--config", type=Path, metavar="FILE", help="count whole conversations as fit makes them")
    stats.add_argument(
        "--set", nargs="+", default=[], metavar="key=value", help="over the configuration: model.path=DIR"
    )
    stats.add_argument("--max-length", type=int, metavar="N", help="count what is longer (the configuration's; 2048)")
    stats.add_argument("--limit", type=int, metavar="N", help="look at so many samples only")
    stats.add_argument("--plot", type=Path, metavar="FILE.png")
    stats.add_argument("--json", action="store_true", help="print JSON instead of a table")
    show = commands.add_parser("show", help="draw the first samples")
    show.add_argument("folder", type=_local, metavar="DIR")
    show.add_argument("--out", type=Path, required=True, metavar="FILE.png")
    show.add_argument("--limit", type=int, default=12, metavar="N", help="samples to draw (12)")
    return parser


def _local(text: str) -> Path:
    """A folder of this machine."""
    if SCHEME.match(text):
        raise argparse.ArgumentTypeError(
            f"{text} is an address; shards are built and looked into on this machine only. Copy the folder with the "
            "store's own tool; `fit` and `evaluate` read it from there"
        )
    return Path(text)


def _build(given: argparse.Namespace) -> int:
    recipe = read_recipe(given.config, given.split, given.source, given.words)
    if given.check:
        from text4seg.report.needs import check_text

        whole, told = check_text(recipe.build)
        print(told)
        return 0 if whole else 1
    out = given.out or recipe.out
    if out is None:
        raise ValueError("--out is missing, and no configuration names a folder of this machine.")
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from text4seg.data.shards.build import build, ensure

    make = build if given.force else partial(ensure, thorough=True)
    columns = SpinnerColumn(), TextColumn("{task.completed} samples, {task.fields[rate]:.0f}/s"), TimeElapsedColumn()
    show = sys.stderr.isatty()
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not show) as progress:
        task = progress.add_task("", rate=0.0)
        tell = partial(_told, progress, task)
        how = {"processes": given.processes, "engine": given.engine}
        index = make(recipe.build, out, *recipe.spelling, tell, **how)
    held = f"{index.samples} samples with {index.turns} questions in {len(index.shards)} shards"
    print(f"wrote {held}: {out}" if progress.tasks[0].completed else f"nothing to do: {out} holds these {held} already")
    for kind, found in index.notes.items():
        print(f"{kind}: {found['count']}, e.g. {found['named'][0]}")
    return 0


def _told(progress: Progress, task: TaskID, done: int) -> None:
    progress.update(task, completed=done, rate=done / max(progress.tasks[0].elapsed or 0.0, 1e-9))


def _verify(given: argparse.Namespace) -> int:
    from text4seg.data.shards.verify import verify
    from text4seg.report.shards import damage_text

    damaged = False
    for folder in given.folders:
        found = verify(folder)
        damaged |= bool(found)
        print(damage_text(folder, found))
    print("to repair, run the same build again (--force if it finds nothing to do)" if damaged else "no damage")
    return int(damaged)


def _inspect(given: argparse.Namespace) -> int:
    from text4seg.data.shards.verify import summarise

    summary = summarise(given.folder)
    if given.json:
        print(json.dumps(summary, indent=1, ensure_ascii=False))
        return 0
    from rich.console import Console

    from text4seg.report.shards import summary_table

    Console(highlight=False).print(summary_table(summary))
    return 0


def _stats(given: argparse.Namespace) -> int:
    from text4seg.data.shards.stats import statistics
    from text4seg.report.statistics import plot, statistics_table

    for name, value in (("--limit", given.limit), ("--max-length", given.max_length)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be 1 or more, got {value}.")
    if given.set and not given.config:
        raise ValueError(f"--set {given.set[0]} changes a configuration: name it with --config FILE.")
    if min(given.grids) < 1 or max(given.grids) > 1024:
        raise ValueError(f"--grids must be 1 to 1024 cells a side, got {given.grids}.")
    tokens, training, longest = len, None, given.max_length or 2048
    if given.tokenizer:
        from transformers import AutoTokenizer

        tokens = partial(_tokens, AutoTokenizer.from_pretrained(given.tokenizer))
    if given.config:
        from text4seg.config import load
        from text4seg.data.shards.stats import Training
        from text4seg.models.registry import load_processor

        config = load(given.config, given.set)
        processor = load_processor(config.model)
        tokens = partial(_tokens, processor.tokenizer)
        training = Training(config.data, lambda turns: len(processor.tokens(turns)[0]))
        longest = given.max_length or config.data.max_length
    found = statistics(given.folder, given.grids, given.rules, tokens, longest, given.limit, training)
    if given.plot:
        plot(found, given.plot)
    if given.json:
        print(json.dumps(found, indent=1, ensure_ascii=False))
        return 0
    from rich.console import Console

    Console(highlight=False).print(statistics_table(found))
    unit = "characters" if tokens is len else "tokens"
    rest = "conversations are whole, as fit counts them" if training else "training adds question and picture"
    print(f"lengths of answers in {unit}, longer than {longest} counted; {rest}")
    print(
        f"{found['repeated_images']} of {found['samples']} pictures and {found['repeated_questions']} questions repeat"
    )
    for kind, left in found["left_out"].items():
        print(f"left out or mended by the build: {kind}: {left['count']}")
    return 0


def _tokens(tokenizer: Any, text: str) -> int:
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])


def _show(given: argparse.Namespace) -> int:
    from text4seg.report.shards import draw_shards

    given.out.parent.mkdir(parents=True, exist_ok=True)
    draw_shards(given.folder, given.limit).save(given.out)
    print(f"written to {given.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
