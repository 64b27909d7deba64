"""An exported run is an ordinary checkpoint for plain transformers, its adapter one for plain PEFT."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from checkpoints import SIDE, picture, write_language, write_llava, write_vision
from peft import PeftModel
from safetensors import SafetensorError, safe_open
from small import MODEL, SHORT, write_config
from transformers import AutoModelForImageTextToText, AutoProcessor, LlavaForConditionalGeneration

from text4seg import export, fit
from text4seg.models.backbone import Backbone
from text4seg.report.run import load_run


def trained(folder: Path, *model: str) -> Path:
    words = [*SHORT, *model, "optim.lr=0.05", f"run_dir={folder}/run"]
    assert fit.main(["--config", str(write_config(folder)), *words]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def llava(tmp_path_factory) -> tuple[Path, Path]:
    """A LLaVA checkpoint and a run on it, in a folder with a blank in its name."""
    folder = tmp_path_factory.mktemp("a llava")
    base = write_llava(folder / "base")
    return Path(base), trained(folder, "model.family=llava", f"model.path={base}")


def test_plain_peft_puts_the_adapter_on_the_plain_model(llava, tmp_path) -> None:
    base, run = llava
    adapted = PeftModel.from_pretrained(LlavaForConditionalGeneration.from_pretrained(base), run / "adapter")
    stored = [p for name, p in adapted.named_parameters() if "lora_B" in name]
    assert stored
    assert all(p.any() for p in stored), "what was trained is there"
    assert export.main(["--run", str(run), "--out", str(tmp_path / "out")]) == 0
    merged, exported = adapted.merge_and_unload(), AutoModelForImageTextToText.from_pretrained(tmp_path / "out")
    assert all(torch.equal(a, b) for a, b in zip(merged.parameters(), exported.parameters(), strict=True))


def test_transformers_own_processor_fits_the_export(llava, tmp_path) -> None:
    out = tmp_path / "out"
    assert export.main(["--run", str(llava[1]), "--out", str(out)]) == 0
    processor, model = AutoProcessor.from_pretrained(out), AutoModelForImageTextToText.from_pretrained(out)
    parts = [{"type": "image"}, {"type": "text", "text": "Where is the red circle?"}]
    text = processor.apply_chat_template([{"role": "user", "content": parts}], add_generation_prompt=True)
    inputs = processor(images=picture(0), text=text, return_tensors="pt")
    assert inputs["pixel_values"].shape == (1, 3, SIDE, SIDE)
    assert (inputs["input_ids"] == model.config.image_token_id).sum() == 16
    assert model.generate(**inputs, max_new_tokens=2, do_sample=False).shape[1] > inputs["input_ids"].shape[1]


@pytest.mark.parametrize("family", ["tiny", "compose"])
def test_the_code_that_is_printed_runs(tmp_path, capsys, family) -> None:
    words = MODEL
    if family == "compose":
        parts = write_vision(tmp_path / "eyes", "clip"), write_language(tmp_path / "words", "llama")
        words = ["model.family=compose", f"model.vision={parts[0]}", f"model.language={parts[1]}"]
    run = trained(tmp_path, *words)
    capsys.readouterr()
    out = tmp_path / "out it's here"
    assert export.main(["--run", str(run), "--out", str(out), "--dtype", "bfloat16"]) == 0
    code = "\n".join(line.strip() for line in capsys.readouterr().out.partition("and anywhere else:")[2].splitlines())
    code += "\nprint(model.dtype, len(tokenizer) > 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.split() == ["torch.bfloat16", "True"], done.stderr
    with safe_open(out / "model.safetensors", "pt") as stored:
        sizes = [stored.get_slice(name).get_shape() for name in stored.keys()]  # noqa: SIM118 it is no mapping
    assert sum(map(math.prod, sizes)) == sum(p.numel() for p in load_run(run, "base")[1].core.parameters()), "tied once"


def test_an_export_that_fails_leaves_nothing_and_takes_nothing_away(llava, tmp_path, monkeypatch, capsys) -> None:
    def full(self: Backbone, folder: Path, dtype: object) -> None:
        (Path(folder) / "config.json").write_text("half")
        raise SafetensorError("No space left on device (os error 28)")

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(Backbone, "save", full)
        assert export.main(["--run", str(llava[1]), "--out", str(out)]) == 2
    assert "No space left" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    kept = tmp_path / "out.partial" / "notes.txt"
    kept.parent.mkdir()
    kept.write_text("mine")
    assert export.main(["--run", str(llava[1]), "--out", str(out)]) == 2
    assert "out.partial is there" in capsys.readouterr().err
    assert kept.read_text() == "mine"
    shutil.rmtree(kept.parent)
    out.mkdir()
    assert export.main(["--run", str(llava[1]), "--out", str(out)]) == 0, "an empty folder will do"
    assert json.loads((out / "config.json").read_text())["dtype"] == "float32"
