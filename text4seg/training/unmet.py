"""Once the tiny model is trained, tokens that its training never or hardly ever asked for get new embeddings.

    python -m text4seg.training.unmet --model DIR --out DIR

The head shares its weights with the embeddings. Every step therefore pushes the rows of absent tokens away from what
the model is about to write, all the same way: after 7,500 steps 1,047 of 1,156 rows lay in one direction (`left`,
`right`, `above` and `below` at cosines of 0.97 and more), nearly twice as long as the rest. LoRA leaves embeddings
alone, so these words were almost one word to whoever tuned the model on them. Here such rows are drawn anew, with the
mean and the spread of the others. The degeneration is that of Gao et al. 2019 (arXiv 1907.12009).

Rows are told by their direction, not by the data: about 40 of them belong to tokens that were asked for now and then,
such as the counts from 8 to 16, which only the 8x16 grid has. What the model knew of those is lost with them.

Axis legend: V vocabulary, D width.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from text4seg.mistakes import guarded

if TYPE_CHECKING:
    from torch import Tensor

ALIKE = 0.6
"""Cosine with the mean of all rows from which on a row counts as pushed; the tiny model's rows were below 0.47 or
above 0.68."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; returns the exit code (0, or 2 for a mistake in what was asked for)."""
    parser = argparse.ArgumentParser(
        prog="python -m text4seg.training.unmet",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", type=Path, required=True, help="checkpoint of a tiny model")
    parser.add_argument("--out", type=Path, required=True, help="folder for the new checkpoint (bfloat16)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw; default: %(default)s")
    given = parser.parse_args(argv)
    return guarded(lambda: _run(given.model, given.out, given.seed))


def _run(model: Path, out: Path, seed: int) -> int:
    import torch

    from text4seg.models.registry import load_backbone
    from text4seg.models.settings import ModelSettings

    backbone = load_backbone(ModelSettings(path=str(model)))
    embeddings: Any = backbone.core.get_input_embeddings()
    weight_VD: Tensor = embeddings.weight
    pushed_V = pushed(weight_VD)
    with torch.no_grad():
        weight_VD.copy_(redrawn(weight_VD, pushed_V, seed))
    backbone.save(out, torch.bfloat16)
    print(f"{int(pushed_V.sum())} of {len(pushed_V)} tokens have new embeddings; written to {out}")
    return 0


def pushed(weight_VD: Tensor) -> Tensor:
    """Which rows lie in the direction that most rows share, bool ``[V]``.

    Raises:
        ValueError: hardly any row does, or hardly any does not: there is nothing to draw anew, or nothing to go by.
    """
    from torch.nn.functional import normalize

    rows_VD = normalize(weight_VD.detach().float(), dim=1)
    pushed_V = rows_VD @ normalize(rows_VD.mean(0), dim=0) > ALIKE
    num = int(pushed_V.sum())
    if not 2 <= num <= len(pushed_V) - 2:
        raise ValueError(f"{num} of {len(pushed_V)} embeddings lie in one direction; expected some, and not all.")
    return pushed_V


def redrawn(weight_VD: Tensor, pushed_V: Tensor, seed: int) -> Tensor:
    """A copy whose pushed rows are normal, with the mean and the spread of the others."""
    import torch

    kept = weight_VD.detach()[~pushed_V].float()
    mean_D = kept.mean(0)
    spread = (kept - mean_D).square().mean().sqrt()
    chance = torch.Generator().manual_seed(seed)
    rows = mean_D + spread * torch.randn(len(weight_VD) - len(kept), len(mean_D), generator=chance)
    new_VD = weight_VD.detach().clone()
    new_VD[pushed_V] = rows.to(new_VD)
    return new_VD


if __name__ == "__main__":
    sys.exit(main())
