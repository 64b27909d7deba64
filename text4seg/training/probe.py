"""How many samples a device can feed at once: tried before training, with samples as long as there may be.

A step is run forward and backward for one sample, then for more, as long as what was measured leaves room; a size whose
need would not fit if all of it grew in proportion is never tried, so nothing runs out of memory on the way.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext

import torch
from PIL import Image

from text4seg.callbacks.throughput import peak_memory
from text4seg.config import Config
from text4seg.models.backbone import Backbone
from text4seg.models.loss import IGNORE_LABEL, answer_loss
from text4seg.models.processor import model_inputs
from text4seg.training.hardware import Hardware
from text4seg.training.launch import launched, local_rank
from text4seg.training.stages import sides_of

SHARED_NAME = "TEXT4SEG_BATCH_SIZE"
"""The first process tells those that it starts through this variable what it found."""
SPARE = 0.9
"""Share of the free memory that may be used; the rest is for what no step shows, such as a fragmented heap."""
OPTIMIZER = 12
"""Bytes a trained weight that come with the first step: AdamW's two moments and a float32 copy."""


def find_batch_size(config: Config, devices: Hardware, backbone: Backbone) -> int:
    """The most samples at once that fit, among those that divide a rank's share of the global batch.

    Args:
        config: with `trainer.global_batch`.
        devices: that will train.
        backbone: adapted already; comes back as it was.

    Raises:
        ValueError: no global batch, one that the ranks do not divide, several launched processes, or not even one
            sample fits.
    """
    found = launched()
    if found and found.ranks > 1:
        raise ValueError(
            f"`trainer.fill_memory`: {found.by} started {found.ranks} processes, which would have to agree. Run it "
            "once with one process and `trainer.steps=1`, and give the `data.batch_size` that it prints."
        )
    if local_rank() and SHARED_NAME in os.environ:
        return int(os.environ[SHARED_NAME])
    batch = config.trainer.global_batch
    if batch is None or batch % devices.ranks:
        raise ValueError(
            f"`trainer.fill_memory` needs a `trainer.global_batch` that {devices.ranks} ranks divide, got {batch}."
        )
    share = batch // devices.ranks
    sizes = [size for size in range(1, share + 1) if share % size == 0]
    device = torch.device("cuda", 0) if devices.accelerator == "gpu" else torch.device("cpu")
    trained = sum(p.numel() for p in backbone.model.parameters() if p.requires_grad)
    room = free_memory(device) * SPARE - OPTIMIZER * trained
    backbone.model.to(device)  # type: ignore[arg-type]
    try:
        size = largest(sizes, lambda size: _need(backbone, config, size, device), room)
    finally:
        backbone.model.to("cpu")  # type: ignore[arg-type]
    os.environ[SHARED_NAME] = str(size)
    return size


def largest(sizes: Sequence[int], need: Callable[[int], float], room: float) -> int:
    """The largest of ascending sizes whose need fits.

    Raises:
        ValueError: the smallest does not.
    """
    best, needed = 0, 0.0
    for size in sizes:
        if best and needed * size / best > room:
            break
        needed = need(size)
        if needed > room:
            break
        best = size
    if not best:
        raise ValueError(
            f"not even {sizes[0]} sample fits: it needs {needed / 2**30:.1f} GiB, {room / 2**30:.1f} are free. Take "
            "`model.gradient_checkpointing: true`, a lower `data.max_length`, or fewer bits (`model.quantize`)."
        )
    return best


def free_memory(device: torch.device) -> int:
    """Bytes that this process may still take."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _need(backbone: Backbone, config: Config, size: int, device: torch.device) -> float:
    """Bytes that a step of so many samples takes above what is held already.

    On a CPU this is the growth of the process's peak: 0 where an earlier, higher one hides it.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    else:
        before = peak_memory(device)
    half = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(config.trainer.precision)
    with torch.autocast(device.type, dtype=half) if half else nullcontext():
        batch = _longest(backbone, config, size, device)
        hidden_BTD = backbone.hidden_states(model_inputs(batch))
        loss = answer_loss(hidden_BTD, batch["labels"], backbone.logits, config.loss.reduction, config.loss.chunk)
    loss.backward()
    for weight in backbone.model.parameters():
        weight.grad = None
    return peak_memory(device) - before


def _longest(backbone: Backbone, config: Config, size: int, device: torch.device) -> dict[str, torch.Tensor]:
    """Samples that fill `data.max_length`: whatever follows the picture, the largest, and the question is answer."""
    processor = backbone.processor
    if sides := sides_of(config):
        processor = processor.at(max(processor.geometry.side, *sides.values()))
    length = min(config.data.max_length, backbone.context or config.data.max_length)
    encoded = processor.encode(Image.new("RGB", (64, 64)), [("?", "x")])
    batch = dict(processor.collate([encoded] * size, pad_to_multiple_of=length, max_length=length))
    padding = batch["attention_mask"] == 0
    batch["labels"] = batch["labels"].masked_fill(padding, 0)
    batch["attention_mask"] = torch.ones_like(batch["attention_mask"])
    assert (batch["labels"] != IGNORE_LABEL).any()
    return {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in batch.items()}
