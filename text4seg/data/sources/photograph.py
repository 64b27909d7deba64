"""Photographs as their annotations saw them: sizes from headers, and pictures that the camera's tag turns.

Axis legend: H, W pixels of the image.
"""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import TypeVar

from PIL import Image
from PIL.Image import Transpose

P = TypeVar("P", Path, io.BytesIO)
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
"""What a file is read as, whatever its name says; Pillow would hand an EPS under any name to Ghostscript."""
UNREADABLE = (
    OSError, SyntaxError, EOFError, RuntimeError, AttributeError, ValueError, IndexError, TypeError, KeyError,
    struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip
"""What Pillow raises on damaged bytes: its readers, those of tags among them, do not agree on one."""
ORIENTATION = 0x0112
"""The EXIF tag."""
TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
"""What each value of the tag asks for."""


def header_size(path: Path | io.BytesIO) -> tuple[int, int]:
    """``(H, W)`` as the header of an image file states it; the pixels stay unread.

    Raises:
        ValueError: not an image.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            return image.height, image.width
    except UNREADABLE as error:
        raise ValueError(f"{path} is not a readable image: {error}") from error


def upright(image: Image.Image) -> Image.Image:
    """A picture turned the way its camera's tag says.

    Pillow's `exif_transpose` writes the other tags anew as well, and fails with errors of any kind on those that are
    broken, where only the pixels are wanted.
    """
    image.load()  # a TIFF turns itself here, and drops the tag
    turn = TURNS.get(image.getexif().get(ORIENTATION, 1))
    return image if turn is None else image.transpose(turn)


def as_annotated(path: P, size: tuple[int, int]) -> P | bytes | None:
    """A picture in the orientation in which an annotation of this size was drawn.

    Pixels are taken as they are stored, as COCO does. Some tools draw on the picture as the camera's tag turns it; a
    quarter turn shows in the size of the annotation. Half turns and squares do not show and count as stored.

    Args:
        path: the photograph, as a file or its bytes.
        size: ``(H, W)`` of the annotation.

    Returns:
        what was given; the turned picture as PNG; or None where neither has that size.

    Raises:
        ValueError: not an image.
    """
    stored = header_size(path)
    if stored == size:
        return path
    if stored != size[::-1]:
        return None
    turned, shown = as_shown(path)
    return turned if shown == size else None  # no quarter turn, or a TIFF, whose header is turned already


def as_shown(path: P) -> tuple[P | bytes, tuple[int, int]]:
    """A picture as viewers show it, and OpenCV reads it: turned by its camera's tag.

    Args:
        path: the photograph, as a file or its bytes.

    Returns:
        what was given where no tag turns it, else the turned picture as PNG; and its ``(H, W)``.

    Raises:
        ValueError: not an image.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.format == "TIFF" or image.getexif().get(ORIENTATION, 1) not in TURNS:  # a TIFF turns itself
                return path, (image.height, image.width)
            turned = upright(image)
        buffer = io.BytesIO()
        (turned if turned.mode in ("L", "RGB") else turned.convert("RGB")).save(buffer, "PNG")
    except UNREADABLE as error:
        raise ValueError(f"{path} is not a readable image: {error}") from error
    return buffer.getvalue(), (turned.height, turned.width)
