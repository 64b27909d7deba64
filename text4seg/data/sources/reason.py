"""The reason source: ReasonSeg, `SPLIT/NAME.jpg` with `SPLIT/NAME.json` (questions, and polygons of the target).

Shapes called `ignore` are void, those called `flag` mean nothing, and smaller ones lie on larger ones, in the picture
as its camera's tag turns it. Source: LISA (arXiv 2308.00692), as its published code reads the files.
Axis legend: H, W pixels of the original image.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from text4seg.data.notes import Notes
from text4seg.data.sources.folder import data_root, hidden
from text4seg.data.sources.needs import Need
from text4seg.data.sources.photograph import as_shown
from text4seg.data.sources.records import field, is_file, short
from text4seg.data.sources.segments import polygon
from text4seg.data.sources.settings import ReasonSettings
from text4seg.data.sources.share import WHOLE, Share
from text4seg.data.types import Example, Referent

ENCODINGS = ("utf-8-sig", "cp1252")
"""Some of the published files are not UTF-8; editors on Windows put a mark in front."""
TARGET, VOID = 1, 2


def examples(settings: ReasonSettings, seed: int, share: Share = WHOLE) -> Iterator[Example]:
    """Stream the images of a split by name; `seed` does not matter.

    Raises:
        ValueError: no such split, a missing or damaged file, a shape that is no polygon.
    """
    folder = data_root(settings.root) / settings.split
    files = sorted(path for path in folder.glob("*.json") if not hidden(path.relative_to(folder)))
    if not files:
        raise ValueError(f"{folder} holds no NAME.json; `split` names a folder below `root`.")
    return map(partial(_example, share.notes), share.of(files))


def needs(settings: ReasonSettings) -> list[Need]:
    """What must lie where."""
    folder, where = Path(settings.root) / settings.split, "github.com/dvlab-research/LISA (ReasonSeg)"
    return [Need(folder / "*.json", "questions and polygons", where), Need(folder / "*.jpg", "photographs", where)]


def _example(notes: Notes, path: Path) -> Example:
    content = _content(path)
    photograph = path.with_suffix(".jpg")
    if not is_file(photograph):
        raise ValueError(f"{path} has no photograph beside it: expected {photograph}.")
    image, size = as_shown(photograph)
    parts = []
    for number, shape in enumerate(field(content, "shapes", list, str(path)), 1):
        where = f"{path}, shape {number}"
        label = field(shape, "label", str, where).lower()
        if label == "flag":
            continue
        corners = _corners(shape, where)
        if len(corners) < 6:
            notes.add("shapes of fewer than three points", where)
        parts.append((polygon(corners, size, where), VOID if "ignore" in label else TARGET))
    kind_HW = np.zeros(size, np.uint8)
    for part_HW, kind in sorted(parts, key=lambda part: -int(part[0].sum())):
        kind_HW[part_HW] = kind
    texts = tuple(" ".join(str(text).split()) for text in field(content, "text", list, str(path)))
    texts = tuple(text for text in texts if text)
    if not texts:
        raise ValueError(f"{path} asks nothing: `text` must list at least one question.")
    void_HW = kind_HW == VOID
    referent = Referent(texts, kind_HW == TARGET, path.stem, void_HW if void_HW.any() else None)
    return Example(path.stem, image, size, "reasonseg", referents=(referent,), split=path.parent.name)


def _corners(shape: Any, where: str) -> list[Any]:
    """``[x, y, x, y, …]`` of a polygon, or of the two corners that labelme keeps of a rectangle."""
    points = field(shape, "points", list, where)
    if not all(isinstance(point, list) and len(point) == 2 for point in points):
        raise ValueError(f"{where}: `points` must list [x, y], got {short(points)}.")
    if shape.get("shape_type") == "rectangle" and len(points) == 2:
        (left, top), (right, bottom) = points
        return [left, top, right, top, right, bottom, left, bottom]
    return [value for point in points for value in point]


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
