"""Read pickles of plain data and nothing else: lists, tuples, dicts, sets, numbers, strings, bytes, True, False, None.

A pickle is a program: `pickle.load` on a downloaded file runs whatever its author wrote. The published refCOCO files
hold plain data only, so everything beyond it is refused before it is looked up.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any, NoReturn

MAX_BYTES = 512 * 2**20
"""About twenty times the largest published file of expressions."""
_OPCODES = """
    MARK STOP POP POP_MARK DUP PROTO FRAME GET BINGET LONG_BINGET PUT BINPUT LONG_BINPUT MEMOIZE NONE NEWTRUE NEWFALSE
    INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE
    SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 LIST EMPTY_LIST APPEND APPENDS DICT EMPTY_DICT
    SETITEM SETITEMS TUPLE EMPTY_TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_SET ADDITEMS FROZENSET
    GLOBAL STACK_GLOBAL INST EXT1 EXT2 EXT4
"""
"""What builds plain data. The last line is there so that an error can name what it asks for: each of those ends in
`find_class` or `get_extension`."""


def load(path: Path, max_bytes: int = MAX_BYTES) -> Any:
    """The plain data in a pickle; strings of Python 2 are read as Latin-1, which takes any byte.

    Raises:
        ValueError: no such file, larger than `max_bytes`, cut off, or holding anything but plain data.
    """
    if not path.is_file():
        raise ValueError(f"no pickle at {path}.")
    if path.stat().st_size > max_bytes:
        raise ValueError(f"{path} has {path.stat().st_size} bytes; the limit is {max_bytes}. Use the JSON version.")
    try:
        # From memory: a length that the pickle makes up cannot ask for more bytes than the file has.
        return _PlainUnpickler(io.BytesIO(path.read_bytes()), encoding="latin1").load()
    except Exception as error:  # a damaged program may fail in any way
        raise ValueError(
            f"{path} is cut off, damaged, or holds more than plain data ({str(error) or repr(error)}). Download it "
            "again, or save it as JSON."
        ) from error


def _refuse(unpickler: Any) -> NoReturn:
    raise pickle.UnpicklingError("it calls something, or fills an object")


# Not the C unpickler: it takes known extension codes from a cache without asking `find_class`, and a memo index of a
# few bytes makes it allocate gigabytes. This one reads the 50 000 records of refCOCO in about two seconds.
class _PlainUnpickler(pickle._Unpickler):  # type: ignore[name-defined, misc]
    """Knows only the opcodes that build plain data."""

    dispatch = dict.fromkeys(range(256), _refuse) | {
        code: pickle._Unpickler.dispatch[code] for code in (getattr(pickle, name)[0] for name in _OPCODES.split())
    }

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it asks for `{module}.{name}`")

    def get_extension(self, code: int) -> NoReturn:
        raise pickle.UnpicklingError(f"it asks for the registered extension {code}")
