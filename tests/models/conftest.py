"""Checkpoints that several tests load; written once a session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from checkpoints import (
    add_open_clip,
    write_internvl2,
    write_internvl_hf,
    write_language,
    write_llava,
    write_qwen_vl,
    write_vision,
)
from vlm_checkpoints import MAKERS, OPTIONS, write_known

from text4seg.models.settings import ModelSettings

TOWERS = ("clip", "siglip", "dinov2", "dinov2_registers")
DECODERS = ("llama", "qwen3", "neox", "phi", "gpt2")
# Each tower and each decoder at least once; the names are read as tower+decoder.
FAMILIES = (
    "tiny",
    "llava",
    "internvl2-1b",
    "internvl2-2b",
    "internvl2-4b",
    "internvl2-26b",
    "internvl-hf",
    "qwen_vl",
    "clip+llama",
    "clip+phi",
    "siglip+qwen3",
    "dinov2+neox",
    "dinov2_registers+llama",
    "dinov3+qwen3",
    "vit+gpt2",
    "open_clip+llama",
    *(f"auto:{kind}" for kind in MAKERS),
)


class Checkpoints:
    """Writes a checkpoint when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known: dict[str, str] = {}

    def vision(self, kind: str) -> str:
        if kind == "open_clip":
            return "open_clip:" + self._once(kind, lambda: add_open_clip(self.folder / kind))
        return self._once(kind, lambda: write_vision(self.folder / kind, kind))

    def language(self, kind: str) -> str:
        return self._once(kind, lambda: write_language(self.folder / kind, kind))

    def settings(self, family: str, **changes) -> ModelSettings:
        """Model settings of one of `FAMILIES`."""
        if family == "tiny":
            options = {"image": 32, "patch": 8, "width": 32, "vision_layers": 2, "language_layers": 2}
            return ModelSettings(path="random", options=options, **changes)
        if family == "llava":
            return ModelSettings(
                "llava", path=self._once("llava", lambda: write_llava(self.folder / "llava")), **changes
            )
        if family.startswith("internvl2"):
            path = self._once(family, lambda: write_internvl2(self.folder / family, family.partition("-")[2]))
            return ModelSettings("internvl", path=path, **changes)
        if family == "internvl-hf":
            return ModelSettings(
                "internvl", path=self._once(family, lambda: write_internvl_hf(self.folder / family)), **changes
            )
        if family == "qwen_vl":
            return ModelSettings(
                family, path=self._once(family, lambda: write_qwen_vl(self.folder / family)), **changes
            )
        if family.startswith("auto:"):
            kind = family.removeprefix("auto:")
            path = self._once(family, lambda: write_known(self.folder / kind, kind))
            return ModelSettings("auto", path=path, **OPTIONS.get(kind, {}), **changes)
        vision, language = family.split("+")
        return ModelSettings("compose", vision=self.vision(vision), language=self.language(language), **changes)

    def _once(self, kind: str, write) -> str:
        if kind not in self.known:
            self.known[kind] = write()
        return self.known[kind]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Models this small are slower on two threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory) -> Checkpoints:
    return Checkpoints(tmp_path_factory.mktemp("checkpoints"))


@pytest.fixture(params=FAMILIES)
def settings(request, checkpoints) -> ModelSettings:
    """Settings of every family in turn."""
    return checkpoints.settings(request.param)
