"""Free-form options, from YAML or from words, to a settings dataclass: names and types are checked on the way."""

from __future__ import annotations

import math
import types
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, get_args, get_origin, get_type_hints

KINDS: dict[type, str] = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def from_options(schema: type, options: dict[str, Any], where: str) -> Any:
    """Make a settings dataclass from plain options.

    Args:
        schema: the dataclass; its fields have the types of :data:`KINDS`, lists and dicts of them, or None.
        options: name -> value.
        where: what the options are called in an error.

    Raises:
        ValueError: an option that `schema` does not know (the nearest one is named), or a value of the wrong type.
    """
    known = [f.name for f in fields(schema)]
    for name in options:
        if name not in known:
            near = get_close_matches(str(name), known, n=1)
            raise ValueError(
                f"`{where}.{name}` is not known"
                + (f"; did you mean `{near[0]}`?" if near else ".")
                + f" Known: {', '.join(known)}."
            )
    hints = get_type_hints(schema)
    return schema(**{name: _typed(value, hints[name], f"`{where}.{name}`") for name, value in options.items()})


def _typed(value: Any, hint: Any, where: str) -> Any:
    """A value as the type hint of its field has it.

    YAML reads a folder called 2017 as a number, so a number will do where text is asked for.
    """
    if isinstance(hint, types.UnionType):  # X | None
        return None if value is None else _typed(value, get_args(hint)[0], where)
    if get_origin(hint) is list:
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"{where} must be a list, got {value!r}.")
        return [_typed(item, get_args(hint)[0], f"{where}, item {i},") for i, item in enumerate(value, 1)]
    if get_origin(hint) is dict:
        if not isinstance(value, dict):
            raise ValueError(f"{where} must map names to values, got {value!r}.")
        key, inner = get_args(hint)
        return {_typed(name, key, where): _typed(item, inner, f"{where}, {name},") for name, item in value.items()}
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is str and number:
        return str(value)
    fits = number and math.isfinite(value) if hint is float else isinstance(value, hint) and (hint is not int or number)
    if not fits:
        raise ValueError(f"{where} must be {KINDS[hint]}, got {value!r}.")
    return value
