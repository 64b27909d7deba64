"""Digest of what shards are built from: when it is another one, they have to be built anew."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from text4seg.data.settings import BuildSettings
from text4seg.data.shards.index import FORMAT
from text4seg.data.sources.held_out import families_of, refs_of, sets_of
from text4seg.data.sources.records import is_file, is_folder
from text4seg.data.sources.registry import VERSIONS, source_settings
from text4seg.data.sources.settings import ReferSettings

PATHS = ("root", "annotations", "masks", "images", "classes", "path", "refs")
"""Options that name what a source reads."""
CONTENT = (".txt", ".json", ".jsonl", ".csv", ".tsv", ".p", ".pkl", ".pickle", ".parquet", ".arrow")
"""Endings of the files of a folder whose content counts; pictures and masks count by name and size."""
WHOLE_FILE, END = 2**20, 2**16
"""Bytes up to which all of a file's content counts, and what counts at either end of a larger one."""


def partial_of(out: Path) -> Path:
    """Where a build works before its folder takes the place of `out`."""
    return out.with_name(out.name + ".partial")


def fingerprint(settings: BuildSettings, out: Path | None = None) -> str:
    """Digest of a recipe, of the files that it reads, and of its question lists.

    A file counts by its name and size, texts and tables by their content too; dates do not: a copy is no change.

    Args:
        settings: the recipe.
        out: where its shards lie; they are no part of what it reads, should that folder hold them.
    """
    source = source_settings(settings.source, settings.options)
    digest = hashlib.sha256(json.dumps([FORMAT, VERSIONS[settings.source], asdict(settings)], sort_keys=True).encode())
    for top in _named(settings.options, source):
        if is_file(top):
            digest.update(f"{top.name} {_content(top)}\n".encode())
        if not is_folder(top):
            continue
        own = () if out is None else (out.resolve(), partial_of(out.resolve()))
        for path in _files(top, (top, *top.parents, *own)):
            told = _content(path) if path.suffix.lower() in CONTENT else path.stat().st_size
            digest.update(f"{path.relative_to(top)} {told}\n".encode())
    for path in _family(source):
        digest.update(f"{path.parent.name}/{path.name} {_content(path)}\n".encode())
    templates = settings.task_options.get("templates")
    if templates and Path(str(templates)).is_file():
        digest.update(Path(str(templates)).read_bytes())
    return digest.hexdigest()[:16]


def _named(options: dict[str, Any], source: Any) -> Iterator[Path]:
    """What the options name, whole; the refCOCO family's `images` and `refs` are names from its root on."""
    root = Path(source.root).resolve() if isinstance(source, ReferSettings) else None
    for name in PATHS:
        given = options.get(name)
        if not given or not isinstance(given, str):  # `classes` of a hub set are the names themselves
            continue
        if root is None or name == "root":
            yield Path(given).resolve()
        elif not (top := (root / given).resolve()).is_relative_to(root):  # else the root has it
            yield top


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
    """The expressions of the refCOCO family's sets whose held-out photographs a source leaves out, or tells of."""
    if getattr(source, "split", None) not in ("train", None):
        return []
    held = getattr(source, "held_out", None)
    folders = [Path(held)] if held else []
    if isinstance(source, ReferSettings) and source.root and source.leaks == "filter":
        folders = families_of(source)
    return [path for folder in folders for place in sets_of(folder) for path in refs_of(place)]


def _files(folder: Path, without: Sequence[Path]) -> Iterator[Path]:
    """The files below a folder in order, those of linked folders too; only one folder's names are in memory at a time.

    Folders `without` which (the shards' own, and those that it lies in: a link to these leads round in a circle) are
    passed over.
    """
    for path in sorted(folder.iterdir()):
        if path.is_file():
            yield path
        elif path.is_dir() and (real := path.resolve()) not in without:
            yield from _files(path, (*without, real))
