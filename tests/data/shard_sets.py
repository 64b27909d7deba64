"""Small shard folders for tests, the tricks that damage them, and a processor without a tokenizer."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from text4seg.data.settings import BuildSettings, DataSettings
from text4seg.data.shards.build import build
from text4seg.data.shards.index import Index
from text4seg.models.processor import Encoded

GRID, CODEC, RULE = (8, 8), "rrle", "center"
MINIATURE = {"size": [48, 48], "objects": [2, 3], "noise": 0.0}


def recipe(count: int = 12, **changes: Any) -> BuildSettings:
    """Tiny scenes with two questions a sample."""
    options = {"count": count, **MINIATURE}
    return BuildSettings(**{"options": options, "task_options": {"turns": 2}, "limit": count, "shards": 4, **changes})


def make(folder: Path, **changes: Any) -> Index:
    return build(recipe(**changes), folder, GRID, CODEC, RULE)


def shard(folder: Path, number: int = 0) -> Path:
    return folder / f"shard-{number:05d}.tar"


def keys_of(path: Path) -> list[str]:
    """Keys of a shard in file order."""
    with tarfile.open(path) as tar:
        return list(dict.fromkeys(name.partition(".")[0] for name in tar.getnames()))


def rewrite(path: Path, change: Callable[[str, bytes], bytes | None]) -> None:
    """Put every member of a tar through `change`; None leaves it out."""
    with tarfile.open(path) as tar:
        members = [(info, tar.extractfile(info).read()) for info in tar]
    with tarfile.open(path, "w") as tar:
        for info, data in members:
            if (changed := change(info.name, data)) is not None:
                info.size = len(changed)
                tar.addfile(info, io.BytesIO(changed))


def reseal(folder: Path) -> None:
    """Give the index the sizes and digests that the shards have now, as a faulty builder would have."""
    raw = json.loads((folder / "index.json").read_text())
    for entry in raw["shards"]:
        data = (folder / entry["name"]).read_bytes()
        entry |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "index.json").write_text(json.dumps(raw))


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 0xFF
    path.write_bytes(data)


def place_of(path: Path, member: str) -> int:
    """Where a member's header starts; its data follow 512 bytes later."""
    with tarfile.open(path) as tar:
        return tar.getmember(member).offset


class WordProcessor:
    """Counts characters in place of tokens; collates to the bare conversations, so that batches can be compared."""

    def encode(self, image: Any, turns: Any, cells: Any = None, unlearnt: Any = ()) -> Encoded:
        text = "".join(question + (answer or "") for question, answer in turns)
        return Encoded([ord(letter) for letter in text], [True] * len(text), {})

    def collate(self, batch: Any, side: str = "right", **padding: int) -> dict[str, Any]:
        return {"texts": ["".join(map(chr, encoded.input_ids)) for encoded in batch], "padding": padding}


def data_settings(**changes: Any) -> DataSettings:
    return DataSettings(**{"grid": list(GRID), "batch_size": 2, "shuffle_buffer": 5, "max_length": 100_000, **changes})
