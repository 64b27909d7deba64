"""`logs/steps.csv` and `logs/scores.csv`: one line an optimizer step, one a validation; exact across a resume."""

from __future__ import annotations

import csv
import hashlib
import math
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from text4seg.callbacks.score import Score
from text4seg.models.fsdp2 import whole

STEP_FIELDS = ("step", "loss", "lr", "grad_norm", "samples", "skipped", "answer_tokens", "tokens", "seconds", "order")


class Journal(Callback):
    """Writes what happened at each optimizer step; lines behind a resumed checkpoint are dropped first.

    `loss` is the mean over the step's micro-batches, `order` a digest of the keys of its samples, `tokens` counts all
    positions with padding, `seconds` is the wall time since the step before. The loss is the mean over ranks, all
    else is rank 0's view.

    Args:
        folder: usually RUN/logs.
        score: the callback whose values make the lines of scores.csv.
        log_every: steps between values for TensorBoard.
        bad_steps: so many steps in a row without a finite loss and gradient are left out before the run ends.
    """

    def __init__(self, folder: Path, score: Score | None = None, log_every: int = 10, bad_steps: int = 5) -> None:
        self.folder, self.score, self.log_every, self.bad_steps = folder, score, log_every, bad_steps
        self.reasons: list[str] = []
        self.left_out = self._in_a_row = 0
        self._clear()

    def _clear(self) -> None:
        self._losses: list[float] = []
        self._keys: list[str] = []
        self._answer_tokens = self._tokens = self._skipped = 0
        self._norm: float | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Drop lines of steps that the checkpoint does not know."""
        if trainer.is_global_zero:
            self.folder.mkdir(parents=True, exist_ok=True)
            for name in ("steps.csv", "scores.csv"):
                _drop_after(self.folder / name, trainer.global_step)
        self._step = trainer.global_step
        self._time = time.perf_counter()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: dict[str, Any], batch_idx: int
    ) -> None:
        """Note the rate that this step uses; at its end the schedule stands at the next one's."""
        self._rate = max(float(group["lr"]) for group in trainer.optimizers[0].param_groups)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: dict[str, Any], batch_idx: int
    ) -> None:
        """Collect a micro-batch; write a line when it ended a step.

        Raises:
            ValueError: the loss or the gradient is not a number for too many steps in a row.
        """
        origin = batch["origin"]
        self._losses.append(float(outputs["loss"]))
        self._keys += origin.keys
        self._skipped += origin.lost
        self.reasons = (self.reasons + list(origin.skipped))[:20]
        self._answer_tokens += int((batch["labels"] != -100).sum())
        self._tokens += batch["labels"].numel()
        if trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        scale = trainer.accumulate_grad_batches / len(self._losses) if self._losses else 1.0
        loss = sum(self._losses) * scale
        if trainer.world_size > 1:
            loss = float(trainer.strategy.reduce(torch.tensor(loss, device=pl_module.device), reduce_op="mean"))
        ask = getattr(trainer.model, "get_global_grad_norm", None)  # DeepSpeed keeps the gradients to itself
        if ask is not None and (norm := ask()) is not None:
            self._norm = float(norm)
        if trainer.is_global_zero:
            self._write(loss)
        self._count_bad(loss, trainer)
        if self._step % self.log_every == 0:
            for logger in trainer.loggers:
                logger.log_metrics({"train/loss": loss, "train/lr": self._rate}, step=self._step)
        self._clear()

    def _write(self, loss: float) -> None:
        now = time.perf_counter()
        order = hashlib.sha256(" ".join(self._keys).encode()).hexdigest()[:12]
        values = (
            self._step,
            f"{loss:.9g}",
            f"{self._rate:.6g}",
            f"{math.nan if self._norm is None else self._norm:.6g}",
            len(self._keys),
            self._skipped,
            self._answer_tokens,
            self._tokens,
            f"{now - self._time:.3f}",
            order,
        )
        _append(self.folder / "steps.csv", dict(zip(STEP_FIELDS, values, strict=True)))
        self._time = now

    def _count_bad(self, loss: float, trainer: Trainer) -> None:
        # All ranks have the same numbers here. With 16-mixed such steps are part of finding the loss's scale.
        fine = math.isfinite(loss) and (self._norm is None or math.isfinite(self._norm))
        if fine or trainer.precision == "16-mixed":
            self._in_a_row = 0
            return
        self.left_out += 1
        self._in_a_row += 1
        told = f"step {self._step} has the loss {loss} and the gradient norm {self._norm}"
        if self._in_a_row > self.bad_steps:
            raise ValueError(
                f"{told}, after {self.bad_steps} such steps in a row: training has diverged. Start again with a lower "
                "`optim.lr`, a longer `optim.warmup_ratio` or a lower `optim.clip`. Checkpoint and adapter hold what "
                "was before."
            )
        if trainer.is_global_zero:
            warnings.warn(f"{told}: it is left out ({self.left_out} so far).", stacklevel=2)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        """Note the gradient norm before clipping; take a gradient away that is not a number.

        All ranks see the same gradient. DeepSpeed leaves such steps out by itself, and so does the scaler of 16-mixed.
        """
        weights = [p for p in pl_module.parameters() if p.grad is not None]
        if not weights:
            return
        self._norm = float(whole(torch.nn.utils.get_total_norm([p.grad for p in weights if p.grad is not None])))
        if not math.isfinite(self._norm) and trainer.precision != "16-mixed":
            for weight in weights:
                weight.grad = None

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the scores of this validation."""
        if trainer.sanity_checking or not trainer.is_global_zero or self.score is None or not self.score.values:
            return
        loss = trainer.callback_metrics.get("val/loss")
        values = {"val/loss": float(loss)} if loss is not None else {}
        _append(self.folder / "scores.csv", {"step": trainer.global_step, **values, **self.score.values})


def _append(path: Path, values: dict[str, Any]) -> None:
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as stream:
            names = next(csv.reader(stream), [])
    else:
        names = list(values)
        path.write_text(",".join(names) + "\n", encoding="utf-8")
    with path.open("a", newline="", encoding="utf-8") as stream:
        csv.DictWriter(stream, names, extrasaction="ignore", lineterminator="\n").writerow(values)


def _drop_after(path: Path, step: int) -> None:
    """Keep the lines up to a step; a line that a kill left half-written goes, too."""
    if not path.is_file():
        return
    head, *lines = path.read_text(encoding="utf-8").split("\n")
    width = head.count(",")
    kept = [line for line in lines[:-1] if line.count(",") == width and int(line.split(",")[0]) <= step]
    if not lines:  # a kill came before the end of the first line
        path.unlink()
        return
    partial = path.with_name(path.name + ".partial")
    partial.write_text("\n".join([head, *kept]) + "\n", encoding="utf-8")
    partial.replace(path)
