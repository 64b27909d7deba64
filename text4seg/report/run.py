"""Read a run folder back: its settings, and its model with the trained weights on top."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from text4seg.config import Config, load

if TYPE_CHECKING:
    from text4seg.models.backbone import Backbone

WHICH = ("best", "last", "base")


def check_run(run: str | Path, which: str = "best") -> Path:
    """Refuse a folder that cannot be read back, before anything heavy is imported.

    Returns:
        the run folder.

    Raises:
        ValueError: saying what is missing and what to do.
    """
    folder = Path(run)
    if which not in WHICH:
        raise ValueError(f"`which` must be one of {', '.join(WHICH)}, got {which!r}.")
    if not (folder / "config.yaml").is_file():
        what = "has no config.yaml" if folder.is_dir() else "does not exist"
        raise ValueError(
            f"`run` must be a folder that `python -m text4seg.fit` wrote, but {folder} {what}: give the folder that "
            "fit named at its end (run_dir)."
        )
    if which != "base":
        weights_of(folder, which)
    return folder


def weights_of(folder: Path, which: str) -> Path:
    """Where a run keeps its best or last weights: a PEFT adapter, or the trained state of a run without LoRA.

    Raises:
        ValueError: when there are none.
    """
    names = {"best": ("adapter", "weights.safetensors"), "last": ("adapter-last", "weights-last.safetensors")}[which]
    for name in names:
        if (folder / name).exists():
            return folder / name
    raise ValueError(
        f"{folder} holds no {which} weights (expected {' or '.join(names)}): the run has not reached its first "
        f"validation. Continue it with `python -m text4seg.fit --resume {folder}`, or score the model before tuning "
        "with which=base."
    )


def load_run(run_dir: str | Path, which: str = "best") -> tuple[Config, Backbone]:
    """Settings and model of a run.

    Args:
        run_dir: the folder that `fit` wrote.
        which: ``best`` or ``last`` trained weights, or ``base``: the model before tuning.

    Returns:
        the run's settings and its backbone in evaluation mode, on the CPU.

    Raises:
        ValueError: when the folder is no run, or has no such weights.
        OSError: from transformers, when the base checkpoint cannot be found.
    """
    folder = check_run(run_dir, which)
    config = load(folder / "config.yaml", [], Config)
    from text4seg.models.registry import load_backbone

    backbone = load_backbone(config.model)
    if which != "base":
        _put_on(backbone, weights_of(folder, which))
    backbone.model.eval()
    return config, backbone


def _put_on(backbone: Backbone, weights: Path) -> None:
    if weights.is_dir():
        from peft import PeftModel

        backbone.model = PeftModel.from_pretrained(backbone.model, str(weights))
        return
    from safetensors.torch import load_file

    loaded = backbone.model.load_state_dict(load_file(weights), strict=False)
    if loaded.unexpected_keys:
        raise ValueError(
            f"{weights} holds weights that the model does not have, e.g. {loaded.unexpected_keys[0]!r}: the base "
            "checkpoint named in config.yaml is another one than the run was trained on."
        )
