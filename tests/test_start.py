"""A second stage goes on from the first one's trained weights, or says why it cannot."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from small import MODEL, SHORT, write_config

from text4seg.fit import main
from text4seg.models.lora import choose_trained
from text4seg.models.registry import load_backbone
from text4seg.models.settings import LoraSettings, ModelSettings
from text4seg.models.start import start_from

SIZES = {"image": 32, "patch": 8, "width": 32, "vision_layers": 1, "language_layers": 1}


def adapted(**changes):
    settings = ModelSettings(path="random", options=SIZES, **{"lora": LoraSettings(rank=4), **changes})
    backbone = load_backbone(settings)
    choose_trained(backbone, settings)
    return backbone


def test_a_run_starts_where_another_ended(tmp_path, capsys):
    config = write_config(tmp_path, train=8)
    words = ["--config", str(config), *MODEL, *SHORT, "optim.lr=0.05"]
    assert main([*words, f"run_dir={tmp_path}/one"]) == 0
    assert main([*words, f"model.start={tmp_path}/one", "optim.lr=0", f"run_dir={tmp_path}/two"]) == 0
    assert "starts from" in capsys.readouterr().out
    one, two = (load_file(tmp_path / name / "adapter" / "adapter_model.safetensors") for name in ("one", "two"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any("lora_B" in name and value.any() for name, value in two.items())
    assert main([*words, f"model.start={tmp_path}", f"run_dir={tmp_path}/three"]) == 2
    assert "holds no trained weights" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"lora": LoraSettings(rank=8)}, "take the same `model.lora.rank`"),
        ({"lora": LoraSettings(rank=4, projector="frozen")}, "holds "),
        ({"lora": LoraSettings(rank=4, alpha=8)}, r"lora_alpha=128, here it is 8; take model\.lora\.alpha=128"),
    ],
)
def test_weights_of_another_shape_are_refused(tmp_path, other, message):
    adapted().model.save_pretrained(str(tmp_path))
    with pytest.raises(ValueError, match=message):
        start_from(adapted(**other), tmp_path)


def test_without_lora(tmp_path):
    whole = {"lora": LoraSettings(enabled=False), "train": ["projector"]}
    one, other = adapted(**whole), adapted(**whole)
    from text4seg.callbacks.keeper import save_trained
    from text4seg.models.fsdp2 import trained_weights

    save_trained(one, trained_weights(one.model), tmp_path, "")
    start_from(other, tmp_path)
    pairs = zip(one.part("projector").parameters(), other.part("projector").parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
