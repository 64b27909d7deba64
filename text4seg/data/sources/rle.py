"""The rle source: one JSON object a line with objects as COCO run lengths, read in constant memory.

    {"image": "a.jpg", "objects": [{"label": "dog", "rle": {"size": [480, 640], "counts": "..."}}]}

A `label` is text or a list of expressions for the same target; an object without `rle` is not in the picture. `split`
and `id` are optional. Objects called `others` are background; those that are called alike are one target.
Axis legend: H, W pixels of the original image.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from text4seg.data.sources.folder import leads_out
from text4seg.data.sources.json_items import JsonItems
from text4seg.data.sources.needs import Need
from text4seg.data.sources.photograph import header_size
from text4seg.data.sources.records import field, is_file, photograph
from text4seg.data.sources.segments import run_lengths
from text4seg.data.sources.settings import RleSettings
from text4seg.data.sources.share import WHOLE, Share
from text4seg.data.types import IGNORE, Example, Referent
from text4seg.descriptors import OTHERS


def examples(settings: RleSettings, seed: int, share: Share = WHOLE) -> Iterator[Example]:
    """Stream the records; `seed` does not matter. The semantic mask holds a label an object, smaller ones on top.

    Raises:
        ValueError: a missing or damaged file, a record that does not fit; it is named.
    """
    path, images = Path(settings.annotations), Path(settings.images)
    records = JsonItems(path)

    def example(number: int) -> Example:
        record = records[number]
        where = f"{path}, record {number + 1}"
        name = field(record, "image", str, where)
        if leads_out(name) or not is_file(images / name):
            raise ValueError(f"{where}: no file {name!r} in {images}; set `images` to the folder that holds it.")
        height, width = _size(record, images / name)
        picture, size = photograph({"file_name": name, "height": height, "width": width}, images, where)
        referents = _united(_referent(one, size, where) for one in field(record, "objects", list, where))
        names = dict.fromkeys(referent.phrases[0] for referent in referents)
        labels = (OTHERS, *(name for name in names if name != OTHERS))
        if len(labels) > IGNORE:
            raise ValueError(f"{where} has {len(labels) - 1} labels; expected at most {IGNORE - 1} a picture.")
        mask_HW = np.zeros(size, np.uint8)
        for referent in sorted(referents, key=lambda referent: -int(referent.mask.sum())):
            mask_HW[referent.mask] = labels.index(referent.phrases[0])
        referents = tuple(referent for referent in referents if referent.phrases[0] != OTHERS)  # the background
        found = f"{number:07d}" if record.get("id") is None else str(record["id"])
        return Example(found, picture, size, path.stem, labels, mask_HW, referents, str(record.get("split", "train")))

    return map(example, share.of(range(len(records))))


def needs(settings: RleSettings) -> list[Need]:
    """What must lie where."""
    return [
        Need(
            Path(settings.annotations),
            "one JSON object a line (option `annotations`)",
            "your own: see the head of text4seg/data/sources/rle.py",
        ),
        Need(Path(settings.images), "photographs (option `images`)", "your own"),
    ]


def _united(referents: Iterable[Referent]) -> tuple[Referent, ...]:
    """Objects that are called alike are one target: one question cannot have two answers."""
    found: dict[tuple[str, ...], Referent] = {}
    for one in referents:
        known = found.get(one.phrases)
        found[one.phrases] = replace(known, mask=known.mask | one.mask) if known else one
    return tuple(found.values())


def _size(record: dict[str, Any], image: Path) -> tuple[int, int]:
    objects = record.get("objects")
    for one in objects if isinstance(objects, list) else []:
        size = one.get("rle", {}).get("size") if isinstance(one, dict) and isinstance(one.get("rle"), dict) else None
        if isinstance(size, list) and len(size) == 2 and all(isinstance(side, int) for side in size):
            return size[0], size[1]
    return header_size(image)


def _referent(one: Any, size: tuple[int, int], where: str) -> Referent:
    given = field(one, "label", (str, list), where)
    phrases = tuple(" ".join(str(text).split()) for text in (given if isinstance(given, list) else [given]))
    if not phrases or not all(phrases):
        raise ValueError(f"{where} has an object without a label.")
    if one.get("rle") is None:
        return Referent(phrases, np.zeros(size, bool))
    return Referent(phrases, run_lengths(field(one, "rle", dict, where), size, where))
