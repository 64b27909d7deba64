"""Bytes that a training step takes: a formula from the architecture, term by term, no factor fitted to a measurement.

What a tensor is kept for decides its size. PyTorch keeps an operation's input for the way back where the other factor
needs a gradient or leads to one: a frozen linear layer keeps its weight (a copy of it, where autocast has cast it), a
LoRA layer its input, a product both factors, a norm its input in float32. Parts of less than a per cent (projector,
rotary tables, a frozen tower's passing vectors) are left out, and so is a tower that trains.

Axis legend: T tokens of a micro-batch, D hidden width, I MLP's width, H heads, N answer tokens, V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from text4seg.config import Config
from text4seg.models.lora import LoraReport

FLOAT = 4
"""Bytes of a float32."""
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
SPLIT = ("zero2",)
"""Strategies of DeepSpeed: they hold weights in the training's precision and cut the optimizer into parts."""
MASTER = 12
"""Bytes a trained weight under DeepSpeed: AdamW's two moments and a copy of the weight, all in float32."""
BUCKETS = 2 * 200_000_000
"""Numbers in DeepSpeed's two buffers for gradients under way, as Lightning sets them; taken on a GPU at once."""
ADAPTED = 7
"""Linear layers of a decoder layer: query, key, value, output, gate, up, down."""


@dataclass(frozen=True)
class Memory:
    """Bytes on each of `gpus` GPUs."""

    gpus: int
    weights: float
    optimizer: float
    activations: float

    @property
    def total(self) -> float:
        """All of them."""
        return self.weights + self.optimizer + self.activations


@dataclass(frozen=True)
class Widths:
    """Bytes a number: `held` frozen weights, `trained` weights, `kept` what is computed, `carried` between layers."""

    held: float
    trained: int
    kept: int
    carried: int
    casts: bool

    @classmethod
    def of(cls, config: Config) -> Widths:
        """What a configuration computes in: all in one type, or autocast over weights of another."""
        precision, model = config.trainer.precision, config.model
        half = precision != "32-true"
        whole = half and (precision.endswith("true") or config.trainer.strategy in SPLIT)
        held = 2 if whole else BYTES[model.dtype]
        trained = 2 if whole else FLOAT if model.lora.enabled else held  # PEFT makes adapters in float32
        casts = half and not whole
        frozen = model.quantize / 8 if model.quantize else held
        return cls(frozen, trained, 2 if half else held, held, casts)


@dataclass(frozen=True)
class Batch:
    """A micro-batch: samples, tokens of each with padding, answer tokens of each."""

    samples: int
    length: int
    answer: int


def memory(text: Any, report: LoraReport, config: Config, batch: Batch, gpus: int, attention: str) -> Memory:
    """Bytes on each GPU at the fullest moment of a step.

    Args:
        text: transformers' configuration of the decoder.
        report: what trains.
        config: a run's.
        batch: a micro-batch.
        gpus: that share the work.
        attention: eager, sdpa, flash_attention_2 ...
    """
    widths = Widths.of(config)
    weights = (report.total - report.trainable) * widths.held + report.trainable * widths.trained
    if config.trainer.strategy == "fsdp2" and gpus > 1:
        layer = layer_weights(text)  # gathered are the one that computes and the one that comes next
        shared = text.num_hidden_layers * layer * (1 - 1 / gpus) - 2 * layer
        weights -= shared * widths.held + report.trainable * widths.trained * (1 - 1 / gpus)
    return Memory(
        gpus, weights, _optimizer(report, config, widths, gpus), activations(text, config, batch, attention, report)
    )


def _optimizer(report: LoraReport, config: Config, widths: Widths, gpus: int) -> float:
    """AdamW's moments and the gradients; DDP sends gradients through buckets as large as all of them."""
    if config.trainer.strategy in SPLIT:
        buffers = 0 if config.trainer.accelerator == "cpu" else BUCKETS * widths.trained
        return report.trainable * (MASTER + widths.trained) / gpus + buffers
    if config.trainer.strategy == "fsdp2":
        return report.trainable * widths.trained * 3 / gpus
    return report.trainable * widths.trained * (3 if gpus == 1 else 4)


def activations(text: Any, config: Config, batch: Batch, attention: str, report: LoraReport) -> float:
    """Bytes that a micro-batch leaves for the way back, at the end of the way there or a little behind it.

    With gradient checkpointing a layer leaves its input only, and is computed again when its turn comes; then either
    the logits or one layer in full are there, and with it the gradients of its MLP.
    """
    widths, model = Widths.of(config), config.model
    tokens = batch.samples * batch.length
    width, layers = text.hidden_size, text.num_hidden_layers
    layer = tokens * _layer(text, config, batch.length, attention, widths)
    layer_casts, head_casts = _casts(text, widths)
    positions = min(batch.samples * batch.answer, config.loss.chunk or math.inf)
    head = positions * text.vocab_size * 3.0 * FLOAT  # log-softmax and two gradients
    end = tokens * width * (FLOAT + widths.carried) + head_casts
    if widths.casts and model.lora.enabled:
        end += report.trainable * widths.kept
    if not model.gradient_checkpointing:
        return layers * (layer + layer_casts) + head + end
    again = layer + layer_casts + tokens * (2 * text.intermediate_size + width) * widths.kept
    return layers * tokens * width * widths.carried + max(head, again) + end


def _layer(text: Any, config: Config, length: int, attention: str, widths: Widths) -> float:
    """Bytes a token that a decoder layer keeps: norms, attention, the MLP's products, inputs of what trains."""
    heads, keys, head = _heads(text)
    width, inner, kept = text.hidden_size, text.intermediate_size, widths.kept
    flash = attention.startswith("flash")
    eager = attention == "eager"  # does not look at its output again; fused attention does
    vectors = (1 if eager else 2) * heads * head
    vectors += 2 * head * (keys if flash else heads)  # others repeat shared keys and values
    square = {"eager": heads * (FLOAT + (kept if kept != FLOAT else 0)), "sdpa": kept}.get(attention, 0) * length
    norms = 2 * width * (FLOAT + (0 if config.model.lora.enabled else widths.carried))  # a weight that trains: twice
    products = 3 * inner * kept
    return norms + vectors * kept + square + products + _inputs(config, width, heads * head, inner, widths, eager)


def _inputs(config: Config, width: int, attended: int, inner: int, widths: Widths, eager: bool) -> float:
    """Bytes a token of the linear layers' inputs (and LoRA's inner vectors).

    One tensor serves several layers, unless each makes its own of it: by dropout, which keeps what it let through as
    well (a float on a CPU, a byte on a GPU), or by casting. What fused attention keeps is not counted twice.
    """
    lora, kept = config.model.lora, widths.kept
    each = 5 * width + attended + inner
    if lora.enabled and lora.dropout:
        mask = (FLOAT if widths.casts else kept) if config.trainer.accelerator == "cpu" else 1
        taken = each * (kept + mask)
    elif widths.casts:
        taken = (each if lora.enabled or eager else each - attended) * kept
    else:
        taken = (2 * width + inner + (attended if eager else 0)) * kept
    return taken + (ADAPTED * lora.rank * kept if lora.enabled else 0)


def _casts(text: Any, widths: Widths) -> tuple[float, float]:
    """Bytes of the weights that autocast has cast and the way back needs: of a layer's linear layers, of the head."""
    if not widths.casts or widths.carried == widths.kept:
        return 0.0, 0.0
    return layer_weights(text) * widths.kept, text.hidden_size * text.vocab_size * widths.kept


def layer_weights(text: Any) -> int:
    """Weights of a decoder layer's linear layers."""
    heads, keys, head = _heads(text)
    return text.hidden_size * (head * (2 * heads + 2 * keys) + 3 * text.intermediate_size)


def _heads(text: Any) -> tuple[int, int, int]:
    """Heads, heads of keys and values, width of each."""
    heads = text.num_attention_heads
    keys = getattr(text, "num_key_value_heads", None) or heads
    return heads, keys, getattr(text, "head_dim", None) or text.hidden_size // heads
