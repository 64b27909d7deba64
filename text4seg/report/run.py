"""Read a run folder back: its settings, and its model with the trained weights on top."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from text4seg.config import Config, load_whole
from text4seg.models.settings import ModelSettings

if TYPE_CHECKING:
    from text4seg.models.backbone import Backbone

WHICH = ("best", "last", "base")
OTHER_BASE = "was trained on another model than config.yaml names now"


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
        what = "has no config.yaml" if folder.is_dir() else "is a file" if folder.exists() else "does not exist"
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


def load_run(
    run_dir: str | Path, which: str = "best", spread: bool = False, whole: bool = False, dtype: str | None = None
) -> tuple[Config, Backbone]:
    """Settings and model of a run.

    Args:
        run_dir: the folder that `fit` wrote.
        which: ``best`` or ``last`` trained weights, or ``base``: the model before tuning.
        spread: put the layers on all GPUs (and into memory) of this machine.
        whole: the base in its own bits, also where it trained in fewer: what is merged into it would be rounded.
        dtype: compute in this type (float64 too) in place of the run's; in its own bits.

    Returns:
        the run's settings and its backbone in evaluation mode, on the CPU.

    Raises:
        ValueError: when the folder is no run, its settings break off, it has no such weights, or they are damaged or
            fit another model.
        OSError: from transformers, when the base checkpoint cannot be found.
    """
    folder = check_run(run_dir, which)
    config = load_whole(folder / "config.yaml")
    from text4seg.models.registry import load_backbone

    if spread:
        config.model.device_map = "auto"
    if whole or dtype:
        config.model.quantize = None
    config.model.dtype = dtype or config.model.dtype
    backbone = load_backbone(config.model)
    if which != "base":
        _put_on(backbone, weights_of(folder, which), config.model)
    if dtype:
        _hold_in(backbone, dtype)
    backbone.model.eval()
    return config, backbone


def _hold_in(backbone: Backbone, dtype: str) -> None:
    """Hold every weight in one type; PEFT brings adapters in float32."""
    import torch

    for weight in backbone.model.parameters():  # not `model.to`, which would also round the rotary tables
        weight.data = weight.data.to(getattr(torch, dtype))


def _put_on(backbone: Backbone, weights: Path, settings: ModelSettings) -> None:
    """Load trained weights, all of them and no others: what is missing would quietly be what it was before tuning."""
    from safetensors import SafetensorError

    from text4seg.models.lora import choose_trained

    try:
        if weights.is_dir():
            expected, held = _put_on_adapter(backbone, weights)
        else:
            choose_trained(backbone, replace(settings, gradient_checkpointing=False))
            expected, held = _put_on_parts(backbone, weights)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{weights} cannot be read ({reason}); put a whole copy in its place.") from error
    except RuntimeError as error:  # of other shapes
        raise ValueError(f"{weights} {OTHER_BASE}: {' '.join(str(error).split())[:300]}") from error
    missing, strange = sorted(expected - held), sorted(held - expected)
    if missing or strange:
        what = f"lacks {missing[0]}" if missing else f"holds {strange[0]}, which the model does not have"
        raise ValueError(f"{weights} {what}, so it {OTHER_BASE}.")


def _put_on_adapter(backbone: Backbone, weights: Path) -> tuple[set[str], set[str]]:
    """Wrap the model in a stored adapter; gives the names that it must have and those that it has."""
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import safe_open

    path = weights / "adapter_model.safetensors"
    for file in (path, weights / "adapter_config.json"):
        if not file.is_file():
            raise OSError(f"there is no {file.name}")  # PEFT would look for the folder on the hub
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Found missing adapter keys")  # refused below
        backbone.model = PeftModel.from_pretrained(backbone.model, str(weights))
    with safe_open(path, "pt") as stored:
        return set(get_peft_model_state_dict(backbone.model, save_embedding_layers=False)), set(stored.keys())


def _put_on_parts(backbone: Backbone, weights: Path) -> tuple[set[str], set[str]]:
    """Load the parts that trained as a whole; gives the names that the file must have and those that it has."""
    from safetensors.torch import load_file

    state = load_file(weights)
    backbone.model.load_state_dict(state, strict=False)
    return {name for name, p in backbone.model.named_parameters() if p.requires_grad}, set(state)
