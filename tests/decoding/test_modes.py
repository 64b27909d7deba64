"""The grammar's modes as YAML gives them: a bare `on` is read as true there, `off` as false."""

from __future__ import annotations

import pytest

from text4seg.config import Config, load, to_yaml
from text4seg.report.settings import EvaluateSettings


@pytest.mark.parametrize("mode", ["on", "off", "report"])
@pytest.mark.parametrize("schema", [Config, EvaluateSettings])
def test_a_mode_may_be_written_bare(tmp_path, mode, schema):
    path = tmp_path / "run.yaml"
    path.write_text(f"name: a\ndecoding: {{grammar: {mode}}}\n")
    assert load(path, [], schema).decoding.grammar == mode
    read = load(path, [f"decoding.grammar={mode}"], schema)
    assert read.decoding.grammar == mode
    path.write_text(to_yaml(read))
    assert load(path, [], schema).decoding.grammar == mode


def test_another_word_is_kept_to_be_refused(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("name: a\n")
    assert load(path, ["decoding.grammar=maybe"]).decoding.grammar == "maybe"
    assert load(path, [], EvaluateSettings).decoding.grammar is None
