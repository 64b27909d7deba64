"""The hub source: data sets of the Hugging Face `datasets` library, local or from the hub (`pip install datasets`).

    python -m text4seg.shards build --source hub --out DIR options.path=FOLDER 'options.classes=[cat,dog]'

Masks are index masks as those of the folder source. A class called `others` is background.
Axis legend: H, W pixels of the original image.
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from text4seg.data.sources.folder import nearest
from text4seg.data.sources.index_masks import read_values
from text4seg.data.sources.needs import Need
from text4seg.data.sources.photograph import as_annotated, header_size
from text4seg.data.sources.settings import HubSettings
from text4seg.data.sources.share import WHOLE, Share
from text4seg.data.types import IGNORE, IGNORE_16, Example, Referent
from text4seg.descriptors import OTHERS


def examples(settings: HubSettings, seed: int, share: Share = WHOLE) -> Iterator[Example]:
    """Stream the rows of a split; `seed` does not matter. Pictures that are JPEG already are not encoded again.

    Raises:
        ValueError: the library is missing, no such data set or column, a mask value without a name, a mask of another
            size than its image.
    """
    if not settings.classes:
        raise ValueError("`classes` must name the mask values, from the value `first` on.")
    rows = _rows(settings)
    for column in (settings.image, settings.mask):
        if column not in rows.column_names:
            raise ValueError(f"{settings.path} has no column {column!r}; {nearest(column, rows.column_names)}")

    def example(number: int) -> Example:
        return _example(settings, number, rows[number])

    return map(example, share.of(range(len(rows))))


def needs(settings: HubSettings) -> list[Need]:
    """What must lie where; a name of the hub is looked up when it is read."""
    local = Path(settings.path)
    return [Need(local, "a data set", "huggingface.co/datasets")] if local.exists() else []


def _rows(settings: HubSettings) -> Any:
    try:
        datasets: Any = importlib.import_module("datasets")
    except ImportError as error:
        raise ValueError("the source `hub` needs the library: pip install 'text4seg[hub]'.") from error
    folder = Path(settings.path)
    found: Any
    try:
        if (folder / "dataset_dict.json").is_file():
            found = datasets.load_from_disk(str(folder))[settings.split]
        elif (folder / "state.json").is_file():
            found = datasets.load_from_disk(str(folder))
        else:
            found = datasets.load_dataset(settings.path, settings.config, split=settings.split)
    except (OSError, ValueError, KeyError, datasets.exceptions.DatasetsError) as error:
        cause = error.__cause__ or error  # the library's own error only says that there was one
        raise ValueError(f"`path`={settings.path}, split {settings.split}: {cause}") from error
    for column in (settings.image, settings.mask):
        if column in found.column_names and isinstance(found.features[column], datasets.Image):
            found = found.cast_column(column, datasets.Image(decode=False))
    return found


def _encoded(cell: Any, where: str) -> bytes:
    if isinstance(cell, dict) and cell.get("bytes"):
        return cell["bytes"]
    if isinstance(cell, dict) and cell.get("path"):
        try:
            return Path(cell["path"]).read_bytes()
        except OSError as error:
            raise ValueError(f"{where}: {error}") from error
    raise ValueError(f"{where}: expected a column of images, got {type(cell).__name__}.")


def _picture(image: bytes, size: tuple[int, int], where: str) -> bytes:
    """The picture as its mask saw it; unchanged where it has the mask's size."""
    opened = io.BytesIO(image)
    try:
        found = as_annotated(opened, size)
        stored = header_size(opened)
    except ValueError as error:
        raise ValueError(f"{where}: the picture is not a readable image: {error.__cause__ or error}") from error
    if found is None:
        (height, width), (H, W) = size, stored
        raise ValueError(f"{where}: the mask is {width}x{height} pixels, but its image {W}x{H}; they must agree.")
    return found if isinstance(found, bytes) else image


def _example(settings: HubSettings, number: int, row: dict[str, Any]) -> Example:
    where = f"{settings.path}, row {number}"
    values_HW = read_values(io.BytesIO(_encoded(row[settings.mask], where)), f"{where}: the mask")
    labels = (OTHERS, *(name for name in settings.classes if name != OTHERS))
    classes = np.array([0, *map(labels.index, settings.classes)])
    void_HW = values_HW == settings.ignore
    index_HW = np.where(void_HW, 0, np.maximum(values_HW - settings.first + 1, 0))
    if index_HW.max() >= len(classes):
        raise ValueError(f"{where}: the mask must hold one value a pixel, named by `classes` or `ignore`.")
    kind, void = (np.uint8, IGNORE) if len(labels) <= IGNORE else (np.uint16, IGNORE_16)
    mask_HW = np.where(void_HW, void, classes[index_HW]).astype(kind)
    shown = (i for i in np.unique(mask_HW).tolist() if i not in (0, void))
    referents = tuple(Referent((labels[i],), mask_HW == i, void=void_HW) for i in shown)
    image = _picture(_encoded(row[settings.image], where), mask_HW.shape, where)
    name = Path(settings.path).name
    return Example(f"{number:07d}", image, mask_HW.shape, name, labels, mask_HW, referents, settings.split)
