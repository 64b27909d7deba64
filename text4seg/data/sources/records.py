"""Records of JSON annotations: fields with a type, ids that are unique, photographs of the size that is stated.

What an annotation says is untrusted: every error names the file and the record.
Axis legend: H, W pixels of the original image.
"""

from __future__ import annotations

import json
import reprlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from text4seg.data.sources.folder import leads_out
from text4seg.data.sources.photograph import as_annotated, header_size


def field(record: Any, key: str, kinds: type | tuple[type, ...], where: str) -> Any:
    """A value of a record, when it has one of the kinds asked for."""
    value = record.get(key) if isinstance(record, dict) else None
    if not isinstance(value, kinds) or isinstance(value, bool):
        names = " or ".join(kind.__name__ for kind in (kinds if isinstance(kinds, tuple) else (kinds,)))
        raise ValueError(f"{where}: `{key}` must be {names}, got {short(value)}.")
    return value


def short(value: Any) -> str:
    """The start of what an annotation holds; a hostile file nests it too deep, or repeats it too often, to print."""
    return reprlib.repr(value)[:60]


def by_id(records: list[Any], name: str, where: str) -> dict[str, dict[str, Any]]:
    """Records by the text of their id.

    Raises:
        ValueError: a record without one, or one that stands there twice.
    """
    found: dict[str, dict[str, Any]] = {}
    for number, record in enumerate(records):
        key = str(field(record, name, (int, str), f"{where} number {number}"))
        if key in found:
            raise ValueError(f"{where} {key} stands there twice: `{name}` must be unique.")
        found[key] = record
    return found


def listed(images: dict[str, dict[str, Any]], image_id: str, where: str) -> dict[str, Any]:
    """The record of an annotated image.

    Raises:
        ValueError: there is none.
    """
    if image_id not in images:
        raise ValueError(f"{where} has annotations, but no entry under `images`.")
    return images[image_id]


@lru_cache(maxsize=2)
def _cached(path: Path, changed: int) -> Any:
    return json.loads(path.read_bytes())


def load_json(path: Path) -> Any:
    """The content of a JSON file; the last ones stay in memory for the other shards that this process builds.

    Raises:
        ValueError: no such file, or not JSON.
    """
    try:
        return _cached(path, path.stat().st_mtime_ns)
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a readable JSON file: {error}") from error


def photograph(image: dict[str, Any], folder: Path, where: str) -> tuple[Path | bytes, tuple[int, int]]:
    """An image and its size, which must be the one that the annotations were drawn in."""
    name = field(image, "file_name", str, where)
    size = field(image, "height", int, where), field(image, "width", int, where)
    if leads_out(name):
        raise ValueError(f"{where}: `file_name` {name!r} leads out of {folder}.")
    if not is_file(folder / name):
        raise ValueError(f"{where}: no file {folder / name}; set `images` to the folder that holds {name!r}.")
    picture = as_annotated(folder / name, size)
    if picture is None:
        found = header_size(folder / name)
        raise ValueError(f"{where} says (height, width) = {size}, but {folder / name} has {found}; use the original.")
    return picture, size


def is_folder(path: Path) -> bool:
    """Whether there is such a folder; a name that no folder can have is none."""
    try:
        return path.is_dir()
    except OSError:
        return False


def is_file(path: Path) -> bool:
    """Whether there is such a file; a name that no file can have is none."""
    try:
        return path.is_file()
    except OSError:  # a name that no file can have
        return False
