"""Each picture of a batch is looked at once, however many questions there are about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def looked_at_once(tower: nn.Module) -> Iterator[None]:
    """Within, a tower that is given a picture several times, ``[B, 3, H, W]``, sees it once and gives it so often."""
    places: list[Tensor] = []

    def narrow(_: Any, args: tuple[Any, ...], given: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        pixels = args[0] if args else given.get("pixel_values")
        if not isinstance(pixels, Tensor) or pixels.ndim != 4:
            return None
        firsts, place = _firsts(pixels)
        if len(firsts) == len(pixels):
            return None
        places.append(torch.tensor(place, device=pixels.device))
        return ((pixels[firsts], *args[1:]), given) if args else (args, given | {"pixel_values": pixels[firsts]})

    def widen(_: Any, __: Any, out: Any) -> Any:
        return _repeated(out, places.pop()) if places else out

    handles = (
        tower.register_forward_pre_hook(narrow, with_kwargs=True),
        tower.register_forward_hook(widen),
    )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _firsts(pixels: Tensor) -> tuple[list[int], list[int]]:
    """Rows of the pictures that had not come before, and for each picture which of those it is."""
    firsts: list[int] = []
    place = []
    for row, picture in enumerate(pixels):
        found = next((n for n, first in enumerate(firsts) if torch.equal(pixels[first], picture)), None)
        place.append(len(firsts) if found is None else found)
        if found is None:
            firsts.append(row)
    return firsts, place


def _repeated(out: Any, place: Tensor) -> Any:
    """Every tensor of an output, its rows repeated."""
    if isinstance(out, Tensor):
        return out.index_select(0, place)
    if isinstance(out, dict):  # transformers' outputs are dicts with attributes
        for name, part in out.items():
            out[name] = _repeated(part, place)
        return out
    if isinstance(out, (tuple, list)):
        return type(out)(_repeated(part, place) for part in out)
    return out
