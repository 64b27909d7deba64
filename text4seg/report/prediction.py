"""Ask a model about a picture that has no annotation, and write the answer down as pictures and JSON.

Axis legend: H, W pixels of the picture.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from text4seg.data.image import FORMATS, to_rgb
from text4seg.data.items import Item, Items
from text4seg.data.sources.photograph import UNREADABLE, upright
from text4seg.decoding.confidence import written
from text4seg.decoding.generate import respond
from text4seg.decoding.settings import DecodingSettings
from text4seg.descriptors import OTHERS, Decoded, check_queries, paint, parse
from text4seg.templates import Templates, hint

from .asking import words_of
from .coco import coco_rle
from .overlay import overlay

if TYPE_CHECKING:
    from text4seg.config import Config
    from text4seg.models.backbone import Backbone

LONGEST_STEM, LONGEST_SLUG = 120, 60
"""Bytes of a file's name that come from a picture's name and from a query: with what follows, below the usual 255."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """An answer about a picture.

    Attributes:
        query: what was asked for.
        question: the sentence that asked for it.
        decoded: grid, status and text.
        mask: where it is, bool ``[H, W]``.
        cost: tokens, passes and seconds of a mask, means over the picture's queries.
        left: token at which the answer left the language of descriptors, where it did and somebody looked.
        confidence: how sure the model was of the answer, 0 to 1; None: nobody knows.
    """

    query: str
    question: str
    decoded: Decoded
    mask: NDArray[np.bool_]
    cost: dict[str, float] = field(default_factory=dict)
    left: int | None = None
    confidence: float | None = None


def read_picture(path: Path) -> Image.Image:
    """Open a picture file as RGB, turned the way its camera says.

    Raises:
        ValueError: when the file is missing, no picture, broken or unreasonably large.
    """
    try:
        with Image.open(path, formats=FORMATS) as picture:
            return to_rgb(upright(picture))
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file.") from None
    except UNREADABLE as error:
        raise ValueError(f"{path}: cannot be read as a picture ({error}).") from error


def predict(
    backbone: Backbone,
    config: Config,
    picture: Image.Image,
    queries: Sequence[str],
    size: tuple[int, int] | None = None,
    decoding: DecodingSettings | None = None,
    together: bool = False,
) -> list[Prediction]:
    """Ask where each query is in a picture.

    Args:
        backbone: model and processor; answers come from the device that the model is on.
        config: the run's settings: codec, grid, whether questions name them, and the words that it was trained with.
        picture: any RGB picture.
        queries: what to look for.
        size: another grid than the run's, (rows, cols).
        decoding: how to decode; default: as the run does.
        together: one question names all queries, as semantic training asks, and no pixel is of two; otherwise each has
            a question of its own.

    Raises:
        ValueError: a query that cannot be asked.
    """
    check_queries(queries)
    decoding = decoding or config.decoding
    rows, cols = size or tuple(config.data.grid)
    groups = [list(queries)] if together else [[query] for query in queries]
    task = "conditioned" if together else "referring"
    words = words_of(config.data, task)
    items = Items(_item(words, task, group, picture, (rows, cols), config) for group in groups)
    encoded = [backbone.processor.encode(picture, [(item.question, None)]) for item in items]
    device = next(backbone.model.parameters()).device
    prompts = {name: tensor.to(device) for name, tensor in backbone.processor.collate(encoded, side="left").items()}
    found = []
    answers = respond(backbone, prompts, items, decoding)
    cost = answers.counts.per_mask(len(items))
    sure = map(written, answers.confidence)
    for group, item, text, left, confidence in zip(groups, items, answers.texts, answers.left, sure, strict=True):
        decoded = parse(text, (rows, cols), item.codec, group)
        painted = paint(decoded.grid, (picture.height, picture.width), decoding.paint)
        names = decoded.grid.labels
        for query in group:
            mask = painted == names.index(query) if query in names else np.zeros(painted.shape, bool)
            found.append(Prediction(query, item.question, decoded, mask, cost, left, confidence))
    return found


def _item(
    words: Templates, task: str, queries: Sequence[str], picture: Image.Image, size: tuple[int, int], config: Config
) -> Item:
    labels = (OTHERS, *queries)
    question, _ = words.fixed(task, queries)
    if config.data.format_hint:
        question += hint(config.data.codec, size)
    return Item(
        key="",
        turn=0,
        question=question,
        labels=labels,
        mask=np.zeros((picture.height, picture.width), np.uint8),
        image=b"",
        size=size,
        codec=config.data.codec,
        rule=config.data.rule,
        task=task,
    )


def write_prediction(found: Prediction, picture: Image.Image, source: Path, folder: Path) -> Path:
    """Write ``STEM-QUERY.overlay.png``, ``.mask.png`` and ``.json``, not over those of another file or query.

    Of a long name the beginning stands for it, and bytes that are no UTF-8 fall away; the JSON has all of it.

    Returns:
        the path of the JSON, which holds query, question, status, repairs, text, what it cost, COCO RLE, box and area.
    """
    folder.mkdir(parents=True, exist_ok=True)
    origin = str(source.resolve())  # a relative name is another file in another working directory
    base = f"{_beginning(source.stem, LONGEST_STEM) or 'picture'}-{slug(found.query)}"
    path, number = folder / f"{base}.json", 1
    while path.exists() and _of(path) != (origin, found.query):
        number += 1
        path = folder / f"{base}-{number}.json"
    stem = path.with_suffix("").name
    overlay(picture, found.mask).save(folder / f"{stem}.overlay.png")
    Image.fromarray(found.mask.astype(np.uint8) * 255).save(folder / f"{stem}.mask.png")
    report = {
        "image": origin,
        "query": found.query,
        "question": found.question,
        "status": found.decoded.status,
        "repairs": [f"row {repair.row}: {repair.what}" for repair in found.decoded.repairs],
        "labels_written": [found.decoded.grid.labels[i] for i in np.unique(found.decoded.grid.ids)],
        "text": found.decoded.text,
        "left": found.left,
        "confidence": found.confidence,
        "per_mask": found.cost,
        **coco_rle(found.mask),
    }
    text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8", errors="backslashreplace")  # half a letter of a name as JSON escapes it
    return path


def _of(path: Path) -> tuple[str, str] | None:
    """The picture and the query that a stored answer belongs to."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        return report["image"], report["query"]
    except (ValueError, KeyError, TypeError):
        return None  # somebody else's file


def slug(text: str) -> str:
    """A text as part of a file name, at most :data:`LONGEST_SLUG` bytes of it.

    >>> slug("The dog, on the left!")
    'the-dog-on-the-left'
    """
    plain = re.sub(r"[^\w]+", "-", text.lower()).strip("-")
    return _beginning(plain, LONGEST_SLUG).strip("-") or "query"


def _beginning(text: str, most: int) -> str:
    """Whole letters of at most so many bytes; bytes of a file's name that are no UTF-8 are none."""
    return os.fsencode(text)[:most].decode("utf-8", "ignore")
