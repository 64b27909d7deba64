"""Protocols are data: each file of conf/eval goes through the real door, on tiny weights and a miniature of its set."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from small import MODEL, SHORT, write_config
from trees import write_pictures, write_refer

sys.path.insert(0, str(Path(__file__).resolve().parent / "data"))
import published

from text4seg import evaluate, fit
from text4seg.config import load
from text4seg.data.sources.registry import source_settings
from text4seg.data.tasks.settings import TaskSettings
from text4seg.metrics.boxes import box_iou
from text4seg.report import evaluation
from text4seg.report.settings import EvaluateSettings
from text4seg.templates import QUESTIONS

ROOT = Path(__file__).resolve().parents[1]
ALL = sorted((ROOT / "conf" / "eval").glob("*.yaml"))
PROTOCOLS = [path for path in ALL if "build:" in path.read_text()]
CLASSES = {
    "ade150": ("ade20k", 2),
    "context59": ("context59", 59),
    "voc20": ("voc20", 20),
    "cocostuff": ("cocostuff", 171),
}
"""Protocol -> the writer of its miniature, and how many classes are asked for there."""


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run after two steps, in a folder whose pictures carry several questions (for swap.yaml)."""
    folder = tmp_path_factory.mktemp("protocols")
    config = write_config(folder)
    words = ["--config", str(config), *MODEL, *SHORT, "data.train.build.task_options={turns: 2}"]
    assert fit.main([*words, "data.val.build.task_options={turns: 2}", f"run_dir={folder}/run"]) == 0
    return folder / "run"


def words_for(name: str, folder: Path) -> list[str]:
    """What a user would say about where the set lies, having written a miniature of it there."""
    if name in CLASSES:
        published.write(getattr(published, CLASSES[name][0]), folder)
        return [f"build.options.root={folder}", "build.options.split=train"]
    if name == "reason":
        published.write(published.reasonseg, folder)
        return [f"build.options.root={folder}", "build.options.split=train"]
    if name in ("res", "gres", "rec"):
        return [f"build.options.root={write_refer(folder)}"]
    if name == "vqa":
        return [f"build.options.annotations={write_vqa(folder)}", f"build.options.images={folder}/images"]
    return []


def write_vqa(folder: Path) -> Path:
    write_pictures(folder / "images", ["a", "b"])
    said = [("human", "<image>\nHow many?"), ("gpt", "two"), ("human", "Is it day?"), ("gpt", "yes")]
    turns: list[dict[str, object]] = [{"from": who, "value": text} for who, text in said]
    turns[1]["answers"] = ["2", "two", "two", "three"]
    records = [{"id": name, "image": f"{name}.jpg", "conversations": turns} for name in "ab"]
    (folder / "vqa.json").write_text(json.dumps(records))
    return folder / "vqa.json"


@pytest.mark.parametrize("path", PROTOCOLS, ids=lambda path: path.stem)
def test_a_protocol_names_what_exists_and_leaves_nothing_to_chance(path):
    settings = load(path, [], EvaluateSettings)
    assert settings.name == path.stem
    source_settings(settings.build.source, settings.build.options)
    asked = TaskSettings(**settings.build.task_options)
    if settings.build.task == "text":
        assert asked == TaskSettings(), "questions in words pass through"
        return
    assert asked.fixed_template
    assert asked.phrases == "all" or (asked.every and asked.others_listed == 1.0)


@pytest.mark.parametrize("path", PROTOCOLS, ids=lambda path: path.stem)
def test_a_call_on_another_split_writes_to_a_place_of_its_own(path):
    told = path.read_text()
    split = re.search(r"build\.options\.split=(\w+)", told)
    assert split is None or re.search(rf"name=\S+_{split[1]}\b", told)


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_every_evaluation_runs_to_its_report(path, run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["--config", str(path), f"run={run}", "device=cpu", "decoding.max_new_tokens=8"]
    assert evaluate.main([*words, *words_for(path.stem, tmp_path / "set")]) == 0, capsys.readouterr().err
    folder = run / "eval" / path.stem
    report = json.loads((folder / "report.json").read_text())
    lines = [json.loads(line) for line in (folder / "items.jsonl").read_text().splitlines()]
    assert report["items"] == len(lines) > 0
    assert (folder / "report.html").stat().st_size > 2000
    check = {"vqa": check_words, "rec": check_boxes}.get(
        path.stem, check_classes if path.stem in CLASSES else check_masks
    )
    check(report, lines)


def test_the_grammar_of_descriptors_is_not_for_words(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked: list[tuple[str, str]] = []
    real = evaluation.respond

    def respond(backbone, prompts, items, *rest):
        asked.extend((item.task, rest[0].grammar) for item in items)
        return real(backbone, prompts, items, *rest)

    monkeypatch.setattr(evaluation, "respond", respond)
    common = [f"run={run}", "device=cpu", "decoding.max_new_tokens=8", "decoding.grammar=on", "name=grammar"]
    for name in ("vqa", "val"):
        words = ["--config", str(ROOT / "conf" / "eval" / f"{name}.yaml"), *common, *words_for(name, tmp_path / name)]
        assert evaluate.main(words) == 0
    assert set(asked) == {("text", "off"), ("referring", "on")}


def test_another_wording_lists_the_same_classes(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["--config", str(ROOT / "conf/eval/voc20.yaml"), f"run={run}", "device=cpu", "decoding.max_new_tokens=8"]
    assert evaluate.main([*words, *words_for("voc20", tmp_path / "set"), "name=other", "wording=1"]) == 0
    (line,) = [json.loads(line) for line in (run / "eval" / "other" / "items.jsonl").read_text().splitlines()]
    assert "|".join(line["labels"]) in line["question"]
    assert line["question"] != QUESTIONS["conditioned"][0].format(labels="|".join(line["labels"]))


def check_masks(report, lines) -> None:
    assert {"cIoU", "gIoU", "T-acc", "Pr@0.5", "REC_mask", "legacy_cIoU"} <= set(report["scores"])


def check_boxes(report, lines) -> None:
    assert {"REC", "REC_mask", "legacy_REC_mask"} <= set(report["scores"])
    # trees.write_refer annotates a box that is smaller than the polygon's
    assert {tuple(line["tally"]["annotated_box"]) for line in lines} == {(4.0, 5.0, 19.0, 28.0)}
    assert all(line["tally"]["target_box"] != line["tally"]["annotated_box"] for line in lines)
    hits = [box_iou(line["tally"]["views"][""]["box"], (4.0, 5.0, 19.0, 28.0)) >= 0.5 for line in lines]
    assert report["scores"]["REC"] == pytest.approx(np.mean(hits))


def check_classes(report, lines) -> None:
    assert {"mIoU", "mIoU_bg", "legacy_mIoU", "fwIoU", "pixel_acc"} <= set(report["scores"])
    (asked,) = {len(line["labels"]) - 1 for line in lines}
    assert asked == CLASSES[report["name"]][1]
    for line in lines:
        assert line["task"] == "conditioned"
        assert "|".join(line["labels"]) in line["question"], "all classes in their order, others first"
    assert len([row for row in report["classes"] if row["label"] != "others"]) == 2


def check_words(report, lines) -> None:
    assert report["scores"] == {}
    assert [line["question"] for line in lines] == ["How many?", "Is it day?"] * 2
    assert lines[0]["references"] == ["2", "two", "two", "three"]
    assert lines[1]["references"] == ["yes"]
    assert report["words"]["items"] == 4
    assert report["words"]["VQA"] == pytest.approx(np.mean([line["accuracy"] for line in lines]))
