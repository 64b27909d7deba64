"""Twenty steps of every family: two ranks under ZeRO-2 have the losses of one process with the same global batch."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from checkpoints import write_internvl2, write_internvl_hf, write_language, write_llava, write_vision
from small import MODEL, SHORT, fit_apart, steps_of, write_config
from vlm_checkpoints import write_known

STEPS = 20
FAMILIES = ("tiny", "llava", "internvl", "internvl2", "deepseek_vl", "auto", "compose")


def backbone(family: str, folder: Path) -> list[str]:
    """Words that name a tiny random checkpoint of a family."""
    if family == "tiny":
        return [word for word in MODEL if "lora" not in word]
    if family == "compose":
        vision, language = write_vision(folder / "vision", "dinov2"), write_language(folder / "language", "qwen3")
        return ["model.family=compose", f"model.vision={vision}", f"model.language={language}"]
    if family == "deepseek_vl":
        return ["model.family=deepseek_vl", f"model.path={write_known(folder / 'deepseek', 'deepseek_vl')}"]
    if family == "auto":
        return ["model.family=auto", f"model.path={write_known(folder / 'qwen', 'qwen2_vl')}", "model.image_size=56"]
    if family == "internvl2":
        return ["model.family=internvl", f"model.path={write_internvl2(folder / 'internvl2', '2b')}"]
    path = write_llava(folder / "llava") if family == "llava" else write_internvl_hf(folder / "internvl")
    return [f"model.family={family}", f"model.path={path}"]


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None, reason="needs deepspeed: pip install 'text4seg[deepspeed]'"
)
@pytest.mark.parametrize("family", FAMILIES)
def test_two_ranks_have_the_losses_of_one(family, tmp_path):
    config = write_config(tmp_path)
    words = [*SHORT, *backbone(family, tmp_path), f"trainer.steps={STEPS}", "trainer.accumulate=null"]
    words += ["trainer.global_batch=4", "model.lora.rank=4", "model.lora.dropout=0.0", "model.dtype=float32"]
    words += ["data.max_length=4096", "data.val.limit=1", "optim.lr=0.002"]
    one = ["data.workers=2", f"run_dir={tmp_path}/one"]
    two = ["data.workers=1", "trainer.devices=2", "trainer.strategy=zero2", f"run_dir={tmp_path}/two"]
    for given in (one, two):
        done = fit_apart("--config", str(config), *words, *given)
        assert done.returncode == 0, done.stderr
    losses = [[float(line["loss"]) for line in steps_of(tmp_path / name)] for name in ("one", "two")]
    assert len(losses[0]) == STEPS
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert losses[0][-1] != losses[0][0]
