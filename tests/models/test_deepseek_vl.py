"""Family deepseek_vl: published chat text and geometry, on the layout of the community's checkpoints."""

from __future__ import annotations

import pytest
import torch
from checkpoints import picture, write_language
from PIL import Image

from text4seg.models.lora import apply_lora
from text4seg.models.registry import load_backbone, load_processor
from text4seg.models.settings import LoraSettings, ModelSettings

KINDS = ("deepseek_vl", "deepseek_vl_hybrid")


def settings_of(checkpoints, kind, **changes) -> ModelSettings:
    return ModelSettings("deepseek_vl", path=checkpoints.settings(f"auto:{kind}").path, **changes)


@pytest.mark.parametrize("kind", KINDS)
def test_the_published_training_text(checkpoints, kind) -> None:
    processor = load_processor(settings_of(checkpoints, kind, chat="text4seg_v1"))
    ids, mask = processor.tokens([("Q?", "A"), ("R?", "B")])
    system = (
        "You are a helpful language and vision assistant. You are able to understand the visual content that the user "
        "provides, and assist the user with a variety of tasks using natural language."
    )
    image = "<image_placeholder>" * 16
    wanted = f"<s>{system}\n\nUser: {image}Q?\n\nAssistant:A</s>User: R?\n\nAssistant:B</s>"
    assert processor.tokenizer.decode(ids) == wanted
    assert processor.tokenizer.decode([i for i, m in zip(ids, mask, strict=True) if m]) == "A</s>B</s>"


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_becomes_a_square_of_its_longer_side_first(checkpoints, kind) -> None:
    processor = load_processor(settings_of(checkpoints, kind))
    wide = picture(3)
    assert wide.size == (40, 24)
    square = wide.resize((40, 40), Image.Resampling.BICUBIC)
    wanted = processor.own.image_processor([square], return_tensors="pt")
    made = processor.geometry.tensors(wide)
    assert made.keys() == wanted.keys()
    assert all(torch.equal(made[name], wanted[name]) for name in made)
    assert ("high_res_pixel_values" in made) == (kind == "deepseek_vl_hybrid")


@pytest.mark.parametrize(("kind", "aligner"), [("deepseek_vl", 2), ("deepseek_vl_hybrid", 3)])
def test_lora_reaches_language_and_aligner(checkpoints, kind, aligner) -> None:
    backbone = load_backbone(settings_of(checkpoints, kind))
    assert apply_lora(backbone, LoraSettings(rank=2)).targets == 7 * 2 + aligner
    adapted = [name for name, _ in backbone.model.named_modules() if name.endswith("lora_A.default")]
    assert not [name for name in adapted if "vision_model" in name]


def test_another_checkpoint(tmp_path) -> None:
    with pytest.raises(ValueError, match="llama checkpoint; family deepseek_vl needs"):
        load_processor(ModelSettings("deepseek_vl", path=write_language(tmp_path, "llama")))


def test_the_first_authors_layout_is_named(tmp_path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "multi_modality"}')
    with pytest.raises(ValueError, match=r"multi_modality checkpoint.*take its twin"):
        load_processor(ModelSettings("deepseek_vl", path=str(tmp_path)))
