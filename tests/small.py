"""A training that takes seconds: scenes of 64 pixels, a random tiny model, a handful of steps."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

MODEL = [
    "model.family=tiny",
    "model.path=random",
    "model.options={width: 48, vision_layers: 1, language_layers: 2}",
    "model.lora.rank=4",
    "model.lora.alpha=8",
]
SHORT = [
    "trainer.accelerator=cpu",
    "trainer.devices=1",
    "trainer.threads=1",
    "trainer.accumulate=1",
    "trainer.global_batch=null",
    "trainer.strategy=auto",
    "trainer.precision=32-true",
    "trainer.validate_every=null",
    "trainer.steps=2",
    "trainer.epochs=null",
    "decoding.max_new_tokens=12",
    "data.batch_size=2",
    "data.val_batch_size=4",
    "data.workers=0",
]


def write_config(folder: Path, *, train: int = 40, val: int = 4, base: str = "") -> Path:
    """A configuration on scenes; its shards lie beside it."""
    scenes = "{count: %d, size: [64, 64]}"
    path = folder / "small.yaml"
    path.write_text(
        f"{base}name: small\n"
        "data:\n"
        "  grid: [4, 4]\n"
        f"  train: {{shards: {folder}/train, build: {{source: scenes, shards: 4, options: {scenes % train}}}}}\n"
        f"  val: {{shards: {folder}/val, limit: {val}, build: {{source: scenes, shards: 2, seed: 3, "
        f"options: {scenes % val}, task_options: {{fixed_template: true}}}}}}\n"
    )
    return path


def fit_apart(*argv: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run the fit door in a process of its own."""
    command = [sys.executable, "-m", "text4seg.fit", *argv]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


def steps_of(run: Path) -> list[dict[str, str]]:
    """The lines of a run's logs/steps.csv."""
    with (run / "logs" / "steps.csv").open() as stream:
        return list(csv.DictReader(stream))
