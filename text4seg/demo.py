"""See a multimodal language model learn to write masks, on this machine, offline.

    python -m text4seg.demo [key=value ...]

Fine-tunes the embedded tiny model (conf/tiny.yaml; the words override it), scores it on test scenes before and after,
runs the control that asks for another object, and writes demo.png into the run folder.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from text4seg.config import Config, load
from text4seg.mistakes import guarded
from text4seg.report.settings import EvaluateSettings
from text4seg.training.checks import check

CONFIG = Path(__file__).resolve().parents[1] / "conf" / "tiny.yaml"
TEST = Path("shards/built/tiny-test")
TEST_SEED = 13
TEST_PICTURES = 120
OWN_GRID = [8, 8]
"""What the embedded model was pre-trained to write at last."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; returns the exit code (0, 130 where it was stopped, 2 for a mistake in what was asked for)."""
    parser = argparse.ArgumentParser(
        prog="python -m text4seg.demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. trainer.steps=100")
    given = parser.parse_intermixed_args(argv)
    return guarded(lambda: _demo(load(CONFIG, ["name=demo", *given.overrides], Config)))


def _demo(config: Config) -> int:
    from dataclasses import replace

    from rich.console import Console

    from text4seg.data.shards.build import ensure
    from text4seg.report.demo import demo_sheet
    from text4seg.report.evaluation import evaluate_run
    from text4seg.report.table import score_table
    from text4seg.training.fit import fit
    from text4seg.training.folder import choose

    check(config)
    scenes = config.data.val.build
    if scenes is None:
        raise ValueError("`data.val.build` is null: the demo builds its test scenes by that recipe; take it away.")
    console, start = Console(markup=False), time.perf_counter()  # names of folders are no markup
    run = choose(config)
    recipe = replace(scenes, seed=TEST_SEED, options={**scenes.options, "count": TEST_PICTURES})
    grid = (config.data.grid[0], config.data.grid[1])
    ensure(recipe, TEST, grid, config.data.codec, config.data.rule)
    console.rule("fine-tuning")
    trained = fit(config, run, console)
    if trained.steps < trained.planned:
        console.print(f"stopped at step {trained.steps} of {trained.planned}; go on with text4seg.fit --resume {run}")
        return 130
    console.rule(f"scoring {TEST_PICTURES} test scenes that neither training has seen")
    settings = EvaluateSettings(run=str(run), shards=str(TEST), batch_size=config.data.val_batch_size)
    columns = {
        f"before ({OWN_GRID[0]}x{OWN_GRID[1]})": replace(settings, name="before_own_grid", which="base", grid=OWN_GRID),
        "before": replace(settings, name="before", which="base"),
        "after": replace(settings, name="after"),
        "after, questions swapped": replace(settings, name="swap", swap_questions=True),
    }
    found = {heading: evaluate_run(one) for heading, one in columns.items()}
    scores = {heading: {n.partition("/")[2]: v for n, v in done.scores.items()} for heading, done in found.items()}
    console.print(score_table(scores, f"{found['after'].items} questions about test scenes"))
    sheet = demo_sheet(TEST, {"before": found["before"].folder, "after": found["after"].folder}, run / "demo.png")
    console.print(f"pictures: {sheet}\nrun folder: {run}\n{(time.perf_counter() - start) / 60:.1f} minutes in all")
    return 0


if __name__ == "__main__":
    sys.exit(main())
