"""Checkpoints to go on from: every so many steps and when asked to stop, whole or not at all, the newest kept."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from text4seg.callbacks.keeper import Keeper, save_trained, write_whole
from text4seg.models.backbone import Backbone
from text4seg.models.fsdp2 import trained_weights
from text4seg.training.launch import local_rank
from text4seg.training.note import NAME, beside

SIGNALS = (signal.SIGINT, signal.SIGTERM, *((signal.SIGUSR1,) if hasattr(signal, "SIGUSR1") else ()))
"""Of a terminal, of a scheduler, and what SLURM can be told to send some time before it (`--signal=USR1@180`)."""
HEARD = (
    b"\nstopping: waiting for the end of this step, and of a validation that is under way, to save it; "
    b"a second time ends at once, without saving\n"
)


class StoppedError(Exception):
    """Training was asked to stop and has saved its place."""


class Saver(Callback):
    """Writes `checkpoints/step-N.ckpt` every so many steps, at the end and when asked to stop; keeps the newest.

    At a step after which there is a validation the checkpoint waits for it: one from before would go on behind the
    validation, whose scores would then be missing. Must stand behind the callbacks that work at the validation's end.

    Beside it, in `checkpoints/step-N/`, lie the trained weights for other programs and a note of the settings.

    Args:
        folder: usually RUN/checkpoints.
        every: optimizer steps between checkpoints.
        note: what to write down with each.
    """

    def __init__(self, folder: Path, every: int, note: dict[str, Any]) -> None:
        self.folder, self.every, self.note = folder, every, note
        self._step = -1
        self._asked = self._stops = self._due = False
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen for the signals to stop; a second one ends at once."""
        self._step = trainer.global_step
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen no longer."""
        self._restore()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Listen no longer."""
        self._restore()

    def _note(self, number: int, frame: object) -> None:
        self._asked = True
        self._restore()
        if local_rank() == 0:
            os.write(2, HEARD)  # `print` must not be interrupted by itself
        if number == signal.SIGTERM:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)  # not Lightning's, which would exit with 0

    def _restore(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number, before in self._before.items():
                signal.signal(number, before)
            self._before = {}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: dict[str, Any], batch_idx: int
    ) -> None:
        """Save at the end of a step whose number `every` divides, of the last one, or where a stop was asked for.

        Raises:
            StoppedError: after the save that Ctrl-C or SIGTERM asked for.
        """
        step = trainer.global_step
        if step == self._step:
            return  # in the middle of an accumulated step: its gradients are in no checkpoint
        self._step = step
        last = step >= trainer.max_steps
        if last:
            trainer.should_stop = True  # makes Lightning validate what training ends with
        # The ranks must agree on the step, and each may have been told at another one.
        self._stops = trainer.strategy.reduce_boolean_decision(self._asked, all=False) and not last
        self._due = self._stops or last or step % self.every == 0
        if not _validates(trainer, batch_idx):
            self._save_when_due(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save what waited for the validation.

        One whose weights were kept as the best is saved as well: what goes on from an older checkpoint may not get
        there again, and its scores would not be those of the weights that lie in the run.

        Raises:
            StoppedError: after the save that Ctrl-C or SIGTERM asked for.
        """
        keepers = [callback for callback in trainer.callbacks if isinstance(callback, Keeper)]  # type: ignore[attr-defined]
        self._due |= any(keeper.best.get("step") == trainer.global_step for keeper in keepers)
        self._save_when_due(trainer)

    def _save_when_due(self, trainer: Trainer) -> None:
        if self._due:
            self._due = False
            self.save(trainer)
        if self._stops:
            raise StoppedError

    def save(self, trainer: Trainer) -> None:
        """Save now, then remove what is older."""
        path = self.folder / f"step-{trainer.global_step:08d}.ckpt"
        partial = path.with_suffix(".partial")
        if trainer.is_global_zero:
            _discard(partial)  # parts of more ranks, which died in this save, would look like parts of this one
        trainer.strategy.barrier()
        trainer.save_checkpoint(partial)
        backbone: Backbone = trainer.lightning_module.backbone  # type: ignore[assignment]
        trained = trained_weights(backbone.model)
        if trainer.is_global_zero:
            self._save_beside(trainer, beside(path), trained)
            _settle(partial)
            _discard(path)
            partial.replace(path)
            for other in self.folder.glob("step-*"):
                if other not in (path, beside(path)):
                    _discard(other)
        trainer.strategy.barrier()

    def _save_beside(self, trainer: Trainer, folder: Path, trained: dict[str, Tensor]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        backbone: Backbone = trainer.lightning_module.backbone  # type: ignore[assignment]
        save_trained(backbone, trained, folder, "")
        write_whole(folder / NAME, json.dumps({"step": trainer.global_step, **self.note}, indent=1) + "\n")


def _validates(trainer: Trainer, batch_idx: int) -> bool:
    """Whether Lightning validates after this micro-batch; the training epoch has no end, so its number is a total."""
    if not sum(trainer.num_val_batches):
        return False
    return trainer.should_stop or (batch_idx + 1) % int(trainer.val_check_batch or 1) == 0


def _settle(path: Path) -> None:
    """Put a file's bytes on the disk before the older checkpoint goes: a power cut must leave one of them whole."""
    if path.is_file():
        with path.open("rb") as stream:
            os.fsync(stream.fileno())


def _discard(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)  # DeepSpeed's checkpoints are folders
    else:
        path.unlink(missing_ok=True)
