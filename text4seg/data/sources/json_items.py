"""The records of a large JSON file one by one, in constant memory: a list, or one object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHUNK = 1 << 20
LONGEST = 64 * CHUNK
"""A record that is longer is no record but damage: what was read of it is held in memory."""
BLANK = " \t\r\n"


def json_items(path: Path) -> Iterator[Any]:
    """Every record, in order.

    Raises:
        ValueError: no such file, or damage; the number of the record is named.
    """
    decoder = json.JSONDecoder()
    try:
        with path.open(encoding="utf-8-sig") as stream:
            text, number, ended = "", 0, False
            while not text and (more := stream.read(CHUNK)):
                text = more.lstrip(BLANK)
            listed, item = text.startswith("["), None
            text = text[1:] if listed else text
            while True:
                text = text.lstrip(BLANK + ("," if listed else ""))
                if listed and text.startswith("]"):
                    return
                try:
                    item, end = decoder.raw_decode(text) if text else (None, 0)
                    whole = end > 0 and (end < len(text) or ended)  # a number at the end might go on
                except json.JSONDecodeError:
                    whole, end = False, 0
                if whole:
                    yield item
                    text, number = text[end:], number + 1
                elif more := stream.read(CHUNK):
                    text += more
                elif not ended:
                    ended = True
                elif text or listed:
                    raise ValueError(f"{path}: record {number + 1} is cut off or is not JSON.")
                else:
                    return
                if len(text) > LONGEST:
                    raise ValueError(f"{path}: record {number + 1} is longer than {LONGEST} characters, or damaged.")
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not a readable JSON file: {error}") from error
