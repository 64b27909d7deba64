"""The coco source: instances as COCO writes them, and objects with parts as PACO-LVIS and Pascal-Part do.

    python -m text4seg.shards build --source coco --out DIR options.annotations=instances.json options.images=train2017

Categories called `object:part` are parts; their label says whose they are (`handle of mug`). Where annotations overlap,
parts lie on objects and smaller ones on larger ones. Crowds count as their category, but not as an instance. What
covers no pixel or names no image is counted and left out. A category called `others` is background. Photographs lie in
`images` itself or, as LVIS has them of two splits, in the folders of their `coco_url` there.
Axis legend: H, W pixels of the original image.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from text4seg.data.sources.held_out import without_held_out
from text4seg.data.sources.needs import Need
from text4seg.data.sources.records import by_id, field, is_file, listed, load_json, photograph
from text4seg.data.sources.segments import segment_mask
from text4seg.data.sources.settings import CocoSettings
from text4seg.data.sources.share import WHOLE, Share
from text4seg.data.types import IGNORE, IGNORE_16, Example, Referent
from text4seg.descriptors import OTHERS


class Category(NamedTuple):
    """What a category is called, and whose part it is (or `""`)."""

    label: str
    whole: str


class Piece(NamedTuple):
    """One annotation: its label's index, its pixels ``[H, W]``, whether it is a crowd."""

    index: int
    mask: NDArray[np.bool_]
    crowd: bool


def examples(settings: CocoSettings, seed: int, share: Share = WHOLE) -> Iterator[Example]:
    """Stream the images that have annotations, in the order of the file; `seed` does not matter.

    Raises:
        ValueError: a missing or damaged file, a record that does not fit; the record is named.
    """
    path, folder = Path(settings.annotations), Path(settings.images)
    content = load_json(path)
    categories = categories_of(content, path)
    labels = labels_of(categories)
    wholes = {category.label: category.whole for category in categories.values()}
    images = by_id(_images(content, path, share), "id", f"{path}, image")
    groups: dict[str, list[dict[str, Any]]] = {}
    for number, annotation in enumerate(field(content, "annotations", list, str(path))):
        if not isinstance(annotation, dict) or annotation.get("image_id") is None:
            if share.index == 0:  # once a build
                share.notes.add("annotations that name no image", f"annotation number {number}")
            continue
        groups.setdefault(str(field(annotation, "image_id", (int, str), f"{path}, annotation")), []).append(annotation)
    files = {number: str(with_name(images.get(number, {})).get("file_name", "")) for number in groups}
    kept = without_held_out(files, settings.held_out, share)

    def example(image_id: str) -> Example:
        where = f"{path}, image {image_id}"
        picture, size = photograph(_placed(listed(images, image_id, where), folder), folder, where)
        pieces = []
        for one in groups[image_id]:
            piece = _piece(one, categories, labels, size, f"{path}, annotation {one.get('id')}")
            if piece.mask.any():
                pieces.append(piece)
            else:
                share.notes.add("annotations that cover no pixel", f"{one.get('id')} of image {image_id}")
        found = Example(image_id, picture, size, path.stem)
        if settings.instances:
            return numbered(found, pieces, labels)
        return replace(merged(found, pieces, labels, wholes), absent=_absent(images[image_id], categories, labels))

    return map(example, share.of(kept))


def needs(settings: CocoSettings) -> list[Need]:
    """What must lie where."""
    where = "cocodataset.org; PACO: github.com/facebookresearch/paco; Pascal-Part: github.com/facebookresearch/VLPart"
    return [
        Need(Path(settings.annotations), "instances as JSON (option `annotations`)", where),
        Need(Path(settings.images), "photographs (option `images`)", where),
    ]


def categories_of(content: Any, path: Path) -> dict[str, Category]:
    """Categories by id; `mug:handle` becomes `handle of mug`, `_` a blank.

    Raises:
        ValueError: a category without an id or a name.
    """
    found = by_id(field(content, "categories", list, str(path)), "id", f"{path}, category")
    return {number: _category(field(one, "name", str, f"{path}, category {number}")) for number, one in found.items()}


def labels_of(categories: dict[str, Category]) -> tuple[str, ...]:
    """`others` and the categories' labels; a category of that name is the background, too."""
    names = dict.fromkeys(category.label for category in categories.values())
    return (OTHERS, *(name for name in names if name != OTHERS))


def _images(content: Any, path: Path, share: Share) -> list[Any]:
    """The image records, without those that repeat another: files that were merged hold the same image twice."""
    kept: list[Any] = []
    seen: set[tuple[str, str]] = set()
    for record in field(content, "images", list, str(path)):
        named = with_name(record) if isinstance(record, dict) else {}
        found = str(named.get("id")), str(named.get("file_name"))
        if found not in seen or "id" not in named:
            kept.append(record)
        elif share.index == 0:  # once a build
            share.notes.add("images that are listed twice", found[0])
        seen.add(found)
    return kept


def _category(name: str) -> Category:
    whole, _, part = (" ".join(word.replace("_", " ").split()) for word in name.partition(":"))
    return Category(f"{part} of {whole}", whole) if part else Category(whole, "")


def with_name(image: dict[str, Any]) -> dict[str, Any]:
    """An image record with a `file_name`: LVIS has an address only, whose last part is the name."""
    if "file_name" in image or not isinstance(image.get("coco_url"), str):
        return image
    return {**image, "file_name": image["coco_url"].rpartition("/")[2]}


def _placed(image: dict[str, Any], folder: Path) -> dict[str, Any]:
    """An image record by its name, or by the folder and name of its address where the photograph lies there: a file of
    LVIS is about photographs of both `train2017/` and `val2017/`."""
    image = with_name(image)
    name, address = image.get("file_name"), image.get("coco_url")
    if not isinstance(name, str) or not isinstance(address, str) or is_file(folder / name):
        return image
    below = Path(Path(address).parent.name, name).as_posix()
    return {**image, "file_name": below} if is_file(folder / below) else image


def _piece(
    annotation: dict[str, Any],
    categories: dict[str, Category],
    labels: tuple[str, ...],
    size: tuple[int, int],
    where: str,
) -> Piece:
    number = str(field(annotation, "category_id", (int, str), where))
    if number not in categories:
        raise ValueError(f"{where} has the category {number}, which `categories` does not list.")
    mask_HW = segment_mask(annotation, size, where)
    return Piece(labels.index(categories[number].label), mask_HW, bool(annotation.get("iscrowd")))


def merged(example: Example, pieces: list[Piece], labels: tuple[str, ...], wholes: dict[str, str]) -> Example:
    """One label a category: a semantic mask, and a referent for each category that shows."""
    owners = tuple(wholes.get(label, "") for label in labels)
    mask_HW = np.zeros(example.size, np.uint8 if len(labels) <= IGNORE else np.uint16)
    for piece in sorted(pieces, key=lambda piece: (bool(owners[piece.index]), -int(piece.mask.sum()))):
        mask_HW[piece.mask] = piece.index
    unions: dict[int, NDArray[np.bool_]] = {}
    for piece in (piece for piece in pieces if piece.index):  # nobody asks for the background
        unions[piece.index] = unions.get(piece.index, False) | piece.mask
    referents = tuple(Referent((labels[index],), union) for index, union in sorted(unions.items()))
    return Example(
        example.id,
        example.image,
        example.size,
        example.source,
        labels,
        mask_HW,
        referents,
        wholes=owners if any(owners) else (),
    )


def _absent(image: dict[str, Any], categories: dict[str, Category], labels: tuple[str, ...]) -> tuple[int, ...] | None:
    """LVIS looks for some categories an image only; what it found missing is listed."""
    known = image.get("neg_category_ids")
    if not isinstance(known, list):
        return None
    return tuple(dict.fromkeys(labels.index(categories[str(n)].label) for n in known if str(n) in categories))


def numbered(example: Example, pieces: list[Piece], labels: tuple[str, ...]) -> Example:
    """A label an instance, counted from left to right within its category; crowds are void."""
    pieces = [piece for piece in pieces if piece.index]  # the background has no instances
    single = sorted((p for p in pieces if not p.crowd), key=lambda p: (p.index, int(np.argmax(p.mask.any(axis=0)))))
    seen: dict[int, int] = {}
    names = []
    for piece in single:
        seen[piece.index] = seen.get(piece.index, 0) + 1
        names.append(f"{labels[piece.index]} {seen[piece.index]}")
    kind, void = (np.uint8, IGNORE) if len(names) < IGNORE else (np.uint16, IGNORE_16)
    mask_HW = np.zeros(example.size, kind)
    for piece in pieces:
        mask_HW[piece.mask & piece.crowd] = void
    for number, piece in sorted(enumerate(single, 1), key=lambda item: -int(item[1].mask.sum())):
        mask_HW[piece.mask] = number
    referents = tuple(Referent((name,), piece.mask) for name, piece in zip(names, single, strict=True))
    return Example(example.id, example.image, example.size, example.source, (OTHERS, *names), mask_HW, referents)
