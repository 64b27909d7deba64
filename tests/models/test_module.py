"""The LightningModule's schedule, and what its checkpoints hold."""

from __future__ import annotations

import pytest
import torch

from text4seg.models.lora import choose_trained
from text4seg.models.module import Text4SegModule
from text4seg.models.registry import load_backbone
from text4seg.models.settings import LoraSettings, LossSettings, ModelSettings, OptimSettings

SIZES = {"image": 32, "patch": 8, "width": 32, "vision_layers": 1, "language_layers": 1}


def module(optim: OptimSettings, steps: int = 100, **changes) -> Text4SegModule:
    settings = ModelSettings(path="random", options=SIZES, **changes)
    backbone = load_backbone(settings)
    choose_trained(backbone, settings)
    return Text4SegModule(backbone, LossSettings(), optim, steps)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_the_schedule_warms_up_and_ends(schedule):
    factor = module(OptimSettings(schedule=schedule, warmup_ratio=0.03)).factor
    assert [factor(step) for step in range(3)] == pytest.approx([1 / 3, 2 / 3, 1])
    assert factor(3) == 1
    assert factor(100) == (1 if schedule == "constant" else pytest.approx(0, abs=1e-9))
    values = [factor(step) for step in range(3, 101)]
    assert values == sorted(values, reverse=True)
    if schedule == "linear":
        assert factor(3 + 97 // 2) == pytest.approx(1 - 48 / 97)


def test_an_unknown_schedule_is_refused():
    with pytest.raises(ValueError, match=r"optim\.schedule.*'stepwise'"):
        module(OptimSettings(schedule="stepwise"))


def test_nothing_to_train_is_refused():
    with pytest.raises(ValueError, match="nothing trains"):
        module(OptimSettings(), train=[], lora=LoraSettings(enabled=False))


def test_the_paper_settings_are_the_defaults():
    optimizer = module(OptimSettings()).configure_optimizers()["optimizer"]
    assert isinstance(optimizer, torch.optim.AdamW)
    group = optimizer.param_groups[0]
    assert (group["initial_lr"], group["betas"], group["weight_decay"]) == (2e-4, (0.9, 0.95), 0.0)


def test_the_state_holds_what_trains():
    made = module(OptimSettings())
    trained = {name for name, p in made.named_parameters() if p.requires_grad}
    assert set(made.state_dict()) == trained
    assert all("lora_" in name for name in trained)
    whole = module(OptimSettings(), lora=LoraSettings(enabled=False), train=["language"])
    names = set(whole.state_dict())
    assert {"model.lm_head.weight", "model.model.language_model.embed_tokens.weight"} <= names, "both names of a tie"
    assert not any("vision" in name for name in names)
