"""The paper's recipes: each says what it costs without data or weights, and comes to the published number of steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from text4seg import fit
from text4seg.config import load
from text4seg.training.checks import check
from text4seg.training.plan import plan

PAPER = Path(__file__).resolve().parents[1] / "conf" / "paper"
STEPS = {"res": 33_925, "gres": 6_547, "vqa": 23_961, "cocostuff": 9_063}
"""RES: the released checkpoint's very number. GRES: two epochs of the 419k that the paper states (released: 6,476)."""


def test_each_recipe_is_known():
    assert {path.stem for path in PAPER.glob("*.yaml")} == set(STEPS)


@pytest.mark.parametrize("name", sorted(STEPS))
def test_a_recipe_comes_to_the_published_steps(name, capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    path = PAPER / f"{name}.yaml"
    config = load(path, [])
    check(config)
    for ranks in (1, 8, 16):
        planned = plan(config, ranks, config.data.train.samples)
        assert (planned.batch, planned.steps) == (128, STEPS[name])
    assert fit.main(["--config", str(path), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert f"{STEPS[name]:,} steps of 128 samples (8 ranks x 4 at once x 4)" in out
    for told in ("GiB a GPU", "million tokens", "# shards: "):
        assert told in out


def test_the_second_stage_starts_from_the_first():
    first, second = (load(PAPER / f"{name}.yaml", []) for name in ("res", "gres"))
    assert second.model.start == f"runs/{first.name}"
    assert first.model.lora == second.model.lora
