"""Encoded images in, JPEG bytes out; nothing is decoded before its header has been looked at."""

from __future__ import annotations

import io
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from text4seg.data.sources.photograph import FORMATS as PHOTOGRAPHS
from text4seg.data.sources.photograph import UNREADABLE

_AVIF = ("AVIF",) if find_spec("PIL.AvifImagePlugin") else ()  # Pillow 11.3
FORMATS = (*PHOTOGRAPHS, "PPM", "JPEG2000", "TGA", *_AVIF)
"""What is read as a picture beyond what sources hand over: `predict` takes whatever people have."""
MAX_PIXELS = 64_000_000
"""A header that promises more is refused unread (decompression bombs)."""
NO_DATA = 1e38
"""From here on a float is no shade: infinity, or the lowest there is (-3.4e38), which stands for "not measured"."""


def open_image(data: bytes, name: str, max_pixels: int = MAX_PIXELS, least: int | None = None) -> Image.Image:
    """Decode an image to RGB.

    Args:
        data: encoded bytes.
        name: what to call the image in an error.
        max_pixels: largest width x height that is decoded.
        least: a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size, so long as neither side gets shorter than this.

    Raises:
        ValueError: not an image, damaged, or larger than `max_pixels`.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        width, height = image.size
        if width * height <= max_pixels:
            if least is not None:
                image.draft("RGB", (least, least))
            return to_rgb(image)
    except UNREADABLE as error:
        raise ValueError(f"{name} is not a readable image: {error}") from error
    raise ValueError(f"{name}: {width}x{height} pixels; the limit is {max_pixels}.")


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert any picture to RGB; 16-bit and floating-point greys are scaled, where Pillow would cut them off at 255.

    The range is the format's for 16-bit integers (65535), the picture's own for 32-bit values: of those that are
    numbers, so that one infinity, or the lowest float that maps write where nothing was measured, darkens nothing else.
    A picture of one such value is mid-grey.
    """
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return image.convert("RGB")
    grey = np.asarray(image, np.float64)
    low, high = (0.0, 65535.0) if image.mode.startswith("I;16") else _range(grey)
    scaled = (grey - low) / (high - low) * 255 if high > low else np.full_like(grey, 128)
    return Image.fromarray(np.nan_to_num(scaled).clip(0, 255).round().astype(np.uint8)).convert("RGB")


def _range(grey: NDArray[np.float64]) -> tuple[float, float]:
    """Lowest and highest of the values that mean something; (0, 0) where none does."""
    known = grey[np.abs(grey) < NO_DATA]
    return (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)


def cropped(image: bytes | Path, box: tuple[int, int, int, int], name: str, quality: int = 90) -> bytes:
    """JPEG bytes of a window of an image.

    Args:
        box: left, top, width, height in pixels.

    Raises:
        ValueError: the file is missing or is not a readable image.
    """
    left, top, width, height = box
    whole = open_image(_encoded(image, name), name)
    return _jpeg(whole.crop((left, top, left + width, top + height)), quality)


def jpeg_bytes(image: bytes | Path, name: str, quality: int = 90) -> bytes:
    """JPEG bytes of an image: JPEG data as it is (after a look whether it decodes), anything else re-encoded.

    Raises:
        ValueError: the file is missing or is not a readable image.
    """
    image = _encoded(image, name)
    decoded = open_image(image, name)
    return image if image[:3] == b"\xff\xd8\xff" else _jpeg(decoded, quality)


def _encoded(image: bytes | Path, name: str) -> bytes:
    if not isinstance(image, Path):
        return image
    if not image.is_file():
        raise ValueError(f"{name}: no image at {image}.")
    return image.read_bytes()


def _jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


BLANK = _jpeg(Image.new("RGB", (16, 16), (128, 128, 128)), 90)
"""The grey picture that goes with words which come without one: every row of a batch has a picture."""
