"""The evaluation of a real (random, tiny) run: same bytes over processes, kills, repeats; missing shards are built."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from small import MODEL, SHORT, write_config

from text4seg import evaluate, fit
from text4seg.report.settings import EvaluateSettings

PICTURES, QUESTIONS = 7, 24


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run after two steps; its validation set has seven pictures."""
    folder = tmp_path_factory.mktemp("trained")
    config = write_config(folder, val=PICTURES)
    assert fit.main(["--config", str(config), *MODEL, *SHORT, "data.val.limit=null", f"run_dir={folder}/run"]) == 0
    return folder / "run"


def words(run: Path, name: str, *more: str) -> list[str]:
    config = Path(__file__).resolve().parents[1] / "conf" / "eval" / "val.yaml"
    return ["--config", str(config), f"run={run}", f"name={name}", "batch_size=5", "ahead=2", "device=cpu", *more]


def started(argv: list[str], **environment: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "text4seg.evaluate", *argv]
    return subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL)


def told(run: Path, name: str) -> dict[str, object]:
    """What an evaluation wrote, without the timing and without its own name."""
    folder = run / "eval" / name
    text = (folder / "report.json").read_text()
    report = json.loads(text)
    assert list(report)[-1] == "timing"
    before = text[: text.index('"timing"')].replace(f'"name": "{name}"', "")
    pages = {path.name: path.read_bytes() for path in folder.iterdir() if path.name in ("items.jsonl", "sheet.png")}
    assert len(pages) == 2
    return {"report": before, **pages}


@pytest.fixture(scope="module")
def alone(run) -> dict[str, object]:
    assert evaluate.main(words(run, "alone")) == 0
    return told(run, "alone")


def test_a_repeat_gives_the_same_bytes(run, alone):
    assert evaluate.main(words(run, "alone")) == 0
    assert told(run, "alone") == alone


@pytest.mark.parametrize("ranks", [2, 3])
def test_several_processes_give_the_bytes_of_one(run, alone, ranks):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    name = f"ranks{ranks}"
    blind = {
        ranks - 1: {"GIT_DIR": "/nowhere"}
    }  # a node without git cannot tell the commit: it is the first one's word
    processes = [
        started(words(run, name), RANK=str(r), LOCAL_RANK=str(r), **common, **blind.get(r, {})) for r in range(ranks)
    ]
    assert [process.wait(timeout=200) for process in processes] == [0] * ranks
    assert told(run, name) == alone
    lines = [json.loads(line) for line in (run / "eval" / name / "items.jsonl").read_text().splitlines()]
    places = [(line["key"], line["turn"]) for line in lines]
    assert len(set(places)) == len(places) == QUESTIONS
    assert json.loads((run / "eval" / name / "report.json").read_text())["timing"]["processes"] == ranks


def test_kill_9_and_again(run, alone):
    process = started(words(run, "killed"))
    folder = run / "eval" / "killed"
    deadline = time.monotonic() + 100
    while sum(path.read_text().count("\n") for path in folder.glob("*.partial.jsonl")) < 2:
        assert process.poll() is None, "the evaluation ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (folder / "report.json").exists()
    assert evaluate.main(words(run, "killed")) == 0
    assert told(run, "killed") == alone


def test_shards_behind_an_address_are_read_as_fit_reads_them(run, alone, tmp_path, capsys):
    copy = Path(shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("eval")))
    config = yaml.safe_load((copy / "config.yaml").read_text())
    config["data"] |= {"remote": ["file"], "cache": str(tmp_path / "cache")}
    (copy / "config.yaml").write_text(yaml.safe_dump(config))
    address = f"shards=file://{run.parent}/val"
    assert evaluate.main(words(copy, "elsewhere", address)) == 0, capsys.readouterr().err
    assert told(copy, "elsewhere")["items.jsonl"] == alone["items.jsonl"]
    assert list((tmp_path / "cache").rglob("*.tar"))
    assert evaluate.main(words(run, "refused", address)) == 2
    assert "data.remote" in capsys.readouterr().err


def test_missing_shards_are_built_and_a_missing_folder_is_named(run, capsys):
    stored = run.parent / "val"
    shutil.rmtree(stored)
    assert evaluate.main(words(run, "rebuilt")) == 0
    assert any(stored.glob("*.tar"))
    assert evaluate.main(words(run, "nowhere", "shards=nowhere")) == 2
    assert "nowhere" in capsys.readouterr().err


def test_an_unknown_wording_is_refused_before_anything_is_loaded(run, capsys):
    assert evaluate.main(words(run, "wording", "wording=some")) == 2
    assert "`wording` must be stored, all or a number" in capsys.readouterr().err
    assert EvaluateSettings().wording == "stored"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("refine.crf.near_size=0", "`refine.crf.near_size` must be 0.1 or more, got 0"),
        ("refine.crf.alike_size=0", "`refine.crf.alike_size` must be 1 or more, got 0"),
        ("refine.crf.alike_colour=0", "`refine.crf.alike_colour` must be 1 or more, got 0"),
        ("refine.crf.certainty=0", "`refine.crf.certainty` must be 0.51 or more, got 0"),
        ("refine.crf.certainty=1.5", "`refine.crf.certainty` must be 0.999 or less, got 1.5"),
        ("refine.crf.steps=-1", "`refine.crf.steps` must be 0 or more, got -1"),
        ("refine.crf.alike_weight=.nan", "`refine.crf.alike_weight` must be 0 or more, got nan"),
        ("refine.sam.points=5", "`refine.sam.*` is set, but `refine.name` is crf: take refine.name=sam"),
        ("match.threshold=0.5", "`match.threshold` is for `match.similarity`, which is null"),
        ("before=true which=last", "`before` asks for the base weights, `which` for the last ones"),
    ],
)
def test_what_cannot_be_or_would_do_nothing_is_refused_before_anything_is_loaded(tmp_path, capsys, word, message):
    assert evaluate.main(words(tmp_path, "crf", "refine.name=crf", *word.split())) == 2
    assert message in capsys.readouterr().err


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    """The embedded model as a run: what it answers is worth something, and questions differ in length."""
    folder = tmp_path_factory.mktemp("demo")
    words = ["model.family=tiny", "model.lora.rank=2", *SHORT, "decoding.max_new_tokens=null", "data.format_hint=true"]
    config = write_config(folder, val=3)
    assert fit.main(["--config", str(config), *words, "data.grid=[8, 8]", f"run_dir={folder}/run"]) == 0
    return folder / "run"


def test_float64_gives_the_same_bytes_over_batch_sizes(demo):
    found = []
    for size, ahead in ((1, 4), (4, 1), (3, 2)):
        name = f"batch{size}"
        more = ["dtype=float64", "limit=3", f"batch_size={size}", f"ahead={ahead}"]
        assert evaluate.main([*words(demo, name), *more]) == 0
        found.append(told(demo, name))
        report = json.loads((demo / "eval" / name / "report.json").read_text())
        assert report["timing"]["batch_size"] == size
        assert report["scores"]["gIoU"] > 0.2, "an answer that is noise could not tell whether padding matters"
    assert found[0] == found[1] == found[2]
