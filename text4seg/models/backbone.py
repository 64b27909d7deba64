"""What every backbone offers, whatever its family: a model, its processor, its parts by name, and a split head.

Axis legend: B batch, T tokens, D width of the language model, V vocabulary, N selected positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from text4seg.models.processor import Processor

SKIPPED = ("lm_head", "embed_tokens")
LINEARS = (nn.Linear, Conv1D)
"""GPT-2 calls its linear layers Conv1D; PEFT adapts them alike."""


@dataclass
class Backbone:
    """A vision-language model with the names of its parts.

    Attributes:
        model: LLaVA-shaped: ``model.model(...)`` gives hidden states, ``model.lm_head`` the logits, ``generate`` text.
        processor: images and conversations -> tensors.
        vision: module name of the vision tower.
        projector: module name of the projector.
        language: module name of the decoder.
        loaded: where the weights came from, in words (random weights say so).
    """

    model: PreTrainedModel | PeftModel
    processor: Processor
    vision: str = "model.vision_tower"
    projector: str = "model.multi_modal_projector"
    language: str = "model.language_model"
    loaded: str = ""

    def hidden_states(self, inputs: dict[str, Tensor]) -> Tensor:
        """Last hidden states ``[B, T, D]``, before the language-model head."""
        return self.core.model(**inputs, use_cache=False).last_hidden_state

    def logits(self, hidden_ND: Tensor) -> Tensor:
        """Logits ``[N, V]`` of some positions only."""
        return self.core.lm_head(hidden_ND)

    @property
    def core(self) -> PreTrainedModel:
        """The model without an adapter's wrapper (the adapter's layers stay in it)."""
        model: Any = self.model
        base: Any = model.get_base_model() if isinstance(model, PeftModel) else model
        return base

    def to(self, device: torch.device | str) -> None:
        """Move the model; inputs must follow."""
        module: nn.Module = self.model
        module.to(device)

    def part(self, name: str) -> nn.Module:
        """`vision`, `projector` or `language` as a module.

        Raises:
            ValueError: another name.
        """
        if name not in ("vision", "projector", "language"):
            raise ValueError(f"`model.train` may hold vision, projector and language, got {name!r}.")
        return self.core.get_submodule(getattr(self, name))

    def linears(self, part: str) -> list[str]:
        """Full names of the linear layers of a part, heads and embeddings left out."""
        return [
            f"{getattr(self, part)}.{name}"
            for name, module in self.part(part).named_modules()
            if isinstance(module, LINEARS) and not any(s in name for s in SKIPPED)
        ]

    def save(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        """Write weights and tokenizer as an ordinary checkpoint folder, in `dtype` where given."""
        core = self.core
        state = core.state_dict()
        if dtype is not None:
            state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}
        core.save_pretrained(folder, state_dict=state)
        self.processor.save(folder)
