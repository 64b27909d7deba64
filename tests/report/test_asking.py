"""The words that a run is asked in: those of its training recipe, of its mix, or of the index of its shards."""

from __future__ import annotations

import json
import warnings
from types import SimpleNamespace

import pytest

from text4seg.config import Config, to_yaml
from text4seg.data.settings import BuildSettings, DataSettings, SetSettings
from text4seg.data.shards.index import Index
from text4seg.data.shards.remote import folder_at
from text4seg.export import main
from text4seg.report import questions
from text4seg.report.asking import words_of
from text4seg.report.questions import Questions
from text4seg.templates import DEFAULT


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("partial: {questions: ['Mine: {labels}?']}\nconditioned: {questions: ['Which: {labels}?']}\n")
    return path


def recipe(task: str = "referring", **options) -> BuildSettings:
    return BuildSettings(task=task, task_options=options)


def mixed(**sets: BuildSettings) -> DataSettings:
    data = DataSettings()
    data.train.mix = {name: SetSettings(build=build) for name, build in sets.items()}
    return data


def question(data: DataSettings, task: str, *labels: str) -> str:
    return words_of(data, task).fixed(task, labels)[0]


def indexed(folder, **options) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    stored = {"task": "referring", "task_options": options}
    Index((), 0, 0, {"referring": 0}, (4, 4), "rrle", "center", recipe=stored).save(folder)


def test_a_recipe_has_its_words_and_where_it_has_none_the_default_ones_are_taken(mine):
    data = DataSettings()
    assert words_of(data, "referring") == DEFAULT
    data.train.build = recipe(templates=str(mine), joiner="|")
    assert question(data, "referring", "dog", "cat") == "Mine: dog|cat?"
    assert question(data, "conditioned", "dog", "cat") == "Which: dog|cat?"
    data.train.build = recipe("semantic", compat="text4seg_v1")
    assert question(data, "conditioned", "dog", "cat").endswith("dog|cat.")


def test_a_file_that_is_gone_is_named_and_the_joiner_stays(mine):
    data = DataSettings()
    data.train.build = recipe(templates=str(mine), joiner="|")
    mine.unlink()
    with pytest.warns(UserWarning, match=r"no template file at .*mine\.yaml.* default words are used"):
        words = words_of(data, "referring")
    assert words.questions == DEFAULT.questions
    assert words.joiner == "|"


def test_of_a_mix_the_first_set_that_asks_so_counts(mine):
    data = mixed(
        talk=recipe("text", joiner="#"),
        classes=recipe("semantic", joiner="|"),
        things=recipe(templates=str(mine)),
        more=recipe("mix", weights={"referring": 1.0, "all": 0}, templates=str(mine)),
    )
    with pytest.warns(UserWarning, match="different words .*those of 'classes' are taken"):
        assert "dog|cat" in question(data, "referring", "dog", "cat")
    data.train.mix.pop("classes")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert question(data, "referring", "dog", "cat") == "Mine: dog, cat?"


@pytest.mark.parametrize("other", ["text", "all", "mix"])
def test_sets_that_ask_otherwise_do_not_count_nor_warn(other):
    weights = {"weights": {"referring": 0.0, "conditioned": 1.0}} if other == "mix" else {}
    data = mixed(a=recipe(other, joiner="#", **weights), b=recipe(joiner="|"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "dog|cat" in question(data, "referring", "dog", "cat")


def test_shards_without_a_recipe_say_it_themselves(mine, tmp_path):
    data = DataSettings(cache=str(tmp_path / "cache"))
    data.train.shards = str(tmp_path / "shards")
    assert words_of(data, "referring") == DEFAULT
    indexed(tmp_path / "shards", templates=str(mine), joiner="|")
    assert question(data, "referring", "dog", "cat") == "Mine: dog|cat?"
    data.train.shards = "s3://nowhere/shards"
    assert words_of(data, "referring") == DEFAULT, "nothing is fetched"
    indexed(folder_at(data.train.shards, cache=data.cache).copies, joiner="#")
    assert "dog#cat" in question(data, "referring", "dog", "cat")


def test_requests_for_serving_engines_ask_so_too(mine, tmp_path):
    config = Config()
    config.data.grid, config.data.format_hint = [4, 6], True
    config.data.train.build = recipe(templates=str(mine), joiner="|")
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    assert main(["--run", str(tmp_path), "--out", str(tmp_path / "o"), "--grammar", "dog", "--grammar", "cat"]) == 0
    for name in ("vllm.json", "sglang.json"):
        content = json.loads((tmp_path / "o" / name).read_text())["messages"][0]["content"]
        assert content[1]["text"] == "Mine: dog|cat? (4x6 rrle)"


def test_an_evaluation_knows_the_joiner_of_a_published_recipe(monkeypatch, tmp_path):
    stored = {"task": "semantic", "task_options": {"compat": "text4seg_v1"}}
    index = SimpleNamespace(shards=[], recipe=stored, tasks={"conditioned": 1})
    monkeypatch.setattr(questions.Index, "load", lambda _: index)
    assert Questions(tmp_path, DataSettings()).templates.joiner == "|"
