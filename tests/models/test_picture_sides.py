"""Stages with pictures of a side of their own: what the model sees then, how long its input is, what is refused."""

from __future__ import annotations

import re

import pytest
import torch
from checkpoints import PATCH, SIDE, write_language, write_vision
from small import SHORT, steps_of, write_config
from transformers import AutoModel

from text4seg.config import Config, load
from text4seg.fit import main
from text4seg.models.families.compose import refuse_side
from text4seg.models.processor import ImageGeometry
from text4seg.models.registry import load_backbone
from text4seg.models.settings import LoraSettings, ModelSettings
from text4seg.training.checks import check
from text4seg.training.estimate import estimate
from text4seg.training.probe import _longest
from text4seg.training.settings import StageSettings

INTERPOLATED = {"clip": 1, "siglip": 0, "dinov2": 1, "vit": 1}
ROTARY = {"dinov3": 5}
STAGES = "stages=[{name: small, length: 1, grid: [2, 2], image_size: %d}, {name: whole, length: 1, grid: [4, 4]}]"


@torch.inference_mode()
@pytest.mark.parametrize("side", [SIDE // 2, SIDE + PATCH])
@pytest.mark.parametrize("kind", {**INTERPOLATED, **ROTARY})
def test_features_of_another_side_are_the_tower_s_own(kind, side, checkpoints):
    model = load_backbone(checkpoints.settings(f"{kind}+llama")).model.eval()
    pixels = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    tower = AutoModel.from_pretrained(checkpoints.vision(kind)).eval()
    told = {"interpolate_pos_encoding": True} if kind in ("clip", "siglip", "vit") else {}
    wanted = tower(pixels, **told).last_hidden_state[:, {**INTERPOLATED, **ROTARY}[kind] :]
    if kind == "clip":  # its vision model norms the class token only
        wanted = tower.post_layernorm(wanted)
    found = model.model.patch_features(pixels)
    assert found.shape[1] == (side // PATCH) ** 2
    assert torch.equal(found, wanted)


def test_a_geometry_of_another_side_has_tokens_of_the_same_pixels():
    geometry = ImageGeometry(224, 64, (0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
    assert geometry.at(112) == ImageGeometry(112, 16, (0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
    assert geometry.at(252).num_tokens == 81
    for wrong in (0, 14, 100, -28):
        with pytest.raises(ValueError, match=rf"`image_size` of a stage must be a multiple of 28.*got {wrong}"):
            geometry.at(wrong)


@pytest.fixture
def words(tmp_path):
    return [
        "model.family=compose",
        f"model.vision={write_vision(tmp_path / 'vision', 'dinov2')}",
        f"model.language={write_language(tmp_path / 'language', 'llama')}",
        f"model.cache_features={tmp_path}/features",
        "model.lora.projector=full",
        "loss.cells=1",
        "loss.counts=1",
        "model.row_ends=true",
        *SHORT,
        "trainer.steps=4",
    ]


def test_a_stage_of_small_pictures_feeds_fewer_tokens_and_is_scored_at_full_size(words, tmp_path, capsys):
    config = write_config(tmp_path)
    fit = ["--config", str(config), *words, STAGES % (SIDE // 2), f"run_dir={tmp_path}/run"]
    assert main(fit) == 0, capsys.readouterr().err
    tokens = [int(line["tokens"]) for line in steps_of(tmp_path / "run")]
    across, small = SIDE // PATCH, SIDE // 2 // PATCH
    saved = 2 * (across * (across + 1) - small * (small + 1))  # two samples; each row of tokens has its end
    assert max(tokens[:2]) < min(tokens[2:]), "answers on 2x2 are shorter, too"
    assert min(tokens[2:]) - max(tokens[:2]) >= saved // 2
    assert "on 16 pixels" in capsys.readouterr().out
    assert main(["--resume", str(tmp_path / "run")]) == 0


def test_a_side_that_cuts_tokens_is_refused_before_training(words, tmp_path, capsys):
    config = write_config(tmp_path)
    for side, said in ((SIDE - 3, "multiple of"), (0, "1 or more pixels, got 0")):
        assert main(["--config", str(config), *words, STAGES % side, f"run_dir={tmp_path}/run"]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_side_that_leaves_no_room_for_an_answer_is_refused_before_training(words, tmp_path, capsys):
    fit = ["--config", str(write_config(tmp_path)), *words, "data.max_length=200", f"run_dir={tmp_path}/run"]
    assert main([*fit, STAGES % (4 * SIDE)]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert re.search(
        rf"`image_size` {4 * SIDE} of 'small' is too large: .* make \d{{3}} tokens, the limit is 200", told
    )
    assert not (tmp_path / "run").exists()


def test_memory_is_that_of_the_largest_pictures(checkpoints, tmp_path):
    backbone = load_backbone(checkpoints.settings("dinov2+llama"))
    backbone.save(tmp_path)
    config = Config(model=ModelSettings(family="compose", path=str(tmp_path), lora=LoraSettings(rank=2)))
    for sides, largest in (((SIDE // 2,), SIDE), ((SIDE // 2, 2 * SIDE), 2 * SIDE)):
        config.stages = [StageSettings(str(side), image_size=side) for side in sides]
        assert estimate(config).image_tokens == (largest // PATCH) ** 2
        assert _longest(backbone, config, 1, torch.device("cpu"))["pixel_values"].shape[-1] == largest


def test_a_tower_of_one_side_is_refused(checkpoints):
    backbone = load_backbone(checkpoints.settings("open_clip+llama"))
    with pytest.raises(ValueError, match=r"does not take pictures of 16 pixels"):
        refuse_side(backbone, SIDE // 2)


@pytest.mark.parametrize(
    "text",
    ["stages=[{name: a, image_size: 64}]", "data={variants: {a: {image_size: 64}}, curriculum: [{at: 0, a: 1}]}"],
)
def test_other_families_have_pictures_of_one_side(text):
    with pytest.raises(ValueError, match=r"`image_size` of 'a' is for family compose, not tiny"):
        check(load("conf/tiny.yaml", [text]))
