"""`export --grammar`: what it writes for serving engines, without any weights."""

from __future__ import annotations

import json
import re

import pytest

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


def test_a_label_that_cannot_be_written_is_a_mistake(run, capsys):
    assert main(["--run", str(run), "--out", str(run / "out"), "--grammar", "a|b"]) == 2
    assert "separator" in capsys.readouterr().err
