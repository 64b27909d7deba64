"""Family compose: the image token, fewer layers, what is stored, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from checkpoints import (
    CHATML,
    MEAN,
    SIDE,
    STD,
    add_open_clip,
    byte_tokenizer,
    language_model,
    shake,
    write_language,
)
from PIL import Image
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BertConfig,
    BertLMHeadModel,
    ConvNextConfig,
    ConvNextModel,
    ResNetConfig,
    ResNetModel,
    SwinConfig,
    SwinModel,
    T5Config,
    T5ForConditionalGeneration,
)

from text4seg.models.registry import load_backbone, load_processor
from text4seg.models.settings import ModelSettings

BYTES = len(byte_tokenizer())


def batch_of(backbone):
    encoded = backbone.processor.encode(Image.new("RGB", (9, 9), "red"), [("a?", "b")])
    batch = backbone.processor.collate([encoded], "left")
    return {name: batch[name] for name in ("input_ids", "attention_mask", "pixel_values")}


def settings_for(checkpoints, language: str) -> ModelSettings:
    return ModelSettings("compose", vision=checkpoints.vision("clip"), language=language)


@pytest.mark.parametrize(
    ("extra", "image_token"),
    [((), "<image>"), (("<|image_pad|>",), "<|image_pad|>"), (("<|reserved_special_token_7|>",), None)],
)
def test_the_image_token_is_the_tokenizer_s_own_or_reserved_or_new(checkpoints, tmp_path, extra, image_token) -> None:
    settings = settings_for(checkpoints, write_language(tmp_path, "llama", extra=extra))
    backbone = load_backbone(settings)
    token = backbone.processor.tokenizer.convert_ids_to_tokens(backbone.processor.image_token_id)
    assert token == (image_token or extra[0])
    assert len(backbone.processor.tokenizer) == BYTES + 1
    assert backbone.model.lm_head.out_features == 300, "the table had room"
    assert load_processor(settings).image_token_id == backbone.processor.image_token_id


@pytest.mark.parametrize("kind", ["llama", "qwen3", "neox", "phi", "gpt2"])
@pytest.mark.parametrize("tied", [True, False])
def test_a_full_table_grows_by_one_row_and_stays_tied(checkpoints, tmp_path, kind, tied) -> None:
    tied = tied or kind == "gpt2"
    write_language(tmp_path / "lm", kind, vocabulary=BYTES, tied=tied)
    backbone = load_backbone(settings_for(checkpoints, str(tmp_path / "lm")))
    table, head = backbone.model.get_input_embeddings().weight, backbone.model.lm_head.weight
    assert table.shape[0] == head.shape[0] == BYTES + 1 == backbone.model.config.get_text_config().vocab_size
    assert (table.data_ptr() == head.data_ptr()) == tied
    assert torch.allclose(head[BYTES], head[:BYTES].mean(0), atol=1e-6)
    backbone.save(tmp_path / "saved")
    again = load_backbone(ModelSettings("compose", path=str(tmp_path / "saved"))).model
    assert (again.get_input_embeddings().weight.data_ptr() == again.lm_head.weight.data_ptr()) == tied
    assert torch.equal(again.lm_head.weight, head)


def test_the_image_token_s_row_is_never_read(checkpoints) -> None:
    backbone = load_backbone(checkpoints.settings("clip+llama"))
    read = []
    table = backbone.model.get_input_embeddings()
    table.register_forward_pre_hook(lambda _module, given: read.append(given[0]))
    backbone.hidden_states(batch_of(backbone)).sum().backward()
    image = backbone.processor.image_token_id
    assert (batch_of(backbone)["input_ids"] == image).sum() == 16
    assert not (read[0] == image).any()
    assert not table.weight.grad[image].any()


@torch.inference_mode()
def test_fewer_language_layers(checkpoints) -> None:
    whole = load_backbone(checkpoints.settings("clip+qwen3")).model.eval()
    backbone = load_backbone(checkpoints.settings("clip+qwen3", language_layers=1))
    text = backbone.model.config.get_text_config()
    assert (text.num_hidden_layers, len(text.layer_types), len(backbone.model.model.language_model.layers)) == (1, 1, 1)
    assert "first 1 layers" in backbone.loaded
    del whole.model.language_model.layers[1]
    batch = batch_of(backbone)
    assert torch.equal(whole.model(**batch).last_hidden_state, backbone.model.eval().model(**batch).last_hidden_state)


def test_the_new_projector_is_reported_and_the_same_every_time(checkpoints) -> None:
    settings = checkpoints.settings("open_clip+llama")
    torch.manual_seed(1)
    one = load_backbone(settings)
    torch.manual_seed(2)
    two = load_backbone(settings)
    assert one.loaded.endswith("projector: RANDOM, new")
    assert "tiny-vit-test: RANDOM" in one.loaded
    assert all(torch.equal(a, b) for a, b in zip(one.model.parameters(), two.model.parameters(), strict=True))


def test_the_draw_of_the_projector_leaves_the_seed_alone(checkpoints) -> None:
    torch.manual_seed(1)
    wanted = torch.rand(1)
    torch.manual_seed(1)
    load_backbone(checkpoints.settings("clip+llama"))
    assert torch.rand(1) == wanted


def test_what_is_stored(checkpoints, tmp_path) -> None:
    backbone = load_backbone(checkpoints.settings("open_clip+llama", image_size=SIDE + 8))
    backbone.save(tmp_path)
    stored = json.loads((tmp_path / "config.json").read_text())
    assert stored["model_type"] == "text4seg_compose"
    assert stored["vision"] == stored["vision_config"]["name"] == "open_clip:tiny-vit-test"
    assert stored["text_config"]["model_type"] == "llama"
    made = load_processor(ModelSettings("compose", path=str(tmp_path)))
    assert made.geometry == backbone.processor.geometry
    assert made.image_token_id == backbone.processor.image_token_id
    assert len(AutoTokenizer.from_pretrained(tmp_path)) == BYTES + 1


def test_a_newline_ends_each_row_of_image_tokens_and_a_saved_model_knows_it(checkpoints, tmp_path) -> None:
    plain, ended = (load_backbone(checkpoints.settings("clip+llama", row_ends=flag)) for flag in (False, True))
    made = ended.processor
    image, side = made.image_token_id, made.geometry.tokens_a_side
    newline = made.tokenizer("\n", add_special_tokens=False)["input_ids"]
    turns = [("Where?", "There.")]
    (before, mask), (ids, learnt) = plain.processor.tokens(turns), made.tokens(turns)
    start = ids.index(image)
    square = ([image] * side + newline) * side
    assert ids[start : start + len(square)] == square
    assert ids[:start] + [image] * side**2 + ids[start + len(square) :] == before
    assert sum(learnt) == sum(mask), "row ends are no part of the answer"
    ended.save(tmp_path)
    assert load_processor(ModelSettings("compose", path=str(tmp_path))).tokens(turns) == (ids, learnt)
    with torch.inference_mode():
        assert ended.model.eval()(**batch_of(ended)).logits.isfinite().all()


def test_statistics_come_from_the_tower(checkpoints) -> None:
    geometry = load_processor(checkpoints.settings("siglip+llama")).geometry
    assert (list(geometry.mean), list(geometry.std)) == (MEAN, STD)
    name = "open_clip:ViT-B-16-SigLIP"
    settings = ModelSettings("compose", vision=name, language=checkpoints.language("llama"))
    assert load_processor(settings).geometry.mean == (0.5, 0.5, 0.5)
    clip = ModelSettings("compose", vision="open_clip:ViT-B-32", language=checkpoints.language("llama"))
    assert load_processor(clip).geometry.mean == open_clip_mean()
    assert load_processor(clip).geometry.num_tokens == 49


def open_clip_mean() -> tuple[float, ...]:
    from open_clip import OPENAI_DATASET_MEAN

    return OPENAI_DATASET_MEAN


def test_a_processor_loads_no_weights(checkpoints, tmp_path) -> None:
    for kind in ("llama", "clip"):
        source = Path(getattr(checkpoints, "language" if kind == "llama" else "vision")(kind))
        (tmp_path / kind).mkdir()
        for path in source.iterdir():
            if path.suffix != ".safetensors":
                (tmp_path / kind / path.name).write_bytes(path.read_bytes())
    settings = ModelSettings("compose", vision=str(tmp_path / "clip"), language=str(tmp_path / "llama"))
    assert load_processor(settings).geometry.num_tokens == 16
    with pytest.raises(ValueError, match="cannot load it"):
        load_backbone(settings)


def convnext(folder):
    ConvNextModel(ConvNextConfig(hidden_sizes=[8] * 4, depths=[1] * 4)).save_pretrained(folder)


def resnet(folder):
    ResNetModel(ResNetConfig(hidden_sizes=[8] * 4, depths=[1] * 4, embedding_size=8)).save_pretrained(folder)


def swin(folder):
    SwinModel(SwinConfig(embed_dim=8, depths=[1] * 4, num_heads=[1] * 4)).save_pretrained(folder)


@pytest.mark.parametrize(
    ("write", "message"),
    [(convnext, "convnext.*no sequence of patches"), (resnet, "resnet.*no sequence of patches"), (swin, "plain grid")],
)
def test_encoders_without_patches_are_refused(checkpoints, tmp_path, write, message) -> None:
    write(tmp_path)
    with pytest.raises(ValueError, match=message):
        load_processor(ModelSettings("compose", vision=str(tmp_path), language=checkpoints.language("llama")))


@pytest.mark.parametrize(
    ("vision", "message"),
    [
        ("open_clip:ViT-B-33", "near to it are ViT-B-32"),
        ("open_clip:RN50", "ResNet, which has no patches"),
        ("open_clip:convnext_base", "no plain sequence of patches"),
        ("open_clip:coca_ViT-B-32", "no plain sequence of patches"),
        ("open_clip:EVA02-B-16", "tables that a checkpoint does not hold"),
    ],
)
def test_open_clip_models_that_cannot_be_towers(checkpoints, vision, message) -> None:
    with pytest.raises(ValueError, match=message):
        load_processor(ModelSettings("compose", vision=vision, language=checkpoints.language("llama")))


@pytest.mark.parametrize(
    ("vision", "message"),
    [
        ("open_clip:ViT-B-16/laion2b_s34b_b88l", "tags are laion2b_s34b_b88k"),
        ("open_clip:ViT-B-32/openai", "take ViT-B-32-quickgelu/openai"),
        ("open_clip:tiny-vit-test/missing.pt", "neither a file nor a tag"),
    ],
)
def test_open_clip_weights_that_cannot_be_had(checkpoints, vision, message) -> None:
    checkpoints.vision("open_clip")
    with pytest.raises(ValueError, match=message):
        load_backbone(ModelSettings("compose", vision=vision, language=checkpoints.language("llama")))


def test_open_clip_weights_of_another_model(checkpoints, tmp_path) -> None:
    name = add_open_clip(tmp_path, "tiny-vit-other")
    torch.save({"visual.conv1.weight": torch.zeros(1)}, tmp_path / "w.pt")
    with pytest.raises(ValueError, match="cannot be loaded"):
        load_backbone(
            ModelSettings(
                "compose", vision=f"open_clip:{name}/{tmp_path / 'w.pt'}", language=checkpoints.language("llama")
            )
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vision": None}, "needs `model.vision` and `model.language`"),
        ({"vision": "no/such/folder"}, "Give the folder of a checkpoint"),
        ({"language": "no/such/folder"}, "Give the folder of a checkpoint"),
        ({"image_size": 30}, r"multiple of .* 8: 24 or 32"),
        ({"language_layers": 3}, "must be 1 to 2, got 3"),
        ({"language_layers": 0}, "must be 1 to 2, got 0"),
    ],
)
def test_wrong_settings(checkpoints, changes, message) -> None:
    settings = checkpoints.settings("clip+llama")
    for name, value in changes.items():
        setattr(settings, name, value)
    with pytest.raises(ValueError, match=message):
        load_processor(settings)


def test_wrong_settings_beside_a_saved_checkpoint(checkpoints, tmp_path) -> None:
    load_backbone(checkpoints.settings("clip+llama")).save(tmp_path)
    for changes in ({"image_size": 64}, {"language_layers": 1}):
        with pytest.raises(ValueError, match=next(iter(changes))):
            load_processor(ModelSettings("compose", path=str(tmp_path), **changes))
    with pytest.raises(ValueError, match="holds a llama checkpoint"):
        load_processor(ModelSettings("compose", path=checkpoints.language("llama")))


def t5(folder):
    T5ForConditionalGeneration(T5Config(d_model=16, num_layers=1, d_ff=16, num_heads=2)).save_pretrained(folder)


def bert(folder):
    BertLMHeadModel(BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2)).save_pretrained(folder)


def causal(folder, kind, **changes):
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes |= {"vocab_size": 300, "num_key_value_heads": 2, "head_dim": 8, "bos_token_id": 1, "eos_token_id": 2}
    config = AutoConfig.for_model(kind, **{**sizes, "pad_token_id": 0, **changes})
    shake(AutoModelForCausalLM.from_config(config), 0.2).save_pretrained(folder)
    byte_tokenizer(CHATML, ("<|image_pad|>",)).save_pretrained(folder)


def falcon_h1(folder):
    mamba = {"mamba_d_ssm": 16, "mamba_n_heads": 2, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1}
    causal(folder, "falcon_h1", lm_head_multiplier=0.5, **mamba)


def gemma3n(folder):
    layers = {"num_hidden_layers": 5, "num_kv_shared_layers": 0, "activation_sparsity_pattern": [0.0] * 5}
    inputs = {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 300, "laurel_rank": 4}
    causal(folder, "gemma3n_text", **layers, **inputs)


@torch.inference_mode()
@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("gemma", {}),
        ("gemma2", {"final_logit_softcapping": 0.1}),
        ("cohere", {"logit_scale": 0.07}),
        ("granite", {"logits_scaling": 8.0, "embedding_multiplier": 12.0}),
    ],
)
def test_logits_are_the_language_model_s_own(checkpoints, tmp_path, kind, changes) -> None:
    causal(tmp_path / "lm", kind, **changes)
    backbone = load_backbone(settings_for(checkpoints, str(tmp_path / "lm")))
    own = AutoModelForCausalLM.from_pretrained(tmp_path / "lm").eval()
    ids = torch.arange(10, 20)[None]
    wanted = own(input_ids=ids).logits
    assert kind != "gemma2" or wanted.abs().max() <= 0.1
    backbone.save(tmp_path / "saved")
    again = load_backbone(ModelSettings("compose", path=str(tmp_path / "saved")))
    for found in (backbone, again):
        assert torch.equal(found.model.eval()(input_ids=ids).logits, wanted)
        assert torch.equal(found.logits(found.model.model(input_ids=ids).last_hidden_state), wanted)


def mamba(folder):
    causal(folder, "mamba", state_size=8)


def headless(folder):
    language_model("llama").model.save_pretrained(folder)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (t5, "encoder-decoder"),
        (bert, "looks ahead"),
        (mamba, "no key-value cache"),
        (falcon_h1, "makes its logits in a way that is not known"),
        (gemma3n, "looks token ids up inside its layers"),
        (headless, r"lacks 1 weight \(lm_head.weight\)"),
    ],
)
def test_language_models_that_cannot_be_composed(checkpoints, tmp_path, write, message) -> None:
    write(tmp_path)
    byte_tokenizer(CHATML).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=message):
        load_backbone(settings_for(checkpoints, str(tmp_path)))


def test_a_base_model_without_chat_template(checkpoints, tmp_path) -> None:
    write_language(tmp_path, "llama")
    byte_tokenizer(None).save_pretrained(tmp_path)
    (tmp_path / "chat_template.jinja").unlink()
    settings = settings_for(checkpoints, str(tmp_path))
    with pytest.raises(ValueError, match=r"model\.chat: text4seg_v1"):
        load_processor(settings)
    settings.chat = "text4seg_v1"
    assert load_backbone(settings).hidden_states(batch_of(load_backbone(settings))).isfinite().all()


def test_pictures_and_image_tokens_must_match(checkpoints) -> None:
    backbone = load_backbone(checkpoints.settings("clip+llama"))
    batch = batch_of(backbone)
    batch["input_ids"] = batch["input_ids"].masked_fill(batch["input_ids"] == backbone.processor.image_token_id, 7)
    with pytest.raises(ValueError, match="0 image tokens for 1 pictures of 16 each"):
        backbone.hidden_states(batch)
