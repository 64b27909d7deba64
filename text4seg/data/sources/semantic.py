"""The semantic source: COCO-Stuff, ADE20K (150, 847), PASCAL Context (59, 459), VOC and Mapillary Vistas as published.

    python -m text4seg.shards build --source semantic --out DIR options.layout=ade20k options.root=ADEChallengeData2016

Axis legend: H, W pixels of the original image.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from importlib import resources
from pathlib import Path

from text4seg.data.sources.folder import IMAGE_ENDINGS, data_root, hidden, leads_out, masked, nearest, text_lines
from text4seg.data.sources.held_out import without_held_out
from text4seg.data.sources.index_masks import VOID, Table, table
from text4seg.data.sources.layouts import LAYOUTS, Layout
from text4seg.data.sources.needs import Need
from text4seg.data.sources.records import field, load_json
from text4seg.data.sources.settings import SemanticSettings
from text4seg.data.sources.share import WHOLE, Share
from text4seg.data.types import Example
from text4seg.descriptors import OTHERS

Names = list[tuple[int, tuple[str, ...]]]
"""Id, and a name with its synonyms, of each class in order; an empty name is void."""


def examples(settings: SemanticSettings, seed: int, share: Share = WHOLE) -> Iterator[Example]:
    """Stream the images of a split; nothing is drawn, so `seed` does not matter.

    Raises:
        ValueError: an unknown layout or split, a missing or damaged file, a mask value that the set does not know.
    """
    layout, root = _layout(settings), data_root(settings.root)
    labels, synonyms, known = _classes(settings, layout, root)
    images, masks = root / layout.images[settings.split], root / layout.masks[settings.split]
    names = _names(settings, layout, root, masks)
    if settings.split == "train":
        names = without_held_out({name: name for name in names}, settings.held_out, share)

    def example(name: str) -> Example:
        image = _image(images, name)
        mask = masks / f"{name}{layout.ending}"
        if not mask.is_file():
            raise ValueError(f"image {image} has no mask: expected {mask}.")
        found = masked(name, image, mask, labels, known, f"the layout {settings.layout}")
        return replace(found, source=settings.layout, synonyms=synonyms, split=settings.split)

    return map(example, share.of(names))


def needs(settings: SemanticSettings) -> list[Need]:
    """What must lie where."""
    layout, root = _layout(settings), Path(settings.root)
    named = Need(root / layout.names, "class names", layout.where)
    given = Need(Path(settings.classes or "classes.txt"), "a line for each class (the option `classes`)", layout.where)
    lists = Need(root / str(layout.lists) / f"{settings.split}.txt", "names of the split", layout.where)
    return [
        Need(root / layout.images[settings.split], "photographs", layout.where),
        Need(root / layout.masks[settings.split] / f"*{layout.ending}", "masks", layout.where),
        *([lists] if layout.lists else []),
        *([given] if settings.classes or layout.names == "given" else [named] if layout.names != "ours" else []),
    ]


def _layout(settings: SemanticSettings) -> Layout:
    if settings.layout not in LAYOUTS:
        raise ValueError(f"unknown layout {settings.layout!r}; {nearest(settings.layout, LAYOUTS)}")
    layout = LAYOUTS[settings.layout]
    if settings.split not in layout.images:
        raise ValueError(f"unknown split {settings.split!r}; {nearest(settings.split, layout.images)}")
    return layout


def _names(settings: SemanticSettings, layout: Layout, root: Path, masks: Path) -> list[str]:
    if layout.lists:
        names = [line for _, line in text_lines(root / layout.lists / f"{settings.split}.txt")]
    else:
        found = (path.relative_to(masks) for path in masks.rglob(f"*{layout.ending}"))
        names = sorted(path.as_posix().removesuffix(layout.ending) for path in found if not hidden(path))
    if outside := [name for name in names if leads_out(name)]:
        raise ValueError(f"{root}: the name {outside[0]!r} leads out of the photographs' folder.")
    if not names:
        raise ValueError(f"{masks} holds no file that ends in {layout.ending}; `build --check` lists what is expected.")
    return names


def _image(folder: Path, name: str) -> Path:
    for ending in IMAGE_ENDINGS:
        if (path := folder / f"{name}{ending}").is_file():
            return path
    raise ValueError(f"there is no photograph {folder / name} with one of the endings {', '.join(IMAGE_ENDINGS)}.")


def _classes(
    settings: SemanticSettings, layout: Layout, root: Path
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...], Table]:
    """Labels, their synonyms, and what mask values mean."""
    names = _class_names(settings, layout, root)
    named = [(number, words) for number, words in names if words[0]]
    # Where two classes have one name they are one class: no answer could tell them apart.
    labels = (OTHERS, *dict.fromkeys(words[0] for _, words in named))
    meaning = dict.fromkeys(layout.others, 0) | dict.fromkeys(layout.void, VOID)
    synonyms: dict[str, list[str]] = {label: [] for label in labels}
    for place, (number, words) in enumerate(names):
        value = number - 1 if layout.raw else layout.first + place
        meaning[value] = labels.index(words[0]) if words[0] else VOID
    for _, words in named:
        synonyms[words[0]] += [word for word in words[1:] if word]
    return labels, tuple(tuple(dict.fromkeys(synonyms[label])) for label in labels), table(meaning, len(labels))


def _class_names(settings: SemanticSettings, layout: Layout, root: Path) -> Names:
    own = _read_names(layout, settings.layout, root)
    if settings.classes is None:
        if own is None:
            raise ValueError(f"the layout {settings.layout} brings no class names: give a file by `classes`.")
        return own
    words = [tuple(part.strip() for part in line.split(",")) for _, line in text_lines(Path(settings.classes))]
    words = [line for line in words if line[0] != OTHERS]
    kept = [number for number, name in own if name[0]] if own else list(range(1, len(words) + 1))
    if len(kept) != len(words):
        raise ValueError(f"{settings.classes} names {len(words)} classes, {settings.layout} has {len(kept)}.")
    given = dict(zip(kept, words, strict=True))
    return [(number, given.get(number, ("",))) for number, _ in own] if own else list(given.items())


def _read_names(layout: Layout, name: str, root: Path) -> Names | None:
    if layout.names == "given":
        return None
    if layout.names == "ours":
        asset = resources.files("text4seg") / "assets" / "classes" / f"{name.removesuffix('_raw')}.txt"
        rows = (line.split("\t") for line in asset.read_text(encoding="utf-8").splitlines() if line[0] != "#")
        return [(int(number), (label,)) for number, label in rows]
    path = root / layout.names
    if path.suffix == ".json":
        found = field(load_json(path), "labels", list, str(path))
        readable = [(str(field(item, "readable", str, str(path))), str(item.get("name", ""))) for item in found]
        return [(i, ("" if "unlabeled" in full else label,)) for i, (label, full) in enumerate(readable, 1)]
    names: Names = []
    for where, line in text_lines(path):
        match = re.fullmatch(r"(\d+)(?:\s*:\s*|\s.*\t)(.+)", line)
        if match:
            names.append((int(match[1]), tuple(part.strip() for part in match[2].split(","))))
        elif names:
            raise ValueError(f"{where}: expected a number and a name, got {line!r}.")
    if not names:
        raise ValueError(f"{path} names no class.")
    return names
