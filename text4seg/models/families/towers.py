"""Vision towers: where the patches stand in their output, and what has to be done to them.

transformers' LLaVA reads a hidden state from inside the tower and drops one token. For a DINOv2 that hidden state has
not passed the final norm, and registers stay in; so the composed model asks the tower itself, here.
Axis legend: B batch, T tokens of the tower, P patches, C width of the tower.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel

PREFIX_TOKENS = ("class_embedding", "cls_token", "distillation_token", "dist_token", "register_tokens")
POOLING = ("head", "pooler")
INNER = (*POOLING, "embeddings")


@dataclass(frozen=True)
class TowerFacts:
    """What was found out about a tower.

    Attributes:
        patches: a picture's patch tokens, ``(side / patch)^2``.
        width: of a token.
        prefix: tokens before the patches (class token, registers).
        norm: name of the final norm where the tower does not apply it to its patches, else empty.
    """

    patches: int
    width: int
    prefix: int
    norm: str


def tower_facts(config: PreTrainedConfig, side: int, name: str) -> TowerFacts:
    """Run a tower without weights (on the meta device) and look at what comes out.

    Args:
        config: the tower's.
        side: of the pictures in pixels.
        name: for messages.

    Raises:
        ValueError: the tower has no plain grid of patches, or does not take pictures of that side.
    """
    try:
        with torch.device("meta"):
            tower = AutoModel.from_config(config).eval()
    except (ValueError, AssertionError, RuntimeError) as error:
        raise ValueError(f"`model.vision` {name!r} cannot be a tower: {_line(error)}") from error
    patch = _whole(getattr(config, "patch_size", None)) or tower.patch_size
    if side % patch:
        low = side // patch * patch
        raise ValueError(f"`model.image_size` must be a multiple of {name!r}'s patch, {patch}: {low} or {low + patch}.")
    return _look(tower, side, patch, name)


def tower_side(config: PreTrainedConfig, wanted: int | None, name: str) -> int:
    """Side of the square pictures that a tower gets: `wanted`, or what it was trained with.

    Raises:
        ValueError: the tower has no patches, or its configuration states no side.
    """
    missing = [k for k in ("patch_size", "hidden_size") if _whole(getattr(config, k, None)) is None]
    if missing and config.model_type != "text4seg_open_clip":
        raise ValueError(
            f"`model.vision` {name!r} is a {config.model_type}, whose configuration has no {missing[0]}: it gives no "
            "sequence of patches. Take a ViT such as CLIP, SigLIP or DINOv2."
        )
    side = wanted or _whole(getattr(config, "image_size", None))
    if not side:
        raise ValueError(
            f"`model.vision` {name!r}: a {config.model_type} states no single image_size; set `model.image_size`."
        )
    return side


def run_tower(tower: PreTrainedModel, pixels: Tensor) -> Tensor:
    """A tower's last hidden state ``[B, T, C]``; its table of positions is interpolated for another side."""
    foreign = pixels.shape[-1] != tower.config.image_size and "interpolate_pos_encoding" in _arguments(tower)
    options: dict[str, Any] = {"interpolate_pos_encoding": True} if foreign else {}
    return tower(pixel_values=pixels, **options).last_hidden_state


@torch.no_grad()
def _look(tower: PreTrainedModel, side: int, patch: int, name: str) -> TowerFacts:
    norm = _final_norm(tower)
    normed: list[Any] = []
    hook = tower.get_submodule(norm).register_forward_hook(lambda _m, _i, out: normed.append(out)) if norm else None
    try:
        out = run_tower(tower, torch.zeros(1, 3, side, side, device="meta", dtype=tower.dtype))
    except (ValueError, AssertionError, RuntimeError, TypeError) as error:
        raise ValueError(f"`model.vision` {name!r} does not take pictures of {side} pixels: {_line(error)}") from error
    finally:
        if hook:
            hook.remove()
    prefix, wanted = _prefix(tower), (side // patch) ** 2
    if out.ndim != 3 or out.shape[1] - prefix != wanted:
        raise ValueError(
            f"`model.vision` {name!r} gives {tuple(out.shape[1:])} for a picture of {side} pixels; expected "
            f"{prefix} + {wanted} tokens for patches of {patch}. It has no plain grid of patches."
        )
    if not norm and tower.config.model_type != "text4seg_open_clip":
        raise ValueError(f"`model.vision` {name!r}: no final norm was found in {type(tower).__name__}.")
    # The same object came out of the norm and out of the tower: it has been applied inside.
    inside = any(piece is out for piece in normed)
    return TowerFacts(wanted, int(out.shape[-1]), prefix, "" if inside else norm)


def _final_norm(tower: nn.Module) -> str:
    """Name of the norm behind the last layer: the one outside layers, embeddings and heads that is no `pre` norm."""
    for name, module in tower.named_modules():
        *parents, last = name.split(".")
        if isinstance(module, nn.Identity):
            continue
        if "norm" in last and not last.startswith("pre") and not any(p.isdigit() or p in INNER for p in parents):
            return name
    return ""


def _prefix(tower: nn.Module) -> int:
    """Tokens that the tower puts before its patches, counted from its parameters ``[1, n, C]`` or ``[C]``."""
    named = ((name.split("."), p) for name, p in tower.named_parameters())
    # A head that pools by attention has a class token of its own, which never stands before the patches.
    found = [p for parts, p in named if parts[-1] in PREFIX_TOKENS and not set(parts) & set(POOLING)]
    if type(tower).__name__ == "OpenClipTower":
        return 0  # dropped inside
    return sum(1 if p.ndim == 1 else int(p.shape[-2]) for p in found)


def _arguments(module: nn.Module) -> set[str]:
    return set(inspect.signature(module.forward).parameters)


def _whole(value: Any) -> int | None:
    """An int, or the one that a square pair repeats."""
    if isinstance(value, (list, tuple)) and len(set(value)) == 1:
        value = value[0]
    return value if isinstance(value, int) else None


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
