"""`from_pretrained` with an error that says what to do; safetensors or a weights-only unpickler, never remote code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers.utils import logging


def local_or_hub(kind: Any, path: str, **options: Any) -> Any:
    """Load `kind` (an Auto class or a model class) from a folder or a hub name.

    Raises:
        ValueError: nothing readable is there; the reason and the two ways to name a checkpoint are given.
    """
    try:
        return kind.from_pretrained(path, **options)
    except Exception as error:  # the readers of JSON, safetensors, pickles and tokenizers have no common class
        what = "is a folder, but" if Path(path).is_dir() else "is no folder here, and as a hub name"
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if "ignore_mismatched_sizes" in reason:  # transformers' own words speak of an option that nobody gave
            reason = "weights have other shapes than config.json says"
        raise ValueError(
            f"{path!r} {what} {kind.__name__} cannot load it: {reason}. Give the folder of a checkpoint in Hugging "
            "Face's layout, or a hub name that this machine can reach."
        ) from error


def refuse_missing(name: str, keys: Iterable[str]) -> None:
    """Refuse a checkpoint that lacks weights.

    Raises:
        ValueError: `keys` holds the name of a weight.
    """
    missing = sorted(set(keys))
    if missing:
        raise ValueError(f"{name!r} lacks {len(missing)} weights, e.g. {missing[0]}; they would be random.")


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' list of the weights that a checkpoint has and a part does not need."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
