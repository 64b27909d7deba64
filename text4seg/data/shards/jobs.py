"""One shard of a build by itself, and engines that run many: here, in processes, or as Ray tasks.

Shard k of n holds the questions about every n-th record of the source from k on, whoever builds it: the same bytes with
any engine and any number of processes. A finished shard has a note beside it, and is not built again.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import webdataset as wds
from numpy.typing import NDArray

from text4seg.data.notes import Notes
from text4seg.data.settings import BuildSettings
from text4seg.data.shards.index import ShardEntry
from text4seg.data.shards.keys import key_hash, refuse_repeats
from text4seg.data.shards.record import to_members
from text4seg.data.sources.options import from_options
from text4seg.data.sources.registry import examples
from text4seg.data.sources.share import Share
from text4seg.data.tasks.samples import samples
from text4seg.data.tasks.settings import TaskSettings, preset

ENGINES = ("processes", "ray")
Tell = Callable[[int], None]


@dataclass(frozen=True)
class Job:
    """A shard to be built.

    Attributes:
        settings: the recipe.
        folder: where the shard goes.
        grid, codec, rule: how its descriptors are written.
        number: which one of ``settings.shards``.
    """

    settings: BuildSettings
    folder: Path
    grid: tuple[int, int]
    codec: str
    rule: str
    number: int

    @property
    def path(self) -> Path:
        """The finished shard."""
        return self.folder / f"shard-{self.number:05d}.tar"

    @property
    def note(self) -> Path:
        """What is known about it; written last."""
        return self.path.with_suffix(".json")

    @property
    def quota(self) -> int | None:
        """Most samples of this shard: its part of the limit."""
        limit, shards = self.settings.limit, self.settings.shards
        return None if limit is None else limit // shards + (self.number < limit % shards)


@dataclass(frozen=True)
class Built:
    """A finished shard: its entry in the index, its questions by task, what was left out, hashes of its keys."""

    entry: ShardEntry
    tasks: dict[str, int]
    notes: dict[str, Any]
    keys: NDArray[np.uint64]

    @classmethod
    def load(cls, path: Path) -> Built:
        """From a note."""
        raw = json.loads(path.read_text(encoding="utf-8"))
        return cls(ShardEntry(**raw.pop("entry")), keys=np.array(raw.pop("keys"), np.uint64), **raw)

    def save(self, path: Path) -> None:
        """Write a note, whole or not at all."""
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps({**asdict(self), "keys": self.keys.tolist()}), encoding="utf-8")
        unfinished.replace(path)


def run_job(job: Job, tell: Tell | None = None) -> int:
    """Build a shard, unless it is there.

    Args:
        tell: called with the number of its samples so far.

    Returns:
        how many samples it has.

    Raises:
        ValueError: the recipe or the annotations are wrong.
    """
    if job.note.is_file():
        return Built.load(job.note).entry.samples
    tasks: Counter[str] = Counter()
    notes, keys = Notes(), array("Q")
    # An open file, not a name: webdataset takes a name with a colon for the address of something to run or fetch.
    with job.path.open("wb") as file, wds.TarWriter(file, mtime=0) as tar:
        written: list[Any] = tar.tarstream.members  # pyrefly: ignore
        for sample in _samples(job, notes):
            keys.append(key_hash(sample.key))
            tasks.update(turn.task for turn in sample.turns)
            tar.write({"__key__": sample.key, **to_members(sample, job.grid, job.codec, job.rule)})
            written.clear()  # tarfile remembers all that it wrote, 3 kB a sample
            if tell:
                tell(len(keys))
    hashes = np.array(keys, np.uint64)
    refuse_repeats([job.path], hashes)
    Built(_entry(job.path, len(keys)), dict(tasks), notes.as_plain(), hashes).save(job.note)
    return len(keys)


def run_jobs(jobs: Sequence[Job], processes: int, engine: str, tell: Tell | None) -> None:
    """Build all shards.

    Args:
        processes: how many at once; 1 builds here.
        tell: called with the number of samples so far; with several processes once a shard.

    Raises:
        ValueError: the recipe or the annotations are wrong, or there is no such engine.
    """
    if engine not in ENGINES:
        raise ValueError(f"`engine` must be one of {', '.join(ENGINES)}, got {engine!r}.")
    done = 0
    if engine == "processes" and processes <= 1:
        for job in jobs:
            before = done
            done += run_job(job, tell and (lambda count, before=before: tell(before + count)))
        return
    for samples_of_one in (_in_processes if engine == "processes" else _on_ray)(jobs, processes):
        done += samples_of_one
        if tell:
            tell(done)


def _in_processes(jobs: Sequence[Job], processes: int) -> Iterator[int]:
    # Not forked: a fork of a process with threads can hang.
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(run_job, job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _on_ray(jobs: Sequence[Job], processes: int) -> Iterator[int]:
    """Each shard is a Ray task; all nodes must see the folders. Uses the cluster there is, else one on this machine."""
    try:
        import ray
    except ImportError as error:
        raise ValueError("the engine `ray` needs it: pip install 'text4seg[ray]'.") from error
    started = not ray.is_initialized()
    if started:
        ray.init(num_cpus=processes, include_dashboard=False, log_to_driver=False)
    try:
        task = ray.remote(run_job)
        waiting = [task.remote(job) for job in jobs]
        while waiting:
            ready, waiting = ray.wait(waiting)
            try:
                yield ray.get(ready[0])
            except ray.exceptions.RayTaskError as error:
                raise (error.cause if isinstance(error.cause, ValueError) else error) from error
    finally:
        if started:
            ray.shutdown()


def _samples(job: Job, notes: Notes) -> Iterator[Any]:
    settings = job.settings
    options = from_options(TaskSettings, preset(settings.task, settings.task_options), "task_options")
    share = Share(job.number, settings.shards, notes)
    found = examples(settings.source, settings.options, settings.seed, share)
    made = samples(found, settings.task, options, settings.seed, settings.quality, notes, settings.on_error)
    return islice(made, job.quota)


def _entry(path: Path, samples_in_it: int) -> ShardEntry:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return ShardEntry(path.name, samples_in_it, path.stat().st_size, digest)
