"""The refer source: refCOCO, refCOCO+, refCOCOg, refCLEF and gRefCOCO in the layout of the REFER toolbox.

    python -m text4seg.shards build --source refer --out DIR root=refcoco split=train images=train2014

`instances.json` holds images and annotations as COCO does; a ref names an image, one annotation (gRefCOCO: a list of
them, none or ``[-1]`` for no target) and its sentences. All the refs of an image come as one `Example`;
empty sentences beside others are left out.
Source: REFER toolbox (github.com/lichengunc/refer), `refer.py`; gRefCOCO (arXiv 2306.00968).
Axis legend: H, W pixels of the original image.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from text4seg.data.sources.folder import data_root, leads_out, nearest
from text4seg.data.sources.photograph import as_annotated, header_size
from text4seg.data.sources.plain_pickle import load
from text4seg.data.sources.settings import ReferSettings
from text4seg.data.types import Example, Referent

PICKLES = (".p", ".pkl", ".pickle")
FARTHEST = 10
"""Image sides that a polygon may lie outside: pycocotools walks every edge pixel by pixel, in 32-bit integers."""


# One record of the refs file; ids as text, whatever they were.
class _Ref(NamedTuple):
    id: str
    image: str
    annotations: tuple[str, ...]
    phrases: tuple[str, ...]
    split: str


def examples(settings: ReferSettings, seed: int) -> Iterator[Example]:
    """Stream the images that a split's refs ask about, in the order of the refs; `seed` does not matter.

    Raises:
        ValueError: a missing or damaged file, an unknown split, a record that does not fit; the record is named.
    """
    root = data_root(settings.root)
    refs = _refs(_refs_file(root, settings.refs), settings.split)
    path = root / "instances.json"
    instances = _json(path)
    images = _by_id(_field(instances, "images", list, str(path)), "id", f"{path}, image")
    annotations = _by_id(_field(instances, "annotations", list, str(path)), "id", f"{path}, annotation")
    groups: dict[str, list[_Ref]] = {}
    for ref in refs:
        groups.setdefault(ref.image, []).append(ref)
    for image_id, group in groups.items():
        if image_id not in images:
            raise ValueError(f"ref {group[0].id} asks about image {image_id}, which {path} does not have.")
        photograph, size = _photograph(images[image_id], root / settings.images, f"{path}, image {image_id}")
        referents = tuple(Referent(ref.phrases, _target(ref, annotations, size, path), ref.id) for ref in group)
        splits = "+".join(sorted({ref.split for ref in group}))
        yield Example(image_id, photograph, size, root.resolve().name, referents=referents, split=splits)


def _field(record: Any, key: str, kinds: type | tuple[type, ...], where: str) -> Any:
    """A value of a record, when it has one of the kinds asked for."""
    value = record.get(key) if isinstance(record, dict) else None
    if not isinstance(value, kinds) or isinstance(value, bool):
        names = " or ".join(kind.__name__ for kind in (kinds if isinstance(kinds, tuple) else (kinds,)))
        raise ValueError(f"{where}: `{key}` must be {names}, got {_short(value)}.")
    return value


def _short(value: Any) -> str:
    """The start of what an annotation holds; a hostile file nests it too deep, or repeats it too often, to print."""
    return reprlib.repr(value)[:60]


def _by_id(records: list[Any], field: str, where: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for number, record in enumerate(records):
        key = str(_field(record, field, (int, str), f"{where} number {number}"))
        if key in found:
            raise ValueError(f"{where} {key} stands there twice: `{field}` must be unique.")
        found[key] = record
    return found


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a readable JSON file: {error}") from error


def _refs_file(root: Path, name: str | None) -> Path:
    """The file of the expressions: the one asked for, or the only one there is."""
    found = {p.name: p for p in sorted(root.glob("*refs*")) if p.suffix in (".json", *PICKLES)}
    if name is not None and not (root / name).is_file():
        raise ValueError(f"no file {name!r} in {root}; {nearest(name, found)}")
    if name is None and len({path.stem for path in found.values()}) != 1:
        raise ValueError(f"expected one `refs(*).json` or `.p` in {root}: name it by `refs`. {nearest('', found)}")
    return root / (name or min(found, key=lambda file: not file.endswith(".json")))


def _refs(path: Path, split: str | None) -> list[_Ref]:
    """The records of a split, or all of them."""
    records = load(path) if path.suffix in PICKLES else _json(path)
    if not isinstance(records, list) or not records:
        raise ValueError(f"{path} must hold a list of refs, got {type(records).__name__} ({_short(records)}).")
    named = _by_id(records, "ref_id", f"{path}, ref")
    refs = [_ref(name, record, f"{path}, ref {name}") for name, record in named.items()]
    chosen = [ref for ref in refs if split is None or _belongs(ref.split, split)]
    if not chosen:
        raise ValueError(f"{path} has no split {split!r}; {nearest(str(split), {ref.split for ref in refs})}")
    return chosen


def _belongs(own: str, split: str) -> bool:
    """As REFER's `getRefIds`: refCLEF's `testAB` is part of `testA` and `testB`, and `test` is all of them."""
    part = own[4:] if own.startswith("test") else None
    return own == split or (part is not None and (split == "test" or split in [f"test{letter}" for letter in part]))


def _ref(name: str, record: dict[str, Any], where: str) -> _Ref:
    given = _field(record, "ann_id", (int, str, list), where)
    listed = given if isinstance(given, list) else [given]
    if not all(isinstance(one, (int, str)) for one in listed):
        raise ValueError(f"{where}: `ann_id` must list numbers of annotations, got {_short(given)}.")
    targets = tuple(map(str, listed))
    sentences = _field(record, "sentences", list, where)
    # Blanks and line breaks only; other separators of the answer text are refused later, with the record's name.
    told = tuple(" ".join(_field(sentence, "sent", str, where).split()) for sentence in sentences)
    if not told:
        raise ValueError(f"{where} has no sentences.")
    phrases = tuple(filter(None, told)) or told  # an empty sentence beside others says nothing
    image = str(_field(record, "image_id", (int, str), where))
    return _Ref(name, image, () if targets == ("-1",) else targets, phrases, _field(record, "split", str, where))


def _photograph(image: dict[str, Any], folder: Path, where: str) -> tuple[Path | bytes, tuple[int, int]]:
    """An image and its size, which must be the one that the annotations were drawn in."""
    name = _field(image, "file_name", str, where)
    size = _field(image, "height", int, where), _field(image, "width", int, where)
    if leads_out(name):
        raise ValueError(f"{where}: `file_name` {name!r} leads out of {folder}.")
    if not _is_file(folder / name):
        raise ValueError(f"{where}: no file {folder / name}; set `images` to the folder that holds {name!r}.")
    picture = as_annotated(folder / name, size)
    if picture is None:
        found = header_size(folder / name)
        raise ValueError(f"{where} says (height, width) = {size}, but {folder / name} has {found}; use the original.")
    return picture, size


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that no file can have
        return False


def _target(ref: _Ref, annotations: dict[str, dict[str, Any]], size: tuple[int, int], path: Path) -> NDArray[np.bool_]:
    """Union ``[H, W]`` of a ref's annotations; all False when it has none."""
    mask_HW = np.zeros(size, bool)
    for name in ref.annotations:
        where = f"{path}, annotation {name} (of ref {ref.id})"
        owner = annotations.get(name, {}).get("image_id")
        if not isinstance(owner, (int, str)) or str(owner) != ref.image:
            raise ValueError(f"{where} does not exist in image {ref.image}, which the ref asks about.")
        mask_HW |= _annotation_mask(annotations[name], size, where)
    return mask_HW


def _annotation_mask(annotation: dict[str, Any], size: tuple[int, int], where: str) -> NDArray[np.bool_]:
    """Polygons, run lengths, or (refCLEF) a list of run lengths, as ``[H, W]``."""
    given = _field(annotation, "segmentation", (list, dict), where)
    mask_HW = np.zeros(size, bool)
    for part in given if isinstance(given, list) else [given]:
        mask_HW |= (_run_lengths if isinstance(part, dict) else _polygon)(part, size, where)
    if not mask_HW.any():  # a lost annotation would pass for a picture without a target
        raise ValueError(f"{where} has no usable polygon: nothing of it covers a pixel. Correct or remove its ref.")
    return mask_HW


def _polygon(points: Any, size: tuple[int, int], where: str) -> NDArray[np.bool_]:
    far = FARTHEST * max(size)  # NaN is not below it either
    numbers = isinstance(points, list) and all(isinstance(p, (int, float)) and abs(p) <= far for p in points)
    if numbers and len(points) < 6:  # a point or a line; pycocotools takes four numbers for a box
        return np.zeros(size, bool)
    if not numbers or len(points) % 2:
        raise ValueError(f"{where}: a polygon must be [x, y, x, y, …] in or near the image, got {_short(points)}.")
    parts: Any = coco.frPyObjects([points], *size)
    return coco.decode(parts)[..., 0].astype(bool)


# Not `coco.decode`: run lengths that do not add up make pycocotools 2.0.11 return memory it never wrote, or crash.
def _run_lengths(part: dict[str, Any], size: tuple[int, int], where: str) -> NDArray[np.bool_]:
    counts = _field(part, "counts", (list, str), where)
    runs = _uncompressed(counts) if isinstance(counts, str) else counts
    whole = all(isinstance(run, int) and run >= 0 for run in runs)
    if part.get("size") != list(size) or not whole or sum(runs) != size[0] * size[1]:
        raise ValueError(f"{where}: run lengths of `size` {part.get('size')} do not fill {list(size)} pixels exactly.")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(size[::-1]).T  # COCO counts down the columns


def _uncompressed(text: str) -> list[int]:
    """Run lengths in COCO's text form: 5 bits a character, low ones first, and from the fourth run on differences."""
    runs: list[int] = []
    value = shift = 0
    for code in (ord(character) - 48 for character in text):
        if not 0 <= code < 64 or shift > 60:
            return []  # adds up to nothing, so the caller refuses it
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:  # the last character of a number; its bit 16 is the sign
            value -= (code & 16) << (shift - 4)
            runs.append(value + runs[-2] if len(runs) > 2 else value)
            value = shift = 0
    return runs
