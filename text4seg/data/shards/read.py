"""Read shards record by record; what is broken is reported in place of a sample, and reading goes on."""

from __future__ import annotations

import struct
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from text4seg.data.shards.record import from_members
from text4seg.data.types import Sample

BROKEN = (tarfile.TarError, OSError, EOFError, ValueError, OverflowError, MemoryError, zlib.error, struct.error)
"""What reading a damaged tar can raise; out of memory is what the header of a long name asks for that lies."""


@dataclass(frozen=True)
class Record:
    """The undecoded members of one key, or `error` where the tar broke off."""

    key: str
    members: dict[str, bytes]
    error: str = ""

    def sample(self) -> Sample:
        """Decode.

        Raises:
            ValueError: naming the key and what is wrong with it.
        """
        if self.error:
            raise ValueError(self.error)
        return from_members(self.key, self.members)


def records(path: Path) -> Iterator[Record]:
    """The records of one shard in file order.

    A tar that breaks off ends with a record that holds the error; the record before it may lack members.

    Raises:
        ValueError: there is no such file.
    """
    if not path.is_file():
        raise ValueError(f"there is no shard at {path}.")
    key, members = "", {}
    try:
        for name, data in _files(path):
            stem, _, extension = name.partition(".")
            if stem != key and members:
                yield Record(key, members)
                members = {}
            key = stem
            members[extension] = data
    except BROKEN as error:
        if members:
            yield Record(key, members)
        yield Record(key, {}, f"{path.name}: broken off after {key or 'the start'}: {error}")
        return
    if members:
        yield Record(key, members)


def _files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Names and contents of a tar's files.

    `tarfile` takes a damaged header for the end of the archive; only the zero block that ends one is believed here.
    """
    with path.open("rb") as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
        size = path.stat().st_size
        while member := tar.next():
            if member.isreg():
                if member.issparse() or member.size > size:  # reading it would ask for memory that no file stands for
                    raise tarfile.ReadError(f"{member.name} claims {member.size} bytes in a file of {size}")
                data = tar.extractfile(member).read()  # type: ignore[union-attr]
                if len(data) < member.size:
                    raise tarfile.ReadError(f"{member.name} has {len(data)} of its {member.size} bytes")
                yield member.name, data
            tar.members.clear()  # type: ignore[attr-defined]
        stream.seek(tar.offset)  # type: ignore[attr-defined]
        rest = stream.read(tarfile.RECORDSIZE)
        if len(rest) < tarfile.BLOCKSIZE or any(rest):
            raise tarfile.ReadError(f"no member and no end of the archive at byte {tar.offset}")  # type: ignore[attr-defined]
