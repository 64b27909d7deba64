"""Every shipped recipe goes through its real door, on a tiny random model and a handful of samples."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from checkpoints import write_internvl2, write_internvl_hf, write_language, write_llava, write_qwen_vl, write_vision
from PIL import Image
from small import MODEL, SHORT, steps_of
from transformers import AutoModelForImageTextToText, AutoProcessor
from trees import write_folder, write_refer
from vlm_checkpoints import OPTIONS, write_known

from text4seg import evaluate, export, fit, predict
from text4seg.config import load
from text4seg.models.registry import load_backbone
from text4seg.report.run import load_run

ROOT = Path(__file__).resolve().parents[1]
RECIPES = sorted(path for path in (ROOT / "conf").glob("*.yaml") if not path.name.startswith("base"))
EVALUATIONS = [
    path for path in sorted((ROOT / "conf" / "eval").glob("*.yaml")) if "build:" not in path.read_text()
]  # those with a recipe of their own need its data: see test_protocols.py


INTERNVL2 = {
    "internvl2_1b": "1b",
    "internvl2_2b": "2b",
    "internvl2_4b": "4b",
    "internvl2_26b": "26b",
    "internvl2": "2b",
}
KNOWN = (
    "qwen2_vl",
    "qwen2_5_vl",
    "qwen3_vl",
    "smolvlm",
    "idefics3",
    "paligemma",
    "gemma3",
    "llava_onevision",
)
"""Recipes of family auto; each is called as transformers calls its model type."""


def _known_words(folder: Path, kind: str) -> list[str]:
    """A tiny checkpoint, and the side that goes with it where a family takes any."""
    side = OPTIONS.get(kind, {}).get("image_size")
    return [f"model.path={write_known(folder, kind)}", *([f"model.image_size={side}"] if side else [])]


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, list[str]]:
    """Words that exchange a recipe's backbone for a tiny random one of the same family."""
    folder = tmp_path_factory.mktemp("models")
    words = {
        "tiny": [word for word in MODEL if "lora" not in word],
        "llava": [f"model.path={write_llava(folder / 'llava')}"],
        **{name: [f"model.path={write_internvl2(folder / name, size)}"] for name, size in INTERNVL2.items()},
        **{name: _known_words(folder / name, name) for name in KNOWN},
        "deepseek_vl_1_3b": _known_words(folder / "deepseek_vl", "deepseek_vl"),
        "deepseek_vl_7b": _known_words(folder / "deepseek_vl_hybrid", "deepseek_vl_hybrid"),
        "qwen_vl": [f"model.path={write_qwen_vl(folder / 'qwen_vl')}"],
        "internvl": [f"model.path={write_internvl_hf(folder / 'internvl')}"],
        "compose": [
            f"model.vision={write_vision(folder / 'vision', 'dinov2')}",
            f"model.language={write_language(folder / 'language', 'qwen3')}",
        ],
    }
    words["smol"] = [*words["compose"], "model.language_layers=1", f"model.cache_features={folder / 'features'}"]
    return {name: [*found, "model.dtype=float32"] for name, found in words.items()}


@pytest.fixture(scope="module")
def roots(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("annotations")
    return {"folder": write_folder(folder / "folder"), "refer": write_refer(folder / "refer")}


def data_words(config, folder: Path, roots: dict[str, Path]) -> list[str]:
    words = ["data.val.limit=2", "data.shuffle_buffer=4", "data.max_length=4096"]
    for name in ("train", "val"):
        build = getattr(config.data, name).build
        words += [f"data.{name}.shards={folder}/{name}", f"data.{name}.build.shards=1"]
        if build.source == "scenes":
            words.append(f"data.{name}.build.options.count=6")
        else:
            words.append(f"data.{name}.build.options.root={roots[build.source]}")
    return words


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_a_recipe_runs(path, tmp_path, models, roots, capsys):
    config = load(path, [])
    words = [
        *SHORT,
        *(models.get(path.stem) or models[config.model.family]),
        *data_words(config, tmp_path, roots),
        f"run_dir={tmp_path}/run",
    ]
    assert fit.main(["--config", str(path), *words]) == 0, capsys.readouterr().err
    run = tmp_path / "run"
    assert [line["step"] for line in steps_of(run)] == ["1", "2"]
    metrics = json.loads((run / "metrics.json").read_text())
    assert {"val/cIoU", "val/ceiling_cIoU", "val/invalid", "val/all_others", "last/val/cIoU"} <= set(metrics)
    stamp = json.loads((run / "stamp.json").read_text())
    assert ("RANDOM" in stamp["weights"]["loaded"]) == (config.model.family in ("tiny", "compose"))
    assert list((run / "pictures").glob("*.png"))
    assert (run / "adapter").is_dir() == config.model.lora.enabled
    assert (run / "logs" / "scores.csv").is_file()
    assert list((run / "logs").glob("events.out.tfevents.*"))


LARGE = [path for path in RECIPES if load(path, []).model.family not in ("tiny", "compose")]


@pytest.mark.parametrize("path", LARGE, ids=lambda path: path.name)
def test_a_large_recipe_goes_all_the_way(path, tmp_path, models, roots, capsys):
    """Resume, evaluate, predict, export, reload: on tiny weights in the layout of the real ones."""
    config = load(path, [])
    run, out = tmp_path / "run", tmp_path / "out"
    backbone = models.get(path.stem) or models[config.model.family]
    words = [*SHORT, *backbone, *data_words(config, tmp_path, roots), "trainer.steps=1", "optim.lr=0.05"]
    assert fit.main(["--config", str(path), *words, f"run_dir={run}"]) == 0, capsys.readouterr().err
    kept = run / "config.yaml"
    kept.write_text(kept.read_text().replace("steps: 1\n", "steps: 2\n"))
    assert fit.main(["--resume", str(run)]) == 0, capsys.readouterr().err
    assert [line["step"] for line in steps_of(run)] == ["1", "2"]
    assert evaluate.main(["--config", str(EVALUATIONS[-1]), f"run={run}", "limit=2"]) == 0, capsys.readouterr().err
    picture = tmp_path / "photo.png"
    Image.new("RGB", (50, 30), (200, 30, 30)).save(picture)
    assert (
        predict.main([str(picture), "--run", str(run), "--query", "car", "--out", str(tmp_path), "--device", "spread"])
        == 0
    )
    assert export.main(["--run", str(run), "--out", str(out)]) == 0, capsys.readouterr().err
    settings, tuned = load_run(run)
    before = greedy(tuned, settings)
    assert before == greedy(load_backbone(replace(settings.model, path=str(out))), settings)
    plain = AutoModelForImageTextToText.from_pretrained(out)
    assert sum(p.numel() for p in plain.parameters()) == sum(
        p.numel() for p in load_run(run, "base")[1].core.parameters()
    )
    if config.model.family != "qwen_vl":  # goes back to its published layout; reading its words takes published code
        assert AutoProcessor.from_pretrained(out).tokenizer("a")["input_ids"]
    assert before != greedy(load_run(run, "base")[1], settings), "tuning changed something"


def greedy(backbone, settings) -> list[int]:
    """Twelve tokens about a grey picture."""
    encoded = backbone.processor.encode(Image.new("RGB", (40, 30), (90, 90, 90)), [("where?", None)])
    prompts = backbone.processor.collate([encoded], side="left")
    options = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": -1}
    backbone.model.double().eval()
    prompts |= {n: t.double() for n, t in prompts.items() if t.is_floating_point()}
    return backbone.model.generate(**prompts, **options)[0, prompts["input_ids"].shape[1] :].tolist()


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run of conf/tiny.yaml on a random model."""
    folder = tmp_path_factory.mktemp("trained")
    path = ROOT / "conf" / "tiny.yaml"
    words = [*SHORT, *MODEL, *data_words(load(path, []), folder, {}), f"run_dir={folder}/run"]
    assert fit.main(["--config", str(path), *words]) == 0
    return folder / "run"


@pytest.mark.parametrize("path", EVALUATIONS, ids=lambda path: path.name)
def test_an_evaluation_runs(path, trained, capsys):
    assert evaluate.main(["--config", str(path), f"run={trained}", "limit=2"]) == 0, capsys.readouterr().err
    name = path.stem
    scores = json.loads((trained / "eval" / name / "metrics.json").read_text())
    assert f"{name}/cIoU" in scores
    assert Image.open(trained / "eval" / name / "sheet.png").width > 300


def test_predict_on_a_trained_run(trained, tmp_path):
    picture = tmp_path / "photo.png"
    Image.new("RGB", (50, 30), (200, 30, 30)).save(picture)
    out = tmp_path / "out"
    assert predict.main([str(picture), "--run", str(trained), "--query", "red circle", "--out", str(out)]) == 0
    report = json.loads((out / "photo-red-circle.json").read_text())
    assert report["rle"]["size"] == [30, 50]
    assert report["status"] in ("ok", "repaired", "invalid")


def test_an_exported_run_is_a_checkpoint_again(trained, tmp_path, capsys):
    out = tmp_path / "merged"
    assert export.main(["--run", str(trained), "--out", str(out), "--dtype", "bfloat16"]) == 0
    assert (out / "model.safetensors").is_file()
    assert export.main(["--run", str(trained), "--out", str(out)]) == 2
    assert "not empty" in capsys.readouterr().err
    path = ROOT / "conf" / "tiny.yaml"
    words = [*SHORT, *data_words(load(path, []), tmp_path, {}), f"model.path={out}", "model.lora.rank=2"]
    assert fit.main(["--config", str(path), *words, f"run_dir={tmp_path}/again"]) == 0
