"""Photographs that the refCOCO family holds back: what is validation or test in one set may be training in another.

refCOCO, refCOCO+, refCOCOg and gRefCOCO ask about the same COCO photographs, each with splits of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
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


def coco_id(name: str) -> str:
    """The same for a COCO file name such as `COCO_train2014_000000000036.jpg` or `000000000036.jpg`."""
    number = re.search(r"(\d+)\.\w+$", name)
    return f"coco {int(number[1])}" if number else ""


def family_of(settings: ReferSettings) -> Path:
    """The folder that holds the family's sets: the one named, or the one that the set lies in."""
    return Path(settings.family or Path(settings.root).resolve().parent)


def sets_of(family: Path) -> list[Path]:
    """The folders of a family's sets; none where there is no such folder."""
    return sorted(path for path in family.iterdir() if path.is_dir()) if is_folder(family) else []


def refs_of(root: Path) -> list[Path]:
    """The files of a set's expressions; of a pickle that was saved as JSON as well only the JSON."""
    found = sorted(path for pattern in REFS for path in root.glob(pattern) if path.is_file())
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


def without_held_out(names: Iterable[str], family: str | None, share: Share) -> list[str]:
    """COCO photographs by name or number, without those that a set of the family holds back; these are noted.

    Args:
        family: the folder of the family's sets; None keeps all.
        share: notes them once a build.

    Raises:
        ValueError: there is no such folder, or a file of expressions in it cannot be read.
    """
    if not family:
        return list(names)
    if not is_folder(Path(family)):
        raise ValueError(f"`held_out` must be the folder of the refCOCO family's sets, got {family!r}.")
    forbidden = held_out(sets_of(Path(family)))
    kept = []
    for name in names:
        if coco_id(f"{name}.jpg") not in forbidden:
            kept.append(name)
        elif share.index == 0:
            share.notes.add("photographs held out by the refCOCO family", name)
    return kept


@lru_cache(maxsize=32)
def _of(root: Path, path: Path, changed: int) -> frozenset[str]:
    records: Any = load_json(path) if path.suffix == ".json" else load(path)
    rows = [record for record in records if isinstance(record, dict)] if isinstance(records, list) else []
    return frozenset(photograph_id(root, str(r.get("image_id"))) for r in rows if r.get("split") != "train")
