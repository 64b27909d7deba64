"""What a resume compares: settings by name, across versions of the schema."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from text4seg.config import Config
from text4seg.data.settings import SetSettings, VariantSettings
from text4seg.training.note import NAME, beside, note_of, refuse_changes
from text4seg.training.settings import StageSettings

Resume = Callable[..., None]


def staged() -> Config:
    config = Config(stages=[StageSettings("see", grid=[4, 4]), StageSettings("write", fade=0.5)])
    config.data.train.mix = {"a": SetSettings("a", weight=1.0), "b": SetSettings("b", weight=2.0)}
    config.data.variants = {"small": VariantSettings()}
    return config


@pytest.fixture
def resumed(tmp_path: Path) -> Resume:
    """Resume a staged run whose note was changed by `old` under the settings that `new` makes."""

    def resume(old: Callable[[dict[str, Any]], object] = bool, new: Callable[[Config], object] = bool) -> None:
        checkpoint = tmp_path / "step-00000001.ckpt"
        checkpoint.write_text("")
        note = note_of(staged(), 1)
        old(note["settings"])
        beside(checkpoint).mkdir(exist_ok=True)
        (beside(checkpoint) / NAME).write_text(json.dumps(note))
        config = staged()
        new(config)
        refuse_changes(checkpoint, config)

    return resume


def test_a_note_of_an_older_version_lacks_keys_that_have_their_default_now(resumed: Resume) -> None:
    def older(settings: dict[str, Any]) -> None:
        for key in ("loss.chunk", "data.variants.small.image_size", "seed", *(k for k in settings if "stages" in k)):
            del settings[key]
        settings["stages"] = [  # lists were written whole
            {"name": "see", "length": 1.0, "grid": [4, 4]},
            {"name": "write", "length": 1.0, "fade": 0.5},
        ]

    resumed(older)
    with pytest.raises(ValueError, match=r"with: `stages\[1\]\.image_size` None -> 64\. Put"):
        resumed(older, lambda config: setattr(config.stages[1], "image_size", 64))
    with pytest.raises(ValueError, match=r"with: `loss\.chunk` 256 -> 0\. Put"):
        resumed(older, lambda config: setattr(config.loss, "chunk", 0))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda c: setattr(c.stages[0], "grid", [8, 8]), r"`stages\[0\]\.grid` \[4, 4\] -> \[8, 8\]"),
        (lambda c: c.stages.append(StageSettings("more")), r"`stages\[2\]\.name` '' -> 'more'"),
        (lambda c: c.stages.pop(), r"`stages\[1\]\.name` 'write' -> None"),
        (
            lambda c: setattr(c.data, "curriculum", [{"at": 0.0, "small": 1.0}]),
            r"`data\.curriculum\[0\]\.at` None -> 0",
        ),
        (lambda c: setattr(c.data.train.mix["b"], "weight", 3.0), r"`data\.train\.mix\.b\.weight` 2\.0 -> 3\.0"),
        (lambda c: setattr(c.data.train.mix["b"], "weight", None), r"`data\.train\.mix\.b\.weight` 2\.0 -> None"),
        (lambda c: setattr(c.trainer, "global_batch", 4), r"`trainer\.global_batch` None -> 4"),
    ],
)
def test_what_moves_numbers_is_named(resumed: Resume, change: Callable[[Config], None], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        resumed(new=change)


def test_what_moves_none_is_free(resumed: Resume) -> None:
    resumed(new=lambda config: setattr(config.data.train.mix["b"], "shards", "elsewhere"))
    resumed(new=lambda config: setattr(config.trainer, "steps", 9))
    resumed(lambda settings: settings.update({"trainer.global_batch": 8}))
