"""Trained weights of another run as the start of this one: the paper's second stage goes on so."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from peft import PeftConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from text4seg.models.backbone import Backbone

ADAPTER = "adapter_model.safetensors"


def start_from(backbone: Backbone, folder: Path) -> Path:
    """Put trained weights on what trains.

    Args:
        backbone: adapted already (`choose_trained`).
        folder: a run folder, or an adapter in PEFT's format.

    Returns:
        the file that was read.

    Raises:
        ValueError: there are none, or they are not those of exactly the weights that train here.
    """
    peft = isinstance(backbone.model, PeftModel)
    names = (folder / "adapter" / ADAPTER, folder / ADAPTER) if peft else (folder / "weights.safetensors",)
    path = next((name for name in names if name.is_file()), None)
    if path is None:
        raise ValueError(
            f"`model.start`: {folder} holds no trained weights (looked for {', '.join(map(str, names))}); give a run "
            "folder that has been validated once, or its adapter/."
        )
    try:
        stored = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"`model.start`: {path} cannot be read ({error}).") from error
    if isinstance(backbone.model, PeftModel):
        _refuse_other_scale(path, backbone.model.peft_config["default"])
        _refuse_others(path, stored, get_peft_model_state_dict(backbone.model, save_embedding_layers=False))
        set_peft_model_state_dict(backbone.model, stored)
    else:
        trained = {name: p for name, p in backbone.model.named_parameters() if p.requires_grad}
        _refuse_others(path, stored, trained)
        with torch.no_grad():
            for name, value in stored.items():
                trained[name].copy_(value)
    return path


def _refuse_other_scale(path: Path, here: PeftConfig) -> None:
    """The same weights are another adapter where they are multiplied by another alpha / rank."""
    try:
        stored = json.loads(path.with_name("adapter_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return  # weights alone say nothing
    for name, setting in (("lora_alpha", "model.lora.alpha"), ("use_rslora", None)):
        known, ours = stored.get(name), getattr(here, name)
        if known is not None and known != ours:
            what = f"take {setting}={known}" if setting else "merge it into its model first"
            raise ValueError(f"`model.start`: {path} was trained with {name}={known}, here it is {ours}; {what}.")


def _refuse_others(path: Path, stored: Mapping[str, Tensor], here: Mapping[str, Tensor]) -> None:
    lacking, strange = sorted(here.keys() - stored.keys()), sorted(stored.keys() - here.keys())
    if lacking or strange:
        what = f"lacks {lacking[0]}" if lacking else f"holds {strange[0]}"
        raise ValueError(f"`model.start`: {path} {what}: it was trained on another model or with other `model.lora`.")
    for name, value in stored.items():
        if value.shape != here[name].shape:
            raise ValueError(
                f"`model.start`: {path} has {name} of shape {tuple(value.shape)}, here it is "
                f"{tuple(here[name].shape)}; take the same `model.lora.rank`."
            )
