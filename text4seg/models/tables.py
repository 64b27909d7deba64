"""Constant tables of a model, such as rotary frequencies, in the precision that they were made in.

``bf16-true`` and DeepSpeed cast a whole module, and with it the frequencies: 0.8660 becomes 0.8672, most of a radian
some hundred tokens on. Evaluation and prediction load a model with exact tables, so that training must not round them.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn


class ExactTables:
    """Copies of a model's float32 tables (buffers that no checkpoint holds).

    Args:
        model: as it was loaded, before it is cast.
    """

    def __init__(self, model: nn.Module) -> None:
        self._kept = {name: table.clone() for name, _, _, table in _tables(model) if table.dtype == torch.float32}

    def restore(self, model: nn.Module) -> None:
        """Put them back, on the devices where the rounded ones are."""
        for name, module, key, table in _tables(model):
            if name in self._kept and table.dtype != torch.float32:
                module._buffers[key] = self._kept[name].to(table.device)


def _tables(model: nn.Module) -> Iterator[tuple[str, nn.Module, str, Tensor]]:
    for prefix, module in model.named_modules():
        for key in module._non_persistent_buffers_set:
            table = module._buffers.get(key)
            if table is not None:
                yield f"{prefix}.{key}", module, key, table
