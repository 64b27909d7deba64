"""Two processes train as one does: same samples in a step, same losses; ZeRO-2 is DeepSpeed's own, over gloo."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from checkpoints import write_internvl2
from safetensors.torch import load_file
from small import MODEL, SHORT, fit_apart, steps_of, write_config

STEPS = 10
COMMON = [*MODEL, *SHORT, f"trainer.steps={STEPS}", "trainer.checkpoint_every=6", "model.lora.dropout=0.0"]
TWO = ["trainer.devices=2", "data.workers=1"]

needs_deepspeed = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None or shutil.which("g++") is None,
    reason="needs the package deepspeed (pip install 'text4seg[deepspeed]') and g++, which compiles its operators",
)


@pytest.fixture(scope="module")
def one(tmp_path_factory) -> tuple[Path, Path]:
    """A configuration and its run in one process, which reads the parts of both ranks in turn."""
    folder = tmp_path_factory.mktemp("one")
    config = write_config(folder)
    done = fit_apart(
        "--config", str(config), *COMMON, "data.workers=2", "trainer.accumulate=2", f"run_dir={folder}/run"
    )
    assert done.returncode == 0, done.stderr
    return config, folder / "run"


def losses(run: Path) -> list[float]:
    return [float(line["loss"]) for line in steps_of(run)]


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2", pytest.param("zero2", marks=needs_deepspeed)])
def test_two_ranks_have_the_losses_of_one_process(one, tmp_path, strategy):
    config, single = one
    run = tmp_path / "run"
    done = fit_apart("--config", str(config), *COMMON, *TWO, f"trainer.strategy={strategy}", f"run_dir={run}")
    assert done.returncode == 0, done.stderr
    assert len(losses(run)) == STEPS
    assert losses(run) == pytest.approx(losses(single), rel=1e-5)
    norms = [[float(line["grad_norm"]) for line in steps_of(folder)] for folder in (run, single)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-3)
    assert done.stdout.count("written to") == 1, "one process talks"
    ours, theirs = (load_file(r / "adapter-last" / "adapter_model.safetensors") for r in (run, single))
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-5) for name in theirs)
    states = trained_names(run)
    assert states
    assert all("lora_" in name for name in states), "frozen weights do not belong into a checkpoint"


def trained_names(run: Path) -> list[str]:
    path = next((run / "checkpoints").glob("step-*.ckpt"))
    if path.is_dir():
        path = path / "checkpoint" / "mp_rank_00_model_states.pt"
        return list(torch.load(path, weights_only=False)["module"])
    return list(torch.load(path, weights_only=True)["state_dict"])


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_a_rank_without_anything_to_score_holds_nobody_up(one, tmp_path, strategy):
    config, _ = one
    run = tmp_path / "run"
    words = [*COMMON, *TWO, "data.val.limit=1", "trainer.validate_every=4", f"trainer.strategy={strategy}"]
    words += [f"run_dir={run}"]
    done = fit_apart("--config", str(config), *words, timeout=240)
    assert done.returncode == 0, done.stderr
    lines = (run / "logs" / "scores.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["step", "4", "8", "10"]
    assert all(float(line.split(",")[1]) > 0 for line in lines[1:]), "the loss of the one item"


@needs_deepspeed
def test_zero2_accumulates_as_one_process_does(one, tmp_path):
    config, single = one
    run, words = tmp_path / "run", ["data.workers=2", "trainer.accumulate=2", "trainer.strategy=zero2"]
    done = fit_apart("--config", str(config), *COMMON, *words, f"run_dir={run}")
    assert done.returncode == 0, done.stderr
    norms = [[float(line["grad_norm"]) for line in steps_of(folder)] for folder in (run, single)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-3)
    assert losses(run) == pytest.approx(losses(single), rel=1e-5)


@needs_deepspeed
def test_zero2_resumes(one, tmp_path):
    config, single = one
    run = tmp_path / "run"
    words = [*COMMON, *TWO, "trainer.strategy=zero2", f"run_dir={run}"]
    with subprocess.Popen(
        [sys.executable, "-m", "text4seg.fit", "--config", str(config), *words],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        deadline = time.monotonic() + 240
        while not list((run / "checkpoints").glob("step-*.ckpt")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
    done = fit_apart("--resume", str(run))
    assert done.returncode == 0, done.stderr
    assert losses(run) == pytest.approx(losses(single), rel=1e-5)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_fsdp2_and_ddp_read_one_another(tmp_path):
    """With all that changes layers: computed twice, a projector trained as a whole, an adapted tower."""
    config = write_config(tmp_path)
    words = [*COMMON, "model.gradient_checkpointing=true", "model.lora.projector=full", "model.lora.vision=true"]
    words += ["trainer.steps=6", "optim.lr=0.005", "optim.schedule=constant", "optim.warmup_ratio=0"]
    one = fit_apart(
        "--config", str(config), *words, "data.workers=2", "trainer.accumulate=2", f"run_dir={tmp_path}/one"
    )
    assert one.returncode == 0, one.stderr
    run = tmp_path / "run"
    done = fit_apart(
        "--config", str(config), *words, *TWO, "trainer.steps=2", "trainer.strategy=fsdp2", f"run_dir={run}"
    )
    assert done.returncode == 0, done.stderr
    kept = (run / "config.yaml").read_text()
    for steps, strategy in ((4, "ddp"), (6, "fsdp2")):
        text = kept.replace("steps: 2\n", f"steps: {steps}\n").replace("strategy: fsdp2", f"strategy: {strategy}")
        (run / "config.yaml").write_text(text)
        done = fit_apart("--resume", str(run))
        assert done.returncode == 0, done.stderr
    assert losses(run) == pytest.approx(losses(tmp_path / "one"), rel=1e-5)
    ours, theirs = (load_file(r / "adapter-last" / "adapter_model.safetensors") for r in (run, tmp_path / "one"))
    assert ours.keys() == theirs.keys()
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-5) for name in theirs)


@needs_deepspeed
def test_a_published_internvl2_on_two_ranks(tmp_path):
    config = write_config(tmp_path)
    path = write_internvl2(tmp_path / "internvl2", "2b")
    words = ["model.family=internvl", f"model.path={path}", "model.lora.rank=4", *SHORT, "model.lora.dropout=0.0"]
    words += ["trainer.steps=3", "data.max_length=4096", "optim.lr=0.01"]
    one = ["data.workers=2", "trainer.accumulate=2", f"run_dir={tmp_path}/one"]
    two = [*TWO, "trainer.strategy=zero2", f"run_dir={tmp_path}/two"]
    for given in (one, two):
        done = fit_apart("--config", str(config), *words, *given)
        assert done.returncode == 0, done.stderr
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)
    ours, theirs = (load_file(tmp_path / r / "adapter-last" / "adapter_model.safetensors") for r in ("two", "one"))
    assert ours.keys() == theirs.keys()
    assert any(v.any() for n, v in ours.items() if "lora_B" in n)


def test_too_few_shards_for_the_processes(tmp_path):
    config = write_config(tmp_path)
    done = fit_apart("--config", str(config), *COMMON, "data.workers=5", f"run_dir={tmp_path}/run")
    assert done.returncode == 2
    assert "4 shards cannot feed 5 loading processes" in done.stderr
