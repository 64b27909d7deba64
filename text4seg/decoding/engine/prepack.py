"""Weights of linear layers laid out beforehand for passes of a few tokens, which is what drafts need on a CPU.

A draft pays where a pass of ten tokens costs hardly more than a pass of one, since both read all weights once. But the
BLAS behind torch's float32 linear layers rearranges a weight at every call with more than one row, most of it on one
core, which takes several times as long as the reading. oneDNN takes weights that were rearranged once, and works on all
cores; `torch.compile` does the same to frozen weights.
"""

from __future__ import annotations

import platform
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from text4seg.decoding.engine.fitness import unfit
from text4seg.decoding.settings import HF, DecodingSettings

if TYPE_CHECKING:
    from text4seg.models.backbone import Backbone

WORTH = 200_000
"""Weights of a layer from which on it gains."""
SHARE = 4
"""The copies may take this part of the memory: 4 is a quarter. Of all there is, not of what is free at the moment: the
choice changes rounding, and has to be the same whenever an evaluation goes on."""
LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where a container's own limit stands: of cgroups 2, and of 1."""


@contextmanager
def prepacked(backbone: Backbone, settings: DecodingSettings) -> Iterator[int]:
    """Within, the decoder's linear layers work with rearranged copies of their weights where that is faster.

    It is for plain layers in float32 on an x86 CPU; all others stay as they are, and so do these under autocast and
    where gradients are computed. Outputs differ from the layers' own by rounding. A layer whose weight changes within
    goes on without its copy.

    Args:
        backbone: model and processor; the model may be wrapped by PEFT.
        settings: nothing is done with ``prepack: false``, for plain generation, or for a model that takes no drafts.

    Yields:
        bytes of the copies.
    """
    wanted = settings.prepack and settings.engine != HF and unfit(backbone, 0) is None
    wanted = wanted and not torch.is_autocast_enabled("cpu")  # whose rounding is asked for
    layers = _layers(backbone) if wanted else []
    size = sum(layer.weight.nbytes for layer in layers)
    processes = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
    if size * processes > memory() / SHARE:
        warnings.warn(
            f"decoding.prepack: copies of the decoder's weights would take {size / 2**30:.1f} GiB a process, in all "
            "more than a quarter of the memory; decoding goes on without them, slower. decoding.prepack=false does "
            "not try.",
            stacklevel=3,
        )
        layers, size = [], 0
    try:
        for layer in layers:
            _prepack(layer)
        yield size
    finally:
        for layer in layers:
            layer.__dict__.pop("forward", None)


def known() -> bool:
    """Whether this processor and this build of torch are of the kind that it was measured on."""
    return torch.backends.mkldnn.is_available() and platform.machine() in ("x86_64", "AMD64")


def memory() -> int:
    """Bytes of this machine, or of the container that this runs in."""
    told = [path.read_text().strip() for path in LIMITS if path.is_file()]
    return min([psutil.virtual_memory().total, *(int(limit) for limit in told if limit.isdigit())])


def _layers(backbone: Backbone) -> list[nn.Linear]:
    parts = [*backbone.part("language").modules(), backbone.head] if known() else []
    return [part for part in dict.fromkeys(parts) if type(part) is nn.Linear and _gains(part)]


def _gains(layer: nn.Linear) -> bool:
    weight = layer.weight.data
    plain = type(weight) is Tensor and weight.device.type == "cpu" and weight.dtype == torch.float32
    return plain and weight.numel() >= WORTH and "forward" not in vars(layer)  # somebody else's stays


def _prepack(layer: Any) -> None:
    """Give a layer a forward of its own."""
    operators: Any = torch.ops.mkldnn
    weight: Tensor = layer.weight
    with torch.no_grad():
        copy = operators._reorder_linear_weight(weight, None)
    version = _version(weight)

    def forward(input: Tensor) -> Tensor:
        stale = layer.weight is not weight or _version(weight) != version
        if stale or torch.is_grad_enabled() or input.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
            return linear(input, layer.weight, layer.bias)
        return operators._linear_pointwise(input, copy, layer.bias, "none", [], "")

    layer.forward = forward


def _version(weight: Tensor) -> int:
    """Goes up with every change in place; tensors of inference mode do not count, nor do they change outside of it."""
    return 0 if weight.is_inference() else weight._version
