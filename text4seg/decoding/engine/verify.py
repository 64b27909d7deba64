"""One pass over the drafts of a whole batch: which tokens go in, who sees whom, and where each stands.

What goes in of a row is a tree: its *pending* tokens (accepted, but not yet seen by the model) as a chain, then the
draft hanging on the last of them. A token sees its row's accepted tokens and its own ancestors, nothing else, so one
pass gives for every branch what the model would say after it.
Axis legend: B rows, Q tokens of a pass, K slots of the cache, N tokens whose logits are wanted, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from text4seg.decoding.engine.cache import RaggedCache

if TYPE_CHECKING:
    from text4seg.models.backbone import Backbone


@dataclass(frozen=True)
class Branches:
    """What goes into a pass of one row.

    Attributes:
        tokens: pending ones, then the draft's.
        parents: number of each one's parent, -1 for the first.
        pending: how many are pending; the logits of the last of them and of all behind it are wanted.
    """

    tokens: list[int]
    parents: list[int]
    pending: int

    @property
    def depth(self) -> int:
        """Tokens of the draft's longest branch."""
        depths = [0] * (len(self.tokens) + 1)  # the last stands for the parent -1
        for place, parent in enumerate(self.parents):
            depths[place] = depths[parent] + 1
        return max(depths) - self.pending

    def children(self, place: int) -> list[int]:
        """Places of the tokens that hang on this one, best first."""
        return [number for number in range(place + 1, len(self.parents)) if self.parents[number] == place]


class Verifier:
    """Runs passes through a backbone's decoder.

    Args:
        backbone: model and its parts.
    """

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone
        self._language: Any = backbone.part("language")
        config: Any = backbone.core.config.get_text_config()
        self._window: int | None = getattr(config, "sliding_window", None)
        self._kinds: tuple[str, ...] = tuple(sorted(set(getattr(config, "layer_types", None) or ())))
        self._eager = config._attn_implementation == "eager"

    def __call__(self, cache: RaggedCache, rows: Sequence[Branches], starts: Sequence[Sequence[int]]) -> list[Tensor]:
        """Logits of what follows each wanted token.

        Args:
            cache: accepted tokens; gets the pass's keys and values.
            rows: what goes in.
            starts: position of each row's first token, one number an axis of the model's position ids.

        Returns:
            a row each: float32 ``[N, V]``, for the last pending token and then for every token of the draft.
        """
        device = next(self._language.parameters()).device
        width = max(len(row.tokens) for row in rows)
        ids_BQ = np.zeros((len(rows), width), np.int64)
        seen_BQQ = np.zeros((len(rows), width, width), bool)
        depths_BQ = np.zeros((len(rows), width), np.int64)
        for number, row in enumerate(rows):
            ids_BQ[number, : len(row.tokens)] = row.tokens
            _ancestors(row.parents, seen_BQQ[number], depths_BQ[number])
        depths = torch.from_numpy(depths_BQ).to(device)
        masks = self._masks(cache.lengths, torch.from_numpy(seen_BQQ).to(device), depths)
        starts_AB = torch.tensor(list(zip(*starts, strict=True)), device=device)
        positions = starts_AB[..., None] + depths
        out = self._language(
            input_ids=torch.from_numpy(ids_BQ).to(device),
            attention_mask=masks,
            position_ids=positions if len(starts[0]) > 1 else positions[0],
            past_key_values=cache,
            use_cache=True,
        )
        hidden_BQD = out.last_hidden_state
        wanted = [hidden_BQD[number, row.pending - 1 : len(row.tokens)] for number, row in enumerate(rows)]
        logits_NV = self._backbone.logits(torch.cat(wanted)).float()
        return list(logits_NV.split([len(part) for part in wanted]))

    def _masks(self, lengths: list[int], seen_BQQ: Tensor, depths_BQ: Tensor) -> Any:
        """What the decoder takes as its attention mask: one ``[B, 1, Q, K]``, or one a kind of layer."""
        batch, width = depths_BQ.shape
        device = depths_BQ.device
        lengths_B = torch.tensor(lengths, device=device)
        behind_BK = torch.arange(max(lengths) + width, device=device) - lengths_B[:, None]
        place_BK = behind_BK.clamp(0, width - 1)
        inside_BK = (behind_BK >= 0) & (behind_BK < width)
        drafted_BQK = seen_BQQ.gather(2, place_BK[:, None].expand(batch, width, -1)) & inside_BK[:, None]
        full_BQK = drafted_BQK | (behind_BK < 0)[:, None]
        if self._window is None:
            return self._shaped(full_BQK)
        # How far a slot lies behind its query, counted in tokens of the row.
        slot_BK = torch.where(inside_BK, depths_BQ.gather(1, place_BK), behind_BK)
        near_BQK = depths_BQ[..., None] - slot_BK[:, None] < self._window
        if not self._kinds:
            return self._shaped(full_BQK & near_BQK)
        made = {"full_attention": full_BQK, "sliding_attention": full_BQK & near_BQK}
        return {kind: self._shaped(made[kind]) for kind in self._kinds}

    def _shaped(self, seen_BQK: Tensor) -> Tensor:
        mask = seen_BQK[:, None]
        if not self._eager:
            return mask
        dtype = next(self._language.parameters()).dtype
        return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)


def _ancestors(parents: Sequence[int], seen_QQ: np.ndarray, depth_Q: np.ndarray) -> None:
    """Fill in who sees whom, and how deep each token lies; unused places at the end see themselves."""
    np.fill_diagonal(seen_QQ, True)
    for place, parent in enumerate(parents):
        if parent >= 0:
            seen_QQ[place] |= seen_QQ[parent]
            depth_Q[place] = depth_Q[parent] + 1
