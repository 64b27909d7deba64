"""The results of a run: best and last trained weights, and `metrics.json` with their scores."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import torch
from lightning import Callback, LightningModule, Trainer
from peft import PeftModel
from safetensors import SafetensorError
from safetensors.torch import save_file

from text4seg.callbacks.score import Score
from text4seg.metrics.board import SEMANTIC
from text4seg.models.backbone import Backbone
from text4seg.models.fsdp2 import trained_weights


class Keeper(Callback):
    """After each validation writes the last weights, and the best ones when the monitored score has risen.

    Without validation data the last weights are written at the end, and count as the best.

    Args:
        run: the run folder.
        score: whose values count; must stand before this callback.
        monitor: name of the score, higher is better.
    """

    def __init__(self, run: Path, score: Score, monitor: str) -> None:
        self.run, self.score, self.monitor = run, score, monitor
        self.best: dict[str, float] = {}
        self._kept = -1

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse to watch a score that these data cannot have, before anything is trained.

        Raises:
            ValueError: mIoU is watched, and no question is about classes.
        """
        index = trainer.datamodule.indices.get("val")  # type: ignore[attr-defined]
        if self.monitor.endswith("mIoU") and index is not None and not set(index.tasks) & set(SEMANTIC):
            raise ValueError(
                f"`trainer.monitor` is {self.monitor}, but the validation set asks about no classes (its tasks: "
                f"{', '.join(index.tasks)}); take val/cIoU or val/gIoU."
            )

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep weights and scores."""
        values = self.score.values
        if trainer.sanity_checking or not values or trainer.global_step == 0:
            return
        # The first items of a mixed set may hold no class question: a score that is missing is the lowest.
        watched, best = (scores.get(self.monitor, -math.inf) for scores in (values, self.best))
        rose = not self.best or watched > best
        if rose:
            self.best = {**values, "step": float(trainer.global_step)}
        self._keep(trainer, pl_module, rose)
        if trainer.is_global_zero:
            last = {f"last/{name}": value for name, value in values.items()}
            metrics = {**self.best, **last, "last/step": trainer.global_step}
            write_whole(self.run / "metrics.json", json.dumps(metrics, indent=2) + "\n")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the last weights where no validation did."""
        if self._kept != trainer.global_step:
            self._keep(trainer, pl_module, not self.best)

    def _keep(self, trainer: Trainer, pl_module: LightningModule, best: bool) -> None:
        self._kept = trainer.global_step
        backbone: Backbone = pl_module.backbone  # type: ignore[assignment]
        trained = trained_weights(backbone.model)
        if trainer.is_global_zero:
            save_trained(backbone, trained, self.run, "-last")
            if best:
                save_trained(backbone, trained, self.run, "")

    def state_dict(self) -> dict[str, dict[str, float]]:
        """The best scores so far, for a checkpoint."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, dict[str, float]]) -> None:
        """Take them up again."""
        self.best = state_dict["best"]


def save_trained(backbone: Backbone, trained: dict[str, torch.Tensor], run: Path, suffix: str) -> None:
    """Write what trains: `adapter{suffix}/` in PEFT's format, or `weights{suffix}.safetensors` without LoRA.

    Args:
        backbone: whose weights they are.
        trained: from `trained_weights`, which every rank must have asked for.
        run: a folder.
        suffix: of the names.

    Raises:
        OSError: it cannot be written, e.g. because the disk is full; what was there before stays.
    """
    try:
        _save_trained(backbone, trained, run, suffix)
    except SafetensorError as error:
        raise OSError(f"the trained weights cannot be written to {run}: {error}") from error


def _save_trained(backbone: Backbone, trained: dict[str, torch.Tensor], run: Path, suffix: str) -> None:
    if isinstance(backbone.model, PeftModel):
        folder = run / f"adapter{suffix}"
        partial = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        backbone.model.save_pretrained(str(partial), save_embedding_layers=False, state_dict=trained)
        shutil.rmtree(folder, ignore_errors=True)
        partial.replace(folder)
        return
    path = run / f"weights{suffix}.safetensors"
    partial = path.with_suffix(".partial")
    save_file(_unshared(trained), partial)
    partial.replace(path)


def _unshared(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Safetensors refuses two names for one storage: tied weights are written once."""
    seen: dict[int, str] = {}
    return {n: t for n, t in tensors.items() if seen.setdefault(t.data_ptr(), n) == n}


def write_whole(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
