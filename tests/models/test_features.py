"""Features kept on disk: the same numbers, fewer looks, and never those of another tower or picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from checkpoints import SIDE

from text4seg.models.families.composed import merge_patches
from text4seg.models.features import FeatureCache, digest_of
from text4seg.models.lora import choose_trained
from text4seg.models.registry import load_backbone, load_processor
from text4seg.models.settings import LoraSettings, ModelSettings


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def frozen(checkpoints, folder, **changes):
    settings = checkpoints.settings("clip+llama", lora=LoraSettings(rank=2, projector="full"), **changes)
    backbone = load_backbone(replace(settings, cache_features=str(folder)))
    choose_trained(backbone, replace(settings, cache_features=str(folder)))
    return backbone.core.model


def looks(model) -> list[int]:
    """How many pictures the tower was given, call by call."""
    seen: list[int] = []
    model.vision_tower.register_forward_pre_hook(
        lambda _module, given, named: seen.append(len(named.get("pixel_values", given[0] if given else None))),
        with_kwargs=True,
    )
    return seen


def test_each_picture_is_looked_at_once_and_features_stay_the_same(checkpoints, tmp_path, pixels) -> None:
    plain = load_backbone(checkpoints.settings("clip+llama")).core.model.eval()
    model = frozen(checkpoints, tmp_path)
    seen = looks(model)
    wanted = plain.patch_features(pixels)
    assert torch.equal(model.patch_features(pixels[:2]), plain.patch_features(pixels[:2]))
    assert torch.allclose(model.patch_features(pixels), wanted, atol=1e-6)
    assert torch.equal(model.patch_features(pixels), model.patch_features(pixels))
    assert seen == [2, 1]
    again = frozen(checkpoints, tmp_path)  # another run
    seen = looks(again)
    assert torch.allclose(again.patch_features(pixels), wanted, atol=1e-6)
    assert not seen


def test_other_weights_and_other_precision_have_their_own_entries(checkpoints, tmp_path, pixels) -> None:
    model = frozen(checkpoints, tmp_path)
    model.patch_features(pixels)
    seen = looks(model)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = model.patch_features(pixels)
        assert torch.equal(model.patch_features(pixels), mixed)
    assert seen == [3]
    with torch.no_grad():
        next(model.vision_tower.parameters()).add_(1)
    assert digest_of(model.vision_tower) != model.cache.folder.name


def test_bfloat16_features_come_back_as_they_were(tmp_path, pixels) -> None:
    cache = FeatureCache(tmp_path, torch.nn.Identity())
    made = torch.randn(3, 4, 5).bfloat16()
    assert torch.equal(cache(pixels, lambda _: made), made)
    back = cache(pixels, lambda _: pytest.fail("looked again"))
    assert back.dtype == torch.bfloat16
    assert torch.equal(back, made)


def test_a_tower_that_trains_is_always_asked(tmp_path, pixels) -> None:
    cache = FeatureCache(tmp_path, torch.nn.Linear(1, 1))
    assert torch.equal(cache(pixels, lambda p: p + 1), pixels + 1)
    assert torch.equal(cache(pixels, lambda p: p + 2), pixels + 2)


def test_a_tower_with_an_adapter_is_always_asked_even_when_nothing_trains(checkpoints, tmp_path, pixels) -> None:
    model = frozen(checkpoints, tmp_path)
    model.patch_features(pixels)
    settings = checkpoints.settings("clip+llama", lora=LoraSettings(rank=2, projector="full", vision=True))
    adapted = load_backbone(replace(settings, cache_features=str(tmp_path)))
    choose_trained(adapted, settings)
    for name, weight in adapted.model.named_parameters():
        weight.requires_grad_(False)
        if "vision" in name and "lora_B" in name:
            torch.nn.init.normal_(weight)
    assert not torch.allclose(adapted.core.model.patch_features(pixels), model.patch_features(pixels), atol=1e-2)


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY\x01\x00garbage", b"not an array"])
def test_a_damaged_entry_is_made_again(tmp_path, pixels, damage) -> None:
    cache = FeatureCache(tmp_path, torch.nn.Identity())
    cache(pixels, lambda p: p[:, 0])
    for path in tmp_path.rglob("*.npy"):
        path.write_bytes(damage)
    assert torch.equal(cache(pixels, lambda p: p[:, 1]), pixels[:, 1])
    assert torch.equal(cache(pixels, lambda p: p[:, 2]), pixels[:, 1])


def test_a_pickle_is_not_opened(tmp_path, pixels) -> None:
    cache = FeatureCache(tmp_path, torch.nn.Identity())
    cache(pixels, lambda p: p[:, 0])
    for path in tmp_path.rglob("*.npy"):
        np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert torch.equal(cache(pixels, lambda p: p[:, 1]), pixels[:, 1])


def test_a_folder_that_cannot_be_written_costs_a_warning(tmp_path, pixels) -> None:
    (tmp_path / "file").write_text("no folder")
    cache = FeatureCache(tmp_path / "file", torch.nn.Identity())
    with pytest.warns(UserWarning, match="no longer kept"):
        assert torch.equal(cache(pixels, lambda p: p[:, 0]), pixels[:, 0])
    assert torch.equal(cache(pixels, lambda p: p[:, 1]), pixels[:, 1]), "said once"


def test_neighbours_are_put_side_by_side() -> None:
    patches = torch.arange(16.0).reshape(1, 16, 1)
    wanted = [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    assert merge_patches(patches, 2).tolist() == [wanted]
    assert torch.equal(merge_patches(patches, 1), patches)


def test_a_merged_backbone_is_saved_and_loaded(checkpoints, tmp_path) -> None:
    settings = checkpoints.settings("clip+llama", merge=2)
    backbone = load_backbone(settings)
    assert backbone.processor.geometry.num_tokens == load_processor(settings).geometry.num_tokens == 4
    backbone.save(tmp_path)
    again = load_backbone(ModelSettings("compose", path=str(tmp_path)))
    assert again.processor.geometry.num_tokens == 4
    state = again.core.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in backbone.core.state_dict().items())
    with pytest.raises(ValueError, match=r"merge. must divide the 4 patches"):
        load_processor(checkpoints.settings("clip+llama", merge=3))
