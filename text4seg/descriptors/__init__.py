"""Semantic descriptors: a segmentation mask as text, and back.

    mask -> rasterize -> LabelGrid -> encode -> text -> parse -> LabelGrid -> paint -> mask

Needs numpy only. A descriptor is a table of words, one for each cell of a coarse grid over the image, written down
row by row with run lengths; see :mod:`.codecs` for the spellings and :mod:`.parse` for what happens to bad text.
Source: Text4Seg (arXiv 2410.09855), section 3.
"""

from .ceiling import Overlap, ceiling, overlap
from .codecs import CODECS, STAR, answer, encode, encode_many, max_text, run_lengths
from .grid import OTHERS, Decoded, LabelGrid, Repair
from .labels import check_labels, check_queries, normalise
from .paint import METHODS, paint
from .parse import parse
from .rasterize import RULES, rasterize
from .strict import DescriptorError, parse_strict
from .wrong_rows import ROW_CODECS, Span, row_spans, with_wrong_rows

__all__ = [
    "CODECS",
    "METHODS",
    "OTHERS",
    "ROW_CODECS",
    "RULES",
    "STAR",
    "Decoded",
    "DescriptorError",
    "LabelGrid",
    "Overlap",
    "Repair",
    "Span",
    "answer",
    "ceiling",
    "check_labels",
    "check_queries",
    "encode",
    "encode_many",
    "max_text",
    "normalise",
    "overlap",
    "paint",
    "parse",
    "parse_strict",
    "rasterize",
    "row_spans",
    "run_lengths",
    "with_wrong_rows",
]
