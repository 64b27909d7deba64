"""The folder source: photographs in `images/`, index masks in `masks/`, names in `classes.txt`, lists in `splits/`.

    python -m text4seg.shards build --source folder --out DIR root=FOLDER split=train

A line of `classes.txt` is ``index<TAB>name``, one for every mask value. The value called `others` becomes 0 wherever it
stood; values called `ignore`, the setting `ignore` and 65535 become 255. All the other values are classes, in the order
of their indices. A split is a list of image names without their endings. A photograph that its camera's tag turns is
turned where only then its mask fits.

Axis legend: H, W pixels of the original image.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from text4seg.data.sources.photograph import UNREADABLE, as_annotated, header_size
from text4seg.data.sources.settings import FolderSettings
from text4seg.data.types import IGNORE, Example, Referent
from text4seg.descriptors import OTHERS

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
MASK_ENDINGS = (".png", ".tif", ".tiff", ".bmp")
MASK_FORMATS = ("PNG", "TIFF", "BMP")
"""Formats that keep every value; JPEG would invent classes along the edges."""
MOST_CLASSES = IGNORE - 1
"""A mask plane is 8 bits: 0 is `others`, 255 is ignore."""
VOID, VOID_16 = "ignore", 65535
MASK_MODES = ("1", "L", "P", "I", "I;16", "I;16B")
SPREAD = {"L;2": 85, "L;4": 17}
"""Pillow stretches grey PNGs of 2 and 4 bits over 0 to 255; dividing by this gives the stored values back."""


def examples(settings: FolderSettings, seed: int) -> Iterator[Example]:
    """Stream the images of a split, or all of them; nothing is drawn, so `seed` does not matter.

    Raises:
        ValueError: a missing or damaged file, a mask value without a name, a mask of another size than its image.
    """
    root = data_root(settings.root)
    labels, lookup = _classes(root / "classes.txt", settings.ignore)
    images, masks = _files(root / "images", IMAGE_ENDINGS), _files(root / "masks", MASK_ENDINGS)
    for name in _split(root, settings.split, images) if settings.split else sorted(images):
        if name not in masks:
            raise ValueError(
                f"image {images[name]} has no mask: expected {root / 'masks' / name}{MASK_ENDINGS[0]}. Add it, or make "
                "a list in `splits/` that leaves the image out."
            )
        size = header_size(masks[name])
        picture = as_annotated(images[name], size)
        if picture is None:
            (height, width), (H, W) = size, header_size(images[name])
            raise ValueError(
                f"mask {masks[name]} is {width}x{height} pixels, but its image {images[name]} is {W}x{H}; they must "
                "agree."
            )
        mask_HW = _mask(masks[name], lookup)
        present = (i for i in np.unique(mask_HW).tolist() if 0 < i < IGNORE)
        yield Example(
            id=name,
            image=picture,
            size=size,
            source=root.resolve().name,
            labels=labels,
            mask=mask_HW,
            referents=tuple(Referent((labels[i],), mask_HW == i) for i in present),
            split=settings.split or "all",
        )


def data_root(root: str) -> Path:
    """The folder that the setting `root` names.

    Raises:
        ValueError: nothing given, or no such folder.
    """
    if not root or not Path(root).is_dir():
        raise ValueError(
            f"`root` must name the data set's folder, got {root!r}" + (": no such folder." if root else ".")
        )
    return Path(root)


def nearest(name: str, known: Iterable[str]) -> str:
    """Half a sentence that suggests the most similar of the known names and lists the first of them."""
    listed = sorted(known)
    near = get_close_matches(name, listed, n=1)
    more = f", … ({len(listed)} in all)" if len(listed) > 12 else ""
    return (f"did you mean {near[0]!r}? " if near else "") + f"There is: {', '.join(listed[:12]) or 'nothing'}{more}."


def leads_out(name: str) -> bool:
    """Whether a file name from an annotation points outside the folder it is looked up in."""
    return ".." in re.split(r"[/\\]", name) or Path(name).is_absolute()


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """(where, text) of every line that is not blank."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a readable text file (UTF-8): {error}") from error
    return ((f"{path}, line {n}", line.strip()) for n, line in enumerate(text.splitlines(), 1) if line.strip())


def _files(folder: Path, endings: tuple[str, ...]) -> dict[str, Path]:
    """Files below a folder by their relative name without ending."""
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in endings and path.is_file() and not _hidden(path.relative_to(folder)):
            name = path.relative_to(folder).as_posix().removesuffix(path.suffix)
            if name in found:
                raise ValueError(f"{found[name]} and {path} have the same name: keep one of them.")
            found[name] = path
    if not found:
        raise ValueError(f"{folder} holds no file with one of the endings {', '.join(endings)}.")
    return found


def _hidden(path: Path) -> bool:
    """Whether a file or its folder is one that systems put beside others, such as ``._photo.jpg`` on a Mac."""
    return any(part.startswith(".") for part in path.parts)


def _split(root: Path, split: str, images: dict[str, Path]) -> Iterator[str]:
    """The names in a list, each checked against the images there are."""
    lists = {path.stem: path for path in (root / "splits").glob("*.txt")}
    if split not in lists:
        raise ValueError(
            f"no list {split!r} in {root / 'splits'}; {nearest(split, lists)} `split=null` takes all images."
        )
    seen: set[str] = set()
    for where, line in _lines(lists[split]):
        if leads_out(line):
            raise ValueError(f"{where}: {line!r} leads out of {root / 'images'}; expected an image name such as 'a_1'.")
        name = line if line in images else line.removesuffix(Path(line).suffix)  # some lists keep the endings
        if name not in images or line not in (name, name + images[name].suffix):
            raise ValueError(f"{where}: no image {line!r} in {root / 'images'}; {nearest(line, images)}")
        if name in seen:
            raise ValueError(f"{where}: {line!r} stands twice in this list: remove one.")
        seen.add(name)
        yield name
    if not seen:
        raise ValueError(f"{lists[split]} is empty; expected one image name a line.")


def _classes(path: Path, ignore: int) -> tuple[tuple[str, ...], NDArray[np.int16]]:
    """Labels, and a table from mask value to index into them: 255 = ignore, -1 = not in the file."""
    if not 0 <= ignore <= VOID_16:
        raise ValueError(f"`ignore` must be a mask value from 0 to {VOID_16}, got {ignore}.")
    names: dict[int, str] = {}
    for where, line in _lines(path):
        match = re.fullmatch(r"(\d{1,5})\s+(.+)", line)
        if not match or int(match[1]) > VOID_16:
            raise ValueError(f"{where}: expected `index<TAB>name` with an index up to {VOID_16}, got {line!r}.")
        index, name = int(match[1]), " ".join(match[2].split())
        name = name.casefold() if name.casefold() in (OTHERS, VOID) else name
        if index in names or (name in names.values() and name != VOID):
            raise ValueError(f"{where}: {line!r} repeats an index or a name; each may stand once.")
        if index in (ignore, VOID_16) and name not in (OTHERS, VOID):
            raise ValueError(f"{where}: {index} is ignored, yet named {name!r}: call it `ignore` or set `ignore`.")
        names[index] = name
    labels = (OTHERS, *(name for _, name in sorted(names.items()) if name not in (OTHERS, VOID)))
    if not 1 <= len(labels) - 1 <= MOST_CLASSES:
        raise ValueError(f"{path} names {len(labels) - 1} classes besides `others`; expected 1 to {MOST_CLASSES}.")
    lookup = np.full(VOID_16 + 1, -1, np.int16)
    for index, name in names.items():
        lookup[index] = IGNORE if name == VOID else labels.index(name)
    lookup[[ignore, VOID_16]] = IGNORE
    return labels, lookup


def _mask(path: Path, lookup: NDArray[np.int16]) -> NDArray[np.uint8]:
    """A mask file as indices ``[H, W]`` into the labels; palettes are colours to look at, never values."""
    try:
        with Image.open(path, formats=MASK_FORMATS) as opened:
            mode, coding = opened.mode, opened.tile[0][3] if opened.tile else None
            values_HW = np.asarray(opened)
    except UNREADABLE as error:
        raise ValueError(f"mask {path} is not a readable image: {error}") from error
    if mode not in MASK_MODES:
        raise ValueError(f"mask {path} has the mode {mode}; expected an index mask (8 or 16 bits, or a palette).")
    values_HW = values_HW.astype(np.int64) // SPREAD.get(str(coding), 1)
    known_HW = (values_HW >= 0) & (values_HW <= VOID_16)
    indices_HW = np.where(known_HW, lookup[np.where(known_HW, values_HW, 0)], -1)
    if (indices_HW < 0).any():
        unknown = ", ".join(map(str, np.unique(values_HW[indices_HW < 0])[:8]))
        raise ValueError(f"mask {path} holds {unknown}, which classes.txt does not name: add a line for each value.")
    return indices_HW.astype(np.uint8)
