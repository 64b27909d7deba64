"""The embedded model learns by LoRA what its pre-training held out; `make demo` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from text4seg import demo


@pytest.mark.slow
def test_the_demo_learns_to_write_masks(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert demo.main([]) == 0

    def score(name: str, of: str = "cIoU") -> float:
        found = json.loads((tmp_path / "runs" / "demo" / "eval" / name / "metrics.json").read_text())
        return found[f"{name}/{of}"]

    assert score("before_own_grid") >= 0.25
    assert score("after") >= 0.60
    assert score("after") >= score("before") + 0.10
    assert score("after", "all_others") < 0.05
    assert score("swap") < 0.25
    assert (tmp_path / "runs" / "demo" / "demo.png").stat().st_size > 0
