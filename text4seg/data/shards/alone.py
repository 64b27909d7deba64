"""One process of a machine at a time writes a folder: two trainings that start together on data that nobody has built
yet wait for one another; a second evaluation of one name is refused (`text4seg.report.answer_log`)."""

from __future__ import annotations

import hashlib
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def alone(out: Path) -> Iterator[bool]:
    """Let one process of this machine at a time build a folder; gives whether another one had to be waited for."""
    lock = lock_of(out)
    try:
        lock.acquire(timeout=0)
        waited = False
    except Timeout:
        warnings.warn(f"another process builds {out}: waiting for it.", stacklevel=4)
        lock.acquire()
        waited = True
    try:
        yield waited
    finally:
        lock.release()


def lock_of(folder: Path) -> FileLock:
    """The lock that stands for a folder on this machine; the folder itself need not exist."""
    user = os.getuid() if hasattr(os, "getuid") else ""  # the folder for temporary files is everybody's
    name = hashlib.sha256(f"{user} {folder}".encode()).hexdigest()[:16]
    return FileLock(Path(tempfile.gettempdir(), f"text4seg-{name}.lock"))
