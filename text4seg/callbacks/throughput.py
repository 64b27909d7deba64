"""What the hardware did: tokens a second, padding, waiting for data, arithmetic and memory; in the progress and a file.

Arithmetic is counted as usual for transformers: 2 operations a weight and token forward, 2 backward to what lies
before, 2 more for the gradient of a weight that trains, and the forward pass again where layers are checkpointed.
Embeddings compute nothing; attention itself is left out (a few per cent at these lengths).
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import nn

from text4seg.callbacks.keeper import write_whole

PEAKS = {"A100": 312e12, "A800": 312e12, "H100": 989e12, "H800": 989e12, "H200": 989e12, "L40": 181e12, "A10": 125e12}
"""Dense bfloat16 operations a second, from the vendor's sheets."""


class Throughput(Callback):
    """Counts since the start or the resume; rank 0's view times the ranks. Validation is not counted.

    Args:
        path: of the file, usually RUN/logs/throughput.json.
        recomputes: layers are checkpointed.
    """

    def __init__(self, path: Path, recomputes: bool) -> None:
        self.path, self.recomputes = path, recomputes
        self.seconds = self.waited = 0.0
        self.steps = self.samples = self.tokens = self.real = self.answers = 0
        self._mark: float | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the weights once."""
        self._world, self._device = trainer.world_size, pl_module.device
        self._operations = operations_a_token(pl_module, self.recomputes)
        self._step, self._mark = trainer.global_step, time.perf_counter()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: dict[str, Any], batch_idx: int
    ) -> None:
        """A batch is here: what passed since the last one was waiting."""
        now = time.perf_counter()
        if self._mark is not None:
            self.waited += now - self._mark
            self.seconds += now - self._mark
        self._mark = now

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: dict[str, Any], batch_idx: int
    ) -> None:
        """Count a micro-batch."""
        now = time.perf_counter()
        self.seconds += now - (self._mark or now)
        self._mark = now
        self.steps += trainer.global_step - self._step
        self._step = trainer.global_step
        self.samples += len(batch["origin"].keys)
        self.tokens += batch["labels"].numel()
        self.real += int(batch["attention_mask"].sum())
        self.answers += int((batch["labels"] != -100).sum())

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        self._mark = None

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write down what was counted, and go on with the clock."""
        self._write(trainer)
        self._mark = time.perf_counter()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write down what was counted."""
        self._write(trainer)

    def _write(self, trainer: Trainer) -> None:
        if trainer.is_global_zero and self.tokens:
            write_whole(self.path, json.dumps(self.values(), indent=1) + "\n")

    def values(self) -> dict[str, float | None]:
        """The figures by name; `mfu` is None where the device's peak is not known."""
        second = self._world / max(self.seconds, 1e-9)
        peak, operations = peak_of(self._device), self._operations * self.real
        return {
            "steps": self.steps,
            "seconds": self.seconds,
            "samples_a_second": self.samples * second,
            "tokens_a_second": self.tokens * second,
            "answer_tokens_a_second": self.answers * second,
            "padding_share": 1 - self.real / max(1, self.tokens),
            "wait_share": self.waited / max(self.seconds, 1e-9),
            "teraflops_a_device": operations / max(self.seconds, 1e-9) / 1e12,
            "mfu": None if peak is None else operations / max(self.seconds, 1e-9) / peak,
            "peak_memory_gib": peak_memory(self._device) / 2**30,
        }

    def __str__(self) -> str:
        """For the line of the progress."""
        if not self.tokens:
            return ""
        values = self.values()
        told = (
            f"{values['tokens_a_second']:,.0f} tokens/s ({values['answer_tokens_a_second']:,.0f} of answers) · padding "
            f"{values['padding_share']:.0%} · waiting {values['wait_share']:.0%} · {values['peak_memory_gib']:.1f} GiB"
        )
        return told if values["mfu"] is None else f"{told} · MFU {values['mfu']:.0%}"


def operations_a_token(module: nn.Module, recomputes: bool) -> float:
    """Arithmetic of one token's training step; the vision tower is counted as if it saw as many tokens."""
    tables = {id(p) for part in module.modules() if isinstance(part, nn.Embedding) for p in part.parameters()}
    sizes = [(p.numel(), p.requires_grad) for p in module.parameters() if id(p) not in tables]
    weights, trained = sum(n for n, _ in sizes), sum(n for n, grad in sizes if grad)
    return (6.0 if recomputes else 4.0) * weights + 2.0 * trained


def peak_of(device: torch.device) -> float | None:
    """Operations a second that a device's sheet promises; None for one that is not in the list."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return next((peak for known, peak in PEAKS.items() if known in name), None)


def peak_memory(device: torch.device) -> int:
    """Most bytes so far: allocated on the GPU, or resident of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
