"""LLaVA-1.5 in its first authors' layouts, held against what their code computed (`tests/reference/llava.py`)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import REFERENCE, picture, write_llava_original
from reference.weights import picture as reference_picture
from safetensors.torch import save_file
from transformers import AutoModelForImageTextToText

from text4seg.models.backbone import Backbone
from text4seg.models.registry import load_backbone, load_processor
from text4seg.models.settings import ModelSettings

FIXTURE = json.loads((REFERENCE / "llava.json").read_text(encoding="utf-8"))
TURNS = [("where?", "A")]


def load(path: str | Path, **changes) -> Backbone:
    backbone = load_backbone(ModelSettings("llava", path=str(path), **changes))
    backbone.model.eval()
    return backbone


@torch.inference_mode()
def logits_of(backbone: Backbone) -> np.ndarray:
    image = [backbone.processor.image_token_id] * 16
    place = FIXTURE["ids"].index(-200)
    ids = [*FIXTURE["ids"][:place], *image, *FIXTURE["ids"][place + 1 :]]
    pixels = torch.from_numpy(reference_picture(32))
    inputs = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids)), "pixel_values": pixels}
    return backbone.logits(backbone.hidden_states(inputs))[0].numpy()


def check(logits: np.ndarray) -> None:
    assert np.abs(logits).max() > 1, "something is computed"
    assert np.abs(logits[:, FIXTURE["shown"]] - np.array(FIXTURE["logits"])).max() < 1e-4
    whole = np.logaddexp.reduce(logits[:, :300].astype(np.float64), axis=-1)
    assert np.abs(whole - np.array(FIXTURE["logsumexp"])).max() < 1e-4


@pytest.mark.parametrize("layout", ["merged", "projector"])
@pytest.mark.parametrize("pieces", [1, 3])
def test_logits_are_those_of_the_original_code(tmp_path, layout, pieces) -> None:
    backbone = load(write_llava_original(tmp_path, layout, pieces))
    check(logits_of(backbone))
    assert "all weights loaded" in backbone.loaded
    assert ("base" in backbone.loaded.removeprefix(str(tmp_path))) == (layout == "projector")


def test_an_adapter_is_folded_into_its_base(tmp_path) -> None:
    path = Path(write_llava_original(tmp_path, "lora"))
    found = load(path).core.model.language_model.layers[1].mlp.gate_proj.weight
    name = "model.layers.1.mlp.gate_proj"
    base = torch.load(tmp_path / "base" / "pytorch_model.bin", weights_only=True)[f"{name}.weight"].double()
    adapter = torch.load(path / "adapter_model.bin", weights_only=True)
    a, b = (adapter[f"base_model.model.{name}.lora_{part}.weight"].double() for part in "AB")
    assert torch.allclose(found.double(), base + 4 / 2 * b @ a, atol=1e-6)
    with pytest.raises(AssertionError):
        check(logits_of(load(path)))


def test_weights_and_adapter_as_safetensors(tmp_path) -> None:
    path = Path(write_llava_original(tmp_path, "lora"))
    wanted = logits_of(load(path))
    for folder, old, new in ((tmp_path / "base", "pytorch_model", "model"), (path, "adapter_model", "adapter_model")):
        save_file(torch.load(folder / f"{old}.bin", weights_only=True), folder / f"{new}.safetensors")
        (folder / f"{old}.bin").unlink()
    assert np.array_equal(logits_of(load(path)), wanted)


def test_an_adapter_of_zeros_changes_nothing(tmp_path) -> None:
    path = Path(write_llava_original(tmp_path, "lora"))
    adapter = torch.load(path / "adapter_model.bin", weights_only=True)
    torch.save({n: v * (".lora_A." in n) for n, v in adapter.items()}, path / "adapter_model.bin")
    check(logits_of(load(path)))


def test_the_base_and_the_tower_may_be_given(tmp_path) -> None:
    path = Path(write_llava_original(tmp_path, "projector"))
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "_name_or_path": "x/y", "mm_vision_tower": "x/z"}))
    check(logits_of(load(path, language=str(tmp_path / "base"), vision=str(tmp_path / "clip"))))


@pytest.mark.parametrize("layout", ["merged", "lora", "projector"])
def test_saved_it_is_an_ordinary_checkpoint(tmp_path, layout) -> None:
    backbone = load(write_llava_original(tmp_path / "in", layout), chat="text4seg_v1")
    backbone.save(tmp_path / "out")
    again = load(tmp_path / "out", chat="text4seg_v1")
    assert np.array_equal(logits_of(again), logits_of(backbone))
    assert type(AutoModelForImageTextToText.from_pretrained(tmp_path / "out")) is type(backbone.model)
    assert again.processor.tokens(TURNS) == backbone.processor.tokens(TURNS)


def test_chat_text(tmp_path) -> None:
    path = write_llava_original(tmp_path)
    texts = {}
    for chat in ("text4seg_v1", "checkpoint"):
        made = load_processor(ModelSettings("llava", path=path, chat=chat))
        texts[chat] = made.tokenizer.decode(made.tokens(TURNS)[0]).replace("<image>" * 16, "<image>")
    assert texts["text4seg_v1"] == "<s>USER: <image>\nwhere?\nASSISTANT:A</s>"
    assert texts["checkpoint"] == "<s>USER: <image>\nwhere? ASSISTANT:A</s>"
    assert made.encode(picture(0), TURNS).images["pixel_values"].shape == (1, 3, 32, 32)


def drop(file: str):
    return lambda path: (path / file).unlink()


def other_base(path: Path) -> None:
    weights = torch.load(path.parent / "base" / "pytorch_model.bin", weights_only=True)
    weights["model.layers.1.mlp.gate_proj.weight"] = torch.zeros(72, 32)
    torch.save(weights, path.parent / "base" / "pytorch_model.bin")


def no_projector(path: Path) -> None:
    torch.save({}, path / "non_lora_trainables.bin")


def states(**more):
    def change(path: Path) -> None:
        stated = json.loads((path / "adapter_config.json").read_text())
        (path / "adapter_config.json").write_text(json.dumps({**stated, **more}))

    return change


@pytest.mark.parametrize(
    ("layout", "damage", "message"),
    [
        ("lora", drop("non_lora_trainables.bin"), "has no non_lora_trainables.bin: without it the projector"),
        ("lora", drop("adapter_model.bin"), "no adapter_model.safetensors or adapter_model.bin"),
        ("lora", other_base, r"made for a model.layers.1.mlp.gate_proj.weight of \[64, 32\], its base has \[72, 32\]"),
        (
            "lora",
            states(rank_pattern={"q_proj": 1}, alpha_pattern={}, use_dora=False),
            "has rank_pattern in its",
        ),
        ("lora", states(alpha_pattern={"q_proj": 8}), "has alpha_pattern in its adapter_config.json"),
        ("lora", states(use_dora=True, fan_in_fan_out=True), "has use_dora and fan_in_fan_out in its.*merge it"),
        ("lora", states(lora_bias=True), "has lora_bias in its"),
        ("lora", states(modules_to_save=["lm_head"]), "has modules_to_save in its"),
        ("lora", no_projector, "lacks 4 weights .*the projector is not in this checkpoint"),
        ("projector", drop("mm_projector.bin"), "there are no weights"),
        ("projector", lambda path: (path.parent / "base" / "pytorch_model.bin").unlink(), "holds no weights"),
        ("merged", lambda path: (path / "pytorch_model.bin").write_bytes(b"PK"), "Put a whole copy in its place"),
    ],
)
def test_damage_is_named(tmp_path, layout, damage, message) -> None:
    path = Path(write_llava_original(tmp_path, layout))
    damage(path)
    with pytest.raises(ValueError, match=message):
        load(path)
