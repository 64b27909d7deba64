"""A bar for training with loss, rate and time left, one for validation; plain lines where there is no terminal."""

from __future__ import annotations

import time
from typing import Any

from lightning import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from text4seg.callbacks.throughput import Throughput

LINES = 20
"""Without a terminal, so many lines a training."""
TOLD = ("val/loss", "val/cIoU", "val/ceiling_cIoU", "val/all_others")
"""Scores that are said after each validation."""


class FitProgress(Callback):
    """Shows how far training is.

    Args:
        steps: optimizer steps of the whole training.
        console: where to write.
        throughput: what to say about the hardware; must stand before this callback.
    """

    def __init__(self, steps: int, console: Console, throughput: Throughput) -> None:
        self.steps, self.console, self.throughput = steps, console, throughput
        self._bar: Progress | None = None
        self._task = self._check = TaskID(0)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar."""
        self._start, self._first, self._samples = time.perf_counter(), trainer.global_step, 0
        self._step = trainer.global_step
        if trainer.is_global_zero and self.console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(elapsed_when_finished=True),
            )
            self._bar = Progress(*columns, console=self.console)
            self._task = self._bar.add_task("train", total=self.steps, completed=self._step, note="")
            self._check = self._bar.add_task("score", total=None, visible=False, note="")
            self._bar.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: dict[str, Any], batch_idx: int
    ) -> None:
        """Move on."""
        self._samples += len(batch["origin"].keys) * trainer.world_size
        if trainer.global_step == self._step or not trainer.is_global_zero:
            return
        self._step = trainer.global_step
        seconds = time.perf_counter() - self._start
        loss = float(outputs["loss"]) * trainer.accumulate_grad_batches
        note = f"loss {loss:.3f} · {self._samples / seconds:.1f} samples/s"
        if self._bar is not None:
            self._bar.update(self._task, completed=self._step, note=f"{note} · {self.throughput}")
        elif self._step % max(1, self.steps // LINES) == 0 or self._step == self.steps:
            left = seconds / (self._step - self._first) * (self.steps - self._step)
            self.console.print(
                f"step {self._step}/{self.steps} · {note} · {self.throughput} · {left / 60:.1f} min left"
            )

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Move on in the validation."""
        if self._bar is not None:
            self._bar.update(self._check, visible=True, completed=batch_idx + 1, note="batches decoded")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the validation's bar away and say the main scores."""
        if self._bar is not None:
            self._bar.update(self._check, visible=False)
        values = {name: trainer.callback_metrics.get(name) for name in TOLD}
        if trainer.is_global_zero and not trainer.sanity_checking:
            told = " · ".join(f"{name} {float(value):.3f}" for name, value in values.items() if value is not None)
            self.console.print(f"step {trainer.global_step}: {told}")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Close the bar, also after an error."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
