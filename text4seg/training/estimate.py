"""What a run will cost, from its configuration alone: parameters, memory on 1, 4 and 8 GPUs, steps, tokens.

Models are built without weights (on PyTorch's meta device), so their parameters and what trains of them are counted
exactly; bytes come from a formula (`memory`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from text4seg.config import Config
from text4seg.data.datamodule import counted, shard_counts
from text4seg.models.backbone import Backbone
from text4seg.models.lora import LoraReport, choose_trained
from text4seg.models.registry import load_processor, load_skeleton
from text4seg.training.memory import Batch, Memory, memory
from text4seg.training.plan import plan
from text4seg.training.stages import sides_of, stage_lines

GPUS = (1, 4, 8)
GIB = 2**30
QUESTION = 60
"""Tokens of a system text, a question and the words around them."""
TOKENS_A_ROW = 13
"""Of a referring answer in run lengths: 12 measured on 16x16 masks, 14 on 32x32 (Qwen3's tokenizer)."""
TOKENS_A_CELL = 2.3
"""Of an answer that names every cell."""


@dataclass(frozen=True)
class Estimate:
    """A run's cost.

    Attributes:
        report: parameters in all and trained, adapted layers.
        image_tokens: of a picture, where stages have pictures of their own the largest.
        answer_tokens: of a typical answer.
        memory: for each number of GPUs.
        config: that it was made for.
    """

    report: LoraReport
    image_tokens: int
    answer_tokens: int
    memory: tuple[Memory, ...]
    config: Config

    @property
    def length(self) -> int:
        """Tokens of a typical sample."""
        return min(self.image_tokens + QUESTION + self.answer_tokens, self.config.data.max_length)

    @property
    def needed(self) -> int:
        """Shards that the loading processes of the most GPUs need: each reads some of its own."""
        return GPUS[-1] * max(1, self.config.data.workers)

    def lines(self) -> Iterator[str]:
        """The estimate in words."""
        config, lora = self.config, self.config.model.lora
        base = self.report.total - (self.report.trainable if lora.enabled else 0)
        how = f"LoRA of rank {lora.rank} on {self.report.targets} layers" if lora.enabled else "whole parts"
        strategy = config.trainer.strategy
        split = {"zero2": "optimizer and gradients split by ZeRO-2", "fsdp2": "decoder and optimizer split by FSDP2"}
        yield f"{config.model.path or config.model.family}: {base:,} parameters"
        yield f"trained: {self.report.trainable:,} ({self.report.trainable / self.report.total:.2%}), {how}"
        yield (
            f"a sample: about {self.length} tokens ({self.image_tokens} of the image, {self.answer_tokens} of the "
            f"answer; {config.data.max_length} at most)"
        )
        yield f"GiB a GPU, {split.get(strategy, 'an optimizer on each GPU')}:"
        for row in self.memory:
            yield (
                f"  {_gpus(row.gpus)}: {row.weights / GIB:.1f} weights + {row.optimizer / GIB:.2f} optimizer and "
                f"gradients + about {row.activations / GIB:.1f} activations = {row.total / GIB:.1f}"
            )
        yield from self._steps()

    def _steps(self) -> Iterator[str]:
        samples = counted(self.config.data, expected=True)
        yield f"an epoch: {'unknown until the shards are built' if samples is None else f'{samples:,} samples'}"
        places = ", ".join(f"{name} {told}" for name, told in shard_counts(self.config.data).items())
        yield f"shards: {places}; at least {self.needed} for 8 GPUs"
        for gpus in GPUS:
            try:
                planned = plan(self.config, gpus, samples)
            except ValueError as error:
                yield f"  {_gpus(gpus)}: {error}"
                continue
            if gpus == GPUS[0]:
                yield from (f"  {line}" for line in stage_lines(self.config, planned.steps))
            seen = planned.steps * planned.batch
            yield f"  {planned}: {seen:,} samples, about {seen * self.length / 1e6:,.0f} million tokens"


def _gpus(number: int) -> str:
    return f"{number} GPU{'s' if number > 1 else ''}"


def estimate(config: Config, length: int | None = None, answer: int | None = None) -> Estimate:
    """Count and compute.

    Args:
        config: a run's.
        length: tokens of the longest sample of a batch, where they are known better than by the rules above.
        answer: of them those that are taught.

    Raises:
        ValueError: neither the checkpoint's folder nor `model.architecture` says how large the model is.
    """
    backbone = load_skeleton(config.model)
    tokens = _image_tokens(backbone, config)
    report = choose_trained(backbone, replace(config.model, gradient_checkpointing=False))
    rows, cols = config.data.grid
    answer = answer or (round(rows * cols * TOKENS_A_CELL) if config.data.codec == "full" else rows * TOKENS_A_ROW)
    made = Estimate(report, tokens, answer, (), config)
    text = backbone.core.config.get_text_config()
    batch = Batch(config.data.batch_size, length or made.length, answer)
    attention = config.model.attention or text._attn_implementation or "eager"
    rows = tuple(memory(text, report, config, batch, gpus, attention) for gpus in GPUS)
    return replace(made, memory=rows)


def _image_tokens(backbone: Backbone, config: Config) -> int:
    """Tokens of a picture: as the configuration states them, else as the folder's processor makes them."""
    stated, settings = getattr(backbone.core.config, "image_seq_length", None), config.model
    if stated:
        return int(stated)
    if not settings.path or not Path(settings.path).is_dir():
        return 0
    usual = load_processor(settings).geometry
    return max([usual.num_tokens, *(usual.at(side).num_tokens for side in sides_of(config).values())])
