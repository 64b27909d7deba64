"""Which evaluation it is: where the digest is the same, the same answers are to be expected."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import text4seg

from .run import weights_of
from .stamp import made_with

if TYPE_CHECKING:
    from text4seg.config import Config
    from text4seg.data.shards.index import Index

    from .settings import EvaluateSettings

UNIMPORTANT = ("run", "name", "device", "gallery", "sheet")
"""Settings that change no answer."""
WHOLE = 2**20
"""Files of so many bytes count by their content; larger ones, weights of a backbone, by name and size."""


def digest(settings: EvaluateSettings, config: Config, which: str, index: Index) -> str:
    """Hash of all that decides on an answer and its score: settings, weights, shards, named files, versions."""
    weights = [] if which == "base" else sorted(_files(weights_of(Path(settings.run or ""), which)))
    said = {
        "settings": {name: value for name, value in asdict(settings).items() if name not in UNIMPORTANT},
        "config": asdict(config),
        "weights": [hashlib.sha256(path.read_bytes()).hexdigest() for path in weights],
        "named": list(_named(settings, config)),
        "shards": [entry.sha256 for entry in index.shards],
        "made_with": {**made_with(), "commit": _code()},  # exact where a commit says "and changes"
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()


def _code() -> str:
    """Hash of this package's modules: the commit around it may be another project's, and says nothing of edits."""
    package = Path(text4seg.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _named(settings: EvaluateSettings, config: Config) -> Iterator[tuple[str, str]]:
    """What lies where settings say, on this machine: names, and contents or sizes."""
    model, match = config.model, settings.match
    told = (model.path, model.vision, model.language, model.template, match.synonyms, match.similarity)
    for name in (*told, settings.refine.sam.path):
        if name and Path(name).exists():
            for path in sorted(_files(Path(name))):
                size = path.stat().st_size
                yield str(path), hashlib.sha256(path.read_bytes()).hexdigest() if size <= WHOLE else str(size)


def _files(path: Path) -> list[Path]:
    return [inner for inner in path.rglob("*") if inner.is_file()] if path.is_dir() else [path]
