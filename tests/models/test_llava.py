"""Family llava on the layouts that LLaVA-1.5 checkpoints have: old names, pieces, .bin, templates in other files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from checkpoints import SIDE, picture, write_llava
from safetensors.torch import save_file
from transformers import LlavaForConditionalGeneration

from text4seg.models.registry import load_backbone, load_processor
from text4seg.models.settings import ModelSettings

TURNS = [("where?", "<seg>sky *4\n</seg>")]


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    return Path(write_llava(tmp_path_factory.mktemp("llava") / "plain"))


@pytest.fixture
def folder(plain, tmp_path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(plain, tmp_path / "copy"))


def logits_of(folder: Path) -> torch.Tensor:
    backbone = load_backbone(ModelSettings("llava", path=str(folder)))
    batch = backbone.processor.collate([backbone.processor.encode(picture(0), TURNS)])
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "pixel_values")}
    with torch.inference_mode():
        return backbone.logits(backbone.hidden_states(inputs))


def published_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Names as the hub's checkpoints have them."""

    def old(name: str) -> str:
        if name.startswith("lm_head"):
            return f"language_model.{name}"
        name = name.removeprefix("model.").replace("language_model.", "language_model.model.")
        return name.replace("vision_tower.", "vision_tower.vision_model.")

    state = LlavaForConditionalGeneration.from_pretrained(folder).state_dict()
    return {old(name): value.clone() for name, value in state.items()}


def in_pieces(folder: Path, suffix: str) -> list[Path]:
    """Replace a checkpoint's weights by three files in the published layout."""
    weights = published_weights(folder)
    (folder / "model.safetensors").unlink()
    stem = "model" if suffix == "safetensors" else "pytorch_model"
    where = {}
    for number in range(3):
        name = f"{stem}-{number + 1:05d}-of-00003.{suffix}"
        part = dict(list(weights.items())[number::3])
        where |= dict.fromkeys(part, name)
        if suffix == "safetensors":
            save_file(part, folder / name, {"format": "pt"})
        else:
            torch.save(part, folder / name)
    index = {"metadata": {"total_size": 1}, "weight_map": where}
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(index))
    return sorted(folder.glob(f"{stem}-*"))


def change_config(folder: Path, change: Callable[[dict], object]) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_the_published_layout_in_pieces(plain, folder, suffix) -> None:
    in_pieces(folder, suffix)
    assert torch.equal(logits_of(folder), logits_of(plain))


@pytest.mark.parametrize(("strategy", "tokens"), [("default", 16), ("full", 17)])
def test_image_tokens_are_counted_where_the_configuration_is_silent(folder, strategy, tokens) -> None:
    """As on the hub: what is not stated would be 576, the number of LLaVA-1.5's own size."""
    change_config(folder, lambda c: (c.pop("image_seq_length"), c.update(vision_feature_select_strategy=strategy)))
    assert load_processor(ModelSettings("llava", path=str(folder))).geometry.num_tokens == tokens
    assert logits_of(folder).isfinite().all()


@pytest.mark.parametrize("name", ["chat_template.json", "processor_config.json"])
def test_the_chat_template_may_lie_with_the_processor(plain, folder, name) -> None:
    template = folder / "chat_template.jinja"
    text = template.read_text()
    template.unlink()
    settings = ModelSettings("llava", path=str(folder))
    with pytest.raises(ValueError, match="no chat template"):
        load_processor(settings).tokens(TURNS)
    (folder / name).write_text(json.dumps({"processor_class": "LlavaProcessor", "chat_template": text}))
    wanted = load_processor(ModelSettings("llava", path=str(plain)))
    assert load_processor(settings).tokens(TURNS) == wanted.tokens(TURNS)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
@pytest.mark.parametrize("damage", [cut, Path.unlink, lambda path: path.write_bytes(b"")], ids=["cut", "gone", "empty"])
def test_a_piece_that_is_not_whole(folder, suffix, damage) -> None:
    damage(in_pieces(folder, suffix)[1])
    with pytest.raises(ValueError, match="cannot load it"):
        load_backbone(ModelSettings("llava", path=str(folder)))


def test_a_cut_tokenizer(folder) -> None:
    cut(folder / "tokenizer.json")
    with pytest.raises(ValueError, match="AutoTokenizer cannot load it"):
        load_processor(ModelSettings("llava", path=str(folder)))


def test_weights_of_other_shapes(folder) -> None:
    change_config(folder, lambda c: c["text_config"].update(intermediate_size=72))
    with pytest.raises(ValueError, match="other shapes"):
        load_backbone(ModelSettings("llava", path=str(folder)))


def test_missing_weights_are_named(folder) -> None:
    weights = {name: value for name, value in published_weights(folder).items() if "layers.1.mlp.up" not in name}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks 1 weight \(.*layers\.1\.mlp\.up_proj"):
        load_backbone(ModelSettings("llava", path=str(folder)))


def test_a_pickle_that_wants_more_than_weights(folder, tmp_path) -> None:
    class Intruder:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "was here",))

    (folder / "model.safetensors").unlink()
    torch.save({"x": Intruder()}, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match="cannot load it"):
        load_backbone(ModelSettings("llava", path=str(folder)))
    assert not (tmp_path / "was here").exists()


def test_another_side_than_the_checkpoint_s(folder) -> None:
    with pytest.raises(ValueError, match=f"must be {SIDE}"):
        load_processor(ModelSettings("llava", path=str(folder), image_size=2 * SIDE))
