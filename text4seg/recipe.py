"""What `shards build` is told: a recipe from a configuration or a source's name, and `key=value` words over it.

Imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from text4seg.config import Config, load
from text4seg.data.settings import BuildSettings, DataSettings
from text4seg.data.shards.remote import SCHEME
from text4seg.data.sources.options import from_options
from text4seg.data.sources.registry import source_settings
from text4seg.data.tasks.settings import TaskSettings, preset
from text4seg.data.variants import Curriculum


@dataclass
class Words(BuildSettings):
    """Every key that a word may set: the build's own and how the stored descriptors are written."""

    grid: list[int] = field(default_factory=lambda: [16, 16])
    codec: str = "rrle"
    rule: str = "labelled"


@dataclass(frozen=True)
class Recipe:
    """A checked recipe.

    Attributes:
        build: source, task and counts.
        spelling: grid, codec and rule of the stored descriptors.
        out: the folder of this machine that the configuration names, if any.
    """

    build: BuildSettings
    spelling: tuple[tuple[int, int], str, str]
    out: Path | None = None


def read_recipe(config: Path | None, split: str, source: str | None, words: Sequence[str]) -> Recipe:
    """A recipe from ``data.SPLIT.build`` of a configuration, or from a source with defaults; words go over both.

    Raises:
        ValueError: the configuration has no such recipe, or a key or a value is wrong (the nearest key is named).
    """
    start, out = Words(), None
    if config is not None:
        data = load(config, [], Config).data
        chosen = getattr(data, split)
        if chosen.build is None:
            raise ValueError(f"{config} has no recipe under `data.{split}.build`.")
        start = Words(**vars(chosen.build), grid=data.grid, codec=data.codec, rule=data.rule)
        out = Path(chosen.shards) if chosen.shards and not SCHEME.match(chosen.shards) else None
    if source is not None:
        start.source = source
    merged = _merge(start, words)
    build = BuildSettings(**{item.name: getattr(merged, item.name) for item in fields(BuildSettings)})
    source_settings(build.source, build.options)
    from_options(TaskSettings, preset(build.task, build.task_options), "task_options")
    if build.shards < 1 or (build.limit is not None and build.limit < 1):
        raise ValueError(f"`shards` and `limit` must be at least 1, got {build.shards} and {build.limit}.")
    checked = Curriculum(DataSettings(grid=merged.grid, codec=merged.codec, rule=merged.rule)).usual
    return Recipe(build, (checked.size, checked.codec, checked.rule), out)


def _merge(start: Words, words: Sequence[str]) -> Words:
    for word in words:
        key, equals, _ = word.partition("=")
        if not equals or not key:
            raise ValueError(f"{word!r} is not of the form key=value, e.g. shards=4 options.count=100.")
        name = key.split(".")[0]
        if name not in (item.name for item in fields(Words)):
            raise ValueError(f"`{key}` is no setting of a build{_nearest(name, start.source)}")
    try:
        given = OmegaConf.from_dotlist(list(words))
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(start), given))  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        raise ValueError(f"`{error.full_key}`: {str(error).splitlines()[0]}") from error
    except YAMLError as error:
        raise ValueError(f"a value among {' '.join(words)} is not YAML: {' '.join(str(error).split())}") from error


def _nearest(name: str, source: str) -> str:
    own = [item.name for item in fields(Words)]
    deep = {item.name: f"task_options.{item.name}" for item in fields(TaskSettings)}
    deep |= {item.name: f"options.{item.name}" for item in fields(source_settings(source, {}))}
    near = [deep[name]] if name in deep else get_close_matches(name, own, n=1, cutoff=0.5)
    near = near or [deep[found] for found in get_close_matches(name, deep, n=1)]
    return f"; did you mean `{near[0]}`?" if near else f"; here are {', '.join(own)}."
