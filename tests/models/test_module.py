"""The LightningModule's schedule, and what its checkpoints hold."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

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


@pytest.mark.parametrize("sampled", [0, 8])
def test_a_micro_batch_without_any_target_is_worth_nothing_and_ends_nothing(sampled):
    """One of a stage of cells that fades out into one without, or of text turns only."""
    made = module(OptimSettings())
    encoded = made.backbone.processor.encode(Image.new("RGB", (40, 30)), [("where?", None)])
    loss = made.answer_loss(made.backbone.processor.collate([encoded, encoded]), sampled)
    loss.backward()
    assert loss.item() == 0.0
    gradients = [p.grad for p in made.parameters() if p.requires_grad]
    assert gradients
    assert all(gradient is not None and not gradient.any() for gradient in gradients), "every rank hands in all of them"
