"""Photographs as their annotations saw them: sizes from headers, and pictures that the camera's tag turns.

Axis legend: H, W pixels of the image.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TypeVar

from PIL import Image
from PIL.Image import Transpose

P = TypeVar("P", Path, io.BytesIO)
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
"""What a file is read as, whatever its name says; Pillow would hand an EPS under any name to Ghostscript."""
DAMAGED = (OSError, SyntaxError, EOFError, RuntimeError, AttributeError, Image.DecompressionBombError)
"""What Pillow raises on damage, beside ValueError; RuntimeError and AttributeError on that of an AVIF and its tags."""
UNREADABLE = (*DAMAGED, ValueError)
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
    try:
        with Image.open(path, formats=FORMATS) as image:
            turned = upright(image)
        if (turned.height, turned.width) != size:  # no quarter turn, or a TIFF, whose header is turned already
            return None
        buffer = io.BytesIO()
        (turned if turned.mode in ("L", "RGB") else turned.convert("RGB")).save(buffer, "PNG")
    except UNREADABLE as error:
        raise ValueError(f"{path} is not a readable image: {error}") from error
    return buffer.getvalue()
