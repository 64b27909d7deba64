"""Answers on their way: written down batch by batch, so that a killed evaluation goes on behind its last batch.

Each process appends to a file of its own, ``answers-RANK.partial.jsonl``: first a line that says which evaluation this
is, then a line a batch. A line that the kill cut in two, or that is damaged, is dropped and its batch is answered
again. All files are read when an evaluation starts, so it may go on with another number of processes.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from filelock import Timeout

from text4seg.callbacks.keeper import write_whole
from text4seg.data.shards.alone import lock_of

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

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let one evaluation of this machine at a time write here.

        Raises:
            ValueError: another one does.
        """
        lock = lock_of(self.folder.resolve())
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise ValueError(
                f"another process evaluates into {self.folder}: wait for it, or give this evaluation its own `name`."
            ) from None
        try:
            yield
        finally:
            lock.release()

    def discard_others(self) -> None:
        """Set aside what another evaluation left behind; one process does this before any other starts."""
        for path in self.folder.glob(PATTERN):
            if self._batches(path) is None:
                kept = path.replace(path.with_suffix(".old"))
                warnings.warn(
                    f"begins anew: the answers that an evaluation of this name left were had with other settings, "
                    f"weights, shards or versions; they are kept as {kept}.",
                    stacklevel=2,
                )

    def read(self) -> dict[int, Answered]:
        """Finished batches of all processes by number, in the order of the numbers."""
        found: dict[int, Answered] = {}
        for path in self.folder.glob(PATTERN):
            found |= {batch.number: batch for batch in self._batches(path) or []}
        return dict(sorted(found.items()))

    def open(self) -> None:
        """Get ready to append: the file holds whole lines only."""
        batches = self._batches(self.path) if self.path.is_file() else None
        lines = [self._head, *(json.dumps(batch._asdict()) for batch in batches or [])]
        write_whole(self.path, "\n".join(lines) + "\n")

    def append(self, batch: Answered) -> None:
        """Write a finished batch down."""
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(batch._asdict()) + "\n")

    def remove(self) -> None:
        """Remove the files of all processes; what they held stands in the report's files by now."""
        for path in self.folder.glob(PATTERN):
            path.unlink()

    @property
    def _head(self) -> str:
        return json.dumps({"evaluation": self.digest})

    def _batches(self, path: Path) -> list[Answered] | None:
        """The batches that a file holds from the first letter to the last; None when it is another evaluation's."""
        head, *lines = path.read_bytes().split(b"\n")[:-1] or [b""]
        return [batch for line in lines if (batch := _batch(line))] if head == self._head.encode() else None


def _batch(line: bytes) -> Answered | None:
    """The batch of a line; None when the line is damaged."""
    try:
        return Answered(**json.loads(line))
    except (ValueError, TypeError):
        return None
