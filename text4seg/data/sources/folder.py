"""The folder source: photographs in `images/`, index masks in `masks/`, names in `classes.txt`, lists in `splits/`.

    python -m text4seg.shards build --source folder --out DIR options.root=FOLDER options.split=train

A line of `classes.txt` is ``index<TAB>name``, one for every mask value, or ``R,G,B<TAB>name`` where masks are pictures
in colour. A line of `synonyms.txt`, which may be missing, is ``name, synonym, synonym``. The value called `others`
becomes 0 wherever it stood; values called `ignore`, the setting `ignore` and 65535 are ignored. All the other values
are classes, in the order of their indices. A split is a list of image names without their endings. A photograph that
its camera's tag turns is turned where only then its mask fits.

Axis legend: H, W pixels of the original image.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from text4seg.data.sources.index_masks import VOID, Table, read_mask, table
from text4seg.data.sources.needs import Need
from text4seg.data.sources.photograph import as_annotated, header_size
from text4seg.data.sources.settings import FolderSettings
from text4seg.data.sources.share import WHOLE, Share
from text4seg.data.types import IGNORE, IGNORE_16, Example, Referent, ignore_value
from text4seg.descriptors import OTHERS

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
MASK_ENDINGS = (".png", ".tif", ".tiff", ".bmp")
MOST_CLASSES = IGNORE_16 - 1
VOID_NAME = "ignore"
LINE = re.compile(r"(\d{1,5}|\d{1,3},\d{1,3},\d{1,3})\s+(.+)")


def examples(settings: FolderSettings, seed: int, share: Share = WHOLE) -> Iterator[Example]:
    """Stream the images of a split, or all of them; nothing is drawn, so `seed` does not matter.

    Raises:
        ValueError: a missing or damaged file, a mask value without a name, a mask of another size than its image.
    """
    root = data_root(settings.root)
    labels, known = _classes(root / "classes.txt", settings.ignore)
    synonyms = _synonyms(root / "synonyms.txt", labels)
    images, masks = _files(root / "images", IMAGE_ENDINGS), _files(root / "masks", MASK_ENDINGS)
    names = _split(root, settings.split, images) if settings.split else sorted(images)

    def example(name: str) -> Example:
        if name not in masks:
            raise ValueError(
                f"image {images[name]} has no mask: expected {root / 'masks' / name}{MASK_ENDINGS[0]}. Add it, or make "
                "a list in `splits/` that leaves the image out."
            )
        found = masked(name, images[name], masks[name], labels, known, "classes.txt")
        split = settings.split or "all"
        return replace(found, source=root.resolve().name, synonyms=synonyms, split=split)

    return map(example, share.of(list(names)))


def masked(name: str, image: Path, mask: Path, labels: tuple[str, ...], known: Table, names: str) -> Example:
    """A photograph with its index mask as an example; each class that shows can also be referred to.

    Raises:
        ValueError: a damaged file, a mask value without a name, sizes that do not agree.
    """
    size = header_size(mask)
    picture = as_annotated(image, size)
    if picture is None:
        (height, width), (H, W) = size, header_size(image)
        raise ValueError(f"mask {mask} is {width}x{height} pixels, but its image {image} is {W}x{H}; they must agree.")
    mask_HW = read_mask(mask, known, names)
    void = ignore_value(mask_HW)
    present = (i for i in np.unique(mask_HW).tolist() if i not in (0, void))
    hidden = (mask_HW == void) if (mask_HW == void).any() else None
    referents = tuple(Referent((labels[i],), mask_HW == i, void=hidden) for i in present)
    return Example(name, picture, size, "", labels, mask_HW, referents)


def needs(settings: FolderSettings) -> list[Need]:
    """What must lie where."""
    root, own = Path(settings.root), "your own: see README, Your own data"
    return [
        Need(root / "classes.txt", "a line `value<TAB>name` (or `R,G,B<TAB>name`) for each class", own),
        Need(root / "images", "photographs", own),
        Need(root / "masks", "a mask for each, of the same name", own),
        *([Need(root / "splits" / f"{settings.split}.txt", "names of the split", own)] if settings.split else []),
    ]


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


def text_lines(path: Path) -> Iterator[tuple[str, str]]:
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
        if path.suffix.lower() in endings and path.is_file() and not hidden(path.relative_to(folder)):
            name = path.relative_to(folder).as_posix().removesuffix(path.suffix)
            if name in found:
                raise ValueError(f"{found[name]} and {path} have the same name: keep one of them.")
            found[name] = path
    if not found:
        raise ValueError(f"{folder} holds no file with one of the endings {', '.join(endings)}.")
    return found


def hidden(path: Path) -> bool:
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
    for where, line in text_lines(lists[split]):
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


def _classes(path: Path, ignore: int) -> tuple[tuple[str, ...], Table]:
    """Labels, and what the values, or the colours, of the masks stand for."""
    if not 0 <= ignore <= IGNORE_16:
        raise ValueError(f"`ignore` must be a mask value from 0 to {IGNORE_16}, got {ignore}.")
    names: dict[int, str] = {}
    kinds: set[bool] = set()
    for where, line in text_lines(path):
        match = LINE.fullmatch(line)
        parts = [int(part) for part in match[1].split(",")] if match else []
        if not match or max(parts) > (IGNORE if len(parts) == 3 else IGNORE_16):
            raise ValueError(f"{where}: expected `index<TAB>name` with an index up to {IGNORE_16}, got {line!r}.")
        kinds.add(len(parts) == 3)
        index, name = int(np.dot(parts, [65536, 256, 1][-len(parts) :])), " ".join(match[2].split())
        name = name.casefold() if name.casefold() in (OTHERS, VOID_NAME) else name
        if index in names or (name in names.values() and name != VOID_NAME):
            raise ValueError(f"{where}: {line!r} repeats an index or a name; each may stand once.")
        if len(parts) == 1 and index in (ignore, IGNORE_16) and name not in (OTHERS, VOID_NAME):
            raise ValueError(f"{where}: {index} is ignored, yet named {name!r}: call it `ignore` or set `ignore`.")
        names[index] = name
    if len(kinds) > 1:
        raise ValueError(f"{path} names some classes by value and others by colour; choose one.")
    labels = (OTHERS, *(name for _, name in sorted(names.items()) if name not in (OTHERS, VOID_NAME)))
    if not 1 <= len(labels) - 1 <= MOST_CLASSES:
        raise ValueError(f"{path} names {len(labels) - 1} classes besides `others`; expected 1 to {MOST_CLASSES}.")
    meaning = {index: VOID if name == VOID_NAME else labels.index(name) for index, name in names.items()}
    colours = kinds == {True}
    return labels, table(meaning if colours else meaning | {ignore: VOID, IGNORE_16: VOID}, len(labels), colours)


def _synonyms(path: Path, labels: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """Other words for the classes: lines `name, synonym, synonym`; nothing without such a file."""
    if not path.is_file():
        return ()
    found: dict[str, tuple[str, ...]] = {}
    for where, line in text_lines(path):
        name, *words = (part.strip() for part in line.split(","))
        if name not in labels[1:]:
            raise ValueError(f"{where}: no class {name!r} in classes.txt; {nearest(name, labels[1:])}")
        found[name] = tuple(word for word in words if word)
    return tuple(found.get(label, ()) for label in labels)
