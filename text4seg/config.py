"""The whole configuration of `fit`, and how YAML files and `key=value` words become one. Imports nothing heavy.

A file may name another one as `base`; its own keys go over that one's, the command line goes over both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from text4seg.data.settings import DataSettings
from text4seg.decoding.settings import DecodingSettings
from text4seg.models.settings import LossSettings, ModelSettings, OptimSettings
from text4seg.training.settings import StageSettings, TrainerSettings


@dataclass
class Config:
    """Everything that `fit` can be told."""

    name: str = "run"
    """Names the run folder."""
    run_dir: str | None = None
    """Where the run is written; null: runs/NAME, then runs/NAME-2, ..."""
    seed: int = 0
    model: ModelSettings = field(default_factory=ModelSettings)
    data: DataSettings = field(default_factory=DataSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    optim: OptimSettings = field(default_factory=OptimSettings)
    stages: list[StageSettings] = field(default_factory=list)
    """A training in stages, in place of `data.variants` and `data.curriculum`; see docs/grounding.md."""
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    decoding: DecodingSettings = field(default_factory=DecodingSettings)


Schema = TypeVar("Schema")


def load(path: str | Path, overrides: Sequence[str], schema: type[Schema] = Config) -> Schema:  # type: ignore[assignment]
    """Read a configuration.

    Args:
        path: YAML file.
        overrides: words such as ``data.batch_size=4`` (values are YAML).
        schema: dataclass that says which keys there are and of what type.

    Raises:
        ValueError: no such file, not YAML, an unknown key (the nearest one is named) or a value of the wrong type.
    """
    merged = _read(Path(path), ())
    try:
        given = _words(overrides, schema)
        _check_keys(OmegaConf.to_container(merged), schema, str(path))
        _check_keys(OmegaConf.to_container(given), schema, "the command line")
        both = _worded(OmegaConf.to_container(OmegaConf.merge(merged, given)), schema)
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), both))  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None)
        raise ValueError(f"{path}: `{key}`: {str(error).splitlines()[0]}") from error


def load_whole(path: Path) -> Config:
    """Read back a configuration that `to_yaml` wrote; one that was cut would silently go on with default values.

    Raises:
        ValueError: as `load`, or the end of the file is missing.
    """
    config, text = load(path, [], Config), path.read_text(encoding="utf-8")
    whole = to_yaml(config)
    ends = text.endswith("\n") and not text.endswith(":\n")
    if not ends or (text != whole and whole.startswith(text)):
        raise ValueError(f"{path} breaks off after {len(text)} characters; put a whole copy in its place.")
    return config


def to_yaml(config: Any) -> str:
    """The configuration as YAML that `load` reads back."""
    return OmegaConf.to_yaml(OmegaConf.structured(config))


def keys(schema: type, prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Every dotted key of a schema with its default."""
    made = schema()
    for item in fields(schema):
        value = getattr(made, item.name)
        if is_dataclass(value):
            yield from keys(type(value), f"{prefix}{item.name}.")
        else:
            yield f"{prefix}{item.name}", value


def _read(path: Path, above: tuple[Path, ...]) -> DictConfig:
    if not path.is_file():
        near = get_close_matches(path.name, [p.name for p in path.parent.glob("*.yaml")], n=1)
        hint = f"; did you mean {path.parent / near[0]}?" if near else ""
        raise ValueError(f"there is no configuration at {path}{hint}")
    if path.resolve() in above:
        raise ValueError(f"{path}: `base` leads back to this file.")
    try:
        raw = OmegaConf.load(path)
    except Exception as error:  # the YAML reader's and OmegaConf's errors have no common class
        raise ValueError(f"{path} is not readable YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, DictConfig):
        raise ValueError(f"{path} must hold `key: value` lines, got {type(OmegaConf.to_container(raw)).__name__}.")
    base = raw.pop("base", None)
    if base is None:
        return raw
    merged = OmegaConf.merge(_read(path.parent / str(base), (*above, path.resolve())), raw)
    assert isinstance(merged, DictConfig)
    return merged


def _words(overrides: Sequence[str], schema: type) -> DictConfig:
    given = OmegaConf.create()
    for word in overrides:
        try:
            given.merge_with_dotlist([_word(word, schema)])
        except yaml.YAMLError as error:
            raise ValueError(f"{word!r}: the value is not readable YAML: {' '.join(str(error).split())}") from error
    return given


def _word(word: str, schema: type) -> str:
    key, equals, _ = word.partition("=")
    if not equals or not key:
        raise ValueError(f"{word!r} is not of the form key=value, e.g. data.batch_size=4.")
    _check_keys(_nested(key), schema, "the command line")
    return word


def _nested(key: str) -> dict[str, Any]:
    inner: Any = None
    for part in reversed(re.split(r"\.", key)):
        inner = {part: inner}
    return inner


def _check_keys(given: Any, schema: Any, where: str, prefix: str = "") -> None:
    """Refuse keys that the schema does not have, and name the nearest one."""
    if not isinstance(given, dict):
        return
    types = get_type_hints(schema)
    for name, value in given.items():
        if name not in types:
            raise ValueError(f"{where}: `{prefix}{name}` is no setting{_nearest(str(name), prefix, schema)}")
        inner = _dataclass_in(types[name])
        if inner is not None:
            if "list[" in str(types[name]):
                _check_list(value, inner, where, f"{prefix}{name}")
                continue
            if value is not None and not isinstance(value, dict):
                known = ", ".join(item.name for item in fields(inner))
                raise ValueError(f"{where}: `{prefix}{name}` holds settings ({known}), got {value!r}.")
            _check_keys(value, inner, where, f"{prefix}{name}.")


def _check_list(given: Any, schema: Any, where: str, key: str) -> None:
    known = ", ".join(item.name for item in fields(schema))
    if given is not None and not (isinstance(given, list) and all(isinstance(entry, dict) for entry in given)):
        raise ValueError(f"{where}: `{key}` is a list of settings ({known}), to be given as a whole; got {given!r}.")
    for number, entry in enumerate(given or []):
        _check_keys(entry, schema, where, f"{key}[{number}].")


def _worded(given: Any, schema: Any) -> Any:
    """What was given, with `on` and `off` as words where a setting is text: YAML takes them for truth values."""
    if not isinstance(given, dict):
        return given
    types = get_type_hints(schema)
    made = {}
    for name, value in given.items():
        inner = _dataclass_in(types[name])
        if isinstance(value, bool) and types[name] in (str, str | None):
            value = "on" if value else "off"
        elif inner is not None and isinstance(value, list):
            value = [_worded(entry, inner) for entry in value]
        elif inner is not None:
            value = _worded(value, inner)
        made[name] = value
    return made


def _nearest(name: str, prefix: str, schema: Any) -> str:
    siblings = [item.name for item in fields(schema)]
    near = get_close_matches(name, siblings, n=1, cutoff=0.5)
    if near:
        return f"; did you mean `{prefix}{near[0]}`?"
    deep = [key for key, _ in keys(schema) if key.rsplit(".", 1)[-1] == name]
    if deep:
        return f"; did you mean `{prefix}{deep[0]}`?"
    return f"; here are {', '.join(siblings)}."


def _dataclass_in(hint: Any) -> Any:
    """The dataclass that a type stands for: itself, or the one in `X | None`."""
    options = [hint, *getattr(hint, "__args__", ())]
    return next((option for option in options if is_dataclass(option)), None) if "dict[" not in str(hint) else None
