"""Build a folder of shards: written beside its final place and moved there whole.

A killed build leaves `NAME.partial`; the next build of the same recipe goes on with the shards that are finished there,
any other removes it. The same recipe gives the same bytes.
"""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from text4seg.data.notes import Notes
from text4seg.data.settings import BuildSettings
from text4seg.data.shards.alone import alone
from text4seg.data.shards.fingerprint import fingerprint, partial_of
from text4seg.data.shards.index import NAME, Index, ShardEntry
from text4seg.data.shards.jobs import Built, Job, Tell, run_jobs
from text4seg.data.shards.keys import refuse_repeats
from text4seg.data.shards.verify import file_damage
from text4seg.data.tasks.settings import preset

LICENCES = {"scenes": "drawn by text4seg; Apache-2.0"}
UNKNOWN_LICENCE = "annotations and images keep the licence of the folder that they were read from"
SHARD_NAME = re.compile(r"shard-\d{5,}\.tar")
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
    if settings.options.get("instances") and preset(settings.task, settings.task_options).get("crops"):
        raise ValueError(
            "`options.instances` counts objects from left to right in the whole picture, which is not true of a crop: "
            "leave out `task_options.crops` (and `compat`, which sets them)."
        )
    out = out.resolve()  # a link stays a link, and `.` has a name
    _refuse_to_replace(out)
    digest = fingerprint(settings, out)
    partial = partial_of(out)
    jobs = [Job(settings, partial, grid, codec, rule, number) for number in range(settings.shards)]
    with alone(out) as waited:
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


def _whole(folder: Path, entry: ShardEntry) -> bool:
    path = folder / entry.name
    return path.is_file() and path.stat().st_size == entry.bytes
