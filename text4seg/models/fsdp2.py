"""Fully sharded data parallel, second version: the decoder's frozen weights are shared out, too, and gathered by layer.

For models that do not fit into one device's memory. Each device holds its part of every decoder layer and of the
optimizer; the tower, embeddings and head stay whole. Answers are generated with whole layers: ranks call the model
unequally often then, and gathering needs all of them.

A checkpoint is one file, in the form that a single device writes, so that any number of ranks can read it, and other
strategies as well.

Source: FSDP (arXiv 2304.11277), PyTorch's `fully_shard`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch.strategies import ModelParallelStrategy, Strategy
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from text4seg.models.backbone import Backbone


def shard(backbone: Backbone, mesh: DeviceMesh) -> None:
    """Share out the decoder's layers and whatever else trains, in place.

    Args:
        backbone: adapted already.
        mesh: of one dimension.

    Raises:
        ValueError: weights train outside the decoder's layers, the projector and the tower.
    """
    model: nn.Module = backbone.core.model  # what every step calls
    units = backbone.layers
    layers = len(units)
    for name in ("projector", "vision"):
        members = [member for member in backbone.members(name).values() if isinstance(member, nn.Module)]
        units += [member for member in members if any(p.requires_grad for p in member.parameters())]
    inside = {id(p) for unit in units for p in unit.parameters()}
    whole = {p for p in backbone.model.parameters() if id(p) not in inside}
    if any(p.requires_grad for p in whole):
        raise ValueError(
            "`trainer.strategy: fsdp2` trains LoRA on decoder, projector and tower; embeddings or the head train here, "
            "too: take zero2."
        )
    sharded = [fully_shard(unit, mesh=mesh, reshard_after_forward=True) for unit in units]
    for number, unit in enumerate(sharded):
        # On the way back each asks for the one before. Left alone, they would go by the order of all calls since the
        # last step; ranks that have answered unequally many questions in between would ask for different ones.
        unit.set_modules_to_backward_prefetch([sharded[number - 1] if 0 < number < layers else unit])
    fully_shard(model, mesh=mesh, ignored_params=whole)  # nothing of its own: it makes the layers wait for one another


def whole(tensor: Tensor) -> Tensor:
    """A tensor that may be shared out, put together on the CPU; then every rank must ask for it."""
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().cpu().contiguous()


def trained_weights(model: nn.Module) -> dict[str, Tensor]:
    """What trains, whole and on the CPU, by name; every rank must ask."""
    for unit in _units(model):  # after a validation some ranks may still hold whole layers, and would not ask for more
        unit.reshard()
    return {name: whole(weight) for name, weight in model.named_parameters() if weight.requires_grad}


class Fsdp2Strategy(ModelParallelStrategy):
    """Data parallel over all ranks, with checkpoints as a single device writes them.

    Args:
        ranks: processes in all.
    """

    def __init__(self, ranks: int) -> None:
        super().__init__(data_parallel_size=ranks, tensor_parallel_size=1, save_distributed_checkpoint=False)

    @property
    def lightning_restore_optimizer(self) -> bool:
        """By `load_optimizer_state_dict`."""
        return True

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """What trains, whole."""
        assert self.lightning_module is not None
        return trained_weights(self.lightning_module)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The optimizer's, whole."""
        state = optimizer.state_dict()
        made = {number: {k: _whole(v) for k, v in inner.items()} for number, inner in state["state"].items()}
        return {**state, "state": made}

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Read the file, on every rank."""
        return Strategy.load_checkpoint(self, checkpoint_path, weights_only)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Take each rank's part of the weights."""
        assert self.lightning_module is not None
        state = checkpoint["state_dict"]
        with torch.no_grad():
            for name, weight in self.lightning_module.named_parameters():
                if name in state:
                    weight.copy_(_part(state[name], weight))

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Take each rank's part of the moments."""
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            weights = [weight for group in optimizer.param_groups for weight in group["params"]]
            made = {
                number: {k: _part(v, weights[number]) for k, v in inner.items()}
                for number, inner in state["state"].items()
            }
            optimizer.load_state_dict({**state, "state": made})

    def on_validation_start(self) -> None:
        """Put the layers together: answers are of unequal length, so ranks would wait for one another for ever."""
        assert self.lightning_module is not None
        for unit in _units(self.lightning_module):
            unit.set_reshard_after_forward(False, recurse=False)
            unit.unshard()

    def on_validation_end(self) -> None:
        """Share them out again."""
        assert self.lightning_module is not None
        for unit in _units(self.lightning_module):
            unit.set_reshard_after_forward(True, recurse=False)
            unit.reshard()


def _units(model: nn.Module) -> list[FSDPModule]:
    return [module for module in model.modules() if isinstance(module, FSDPModule)]


def _whole(value: Any) -> Any:
    return whole(value) if isinstance(value, Tensor) else value


def _part(value: Any, like: Tensor) -> Any:
    """This rank's part of a whole tensor that belongs to a weight; what has another shape (a count) stays."""
    if not isinstance(value, Tensor) or not isinstance(like, DTensor) or value.shape != like.shape:
        return value
    mesh = like.device_mesh
    return distribute_tensor(value.to(mesh.device_type, like.dtype), mesh, like.placements)
