"""Qwen-VL-Chat's published checkpoint in our native class, held against what the published code computed.

`tests/reference/qwen_vl.json` holds its numbers, `tests/reference/qwen_vl.py` says how they came about.
"""

from __future__ import annotations

import json
import re
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import REFERENCE, picture, write_language
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from reference.weights import picture as reference_picture
from safetensors.torch import load_file, save_file

from text4seg.data.items import Item, Items
from text4seg.decoding.generate import generate
from text4seg.decoding.settings import DecodingSettings
from text4seg.models.families.qwen_vl_layout import join_heads, split_heads
from text4seg.models.families.qwen_vl_words import SPECIAL
from text4seg.models.lora import apply_lora
from text4seg.models.registry import load_backbone, load_processor
from text4seg.models.settings import LoraSettings, ModelSettings

FIXTURE = json.loads((REFERENCE / "qwen_vl.json").read_text(encoding="utf-8"))
START = FIXTURE["config"]["visual"]["image_start_id"]
# What the index of Qwen-VL-Chat-Int4 lists, N for a number, without what its few bits add to it.
INDEX = """
    lm_head.weight transformer.wte.weight transformer.ln_f.weight
    transformer.h.N.ln_1.weight transformer.h.N.ln_2.weight
    transformer.h.N.attn.c_attn.weight transformer.h.N.attn.c_attn.bias transformer.h.N.attn.c_proj.weight
    transformer.h.N.mlp.w1.weight transformer.h.N.mlp.w2.weight transformer.h.N.mlp.c_proj.weight
    transformer.visual.conv1.weight transformer.visual.positional_embedding transformer.visual.proj
    transformer.visual.ln_pre.weight transformer.visual.ln_pre.bias
    transformer.visual.ln_post.weight transformer.visual.ln_post.bias
    transformer.visual.attn_pool.pos_embed transformer.visual.attn_pool.query
    transformer.visual.attn_pool.kv_proj.weight
    transformer.visual.attn_pool.attn.in_proj_weight transformer.visual.attn_pool.attn.in_proj_bias
    transformer.visual.attn_pool.attn.out_proj.weight transformer.visual.attn_pool.attn.out_proj.bias
    transformer.visual.attn_pool.ln_q.weight transformer.visual.attn_pool.ln_q.bias
    transformer.visual.attn_pool.ln_kv.weight transformer.visual.attn_pool.ln_kv.bias
    transformer.visual.transformer.resblocks.N.ln_1.weight transformer.visual.transformer.resblocks.N.ln_1.bias
    transformer.visual.transformer.resblocks.N.ln_2.weight transformer.visual.transformer.resblocks.N.ln_2.bias
    transformer.visual.transformer.resblocks.N.attn.in_proj.weight
    transformer.visual.transformer.resblocks.N.attn.in_proj.bias
    transformer.visual.transformer.resblocks.N.attn.out_proj.weight
    transformer.visual.transformer.resblocks.N.attn.out_proj.bias
    transformer.visual.transformer.resblocks.N.mlp.c_fc.weight transformer.visual.transformer.resblocks.N.mlp.c_fc.bias
    transformer.visual.transformer.resblocks.N.mlp.c_proj.weight
    transformer.visual.transformer.resblocks.N.mlp.c_proj.bias
"""


@pytest.fixture(scope="module")
def path(checkpoints) -> str:
    return checkpoints.settings("qwen_vl").path


@pytest.fixture
def folder(path, tmp_path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(path, tmp_path / "copy"))


@torch.inference_mode()
def test_logits_are_those_of_the_published_code(path) -> None:
    backbone = load_backbone(ModelSettings("qwen_vl", path=path))
    pixels = torch.from_numpy(reference_picture(FIXTURE["config"]["visual"]["image_size"]))
    for recorded in FIXTURE["outputs"].values():
        ids = torch.tensor([recorded["ids"]])
        logits = backbone.model(input_ids=ids, pixel_values=pixels).logits[0, FIXTURE["first"] :].numpy()
        assert np.abs(logits).max() > 1, "something is computed"
        assert np.abs(logits[:, FIXTURE["shown"]] - np.array(recorded["logits"])).max() < 1e-4
        whole = np.logaddexp.reduce(logits.astype(np.float64), axis=-1)
        assert np.abs(whole - np.array(recorded["logsumexp"])).max() < 1e-4


def test_names_are_those_of_the_published_index() -> None:
    names = {re.sub(r"\.\d+\.", ".N.", name) for name in FIXTURE["shapes"]}
    assert names == {name.strip() for name in INDEX.split()}


def test_saved_it_is_the_published_checkpoint_again(path, tmp_path) -> None:
    load_backbone(ModelSettings("qwen_vl", path=path)).save(tmp_path / "out")
    before = {name: value for file in Path(path).glob("*.safetensors") for name, value in load_file(file).items()}
    after = load_file(tmp_path / "out" / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    stated = json.loads((tmp_path / "out" / "config.json").read_text())
    assert {key: stated[key] for key in FIXTURE["config"]} == FIXTURE["config"]
    assert stated["auto_map"]["AutoModelForCausalLM"] == "modeling_qwen.QWenLMHeadModel"
    assert not {"text_config", "vision_config"} & stated.keys()
    for name in ("qwen.tiktoken", "generation_config.json", "modeling_qwen.py"):
        assert (tmp_path / "out" / name).read_bytes() == (Path(path) / name).read_bytes()


@pytest.mark.parametrize("text", FIXTURE["tokens"])
def test_token_ids_are_those_of_the_published_tokenizer(tokenizer, text) -> None:
    assert tokenizer(text)["input_ids"] == FIXTURE["tokens"][text]
    assert tokenizer.decode(FIXTURE["tokens"][text]) == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize("chat", ["checkpoint", "text4seg_v1"])
@pytest.mark.parametrize(
    ("name", "turns"),
    [("one", [("Where is the car?", None)]), ("two", [("Where is the car?", "others"), ("And the image?", None)])],
)
def test_chat_text_is_that_of_the_published_code(path, chat, name, turns) -> None:
    """Id by id; where theirs keep a picture's address behind <img>, ours have image tokens from the start."""
    ids, _ = load_processor(ModelSettings("qwen_vl", path=path, chat=chat)).tokens(turns)
    wanted = FIXTURE["chats"][name]["ids"]
    first = wanted.index(START) + 1
    assert wanted[first : first + 256] == [ord("x"), *[START + 2] * 255]
    assert ids == [*wanted[:first], *[START + 2] * 256, *wanted[first + 256 :]]


def test_the_published_training_text(path) -> None:
    made = load_processor(ModelSettings("qwen_vl", path=path, chat="text4seg_v1"))
    ids, learnt = made.tokens([("Q?", "A"), ("R?", "B")])
    assert made.tokenizer.decode([i for i in ids if i != made.image_token_id]) == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nPicture 1:<img></img>\nQ?"
        "<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n<|im_start|>user\nR?<|im_end|>\n<|im_start|>assistant\n"
        "B<|im_end|>"
    )
    assert made.tokenizer.decode([i for i, m in zip(ids, learnt, strict=True) if m]) == "A<|im_end|>B<|im_end|>"


def test_special_tokens_in_a_question_are_plain_words(path) -> None:
    made = load_processor(ModelSettings("qwen_vl", path=path))
    question = "".join(SPECIAL)
    ids, _ = made.tokens([(question, None)])
    plain, _ = made.tokens([("", None)])
    special = set(made.tokenizer.convert_tokens_to_ids(list(SPECIAL)))
    assert [i for i in ids if i in special] == [i for i in plain if i in special]
    assert question in made.tokenizer.decode(ids)


def test_a_picture_is_stretched_as_by_the_published_code(path) -> None:
    made = load_processor(ModelSettings("qwen_vl", path=path))
    square = np.asarray(picture(0).resize((64, 64), Image.Resampling.BICUBIC), np.float64).transpose(2, 0, 1) / 255
    mean, std = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])
    wanted = (square - mean[:, None, None]) / std[:, None, None]
    assert np.abs(made.geometry.pixels(picture(0)).numpy() - wanted).max() < 1e-5


@pytest.fixture(scope="module")
def tokenizer(path):
    return load_processor(ModelSettings("qwen_vl", path=path)).tokenizer


@given(text=st.text())
def test_any_text_comes_back(tokenizer, text) -> None:
    ids = tokenizer(text, split_special_tokens=True)["input_ids"]
    assert tokenizer.decode(ids) == unicodedata.normalize("NFC", text)


@given(heads=st.integers(1, 4), width=st.integers(1, 3))
def test_rows_go_to_their_heads_and_back(heads, width) -> None:
    """Of each head first the query's rows, then the key's, then the value's."""
    names = [f"{part}{head}.{row}" for head in range(heads) for part in "qkv" for row in range(width)]
    fused = torch.arange(len(names))[:, None]
    parts = split_heads(fused, heads)
    for part, rows in zip("qkv", parts, strict=True):
        assert [names[n] for n in rows[:, 0]] == [
            f"{part}{head}.{row}" for head in range(heads) for row in range(width)
        ]
    assert torch.equal(join_heads(parts, heads), fused)


def test_lora_reaches_the_decoder_and_the_resampler(path) -> None:
    settings = ModelSettings("qwen_vl", path=path)
    assert apply_lora(load_backbone(settings), LoraSettings(rank=2, projector="frozen")).targets == 7 * 2
    assert apply_lora(load_backbone(settings), LoraSettings(rank=2)).targets == 7 * 2 + 5


def test_what_is_longer_than_its_training_is_refused(path) -> None:
    backbone = load_backbone(ModelSettings("qwen_vl", path=path))
    assert backbone.context == FIXTURE["config"]["seq_length"] == 2048
    mask = np.zeros((4, 4), np.uint8)
    item = Item("key", 0, "?" * 2048, ("others", "car"), mask, b"", (4, 4), "rrle", "center", "referring")
    prompts = backbone.processor.collate([backbone.processor.encode(picture(0), [(item.question, None)])], "left")
    with pytest.raises(ValueError, match=r"the prompts have \d+ tokens and the model's context is 2048"):
        generate(backbone, prompts, Items([item]), DecodingSettings())


def change_config(folder: Path, **changes) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def test_without_scaling_the_range_is_that_of_its_positions(folder) -> None:
    change_config(folder, use_dynamic_ntk=False, use_logn_attn=False)
    assert load_backbone(ModelSettings("qwen_vl", path=str(folder))).context == 8192


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "llama"}, "holds a llama checkpoint without a tower; family qwen_vl needs Qwen-VL-Chat"),
        ({"no_bias": False}, "`no_bias: true`"),
        ({"kv_channels": 32}, "4 heads of `kv_channels` 32 do not make `hidden_size` 256"),
        ({"quantization_config": {"quant_method": "gptq"}}, "take Qwen/Qwen-VL-Chat with `model.quantize: 4`"),
        ({"visual": {**FIXTURE["config"]["visual"], "image_start_id": 151857}}, "are of different checkpoints"),
    ],
)
def test_what_does_not_fit_is_refused(folder, changes, message) -> None:
    change_config(folder, **changes)
    with pytest.raises(ValueError, match=re.escape(message)):
        load_processor(ModelSettings("qwen_vl", path=str(folder)))


def test_another_checkpoint_or_size(path, tmp_path) -> None:
    with pytest.raises(ValueError, match="holds a llama checkpoint"):
        load_processor(ModelSettings("qwen_vl", path=write_language(tmp_path, "llama")))
    with pytest.raises(ValueError, match="must be 64 for this Qwen-VL, got 448"):
        load_processor(ModelSettings("qwen_vl", path=path, image_size=448))


@pytest.mark.parametrize(("words", "message"), [(None, "has no qwen.tiktoken"), (b"no! 0\n", "is damaged")])
def test_lost_or_damaged_words(folder, words, message) -> None:
    file = folder / "qwen.tiktoken"
    file.unlink()
    if words is not None:
        file.write_bytes(words)
    with pytest.raises(ValueError, match=message):
        load_processor(ModelSettings("qwen_vl", path=str(folder)))


@pytest.mark.parametrize(
    ("dropped", "message"),
    [
        ("transformer.visual.attn_pool.", r"lacks \d+ weights \(model.multi_modal_projector.*projector is not in this"),
        ("transformer.h.1.attn.c_attn", r"lacks 6 weights \(.*self_attn.k_proj.bias"),
    ],
)
def test_missing_weights_are_named(folder, dropped, message) -> None:
    for file in folder.glob("*.safetensors"):
        save_file({n: v for n, v in load_file(file).items() if not n.startswith(dropped)}, file, {"format": "pt"})
    with pytest.raises(ValueError, match=message):
        load_backbone(ModelSettings("qwen_vl", path=str(folder)))
