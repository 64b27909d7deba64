"""Turn a trained run into one ordinary checkpoint folder."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError

if TYPE_CHECKING:
    from text4seg.models.backbone import Backbone

DTYPES = ("float32", "bfloat16", "float16")


def check_export(folder: Path, dtype: str) -> None:
    """Refuse what cannot be exported, before a model is loaded for it.

    Raises:
        ValueError: the folder is there and not empty, has no name, is a file or would lie in one; FOLDER.partial is
            there; or an unknown dtype.
    """
    if dtype not in DTYPES:
        raise ValueError(f"`dtype` must be one of {', '.join(DTYPES)}, got {dtype!r}.")
    if not folder.name:  # the folder one is in would be another after it was written
        raise ValueError(f"the export needs a folder of its own, got {str(folder)!r}: give a name, e.g. exported.")
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir():
        raise ValueError(f"{there} is a file: give a new folder.")
    if there == folder and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty: give a new folder, or empty this one first.")
    partial = _partial(folder)
    if os.path.lexists(partial):  # it may be anybody's
        raise ValueError(
            f"{partial} is there, where the export is written at first: another one is under way, or was killed. "
            "Give another folder, or remove that one."
        )


def export(backbone: Backbone, folder: Path, dtype: str = "float32") -> None:
    """Fold the adapter into the weights, where there is one, and save model and processor.

    The backbone's own model is changed in place.

    Args:
        backbone: as `load_run` gives it.
        folder: a new or empty one.
        dtype: what the weights are stored in; one of `DTYPES`.

    Raises:
        ValueError: see :func:`check_export`.
        OSError: it cannot be written, e.g. because the disk is full; then there is no half of it.
    """
    check_export(folder, dtype)
    merge = getattr(backbone.model, "merge_and_unload", None)
    if merge is not None:
        backbone.model = merge()
    partial = _partial(folder)
    partial.mkdir(parents=True)
    try:
        backbone.save(partial, getattr(torch, dtype))
        partial.replace(folder)
    except SafetensorError as error:
        raise OSError(f"{folder} cannot be written: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _partial(folder: Path) -> Path:
    return folder.with_name(folder.name + ".partial")
