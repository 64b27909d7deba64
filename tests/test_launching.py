"""The SLURM script against a scheduler of two lines, and what a run says about the hardware."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from small import MODEL, SHORT, write_config
from torch import nn

from text4seg.callbacks.throughput import operations_a_token
from text4seg.fit import main

SCRIPT = Path(__file__).resolve().parents[1] / "docs" / "slurm.sh"


def submitted(folder: Path, status: int, *argv: str) -> tuple[int, list[str], str]:
    """Run the script with an `srun` that notes its words and ends with a status; `scontrol` notes its own."""
    tools = folder / "bin"
    tools.mkdir()
    for name, code in {"srun": status, "scontrol": 0}.items():
        (tools / name).write_text(f'#!/bin/sh\necho {name} "$@" >> {folder}/calls\nexit {code}\n')
        (tools / name).chmod(0o755)
    told = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "SLURM_JOB_ID": "77"}
    done = subprocess.run(["bash", str(SCRIPT), *argv], capture_output=True, text=True, env=told, check=False)
    calls = folder / "calls"
    return done.returncode, calls.read_text().splitlines() if calls.exists() else [], done.stderr


def test_the_script_is_bash():
    assert subprocess.run(["bash", "-n", str(SCRIPT)], check=False).returncode == 0


def test_a_new_run_is_started(tmp_path):
    status, calls, _ = submitted(tmp_path, 0, "conf/a.yaml", f"{tmp_path}/run", "seed=1")
    assert status == 0
    assert calls == [
        f"srun --kill-on-bad-exit=1 python -m text4seg.fit --config conf/a.yaml run_dir={tmp_path}/run seed=1"
    ]


def test_a_stopped_run_goes_back_into_the_queue_and_is_resumed(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").touch()
    status, calls, _ = submitted(tmp_path, 130, "conf/a.yaml", str(run), "seed=1")
    assert status == 0
    assert calls == [f"srun --kill-on-bad-exit=1 python -m text4seg.fit --resume {run}", "scontrol requeue 77"]


def test_a_failure_stays_one(tmp_path):
    status, calls, _ = submitted(tmp_path, 2, "conf/a.yaml", f"{tmp_path}/run")
    assert (status, len(calls)) == (2, 1)
    status, calls, shown = submitted(tmp_path / "bin", 0, "conf/a.yaml")
    assert (status, calls) == (2, [])
    assert "give a configuration and a run folder" in shown


def test_a_run_says_what_the_hardware_did(tmp_path, capsys):
    config = write_config(tmp_path, train=12)
    words = [*MODEL, *SHORT, "trainer.steps=3", "trainer.accumulate=2", f"run_dir={tmp_path}/run"]
    assert main(["--config", str(config), *words]) == 0
    values = json.loads((tmp_path / "run" / "logs" / "throughput.json").read_text())
    assert values["steps"] == 3
    assert values["samples_a_second"] == pytest.approx(12 / values["seconds"])
    assert 0 < values["padding_share"] < 1
    assert 0 < values["wait_share"] < 1
    assert 0 < values["answer_tokens_a_second"] < values["tokens_a_second"]
    assert values["mfu"] is None
    assert values["peak_memory_gib"] > 0.1
    told = " ".join(capsys.readouterr().out.split())
    assert "tokens/s" in told
    assert "padding" in told


def test_operations_worked_out_by_hand():
    model = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 10, bias=False), nn.Linear(10, 3, bias=False))
    model[1].requires_grad_(False)
    assert operations_a_token(model, recomputes=False) == 4 * 70 + 2 * 30
    assert operations_a_token(model, recomputes=True) == 6 * 70 + 2 * 30
