"""Prepacked weights: the same outputs and texts, never a stale copy, nothing left behind, and who uses them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from fake_item import jpeg
from small import MODEL, SHORT, write_config
from teacher import without_padding
from test_engine import BOUND, asked, prompts_for, teacher_of

from text4seg.decoding.engine import prepack
from text4seg.decoding.engine.prepack import prepacked
from text4seg.decoding.engine.structured import Plan, write
from text4seg.decoding.settings import DecodingSettings
from text4seg.evaluate import main as evaluate
from text4seg.fit import main as fit
from text4seg.models.lora import apply_lora
from text4seg.models.registry import load_backbone
from text4seg.models.settings import LoraSettings
from text4seg.predict import main as predict

ON = DecodingSettings()
VAL = ["--config", str(Path(__file__).parents[2] / "conf/eval/val.yaml")]

pytestmark = pytest.mark.skipif(
    not prepack.known(), reason="prepacked weights are for x86 and a torch that was built with oneDNN"
)


@pytest.fixture(autouse=True)
def small_layers(monkeypatch) -> None:
    """Layers of tiny models are worth it too."""
    monkeypatch.setattr(prepack, "WORTH", 1)


@pytest.fixture
def made(monkeypatch) -> list:
    """Every layer that gets a copy."""
    layers, real = [], prepack._prepack
    monkeypatch.setattr(prepack, "_prepack", lambda layer: layers.append(layer) or real(layer))
    return layers


@pytest.fixture
def picture_file(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(jpeg(40, 40))
    return path


def single(settings):
    backbone = load_backbone(settings)
    backbone.model.float().eval()
    return backbone


def own_forwards(backbone) -> list:
    return [module for module in backbone.model.modules() if "forward" in vars(module)]


@torch.inference_mode()
def outputs(backbone, count: int) -> torch.Tensor:
    ids = torch.arange(2 * count).reshape(2, count) % 40
    out = backbone.part("language")(input_ids=ids, attention_mask=torch.ones_like(ids))
    return backbone.logits(out.last_hidden_state)


@pytest.mark.parametrize("family", ["llava", "internvl2-2b", "qwen_vl", "auto:qwen2_vl", "vit+gpt2", "siglip+qwen3"])
def test_outputs_are_those_of_the_layers(checkpoints, made, family) -> None:
    backbone = single(checkpoints.settings(family))
    for count in (1, 2, 7, 33):
        wanted = outputs(backbone, count)
        with prepacked(backbone, ON) as size:
            assert made
            assert size == sum({id(layer): layer.weight.nbytes for layer in made}.values())
            assert backbone.head in made
            assert len(own_forwards(backbone)) == len(made)
            found = outputs(backbone, count)
            assert (found - wanted).abs().max() < 1e-4 * wanted.abs().max()
        assert not own_forwards(backbone)
        assert torch.equal(outputs(backbone, count), wanted)
        made.clear()


def test_copies_are_what_is_multiplied_by(checkpoints) -> None:
    backbone = single(checkpoints.settings("llava"))
    with prepacked(backbone, ON), torch.profiler.profile() as seen:
        outputs(backbone, 3)
    calls = {event.key: event.count for event in seen.key_averages()}
    assert calls["mkldnn::_linear_pointwise"] == len(prepack._layers(backbone))
    assert "aten::linear" not in calls


def test_texts_are_the_same_with_an_adapter(checkpoints, made) -> None:
    backbone = load_backbone(checkpoints.settings("llava"))
    apply_lora(backbone, LoraSettings(rank=2, alpha=64))
    torch.manual_seed(0)
    for name, weight in backbone.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight.data, std=0.05)
    backbone.model.float().eval()
    prompts = prompts_for(backbone)
    teacher = teacher_of(backbone, prompts)
    plan = Plan(adjust=teacher.adjust)
    wanted = write(backbone, prompts, asked(4), BOUND, plan)
    with prepacked(backbone, ON):
        found = write(backbone, prompts, asked(4), BOUND, plan)
    assert len(made) > 20, "layers below the adapter, and the adapter's own"
    for row, other in zip(found.tokens, wanted.tokens, strict=True):
        assert without_padding(backbone, row) == without_padding(backbone, other)
    assert found.confidence == pytest.approx(wanted.confidence, rel=1e-4)


def test_a_weight_that_changes_within_is_seen(checkpoints) -> None:
    backbone = single(checkpoints.settings("llava"))
    layer = next(module for module in backbone.part("language").modules() if type(module) is torch.nn.Linear)
    rows = torch.randn(3, layer.in_features)
    with prepacked(backbone, ON), torch.no_grad():
        before = layer(rows)
        layer.weight.mul_(2)
        torch.testing.assert_close(layer(rows), 2 * before, rtol=1e-4, atol=1e-5)
        layer.weight = torch.nn.Parameter(torch.zeros_like(layer.weight))
        assert not layer(rows).any()


def test_logits_of_some_words_only_are_of_those_words(checkpoints) -> None:
    backbone = single(checkpoints.settings("llava"))
    hidden = torch.randn(3, backbone.head.in_features)
    words = torch.tensor([5, 2, 9])
    with prepacked(backbone, ON), torch.no_grad():
        torch.testing.assert_close(backbone.logits(hidden, words), backbone.logits(hidden)[:, words])


def test_gradients_and_autocast_are_the_layers_own(checkpoints) -> None:
    backbone = single(checkpoints.settings("llava"))
    layer = next(module for module in backbone.part("language").modules() if type(module) is torch.nn.Linear)
    rows = torch.randn(3, layer.in_features, requires_grad=True)
    layer.weight.requires_grad_(True)
    (wanted,) = torch.autograd.grad(layer(rows).square().sum(), layer.weight)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        half = layer(rows)
    with prepacked(backbone, ON):
        (found,) = torch.autograd.grad(layer(rows).square().sum(), layer.weight)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(layer(rows), half)
    assert torch.equal(found, wanted)


def test_an_error_leaves_nothing_behind(checkpoints) -> None:
    backbone = single(checkpoints.settings("llava"))

    def stop() -> None:
        with prepacked(backbone, ON):
            assert own_forwards(backbone)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    assert not own_forwards(backbone)


def test_what_others_put_into_a_layer_stays(checkpoints) -> None:
    backbone = single(checkpoints.settings("llava"))
    own = backbone.head.forward = lambda rows: rows
    with prepacked(backbone, ON):
        assert backbone.head.forward is own
    assert backbone.head.forward is own


def test_a_model_that_takes_no_drafts_is_left_alone(checkpoints, made) -> None:
    backbone = single(checkpoints.settings("llava"))
    backbone.core.config.get_text_config()._attn_implementation = "flash_attention_2"
    with prepacked(backbone, ON) as size:
        assert size == 0
    assert not made


@pytest.mark.parametrize("changes", [{"prepack": False}, {"engine": "hf"}])
def test_who_does_not_want_it_does_not_get_it(checkpoints, made, changes) -> None:
    backbone = single(checkpoints.settings("llava"))
    with prepacked(backbone, DecodingSettings(**changes)) as size:
        assert size == 0
    assert not made


def test_float64_and_small_layers_stay(checkpoints, made, monkeypatch) -> None:
    backbone = single(checkpoints.settings("llava"))
    double = single(checkpoints.settings("llava"))
    double.model.double()
    with prepacked(double, ON):
        assert not made
    monkeypatch.setattr(prepack, "WORTH", backbone.head.weight.numel())
    with prepacked(backbone, ON):
        assert made == [backbone.head]


def test_where_memory_is_short_it_is_said(checkpoints, made, monkeypatch) -> None:
    backbone = single(checkpoints.settings("llava"))
    with prepacked(backbone, ON) as size:
        assert size
    made.clear()
    for total, processes in ((4 * size - 4, 1), (8 * size - 4, 2)):
        monkeypatch.setattr(prepack.psutil, "virtual_memory", lambda total=total: SimpleNamespace(total=total))
        monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
        monkeypatch.setattr(torch.distributed, "get_world_size", lambda processes=processes: processes)
        said = pytest.warns(UserWarning, match=r"0\.0 GiB a process, in all more than a quarter of the memory")
        with said, prepacked(backbone, ON) as copies:
            assert copies == 0
        assert not made


def test_a_containers_limit_counts(tmp_path, monkeypatch) -> None:
    for number, text in enumerate(("max\n", "1000\n")):
        (tmp_path / str(number)).write_text(text)
    monkeypatch.setattr(prepack, "LIMITS", (tmp_path / "0",))
    assert prepack.memory() == prepack.psutil.virtual_memory().total
    monkeypatch.setattr(prepack, "LIMITS", (tmp_path / "0", tmp_path / "1", tmp_path / "2"))
    assert prepack.memory() == 1000


def test_nothing_is_copied_under_autocast(checkpoints, made) -> None:
    backbone = single(checkpoints.settings("llava"))
    with torch.autocast("cpu", torch.bfloat16), prepacked(backbone, ON) as size:
        assert size == 0
    assert not made


def test_fit_evaluate_and_predict_use_it(tmp_path, made, picture_file) -> None:
    config = write_config(tmp_path)
    run = tmp_path / "run"
    words = ["--config", str(config), *SHORT, *MODEL, f"run_dir={run}", "trainer.steps=4", "trainer.validate_every=2"]
    assert fit(words) == 0
    layers = len(set(made))
    assert layers > 4
    assert len(made) == 2 * layers, "once a validation"
    made.clear()
    mixed = [word for word in words if not word.startswith("trainer.precision")]
    assert fit([*mixed, "trainer.precision=bf16-mixed", f"run_dir={tmp_path}/mixed"]) == 0
    assert not made, "autocast's rounding is asked for"
    assert evaluate([*VAL, f"run={run}", "name=with"]) == 0
    assert len(made) == layers
    assert evaluate([*VAL, f"run={run}", "name=without", "decoding.prepack=false"]) == 0
    assert len(made) == layers
    lines = [(run / "eval" / name / "items.jsonl").read_text().splitlines() for name in ("with", "without")]
    told, others = ([json.loads(line)["text"] for line in text] for text in lines)
    assert told == others
    made.clear()
    assert predict([str(picture_file), "--run", str(run), "--query", "a", "--out", str(tmp_path / "out")]) == 0
    assert len(made) == layers
