"""What a data set must consist of before anything is read: the answer to `build --check`."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Need(NamedTuple):
    """A file or a folder of a data set.

    Attributes:
        path: where it must lie; `*` stands for any letters of its name, which may lie deeper.
        what: it is, in a few words.
        where: it can be had from.
    """

    path: Path
    what: str
    where: str

    def found(self) -> bool:
        """Whether it is there, and not an empty folder."""
        if "*" in self.path.name:
            return self.path.parent.is_dir() and any(self.path.parent.rglob(self.path.name))
        return any(self.path.iterdir()) if self.path.is_dir() else self.path.is_file()
