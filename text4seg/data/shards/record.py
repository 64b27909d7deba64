"""One sample as the four members of a shard, and back.

    KEY.jpg              the image
    KEY.qa.json          a list of turns: question, answer_prefix, labels, task, id, box (where one was annotated),
                         references (where several people answered), and how the descriptor was written
    KEY.descriptor.txt   one descriptor body a turn, blank line between
    KEY.mask.png         the turns' planes [T, H, W] stacked downwards: indices into the turn's labels, in 8 bits (255 =
                         ignore) or, where these are not enough, 16 (65535 = ignore); in 1, 2 or 4 bits with a palette
                         of the same greys where these will do, since they are read two to three times faster

Neither KEY nor what stands before the first dot of a member's name is ever used as a path.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any, get_args

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from text4seg.data.image import MAX_PIXELS
from text4seg.data.sources.photograph import UNREADABLE
from text4seg.data.tasks.turns import check_turn
from text4seg.data.types import Box, Sample, Task, Turn, ignore_value
from text4seg.descriptors import encode, rasterize

MEMBERS = ("jpg", "qa.json", "descriptor.txt", "mask.png")
FORMATS = ("JPEG", "PNG", "WEBP")
"""What a picture is read as: `build` writes JPEG only, other builders know what decoders read."""


def to_members(sample: Sample, grid: tuple[int, int], codec: str, rule: str) -> dict[str, bytes]:
    """The members of a sample by extension, the same bytes every time."""
    turns = [
        {
            "question": turn.question,
            "answer_prefix": turn.answer_prefix,
            "labels": list(turn.labels),
            "task": turn.task,
            "id": turn.id,
            **({"box": list(turn.box)} if turn.box else {}),
            **({"references": list(turn.references)} if turn.references else {}),
            "source": sample.source,
            "grid": list(grid),
            "codec": codec,
            "rule": rule,
        }
        for turn in sample.turns
    ]
    return {
        "jpg": sample.image,
        "qa.json": json.dumps(turns, ensure_ascii=False, indent=1).encode(),
        "descriptor.txt": "\n".join(descriptors(sample, grid, codec, rule)).encode(),
        "mask.png": _png(sample.masks),
    }


def _png(masks: np.ndarray) -> bytes:
    planes = np.ascontiguousarray(masks, np.uint16 if masks.dtype == np.uint16 else np.uint8)
    stacked, buffer = Image.fromarray(planes.reshape(-1, planes.shape[2])), io.BytesIO()
    bits = next((bits for bits in (1, 2, 4) if planes.max() < 2**bits), None)
    if bits is None:
        stacked.save(buffer, "PNG")
    else:
        stacked.putpalette([grey for grey in range(2**bits) for _ in "RGB"])
        stacked.save(buffer, "PNG", bits=bits)
    return buffer.getvalue()


def descriptors(sample: Sample, grid: tuple[int, int], codec: str, rule: str) -> list[str]:
    """One descriptor body a turn, made from the masks; an answer in words has none."""
    return [
        "" if turn.task == "text" else encode(rasterize(plane, turn.labels, grid, rule, ignore_value(plane)), codec)
        for turn, plane in zip(sample.turns, sample.masks, strict=True)
    ]


def from_members(key: str, members: Mapping[str, bytes]) -> Sample:
    """Read a sample back.

    Raises:
        ValueError: naming the key and what is wrong: a member is missing, is not JSON, is no image, or does not fit
            the others.
    """
    missing = [name for name in ("jpg", "qa.json", "mask.png") if name not in members]
    if missing:
        raise ValueError(
            f"{key}: {', '.join(missing)} missing; the record has {', '.join(sorted(members)) or 'nothing'}."
        )
    turns = _turns(key, members["qa.json"])
    masks = _planes(key, members["mask.png"], len(turns), _size(key, members["jpg"]))
    for turn, plane in zip(turns, masks, strict=True):
        wrong = (plane >= len(turn.labels)) & (plane != ignore_value(plane))
        if wrong.any():
            raise ValueError(f"{key}: the mask holds {plane[wrong].max()}, the turn has {len(turn.labels)} labels.")
    source = json.loads(members["qa.json"])[0].get("source", "")
    if not isinstance(source, str):
        raise ValueError(f"{key}: `source` of qa.json must be text, got {str(source)[:60]}.")
    return Sample(key, members["jpg"], turns, masks, source)


def _turns(key: str, data: bytes) -> tuple[Turn, ...]:
    try:
        raw = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{key}: qa.json is not JSON: {error}") from error
    if not isinstance(raw, list) or not raw:
        raise ValueError(f"{key}: qa.json must be a list of turns, got {str(raw)[:60]}.")
    return tuple(_turn(key, item) for item in raw)


def _turn(key: str, item: Any) -> Turn:
    if not isinstance(item, dict):
        raise ValueError(f"{key}: a turn of qa.json must be an object, got {str(item)[:60]}.")
    words = {name: item.get(name, "") for name in ("question", "answer_prefix", "task", "id")}
    labels = item.get("labels")
    if not all(isinstance(word, str) for word in words.values()) or not words["question"]:
        raise ValueError(f"{key}: a turn of qa.json needs question, answer_prefix, task and id as text.")
    if not isinstance(labels, list) or labels[:1] != ["others"] or not all(isinstance(name, str) for name in labels):
        raise ValueError(f"{key}: `labels` of a turn must be a list that starts with others, got {str(labels)[:60]}.")
    if words["task"] not in get_args(Task):
        raise ValueError(f"{key}: unknown task {words['task']!r}; expected one of {', '.join(get_args(Task))}.")
    turn = Turn(labels=tuple(labels), box=_box(key, item), references=_references(key, item), **words)
    check_turn(turn, key)
    return turn


def _box(key: str, item: dict[str, Any]) -> Box | None:
    box = item.get("box")
    if box is None:
        return None
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(n, (int, float)) for n in box):
        raise ValueError(f"{key}: `box` of a turn must be [left, top, right, bottom], got {str(box)[:60]}.")
    left, top, right, bottom = map(float, box)
    return left, top, right, bottom


def _references(key: str, item: dict[str, Any]) -> tuple[str, ...]:
    said = item.get("references", [])
    if not isinstance(said, list) or not all(isinstance(answer, str) for answer in said):
        raise ValueError(f"{key}: `references` of a turn must be a list of texts, got {str(said)[:60]}.")
    return tuple(said)


def _size(key: str, data: bytes) -> tuple[int, int]:
    """``(H, W)`` of the picture as its header states it."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            height, width = image.height, image.width
    except UNREADABLE as error:
        raise ValueError(f"{key} is not a readable image: {error}") from error
    if height * width > MAX_PIXELS:
        raise ValueError(f"{key}: {width}x{height} pixels; the limit is {MAX_PIXELS}.")
    return height, width


def _planes(key: str, data: bytes, turns: int, size: tuple[int, int]) -> np.ndarray:
    """The planes ``[T, H, W]``; nothing is decoded whose header does not fit the picture."""
    try:
        # Not `Image.open`: its limit of pixels would count all planes together.
        with PngImageFile(io.BytesIO(data)) as image:
            (width, height), whole = image.size, image.mode in ("L", "P", "I;16", "I")
            if whole and (height, width) == (turns * size[0], size[1]):
                kind = np.uint8 if image.mode in ("L", "P") else np.uint16
                return np.asarray(image).astype(kind, copy=False).reshape(turns, *size)
    except UNREADABLE as error:
        raise ValueError(f"{key}: mask.png is not a readable image: {error}") from error
    if not whole or height % turns:
        raise ValueError(
            f"{key}: mask.png must be 8-bit grey (or 16-bit) with {turns} planes one below the other, got "
            f"{width}x{height} pixels of mode {image.mode}."
        )
    raise ValueError(f"{key}: the mask is {width}x{height // turns}, the image {size[1]}x{size[0]}")
