"""The records of a large JSON file by number, in constant memory: a list, or one object a line.

The file is read through once for where its records lie: 8 bytes of memory each. A record is then parsed where it is
needed, so that a build of many shards does not parse the whole file for each of them.
"""

from __future__ import annotations

import json
import re
from array import array
from functools import lru_cache
from pathlib import Path
from typing import Any

CHUNK = 1 << 20
LONGEST = 64 * CHUNK
"""A record that is longer is no record but damage: what was read of it is held in memory."""
DECODER = json.JSONDecoder()
BLANK, BLANK_OR_COMMA = re.compile(r"[ \t\r\n\ufeff]*"), re.compile(r"[ \t\r\n\ufeff,]*")


class JsonItems:
    """Every record of a file, by number from 0 on.

    Raises:
        ValueError: no such file, or damage; the number of the record is named.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.places = _places(path, path.stat().st_mtime_ns)
        except (OSError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError(f"{path} is not a readable JSON file: {error}") from error

    def __len__(self) -> int:
        return len(self.places) - 1

    def __getitem__(self, number: int) -> Any:
        start, end = self.places[number : number + 2]
        with self.path.open("rb") as stream:
            stream.seek(start)
            return DECODER.raw_decode(stream.read(end - start).decode())[0]


@lru_cache(maxsize=2)
def _places(path: Path, changed: int) -> array[int]:
    """The first byte of every record and the one behind the last; kept for the other shards that a process builds."""
    places, byte, ended = array("Q"), 0, False
    with path.open(encoding="utf-8", newline="") as stream:  # newlines as they are: bytes are counted
        text, at = "", 0
        while at == len(text) and (more := stream.read(CHUNK)):
            text, byte = more, byte + _width(text)
            at = _end(BLANK, text, 0)
        byte += _width(text[:at])
        listed = text.startswith("[", at)
        at, byte, behind = at + listed, byte + listed, byte
        while True:
            start = _end(BLANK_OR_COMMA if listed else BLANK, text, at)
            at, byte = start, byte + _width(text[at:start])
            if listed and text.startswith("]", at):
                break
            try:
                end = DECODER.raw_decode(text, at)[1]
                whole = end < len(text) or ended  # a number at the end might go on
            except json.JSONDecodeError:
                whole, end = False, at
            if whole:
                places.append(byte)
                behind = byte + _width(text[at:end])
                at, byte = end, behind
            elif more := stream.read(CHUNK):
                text, at = text[at:] + more, 0
            elif not ended:
                ended = True
            elif at < len(text) or listed:
                raise ValueError(f"{path}: record {len(places) + 1} is cut off or is not JSON.")
            else:
                break
            if len(text) - at > LONGEST:
                raise ValueError(f"{path}: record {len(places) + 1} is longer than {LONGEST} characters, or damaged.")
    places.append(behind)
    return places


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    assert match is not None  # it matches nothing, too
    return match.end()


def _width(text: str) -> int:
    return len(text.encode())
