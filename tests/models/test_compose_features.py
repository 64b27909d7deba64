"""The patches that a composed model sees, against transformers' own classes and against LLaVA's way of taking them."""

from __future__ import annotations

import open_clip
import pytest
import torch
from checkpoints import PATCH, PICTURE, SIDE, SIZES, add_open_clip, shake, vision_model, write_statistics
from transformers import (
    Aimv2VisionConfig,
    Aimv2VisionModel,
    AutoModel,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    SiglipConfig,
    SiglipModel,
)

from text4seg.models.registry import load_backbone
from text4seg.models.settings import ModelSettings

PATCHES = (SIDE // PATCH) ** 2
PREFIX = {"clip": 1, "siglip": 0, "dinov2": 1, "dinov2_registers": 5, "dinov3": 5, "vit": 1}


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def composed(checkpoints, vision, **changes):
    model = load_backbone(checkpoints.settings(f"{vision}+llama", **changes)).model
    return model.eval()


@torch.inference_mode()
@pytest.mark.parametrize("kind", PREFIX)
def test_features_are_the_tower_s_own_last_hidden_state(kind, checkpoints, pixels) -> None:
    model = composed(checkpoints, kind)
    tower = AutoModel.from_pretrained(checkpoints.vision(kind)).eval()
    wanted = tower(pixels).last_hidden_state[:, PREFIX[kind] :]
    if kind == "clip":  # its vision model norms the class token only
        wanted = tower.post_layernorm(wanted)
    found = model.model.patch_features(pixels)
    assert found.shape == (2, PATCHES, 32)
    assert model.config.prefix == PREFIX[kind]
    assert torch.equal(found, wanted)


@torch.inference_mode()
@pytest.mark.parametrize("kind", PREFIX)
def test_features_pass_the_final_norm_exactly_once(kind, checkpoints, pixels) -> None:
    model = composed(checkpoints, kind)
    tower = model.model.vision_tower
    norm = next(getattr(tower, n) for n in ("post_layernorm", "layernorm", "norm") if hasattr(tower, n))
    once = model.model.patch_features(pixels)
    # A layer norm takes its own scale and shift back out: what is left has mean 0 and variance 1 in every token.
    plain = (once - norm.bias) / norm.weight
    assert torch.allclose(plain.mean(-1), torch.zeros(2, PATCHES), atol=1e-4)
    assert torch.allclose(plain.var(-1, unbiased=False), torch.ones(2, PATCHES), atol=1e-3)


@torch.inference_mode()
def test_llava_s_own_path_misses_the_norm_of_dinov2_and_the_registers(checkpoints, pixels) -> None:
    for kind in ("dinov2", "dinov2_registers"):
        tower = AutoModel.from_pretrained(checkpoints.vision(kind)).eval()
        config = LlavaConfig(
            vision_config=tower.config,
            text_config=LlamaConfig(hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=4),
            vision_feature_layer=-1,
        )
        llava = LlavaForConditionalGeneration(config).eval()
        llava.model.vision_tower = tower
        llava.model.multi_modal_projector = torch.nn.Identity()
        theirs = torch.stack(list(llava.model.get_image_features(pixels).pooler_output))
        ours = composed(checkpoints, kind).model.patch_features(pixels)
        assert theirs.shape[1] == PATCHES + (4 if kind == "dinov2_registers" else 0)
        assert not torch.allclose(theirs[:, -PATCHES:], ours, atol=1e-2)
        assert torch.allclose(tower.layernorm(theirs[:, -PATCHES:]), ours, atol=1e-5)


@torch.inference_mode()
def test_a_whole_clip_gives_its_vision_tower(checkpoints, pixels, tmp_path) -> None:
    torch.manual_seed(3)
    whole = vision_model("clip_whole").eval()
    whole.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": [0, 0, 0], "image_std": [1, 1, 1]}')
    settings = ModelSettings("compose", vision=str(tmp_path), language=checkpoints.language("llama"))
    tower = whole.vision_model
    wanted = tower.post_layernorm(tower(pixels).last_hidden_state[:, 1:])
    assert torch.equal(load_backbone(settings).model.eval().model.patch_features(pixels), wanted)


@torch.inference_mode()
def test_a_whole_siglip_gives_its_vision_tower(checkpoints, pixels, tmp_path) -> None:
    whole = shake(SiglipModel(SiglipConfig(vision_config={**SIZES, **PICTURE}, text_config={**SIZES}))).eval()
    torch.save(whole.state_dict(), tmp_path / "pytorch_model.bin")  # as older checkpoints are stored
    whole.config.save_pretrained(tmp_path)
    write_statistics(tmp_path)
    settings = ModelSettings("compose", vision=str(tmp_path), language=checkpoints.language("llama"))
    found = load_backbone(settings).model.eval().model.patch_features(pixels)
    assert torch.equal(found, whole.vision_model(pixels).last_hidden_state)


@torch.inference_mode()
def test_a_pooling_head_s_class_token_is_no_prefix(checkpoints, pixels, tmp_path) -> None:
    tower = shake(Aimv2VisionModel(Aimv2VisionConfig(**SIZES, **PICTURE))).eval()
    tower.save_pretrained(tmp_path)
    write_statistics(tmp_path)
    settings = ModelSettings("compose", vision=str(tmp_path), language=checkpoints.language("llama"))
    model = load_backbone(settings).model.eval()
    assert torch.equal(model.model.patch_features(pixels), tower(pixels).last_hidden_state)


@torch.inference_mode()
@pytest.mark.parametrize("kind", [*PREFIX, "open_clip"])
def test_another_side_is_interpolated(kind, checkpoints) -> None:
    side = SIDE + 2 * PATCH
    backbone = load_backbone(checkpoints.settings(f"{kind}+llama", image_size=side))
    assert backbone.processor.geometry.num_tokens == 36
    pixels = torch.randn(1, 3, side, side)
    found = backbone.model.eval().model.patch_features(pixels)
    assert found.shape == (1, 36, 32)
    if kind in ("clip", "siglip", "vit"):
        tower = AutoModel.from_pretrained(checkpoints.vision(kind)).eval()
        wanted = tower(pixels, interpolate_pos_encoding=True).last_hidden_state[:, PREFIX[kind] :]
        assert torch.equal(found, tower.post_layernorm(wanted) if kind == "clip" else wanted)


@torch.inference_mode()
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_open_clip_weights_from_a_file(suffix, checkpoints, pixels, tmp_path) -> None:
    name = add_open_clip(tmp_path / "configs", "tiny-vit-file")
    torch.manual_seed(5)
    whole = open_clip.create_model(name).eval()
    path = tmp_path / f"weights.{suffix}"
    if suffix == "pt":
        torch.save(whole.state_dict(), path)
    else:
        from safetensors.torch import save_file

        save_file(whole.state_dict(), path)
    settings = ModelSettings("compose", vision=f"open_clip:{name}/{path}", language=checkpoints.language("llama"))
    backbone = load_backbone(settings)
    whole.visual.output_tokens = True
    wanted = whole.visual(pixels)[1]
    assert torch.allclose(backbone.model.eval().model.patch_features(pixels), wanted, atol=1e-6)
    assert f"{path}: all weights loaded" in backbone.loaded
    assert not any("attn_pool" in n or n.endswith(".proj") for n, _ in backbone.part("vision").named_parameters())


@torch.inference_mode()
def test_a_tower_of_timm_behind_open_clip(checkpoints, tmp_path) -> None:
    vision = {"timm_model_name": "vit_tiny_patch16_224", "timm_pool": "token", "timm_proj": "linear"}
    name = add_open_clip(tmp_path, "tiny-timm-test", **vision, image_size=224)
    settings = ModelSettings("compose", vision=f"open_clip:{name}", language=checkpoints.language("llama"))
    settings.image_size = 64
    backbone = load_backbone(settings)
    model = backbone.model.eval()
    pixels = torch.randn(1, 3, 64, 64)
    trunk = model.model.vision_tower.visual.trunk
    assert torch.allclose(model.model.patch_features(pixels), trunk.forward_features(pixels)[:, 1:], atol=1e-6)
    assert f"{name}: RANDOM" in backbone.loaded
