"""Protocols are data: each reads as settings, asks for a source and a task that exist, and one is run to its end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small import MODEL, SHORT, write_config
from trees import write_refer

from text4seg import evaluate, fit
from text4seg.config import load
from text4seg.data.sources.registry import source_settings
from text4seg.report.settings import EvaluateSettings

ROOT = Path(__file__).resolve().parents[1]
PROTOCOLS = [path for path in sorted((ROOT / "conf" / "eval").glob("*.yaml")) if "build:" in path.read_text()]


@pytest.mark.parametrize("path", PROTOCOLS, ids=lambda path: path.stem)
def test_a_protocol_names_what_exists_and_leaves_nothing_to_chance(path):
    settings = load(path, [], EvaluateSettings)
    assert settings.name == path.stem
    source_settings(settings.build.source, settings.build.options)
    assert settings.build.task_options["fixed_template"] is True
    assert settings.build.task_options["phrases"] == "all"


@pytest.mark.parametrize("name", ["res", "gres"])
def test_a_protocol_runs_on_a_miniature(name, tmp_path, monkeypatch, capsys):
    config, root = write_config(tmp_path), write_refer(tmp_path / "refer")
    run = tmp_path / "run"
    assert fit.main(["--config", str(config), *MODEL, *SHORT, f"run_dir={run}"]) == 0
    monkeypatch.chdir(tmp_path)
    words = [f"run={run}", f"build.options.root={root}", "device=cpu"]
    assert evaluate.main(["--config", str(ROOT / "conf" / "eval" / f"{name}.yaml"), *words]) == 0, (
        capsys.readouterr().err
    )
    report = json.loads((run / "eval" / name / "report.json").read_text())
    assert report["items"] == 4
    assert {"cIoU", "gIoU", "T-acc", "Pr@0.5", "REC_mask", "legacy_cIoU"} <= set(report["scores"])
