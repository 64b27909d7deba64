"""A run that is killed at any step goes on to the very numbers that it would have had."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small import MODEL, SHORT, fit_apart, steps_of, write_config

from text4seg.callbacks.saver import Saver
from text4seg.callbacks.score import Score
from text4seg.fit import main

STEPS = 24
OVERRIDES = [
    *MODEL,
    *SHORT,
    f"trainer.steps={STEPS}",
    "trainer.checkpoint_every=5",
    "trainer.validate_every=9",
    "trainer.accumulate=2",
    "trainer.threads=2",  # their OpenMP threads are in the loading processes, too, and must leave a stop alone
    "data.workers=3",  # no divisor of the micro-batches at a checkpoint: a resumed run starts with another process
    "data.shuffle_buffer=7",
    "model.lora.dropout=0.1",
]
SAME = ("step", "loss", "lr", "order", "answer_tokens", "samples")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, Path]:
    """A configuration and its uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    config = write_config(folder)
    done = fit_apart("--config", str(config), *OVERRIDES, f"run_dir={folder}/run")
    assert done.returncode == 0, done.stderr
    return config, folder / "run"


def numbers(run: Path) -> list[tuple[str, ...]]:
    return [tuple(line[name] for name in SAME) for line in steps_of(run)]


def start(config: Path, run: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "text4seg.fit", "--config", str(config), *OVERRIDES, f"run_dir={run}"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def wait_for(run: Path, lines: int, process: subprocess.Popen[bytes]) -> None:
    path = run / "logs" / "steps.csv"
    deadline = time.monotonic() + 240
    while not path.exists() or path.read_text().count("\n") < lines:
        assert process.poll() is None, "the run ended before it could be stopped"
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("attempt", range(2))
def test_kill_9_at_a_random_step(whole, tmp_path, attempt):
    config, complete = whole
    run = tmp_path / "run"
    process = start(config, run)
    wait_for(run, random.randint(3, STEPS - 4), process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = fit_apart("--resume", str(run))
    assert done.returncode == 0, done.stderr
    assert numbers(run) == numbers(complete)
    one, other = (load_file(r / "adapter-last" / "adapter_model.safetensors") for r in (run, complete))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_of_all_processes_leaves_a_run_that_goes_on(whole, tmp_path, number):
    config, complete = whole
    run = tmp_path / "run"
    process = start(config, run)
    wait_for(run, 9, process)
    os.killpg(process.pid, number)  # as a terminal or a scheduler does: loading processes get it, too
    assert process.wait(timeout=120) == 130
    assert list((run / "checkpoints").glob("step-*.ckpt"))
    assert fit_apart("--resume", str(run)).returncode == 0
    assert numbers(run) == numbers(complete)


def test_a_finished_run_stays_as_it_is(whole, capfd):
    _, complete = whole
    before = numbers(complete)
    assert main(["--resume", str(complete)]) == 0
    assert numbers(complete) == before


def test_resume_refuses_what_would_change_the_numbers(whole, tmp_path, capfd):
    _, complete = whole
    assert main(["--resume", str(complete), "optim.lr=1"]) == 2
    assert main(["--resume", str(tmp_path)]) == 2
    shown = capfd.readouterr().err
    assert "own settings" in shown
    assert "no run folder" in shown


def test_checkpoints_hold_what_trains_and_no_more(whole):
    _, complete = whole
    path = next((complete / "checkpoints").glob("*.ckpt"))
    state = torch.load(path, weights_only=True)["state_dict"]
    assert state
    assert all("lora_" in name for name in state)


def test_a_best_validation_is_a_place_to_go_on_from(tmp_path, monkeypatch):
    config = write_config(tmp_path)
    scores, saved, real = iter([0.3, 0.5, 0.4, 0.6]), [], Saver.save
    monkeypatch.setattr(Saver, "save", lambda self, trainer: (saved.append(trainer.global_step), real(self, trainer)))
    end = Score.on_validation_epoch_end
    monkeypatch.setattr(
        Score,
        "on_validation_epoch_end",
        lambda self, *given: (end(self, *given), self.values.update({"val/cIoU": next(scores)})),
    )
    words = ["trainer.steps=7", "trainer.validate_every=2", "trainer.checkpoint_every=100", f"run_dir={tmp_path}/run"]
    assert main(["--config", str(config), *MODEL, *SHORT, *words]) == 0
    assert saved == [2, 4, 7], "step 6 was no best; the last step always is saved"
