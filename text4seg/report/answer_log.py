"""Answers on their way: written down batch by batch, so that a killed evaluation goes on behind its last batch.

Each process appends to a file of its own, ``answers-RANK.partial.jsonl``: first a line that says which evaluation this
is, then a line a batch. A line that the kill cut in two is dropped and its batch is answered again. All files are read
when an evaluation starts, so it may go on with another number of processes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

PATTERN = "answers-*.partial.jsonl"


class Answered(NamedTuple):
    """One finished batch: its number, the seconds it took, a record an answer, and what they cost (`Counts`)."""

    number: int
    seconds: float
    records: list[dict[str, Any]]
    counts: dict[str, float]


class AnswerLog:
    """The answers of one evaluation.

    Args:
        folder: of the evaluation; it must exist.
        digest: says which evaluation this is; answers of another one are not used.
        rank: this process.
    """

    def __init__(self, folder: Path, digest: str, rank: int = 0) -> None:
        self.folder, self.digest = folder, digest
        self.path = folder / f"answers-{rank}.partial.jsonl"

    def discard_others(self) -> None:
        """Remove what another evaluation left behind; one process does this before any other starts."""
        for path in self.folder.glob(PATTERN):
            if self._whole_lines(path) is None:
                path.unlink()

    def read(self) -> dict[int, Answered]:
        """Finished batches of all processes by number, in the order of the numbers."""
        found: dict[int, Answered] = {}
        for path in self.folder.glob(PATTERN):
            for line in (self._whole_lines(path) or [])[1:]:
                batch = Answered(**json.loads(line))
                found[batch.number] = batch
        return dict(sorted(found.items()))

    def open(self) -> None:
        """Get ready to append: the file ends behind its last whole line."""
        lines = self._whole_lines(self.path) if self.path.is_file() else None
        head = [json.dumps({"evaluation": self.digest})]
        self.path.write_text("\n".join(lines or head) + "\n", encoding="utf-8")

    def append(self, batch: Answered) -> None:
        """Write a finished batch down."""
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(batch._asdict()) + "\n")

    def remove(self) -> None:
        """Remove the files of all processes; what they held stands in the report's files by now."""
        for path in self.folder.glob(PATTERN):
            path.unlink()

    def _whole_lines(self, path: Path) -> list[str] | None:
        """The lines of a file that were written to their end; None when it belongs to another evaluation."""
        *lines, _ = path.read_text(encoding="utf-8").split("\n")
        return lines if lines and lines[0] == json.dumps({"evaluation": self.digest}) else None
