"""Find the damage in a folder of shards: files against the index, then every record against itself."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from text4seg.data.image import open_image
from text4seg.data.shards.index import NAME, Index, ShardEntry
from text4seg.data.shards.keys import key_hash, repeats
from text4seg.data.shards.read import Record, records
from text4seg.data.shards.record import MEMBERS, descriptors
from text4seg.data.types import Sample, ignore_value


def verify(folder: Path) -> list[str]:
    """Everything that is wrong with a folder of shards, one line each; empty when it is whole.

    Reads and decodes every record. Damaged data never makes it raise.
    """
    try:
        index = Index.load(folder)
    except ValueError as error:
        partial = folder.with_name(folder.name + ".partial")
        killed = (
            f" {partial} is what a build left that was killed, or that is still running." if partial.is_dir() else ""
        )
        return [f"{error}{killed}"]
    return [*file_damage(folder, index), *_record_damage(folder, index)]


def file_damage(folder: Path, index: Index) -> list[str]:
    """Where the files are not those that the index lists: missing, of another size or content, or left over."""
    found = [f"{entry.name}: {wrong}" for entry in index.shards if (wrong := _file_fault(folder / entry.name, entry))]
    known = {NAME, *(entry.name for entry in index.shards)}
    stray = sorted(path.name for path in folder.iterdir() if path.name not in known and path.name[0] != ".")
    return found + [f"{name}: a file that the index does not list" for name in stray]


def _file_fault(path: Path, entry: ShardEntry) -> str:
    if not path.is_file():
        return "missing"
    if (size := path.stat().st_size) != entry.bytes:
        return f"{size} bytes, the index says {entry.bytes}"
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        return f"cannot be read: {error}"
    return "" if digest == entry.sha256 else "its SHA-256 is not that of the index: some bytes have changed"


def _record_damage(folder: Path, index: Index) -> Iterator[str]:
    keys = array("Q")
    tasks: Counter[str] = Counter()
    unread = 0
    for entry in index.shards:
        if not (folder / entry.name).is_file():
            unread += 1  # told by `file_damage`
            continue
        number = 0
        for record in records(folder / entry.name):
            if not record.error:
                number += 1
                keys.append(key_hash(record.key))
            try:
                sample = _checked(record, index)
            # A damaged file can trip a decoder in ways that no list of classes covers; the finding is what counts.
            except Exception as error:
                unread += 1
                yield f"{entry.name}: {error or type(error).__name__}"
                continue
            tasks.update(turn.task for turn in sample.turns)
        if number != entry.samples:
            yield f"{entry.name}: {number} records, the index says {entry.samples}"
    there = [path for entry in index.shards if (path := folder / entry.name).is_file()]
    homes: dict[str, str] = {}
    for key, shard in repeats(there, np.array(keys, np.uint64)):
        if key in homes:
            yield f"{shard}: {key}: the key comes twice, first in {homes[key]}"
        homes.setdefault(key, shard)
    if not unread and dict(tasks) != index.tasks:
        yield f"{NAME}: the records hold the questions {dict(sorted(tasks.items()))}, the index says {index.tasks}"


def _checked(record: Record, index: Index) -> Sample:
    """Decode a record in full and hold its members against one another.

    Raises:
        ValueError: they do not agree, or one is missing or broken.
    """
    sample = record.sample()
    if missing := [name for name in MEMBERS if name not in record.members]:
        raise ValueError(f"{record.key}: {', '.join(missing)} missing")
    open_image(sample.image, record.key)  # its pixels too
    spelling = {"grid": list(index.grid), "codec": index.codec, "rule": index.rule}
    for turn in json.loads(record.members["qa.json"]):
        if (told := {name: turn.get(name) for name in spelling}) != spelling:
            raise ValueError(f"{record.key}: qa.json says {told}, the index says {spelling}")
    if record.members["descriptor.txt"] != "\n".join(descriptors(sample, index.grid, index.codec, index.rule)).encode():
        raise ValueError(f"{record.key}: descriptor.txt is not the descriptor of mask.png")
    return sample


def summarise(folder: Path) -> dict[str, Any]:
    """What a folder of shards holds, for people and as plain JSON values.

    Broken records are left out and counted under ``unreadable``.

    Raises:
        ValueError: there is no index that can be read.
    """
    index = Index.load(folder)
    turns: Counter[int] = Counter()
    sources: Counter[str] = Counter()
    labels: Counter[str] = Counter()
    lengths = array("I")
    unreadable = empty = 0
    for entry in index.shards:
        for record in records(folder / entry.name) if (folder / entry.name).is_file() else ():
            try:
                sample = record.sample()
                texts = descriptors(sample, index.grid, index.codec, index.rule)
            except ValueError:
                unreadable += 1
                continue
            turns[len(sample.turns)] += 1
            sources[sample.source] += 1
            labels.update(label for turn in sample.turns for label in turn.labels[1:])
            lengths.extend(map(len, texts))
            empty += sum(not ((plane > 0) & (plane < ignore_value(plane))).any() for plane in sample.masks)
    return {
        "folder": str(folder),
        "samples": index.samples,
        "turns": index.turns,
        "unreadable": unreadable,
        "shards": len(index.shards),
        "bytes": sum(entry.bytes for entry in index.shards),
        "tasks": index.tasks,
        "sources": dict(sources.most_common()),
        "grid": list(index.grid),
        "codec": index.codec,
        "rule": index.rule,
        "licence": index.licence,
        "fingerprint": index.fingerprint,
        "turns_per_sample": {str(number): turns[number] for number in sorted(turns)},
        "descriptor_characters": _quantiles(lengths),
        "without_target": empty / len(lengths) if lengths else 0.0,
        "labels": dict(labels.most_common(20)),
        "different_labels": len(labels),
    }


def _quantiles(lengths: array[int]) -> dict[str, int]:
    ranked = np.sort(lengths)
    places = {"shortest": 0.0, "median": 0.5, "90 %": 0.9, "99 %": 0.99, "longest": 1.0}
    return (
        {name: int(ranked[round(share * (len(ranked) - 1))]) for name, share in places.items()} if len(ranked) else {}
    )
