"""Twenty steps of every family: two ranks under ZeRO-2 have the losses of one process with the same global batch.

`-s` prints a line a family: how far losses are apart, and what a rank takes beside DDP.
"""

from __future__ import annotations

import importlib.util
import json
import statistics
from pathlib import Path

import pytest
from checkpoints import write_internvl2, write_internvl_hf, write_language, write_llava, write_qwen_vl, write_vision
from small import MODEL, SHORT, fit_apart, steps_of, write_config
from vlm_checkpoints import write_known

STEPS = 20
FAMILIES = ("tiny", "llava", "internvl", "internvl2", "deepseek_vl", "qwen_vl", "auto", "compose")


def backbone(family: str, folder: Path) -> list[str]:
    """Words that name a tiny random checkpoint of a family."""
    if family == "tiny":
        return [word for word in MODEL if "lora" not in word]
    if family == "compose":
        vision, language = write_vision(folder / "vision", "dinov2"), write_language(folder / "language", "qwen3")
        return ["model.family=compose", f"model.vision={vision}", f"model.language={language}"]
    if family == "deepseek_vl":
        return ["model.family=deepseek_vl", f"model.path={write_known(folder / 'deepseek', 'deepseek_vl')}"]
    if family == "qwen_vl":
        return ["model.family=qwen_vl", f"model.path={write_qwen_vl(folder / 'qwen_vl')}"]
    if family == "auto":
        return ["model.family=auto", f"model.path={write_known(folder / 'qwen', 'qwen2_vl')}", "model.image_size=56"]
    if family == "internvl2":
        return ["model.family=internvl", f"model.path={write_internvl2(folder / 'internvl2', '2b')}"]
    path = write_llava(folder / "llava") if family == "llava" else write_internvl_hf(folder / "internvl")
    return [f"model.family={family}", f"model.path={path}"]


@pytest.mark.slow
@pytest.mark.timeout(4000)
@pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None, reason="needs deepspeed: pip install 'text4seg[deepspeed]'"
)
@pytest.mark.parametrize("family", FAMILIES)
def test_two_ranks_have_the_losses_of_one(family, tmp_path):
    config = write_config(tmp_path)
    words = [*SHORT, *backbone(family, tmp_path), f"trainer.steps={STEPS}", "trainer.accumulate=null"]
    words += ["trainer.global_batch=4", "model.lora.rank=4", "model.lora.dropout=0.0", "model.dtype=float32"]
    words += ["data.max_length=4096", "data.val.limit=1", "optim.lr=0.002"]
    two = ["data.workers=1", "trainer.devices=2"]
    ways = {"one": ["data.workers=2"], "ddp": [*two, "trainer.strategy=ddp"], "zero2": [*two, "trainer.strategy=zero2"]}
    for way, given in ways.items():
        done = fit_apart("--config", str(config), *words, *given, f"run_dir={tmp_path}/{way}", timeout=1200)
        assert done.returncode == 0, done.stderr
    losses = {way: [float(line["loss"]) for line in steps_of(tmp_path / way)] for way in ways}
    print(f"\n{family:12}", *(_row(tmp_path / way, losses[way], losses["one"]) for way in ways))
    assert len(losses["one"]) == STEPS
    for way in ways:
        assert losses[way] == pytest.approx(losses["one"], rel=1e-5)
    assert losses["one"][-1] != losses["one"][0]


def _row(run: Path, losses: list[float], right: list[float]) -> str:
    """How far losses are apart relatively, a step's median seconds, a rank's peak memory."""
    apart = max(abs(a - b) / abs(b) for a, b in zip(losses, right, strict=True))
    step = statistics.median(float(line["seconds"]) for line in steps_of(run)[2:])
    memory = json.loads((run / "logs" / "throughput.json").read_text())["peak_memory_gib"]
    return f"| {run.name} {apart:.1e} {step:.2f} s {memory:.2f} GiB"
