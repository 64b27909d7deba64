"""Score a trained run on a set of shards.

    python -m text4seg.evaluate --config conf/eval/val.yaml run=RUN [shards=DIR] [key=value ...]

Writes RUN/eval/NAME/: metrics.json (scores and ceilings), items.jsonl (every answer, with masks as COCO RLE) and
sheet.png (picture, truth, prediction), and prints the table. Keys: see `text4seg/report/settings.py`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from text4seg.config import load
from text4seg.mistakes import guarded
from text4seg.report.run import check_run
from text4seg.report.settings import EvaluateSettings
from text4seg.training.checks import check_values

CHOICES = {"decoding.paint": ("nearest", "smooth")}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; returns the exit code (0, or 2 for a mistake in what was asked for)."""
    parser = argparse.ArgumentParser(
        prog="python -m text4seg.evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, required=True, help="a YAML file such as conf/eval/val.yaml")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. run=runs/tiny limit=100")
    given = parser.parse_args(argv)
    return guarded(lambda: _evaluate(_settings(given)))


def _settings(given: argparse.Namespace) -> EvaluateSettings:
    settings = load(given.config, given.overrides, EvaluateSettings)
    if settings.run is None:
        raise ValueError("`run` is missing: name the run folder, e.g. run=runs/tiny.")
    check_values(settings, {"limit": 1, "batch_size": 1, "sheet": 0, "decoding.max_new_tokens": 1}, {}, CHOICES)
    check_run(settings.run, "base" if settings.before else settings.which)
    return settings


def _evaluate(settings: EvaluateSettings) -> int:
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console()
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task("loading")
        from text4seg.report.evaluation import evaluate_run

        found = evaluate_run(settings, lambda items: progress.update(task, description=f"{items} items scored"))
    from text4seg.report.table import class_table, score_table

    title = f"{found.items} items, {settings.name}"
    console.print(score_table({"score": found.scores}, title, prefix=f"{settings.name}/"))
    if found.classes:
        console.print(class_table(found.classes))
    console.print(f"written to {found.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
