"""Refuse values that no training can use, before anything is loaded or written. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import reduce
from math import isfinite
from typing import Any, get_args

from text4seg.config import Config
from text4seg.data.settings import BuildSettings
from text4seg.data.sources.options import from_options
from text4seg.data.sources.registry import source_settings
from text4seg.data.tasks.settings import TaskSettings, preset
from text4seg.data.types import Task
from text4seg.data.variants import Curriculum
from text4seg.decoding.settings import ENGINES, GRAMMARS
from text4seg.descriptors import ROW_CODECS
from text4seg.models.settings import FAMILIES
from text4seg.training.stages import check_stages, sides_of, teaches_cells, unfolded

MONITORS = ("val/cIoU", "val/gIoU", "val/mIoU", "val/ok")
"""Scores of which more is better."""
PRECISIONS = ("auto", "32-true", "bf16-mixed", "bf16-true", "16-mixed")
TASKS = (*get_args(Task), "semantic", "mix")
LOWEST: dict[str, float] = {
    "trainer.steps": 1,
    "trainer.epochs": 0,
    "trainer.global_batch": 1,
    "trainer.accumulate": 1,
    "trainer.nodes": 1,
    "trainer.threads": 1,
    "trainer.validate_every": 1,
    "trainer.checkpoint_every": 1,
    "trainer.log_every": 1,
    "trainer.bad_steps": 0,
    "trainer.pictures": 0,
    "data.batch_size": 1,
    "data.val_batch_size": 1,
    "data.workers": 0,
    "data.shuffle_buffer": 0,
    "data.length_window": 1,
    "data.max_length": 1,
    "data.pad_to_multiple_of": 1,
    "data.val.limit": 1,
    "data.train.samples": 1,
    "data.train.build.limit": 1,
    "data.val.build.limit": 1,
    "data.train.build.shards": 1,
    "data.val.build.shards": 1,
    "data.augment.flip": 0,
    "data.augment.crops": 0,
    "data.augment.smallest": 0.05,
    "data.wrong_rows": 0,
    "model.merge": 1,
    "loss.cells": 0,
    "loss.counts": 0,
    "loss.sampled": 0,
    "loss.chunk": 0,
    "optim.lr": 0,
    "optim.weight_decay": 0,
    "optim.warmup_ratio": 0,
    "optim.clip": 0,
    "model.lora.rank": 1,
    "decoding.max_new_tokens": 1,
    "decoding.preamble": 0,
    "decoding.width": 0,
    "decoding.branches": 1,
    "decoding.temperature": 0,
    "decoding.top_p": 0.01,
}
HIGHEST: dict[str, float] = {
    "decoding.top_p": 1,
    "optim.warmup_ratio": 1,
    "model.lora.dropout": 1,
    "data.augment.flip": 1,
    "data.augment.smallest": 1,
    "data.wrong_rows": 1,
}
CHOICES: dict[str, Sequence[Any]] = {
    "trainer.precision": PRECISIONS,
    "trainer.strategy": ("auto", "ddp", "zero2", "fsdp2"),
    "trainer.accelerator": ("auto", "cpu", "gpu"),
    "trainer.monitor": MONITORS,
    "data.turns": ("all", "one"),
    "data.on_error": ("skip", "raise"),
    "loss.reduction": ("sample", "token"),
    "data.train.build.task": TASKS,
    "data.val.build.task": TASKS,
    "optim.schedule": ("linear", "cosine", "constant"),
    "model.family": FAMILIES,
    "model.lora.projector": ("lora", "full", "frozen"),
    "model.dtype": ("float32", "bfloat16", "float16"),
    "model.quantize": (4, 8),
    "model.chat": ("checkpoint", "text4seg_v1"),
    "model.image_place": ("first", "last"),
    "decoding.paint": ("nearest", "smooth"),
    "decoding.grammar": GRAMMARS,
    "decoding.engine": ENGINES,
}


def check(config: Config) -> None:
    """Look at every value that has a range or a list of choices.

    Raises:
        ValueError: naming the key, what it holds and what it may hold.
    """
    _check_strategy(config)
    check_values(config, LOWEST, HIGHEST, CHOICES)
    betas = config.optim.betas
    if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        raise ValueError(f"`optim.betas` must be two numbers from 0 to below 1, got {betas}.")
    if config.model.device_map:
        raise ValueError(
            "`model.device_map` is for evaluate and predict (device=spread); training spreads over GPUs by "
            "`trainer.strategy`."
        )
    if config.model.quantize and not config.model.lora.enabled:
        raise ValueError(
            "`model.quantize` freezes the weights it holds; train them through `model.lora.enabled: true`."
        )
    _check_ways(config)
    only = [
        name
        for name, usual in (("merge", 1), ("row_ends", False), ("cache_features", None))
        if getattr(config.model, name) != usual
    ]
    if only and config.model.family != "compose":
        raise ValueError(f"`model.{only[0]}` is for family compose, not {config.model.family}; take it away.")
    for name in ("train", "val"):
        recipe = getattr(config.data, name).build
        if recipe is not None:
            _check_recipe(recipe, f"data.{name}.build")


def _check_strategy(config: Config) -> None:
    strategy = config.trainer.strategy
    if strategy == "zero3":
        raise ValueError(
            "`trainer.strategy: zero3` is not offered: it has not been tried, and ranks that answer questions of "
            "unequal length might wait for one another for ever. Take fsdp2: it, too, shares out the decoder's frozen "
            "weights."
        )
    if strategy != "fsdp2":
        return
    if not config.model.lora.enabled or config.model.quantize:
        raise ValueError(
            "`trainer.strategy: fsdp2` is for LoRA over weights that are not quantized; take zero2 (or ddp) for "
            "`model.lora.enabled: false` and `model.quantize`."
        )
    if config.loss.sampled:
        raise ValueError("`loss.sampled` takes rows of the head, which fsdp2 shares out; set it to 0.")
    if config.trainer.precision == "16-mixed":
        raise ValueError("`trainer.strategy: fsdp2` has no 16-mixed; take bf16-mixed, bf16-true or 32-true.")


def _check_ways(config: Config) -> None:
    """What is taught at any time: the curriculum's variants, or the stages."""
    check_stages(config)
    Curriculum(unfolded(config))
    if config.data.variants and not config.data.curriculum:
        raise ValueError(
            f"`data.variants` ({', '.join(config.data.variants)}) are drawn by `data.curriculum`, which has no point: "
            "give it one, e.g. {at: 0, VARIANT: 1}, or take the variants out of the file."
        )
    if config.loss.counts and not teaches_cells(config):
        raise ValueError("`loss.counts` teaches behind `loss.cells` only: give that a weight, or set `counts` to 0.")
    codecs = {config.data.codec, *(variant.codec for variant in unfolded(config).variants.values())}
    if config.data.wrong_rows and not codecs & set(ROW_CODECS):
        raise ValueError(
            f"`data.wrong_rows` is for codecs that end rows ({', '.join(ROW_CODECS)}), not {config.data.codec}; "
            "set it to 0."
        )
    for name, side in sides_of(config).items():
        if config.model.family != "compose":
            raise ValueError(
                f"`image_size` of {name!r} is for family compose, not {config.model.family}; take it away."
            )
        if side < 1:
            raise ValueError(f"`image_size` of {name!r} must be 1 or more pixels, got {side}.")
    silent = [name for name, variant in config.data.variants.items() if not variant.answer]
    if silent and not config.loss.cells:
        raise ValueError(
            f"`data.variants.{silent[0]}.answer` is false, then only `loss.cells` teaches: give it a weight."
        )


def _check_recipe(recipe: BuildSettings, where: str) -> None:
    """Hold the free-form options of a recipe against what its source and its task know."""
    try:
        source_settings(recipe.source, recipe.options)
        from_options(TaskSettings, preset(recipe.task, recipe.task_options), "task_options")
    except ValueError as error:
        raise ValueError(f"`{where}`: {error}") from error


def check_values(
    settings: Any, lowest: Mapping[str, float], highest: Mapping[str, float], choices: Mapping[str, Sequence[Any]]
) -> None:
    """Hold dotted keys of nested settings against bounds and choices; a value of None is always right.

    Raises:
        ValueError: naming the first key that is wrong.
    """
    for key, low in lowest.items():
        value = _value(settings, key)
        if value is not None and not (isfinite(value) and value >= low):
            raise ValueError(f"`{key}` must be {low:g} or more, got {value}.")
    for key, high in highest.items():
        value = _value(settings, key)
        if value is not None and not value <= high:
            raise ValueError(f"`{key}` must be {high:g} or less, got {value}.")
    for key, known in choices.items():
        value = _value(settings, key)
        if value is not None and value not in known:
            near = get_close_matches(str(value), map(str, known), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise ValueError(f"`{key}` must be one of {', '.join(map(str, known))}, got {value!r}{hint}")


def _value(settings: Any, key: str) -> Any:
    return reduce(lambda inner, name: None if inner is None else getattr(inner, name), key.split("."), settings)
