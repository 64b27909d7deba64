"""What every backbone offers, whatever its family: a model, its processor, its parts by name, and a split head.

Axis legend: B batch, T tokens, D width of the language model, V vocabulary, N selected positions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from text4seg.models.processor import Processor

SKIPPED = ("lm_head", "embed_tokens")
LINEARS = (nn.Linear, Conv1D)
"""GPT-2 calls its linear layers Conv1D; PEFT adapts them alike."""

POSITIONS = ("wpe", "embed_pos", "position_embed")
"""What tables of positions are called."""


@dataclass
class Backbone:
    """A vision-language model with the names of its parts.

    Attributes:
        model: LLaVA-shaped: ``model.model(...)`` gives hidden states, ``model.lm_head`` the logits, ``generate`` text.
        processor: images and conversations -> tensors.
        vision: module name of the vision tower.
        projector: module name of the projector.
        language: module name of the decoder.
        beside: by part, the names of further modules and single weights that belong to it.
        loaded: where the weights came from and how many of them, in words (random weights say so).
        files: JSON files by name that transformers wants beside the weights, and what they hold.
        tree_attention: the decoder takes a mask of its own making (4D) and position ids, so that drafts can branch.
        shared_prefix: what stands before a question (the image) is encoded without looking at the question, so that
            questions about one image can share it.
        saved_as_read: weights keep the names that they had in the checkpoint; False saves them as the class names them,
            for checkpoints that were converted on loading.
    """

    model: PreTrainedModel | PeftModel
    processor: Processor
    vision: str = "model.vision_tower"
    projector: str = "model.multi_modal_projector"
    language: str = "model.language_model"
    beside: dict[str, tuple[str, ...]] = field(default_factory=dict)
    loaded: str = ""
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    tree_attention: bool = True
    shared_prefix: bool = True
    saved_as_read: bool = True

    def hidden_states(self, inputs: dict[str, Tensor]) -> Tensor:
        """Last hidden states ``[B, T, D]``, before the language-model head."""
        return self.core.model(**inputs, use_cache=False).last_hidden_state

    def hidden_states_at(self, inputs: dict[str, Tensor], layers: Sequence[int]) -> tuple[Tensor, list[Tensor]]:
        """Last hidden states, and those behind so many decoder layers, RMS-normalised; all ``[B, T, D]``."""
        out = self.core.model(**inputs, use_cache=False, output_hidden_states=True)
        middle = [out.hidden_states[number] for number in layers]
        return out.last_hidden_state, [functional.rms_norm(state, state.shape[-1:]) for state in middle]

    @property
    def depth(self) -> int:
        """Number of decoder layers."""
        return int(self.core.config.get_text_config().num_hidden_layers)

    def logits(self, hidden_ND: Tensor, words: Tensor | None = None) -> Tensor:
        """Logits ``[N, V]`` of some positions only, and of some words ``[W]`` only where those are given.

        Raises:
            ValueError: words are given and the head is no plain linear layer.
        """
        head = self.head
        if words is None:
            return head(hidden_ND)
        if type(head) is not nn.Linear:
            raise ValueError(f"`loss.sampled` needs a plain linear head, got {type(head).__name__}; take it away.")
        rows = {name: weight[words] for name, weight in head.named_parameters()}
        return functional_call(head, rows, (hidden_ND,))

    @property
    def layers(self) -> list[nn.Module]:
        """The decoder's layers."""
        lists = (m for m in self.part("language").modules() if isinstance(m, nn.ModuleList) and len(m) == self.depth)
        return list(next(lists))

    @property
    def head(self) -> nn.Module:
        """The language-model head: hidden states -> logits."""
        core: Any = self.core
        return core.get_output_embeddings()

    @property
    def core(self) -> PreTrainedModel:
        """The model without an adapter's wrapper (the adapter's layers stay in it)."""
        model: Any = self.model
        base: Any = model.get_base_model() if isinstance(model, PeftModel) else model
        return base

    @property
    def context(self) -> int | None:
        """Most tokens that a table of positions has room for, as in GPT-2; None for models that compute positions."""
        length = getattr(self.core.config.get_text_config(), "max_position_embeddings", None)
        part = self.part("language")
        tables = (
            tensor.shape[0]
            for name, tensor in (*part.named_parameters(), *part.named_buffers())
            if tensor.ndim == 2 and any(word in name for word in POSITIONS)
        )
        # OPT's table has two rows more than positions.
        return length if isinstance(length, int) and any(0 <= rows - length <= 2 for rows in tables) else None

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

    def members(self, part: str) -> dict[str, nn.Module | nn.Parameter]:
        """All that belongs to a part, by full name: the module that it is called after first."""
        named = self.part(part)  # refuses what is none
        found: dict[str, nn.Module | nn.Parameter] = {getattr(self, part): named}
        for name in self.beside.get(part, ()):
            owner, _, last = name.rpartition(".")
            found[name] = getattr(self.core.get_submodule(owner), last)
        return found

    def weights(self, part: str) -> list[nn.Parameter]:
        """All weights of a part."""
        members = self.members(part).values()
        return [w for m in members for w in ([m] if isinstance(m, nn.Parameter) else m.parameters())]

    def linears(self, part: str) -> list[str]:
        """Full names of the linear layers of a part, heads and embeddings left out."""
        return [
            name
            for prefix, member in self.members(part).items()
            if isinstance(member, nn.Module)
            for name, module in member.named_modules(prefix=prefix)
            if isinstance(module, LINEARS) and not any(s in name for s in SKIPPED)
        ]

    def save(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        """Write weights and tokenizer as an ordinary checkpoint folder, in `dtype` where given."""
        core = self.core
        state = core.state_dict(keep_vars=True)  # tied weights are one object then, and stay one
        if dtype is not None:
            cast = {id(v): v.detach().to(dtype) for v in state.values() if v.is_floating_point()}
            state = {k: cast.get(id(v), v) for k, v in state.items()}
        core.save_pretrained(folder, state_dict=state, save_original_format=self.saved_as_read)
        if dtype is not None:
            _state_dtype(Path(folder) / "config.json", str(dtype).removeprefix("torch."))
        self.processor.save(folder)
        for name, values in self.files.items():
            (Path(folder) / name).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _state_dtype(path: Path, dtype: str) -> None:
    """Let a configuration say what the weights are stored in; transformers writes what the model computed in."""
    config = json.loads(path.read_text(encoding="utf-8"))
    for part in (config, *(value for value in config.values() if isinstance(value, dict) and "dtype" in value)):
        part["dtype"] = dtype
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
