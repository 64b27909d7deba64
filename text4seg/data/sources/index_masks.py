"""Masks whose values, or colours, are indices of classes.

Axis legend: H, W pixels of the original image.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from text4seg.data.sources.photograph import UNREADABLE
from text4seg.data.types import IGNORE, IGNORE_16

MASK_FORMATS = ("PNG", "TIFF", "BMP")
"""Formats that keep every value; JPEG would invent classes along the edges."""
MASK_MODES = ("1", "L", "P", "I", "I;16", "I;16B")
SPREAD = {"L;2": 85, "L;4": 17}
"""Pillow stretches grey PNGs of 2 and 4 bits over 0 to 255; dividing by this gives the stored values back."""
VOID = -1
"""In a table of values: pixels that are neither taught nor scored."""


@dataclass(frozen=True, eq=False)
class Table:
    """What the values of a mask stand for.

    Attributes:
        values: the known ones, int64, rising; of a colour 65536 R + 256 G + B.
        classes: index of each value's class; ignored values hold the ignore value of `kind`.
        kind: uint8, or uint16 where 254 classes are not enough.
        colours: whether masks are pictures in colour.
    """

    values: NDArray[np.int64]
    classes: NDArray[np.int64]
    kind: type[np.uint8] | type[np.uint16]
    colours: bool = False


def table(meaning: Mapping[int, int], labels: int, colours: bool = False) -> Table:
    """From value -> class (`VOID`: ignored) and the number of labels, `others` included."""
    kind = np.uint8 if labels <= IGNORE else np.uint16
    void = IGNORE if kind is np.uint8 else IGNORE_16
    values = np.array(sorted(meaning), np.int64)
    classes = np.array([void if meaning[value] == VOID else meaning[value] for value in values.tolist()], np.int64)
    return Table(values, classes, kind, colours)


def _stored_values(opened: Image.Image) -> NDArray[np.generic]:
    """The values of an opened image as its file holds them; its pixels must not have been loaded before."""
    if opened.format == "BMP" and opened.mode == "1" and (bits := _bits_of_bmp(opened)) > 1:
        raise ValueError(
            f"Pillow takes {bits} bits a pixel for 1 where the palette is black and white; save it as PNG."
        )
    tiles: Any = getattr(opened, "tile", None)  # gone once the pixels are there
    coding = tiles[0][3] if tiles else None
    spread = SPREAD.get(str(coding[0] if isinstance(coding, tuple) and coding else coding))  # TIFF's is one of many
    return np.asarray(opened) // np.uint8(spread) if spread else np.asarray(opened)


def _bits_of_bmp(opened: Image.Image) -> int:
    """Bits a pixel, from the header: Pillow does not keep them."""
    file: Any = getattr(opened, "fp", None)
    file.seek(14)
    header = file.read(16)
    at = 10 if header[0] == 12 else 14  # OS/2 has 16-bit sizes before it
    return int.from_bytes(header[at : at + 2], "little")


def read_values(file: Path | io.BytesIO, where: str, colours: bool = False) -> NDArray[np.int64]:
    """The values of a mask, or the numbers of its colours: ``[H, W]``; palettes are colours to look at, never values.

    Args:
        file: its path or its bytes.
        where: what it is called in an error.
        colours: whether it is a picture in colour.

    Raises:
        ValueError: not a readable mask of the right kind.
    """
    try:
        with Image.open(file, formats=MASK_FORMATS) as opened:
            mode, array = opened.mode, _stored_values(opened)
    except UNREADABLE as error:
        raise ValueError(f"{where} is not a readable image ({', '.join(MASK_FORMATS)}): {error}") from error
    if colours and mode in ("RGB", "RGBA"):
        return array[..., :3].astype(np.int64) @ np.array([65536, 256, 1])
    if not colours and mode in MASK_MODES:
        return array.astype(np.int64)
    wanted = "a picture in colour (RGB)" if colours else "an index mask (8 or 16 bits, or a palette)"
    raise ValueError(f"{where} has the mode {mode}; expected {wanted}.")


def read_mask(path: Path, known: Table, names: str) -> NDArray[np.unsignedinteger]:
    """A mask file as class indices ``[H, W]``.

    Args:
        names: the file that names the values, for errors.

    Raises:
        ValueError: not a readable mask of the right kind, or a value that is not known.
    """
    values_HW = read_values(path, f"mask {path}", known.colours)
    place_HW = np.searchsorted(known.values, values_HW).clip(max=len(known.values) - 1)
    unknown_HW = known.values[place_HW] != values_HW
    if unknown_HW.any():
        listed = np.unique(values_HW[unknown_HW])[:8].tolist()
        told = ", ".join(f"{v >> 16},{v >> 8 & 255},{v & 255}" if known.colours else str(v) for v in listed)
        raise ValueError(f"mask {path} holds {told}, which {names} does not name: add a line for each value.")
    return known.classes[place_HW].astype(known.kind)
