"""Next-token loss on the answers; only the positions that predict an answer token go through the head.

Axis legend: B batch, T tokens, D width, N answer positions of the batch, V vocabulary, W words that compete.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

IGNORE_LABEL = -100


Head = Callable[[Tensor], Tensor]
"""Hidden states ``[N, D]`` -> logits ``[N, V]``."""


def token_losses(hidden_ND: Tensor, targets_N: Tensor, head: Head, chunk: int = 0) -> Tensor:
    """Cross-entropy of each position ``[N]``.

    Args:
        chunk: so many positions have logits at a time, which are not kept; 0: all have, and keep them.
    """
    if not chunk or len(targets_N) <= chunk:
        return _losses(hidden_ND, targets_N, head)
    if torch.is_grad_enabled() and not head(hidden_ND[:0].detach()).requires_grad:
        return _Chunks.apply(hidden_ND, targets_N, head, chunk)
    pieces = zip(hidden_ND.split(chunk), targets_N.split(chunk), strict=True)
    # A head that trains needs its logits on the way back: they are computed again.
    return torch.cat([checkpoint(_losses, *piece, head, use_reentrant=False) for piece in pieces])  # type: ignore[misc]


def _losses(hidden_ND: Tensor, targets_N: Tensor, head: Head) -> Tensor:
    return functional.cross_entropy(head(hidden_ND).float(), targets_N, reduction="none")


class _Chunks(torch.autograd.Function):
    """Losses behind a frozen head, and at once how they change with the hidden states: that is kept, ``[N, D]``."""

    @staticmethod
    def forward(ctx: Any, hidden_ND: Tensor, targets_N: Tensor, head: Head, chunk: int) -> Tensor:
        losses, slopes = [], []
        for piece, targets in zip(hidden_ND.detach().split(chunk), targets_N.split(chunk), strict=True):
            with torch.enable_grad():
                hidden = piece.requires_grad_()
                found = _losses(hidden, targets, head)
                slopes += torch.autograd.grad(found.sum(), hidden)  # a loss depends on its own position only
            losses.append(found.detach())
        ctx.save_for_backward(torch.cat(slopes))
        return torch.cat(losses)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None, None]:
        (slopes_ND,) = ctx.saved_tensors
        return slopes_ND * upstream[0][:, None].to(slopes_ND.dtype), None, None, None


def cell_loss(hidden_BTD: Tensor, cells_BT: Tensor, head: Head, chunk: int = 0) -> Tensor:
    """Cross-entropy of what image tokens name, labels or lengths of runs, mean over the tokens that have to.

    Args:
        hidden_BTD: last hidden states.
        cells_BT: the token id that each position names, -100 where it names none.
        head: makes logits.
        chunk: as in `token_losses`.
    """
    asked_BT = cells_BT != IGNORE_LABEL
    if not asked_BT.any():
        return 0.0 * hidden_BTD.sum()
    return token_losses(hidden_BTD[asked_BT], cells_BT[asked_BT], head, chunk).mean()


def answer_loss(hidden_BTD: Tensor, labels_BT: Tensor, head: Head, reduction: str = "sample", chunk: int = 0) -> Tensor:
    """Cross-entropy of the answers.

    Args:
        hidden_BTD: last hidden states.
        labels_BT: token ids, -100 where nothing is learnt.
        head: makes logits.
        chunk: as in `token_losses`.
        reduction: `sample` (mean over samples of each sample's mean, so that a long answer weighs no more than a
            short one and gradient accumulation over equal micro-batches changes nothing) or `token` (mean over
            answer tokens, as published).

    Raises:
        ValueError: an unknown reduction, or a batch without a single answer token.
    """
    if reduction not in ("sample", "token"):
        raise ValueError(f"`loss.reduction` must be sample or token, got {reduction!r}.")
    targets_BT = labels_BT[:, 1:]
    wanted_BT = targets_BT != IGNORE_LABEL
    if not wanted_BT.any():
        raise ValueError("no answer token in the batch: every label is -100.")
    losses_N = token_losses(hidden_BTD[:, :-1][wanted_BT], targets_BT[wanted_BT], head, chunk)
    if reduction == "token":
        return losses_N.mean()
    counts_B = wanted_BT.sum(1)
    sums_B = torch.zeros(len(counts_B), dtype=losses_N.dtype, device=losses_N.device)
    sums_B = sums_B.index_add(0, wanted_BT.nonzero()[:, 0], losses_N)
    return (sums_B / counts_B.clamp(min=1))[counts_B > 0].mean()


def drawn_words(targets: Mapping[str, Tensor], vocabulary: int, sampled: int, seed: int) -> tuple[Tensor, Tensor]:
    """Words that compete in one step of a sampled softmax: all that are asked for, and a sample of the others.

    Source: sampled softmax with an importance weight (Jean et al., arXiv 1412.2007, section 3.1), the sample uniform
    and without replacement: the sum over the vocabulary is right in expectation.

    Args:
        targets: token ids of any shape, -100 where nothing is asked.
        vocabulary: number of words, V.
        sampled: words drawn from those that nobody asks for.
        seed: of the draw.

    Returns:
        Their ids ``[W]``, ascending, and what their logits must rise by so that each drawn word stands for those that
        were not drawn ``[W]``.
    """
    asked = torch.cat([part[part != IGNORE_LABEL] for part in targets.values()]).unique()
    others = torch.ones(vocabulary, dtype=torch.bool, device=asked.device)
    others[asked] = False
    left = others.nonzero()[:, 0]
    chosen = torch.randperm(len(left), generator=torch.Generator().manual_seed(seed))[:sampled]
    words = torch.cat([asked, left[chosen.to(left.device)]]).sort().values
    weight = math.log(len(left) / len(chosen)) if len(chosen) else 0.0
    return words, others[words] * weight


def renumbered(targets: Tensor, words: Tensor) -> Tensor:
    """Token ids as places in `words`, which holds them in ascending order; -100 stays."""
    return torch.where(targets == IGNORE_LABEL, targets, torch.searchsorted(words, targets))
