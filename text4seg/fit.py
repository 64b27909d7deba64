"""Train a backbone to write masks.

    python -m text4seg.fit --config conf/X.yaml [key=value ...]
    python -m text4seg.fit --resume RUN [trainer.devices=N data.batch_size=N]

Writes a run folder: config.yaml, stamp.json, metrics.json, adapter/ (or weights.safetensors), checkpoints/, pictures/,
logs/. A stopped run goes on with --resume to the numbers that it would have had.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from text4seg.config import Config, load, load_whole, to_yaml
from text4seg.mistakes import guarded
from text4seg.training.checks import check
from text4seg.training.folder import choose
from text4seg.training.launch import local_rank

HARDWARE = (
    "trainer.devices",
    "trainer.nodes",
    "trainer.accelerator",
    "trainer.threads",
    "data.workers",
    "data.batch_size",
)
"""What a resumed run may change: the global batch stays; which samples of the current epoch come may change."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; returns the exit code: 0, 2 for a mistake in what was asked for, 130 when interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m text4seg.fit", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, help="a YAML file such as conf/tiny.yaml")
    parser.add_argument("--resume", type=Path, metavar="RUN", help="go on with a stopped run")
    parser.add_argument(
        "--accept-changes", action="store_true", help="resume although data or settings are not those of the checkpoint"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print the resolved configuration and what the run will cost, and stop"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. data.batch_size=4 trainer.steps=100")
    given = parser.parse_intermixed_args(argv)
    return guarded(lambda: _run(given))


def _run(given: argparse.Namespace) -> int:
    config, run = _resolve(given)
    if given.dry_run:
        print(to_yaml(config), end="")
        print(*(f"# {line}" for line in _estimate(config)), sep="\n")
        return 0
    return _fit(config, run, given.accept_changes)


def _estimate(config: Config) -> list[str]:
    """What the run will cost; comments behind the configuration, so that the whole still reads as one."""
    from text4seg.training.estimate import estimate

    try:
        return list(estimate(config).lines())
    except ValueError as error:
        return [f"no estimate: {error}"]


def _resolve(given: argparse.Namespace) -> tuple[Config, Path]:
    if (given.config is None) == (given.resume is None):
        raise ValueError("give either --config FILE for a new run or --resume RUN for a stopped one.")
    if given.resume is None:
        config = load(given.config, given.overrides, Config)
        check(config)
        return config, Path() if given.dry_run else choose(config)
    others = [word for word in given.overrides if word.partition("=")[0] not in HARDWARE]
    if others:
        raise ValueError(
            f"--resume goes on with the run's own settings; take {others[0]} away. What may be said anew is where it "
            f"runs: {', '.join(HARDWARE)}."
        )
    if not (given.resume / "config.yaml").is_file():
        raise ValueError(f"{given.resume} is no run folder: it has no config.yaml.")
    load_whole(given.resume / "config.yaml")
    config = load(given.resume / "config.yaml", given.overrides, Config)
    check(config)
    return config, given.resume


def _fit(config: Config, run: Path, accept: bool = False) -> int:
    from rich.console import Console

    from text4seg.report.table import score_table
    from text4seg.training.fit import fit

    # Every process of a node runs this door; one of them talks.
    console = Console(quiet=local_rank() != 0, markup=False)  # names of folders are no markup
    done = fit(config, run, console, accept)
    if done.skipped:
        example = f", e.g. {done.reasons[0]}" if done.reasons else "; logs/steps.csv says at which steps"
        console.print(f"skipped {done.skipped} broken or too long records{example}", style="yellow")
    if done.left_out:
        console.print(f"left out {done.left_out} steps whose loss or gradient was no number", style="yellow")
    if done.steps < done.planned:
        console.print(f"stopped at step {done.steps} of {done.planned}; go on with --resume {run}")
        return 130
    if done.scores:
        console.print(score_table({"best": done.scores}, str(run), prefix="val/"))
    console.print(f"written to {run}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
