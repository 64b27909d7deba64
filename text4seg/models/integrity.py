"""What came out of a checkpoint: every weight accounted for, or an error that names the likely cause.

A projector that stays random trains and answers without a word of complaint, so nothing missing is ever let through.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import cached_file

NAMED = 4
"""Keys of each kind that an error lists."""
HARMLESS = ("inv_freq", "position_ids", "num_batches_tracked")
"""Buffers that old checkpoints stored and that today's classes compute."""
INDEXES = ("model.safetensors.index.json", "model.safetensors", "pytorch_model.bin.index.json")


def refuse_incomplete(
    name: str, missing: Collection[str], strange: Collection[str] = (), misshapen: Collection[Any] = ()
) -> None:
    """Refuse a checkpoint that is not the model's.

    Args:
        name: of the checkpoint, for the message.
        missing: weights of the model that it lacks.
        strange: its weights that the model does not have.
        misshapen: (key, shape stored, shape expected) triples.

    Raises:
        ValueError: any of them holds a key; some of each kind are listed, and what probably happened.
    """
    strange = [key for key in strange if not key.endswith(HARMLESS)]
    if not missing and not strange and not misshapen:
        return
    shapes = [f"{key}: stored {list(stored)}, expected {list(wanted)}" for key, stored, wanted in misshapen]
    found = [
        f"{verb} {len(keys)} weight{'s' if len(keys) > 1 else ''} ({_some(keys)})"
        for verb, keys in (("lacks", missing), ("has other shapes for", shapes), ("holds unknown", strange))
        if keys
    ]
    cause = _cause(missing, strange, shapes)
    raise ValueError(f"{name!r} {' and '.join(found)}. Likely cause: {cause}.")


def integrity(name: str, model: PreTrainedModel) -> str:
    """One line for the run stamp: parameters loaded and expected, their type, a hash of the index of the weights."""
    module: nn.Module = model
    total = sum(count(weight) for weight in module.parameters())
    digest = index_digest(name)
    index = f", index sha256 {digest[:16]}" if digest else ""
    dtype = str(model.dtype).removeprefix("torch.")
    return f"{name}: all weights loaded ({total:,} of {total:,} parameters, {dtype}{index})"


def count(weight: Tensor) -> int:
    """Numbers that a weight stands for; in 4 bits two of them are packed into one that is stored."""
    state = getattr(weight, "quant_state", None)
    return weight.numel() if state is None else math.prod(state.shape)


def index_digest(name: str) -> str | None:
    """SHA-256 of what lists a checkpoint's weights: its index, or the header of its one safetensors file."""
    for file in INDEXES:
        found = cached_file(name, file, _raise_exceptions_for_missing_entries=False, local_files_only=True)
        if found is not None:
            return hashlib.sha256(_listing(Path(found))).hexdigest()
    return None


def _listing(path: Path) -> bytes:
    if path.suffix == ".json":
        return path.read_bytes()
    with path.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        return stream.read(length)


def _some(keys: Collection[str]) -> str:
    shown: Sequence[str] = sorted(keys)[:NAMED]
    return ", ".join(shown) + (", ..." if len(keys) > NAMED else "")


def _cause(missing: Collection[str], strange: Collection[str], shapes: Collection[str]) -> str:
    """What happened, as far as names tell."""
    if any("lora_" in key for key in strange):
        return "an adapter that was not merged; give the merged model, or the adapter's folder with its base beside it"
    if missing and all("projector" in key for key in missing):
        return "the projector is not in this checkpoint (it was trained apart, or this is the base of another model)"
    if missing and strange:
        return "the weights have the names of another layout, or belong to another model than config.json"
    if shapes:
        return "config.json is that of a model of another size"
    if strange:
        return "config.json describes a smaller model (fewer layers?) than the weights"
    return "a file of the weights is not there, or config.json promises more layers"
