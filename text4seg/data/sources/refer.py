"""The refer source: refCOCO, refCOCO+, refCOCOg, refCLEF and gRefCOCO in the layout of the REFER toolbox.

    python -m text4seg.shards build --source refer --out DIR options.root=refcoco options.split=train

`instances.json` holds images and annotations as COCO does; a ref names an image, one annotation (gRefCOCO: a list of
them, none or ``[-1]`` for no target) and its sentences. All the refs of an image come as one `Example`;
empty sentences beside others are left out.
Source: REFER toolbox (github.com/lichengunc/refer), `refer.py`; gRefCOCO (arXiv 2306.00968).
Axis legend: H, W pixels of the original image.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from text4seg.data.notes import Notes
from text4seg.data.sources.folder import data_root, nearest
from text4seg.data.sources.held_out import families_of, held_out, photograph_id, sets_of
from text4seg.data.sources.needs import Need
from text4seg.data.sources.plain_pickle import load
from text4seg.data.sources.records import by_id, field, is_folder, load_json, photograph, short
from text4seg.data.sources.segments import segment_mask
from text4seg.data.sources.settings import ReferSettings
from text4seg.data.sources.share import WHOLE, Share
from text4seg.data.types import Box, Example, Referent

PICKLES = (".p", ".pkl", ".pickle")
HELD_OUT = "train expressions on held-out photographs"
LARGEST = 1e6
"""Pixels; a number of a box beyond it (or none at all) is damage."""


# One record of the refs file; ids as text, whatever they were. What it says is read when its turn has come.
class _Ref(NamedTuple):
    id: str
    image: str
    split: str
    record: dict[str, Any]
    where: str

    @property
    def annotations(self) -> tuple[str, ...]:
        """None for `[-1]`."""
        given = field(self.record, "ann_id", (int, str, list), self.where)
        listed = given if isinstance(given, list) else [given]
        if not all(isinstance(one, (int, str)) for one in listed):
            raise ValueError(f"{self.where}: `ann_id` must list numbers of annotations, got {short(given)}.")
        targets = tuple(map(str, listed))
        return () if targets == ("-1",) else targets

    @property
    def phrases(self) -> tuple[str, ...]:
        """An empty sentence beside others says nothing."""
        sentences = field(self.record, "sentences", list, self.where)
        # Blanks and line breaks only; other separators of the answer text are refused later, with the record's name.
        told = tuple(" ".join(field(sentence, "sent", str, self.where).split()) for sentence in sentences)
        if not told:
            raise ValueError(f"{self.where} has no sentences.")
        return tuple(filter(None, told)) or told


def examples(settings: ReferSettings, seed: int, share: Share = WHOLE) -> Iterator[Example]:
    """Stream the images that a split's refs ask about, in the order of the refs; `seed` does not matter.

    Raises:
        ValueError: a missing or damaged file, an unknown split, a record that does not fit; the record is named.
    """
    root = data_root(settings.root)
    refs_path = _refs_file(root, settings.refs)
    refs = _refs(refs_path, settings.split)
    if settings.leaks == "filter" and settings.split in ("train", None):
        refs = _without_leaks(refs, families_of(settings), root, share, settings.split is None)
    elif settings.leaks not in ("filter", "keep"):
        raise ValueError(f"`leaks` must be filter or keep, got {settings.leaks!r}.")
    path = root / "instances.json"
    instances = load_json(path)
    images = by_id(field(instances, "images", list, str(path)), "id", f"{path}, image")
    annotations = by_id(field(instances, "annotations", list, str(path)), "id", f"{path}, annotation")
    groups: dict[str, list[_Ref]] = {}
    for ref in refs:
        groups.setdefault(ref.image, []).append(ref)
    return map(partial(_example, settings, images, annotations, path, share.notes), share.of(groups.items()))


def needs(settings: ReferSettings) -> list[Need]:
    """What must lie where."""
    root, where = Path(settings.root), "github.com/lichengunc/refer (gRefCOCO: github.com/henghuiding/gRefCOCO)"
    return [
        Need(root / "instances.json", "images and annotations", where),
        Need(root / (settings.refs or "*refs*"), "expressions: refs(unc).p, grefs(unc).json, ...", where),
        Need(root / settings.images, "photographs (COCO train2014, or refCLEF's saiapr_tc-12)", "cocodataset.org"),
    ]


def _example(
    settings: ReferSettings,
    images: dict[str, Any],
    annotations: dict[str, Any],
    path: Path,
    notes: Notes,
    item: tuple[str, list[_Ref]],
) -> Example:
    image_id, group = item
    if image_id not in images:
        raise ValueError(f"ref {group[0].id} asks about image {image_id}, which {path} does not have.")
    root = Path(settings.root)
    picture, size = photograph(images[image_id], root / settings.images, f"{path}, image {image_id}")
    referents = tuple(
        Referent(ref.phrases, _target(ref, annotations, size, path, notes), ref.id, box=_box(ref, annotations, path))
        for ref in group
    )
    splits = "+".join(sorted({ref.split for ref in group}))
    return Example(image_id, picture, size, root.resolve().name, referents=referents, split=splits)


def _without_leaks(refs: list[_Ref], families: list[Path], root: Path, share: Share, whole: bool) -> list[_Ref]:
    """Refs whose photographs no set of the family holds back for validation or test; the others are noted.

    Of a `whole` set, whose validation and test were asked for with it, they are noted and stay.
    """
    for family in families:
        if not is_folder(family):
            raise ValueError(f"`family` must be the folder of the refCOCO family's sets, got {str(family)!r}.")
    forbidden = held_out([root, *(one for family in families for one in sets_of(family))])
    kept = []
    for ref in refs:
        if photograph_id(root, ref.image) in forbidden:
            if share.index == 0:  # every share sees all of them
                kind = "expressions on held-out photographs, kept without `split`" if whole else HELD_OUT
                share.notes.add(kind, f"ref {ref.id}, image {ref.image}")
            if not whole:
                continue
        kept.append(ref)
    return kept


def _refs_file(root: Path, name: str | None) -> Path:
    """The file of the expressions: the one asked for, or the only one there is."""
    found = {p.name: p for p in sorted(root.glob("*refs*")) if p.suffix in (".json", *PICKLES) and p.name[0] != "."}
    if name is not None and not (root / name).is_file():
        raise ValueError(f"no file {name!r} in {root}; {nearest(name, found)}")
    if name is None and len({path.stem for path in found.values()}) != 1:
        raise ValueError(f"expected one `refs(*).json` or `.p` in {root}: name it by `refs`. {nearest('', found)}")
    return root / (name or min(found, key=lambda file: not file.endswith(".json")))


def _refs(path: Path, split: str | None) -> list[_Ref]:
    """The records of a split, or all of them."""
    records = load(path) if path.suffix in PICKLES else load_json(path)
    if not isinstance(records, list) or not records:
        raise ValueError(f"{path} must hold a list of refs, got {type(records).__name__} ({short(records)}).")
    named = by_id(records, "ref_id", f"{path}, ref")
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
    image = str(field(record, "image_id", (int, str), where))
    return _Ref(name, image, field(record, "split", str, where), record, where)


def _target(
    ref: _Ref, annotations: dict[str, dict[str, Any]], size: tuple[int, int], path: Path, notes: Notes
) -> NDArray[np.bool_]:
    """Union ``[H, W]`` of a ref's annotations; all False when it has none."""
    mask_HW = np.zeros(size, bool)
    slivers = []
    for name in ref.annotations:
        where = f"{path}, annotation {name} (of ref {ref.id})"
        owner = annotations.get(name, {}).get("image_id")
        if not isinstance(owner, (int, str)) or str(owner) != ref.image:
            raise ValueError(f"{where} does not exist in image {ref.image}, which the ref asks about.")
        part_HW = segment_mask(annotations[name], size, where)
        slivers += [] if part_HW.any() else [where]
        mask_HW |= part_HW
    if slivers and not mask_HW.any():  # a lost annotation would pass for a picture without a target
        raise ValueError(
            f"{slivers[0]} has no usable polygon: nothing of it covers a pixel. Correct or remove its ref."
        )
    for where in slivers:
        notes.add("annotations of several that cover no pixel", where)
    return mask_HW


def _box(ref: _Ref, annotations: dict[str, dict[str, Any]], path: Path) -> Box | None:
    """The box that was annotated for a ref's only annotation; COCO writes left, top, width, height."""
    names = ref.annotations
    if len(names) != 1 or "bbox" not in annotations[names[0]]:
        return None
    where = f"{path}, annotation {names[0]}"
    given = field(annotations[names[0]], "bbox", list, where)
    if len(given) != 4 or not all(isinstance(n, (int, float)) and abs(n) < LARGEST for n in given):
        raise ValueError(f"{where}: `bbox` must be [left, top, width, height], got {short(given)}.")
    left, top, width, height = map(float, given)
    return left, top, left + width, top + height
