"""`from_pretrained` with an error that says what to do; safetensors or a weights-only unpickler, never remote code."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin
from transformers.utils import cached_file, logging

from text4seg.models.integrity import integrity, refuse_incomplete
from text4seg.models.settings import ModelSettings


def local_or_hub(kind: Any, path: str, **options: Any) -> Any:
    """Load `kind` (an Auto class or a model class) from a folder or a hub name.

    Raises:
        ValueError: nothing readable is there; the reason and the two ways to name a checkpoint are given.
    """
    try:
        return kind.from_pretrained(path, **options)
    except Exception as error:  # the readers of JSON, safetensors, pickles and tokenizers have no common class
        raise _unreadable(path, kind.__name__, error) from error


def read_config(path: str) -> dict[str, Any]:
    """A checkpoint's `config.json` as it stands there, also where transformers does not know its model type.

    Raises:
        ValueError: as `local_or_hub`.
    """
    try:
        return PreTrainedConfig.get_config_dict(path)[0]
    except Exception as error:
        raise _unreadable(path, "the reader of config.json", error) from error


def find_file(path: str, name: str) -> Path | None:
    """A file of a checkpoint (fetched where `path` is a hub name); None where it has no such file."""
    found = cached_file(path, name, _raise_exceptions_for_missing_entries=False)
    return None if found is None else Path(found)


def _unreadable(path: str, reader: str, error: Exception) -> ValueError:
    what = "is a folder, but" if Path(path).is_dir() else "is no folder here, and as a hub name"
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if "ignore_mismatched_sizes" in reason:  # transformers' own words speak of an option that nobody gave
        reason = "weights have other shapes than config.json says"
    return ValueError(
        f"{path!r} {what} {reader} cannot load it: {reason}. Give the folder of a checkpoint in Hugging Face's layout, "
        "or a hub name that this machine can reach."
    )


def load_tokenizer(path: str) -> PreTrainedTokenizerBase:
    """The tokenizer, with the chat template from the processor's files where older checkpoints keep it.

    Raises:
        ValueError: it cannot be read.
    """
    tokenizer = local_or_hub(AutoTokenizer, path)
    if not tokenizer.chat_template:
        with suppress(OSError, ValueError):  # without such files it has none; rendering says so
            tokenizer.chat_template = ProcessorMixin.get_processor_dict(path)[0].get("chat_template")
    return tokenizer


def load_model(kind: Any, path: str, settings: ModelSettings, **options: Any) -> tuple[PreTrainedModel, str]:
    """Load a model class with all of its weights.

    Args:
        kind: class of transformers.
        path: hub name or folder.
        settings: type of the weights, bits, where the layers go.
        options: for `from_pretrained`.

    Returns:
        the model and its line for the run stamp.

    Raises:
        ValueError: nothing readable is there; weights are missing, unknown or of other shapes (they are listed); or
            `quantize` without its package.
    """
    with quiet():  # transformers would list the same keys as a table
        model, info = local_or_hub(
            kind, path, output_loading_info=True, ignore_mismatched_sizes=True, **held(settings), **options
        )
    refuse_incomplete(path, info["missing_keys"], info["unexpected_keys"], info["mismatched_keys"])
    return model, integrity(path, model)


def held(settings: ModelSettings) -> dict[str, Any]:
    """How the weights are held, in `from_pretrained`'s words.

    Raises:
        ValueError: `quantize` without its package.
    """
    options: dict[str, Any] = {"dtype": getattr(torch, settings.dtype)}
    if settings.device_map:
        options["device_map"] = settings.device_map
    if settings.quantize:
        options["quantization_config"] = _quantization(settings)
    return options


def _quantization(settings: ModelSettings) -> Any:
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ValueError("`model.quantize` needs the package bitsandbytes: pip install 'text4seg[quantize]'.")
    from transformers import BitsAndBytesConfig

    if settings.quantize == 8:
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=getattr(torch, settings.dtype)
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' list of the weights that a checkpoint has and a part does not need."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
