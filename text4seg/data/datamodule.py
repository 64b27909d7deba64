"""Shards -> loaders, for Lightning: built when missing, split over ranks and workers, resumed at the next sample."""

from __future__ import annotations

import os
import signal
import threading
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning import LightningDataModule
from torch import distributed
from torch.utils.data import DataLoader

from text4seg.data.lanes import Lane, lanes_of
from text4seg.data.position import Position
from text4seg.data.scored import ScoredItems
from text4seg.data.settings import BuildSettings, DataSettings, SetSettings, SplitSettings
from text4seg.data.shards.build import ensure
from text4seg.data.shards.fingerprint import fingerprint
from text4seg.data.shards.index import Index
from text4seg.data.shards.jobs import Tell
from text4seg.data.shards.remote import Folder, folder_at
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
        accept: go on although the shards are not those of the stored position.

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
        accept: bool = False,
    ) -> None:
        super().__init__()
        self.cells, self.accept = cells, accept
        self.data, self.processor, self.seed, self.progress, self.tell = settings, processor, seed, progress, tell
        self.position = Position.start(max(1, settings.workers), lanes_in(settings.train))
        self.indices: dict[str, Index] = {}
        self.lanes: list[Lane] = []

    def prepare_data(self) -> None:
        """Build what a recipe describes and is not there yet (one process a node)."""
        grid = self.data.grid[0], self.data.grid[1]
        for name in ("train", "val"):
            for split in sets_of(getattr(self.data, name), name).values():
                if split.build is not None:
                    folder = place_of(split, self.data, name)
                    if not isinstance(folder, Path):
                        raise ValueError(f"`data.{name}`: a recipe builds into a local folder, not into {folder}.")
                    ensure(split.build, folder, grid, self.data.codec, self.data.rule, self._teller(name))

    def setup(self, stage: str) -> None:
        """Read the indices that the stage needs."""
        if stage == "fit":
            folders = {name: place_of(split, self.data) for name, split in sets_of(self.data.train, "train").items()}
            sets = sets_of(self.data.train, "train")
            weights = {name: split.weight if isinstance(split, SetSettings) else None for name, split in sets.items()}
            self.lanes = lanes_of({name: (at, Index.load(at), weights[name]) for name, at in folders.items()})
        if self.data.val.shards or self.data.val.build:
            self.indices["val"] = Index.load(place_of(self.data.val, self.data, "val"))

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """The endless stream, from the current position on."""
        stream = TrainStream(
            self.lanes, self.data, self.processor, self.seed, seat(), self.position, self.progress, self.cells
        )
        return loader(stream, self.data.workers)

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        """The scored items, once through."""
        if "val" not in self.indices:
            return loader([], 0)
        items = ScoredItems(
            place_of(self.data.val, self.data, "val"), self.indices["val"], self.data, self.processor, seat()
        )
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
        micro = int(self.data.batch_size)
        return {"ranks": states, "seed": self.seed, "fingerprint": self._fingerprint(), "batch_size": micro}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go to a stored position.

        With another number of ranks, loading processes or samples a batch it is gone to as nearly as that allows, with
        a warning (`Position.spread` says what stays exact).

        Raises:
            ValueError: the data or the seed are not those of the stored run.
        """
        here, ranks = seat(), state_dict["ranks"]
        if state_dict["seed"] != self.seed:
            raise ValueError(
                f"the stored position belongs to seed={state_dict['seed']}, this run has {self.seed}: resume with it."
            )
        micro = int(self.data.batch_size)
        now = (here.world, len(self.position.cursors), micro)
        then = (len(ranks), len(ranks[0]["cursors"]), state_dict.get("batch_size", micro))
        lanes = len(ranks[0]["cursors"][0]["lanes"])
        if state_dict["fingerprint"] != self._fingerprint() or lanes != len(self.lanes):
            if not self.accept:
                raise ValueError(
                    "the training shards are not those of the stored run, or not mixed as they were (by `weight`, or "
                    "by size); start a new run on them, or resume with --accept-changes to read them from their "
                    "beginning."
                )
            self.position = Position.start(now[1], len(self.lanes))
            batches = sum(state["batches"] for state in ranks) * then[2] // (now[0] * now[2])
            # The curriculum reads on where it was: what is taught follows the batches, not the shards.
            cursors = [replace(cursor, batches=batches // now[1]) for cursor in self.position.cursors]
            self.position = Position(cursors, batches)
            warnings.warn(
                "the training shards are others than before, or mixed otherwise: they are read from their beginning.",
                stacklevel=2,
            )
        elif now == then:
            self.position = Position.load(ranks[here.rank])
        else:
            sizes = [lane.samples for lane in self.lanes]
            self.position = Position.spread(ranks, now[0], now[1], sizes, then[2] / now[2])
            if here.rank == 0:
                warnings.warn(_accounted(ranks, then, now, sum(sizes)), stacklevel=2)

    def _fingerprint(self) -> list[str]:
        return [entry.sha256 for lane in self.lanes for _, entry in lane.shards]

    def _teller(self, name: str) -> Tell | None:
        tell = self.tell
        return None if tell is None else lambda done: tell(name, done)


def _accounted(ranks: list[Any], then: tuple[int, int, int], now: tuple[int, int, int], size: int) -> str:
    """What a resume on other ranks means for the samples of the current epoch, in words."""
    read = sum(place[1] for state in ranks for cursor in state["cursors"] for place in cursor["lanes"])
    epoch = min(place[0] for state in ranks for cursor in state["cursors"] for place in cursor["lanes"])
    return (
        f"the run was stored with {then[0]} ranks x {then[1]} loading processes x {then[2]} samples and goes on with "
        f"{now[0]} x {now[1]} x {now[2]}: {read} of the {size} samples of epoch {epoch} were read. How much has been "
        f"read stays exact; until the end of this epoch at most {max(0, min(read, size - read))} samples come twice "
        "and as many not at all."
    )


def sets_of(split: SplitSettings, name: str) -> Mapping[str, SplitSettings | SetSettings]:
    """The sets of a split by name: those of its mix, or the only one there is.

    Raises:
        ValueError: both are given, or a mix to score on.
    """
    if not split.mix:
        return {name: split}
    if name != "train" or split.shards or split.build:
        raise ValueError(f"`data.{name}.mix` is for training, and takes the place of `shards` and `build`: give one.")
    return split.mix


def lanes_in(split: SplitSettings) -> int:
    """How many lanes the training sets of a split form (`lanes_of`)."""
    return len(split.mix) if any(part.weight is not None for part in split.mix.values()) else 1


def counted(settings: DataSettings, expected: bool = False) -> int | None:
    """Samples of a training epoch, from the shards' indices; None where there are none yet.

    Args:
        expected: take the stated `samples` where not all sets are built.
    """
    total = 0
    for split in sets_of(settings.train, "train").values():
        try:
            total += Index.load(place_of(split, settings)).samples
        except ValueError:
            return settings.train.samples if expected else None
    return total


def shard_counts(settings: DataSettings) -> dict[str, str]:
    """For each training set how many shards it has, or will be built with."""
    told = {}
    for name, split in sets_of(settings.train, "train").items():
        try:
            told[name] = str(len(Index.load(place_of(split, settings)).shards))
        except ValueError:
            told[name] = f"{split.build.shards} (not built)" if split.build else "(missing)"
    return told


def place_of(split: SplitSettings | SetSettings, settings: DataSettings, name: str = "train") -> Folder:
    """Where a set's shards lie, here or behind an address.

    Raises:
        ValueError: neither a folder nor a recipe is given, or an address of a kind that is not allowed.
    """
    return folder_at(split.shards, settings.remote, settings.cache) if split.shards else folder_of(split, name)


def folder_of(split: SplitSettings | SetSettings, name: str = "train") -> Path:
    """Where a set's shards lie; a recipe without a folder gets one named after its digest.

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
