"""The words that a run was trained to be asked in: its sets' question lists, and what stands between several labels."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any, NamedTuple

from text4seg.data.settings import BuildSettings, DataSettings, SetSettings, SplitSettings
from text4seg.data.shards.index import Index
from text4seg.data.shards.remote import RemoteFolder, folder_at
from text4seg.data.tasks.settings import preset
from text4seg.templates import DEFAULT, FAMILIES, JOINER, Templates

MIXED = {"semantic": ("all", "partial", "conditioned"), "mix": ()}
"""Tasks that stand for several, where the recipe gives them no weights."""


class _Set(NamedTuple):
    """What a set of a training asks."""

    name: str
    tasks: frozenset[str]
    options: Mapping[str, Any]

    @property
    def words(self) -> tuple[Any, Any]:
        """File of its lists, and joiner."""
        return self.options.get("templates"), self.options.get("joiner", JOINER)


def words_of(data: DataSettings, task: str) -> Templates:
    """The words that questions of a task were trained in: those of the first set that has such questions.

    A set without a recipe is known by the index of its shards, where that is on this machine. Where no set asks with
    the task's lists, the first with any question for a mask counts; where none is known, the default words do.
    """
    known = [found for found in _sets(data) if found.tasks - {"text"}]
    family = FAMILIES[task]
    asking = [found for found in known if family in map(FAMILIES.get, found.tasks)] or known
    if not asking:
        return DEFAULT
    first, *others = asking
    if any(other.words != first.words for other in others):
        warnings.warn(
            "the sets of this run's mix were asked in different words (`task_options.templates`, `joiner`): those of "
            f"{first.name!r} are taken.",
            stacklevel=3,
        )
    path, joiner = first.words
    lists = DEFAULT
    try:
        lists = Templates.load(path) if path else DEFAULT
    except (ValueError, OSError) as error:
        warnings.warn(
            f"the run was trained with questions of its own, but: {error} The default words are used; put {path} back "
            "where it was to ask as the model was trained.",
            stacklevel=3,
        )
    return replace(lists, joiner=joiner)


def options_of(recipe: Mapping[str, Any]) -> Mapping[str, Any]:
    """The options of a recipe's task, those of its `compat` included.

    Raises:
        ValueError: for a `compat` that is not there.
    """
    return preset(recipe.get("task", ""), recipe.get("task_options", {}))


def _sets(data: DataSettings) -> Iterator[_Set]:
    """The sets of a training that are known."""
    held: Mapping[str, SetSettings | SplitSettings] = data.train.mix or {"train": data.train}
    for name, split in held.items():
        if split.build is not None:
            yield _Set(name, _tasks(split.build), options_of(asdict(split.build)))
        elif split.shards and (index := _index(split.shards, data)) is not None:
            yield _Set(name, frozenset(index.tasks), options_of(index.recipe))


def _tasks(build: BuildSettings) -> frozenset[str]:
    if build.task not in MIXED:
        return frozenset((build.task,))
    weights = options_of(asdict(build)).get("weights") or dict.fromkeys(MIXED[build.task], 1.0)
    return frozenset(task for task, weight in weights.items() if weight)


def _index(shards: str, data: DataSettings) -> Index | None:
    """What shards say about themselves, from this machine only: asking a model must not wait for a network."""
    try:
        folder = folder_at(shards, data.remote, data.cache)
        return Index.load(folder.copies if isinstance(folder, RemoteFolder) else folder)
    except ValueError:
        return None
