"""Shards that lie elsewhere: `s3://`, `gs://`, `hf://` through fsspec, fetched into a cache when they are first read.

What an index promises is checked on arrival: a file of another SHA-256 is not used. Addresses that run something
(`pipe:`) or that anybody on the way can change (`http:`) are refused unless `data.remote` lists them.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from text4seg.data.shards.index import NAME, PLAIN_NAME, Index

ALLOWED = ("s3", "gs", "hf")
CACHE = Path("~/.cache/text4seg/shards")
SCHEME = re.compile(r"([a-zA-Z][\w+.-]*):(?=//)|(pipe):")
"""What makes an address of a text; a drive such as `C:/data` is a path."""


class RemoteFolder:
    """A folder of shards by its address; ``folder / name`` is the path of a local copy, as with a `Path`.

    Args:
        address: `SCHEME://...`, or `pipe:COMMAND` in which `{name}` stands for the file that the command prints.
        cache: where copies are kept; shards of one content are fetched once.
    """

    def __init__(self, address: str, cache: Path) -> None:
        self.address = address.rstrip("/")
        self.copies = cache.expanduser() / hashlib.sha256(self.address.encode()).hexdigest()[:16]
        self.index: Index | None = None

    def __str__(self) -> str:
        return self.address

    def is_dir(self) -> bool:
        """Whether it may hold shards; `Index.load` says so better when it does not."""
        return True

    def __truediv__(self, name: str) -> Path:
        """The local copy of a file, fetched when it is not there; the index is fetched once for each of us.

        Raises:
            ValueError: it cannot be fetched, is not what the index says, or is no plain file name.
        """
        if not PLAIN_NAME.fullmatch(name):
            raise ValueError(f"{self.address}: {name!r} is no plain file name.")
        self.copies.mkdir(parents=True, exist_ok=True)
        if name == NAME:
            return self._fetch(name, self.copies / NAME)
        if self.index is None:
            self.index = Index.load(self.copies)
        entry = next((entry for entry in self.index.shards if entry.name == name), None)
        if entry is None:
            raise ValueError(f"{self.address}: its index lists no {name!r}.")
        copy = self.copies / f"{entry.sha256[:16]}-{name}"
        if copy.is_file() and copy.stat().st_size == entry.bytes:
            return copy
        return self._fetch(name, copy, entry.sha256)

    def _fetch(self, name: str, copy: Path, digest: str | None = None) -> Path:
        """Beside its final place first: several processes may want it at once."""
        arriving = copy.with_name(f"{copy.name}.{os.getpid()}")
        try:
            with arriving.open("wb") as target:
                if self.address.startswith("pipe:"):
                    command = self.address.removeprefix("pipe:").replace("{name}", name)
                    subprocess.run(command, shell=True, stdout=target, check=True)
                else:
                    import fsspec

                    source: Any = fsspec.open(f"{self.address}/{name}", "rb")
                    with source as stream:
                        shutil.copyfileobj(stream, target)
            with arriving.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
            if digest is not None and found != digest:
                raise ValueError(f"its SHA-256 is {found[:16]}…, the index says {digest[:16]}…")
            arriving.replace(copy)
        # Every store's library raises classes of its own, from a wrong key to a server that does not answer.
        except Exception as error:
            raise ValueError(f"{self.address}/{name} cannot be fetched: {error}") from error
        finally:
            arriving.unlink(missing_ok=True)
        return copy


Folder = Path | RemoteFolder


def folder_at(address: str, allowed: Sequence[str] = ALLOWED, cache: str | None = None) -> Folder:
    """The folder that a text names.

    Raises:
        ValueError: an address of a kind that is not allowed.
    """
    match = SCHEME.match(address)
    if match is None:
        return Path(address)
    scheme = (match[1] or match[2]).lower()
    if scheme not in allowed:
        raise ValueError(
            f"{address!r} is read by {scheme!r}, which is not among those that are allowed ({', '.join(allowed)}). If "
            "you trust it, add it to `data.remote`."
        )
    return RemoteFolder(address, Path(cache) if cache else CACHE)
