"""The reason source: ReasonSeg, `SPLIT/NAME.jpg` with `SPLIT/NAME.json` (questions, and polygons of the target).

Shapes called `ignore` are void. Source: LISA (arXiv 2308.00692).
Axis legend: H, W pixels of the original image.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from text4seg.data.sources.folder import data_root
from text4seg.data.sources.needs import Need
from text4seg.data.sources.photograph import header_size
from text4seg.data.sources.records import field
from text4seg.data.sources.segments import polygon
from text4seg.data.sources.settings import ReasonSettings
from text4seg.data.sources.share import WHOLE, Share
from text4seg.data.types import Example, Referent

ENCODINGS = ("utf-8-sig", "cp1252")
"""Some of the published files are not UTF-8; editors on Windows put a mark in front."""


def examples(settings: ReasonSettings, seed: int, share: Share = WHOLE) -> Iterator[Example]:
    """Stream the images of a split by name; `seed` does not matter.

    Raises:
        ValueError: no such split, a missing or damaged file, a shape that is no polygon.
    """
    folder = data_root(settings.root) / settings.split
    files = sorted(folder.glob("*.json"))
    if not files:
        raise ValueError(f"{folder} holds no NAME.json; `split` names a folder below `root`.")
    return map(_example, share.of(files))


def needs(settings: ReasonSettings) -> list[Need]:
    """What must lie where."""
    folder, where = Path(settings.root) / settings.split, "github.com/dvlab-research/LISA (ReasonSeg)"
    return [Need(folder / "*.json", "questions and polygons", where), Need(folder / "*.jpg", "photographs", where)]


def _example(path: Path) -> Example:
    content = _content(path)
    image = path.with_suffix(".jpg")
    size = header_size(image)
    target, void = np.zeros(size, bool), np.zeros(size, bool)
    for number, shape in enumerate(field(content, "shapes", list, str(path)), 1):
        where = f"{path}, shape {number}"
        points = field(shape, "points", list, where)
        flat = [value for point in points if isinstance(point, list) for value in point]
        part = polygon(flat, size, where)
        if "ignore" in field(shape, "label", str, where).lower():
            void |= part
        else:
            target |= part
    texts = tuple(" ".join(str(text).split()) for text in field(content, "text", list, str(path)))
    texts = tuple(text for text in texts if text)
    if not texts:
        raise ValueError(f"{path} asks nothing: `text` must list at least one question.")
    referent = Referent(texts, target, path.stem, void & ~target if void.any() else None)
    return Example(path.stem, image, size, "reasonseg", referents=(referent,), split=path.parent.name)


def _content(path: Path) -> Any:
    data = path.read_bytes()
    for encoding in ENCODINGS:
        try:
            return json.loads(data.decode(encoding))
        except UnicodeDecodeError:
            continue
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} is not a readable JSON file: {error}") from error
    raise ValueError(f"{path} is neither {' nor '.join(ENCODINGS)} text.")
