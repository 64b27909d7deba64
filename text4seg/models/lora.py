"""LoRA through PEFT on exactly the decoder's linear layers; what was adapted is counted and checked.

Source: LoRA settings of Text4Seg (arXiv 2410.09855), Table 7: rank 64, alpha 128, dropout 0.05.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import cast

from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import PreTrainedModel

from text4seg.models.backbone import Backbone
from text4seg.models.integrity import count
from text4seg.models.settings import LoraSettings, ModelSettings


@dataclass(frozen=True)
class LoraReport:
    """What trains after adaptation."""

    trainable: int
    total: int
    targets: int

    def __str__(self) -> str:
        return f"{self.trainable:,} of {self.total:,} weights train ({self.trainable / self.total:.2%})"


def apply_lora(backbone: Backbone, settings: LoraSettings) -> LoraReport:
    """Wrap ``backbone.model`` in a PEFT model, in place.

    Raises:
        ValueError: `projector` is not lora, full or frozen; or it is lora and the projector has no linear layer.
        RuntimeError: PEFT adapted another number of layers than the decoder's configuration implies.
    """
    if settings.projector not in ("lora", "full", "frozen"):
        raise ValueError(f"`model.lora.projector` must be lora, full or frozen, got {settings.projector!r}.")
    targets = backbone.linears("language")
    _check_layers(backbone, targets)
    if settings.projector == "lora":
        targets = targets + _linears_of_projector(backbone)
    if settings.vision:
        targets = targets + backbone.linears("vision")
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=targets,
        modules_to_save=_modules(backbone, "projector") if settings.projector == "full" else None,
    )
    backbone.model = cast(PreTrainedModel, get_peft_model(backbone.model, config))
    adapted = sum(name.endswith("lora_A.default") for name, _ in backbone.model.named_modules())
    if adapted != len(targets):
        raise RuntimeError(f"LoRA reached {adapted} layers, {len(targets)} were asked for.")
    return report(backbone, len(targets))


def choose_trained(backbone: Backbone, settings: ModelSettings) -> LoraReport:
    """Adapt a backbone with LoRA, or set the parts that train as a whole; says what trains.

    Raises:
        ValueError: an unknown part in `train`, or a wrong LoRA setting.
    """
    found = apply_lora(backbone, settings.lora) if settings.lora.enabled else _train_parts(backbone, settings.train)
    _set_modes(backbone)
    if settings.gradient_checkpointing:
        backbone.core.gradient_checkpointing_enable({"use_reentrant": False})
        # That, and PEFT when it wraps a checkpointed model, makes even the frozen tower's patches require a gradient:
        # backward runs through the whole tower for nothing. Only re-entrant checkpoints need it.
        backbone.core.disable_input_require_grads()
    return found


def hold_trained_in_float32(backbone: Backbone) -> None:
    """For mixed precision beside LoRA: in bfloat16 most steps of a usual rate would be rounded away.

    PEFT sees to its own layers; this is for a projector that trains whole.
    """
    if isinstance(backbone.model, PeftModel):
        for weight in backbone.model.parameters():
            if weight.requires_grad:
                weight.data = weight.data.float()


def _set_modes(backbone: Backbone) -> None:
    """Training mode but for parts that are frozen.

    A loaded checkpoint comes in evaluation mode and Lightning leaves it there; layers then ignore that they should
    checkpoint gradients. A frozen tower, on the other hand, must not update statistics nor drop anything.
    """
    backbone.model.train()
    for name in ("vision", "projector", "language"):
        if not any(weight.requires_grad for weight in backbone.weights(name)):
            for module in _modules(backbone, name):
                backbone.core.get_submodule(module).eval()


def _train_parts(backbone: Backbone, parts: list[str]) -> LoraReport:
    backbone.model.requires_grad_(False)
    for part in parts:
        for member in backbone.members(part).values():
            member.requires_grad_(True)
        if part == "language":
            backbone.core.lm_head.requires_grad_(True)
    return report(backbone)


def report(backbone: Backbone, targets: int = 0) -> LoraReport:
    """Count trainable and total weights."""
    sizes = [(count(p), p.requires_grad) for p in backbone.model.parameters()]
    return LoraReport(sum(n for n, grad in sizes if grad), sum(n for n, _ in sizes), targets)


def _modules(backbone: Backbone, part: str) -> list[str]:
    return [name for name, member in backbone.members(part).items() if isinstance(member, nn.Module)]


def _linears_of_projector(backbone: Backbone) -> list[str]:
    found = backbone.linears("projector")
    if not found:
        raise ValueError(
            f"`model.lora.projector: lora` adapts linear layers, but {backbone.projector} of "
            f"{type(backbone.core).__name__} has none and would stay as it is: set it to full (it trains as a whole) "
            "or frozen."
        )
    return found


def _check_layers(backbone: Backbone, targets: list[str]) -> None:
    """The targets lie in all of the decoder layers that the configuration promises, and in no others."""
    layers = backbone.core.config.get_text_config().num_hidden_layers
    inside = [name.removeprefix(f"{backbone.language}.") for name in targets]
    found = {int(number[0]) for name in inside if (number := re.findall(r"\.(\d+)\.", f".{name}."))}
    if found != set(range(layers)):
        raise RuntimeError(
            f"linear layers were found in {len(found)} layers of {backbone.language}, the configuration promises "
            f"{layers} decoder layers; the family's part names are wrong."
        )
