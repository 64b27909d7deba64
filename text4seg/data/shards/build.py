"""Build a folder of shards: written beside its final place and moved there whole.

A killed build leaves `NAME.partial`, which nothing reads; the next build removes it. The same recipe gives the same
bytes.
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import webdataset as wds

from text4seg.data.settings import BuildSettings
from text4seg.data.shards.index import FORMAT, NAME, Index, ShardEntry
from text4seg.data.shards.record import to_members
from text4seg.data.shards.verify import file_damage
from text4seg.data.sources.options import from_options
from text4seg.data.sources.registry import VERSIONS, examples, source_settings
from text4seg.data.tasks.samples import samples
from text4seg.data.tasks.settings import TaskSettings, preset
from text4seg.data.types import Sample

LICENCES = {"scenes": "drawn by text4seg; Apache-2.0"}
UNKNOWN_LICENCE = "annotations and images keep the licence of the folder that they were read from"
SHARD_NAME = re.compile(r"shard-\d{5,}\.tar")
Tell = Callable[[int], None]


def ensure(
    settings: BuildSettings,
    out: Path,
    grid: tuple[int, int],
    codec: str,
    rule: str,
    tell: Tell | None = None,
    thorough: bool = False,
) -> Index:
    """The index of `out`, built first when it is missing or was built from another recipe or other files.

    Training spells descriptors anew from the masks, so another grid, codec or rule is no reason to build for it.

    Args:
        thorough: build as well when the stored descriptors are spelled otherwise, or when any byte has changed
            (reads all files); otherwise a look at the files' sizes has to do.
    """
    try:
        index = Index.load(out)
    except ValueError:
        return build(settings, out, grid, codec, rule, tell)
    whole = index.fingerprint == fingerprint(settings, out)
    if thorough:
        whole = whole and (index.grid, index.codec, index.rule) == (grid, codec, rule) and not file_damage(out, index)
    else:
        whole = whole and all(_whole(out, entry) for entry in index.shards)
    return index if whole else build(settings, out, grid, codec, rule, tell)


def build(
    settings: BuildSettings, out: Path, grid: tuple[int, int], codec: str, rule: str, tell: Tell | None = None
) -> Index:
    """Write the shards of a recipe, replacing what an earlier build left at `out`.

    Args:
        settings: the recipe.
        out: the folder; it must not exist, be empty, or hold shards.
        grid: rows, columns of the stored descriptors.
        codec: their spelling.
        rule: how their cells get their labels.
        tell: called with the number of samples written so far.

    Raises:
        ValueError: the recipe is wrong, gives no sample, or `out` holds something else.
    """
    out = out.resolve()  # a link stays a link, and `.` has a name
    _refuse_to_replace(out)
    digest = fingerprint(settings, out)
    partial = _partial(out)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        index = _fill(settings, partial, (grid, codec, rule), digest, tell)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    shutil.rmtree(out, ignore_errors=True)
    partial.replace(out)
    return index


def _partial(out: Path) -> Path:
    return out.with_name(out.name + ".partial")


def _refuse_to_replace(out: Path) -> None:
    """A build takes the place of a whole folder: let it only where nothing but shards would be lost."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; give a folder.")
    found = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    foreign = [name for name in found if name != NAME and not SHARD_NAME.fullmatch(name)]
    if foreign or found == [NAME]:
        raise ValueError(f"{out} holds files that are not shards ({(foreign or found)[0]}); give another folder.")


def _fill(
    settings: BuildSettings, folder: Path, spelling: tuple[tuple[int, int], str, str], digest: str, tell: Tell | None
) -> Index:
    """Write shards and index into an empty folder."""
    tasks: Counter[str] = Counter()
    entries = _write(_counted(_stream(settings), tasks, tell), folder, settings.shards, spelling)
    total = sum(entry.samples for entry in entries)
    if not total:
        raise ValueError(f"the source {settings.source!r} gave no sample for the task {settings.task!r}.")
    for entry in entries:
        if not entry.samples:  # more shards than samples
            (folder / entry.name).unlink()
    grid, codec, rule = spelling
    index = Index(
        shards=tuple(entry for entry in entries if entry.samples),
        samples=total,
        turns=tasks.total(),
        tasks=dict(sorted(tasks.items())),
        grid=grid,
        codec=codec,
        rule=rule,
        licence=LICENCES.get(settings.source, UNKNOWN_LICENCE),
        recipe=asdict(settings),
        fingerprint=digest,
    )
    index.save(folder)
    return index


def fingerprint(settings: BuildSettings, out: Path | None = None) -> str:
    """Digest of a recipe, of the names and sizes of the files that it reads, and of its question lists.

    Args:
        settings: the recipe.
        out: where its shards lie; they are no part of what it reads, should that folder hold them.
    """
    source_settings(settings.source, settings.options)
    digest = hashlib.sha256(json.dumps([FORMAT, VERSIONS[settings.source], asdict(settings)], sort_keys=True).encode())
    root = settings.options.get("root")
    if root and Path(str(root)).is_dir():
        top = Path(str(root)).resolve()
        own = () if out is None else (out.resolve(), _partial(out.resolve()))
        for path in sorted(top.rglob("*")):
            if path.is_file() and not any(path.is_relative_to(folder) for folder in own):
                digest.update(f"{path.relative_to(top)} {path.stat().st_size}\n".encode())
    templates = settings.task_options.get("templates")
    if templates and Path(str(templates)).is_file():
        digest.update(Path(str(templates)).read_bytes())
    return digest.hexdigest()[:16]


def _whole(folder: Path, entry: ShardEntry) -> bool:
    path = folder / entry.name
    return path.is_file() and path.stat().st_size == entry.bytes


def _stream(settings: BuildSettings) -> Iterable[Sample]:
    task_settings = from_options(TaskSettings, preset(settings.task, settings.task_options), "task_options")
    found = examples(settings.source, settings.options, settings.seed)
    return islice(samples(found, settings.task, task_settings, settings.seed, settings.quality), settings.limit)


def _counted(stream: Iterable[Sample], tasks: Counter[str], tell: Tell | None) -> Iterator[Sample]:
    seen: set[str] = set()
    for sample in stream:
        if sample.key in seen:
            raise ValueError(
                f"the key {sample.key!r} comes twice; ids of the source must differ in letters and digits."
            )
        seen.add(sample.key)
        tasks.update(turn.task for turn in sample.turns)
        yield sample
        if tell:
            tell(len(seen))


def _write(stream: Iterable[Sample], folder: Path, shards: int, spelling: tuple[Any, str, str]) -> list[ShardEntry]:
    """Deal samples out to the shards in turn, so that all have the same number but for one."""
    if shards < 1:
        raise ValueError(f"`shards` must be at least 1, got {shards}.")
    counts = [0] * shards
    paths = [folder / f"shard-{number:05d}.tar" for number in range(shards)]
    with ExitStack() as stack:
        # Open files, not names: webdataset takes a name with a colon for the address of something to run or fetch.
        files = [stack.enter_context(_opened(path, shards)) for path in paths]
        tars = [stack.enter_context(wds.TarWriter(file, mtime=0)) for file in files]
        for number, sample in enumerate(stream):
            counts[number % shards] += 1
            tars[number % shards].write({"__key__": sample.key, **to_members(sample, *spelling)})
    return [_entry(path, count) for path, count in zip(paths, counts, strict=True)]


def _opened(path: Path, shards: int) -> BinaryIO:
    try:
        return path.open("wb")
    except OSError as error:
        if error.errno != errno.EMFILE:
            raise
        raise ValueError(
            f"`shards`={shards} asks for more open files than this system lets a program have: take fewer, or raise "
            "`ulimit -n`."
        ) from error


def _entry(path: Path, samples: int) -> ShardEntry:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return ShardEntry(path.name, samples, path.stat().st_size, digest)
