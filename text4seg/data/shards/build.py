"""Build a folder of shards: written beside its final place and moved there whole.

A killed build leaves `NAME.partial`; the next build of the same recipe goes on with the shards that are finished there,
any other removes it. The same recipe gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from text4seg.data.notes import Notes
from text4seg.data.settings import BuildSettings
from text4seg.data.shards.index import FORMAT, NAME, Index, ShardEntry
from text4seg.data.shards.jobs import Built, Job, Tell, run_jobs
from text4seg.data.shards.keys import refuse_repeats
from text4seg.data.shards.verify import file_damage
from text4seg.data.sources.held_out import REFS
from text4seg.data.sources.records import is_file
from text4seg.data.sources.registry import VERSIONS, source_settings
from text4seg.data.sources.settings import ReferSettings

LICENCES = {"scenes": "drawn by text4seg; Apache-2.0"}
UNKNOWN_LICENCE = "annotations and images keep the licence of the folder that they were read from"
SHARD_NAME = re.compile(r"shard-\d{5,}\.tar")
PATHS = ("root", "annotations", "masks", "images", "classes", "path")
"""Options that name what a source reads."""
CONTENT = (".txt", ".json", ".jsonl", ".csv", ".tsv", ".p", ".pkl", ".pickle", ".parquet", ".arrow")
"""Endings of the files of a folder whose content counts; pictures and masks count by name and size."""
WHOLE_FILE, END = 2**20, 2**16
"""Bytes up to which all of a file's content counts, and what counts at either end of a larger one."""
UNFINISHED = "unfinished.json"
"""What the folder of a running or killed build is being made of."""


def ensure(
    settings: BuildSettings,
    out: Path,
    grid: tuple[int, int],
    codec: str,
    rule: str,
    tell: Tell | None = None,
    thorough: bool = False,
    processes: int = 1,
    engine: str = "processes",
) -> Index:
    """The index of `out`, built first when it is missing or was built from another recipe or other files.

    Training spells descriptors anew from the masks, so another grid, codec or rule is no reason to build for it.

    Args:
        thorough: build as well when the stored descriptors are spelled otherwise, or when any byte has changed
            (reads all files); otherwise a look at the files' sizes has to do.
        processes: as in `build`, like `engine`.
    """
    try:
        index = Index.load(out)
    except ValueError:
        return build(settings, out, grid, codec, rule, tell, processes, engine)
    whole = index.fingerprint == fingerprint(settings, out)
    if thorough:
        whole = whole and (index.grid, index.codec, index.rule) == (grid, codec, rule) and not file_damage(out, index)
    else:
        whole = whole and all(_whole(out, entry) for entry in index.shards)
    return index if whole else build(settings, out, grid, codec, rule, tell, processes, engine)


def build(
    settings: BuildSettings,
    out: Path,
    grid: tuple[int, int],
    codec: str,
    rule: str,
    tell: Tell | None = None,
    processes: int = 1,
    engine: str = "processes",
) -> Index:
    """Write the shards of a recipe, replacing what an earlier build left at `out`.

    Args:
        settings: the recipe.
        out: the folder; it must not exist, be empty, or hold shards.
        grid: rows, columns of the stored descriptors.
        codec: their spelling.
        rule: how their cells get their labels.
        tell: called with the number of samples written so far.
        processes: how many shards are built at once.
        engine: what they are built by (`jobs.ENGINES`); changes no byte.

    Raises:
        ValueError: the recipe is wrong, gives no sample, or `out` holds something else.
    """
    if settings.shards < 1:
        raise ValueError(f"`shards` must be at least 1, got {settings.shards}.")
    if settings.on_error not in ("raise", "skip"):
        raise ValueError(f"`on_error` of a build must be raise or skip, got {settings.on_error!r}.")
    out = out.resolve()  # a link stays a link, and `.` has a name
    _refuse_to_replace(out)
    digest = fingerprint(settings, out)
    partial = _partial(out)
    jobs = [Job(settings, partial, grid, codec, rule, number) for number in range(settings.shards)]
    with _alone(out) as waited:
        if waited and (built := _built(out, digest, grid, codec, rule)):
            return built
        _begin(partial, [digest, grid, codec, rule])
        try:
            run_jobs(jobs, processes, engine, tell)
            index = _index(jobs, digest)
        except BaseException:
            if not any(job.note.is_file() for job in jobs):  # nothing that the same build could go on with
                shutil.rmtree(partial, ignore_errors=True)
            raise
        shutil.rmtree(out, ignore_errors=True)
        partial.replace(out)
    return index


@contextmanager
def _alone(out: Path) -> Iterator[bool]:
    """Let one process of this machine at a time build a folder; gives whether another one had to be waited for."""
    user = os.getuid() if hasattr(os, "getuid") else ""  # the folder for temporary files is everybody's
    name = hashlib.sha256(f"{user} {out}".encode()).hexdigest()[:16]
    lock = FileLock(Path(tempfile.gettempdir(), f"text4seg-{name}.lock"))
    try:
        lock.acquire(timeout=0)
        waited = False
    except Timeout:
        warnings.warn(f"another process builds {out}: waiting for it.", stacklevel=4)
        lock.acquire()
        waited = True
    try:
        yield waited
    finally:
        lock.release()


def _built(out: Path, digest: str, grid: tuple[int, int], codec: str, rule: str) -> Index | None:
    """What another process has just built, where it is what was asked for."""
    try:
        index = Index.load(out)
    except ValueError:
        return None
    same = (index.fingerprint, index.grid, index.codec, index.rule) == (digest, grid, codec, rule)
    return index if same else None


def _begin(partial: Path, recipe: list[Any]) -> None:
    """An empty folder to build in, or the one of the same recipe with the shards that it has finished."""
    note, text = partial / UNFINISHED, json.dumps(recipe)
    if not note.is_file() or note.read_text(encoding="utf-8") != text:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        note.write_text(text, encoding="utf-8")


def _partial(out: Path) -> Path:
    return out.with_name(out.name + ".partial")


def _refuse_to_replace(out: Path) -> None:
    """A build takes the place of a whole folder: let it only where nothing but shards would be lost."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; give a folder.")
    found = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    foreign = [name for name in found if name != NAME and name[0] != "." and not SHARD_NAME.fullmatch(name)]
    if foreign or found == [NAME]:
        raise ValueError(f"{out} holds files that are not shards ({(foreign or found)[0]}); give another folder.")


def _index(jobs: Sequence[Job], digest: str) -> Index:
    """Put the notes of all shards together in the index, and remove them."""
    settings, folder = jobs[0].settings, jobs[0].folder
    built = [Built.load(job.note) for job in jobs]
    refuse_repeats([job.path for job in jobs], np.concatenate([one.keys for one in built]))
    total = sum(one.entry.samples for one in built)
    if not total:
        told = {kind: found["named"][:1] for one in built for kind, found in one.notes.items()}
        raise ValueError(
            f"the source {settings.source!r} gave no sample for the task {settings.task!r}."
            + (f" Left out: {told}" if told else "")
        )
    tasks: Counter[str] = Counter()
    notes = Notes()
    for one in built:
        tasks.update(one.tasks)
        notes.merge(one.notes)
        if not one.entry.samples:  # more shards than samples
            (folder / one.entry.name).unlink()
    index = Index(
        shards=tuple(one.entry for one in built if one.entry.samples),
        samples=total,
        turns=tasks.total(),
        tasks=dict(sorted(tasks.items())),
        grid=jobs[0].grid,
        codec=jobs[0].codec,
        rule=jobs[0].rule,
        licence=LICENCES.get(settings.source, UNKNOWN_LICENCE),
        recipe=asdict(settings),
        fingerprint=digest,
        notes=notes.as_plain(),
    )
    for job in jobs:
        job.note.unlink()
    (folder / UNFINISHED).unlink()
    index.save(folder)
    return index


def fingerprint(settings: BuildSettings, out: Path | None = None) -> str:
    """Digest of a recipe, of the files that it reads, and of its question lists.

    A file counts by its name and size, texts and tables by their content too; dates do not: a copy is no change.

    Args:
        settings: the recipe.
        out: where its shards lie; they are no part of what it reads, should that folder hold them.
    """
    source = source_settings(settings.source, settings.options)
    digest = hashlib.sha256(json.dumps([FORMAT, VERSIONS[settings.source], asdict(settings)], sort_keys=True).encode())
    for name in PATHS:
        given = settings.options.get(name)
        if not given or not isinstance(given, str):  # `classes` of a hub set are the names themselves
            continue
        top = Path(given).resolve()
        if is_file(top):
            digest.update(f"{top.name} {_content(top)}\n".encode())
        if not _is_folder(top):
            continue
        own = () if out is None else (out.resolve(), _partial(out.resolve()))
        for path in _files(top, own):
            told = _content(path) if path.suffix.lower() in CONTENT else path.stat().st_size
            digest.update(f"{path.relative_to(top)} {told}\n".encode())
    for path in _family(source):
        digest.update(f"{path.parent.name}/{path.name} {_content(path)}\n".encode())
    templates = settings.task_options.get("templates")
    if templates and Path(str(templates)).is_file():
        digest.update(Path(str(templates)).read_bytes())
    return digest.hexdigest()[:16]


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that no folder can have
        return False


def _content(path: Path) -> str:
    """A file's size and a digest of its content, or of both ends where it is large."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            digest = hashlib.sha256(file.read(size if size <= WHOLE_FILE else END))
            if size > WHOLE_FILE:
                file.seek(-END, os.SEEK_END)
                digest.update(file.read(END))
    except OSError:  # the source says so, should it be one that it reads
        return f"{size} unreadable"
    return f"{size} {digest.hexdigest()}"


def _family(source: Any) -> list[Path]:
    """The expressions of the refCOCO family's sets whose held-out photographs a source leaves out."""
    if getattr(source, "split", None) not in ("train", None):  # all of a set is told what its train would leave out
        return []
    folder = getattr(source, "held_out", None)
    if isinstance(source, ReferSettings) and source.root and source.leaks == "filter":
        folder = source.family or Path(source.root).resolve().parent
    if not folder or not _is_folder(Path(folder)):
        return []
    found = (path for pattern in REFS for path in Path(folder).glob(f"*/{pattern}"))
    return sorted(path for path in found if path.is_file())


def _files(folder: Path, without: Sequence[Path]) -> Iterator[Path]:
    """The files below a folder in order; a folder's names are in memory, not those of the whole tree."""
    for path in sorted(folder.iterdir()):
        if path.is_file():
            yield path
        elif path not in without and path.is_dir() and not path.is_symlink():
            yield from _files(path, without)


def _whole(folder: Path, entry: ShardEntry) -> bool:
    path = folder / entry.name
    return path.is_file() and path.stat().st_size == entry.bytes
