"""A run goes on with other ranks than it began with, after a kill, and never onto other settings unnoticed."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from small import MODEL, SHORT, fit_apart, steps_of, write_config

from text4seg.config import load_whole
from text4seg.fit import main
from text4seg.models.registry import load_backbone

STEPS = 12
WORDS = [
    *MODEL,
    *SHORT,
    f"trainer.steps={STEPS}",
    "trainer.accumulate=null",
    "trainer.global_batch=4",
    "trainer.checkpoint_every=4",
    "trainer.validate_every=6",
    "data.workers=1",
    "model.lora.dropout=0.0",
]
needs_deepspeed = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None, reason="needs deepspeed: pip install 'text4seg[deepspeed]'"
)


def started(*argv: str, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "text4seg.fit", *argv]
    return subprocess.Popen(command, stdout=log.open("wb"), stderr=subprocess.STDOUT, start_new_session=True)


def wait_for_step(run: Path, step: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 500
    path = run / "logs" / "steps.csv"
    while not path.exists() or path.read_text().count("\n") <= step:
        assert process.poll() is None, "the run ended before it could be stopped"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def other_rank(run: Path) -> int:
    return json.loads((run / "logs" / "ranks" / "1.json").read_text())["pid"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@needs_deepspeed
def test_zero2_on_two_then_one_then_two_ranks(tmp_path):
    """A rank is killed; the run goes on alone, is stopped, and ends on two ranks as if nothing had been."""
    config = write_config(tmp_path, train=40)
    words = [*WORDS, "trainer.strategy=zero2", "trainer.devices=2", "optim.lr=0.005", "trainer.validate_every=null"]
    whole = fit_apart("--config", str(config), *words, f"run_dir={tmp_path}/whole")
    assert whole.returncode == 0, whole.stderr
    run, log = tmp_path / "run", tmp_path / "log"
    process = started("--config", str(config), *words, f"run_dir={run}", log=log)
    wait_for_step(run, 5, process)
    os.kill(other_rank(run), signal.SIGKILL)
    killed = time.monotonic()
    assert process.wait(timeout=60) != 0
    assert time.monotonic() - killed < 60
    assert "rank 1 on" in log.read_text()
    assert f"Go on with --resume {run}" in log.read_text()
    process = started("--resume", str(run), "trainer.devices=1", log=log)
    wait_for_step(run, 8, process)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(timeout=120) == 130, log.read_text()
    told = log.read_text()
    assert "goes on with 1 x 1 x 2" in told
    assert "samples come twice" in told
    assert load_whole(run / "config.yaml").trainer.devices == 1
    done = fit_apart("--resume", str(run), "trainer.devices=2")
    assert done.returncode == 0, done.stderr
    lines = steps_of(run)
    assert [int(line["step"]) for line in lines] == list(range(1, STEPS + 1))
    assert [line["lr"] for line in lines] == [line["lr"] for line in steps_of(tmp_path / "whole")]
    losses = [[float(line["loss"]) for line in steps_of(folder)] for folder in (run, tmp_path / "whole")]
    assert losses[0][:4] == losses[1][:4]
    assert losses[0][-1] == pytest.approx(losses[1][-1], rel=0.1), "within the noise of a few other samples"


@needs_deepspeed
def test_a_zero2_checkpoint_on_one_rank_is_that_of_two(tmp_path, capsys):
    """The directory holds what trains and the optimizer's parts; weights and moments survive other ranks."""
    config = write_config(tmp_path, train=24)
    words = [*WORDS, "trainer.strategy=zero2", "trainer.devices=2", "trainer.steps=4", f"run_dir={tmp_path}/run"]
    done = fit_apart("--config", str(config), *words)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "run"
    checkpoint = run / "checkpoints" / "step-00000004.ckpt"
    inner = checkpoint / "checkpoint"
    states = torch.load(inner / "mp_rank_00_model_states.pt", weights_only=False)["module"]
    assert states
    assert all("lora_" in name for name in states)
    size = sum(path.stat().st_size for path in checkpoint.rglob("*") if path.is_file())
    settings = load_whole(run / "config.yaml")
    plain = load_backbone(settings.model)
    whole = sum(p.numel() * p.element_size() for p in plain.model.parameters())
    print(f"checkpoint {size:,} bytes, full model {whole:,}")
    trained = sum(value.numel() for value in states.values())
    assert sum(value.numel() * 4 for value in states.values()) <= size < 3 * 4 * trained + 300_000
    adapter = PeftModel.from_pretrained(plain.core, run / "checkpoints" / "step-00000004" / "adapter")
    assert any("lora_B" in name and p.any() for name, p in adapter.named_parameters())
    kept = (run / "config.yaml").read_text().replace("steps: 4\n", "steps: 5\n")
    (run / "config.yaml").write_text(kept)
    one = fit_apart("--resume", str(run), "trainer.devices=1")
    assert one.returncode == 0, one.stderr
    assert [line["step"] for line in steps_of(run)] == ["1", "2", "3", "4", "5"]
    assert not list((run / "checkpoints").glob("*for-1-ranks*"))
    moved = load_file(run / "adapter-last" / "adapter_model.safetensors")
    before = {name.removeprefix("model."): value for name, value in states.items()}
    steps = [float((moved[n] - v).abs().max()) for n, v in _pairs(moved, before)]
    assert max(steps) < 5e-4, "a step of Adam is as long as the rate: fresh moments or weights would jump"


def _pairs(moved, before):
    for name in moved:
        found = [value for key, value in before.items() if key.replace(".default", "").endswith(name)]
        assert len(found) == 1, name
        yield name, found[0].float()


def test_ddp_goes_on_with_other_ranks(tmp_path):
    config = write_config(tmp_path, train=40)
    words = ["--config", str(config), *WORDS, "trainer.checkpoint_every=3", "trainer.validate_every=null"]
    run = tmp_path / "run"
    assert main([*words, "trainer.steps=3", f"run_dir={run}"]) == 0
    (run / "config.yaml").write_text((run / "config.yaml").read_text().replace("steps: 3\n", "steps: 6\n"))
    done = fit_apart("--resume", str(run), "trainer.devices=2")
    assert done.returncode == 0, done.stderr
    assert "goes on with 2 x 1 x 2" in done.stderr
    lines = steps_of(run)
    assert [line["step"] for line in lines] == [str(n) for n in range(1, 7)]
    assert [line["samples"] for line in lines] == ["4"] * 3 + ["2"] * 3, "rank 0's view of four samples a step"


def test_a_rank_that_fails_is_named_by_the_others(tmp_path):
    """Rank 1 raises in the middle of a step, where rank 0 waits for its gradients."""
    config = write_config(tmp_path)
    script = tmp_path / "fails.py"
    script.write_text(
        "import os, sys, time\n"
        "from text4seg.fit import main\n"
        "from text4seg.models.module import Text4SegModule\n"
        "usual = Text4SegModule.training_step\n"
        "def step(self, batch, batch_idx):\n"
        "    if batch_idx == 2 and os.environ.get('LOCAL_RANK') == '1':\n"
        f"        open({str(tmp_path / 'failed')!r}, 'w').write(str(time.monotonic()))\n"
        "        raise RuntimeError('a broken card')\n"
        "    return usual(self, batch, batch_idx)\n"
        "Text4SegModule.training_step = step\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    words = [*WORDS, "trainer.devices=2", f"run_dir={tmp_path}/run"]
    command = [sys.executable, str(script), "--config", str(config), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    waited = time.monotonic() - float((tmp_path / "failed").read_text())
    assert done.returncode != 0
    assert "rank 0 stops: rank 1 on" in done.stderr
    assert "failed: RuntimeError: a broken card" in done.stderr
    assert f"Go on with --resume {tmp_path}/run" in done.stderr
    assert waited < 60


def test_other_data_and_settings_are_refused_unless_told(tmp_path, capsys):
    config = write_config(tmp_path, train=12)
    run = tmp_path / "run"
    words = ["--config", str(config), *WORDS, "trainer.steps=4", "trainer.validate_every=null", f"run_dir={run}"]
    assert main(words) == 0
    kept = (run / "config.yaml").read_text().replace("steps: 4\n", "steps: 6\n")

    def resumed(before: str, after: str, *more: str) -> str:
        assert kept.count(before) >= 1, before
        (run / "config.yaml").write_text(kept.replace(before, after))
        assert main(["--resume", str(run), *more]) == 2
        return capsys.readouterr().err

    assert "`optim.lr` 0.0002 -> 0.5" in resumed("lr: 0.0002", "lr: 0.5")
    assert "`trainer.global_batch` 4 -> 8" in resumed("global_batch: 4", "global_batch: 8")
    assert "was saved in `trainer.precision` 32-true, this run has bf16-mixed" in resumed(
        "precision: 32-true", "precision: bf16-mixed", "--accept-changes"
    )
    assert "was saved by `trainer.strategy` auto, which zero2 cannot read" in resumed(
        "strategy: auto", "strategy: zero2", "--accept-changes"
    )
    assert "take trainer.steps=9 away" in resumed("seed: 0", "seed: 0", "trainer.steps=9")
    shutil.rmtree(tmp_path / "train")
    text = kept.replace("count: 12", "count: 14")
    assert text != kept
    (run / "config.yaml").write_text(text)
    assert main(["--resume", str(run)]) == 2
    assert "shards are not those of the stored run" in capsys.readouterr().err
    with pytest.warns(UserWarning, match="read from their beginning"):
        assert main(["--resume", str(run), "--accept-changes"]) == 0
    assert [line["step"] for line in steps_of(run)] == [str(n) for n in range(1, 7)]
