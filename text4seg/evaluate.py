"""Score a trained run on a set of shards.

    python -m text4seg.evaluate --config conf/eval/val.yaml run=RUN [shards=DIR] [key=value ...]

Writes RUN/eval/NAME/: report.html (to be opened in a browser), report.json (all that it shows), items.jsonl (every
answer, with masks as COCO RLE), metrics.json (scores and ceilings) and sheet.png (picture, truth, prediction), and
prints the table. Shards that a recipe describes and that are missing are built. A killed evaluation goes on when it is
started again; `torchrun --nproc-per-node N -m text4seg.evaluate ...` shares it among N processes, to the same bytes
but for the report's timing.
Keys: see `text4seg/report/settings.py`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from text4seg.config import load
from text4seg.decoding.settings import ENGINES, GRAMMARS
from text4seg.mistakes import guarded
from text4seg.refine.settings import PROMPTS, REFINERS
from text4seg.report.run import check_run
from text4seg.report.settings import EvaluateSettings, check_used, check_wording
from text4seg.training.checks import check_values

CHOICES = {
    "decoding.paint": ("nearest", "smooth"),
    "decoding.grammar": GRAMMARS,
    "decoding.engine": ENGINES,
    "refine.name": REFINERS,
    "refine.sam.prompts": tuple(PROMPTS),
    "dtype": ("float64", "float32", "bfloat16", "float16"),
}
LOWEST = {
    "limit": 1,
    "batch_size": 1,
    "ahead": 1,
    "sheet": 0,
    "gallery": 0,
    "decoding.max_new_tokens": 1,
    "decoding.preamble": 0,
    "decoding.width": 0,
    "decoding.branches": 1,
    "decoding.temperature": 0,
    "decoding.top_p": 0.01,
    "refine.sam.points": 1,
    "refine.crf.certainty": 0.51,
    "refine.crf.steps": 0,
    "refine.crf.near_size": 0.1,
    "refine.crf.near_weight": 0,
    "refine.crf.alike_size": 1,
    "refine.crf.alike_colour": 1,
    "refine.crf.alike_weight": 0,
}
HIGHEST = {"decoding.top_p": 1, "refine.crf.certainty": 0.999}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; returns the exit code (0, or 2 for a mistake in what was asked for)."""
    parser = argparse.ArgumentParser(
        prog="python -m text4seg.evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, required=True, help="a YAML file such as conf/eval/val.yaml")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. run=runs/tiny limit=100")
    given = parser.parse_intermixed_args(argv)
    return guarded(lambda: _evaluate(_settings(given)))


def _settings(given: argparse.Namespace) -> EvaluateSettings:
    settings = load(given.config, given.overrides, EvaluateSettings)
    if settings.run is None:
        raise ValueError("`run` is missing: name the run folder, e.g. run=runs/tiny.")
    check_values(settings, LOWEST, HIGHEST, CHOICES)
    check_wording(settings.wording, settings.swap_questions)
    check_used(settings)
    check_run(settings.run, "base" if settings.before else settings.which)
    return settings


def _evaluate(settings: EvaluateSettings) -> int:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    talks = os.environ.get("RANK", "0") == "0"  # of several processes one
    console = Console(quiet=not talks)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    times = (TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, *times, console=console, disable=not talks) as progress:
        task = progress.add_task("loading", total=None)
        from text4seg.report.evaluation import evaluate_run

        def tell(answered: int, total: int | None, mean: float) -> None:
            progress.update(task, completed=answered, total=total, description=f"score so far {mean:.3f}")

        found = evaluate_run(settings, tell)
    if not talks:
        return 0
    from text4seg.report.table import class_table, score_table

    title = f"{found.items} items, {settings.name}"
    console.print(score_table({"score": found.scores}, title, prefix=f"{settings.name}/"))
    if found.classes:
        console.print(class_table(found.classes))
    console.print(f"written to {found.folder}", markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
