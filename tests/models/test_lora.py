"""What LoRA adapts, and what trains without it."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from text4seg.models.lora import apply_lora, choose_trained
from text4seg.models.registry import load_backbone
from text4seg.models.settings import LoraSettings

WIDTH, HIDDEN, LAYERS, RANK = 32, 64, 2, 2
# r * (in + out) of q, k, v, o, gate, up, down
PER_LAYER = RANK * (4 * 2 * WIDTH + 3 * (WIDTH + HIDDEN))
PROJECTOR = 2 * (WIDTH * WIDTH + WIDTH)


def adapted(backbone) -> set[str]:
    return {
        n.removesuffix(".lora_A.default") for n, _ in backbone.model.named_modules() if n.endswith("lora_A.default")
    }


@pytest.mark.parametrize("family", ["llava", "clip+llama", "open_clip+llama"])
@pytest.mark.parametrize(
    ("projector", "layers", "weights"),
    [
        ("lora", 7 * LAYERS + 2, LAYERS * PER_LAYER + 2 * RANK * 2 * WIDTH),
        ("frozen", 7 * LAYERS, LAYERS * PER_LAYER),
        ("full", 7 * LAYERS, LAYERS * PER_LAYER + PROJECTOR),
    ],
)
def test_counts(checkpoints, family, projector, layers, weights) -> None:
    backbone = load_backbone(checkpoints.settings(family))
    total = sum(p.numel() for p in backbone.model.parameters())
    report = apply_lora(backbone, LoraSettings(rank=RANK, projector=projector))
    assert (report.targets, report.trainable) == (layers, weights)
    # PEFT keeps the projector's first weights beside the copy that trains.
    assert report.total == total + weights
    assert len(adapted(backbone)) == layers
    assert not any("vision_tower" in name or "lm_head" in name for name in adapted(backbone))
    assert f"{weights:,} of {report.total:,}" in str(report)


def test_the_tower_too_where_the_published_runs_had_it(checkpoints) -> None:
    backbone = load_backbone(checkpoints.settings("llava"))
    report = apply_lora(backbone, LoraSettings(rank=RANK, vision=True))
    tower = {name for name in adapted(backbone) if "vision_tower" in name}
    assert len(tower) == 6 * LAYERS, "q, k, v, out, fc1, fc2"
    assert report.targets == 7 * LAYERS + 2 + len(tower)


def test_only_what_is_asked_for_requires_a_gradient(checkpoints) -> None:
    backbone = load_backbone(checkpoints.settings("clip+llama"))
    apply_lora(backbone, LoraSettings(rank=RANK, projector="full"))
    trains = [name for name, p in backbone.model.named_parameters() if p.requires_grad]
    assert all("lora_" in name or "multi_modal_projector.modules_to_save" in name for name in trains)


def test_the_scale_is_alpha_over_rank(checkpoints) -> None:
    backbone = load_backbone(checkpoints.settings("clip+llama"))
    apply_lora(backbone, LoraSettings(rank=8, alpha=16, dropout=0.25))
    layer = backbone.model.get_submodule(sorted(adapted(backbone))[0])
    assert layer.scaling["default"] == 2.0
    assert layer.lora_dropout["default"].p == 0.25


def test_an_unknown_way_with_the_projector(checkpoints) -> None:
    backbone = load_backbone(checkpoints.settings("clip+llama"))
    with pytest.raises(ValueError, match="lora, full or frozen, got 'Full'"):
        apply_lora(backbone, LoraSettings(projector="Full"))


def test_a_projector_in_several_places_trains_and_is_kept_as_a_whole(checkpoints, tmp_path) -> None:
    """Qwen3-VL has a merger for each layer of its tower whose features go on."""
    backbone = load_backbone(checkpoints.settings("auto:qwen3_vl"))
    apply_lora(backbone, LoraSettings(rank=RANK, projector="full"))
    trains = {name: p for name, p in backbone.model.named_parameters() if p.requires_grad and "lora_" not in name}
    places = {name.split("visual.")[1].split(".modules_to_save")[0] for name in trains}
    assert places == {"merger", "deepstack_merger_list.0"}
    with torch.no_grad():
        for weight in trains.values():
            weight.add_(1)
    backbone.model.save_pretrained(tmp_path)
    again = load_backbone(checkpoints.settings("auto:qwen3_vl"))
    again.model = PeftModel.from_pretrained(again.model, str(tmp_path))
    for which in (backbone, again):
        which.model = which.model.merge_and_unload()
    first, other = backbone.model.state_dict(), again.model.state_dict()
    assert (
        first.keys() == other.keys() == load_backbone(checkpoints.settings("auto:qwen3_vl")).model.state_dict().keys()
    )
    assert all(torch.equal(first[name], other[name]) for name in first)


def test_a_projector_without_a_linear_layer_is_not_left_alone_unsaid(checkpoints) -> None:
    settings = checkpoints.settings("auto:gemma3")
    with pytest.raises(ValueError, match=r"multi_modal_projector of Gemma3\w+ has none.*to full .*or frozen"):
        apply_lora(load_backbone(settings), LoraSettings(rank=RANK))
    backbone = load_backbone(settings)
    apply_lora(backbone, LoraSettings(rank=RANK, projector="full"))
    trains = [name for name, p in backbone.model.named_parameters() if p.requires_grad and "projector" in name]
    assert {name.rpartition("default.")[2] for name in trains} == {
        "mm_input_projection_weight",
        "mm_soft_emb_norm.weight",
    }


def test_wrong_part_names_are_noticed(checkpoints) -> None:
    backbone = load_backbone(checkpoints.settings("clip+llama"))
    backbone.language = "model.multi_modal_projector"
    with pytest.raises(RuntimeError, match="promises 2 decoder layers"):
        apply_lora(backbone, LoraSettings())
    backbone.language = "model.language_model"
    del backbone.model.model.language_model.layers[1]
    with pytest.raises(RuntimeError, match="found in 1 layers"):
        apply_lora(backbone, LoraSettings())


def test_layers_need_not_be_alike(checkpoints) -> None:
    """Mixed stacks have a different number of linear layers in each."""
    backbone = load_backbone(checkpoints.settings("clip+llama"))
    backbone.model.model.language_model.layers[0].mlp.gate_proj = torch.nn.Identity()
    assert apply_lora(backbone, LoraSettings(projector="frozen")).targets == 13


@pytest.mark.parametrize(
    ("train", "names"),
    [
        (["projector"], {"model.multi_modal_projector"}),
        (["language"], {"model.language_model", "lm_head"}),
        (["vision", "projector"], {"model.vision_tower", "model.multi_modal_projector"}),
    ],
)
def test_whole_parts_train_without_lora(checkpoints, train, names) -> None:
    settings = checkpoints.settings("clip+llama", train=train, lora=LoraSettings(enabled=False))
    backbone = load_backbone(settings)
    report = choose_trained(backbone, settings)
    trains = {name for name, p in backbone.model.named_parameters() if p.requires_grad}
    assert trains == {n for n, _ in backbone.model.named_parameters() if n.startswith(tuple(names))}
    assert report.trainable == sum(backbone.model.get_parameter(n).numel() for n in trains)


def test_a_part_that_no_model_has(checkpoints) -> None:
    settings = checkpoints.settings("clip+llama", train=["decoder"], lora=LoraSettings(enabled=False))
    with pytest.raises(ValueError, match="vision, projector and language, got 'decoder'"):
        choose_trained(load_backbone(settings), settings)


def test_all_linear_would_adapt_the_tower_too(checkpoints) -> None:
    """Why the layers are named one by one."""
    backbone = load_backbone(checkpoints.settings("clip+llama"))
    backbone.model = get_peft_model(backbone.model, LoraConfig(target_modules=["q_proj", "v_proj"]))
    assert any("vision_tower" in name for name in adapted(backbone))
