"""`export --grammar`: what it writes for serving engines, without any weights."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import text4seg.report.run
from text4seg.config import Config, to_yaml
from text4seg.decoding.language.serving import ebnf
from text4seg.descriptors import answer, max_text
from text4seg.export import main


@pytest.fixture
def run(tmp_path):
    config = Config()
    config.data.grid = [4, 6]
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    return tmp_path


def test_the_language_of_a_run_is_written_for_serving_engines(run, capsys):
    out = run / "out"
    assert main(["--run", str(run), "--out", str(out), "--grammar", "red car", "--grammar", "dog"]) == 0
    grammar = (out / "grammar.ebnf").read_text()
    assert grammar == ebnf((4, 6), "rrle", ["red car", "dog"])
    text = answer("Here:", max_text((4, 6), ["red car", "dog"]))
    assert re.fullmatch((out / "grammar.regex").read_text().rstrip("\n"), text)
    vllm, sglang = (json.loads((out / f"{name}.json").read_text()) for name in ("vllm", "sglang"))
    assert vllm["structured_outputs"]["grammar"] == sglang["ebnf"] == grammar
    assert "red car" in vllm["messages"][0]["content"][1]["text"]
    assert str(out / "grammar.ebnf") in capsys.readouterr().out


def test_another_grid_may_be_asked_for(run):
    words = ["--run", str(run), "--out", str(run / "out"), "--grammar", "dog"]
    assert main([*words, "--grid", "2x3"]) == 0
    assert (run / "out" / "grammar.ebnf").read_text() == ebnf((2, 3), "rrle", ["dog"])


def test_the_question_names_the_format_where_the_run_was_trained_with_it(run):
    plain, hinted = run / "plain", run / "hinted"
    assert main(["--run", str(run), "--out", str(plain), "--grammar", "dog"]) == 0
    config = Config()
    config.data.grid, config.data.codec, config.data.format_hint = [4, 6], "full", True
    (run / "config.yaml").write_text(to_yaml(config))
    assert main(["--run", str(run), "--out", str(hinted), "--grammar", "dog", "--grid", "2x3"]) == 0
    for name in ("vllm.json", "sglang.json"):
        question, longer = (
            json.loads((out / name).read_text())["messages"][0]["content"][1]["text"] for out in (plain, hinted)
        )
        assert longer == question + " (2x3 full)"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "new", "--grid", "2x3"], "--grid is for --grammar"),
        (["--out", "new", "--dtype", "int8"], "`dtype` must be one of float32, bfloat16, float16, got 'int8'"),
        (["--out", "."], "got '.': give a name"),
        (["--out", "full"], "full is not empty"),
        (["--out", "full/file"], "full/file is a file"),
        (["--out", "full/file/new"], "full/file is a file"),
    ],
)
def test_an_export_that_cannot_be_is_refused_before_the_model_is_loaded(
    run, tmp_path_factory, capsys, monkeypatch, words, message
):
    (run / "adapter").mkdir()
    monkeypatch.chdir(tmp_path_factory.mktemp("here"))
    if "." not in words:
        Path("full").mkdir()
        Path("full/file").touch()
    monkeypatch.setattr(text4seg.report.run, "load_run", lambda *_, **__: pytest.fail("loaded a model"))
    assert main(["--run", str(run), *words]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("label", "message"), [("a|b", "separator"), ("others", "'others' cannot be asked for")])
def test_a_label_that_cannot_be_written_is_a_mistake(run, capsys, label, message):
    assert main(["--run", str(run), "--out", str(run / "out"), "--grammar", "dog", "--grammar", label]) == 2
    assert message in capsys.readouterr().err
