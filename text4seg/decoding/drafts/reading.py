"""Where a half-written answer stands: the cells so far, and the tokens of the run that is being written.

Reads any tokens at all. A row that does not add up is brought to its length when it ends, so that one slip costs the
guesses of one row. Tokens are taken one by one, as bytes: characters and separators may be cut anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from text4seg.decoding.drafts.forecast import Forecast, Run
from text4seg.decoding.drafts.spelling import Spelling
from text4seg.descriptors import OTHERS
from text4seg.descriptors.exact import CLOSE, OPEN

OPENING, BODY, LOST, ENDED = range(4)
"""The sentence before ``<seg>``; a line that reads well; one that does not; nothing more to come."""
_SEPARATOR = re.compile(rb"[|\n]")


class Reading:
    """One answer, followed token by token.

    Attributes:
        stage: one of OPENING, BODY, LOST, ENDED.
        cells: ids of the runs that are complete (of the cells, in the codec ``full``).
        last: label of the last run of the line; None at its start.
        names: words of the ids: the query's labels, then those that the answer brought.
        unit: bytes of the piece that is being written (before ``<seg>``: of the whole sentence).
        given: tokens of that piece; None when it begins inside a token.
    """

    def __init__(
        self, spelling: Spelling, labels: Sequence[str], size: tuple[int, int], codec: str, forecast: Forecast
    ) -> None:
        self._spelling, self._forecast, self._codec = spelling, forecast, codec
        self._labels = list(dict.fromkeys((OTHERS, *labels)))
        self._cells = size[0] * size[1]
        self._line = self._cells if codec == "irle" else size[1]
        self._counted = 0
        self._reset()

    def _reset(self) -> None:
        self.stage = OPENING
        self.cells: list[int] = []
        self.last: int | None = None
        self.names = self._labels.copy()
        self._index = {name: number for number, name in enumerate(self.names)}
        self.unit = b""
        self.given: list[int] | None = []
        self._seen: list[int] = []

    def follow(self, accepted: Sequence[int]) -> None:
        """Read up to the end of these tokens: quick when they continue those of the call before."""
        accepted = list(accepted)
        if accepted[: len(self._seen)] != self._seen:
            self._reset()
        for token in accepted[len(self._seen) :]:
            self._take(token)
        self._seen = accepted

    def _take(self, token: int) -> None:
        if self.stage == ENDED:
            return
        self.unit += self._spelling.piece(token)
        if self.given is not None:
            self.given.append(token)
        if self.stage == OPENING:
            at = self.unit.find(OPEN.encode())
            if at < 0:
                return
            self.stage = BODY
            self._cut(at + len(OPEN))
        while self.stage != ENDED and (found := _SEPARATOR.search(self.unit)):
            word = self.unit[: found.start()].decode("utf-8", "replace")
            self._settle(word, ends_line=found.group() == b"\n")
            self._cut(found.end())
        if CLOSE.encode() in self.unit:
            self.stage = ENDED

    def _cut(self, at: int) -> None:
        """A piece ends here and the next begins: inside the last token, when bytes are left over."""
        self.unit = self.unit[at:]
        self.given = None if self.unit else []

    def _settle(self, text: str, ends_line: bool) -> None:
        room = self._room()
        label, length = self._run(text)
        if self.stage == BODY and (length < 1 or length > room):
            self.stage = LOST
        if self.stage == BODY:
            self._add(label, length)
            if self._room() == 0 and not ends_line:
                self.stage = LOST
        if ends_line:
            self._end_line()

    def _room(self) -> int:
        """Cells that the line lacks."""
        full = self.last is not None and len(self.cells) % self._line == 0
        return 0 if full or len(self.cells) == self._cells else self._line - len(self.cells) % self._line

    def _run(self, text: str) -> tuple[str, int]:
        """Label and length of a run; the length is 0 when it cannot be read."""
        if self._codec == "full":
            return text.strip(), int(bool(text.strip()))
        label, _, digits = text.rpartition("*")
        readable = label.strip() and digits.isascii() and digits.isdigit() and len(digits) < 9
        return label.strip(), int(digits) if readable else 0

    def _add(self, name: str, length: int) -> None:
        label = self._index.setdefault(name, len(self.names))
        if label == len(self.names):
            self.names.append(name)
        if len(self.cells) >= self._counted and self._codec != "full":  # not again after a reset
            self._counted = len(self.cells) + 1
            self._forecast.learn(self.cells, self.last, Run(label, len(self.cells) + length))
        self.cells += [label] * length
        self.last = label

    def _end_line(self) -> None:
        """Bring the line to its length; a lost one of which nothing is known repeats the row above."""
        room = self._room()
        if room and self._codec == "irle":
            self.stage = ENDED
            return
        if room == self._line and self.cells:
            self.cells += self.cells[-self._line :]
        else:
            self.cells += [0 if self.last is None else self.last] * room
        self.last = None
        self.stage = BODY
