"""A sharded model goes on from a single device's checkpoint, and writes one; here with a mesh of one process."""

from __future__ import annotations

from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

from text4seg.models.fsdp2 import Fsdp2Strategy, shard, trained_weights
from text4seg.models.lora import choose_trained
from text4seg.models.registry import load_backbone
from text4seg.models.settings import LoraSettings, ModelSettings


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    store = torch.distributed.FileStore(str(tmp_path_factory.mktemp("store") / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    torch.distributed.destroy_process_group()


def adapted(**changes):
    options = {"width": 48, "vision_layers": 1, "language_layers": 2}
    lora = LoraSettings(rank=4, dropout=0.0, projector="full", vision=True)
    backbone = load_backbone(ModelSettings("tiny", path="random", options=options, lora=lora))
    choose_trained(backbone, ModelSettings("tiny", lora=lora, **changes))
    return backbone


def optimizer_of(backbone) -> torch.optim.Optimizer:
    return torch.optim.AdamW([p for p in backbone.model.parameters() if p.requires_grad], lr=0.01)


def step(backbone, optimizer) -> float:
    ids_BT = torch.arange(24).reshape(2, 12) + 5
    hidden_BTD = backbone.hidden_states({"input_ids": ids_BT, "attention_mask": torch.ones_like(ids_BT)})
    loss = backbone.logits(hidden_BTD.flatten(0, 1)).float().logsumexp(-1).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


@pytest.mark.parametrize("checkpointing", [False, True])
def test_goes_on_from_a_single_device_and_back(mesh, checkpointing):
    plain, sharded = adapted(), adapted(gradient_checkpointing=checkpointing)
    shard(sharded, mesh)
    assert all(isinstance(p, DTensor) for p in sharded.model.parameters() if p.requires_grad)
    optimizers = [optimizer_of(plain), optimizer_of(sharded)]
    for _ in range(3):
        step(plain, optimizers[0])
    strategy = Fsdp2Strategy(1)
    strategy._lightning_module = sharded.model
    strategy.optimizers = [optimizers[1]]
    saved = {"state_dict": trained_weights(plain.model), "optimizer_states": [optimizers[0].state_dict()]}
    saved = deepcopy(saved)  # as from a file: plain goes on, too
    strategy.load_model_state_dict(saved)
    strategy.load_optimizer_state_dict(saved)
    losses = [[step(*pair) for _ in range(3)] for pair in zip((plain, sharded), optimizers, strict=True)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
    assert losses[0][0] != losses[0][-1]
    ours, theirs = strategy.optimizer_state(optimizers[1]), optimizers[0].state_dict()
    assert ours["param_groups"] == theirs["param_groups"]
    for number, inner in theirs["state"].items():
        for name, value in inner.items():
            assert not isinstance(ours["state"][number][name], DTensor)
            assert torch.allclose(ours["state"][number][name], value, atol=1e-7), name
    states = strategy.lightning_module_state_dict(), trained_weights(plain.model)
    assert all(torch.allclose(states[0][name], value, atol=1e-6) for name, value in states[1].items())


def test_after_a_validation_nothing_is_left_whole(mesh):
    backbone = adapted()
    shard(backbone, mesh)
    strategy = Fsdp2Strategy(1)
    strategy._lightning_module = backbone.model
    step(backbone, optimizer_of(backbone))
    strategy.on_validation_start()
    assert not any(isinstance(p, DTensor) for p in backbone.model.parameters())
    trained_weights(backbone.model)
    assert all(isinstance(p, DTensor) for p in backbone.model.parameters() if p.requires_grad)
    strategy.on_validation_end()


def test_weights_that_train_outside_are_refused():
    backbone = adapted()
    backbone.core.lm_head.requires_grad_(True)
    with pytest.raises(ValueError, match="embeddings or the head train here, too: take zero2"):
        shard(backbone, SimpleNamespace())
