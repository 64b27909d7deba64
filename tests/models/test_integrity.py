"""An incomplete checkpoint is refused with its keys and the likely cause; a whole one has one line that proves it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from checkpoints import SIZES, picture, write_llava
from safetensors.torch import load_file, save_file

from text4seg.models.integrity import index_digest, refuse_incomplete
from text4seg.models.lora import choose_trained
from text4seg.models.module import Text4SegModule
from text4seg.models.registry import load_backbone
from text4seg.models.settings import LoraSettings, LossSettings, ModelSettings, OptimSettings

LAYER = "model.language_model.layers.1.mlp.up_proj.weight"
PROJECTOR = "model.multi_modal_projector.linear_1.weight"
SHAPES = [(LAYER, torch.Size([64, 32]), torch.Size([72, 32]))]


@pytest.mark.parametrize(
    ("missing", "strange", "misshapen", "message"),
    [
        ([LAYER], [], [], r"lacks 1 weight \(.*up_proj.weight\).*config.json promises more layers"),
        ([PROJECTOR], [], [], r"Likely cause: the projector is not in this checkpoint"),
        ([PROJECTOR, LAYER], [], [], r"lacks 2 weights"),
        ([LAYER], ["a.weight"], [], r"lacks 1 .* and holds unknown 1 weight \(a.weight\).*names of another layout"),
        ([], [LAYER], [], r"smaller model \(fewer layers\?\)"),
        ([LAYER], [f"base_model.{LAYER}.lora_A"], [], r"an adapter that was not merged"),
        ([], [], SHAPES, r"up_proj.weight: stored \[64, 32\], expected \[72, 32\]\).*another size"),
        ([str(n) for n in range(9)], [], [], r"lacks 9 weights \(0, 1, 2, 3, \.\.\.\)"),
    ],
)
def test_each_kind_of_damage_is_named(missing, strange, misshapen, message) -> None:
    with pytest.raises(ValueError, match=message):
        refuse_incomplete("here", missing, strange, misshapen)


def test_what_today_s_classes_compute_may_be_stored() -> None:
    refuse_incomplete("here", [], ["language_model.layers.0.self_attn.rotary_emb.inv_freq"], [])


def test_a_whole_checkpoint_proves_it(checkpoints) -> None:
    settings = checkpoints.settings("llava")
    backbone = load_backbone(settings)
    assert settings.path is not None
    total = sum(weight.numel() for weight in load_file(Path(settings.path) / "model.safetensors").values())
    assert f"({total:,} of {total:,} parameters, float32, index sha256 " in backbone.loaded


def test_the_digest_is_of_the_index_or_the_header(tmp_path) -> None:
    assert index_digest(str(tmp_path)) is None
    save_file({"a": torch.zeros(3)}, tmp_path / "model.safetensors")
    first = index_digest(str(tmp_path))
    save_file({"a": torch.ones(3)}, tmp_path / "model.safetensors")
    assert index_digest(str(tmp_path)) == first, "names and shapes are the same"
    save_file({"b": torch.ones(3)}, tmp_path / "model.safetensors")
    assert index_digest(str(tmp_path)) not in (first, None)
    text = json.dumps({"weight_map": {"b": "model.safetensors"}}).encode()
    (tmp_path / "model.safetensors.index.json").write_bytes(text)
    assert index_digest(str(tmp_path)) == hashlib.sha256(text).hexdigest()


def test_a_checkpoint_with_more_layers_than_its_configuration_is_refused(checkpoints, tmp_path) -> None:
    source = Path(checkpoints.settings("llava").path)
    for file in source.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config["text_config"]["num_hidden_layers"] = 1
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"holds unknown 9 weights .*fewer layers"):
        load_backbone(ModelSettings("llava", path=str(tmp_path)))


def test_bits_need_their_package(checkpoints, monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"needs the package bitsandbytes: pip install 'text4seg\[quantize\]'"):
        load_backbone(ModelSettings("llava", path=checkpoints.settings("llava").path, quantize=4))


@pytest.mark.parametrize("bits", [4, 8])
def test_adapters_train_on_a_base_of_few_bits(tmp_path, monkeypatch, bits) -> None:
    pytest.importorskip("bitsandbytes", reason="needs bitsandbytes: pip install 'text4seg[quantize]'")
    monkeypatch.setattr("checkpoints.SIZES", {**SIZES, "hidden_size": 128, "intermediate_size": 256})
    settings = ModelSettings("llava", path=write_llava(tmp_path), lora=LoraSettings(rank=2, dropout=0.0))
    losses, totals = [], []
    for quantize in (None, bits):
        backbone = load_backbone(replace(settings, quantize=quantize))
        totals.append(choose_trained(backbone, settings).total)
        encoded = backbone.processor.encode(picture(0), [("where?", "<seg>sky *4\n</seg>")])
        module = Text4SegModule(backbone, LossSettings(), OptimSettings(), steps=1)
        loss = module.training_step(backbone.processor.collate([encoded]), 0)
        loss.backward()
        losses.append(float(loss.detach()))
    assert totals[0] == totals[1], "packed numbers are counted as what they stand for"
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    assert any(p.grad is not None and p.grad.any() for p in module.parameters())


def test_an_attention_that_does_not_exist(checkpoints) -> None:
    settings = checkpoints.settings("llava", attention="sdpa")
    assert load_backbone(settings).core.config._attn_implementation == "sdpa"
    with pytest.raises(ValueError, match=r"`model.attention` 'quick' cannot be used"):
        load_backbone(checkpoints.settings("llava", attention="quick"))


def test_float64_is_fused_attention() -> None:
    backbone = load_backbone(ModelSettings(dtype="float64"))
    assert backbone.core.config.get_text_config()._attn_implementation == "sdpa"
    with pytest.raises(ValueError, match="eager is no float64"):
        load_backbone(ModelSettings(dtype="float64", attention="eager"))
