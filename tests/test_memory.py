"""What the memory formula says a decoder layer keeps is what PyTorch keeps for the way back, byte for byte."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from PIL import Image

from text4seg.config import Config
from text4seg.models.lora import choose_trained
from text4seg.models.processor import model_inputs
from text4seg.models.registry import load_backbone, load_skeleton
from text4seg.models.settings import LoraSettings, ModelSettings
from text4seg.training.estimate import estimate
from text4seg.training.memory import Batch, activations

LENGTH, SAMPLES = 128, 2


def configured(layers: int, precision: str, **changes) -> Config:
    config = Config()
    options = {"width": 96, "language_layers": layers, "heads": 4}
    lora = LoraSettings(rank=8, dropout=changes.pop("dropout", 0.0), enabled=changes.pop("lora", True))
    config.model = ModelSettings("tiny", path="random", options=options, lora=lora, train=["language"], **changes)
    config.trainer.precision, config.trainer.accelerator = precision, "cpu"
    return config


def kept(config: Config) -> int:
    """Bytes of all tensors that the way to the hidden states leaves for the way back, weights left out."""
    backbone = load_backbone(config.model)
    choose_trained(backbone, config.model)
    encoded = backbone.processor.encode(Image.new("RGB", (64, 64)), [("what?", "a")])
    batch = backbone.processor.collate([encoded] * SAMPLES, pad_to_multiple_of=LENGTH, max_length=LENGTH)
    weights = {p.untyped_storage().data_ptr() for p in backbone.model.parameters()}
    seen: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            seen[storage.data_ptr()] = storage  # held, so that no other tensor can take its place
        return tensor

    half = config.trainer.precision == "bf16-mixed"
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        with torch.autocast("cpu", torch.bfloat16) if half else nullcontext():
            hidden_BTD = backbone.hidden_states(model_inputs(batch))
        assert hidden_BTD.shape[1] == LENGTH
        return sum(storage.nbytes() for storage in seen.values())


def expected(config: Config) -> float:
    skeleton = load_skeleton(config.model)
    report = choose_trained(skeleton, config.model)
    text = skeleton.core.config.get_text_config()
    attention = config.model.attention or text._attn_implementation
    return activations(text, config, Batch(SAMPLES, LENGTH, 1), attention, report)


@pytest.mark.parametrize(
    ("precision", "changes"),
    [
        ("32-true", {"attention": "sdpa"}),
        ("32-true", {}),
        ("32-true", {"dropout": 0.05}),
        ("32-true", {"attention": "sdpa", "lora": False}),
        ("bf16-mixed", {"attention": "sdpa"}),
        ("bf16-mixed", {"dropout": 0.05}),
        ("bf16-mixed", {"attention": "sdpa", "dropout": 0.05, "dtype": "bfloat16"}),
        ("bf16-mixed", {"attention": "sdpa", "lora": False}),
    ],
)
def test_a_layer_keeps_what_the_formula_says(precision, changes) -> None:
    few, many = (configured(layers, precision, **changes) for layers in (2, 4))
    measured, said = kept(many) - kept(few), expected(many) - expected(few)
    assert said == pytest.approx(measured, rel=0.02)


def test_flash_attention_keeps_no_square() -> None:
    config = configured(4, "32-true", attention="sdpa")
    text = load_skeleton(config.model).core.config.get_text_config()
    report = choose_trained(load_skeleton(config.model), config.model)
    layers = text.num_hidden_layers

    def said(attention: str, length: int) -> float:
        return activations(text, config, Batch(1, length, 0), attention, report)

    for attention, numbers in (("flash_attention_2", 0), ("sdpa", 1), ("eager", text.num_attention_heads)):
        bend = said(attention, 2000) - 2 * said(attention, 1000)
        assert bend == pytest.approx(layers * numbers * 4 * (2000**2 - 2 * 1000**2), rel=1e-6, abs=1)


def test_what_holds_the_optimizer() -> None:
    """LoRA in float32: two moments and a gradient, and DDP's buckets with several GPUs."""
    config = configured(2, "bf16-mixed", dtype="bfloat16")
    found = estimate(config)
    one, four, _ = found.memory
    assert one.optimizer == 12 * found.report.trainable
    assert four.optimizer == 16 * found.report.trainable
    assert one.weights == 2 * (found.report.total - found.report.trainable) + 4 * found.report.trainable
