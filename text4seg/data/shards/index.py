"""What a folder of shards says about itself: `index.json`."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from text4seg.descriptors import CODECS, RULES

NAME = "index.json"
FORMAT = 1
LARGEST_GRID = 1024
PLAIN_NAME = re.compile(r"[\w-][\w.-]*")
"""What a shard may be called: a file of the folder itself, never a path, `.` or `..`."""


class Elsewhere(Protocol):
    """A folder whose files are fetched by `folder / name` (`data.shards.remote`)."""

    def __truediv__(self, name: str) -> Path:
        """The path of a local copy."""
        ...

    def is_dir(self) -> bool:
        """Whether it may hold shards."""
        ...


@dataclass(frozen=True)
class ShardEntry:
    """One tar: its file name, number of samples, size in bytes and SHA-256."""

    name: str
    samples: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Index:
    """Contents of a folder of shards.

    Attributes:
        shards: the tars, in order.
        samples: number of samples in all of them.
        turns: number of questions.
        tasks: number of questions by task.
        grid: rows, columns of the stored descriptors.
        codec: spelling of the stored descriptors.
        rule: how their cells got their labels.
        licence: note on the licence of the source.
        recipe: how the folder was built.
        fingerprint: digest of the recipe and of what it reads.
        notes: what the build left out or mended: kind -> {count, named}.
    """

    shards: tuple[ShardEntry, ...]
    samples: int
    turns: int
    tasks: dict[str, int]
    grid: tuple[int, int]
    codec: str
    rule: str
    licence: str = ""
    recipe: dict[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    notes: dict[str, Any] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write `index.json`."""
        text = json.dumps({"format": FORMAT, **asdict(self)}, indent=1, ensure_ascii=False)
        (folder / NAME).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path | Elsewhere) -> Index:
        """Read `index.json`.

        Raises:
            ValueError: there is none (the folder is missing or a file, or its build was killed), or it cannot be read.
        """
        if isinstance(folder, Path) and folder.is_file():
            raise ValueError(f"{folder} is a file; expected the folder of the shards, which may be {folder.parent}.")
        path = folder / NAME
        if not path.is_file():
            what = "has no index.json: its build did not finish" if folder.is_dir() else "does not exist"
            raise ValueError(f"{folder} {what}. Build it with `python -m text4seg.shards build`.")
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            if raw.pop("format") != FORMAT:
                raise ValueError("it was written by another version")
            shards = tuple(ShardEntry(**entry) for entry in raw.pop("shards"))
            index = cls(shards=shards, grid=tuple(raw.pop("grid")), **raw)
            index.check()
        except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError) as error:
            raise ValueError(f"{path} cannot be read ({error}). Build the folder again.") from error
        return index

    def check(self) -> None:
        """Refuse values that no build writes; the file may come from anywhere.

        Raises:
            ValueError: a value of the wrong type, sums that do not agree, or a shard outside the folder.
        """
        for entry in self.shards:
            if not isinstance(entry.name, str) or not PLAIN_NAME.fullmatch(entry.name):
                raise ValueError(f"it names the shard {entry.name!r}, which is no plain file name")
            if not _counts(entry.samples, entry.bytes) or not isinstance(entry.sha256, str):
                raise ValueError(f"what it says about {entry.name} is not of the right type")
        tasks: dict[str, Any] = self.tasks if isinstance(self.tasks, dict) else {"": None}
        if not _counts(self.samples, self.turns, *self.grid, *tasks.values()) or len(self.grid) != 2:
            raise ValueError("samples, turns, tasks and grid must be whole numbers")
        if not all(1 <= side <= LARGEST_GRID for side in self.grid):
            raise ValueError(f"grid must be [rows, columns], each 1 to {LARGEST_GRID}")
        if self.codec not in CODECS or self.rule not in RULES:
            raise ValueError(f"it names the codec {self.codec!r} or the rule {self.rule!r}, which do not exist")
        texts = (self.codec, self.rule, self.licence, self.fingerprint)
        if (
            not all(isinstance(text, str) for text in texts)
            or not isinstance(self.recipe, dict)
            or not isinstance(self.notes, dict)
        ):
            raise ValueError("codec, rule, licence and fingerprint must be text, recipe must hold settings")
        if len({entry.name for entry in self.shards}) < len(self.shards):
            raise ValueError("it names a shard twice")
        if self.samples != sum(entry.samples for entry in self.shards) or self.turns != sum(tasks.values()):
            raise ValueError("its totals are not the sums of its parts")


def _counts(*values: Any) -> bool:
    return all(type(value) is int and value >= 0 for value in values)
