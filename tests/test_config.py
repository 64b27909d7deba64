"""Configuration: merging, nearest keys, types; answers before anything heavy is imported."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from text4seg.config import Config, keys, load, to_yaml
from text4seg.training.checks import check

ROOT = Path(__file__).resolve().parents[1]
RECIPES = sorted((ROOT / "conf").glob("*.yaml"))


def written(folder: Path, text: str, name: str = "one.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_the_command_line_goes_over_the_file_and_the_file_over_its_base(tmp_path):
    written(tmp_path, "seed: 1\noptim: {lr: 0.1, weight_decay: 0.5}\n", "below.yaml")
    path = written(tmp_path, "base: below.yaml\nseed: 2\noptim: {lr: 0.2}\n")
    config = load(path, ["optim.lr=0.3", "data.grid=[4,8]", "model.path=null"])
    assert (config.seed, config.optim.lr, config.optim.weight_decay) == (2, 0.3, 0.5)
    assert config.data.grid == [4, 8]
    assert config.model.path is None
    assert config.data.batch_size == Config().data.batch_size


def test_on_and_off_are_words_where_a_setting_is_text(tmp_path):
    path = written(tmp_path, "decoding: {grammar: off}\ndata: {format_hint: on}\n")
    config = load(path, [])
    assert (config.decoding.grammar, config.data.format_hint) == ("off", True)
    assert load(path, ["decoding.grammar=on", "data.format_hint=off"]).decoding.grammar == "on"


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_resolved_recipes_read_back_as_they_are(path, tmp_path):
    config = load(path, [])
    assert load(written(tmp_path, to_yaml(config)), []) == config


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("data.bacth_size=4", "did you mean `data.batch_size`"),
        ("dta.batch_size=4", "did you mean `data`"),
        ("batch_size=4", "did you mean `data.batch_size`"),
        ("model.lora.rnak=4", "did you mean `model.lora.rank`"),
        ("data.train.build.sead=4", "did you mean `data.train.build.seed`"),
        ("data.batch_size=many", "data.batch_size"),
        ("model.lora=3", "model.lora"),
        ("seed", "key=value"),
        ("=3", "key=value"),
    ],
)
def test_a_wrong_word_names_the_right_one(tmp_path, word, message):
    with pytest.raises(ValueError, match=r".") as caught:
        load(written(tmp_path, "seed: 1\n"), [word])
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optm: {lr: 1}\n", "did you mean `optim`"),
        ("optim: {lrr: 1}\n", "did you mean `optim.lr`"),
        ("- a\n- b\n", "key: value"),
        ("a: [1\n", "not readable YAML"),
        ("base: nowhere.yaml\n", "no configuration"),
        ("base: one.yaml\n", "leads back"),
        ("trainer: {steps: soon}\n", "trainer.steps"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(tmp_path, text, message):
    with pytest.raises(ValueError, match=r".") as caught:
        load(written(tmp_path, text), [])
    assert message in str(caught.value)


def test_a_missing_file_names_the_nearest_one(tmp_path):
    written(tmp_path, "", "tiny.yaml")
    with pytest.raises(ValueError, match=r"did you mean .*tiny\.yaml"):
        load(tmp_path / "tinny.yaml", [])


@given(st.sampled_from(sorted(dict(keys(Config)))), st.integers(0, 30), st.sampled_from("abcxyz"))
def test_any_slip_in_a_key_is_caught(key, place, letter):
    known = dict(keys(Config))
    wrong = key[: place % len(key)] + letter + key[place % len(key) :]
    prefixes = {name.rsplit(".", n)[0] for name in known for n in range(4)}
    if wrong in known or wrong in prefixes or any(wrong.startswith(f"{name}.") for name in known):
        return
    with pytest.raises(ValueError, match="no setting"):
        load(ROOT / "conf" / "base.yaml", [f"{wrong}=1"])


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["--help"], "--resume"),
        (["--config", "conf/tiny.yaml", "data.bacth_size=4"], "did you mean `data.batch_size`"),
        (["--config", "conf/tiny.yaml", "data.train.build.options.cuont=4"], "did you mean `count`"),
        (["--config", "conf/tiny.yaml", "data.val.build.task_options.trns=4"], "did you mean `turns`"),
        (["--config", "conf/tiny.yaml", "model.family=tinny"], "did you mean 'tiny'"),
    ],
)
def test_help_and_a_slip_answer_within_two_seconds(words, answer):
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", "text4seg.fit", *words], capture_output=True, text=True, cwd=ROOT)
        seconds.append(time.perf_counter() - start)
        if seconds[-1] < 2:
            break
    assert min(seconds) < 2
    assert answer in done.stdout + done.stderr


def test_the_configuration_imports_nothing_heavy():
    probe = (
        "import sys, text4seg.config, text4seg.fit; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_dry_run_prints_the_resolved_configuration(capsys):
    from text4seg.fit import main

    assert main(["--config", str(ROOT / "conf" / "tiny.yaml"), "--dry-run", "seed=7"]) == 0
    assert "seed: 7" in capsys.readouterr().out


def test_options_may_stand_between_words(capsys):
    from text4seg.fit import main

    assert main(["--config", str(ROOT / "conf" / "tiny.yaml"), "seed=7", "--dry-run", "name=between"]) == 0
    shown = capsys.readouterr().out
    assert "seed: 7" in shown
    assert "name: between" in shown


def test_cells_alone_need_a_weight(tmp_path):
    path = written(tmp_path, "data: {variants: {seen: {answer: false}}, curriculum: [{at: 0, seen: 1}]}\n")
    with pytest.raises(ValueError, match=r"`data.variants.seen.answer` is false, .*`loss.cells`"):
        check(load(path, []))
    check(load(path, ["loss.cells=1"]))


@pytest.mark.parametrize("word", ["model.merge=2", "model.row_ends=true", "model.cache_features=here"])
def test_settings_of_composed_models_are_refused_elsewhere(word) -> None:
    with pytest.raises(ValueError, match=r"is for family compose, not tiny"):
        check(load("conf/tiny.yaml", [word]))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["loss.cells=0", "loss.counts=1"], r"`loss.counts` teaches behind `loss.cells` only"),
        (
            ["data.wrong_rows=0.5", "data.codec=irle", "data.variants={}", "data.curriculum=[]"],
            r"for codecs that end rows",
        ),
        (["loss.sampled=8", "trainer.strategy=fsdp2"], r"`loss.sampled` takes rows of the head"),
    ],
)
def test_what_would_do_nothing_is_refused(words, told) -> None:
    with pytest.raises(ValueError, match=told):
        check(load("conf/tiny.yaml", words))
