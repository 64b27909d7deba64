"""Pixel counts from which every IoU here is made.

Axis legend: N items, H, W pixels at the image's original resolution.
"""

from __future__ import annotations

import torch
from torch import Tensor

IGNORE = 255
"""Target value of pixels that are left out of every count."""


def item_counts(preds: Tensor, target: Tensor, ignore_index: int | None = IGNORE) -> tuple[Tensor, Tensor]:
    """Intersection and union of each item, background (id 0) not counted.

    With one foreground id this is the binary IoU's numerator and denominator. With several, both are summed over the
    foreground ids, so a pixel with the wrong foreground id is in the union twice: once for each id.

    Args:
        preds: bool or integer ids, ``[N, H, W]``.
        target: same shape; ``ignore_index`` marks pixels to leave out (never looked for in a bool tensor).
        ignore_index: value of such pixels; None when there are none.

    Returns:
        intersection and union, both int64 ``[N]``.

    Raises:
        ValueError: when `preds` and `target` differ in shape, are not ``[N, H, W]``, or hold floating point values.
    """
    check_maps(preds, target)
    counted = torch.ones_like(target, dtype=torch.bool)
    if ignore_index is not None and target.dtype != torch.bool:
        counted = target != ignore_index
    guess = (preds != 0) & counted
    truth = (target != 0) & counted
    hits = guess & truth & (preds == target)
    inter, guessed, true = (plane.flatten(1).sum(1, dtype=torch.int64) for plane in (hits, guess, truth))
    return inter, guessed + true - inter


def check_maps(preds: Tensor, target: Tensor) -> None:
    """Refuse maps that cannot be compared.

    Raises:
        ValueError: when `preds` and `target` differ in shape, are not ``[N, H, W]``, or hold floating point values.
    """
    if preds.shape != target.shape or preds.ndim != 3:
        raise ValueError(
            f"`preds` and `target` must have one shape [N, H, W], got {tuple(preds.shape)} and {tuple(target.shape)}."
        )
    for name, tensor in (("preds", preds), ("target", target)):
        if tensor.is_floating_point() or tensor.is_complex():
            raise ValueError(f"`{name}` must hold bool or integer ids, got {tensor.dtype}: threshold it first.")
