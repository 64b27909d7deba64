"""The dialogue source: LLaVA's mix665k and other conversations in words, with one picture or none.

    {"id": ..., "image": "coco/train2017/000000033471.jpg", "conversations": [
        {"from": "human", "value": "<image>\\n..."}, {"from": "gpt", "value": "..."}]}

or `{"query", "response", "images": [...]}`. An answer may have `"answers": [...]` beside it: what several people said,
against which VQA accuracy is taken. Questions and answers pass untouched but for the `<image>` mark.
Conversations about several pictures are refused: a sample holds one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from text4seg.data.sources.folder import leads_out
from text4seg.data.sources.json_items import JsonItems
from text4seg.data.sources.needs import Need
from text4seg.data.sources.photograph import header_size
from text4seg.data.sources.records import field, is_file, short
from text4seg.data.sources.settings import DialogueSettings
from text4seg.data.sources.share import WHOLE, Share
from text4seg.data.types import Example

MARK = "<image>"
INSIDE = re.compile(r"<img>[^<>]+</img>")
"""How the first Qwen-VL's conversations name their pictures."""
HUMAN, MODEL = ("human", "user"), ("gpt", "assistant")
NO_PICTURE = (16, 16)
"""Size of the grey picture that stands for none."""


def examples(settings: DialogueSettings, seed: int, share: Share = WHOLE) -> Iterator[Example]:
    """Stream the conversations in the order of the file; `seed` does not matter.

    Raises:
        ValueError: a missing or damaged file, a record that is no conversation; the record is named.
    """
    path, images = Path(settings.annotations), Path(settings.images)
    records = JsonItems(path)

    def example(number: int) -> Example:
        record = records[number]
        where = f"{path}, record {number + 1}"
        name, turns, references = _parts(record, where)
        # Ids of the published file are not unique; a record's number is.
        found = f"{number:07d}"
        if name is None:
            return Example(found, None, NO_PICTURE, path.stem, dialogue=turns, references=references)
        if leads_out(name):
            raise ValueError(f"{where}: the image {name!r} leads out of {images}.")
        if not is_file(images / name):
            raise ValueError(f"{where}: no file {images / name}; set `images` to the folder that holds {name!r}.")
        size = header_size(images / name)
        return Example(found, images / name, size, path.stem, dialogue=turns, references=references)

    return map(example, share.of(range(len(records))))


def needs(settings: DialogueSettings) -> list[Need]:
    """What must lie where."""
    where = "huggingface.co/datasets/liuhaotian/LLaVA-Instruct-150K (llava_v1_5_mix665k.json)"
    pictures = "folder of the pictures (option `images`): coco/, gqa/, ocr_vqa/, textvqa/, vg/"
    return [Need(Path(settings.annotations), "conversations", where), Need(Path(settings.images), pictures, where)]


Turns = tuple[tuple[str, str], ...]
References = tuple[tuple[str, ...], ...]


def _parts(record: Any, where: str) -> tuple[str | None, Turns, References]:
    """The picture's name, the questions with their answers, and what other people answered."""
    if not isinstance(record, dict):
        raise ValueError(f"{where}: expected an object, got {short(record)}.")
    names = _names(record, where)
    if "conversations" in record:
        spoken = field(record, "conversations", list, where)
        said = [_said(turn, where) for turn in spoken]
        people = tuple(_people(turn, where) for turn in spoken[1::2])
    else:
        query, response = field(record, "query", str, where), field(record, "response", str, where)
        said = [(True, query), (False, response)]
        people = (_people(record, where),)
    asked = [text for human, text in said if human]
    marks = sum(text.count(MARK) for text in asked)
    if not names and any(_shows(text) for text in asked):
        raise ValueError(
            f"{where} asks about a picture, but neither `image` nor `images` names one: put its file's name there."
        )
    if names and max(len(names), marks) > 1:
        raise ValueError(f"{where} is about {max(len(names), marks)} pictures; a sample holds one: leave it out.")
    if not said or len(said) % 2 or any(human == bool(i % 2) for i, (human, _) in enumerate(said)):
        raise ValueError(f"{where}: turns must be question, answer, question, answer, …")
    texts = [text.replace(MARK, "").strip("\n") if human and names else text for human, text in said]
    if not all(texts[::2]):
        raise ValueError(f"{where} holds an empty question.")
    turns = tuple(zip(texts[::2], texts[1::2], strict=True))
    return (names[0] if names else None), turns, people if any(people) else ()


def _names(record: dict[str, Any], where: str) -> list[str]:
    given = record.get("images") or record.get("image") or []
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{where}: `image` must be a file's name, `images` a list of such, got {short(given)}.")
    return names


def _shows(question: str) -> bool:
    """Whether a picture belongs to it; in the midst of a text the mark may be code that somebody asks about."""
    text = question.strip()
    return text.startswith(MARK) or text.endswith(MARK) or INSIDE.search(text) is not None


def _people(turn: Any, where: str) -> tuple[str, ...]:
    answers = turn.get("answers", []) if isinstance(turn, dict) else []
    if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
        raise ValueError(f"{where}: `answers` must be a list of texts, got {short(answers)}.")
    return tuple(answers)


def _said(turn: Any, where: str) -> tuple[bool, str]:
    speaker = field(turn, "from", str, where)
    if speaker not in (*HUMAN, *MODEL):
        raise ValueError(f"{where}: `from` must be one of {', '.join((*HUMAN, *MODEL))}, got {speaker!r}.")
    return speaker in HUMAN, field(turn, "value", str, where)
