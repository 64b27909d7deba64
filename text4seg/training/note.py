"""What lies beside every checkpoint: the trained weights for other programs, and the settings that it was saved with.

A resume compares these settings with the run's: what decides which numbers are trained may not change unnoticed.
Imports nothing heavy.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, is_dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from text4seg.config import Config

NAME = "note.json"
FREE = (
    "name",
    "run_dir",
    "decoding",
    "trainer",
    "data.val",
    "data.val_batch_size",
    "data.workers",
    "data.batch_size",
    "data.cache",
    "data.remote",
    "data.train",  # the data module compares what is in the shards
    "model.gradient_checkpointing",
    "model.attention",
    "model.cache_features",
)
"""May change between save and resume: they move no number, or are compared elsewhere."""
BATCH = "trainer.global_batch"
BOUND = ("trainer.precision", BATCH, "data.train.mix.*.weight")
"""Of what is free as a whole, what may not."""


def beside(checkpoint: Path) -> Path:
    """The folder that goes with a checkpoint: `step-00000004` with `step-00000004.ckpt`."""
    return checkpoint.with_suffix("")


def note_of(config: Config, ranks: int) -> dict[str, Any]:
    """What to write down about a run's checkpoints.

    Args:
        config: settled (`Plan.settle`).
        ranks: that train it.
    """
    return {"strategy": config.trainer.strategy, "ranks": ranks, "settings": _flat(asdict(config))}


def refuse_changes(checkpoint: Path | None, config: Config, accept: bool = False) -> None:
    """Hold a run's settings against those that its newest checkpoint was saved with.

    Args:
        checkpoint: None, or one without a note (of an older version), is right for any settings.
        config: the run's, not settled yet; a batch that is still open is not compared.
        accept: take changed settings; not those that make the checkpoint unreadable.

    Raises:
        ValueError: naming what has changed, or a precision or strategy that cannot read this checkpoint.
    """
    path = beside(checkpoint) / NAME if checkpoint else None
    if checkpoint is None or path is None or not path.is_file():
        return
    note = json.loads(path.read_text(encoding="utf-8"))
    now = _flat(asdict(config))
    # What a note does not know had no name yet when it was written: that version did what is now the default.
    then = {**{key: value for key, value in _usual(config) if key in now}, **_flat(note["settings"])}
    _refuse_unreadable(checkpoint, note["strategy"], config)
    if then["trainer.precision"] != now["trainer.precision"]:
        raise ValueError(
            f"{checkpoint} was saved in `trainer.precision` {then['trainer.precision']}, this run has "
            f"{now['trainer.precision']}: the optimizer would be read as other numbers. Resume with the former, "
            f"or start a new run from {beside(checkpoint)}."
        )
    changed = [key for key in sorted({*then, *now}) if _binds(key) and then.get(key) != now.get(key)]
    changed = [key for key in changed if not (key == BATCH and now.get(key) is None)]
    if changed and not accept:
        told = ", ".join(f"`{key}` {then.get(key)!r} -> {now.get(key)!r}" for key in changed[:5])
        raise ValueError(
            f"settings are not those that {checkpoint} was saved with: {told}. Put them back, or resume with "
            "--accept-changes."
        )


def _refuse_unreadable(checkpoint: Path, before: str, config: Config) -> None:
    if checkpoint.is_dir() != (config.trainer.strategy == "zero2"):
        raise ValueError(
            f"{checkpoint} was saved by `trainer.strategy` {before}, which {config.trainer.strategy} cannot read. "
            f"Resume with the former, or start a new run from the trained weights in {beside(checkpoint)}."
        )


def _binds(key: str) -> bool:
    bound = any(fnmatchcase(key, pattern) for pattern in BOUND)
    return bound or not any(key == free or key.startswith(f"{free}.") for free in FREE)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys, and `stages[0].name` in lists of settings; other lists stay whole."""
    return dict(_items(settings, prefix))


def _items(settings: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            yield from _items(value, f"{prefix}{name}.")
        elif isinstance(value, list) and value and all(isinstance(entry, dict) for entry in value):
            for number, entry in enumerate(value):
                yield from _items(entry, f"{prefix}{name}[{number}].")
        else:
            yield f"{prefix}{name}", value


def _usual(settings: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The keys of `_flat` that belong to the schema, with its default of each."""
    made = type(settings)()
    for item in fields(settings):
        value, key = getattr(settings, item.name), f"{prefix}{item.name}"
        yield key, getattr(made, item.name)
        inner = {f"{key}.": value}
        if isinstance(value, dict):
            inner = {f"{key}.{name}.": entry for name, entry in value.items()}
        elif isinstance(value, list):
            inner = {f"{key}[{number}].": entry for number, entry in enumerate(value)}
        for under, entry in inner.items():
            if is_dataclass(entry):
                yield from _usual(entry, under)
