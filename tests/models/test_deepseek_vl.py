"""Family deepseek_vl: published chat text and geometry; both layouts, the first authors' held against their code.

`tests/reference/deepseek_vl.py` recorded what that code computes.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from checkpoints import byte_tokenizer, picture, write_language
from PIL import Image
from reference.weights import drawn_all
from reference.weights import picture as reference_picture
from safetensors.torch import load_file, save_file

from text4seg.models.ends import end_tokens
from text4seg.models.families.deepseek_vl_original import SAM, SIGLIP, load_original, native_config
from text4seg.models.lora import apply_lora
from text4seg.models.registry import load_backbone, load_processor, load_skeleton
from text4seg.models.settings import LoraSettings, ModelSettings

KINDS = ("deepseek_vl", "deepseek_vl_hybrid")
RECORDED = json.loads((Path(__file__).parents[1] / "reference" / "deepseek_vl.json").read_text(encoding="utf-8"))


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


TINY_SIGLIP = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "patch_size": 4,
}
TINY_SAM = {
    "hidden_size": 32,
    "mlp_dim": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "global_attn_indexes": [1, 2],
    "output_channels": 8,
    "patch_size": 16,
    "window_size": 14,
}


def write_original(folder: Path, kind: str) -> Path:
    """A checkpoint in the first authors' layout, in two pieces, with a tokenizer of bytes."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(RECORDED[kind]["config"]))
    weights = {name: torch.from_numpy(value) for name, value in drawn_all(RECORDED[kind]["shapes"]).items()}
    names = list(weights)
    where = {name: f"model-{1 + number % 2}.safetensors" for number, name in enumerate(names)}
    for piece in sorted(set(where.values())):
        save_file({name: weights[name] for name in names if where[name] == piece}, folder / piece, {"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    tokenizer = byte_tokenizer(None, ("<image_placeholder>",))
    tokenizer.eos_token = "<|im_end|>"  # the published one is not Llama's either
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(params=["single", "hybrid"])
def original(request, tmp_path, monkeypatch) -> tuple[str, Path]:
    monkeypatch.setitem(SIGLIP, "siglip_tiny", TINY_SIGLIP)
    monkeypatch.setitem(SAM, "sam_tiny", TINY_SAM)
    return request.param, write_original(tmp_path / "original", request.param)


@torch.inference_mode()
def test_the_published_code_s_logits(original) -> None:
    kind, path = original
    config = native_config(RECORDED[kind]["config"], RECORDED["image"])
    model, loaded = load_original(str(path), config, ModelSettings("deepseek_vl"))
    assert "all weights loaded" in loaded
    pixels = torch.from_numpy(reference_picture(RECORDED["side"]))
    images = {"pixel_values": (pixels - 0.5) / 0.5}
    if kind == "hybrid":
        high = RECORDED[kind]["config"]["vision_config"]["params"]["high_res_cfg"]
        mean, std = (torch.tensor(high[name])[:, None, None] for name in ("pixel_mean", "pixel_std"))
        images["high_res_pixel_values"] = (pixels - mean) / std
    logits = model(input_ids=torch.tensor([RECORDED["ids"]]), **images).logits[0, -6:, RECORDED["shown"]]
    assert (logits - torch.tensor(RECORDED[kind]["logits"])).abs().max() <= 1e-4


def test_the_first_authors_layout_loads_and_is_saved_as_transformers_own(original, tmp_path) -> None:
    _, path = original
    backbone = load_backbone(ModelSettings("deepseek_vl", path=str(path)))
    assert backbone.processor.geometry.num_tokens == 576
    bare = load_skeleton(ModelSettings("deepseek_vl", path=str(path)))
    assert bare.core.num_parameters() == backbone.core.num_parameters()
    assert (bare.vision, bare.projector, bare.language) == (backbone.vision, backbone.projector, backbone.language)
    text = backbone.processor.tokenizer.decode(backbone.processor.tokens([("Q?", "A")])[0])
    assert text.endswith("<image_placeholder>Q?\n\nAssistant:A<|im_end|>")
    backbone.save(tmp_path / "saved")
    again = load_backbone(ModelSettings("deepseek_vl", path=str(tmp_path / "saved")))
    ends = backbone.processor.tokenizer.eos_token_id
    assert ends != 2, "Llama's"
    assert end_tokens(backbone.core, None) == end_tokens(again.core, None) == [ends]
    before, after = backbone.model.state_dict(), again.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert again.processor.tokens([("Q?", "A")]) == backbone.processor.tokens([("Q?", "A")])


def logits_of(path: Path, **held) -> torch.Tensor:
    backbone = load_backbone(ModelSettings("deepseek_vl", path=str(path), **held))
    batch = backbone.processor.collate([backbone.processor.encode(picture(0), [("where?", "here")])], side="left")
    with torch.inference_mode():
        return backbone.model(**batch).logits


def test_the_first_authors_layout_can_be_spread(original) -> None:
    _, path = original
    assert torch.equal(logits_of(path, device_map="auto"), logits_of(path))


@pytest.mark.parametrize("original", ["single"], indirect=True)
def test_the_first_authors_layout_can_be_packed(original) -> None:
    pytest.importorskip("bitsandbytes", reason="needs bitsandbytes: pip install 'text4seg[quantize]'")
    _, path = original
    whole, packed = logits_of(path), logits_of(path, quantize=8)
    assert not torch.equal(whole, packed)
    assert torch.nn.functional.cosine_similarity(whole.flatten(), packed.flatten(), dim=0) > 0.99


def test_a_lost_aligner_is_an_error(original) -> None:
    _, path = original
    index = path / "model.safetensors.index.json"
    lost = path / "model-1.safetensors"
    weights = {name: value for name, value in load_file(lost).items() if not name.startswith("aligner")}
    save_file(weights, lost, {"format": "pt"})
    assert index.is_file()
    with pytest.raises(ValueError, match=r"lacks \d+ weights? \(model\.aligner"):
        load_backbone(ModelSettings("deepseek_vl", path=str(path)))
