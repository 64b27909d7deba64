"""The demo's door: a training that was stopped is not scored as if it had ended."""

from __future__ import annotations

from pathlib import Path

import pytest

import text4seg.training.fit as training
from text4seg import demo, fit


def test_a_stopped_demo_says_how_to_go_on(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    stopped = training.Outcome(Path("runs/demo"), {}, 3, 880, 0, [])
    monkeypatch.setattr(training, "fit", lambda *given: stopped)
    words = ["data.train.build.options.count=2", "data.val.build.options.count=2"]
    assert demo.main([*words, f"run_dir={tmp_path}/run"]) == 130
    assert "stopped at step 3 of 880" in capsys.readouterr().out


def test_a_demo_without_a_recipe_of_test_scenes_is_refused(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert demo.main(["data.val.build=null"]) == 2
    assert "`data.val.build` is null: the demo builds its test scenes" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("door", [demo, fit])
def test_brackets_in_the_name_of_a_run_are_no_markup(tmp_path, monkeypatch, capsys, door) -> None:
    monkeypatch.chdir(tmp_path)
    stopped = training.Outcome(Path("runs/demo"), {}, 3, 880, 0, [])
    monkeypatch.setattr(training, "fit", lambda *given: stopped)
    words = ["data.train.build.options.count=2", "data.val.build.options.count=2", "run_dir='a[/x]b'"]
    assert door.main([*words, *(["--config", str(demo.CONFIG)] if door is fit else [])]) == 130
    assert "--resume a[/x]b" in capsys.readouterr().out
