"""Shards -> loaders, for Lightning: built when missing, split over ranks and workers, resumed at the next sample."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning import LightningDataModule
from torch import distributed
from torch.utils.data import DataLoader

from text4seg.data.position import Position
from text4seg.data.scored import ScoredItems
from text4seg.data.settings import BuildSettings, DataSettings, SplitSettings
from text4seg.data.shards.build import Tell, ensure, fingerprint
from text4seg.data.shards.index import Index
from text4seg.data.stream import Origin, Seat, TrainStream
from text4seg.models.processor import Processor

BUILT = Path("shards/built")


class ShardDataModule(LightningDataModule):
    """Training stream and scored items of a configuration.

    Args:
        settings: the data room's settings.
        processor: makes tensors; holds no weights.
        seed: of the run; decides every order and draw.
        progress: batch number of a rank -> share of training done, for the curriculum.
        tell: called with (split, samples written) while shards are built.
        cells: image tokens name their cells while training (`loss.cells`).

    Raises:
        ValueError: from `setup`: a split is missing, damaged, or too small for the number of processes.
    """

    def __init__(
        self,
        settings: DataSettings,
        processor: Processor,
        seed: int = 0,
        progress: Callable[[int], float] = lambda batch: 0.0,
        tell: Callable[[str, int], None] | None = None,
        cells: bool = False,
    ) -> None:
        super().__init__()
        self.cells = cells
        self.data, self.processor, self.seed, self.progress, self.tell = settings, processor, seed, progress, tell
        self.position = Position.start(max(1, settings.workers))
        self.indices: dict[str, Index] = {}

    def prepare_data(self) -> None:
        """Build what a recipe describes and is not there yet (one process a node)."""
        for name in ("train", "val"):
            split = getattr(self.data, name)
            if split.build is not None:
                ensure(
                    split.build,
                    folder_of(split),
                    (self.data.grid[0], self.data.grid[1]),
                    self.data.codec,
                    self.data.rule,
                    self._teller(name),
                )

    def setup(self, stage: str) -> None:
        """Read the indices that the stage needs."""
        for name in ("train", "val") if stage == "fit" else ("val",):
            split = getattr(self.data, name)
            if name == "train" or split.shards or split.build:
                self.indices[name] = Index.load(folder_of(split, name))

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """The endless stream, from the current position on."""
        stream = TrainStream(
            folder_of(self.data.train),
            self.indices["train"],
            self.data,
            self.processor,
            self.seed,
            seat(),
            self.position,
            self.progress,
            self.cells,
        )
        return loader(stream, self.data.workers)

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        """The scored items, once through."""
        if "val" not in self.indices:
            return loader([], 0)
        items = ScoredItems(folder_of(self.data.val), self.indices["val"], self.data, self.processor, seat())
        return loader(items, min(1, self.data.workers))

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move the tensors of a batch; what describes it (items, origin) stays as it is."""
        if isinstance(batch, dict):
            return {name: self.transfer_batch_to_device(part, device, dataloader_idx) for name, part in batch.items()}
        return batch.to(device, non_blocking=True) if isinstance(batch, torch.Tensor) else batch

    def consumed(self, origin: Origin) -> None:
        """Note that training has used a batch; the next checkpoint starts behind it."""
        self.position.advance(origin.worker, origin.cursor)

    def state_dict(self) -> dict[str, Any]:
        """Positions of all ranks; every rank must call this at the same time."""
        states: list[Any] = [self.position.state()]
        here = seat()
        if here.world > 1:
            states = [None] * here.world
            distributed.all_gather_object(states, self.position.state())
        return {"ranks": states, "seed": self.seed, "fingerprint": self._fingerprint()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go to a stored position.

        Raises:
            ValueError: the data, the seed or the number of processes are not those of the stored run.
        """
        here = seat()
        ranks = state_dict["ranks"]
        workers = len(ranks[0]["cursors"])
        now = {"ranks": here.world, "data.workers": len(self.position.cursors), "seed": self.seed}
        then = {"ranks": len(ranks), "data.workers": workers, "seed": state_dict["seed"]}
        if now != then:
            raise ValueError(f"the stored position belongs to {then}, this run has {now}; resume with the same.")
        if state_dict["fingerprint"] != self._fingerprint():
            raise ValueError("the training shards are not those of the stored run; start a new run on them.")
        self.position = Position.load(ranks[here.rank])

    def _fingerprint(self) -> list[str]:
        return [entry.sha256 for entry in self.indices["train"].shards] if "train" in self.indices else []

    def _teller(self, name: str) -> Tell | None:
        tell = self.tell
        return None if tell is None else lambda done: tell(name, done)


def folder_of(split: SplitSettings, name: str = "train") -> Path:
    """Where a split's shards lie; a recipe without a folder gets one named after its digest.

    Raises:
        ValueError: neither a folder nor a recipe is given.
    """
    if split.shards:
        return Path(split.shards)
    if split.build is None:
        raise ValueError(
            f"`data.{name}` names no data: give `data.{name}.shards=DIR` (written by `python -m text4seg.shards "
            f"build`) or a recipe under `data.{name}.build`."
        )
    recipe: BuildSettings = split.build
    return BUILT / f"{recipe.source}-{fingerprint(recipe)}"


def seat() -> Seat:
    """This process's rank and the number of ranks."""
    if distributed.is_available() and distributed.is_initialized():
        return Seat(distributed.get_rank(), distributed.get_world_size())
    return Seat()


class Loader(DataLoader[dict[str, Any]]):
    """A loader whose processes start with SIGTERM blocked; `_leave_stops` says why.

    The mask is inherited by every thread of such a process. Blocked only once it runs, its OpenMP threads, which are
    there before any code of ours, would still be killed.
    """

    def __iter__(self) -> Any:
        """The batches of one pass."""
        if not self.num_workers or not hasattr(signal, "sigwaitinfo"):  # not on macOS
            return super().__iter__()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            return super().__iter__()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def loader(dataset: Any, workers: int) -> DataLoader[dict[str, Any]]:
    """A loader of ready-made batches."""
    return Loader(
        dataset,
        batch_size=None,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=False,
        multiprocessing_context="spawn" if workers and torch.cuda.is_available() else None,
        worker_init_fn=_leave_stops,
    )


def _leave_stops(worker: int) -> None:
    """Let the training process decide what a stop means; its loaders wait to be closed.

    Ctrl-C in a terminal and a scheduler's SIGTERM reach every process. A loader that ended at once would take the
    training down before it has saved its place.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        threading.Thread(target=_end_for_parent, daemon=True).start()


def _end_for_parent() -> None:
    """End at a SIGTERM from the training process, which is how PyTorch closes a loader that hangs."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
