"""The strict reader: accept exactly the grammar, and explain the first thing that breaks it."""

from __future__ import annotations

from .codecs import check_codec, check_size
from .exact import CLOSE, OPEN, exact_body, read_rows
from .grid import LabelGrid
from .labels import Vocabulary, fault


class DescriptorError(ValueError):
    """A text that is no well-formed descriptor.

    Attributes:
        row: row of the grid where it goes wrong, from 1; 0 when the whole text is meant.
        column: column of the grid (a cell, not a character) at which the wrong run begins, from 1; 0 as above.
        found: the offending piece of the text.
    """

    def __init__(self, row: int, column: int, found: str, problem: str) -> None:
        where = f"row {row}, column {column}: " if row else ""
        shown = found if len(found) <= 60 else found[:57] + "..."
        super().__init__(f"{where}{problem}, found {shown!r}")
        self.row, self.column, self.found = row, column, found


def parse_strict(text: str, size: tuple[int, int] = (16, 16), codec: str = "rrle") -> LabelGrid:
    r"""Read a body or a tagged answer that is exactly well formed.

    Raises:
        DescriptorError: at the first error, with its row and column (both from 1, in cells of the grid).
        ValueError: for an empty size or an unknown codec.

    >>> parse_strict("sky *4\n sky *3| tree *2\n", (2, 4))
    Traceback (most recent call last):
    ...
    text4seg.descriptors.strict.DescriptorError: row 2, column 4: the row has 5 cells instead of 4, found 'tree *2'
    """
    check_codec(codec)
    check_size(size)
    body = exact_body(text)
    vocabulary = Vocabulary()
    rows = None if body is None else read_rows(body, size, codec, vocabulary)
    if rows is not None and not rows.wrong:
        return LabelGrid(rows.ids(size), tuple(vocabulary.names))
    if body is None:
        raise _explain_tags(text)
    raise _explain(body, size, codec)


def _explain_tags(text: str) -> DescriptorError:
    start = text.find(OPEN)
    if start < 0:
        return DescriptorError(0, 0, CLOSE, f"{CLOSE} without {OPEN} before it")
    end = text.find(CLOSE, start)
    if end < 0:
        return DescriptorError(0, 0, text[-20:], f"{OPEN} without {CLOSE} after it")
    return DescriptorError(0, 0, text[end + len(CLOSE) :], f"text after {CLOSE}")


def _explain(body: str, size: tuple[int, int], codec: str) -> DescriptorError:
    """Walk through a body that is known to be wrong up to the first error."""
    rows, cols = size
    lines, line = (1, rows * cols) if codec == "irle" else size
    ended = body.endswith("\n")
    texts = (body[:-1] if ended else body).split("\n ")
    for number, text in enumerate(texts[:lines]):
        done = 0
        for run in text.split("| "):
            row, column = (done // cols, done % cols) if codec == "irle" else (number, min(done, cols - 1))
            count, problem = _measure(run, codec)
            if problem is None and done + count > line:
                unit = "text" if codec == "irle" else "row"
                problem = f"the {unit} has {_short(done + count)} cells instead of {line}"
            if problem is not None:
                return DescriptorError(min(row, rows - 1) + 1, column + 1, run, problem)
            done += count
        if done < line:
            unit = "text" if codec == "irle" else "row"
            row, column = (done // cols, done % cols) if codec == "irle" else (number, done)
            return DescriptorError(row + 1, column + 1, text, f"the {unit} ends after {done} of {line} cells")
    if len(texts) != lines:
        what = "".join(texts[lines:]) if len(texts) > lines else texts[-1]
        row = min(len(texts), lines + 1) if len(texts) > lines else len(texts) + 1
        return DescriptorError(row, 1, what, f"expected {lines} lines of text, got {len(texts)}")
    assert not ended, "the quick reader refused a text that has no error"
    return DescriptorError(rows, cols, texts[-1], "the text does not end with a newline")


def _measure(run: str, codec: str) -> tuple[int, str | None]:
    """How many cells a run has, and what is wrong with it."""
    if "\n" in run:
        return 0, "a newline inside a line of text (one space must follow it)"
    word, star, digits = (run, " *", "1") if codec == "full" else run.rpartition(" *")
    if not star:
        return 0, "expected 'label *count'"
    wrong = fault(word)
    if wrong is not None:
        return 0, f"the label {wrong}"
    if not (digits.isascii() and digits.isdigit()) or digits[0] == "0":
        return 0, "the count after ' *' must be a whole number from 1 on"
    return int(digits) if len(digits) <= 9 else 10**9, None


def _short(count: int) -> str:
    return str(count) if count < 10**9 else "over a billion"
