"""The panoptic source: COCO's panoptic JSON with its folder of PNGs, as a semantic mask over all categories.

A segment's number is R + 256 G + 65536 B of its colour; black is void. Several segments of a category become one.
A category called `others` is background.
Axis legend: H, W pixels of the original image.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from text4seg.data.sources.coco import categories_of, labels_of
from text4seg.data.sources.folder import leads_out
from text4seg.data.sources.held_out import without_held_out
from text4seg.data.sources.index_masks import VOID, read_mask, table
from text4seg.data.sources.needs import Need
from text4seg.data.sources.records import by_id, field, listed, load_json, photograph, short
from text4seg.data.sources.settings import PanopticSettings
from text4seg.data.sources.share import WHOLE, Share
from text4seg.data.types import Example, Referent, ignore_value


def examples(settings: PanopticSettings, seed: int, share: Share = WHOLE) -> Iterator[Example]:
    """Stream the annotated images in the order of the file; `seed` does not matter.

    Raises:
        ValueError: a missing or damaged file, a segment that the JSON does not list; the record is named.
    """
    path = Path(settings.annotations)
    content = load_json(path)
    categories = categories_of(content, path)
    labels = labels_of(categories)
    index = {number: labels.index(category.label) for number, category in categories.items()}
    images = by_id(field(content, "images", list, str(path)), "id", f"{path}, image")
    annotations = by_id(field(content, "annotations", list, str(path)), "image_id", f"{path}, annotation of image")

    def example(image_id: str) -> Example:
        where = f"{path}, image {image_id}"
        picture, size = photograph(listed(images, image_id, where), Path(settings.images), where)
        mask_HW = _mask(annotations[image_id], index, len(labels), Path(settings.masks), where)
        if mask_HW.shape != size:
            raise ValueError(f"{where}: the mask is {mask_HW.shape}, the photograph {size} (height, width).")
        void = ignore_value(mask_HW)
        shown = (i for i in np.unique(mask_HW).tolist() if i not in (0, void))
        referents = tuple(Referent((labels[i],), mask_HW == i, void=mask_HW == void) for i in shown)
        return Example(image_id, picture, size, path.stem, labels, mask_HW, referents)

    files = {number: str(images.get(number, {}).get("file_name", "")) for number in annotations}
    return map(example, share.of(without_held_out(files, settings.held_out, share)))


def needs(settings: PanopticSettings) -> list[Need]:
    """What must lie where."""
    where = "cocodataset.org (panoptic annotations)"
    return [
        Need(Path(settings.annotations), "panoptic JSON (option `annotations`)", where),
        Need(Path(settings.masks), "folder of PNGs (option `masks`)", where),
        Need(Path(settings.images), "photographs (option `images`)", where),
    ]


def _mask(
    annotation: dict[str, Any], index: dict[str, int], labels: int, folder: Path, where: str
) -> NDArray[np.unsignedinteger]:
    name = field(annotation, "file_name", str, where)
    if leads_out(name):
        raise ValueError(f"{where}: `file_name` {name!r} leads out of {folder}.")
    meaning = {0: VOID}
    for segment in field(annotation, "segments_info", list, where):
        number, category = field(segment, "id", int, where), str(field(segment, "category_id", (int, str), where))
        if category not in index:
            raise ValueError(f"{where} has the category {category}, which `categories` does not list.")
        if not 0 <= number < 2**24:
            raise ValueError(f"{where}: a segment has the `id` {short(number)}; a colour numbers 0 to {2**24 - 1}.")
        # `read_mask` packs a colour with red in front, COCO with red behind
        meaning[(number & 255) << 16 | number & 0xFF00 | number >> 16] = index[category]
    return read_mask(folder / name, table(meaning, labels, colours=True), f"{where}, segments_info,")
