"""Photographs that the refCOCO family holds back: what is validation or test in one set may be training in another.

refCOCO, refCOCO+, refCOCOg and gRefCOCO ask about the same COCO photographs, each with splits of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from text4seg.data.sources.plain_pickle import load
from text4seg.data.sources.records import is_folder, load_json
from text4seg.data.sources.settings import ReferSettings
from text4seg.data.sources.share import Share

REFS = ("*refs*.json", "*refs*.p")


def photograph_id(root: Path, image: str) -> str:
    """A photograph's name across sets: COCO's number; refCLEF counts photographs of its own."""
    return (
        f"refclef {image}"
        if "clef" in root.resolve().name.lower()
        else f"coco {int(image) if image.isdigit() else image}"
    )


def coco_id(name: str, number: str = "") -> str:
    """The same by the name of COCO's file, such as `COCO_train2014_000000000036.jpg`; of another name by a number."""
    found = re.search(r"(\d{12})(\.\w+)?$", name) or re.search(r"(\d+)$", number)
    return f"coco {int(found[1])}" if found else ""


def families_of(settings: ReferSettings) -> list[Path]:
    """The folders that hold the family's sets: the one named, or those that the set lies in, with and without links."""
    if settings.family:
        return [Path(settings.family)]
    root = Path(settings.root)
    return list(dict.fromkeys([root.absolute().parent.resolve(), root.resolve().parent]))


def sets_of(family: Path) -> list[Path]:
    """The folders of a family's sets; none where there is no such folder."""
    return sorted(path for path in family.iterdir() if path.is_dir()) if is_folder(family) else []


def refs_of(root: Path) -> list[Path]:
    """The files of a set's expressions; of a pickle that was saved as JSON as well only the JSON."""
    found = sorted(path for pattern in REFS for path in root.glob(pattern) if path.is_file() and path.name[0] != ".")
    return [path for path in found if path.suffix == ".json" or path.with_suffix(".json") not in found]


def held_out(roots: Iterable[Path]) -> frozenset[str]:
    """Photographs that any of the sets uses outside `train`; folders without expressions count nothing.

    Raises:
        ValueError: a file of expressions cannot be read: what it holds back would leak.
    """
    found: set[str] = set()
    for root in dict.fromkeys(path.resolve() for path in roots):
        for refs in refs_of(root):
            found |= _of(root, refs, refs.stat().st_mtime_ns)
    return frozenset(found)


def without_held_out(files: Mapping[str, str], family: str | None, share: Share) -> list[str]:
    """COCO photographs without those that a set of the family holds back; these are noted.

    Args:
        files: what each is called here, a number or ending in one, and its file.
        family: the folder of the family's sets; None keeps all.
        share: notes them once a build.

    Raises:
        ValueError: there is no such folder, or a file of expressions in it cannot be read.
    """
    if not family:
        return list(files)
    if not is_folder(Path(family)):
        raise ValueError(f"`held_out` must be the folder of the refCOCO family's sets, got {family!r}.")
    forbidden = held_out(sets_of(Path(family)))
    kept = []
    for name, file in files.items():
        if coco_id(file, name) not in forbidden:
            kept.append(name)
        elif share.index == 0:
            share.notes.add("photographs held out by the refCOCO family", name)
    return kept


@lru_cache(maxsize=32)
def _of(root: Path, path: Path, changed: int) -> frozenset[str]:
    records: Any = load_json(path) if path.suffix == ".json" else load(path)
    rows = [record for record in records if isinstance(record, dict)] if isinstance(records, list) else []
    return frozenset(photograph_id(root, str(r.get("image_id"))) for r in rows if r.get("split") != "train")
