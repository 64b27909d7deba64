"""Turn a trained run into one ordinary checkpoint folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError

if TYPE_CHECKING:
    from text4seg.models.backbone import Backbone

DTYPES = ("float32", "bfloat16", "float16")


def export(backbone: Backbone, folder: Path, dtype: str = "float32") -> None:
    """Fold the adapter into the weights, where there is one, and save model and processor.

    The backbone's own model is changed in place.

    Args:
        backbone: as `load_run` gives it.
        folder: a new or empty one.
        dtype: what the weights are stored in; one of `DTYPES`.

    Raises:
        ValueError: the folder is there and not empty, or an unknown dtype.
        OSError: it cannot be written, e.g. because the disk is full; then there is no half of it.
    """
    if dtype not in DTYPES:
        raise ValueError(f"`dtype` must be one of {', '.join(DTYPES)}, got {dtype!r}.")
    if folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty: give a new folder, or empty this one first.")
    merge = getattr(backbone.model, "merge_and_unload", None)
    if merge is not None:
        backbone.model = merge()
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        backbone.save(partial, getattr(torch, dtype))
        partial.replace(folder)
    except SafetensorError as error:
        raise OSError(f"{folder} cannot be written: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
