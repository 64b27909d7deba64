"""Published InternVL2 checkpoints in the native class, held against what the published code computed.

`tests/reference/internvl2.json` holds its numbers, `tests/reference/internvl2.py` says how they came about.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import CONVERSATIONS, REFERENCE, picture, write_internlm2_tokenizer
from hypothesis import given
from hypothesis import strategies as st
from reference.weights import drawn_all
from reference.weights import picture as reference_picture
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText, AutoProcessor, InternVLForConditionalGeneration

from text4seg.models.families.internvl_published import PublishedInternVL, native_config, split_grouped
from text4seg.models.families.internvl_words import conversation, published_tokenizer
from text4seg.models.loading import load_model
from text4seg.models.lora import apply_lora
from text4seg.models.registry import load_backbone, load_processor
from text4seg.models.settings import LoraSettings, ModelSettings

FIXTURE = json.loads((REFERENCE / "internvl2.json").read_text(encoding="utf-8"))
SIZES = sorted(FIXTURE["models"])
TURNS = [("Q1", "A1"), ("Q2", None)]
# What InternVL2_5-8B's published index lists, with its 32 and 24 layers as one.
INDEX = {
    "language_model.model.layers.N.attention.wo.weight",
    "language_model.model.layers.N.attention.wqkv.weight",
    "language_model.model.layers.N.attention_norm.weight",
    "language_model.model.layers.N.feed_forward.w1.weight",
    "language_model.model.layers.N.feed_forward.w2.weight",
    "language_model.model.layers.N.feed_forward.w3.weight",
    "language_model.model.layers.N.ffn_norm.weight",
    "language_model.model.norm.weight",
    "language_model.output.weight",
    "language_model.model.tok_embeddings.weight",
    "mlp1.0.bias",
    "mlp1.0.weight",
    "mlp1.1.bias",
    "mlp1.1.weight",
    "mlp1.3.bias",
    "mlp1.3.weight",
    "vision_model.embeddings.class_embedding",
    "vision_model.embeddings.patch_embedding.bias",
    "vision_model.embeddings.patch_embedding.weight",
    "vision_model.embeddings.position_embedding",
    "vision_model.encoder.layers.N.attn.proj.bias",
    "vision_model.encoder.layers.N.attn.proj.weight",
    "vision_model.encoder.layers.N.attn.qkv.bias",
    "vision_model.encoder.layers.N.attn.qkv.weight",
    "vision_model.encoder.layers.N.ls1",
    "vision_model.encoder.layers.N.ls2",
    "vision_model.encoder.layers.N.mlp.fc1.bias",
    "vision_model.encoder.layers.N.mlp.fc1.weight",
    "vision_model.encoder.layers.N.mlp.fc2.bias",
    "vision_model.encoder.layers.N.mlp.fc2.weight",
    "vision_model.encoder.layers.N.norm1.bias",
    "vision_model.encoder.layers.N.norm1.weight",
    "vision_model.encoder.layers.N.norm2.bias",
    "vision_model.encoder.layers.N.norm2.weight",
}


@pytest.fixture
def folder(checkpoints, tmp_path) -> Path:
    """A copy of a published checkpoint with an InternLM2, to change."""
    path = checkpoints.settings("internvl2-2b").path
    assert path is not None
    return Path(shutil.copytree(path, tmp_path / "copy"))


def ids_of(length: int) -> list[int]:
    return [1, *[FIXTURE["image"]] * 4, *[3 + 7 * n % 280 for n in range(length - 5)]]


@pytest.mark.parametrize("size", SIZES)
@torch.inference_mode()
def test_logits_are_those_of_the_published_code(size, tmp_path) -> None:
    recorded = FIXTURE["models"][size]
    (tmp_path / "config.json").write_text(json.dumps(recorded["config"]))
    weights = {name: torch.from_numpy(value) for name, value in drawn_all(recorded["shapes"]).items()}
    save_file(weights, tmp_path / "model.safetensors")
    config = native_config(recorded["config"], FIXTURE["image"])
    model, line = load_model(PublishedInternVL, str(tmp_path), ModelSettings(), config=config)
    total = sum(value.numel() for value in weights.values())
    assert f"({total:,} of {total:,} parameters" in line
    for length, wanted in recorded["outputs"].items():
        pixels = torch.from_numpy(reference_picture(56))
        logits = model.eval()(input_ids=torch.tensor([ids_of(int(length))]), pixel_values=pixels).logits[0].numpy()
        assert np.abs(logits).max() > 1, "something is computed"
        assert np.abs(logits[:, FIXTURE["shown"]] - np.array(wanted["logits"])).max() < 1e-4
        whole = np.logaddexp.reduce(logits.astype(np.float64), axis=-1)
        assert np.abs(whole - np.array(wanted["logsumexp"])).max() < 1e-4


def test_names_are_those_of_the_published_index() -> None:
    names = {re.sub(r"layers\.\d+", "layers.N", name) for name in FIXTURE["models"]["2b"]["shapes"]}
    assert names == INDEX


@pytest.mark.parametrize("model", sorted(FIXTURE["tokens"]))
def test_token_ids_are_those_of_the_published_tokenizer(model, folder) -> None:
    write_internlm2_tokenizer(folder, model)
    config = json.loads((folder / "config.json").read_text())
    tokenizer = published_tokenizer(str(folder), config)
    for text, ids in FIXTURE["tokens"][model]["ids"].items():
        assert tokenizer(text)["input_ids"] == ids
        assert "<|" in text or tokenizer.decode(ids, skip_special_tokens=True) == text


@pytest.mark.parametrize("name", sorted(FIXTURE["prompts"]))
def test_chat_text_is_that_of_the_published_conversation(name) -> None:
    found = conversation(CONVERSATIONS, name)
    text = found.before_system + found.system + found.sep
    for question, answer in TURNS:
        text += found.user + question + found.sep + found.assistant + (answer + found.sep if answer else "")
    assert text == FIXTURE["prompts"][name]


@pytest.mark.parametrize(("size", "starts"), [("1b", ""), ("2b", "<s>"), ("4b", "")])
@pytest.mark.parametrize("chat", ["checkpoint", "text4seg_v1"])
def test_the_processor_renders_it_with_one_tile(checkpoints, size, starts, chat) -> None:
    made = load_processor(checkpoints.settings(f"internvl2-{size}", chat=chat))
    template = FIXTURE["models"][size]["config"]["template"]
    image = "<img>" + "<IMG_CONTEXT>" * 4 + "</img>\n"
    assert made.tokenizer.decode(made.tokens(TURNS)[0]) == starts + FIXTURE["prompts"][template].replace(
        "Q1", image + "Q1"
    )
    ids, learnt = made.tokens([("Q", "A")])
    end = "<|end|>" if size == "4b" else "<|im_end|>"
    assert made.tokenizer.decode([i for i, m in zip(ids, learnt, strict=True) if m]) == f"A{end}"
    assert made.encode(picture(0), TURNS).images["pixel_values"].shape == (1, 3, 56, 56)


@given(groups=st.integers(1, 3), keys=st.integers(1, 3), width=st.integers(1, 3))
def test_grouped_rows_go_to_their_heads(groups, keys, width) -> None:
    """Row by row: of each key head first its query heads, then the key, then the value."""
    names = [
        f"{part}{head}.{row}"
        for key in range(keys)
        for part, head in [*(("q", key * groups + g) for g in range(groups)), ("k", key), ("v", key)]
        for row in range(width)
    ]
    parts = split_grouped(torch.arange(len(names))[:, None], groups * keys, keys)
    for part, rows, heads in zip("qkv", parts, (groups * keys, keys, keys), strict=True):
        assert [names[n] for n in rows[:, 0]] == [
            f"{part}{head}.{row}" for head in range(heads) for row in range(width)
        ]


def test_lora_reaches_the_language_layers_and_the_projector(checkpoints) -> None:
    for size, layers in (("1b", 7), ("2b", 7), ("4b", 4)):
        report = apply_lora(load_backbone(checkpoints.settings(f"internvl2-{size}")), LoraSettings(rank=2))
        assert report.targets == 2 * layers + 2, "Phi-3 keeps its fused layers"


def test_what_is_saved_is_native_and_needs_no_code(checkpoints, tmp_path) -> None:
    backbone = load_backbone(checkpoints.settings("internvl2-2b"))
    backbone.save(tmp_path / "out")
    assert "auto_map" not in "".join(p.read_text() for p in (tmp_path / "out").glob("*.json"))
    names = set(load_file(tmp_path / "out" / "model.safetensors"))
    assert {n.split(".layers.")[0] for n in names if "layers" in n} == {"model.language_model"}
    assert "model.language_model.layers.1.self_attn.q_proj.weight" in names
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "out").eval()
    assert type(model) is InternVLForConditionalGeneration
    processor = AutoProcessor.from_pretrained(tmp_path / "out")
    parts = [{"type": "image"}, {"type": "text", "text": "Where is the dog?"}]
    text = processor.apply_chat_template([{"role": "user", "content": parts}], add_generation_prompt=True)
    theirs = processor(images=picture(0), text=text, return_tensors="pt", add_special_tokens=False)
    ours = backbone.processor.collate([backbone.processor.encode(picture(0), [("Where is the dog?", None)])], "left")
    assert torch.equal(theirs["input_ids"], ours["input_ids"])
    assert torch.allclose(theirs["pixel_values"], ours["pixel_values"], atol=0.05), "another resampling code"
    with torch.inference_mode():
        logits = [m.eval()(**{n: ours[n] for n in ours}).logits for m in (backbone.model, model)]
    assert torch.equal(*logits)


def change_config(folder: Path, **changes) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["llm_config"] |= changes.pop("llm_config", {})
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ps_version": "v1"}, "`ps_version: v2` fit the native InternVL class, got -1 and v1"),
        ({"select_layer": -4}, "got -4 and v2"),
        ({"llm_config": {"architectures": ["MPTForCausalLM"]}}, "an InternVL with a MPTForCausalLM is not known"),
        ({"template": "vicuna"}, "no template 'vicuna'"),
        ({"template": "old"}, "PHOENIX, not MPT"),
        ({"model_type": "llava"}, "holds a llava checkpoint; family internvl needs an InternVL"),
    ],
)
def test_what_does_not_fit_is_refused(folder, changes, message) -> None:
    change_config(folder, **changes)
    with pytest.raises(ValueError, match=re.escape(message)):
        load_processor(ModelSettings("internvl", path=str(folder)))


def named_class(folder: Path, kind: str) -> ModelSettings:
    """Settings of a folder whose tokenizer was written by another class."""
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "tokenizer_class": kind}))
    return ModelSettings("internvl", path=str(folder))


@pytest.mark.parametrize("kind", ["PreTrainedTokenizerFast", "TokenizersBackend"])
def test_a_tokenizer_json_is_read_whatever_class_wrote_it(checkpoints, tmp_path, kind) -> None:
    published = checkpoints.settings("internvl2-1b")
    copied = named_class(Path(shutil.copytree(published.path, tmp_path / "copy")), kind)
    assert load_processor(copied).tokens(TURNS) == load_processor(published).tokens(TURNS)


def test_without_one_the_class_must_be_known(folder) -> None:
    with pytest.raises(ValueError, match=r"no tokenizer.json and a tokenizer of class 'TokenizersBackend'; known: "):
        load_processor(named_class(folder, "TokenizersBackend"))


def test_a_system_text_of_the_configuration_comes_first(folder) -> None:
    change_config(folder, system_message="Draw.")
    made = load_processor(ModelSettings("internvl", path=str(folder)))
    assert made.tokenizer.decode(made.tokens(TURNS)[0]).startswith("<s><|im_start|>system\nDraw.<|im_end|>")


def test_without_its_conversation_there_is_no_chat_text(folder) -> None:
    (folder / "conversation.py").unlink()
    with pytest.raises(ValueError, match=r"neither conversation.py nor a chat template"):
        load_processor(ModelSettings("internvl", path=str(folder)))


@pytest.mark.parametrize(
    ("dropped", "message"),
    [
        ("mlp1.", "lacks 6 weights .*the projector is not in this checkpoint"),
        ("language_model.model.layers.1.attention.wqkv", r"lacks 3 weights \(.*self_attn.k_proj.weight"),
    ],
)
def test_missing_weights_are_named(folder, dropped, message) -> None:
    weights = {n: v for n, v in load_file(folder / "model.safetensors").items() if not n.startswith(dropped)}
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(ValueError, match=message):
        load_backbone(ModelSettings("internvl", path=str(folder)))
