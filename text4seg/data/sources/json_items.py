"""The records of a large JSON file by number, in constant memory: a list, or one object a line.

The file is read through once for where its records lie: 8 bytes of memory each. A record is then parsed where it is
needed, so that a build of many shards does not parse the whole file for each of them. A damaged line is a record that
cannot be had: the lines behind it can. Damage in a list ends it, since nothing says where its next record begins.
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
    """Every record of a file, by number from 0 on; asking for a damaged line is a ValueError that names its number.

    Raises:
        ValueError: no such file, a damaged list, no line that is whole; the number of the record is named.
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
            found = stream.read(end - start)
        try:
            return DECODER.raw_decode(found.decode())[0]
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{self.path}: record {number + 1} is cut off or is not JSON: {error}") from error


@lru_cache(maxsize=2)
def _places(path: Path, changed: int) -> array[int]:
    """The first byte of every record and the one behind the last; kept for the other shards that a process builds."""
    places, byte, ended = array("Q"), 0, False
    damaged, objects = 0, False
    listed = _listed(path)
    errors = "strict" if listed else "surrogateescape"  # a byte that is not UTF-8 costs its line, or the list
    with path.open(encoding="utf-8", errors=errors, newline="") as stream:  # newlines as they are: bytes are counted
        text, at = "", 0
        while at == len(text) and (more := stream.read(CHUNK)):
            text, byte = more, byte + _width(text)
            at = _end(BLANK, text, 0)
        byte += _width(text[:at])
        at, byte, behind = at + listed, byte + listed, byte
        while True:
            start = _end(BLANK_OR_COMMA if listed else BLANK, text, at)
            at, byte = start, byte + _width(text[at:start])
            if listed and text.startswith("]", at):
                break
            try:
                end = DECODER.raw_decode(text, at)[1]
                whole = end < len(text) or ended  # a number at the end might go on
                objects = objects or (whole and text.startswith("{", at))
            except json.JSONDecodeError as error:
                end = at if listed else _damage(text, at, error.pos, ended)
                whole = end > at
                if whole and not damaged:
                    damaged = len(places) + 1
            if whole:
                places.append(byte)
                behind = byte + _width(text[at:end])
                at, byte = end, behind
            elif more := stream.read(CHUNK):
                text, at = text[at:] + more, 0
            elif not ended:
                ended = True
            elif listed:
                raise ValueError(f"{path}: record {len(places) + 1} is cut off or is not JSON.")
            else:
                break
            if len(text) - at > LONGEST:
                raise ValueError(f"{path}: record {len(places) + 1} is longer than {LONGEST} characters, or damaged.")
    if damaged and not objects:  # one object in two halves, or no JSON at all
        raise ValueError(f"{path}: record {damaged} is cut off or is not JSON.")
    places.append(behind)
    return places


def _listed(path: Path) -> bool:
    """Whether a file is one list, by its first character."""
    with path.open(encoding="utf-8", errors="replace", newline="") as stream:
        while more := stream.read(CHUNK):
            if (start := _end(BLANK, more, 0)) < len(more):
                return more[start] == "["
    return False


def _damage(text: str, at: int, wrong: int, ended: bool) -> int:
    """Where the line of a damaged record ends; `at` when what is wrong may only be that the text is not read yet.

    What is not read yet is missed in the last line of `text`: behind a newline in a string, nothing is JSON.
    """
    if ended:
        newline = text.find("\n", at)
        return newline if newline >= 0 else len(text)
    return text.find("\n", at) if text.find("\n", wrong) >= 0 else at


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    assert match is not None  # it matches nothing, too
    return match.end()


def _width(text: str) -> int:
    return len(text.encode(errors="surrogateescape"))
