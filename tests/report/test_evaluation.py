"""Evaluating a run: files, scores, the swap control. The model recites, the data are made here."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco

import text4seg.report.evaluation as evaluation
from text4seg.data.settings import DataSettings
from text4seg.decoding.settings import DecodingSettings
from text4seg.descriptors import answer, encode, rasterize
from text4seg.report.settings import EvaluateSettings
from text4seg.report.swap import partners, swapped

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from fake_backbone import Reciter, backbone_of, prompts_of
from fake_item import FakeItem, jpeg


def quarter(i: int, **changes) -> FakeItem:
    """An item whose target is quarter i of a 32 x 48 picture."""
    mask = np.zeros((32, 48), np.uint8)
    mask[16 * (i // 2) :, 24 * (i % 2) :][:16, :24] = 1
    words = ("top left", "top right", "bottom left", "bottom right")[i]
    made = {"labels": ("others", f"the {words} thing"), "question": f"Segment the {words} thing.", "turn": i}
    return FakeItem(mask, **made | changes)


def good(item: FakeItem) -> str:
    return answer("Sure:", encode(rasterize(item.mask, item.labels, item.size)))


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Makes `evaluate_run` score the given items with a model that recites the given texts."""

    def prepare(items: list[FakeItem], texts: list[str]) -> list[str]:
        backbone = backbone_of(Reciter(texts))
        asked: list[str] = []
        backbone.processor.encode = lambda image, turns: asked.append(turns[0][0]) or turns[0][0]
        backbone.processor.collate = lambda encoded, side: prompts_of(encoded)
        batches = [{"prompts": prompts_of(["ab", "c"][: len(pair)]), "items": pair} for pair in pairs(items)]
        monkeypatch.setattr(
            evaluation,
            "load_run",
            lambda *_: (SimpleNamespace(data=DataSettings(), decoding=DecodingSettings(), seed=0), backbone),
        )
        monkeypatch.setattr(evaluation, "_loader", lambda *_: batches)
        return asked

    return prepare


def pairs(items: list) -> list[list]:
    return [items[i : i + 2] for i in range(0, len(items), 2)]


def test_writes_scores_items_and_a_sheet(tmp_path, run):
    items = [quarter(i) for i in range(3)]
    run(items, [good(items[0]), "no idea", good(items[2]).replace("*2", "*3", 1)])
    told: list[int] = []
    settings = EvaluateSettings(run=str(tmp_path), name="mine", device="cpu")
    found = evaluation.evaluate_run(settings, told.append)
    assert told == [2, 3]
    assert found.items == 3
    assert found.folder == tmp_path / "eval" / "mine"
    stored = json.loads((found.folder / "metrics.json").read_text())
    assert stored == {**found.scores, "mine/items": 3}
    lines = [json.loads(line) for line in (found.folder / "items.jsonl").read_text().splitlines()]
    assert [line["status"] for line in lines] == ["ok", "invalid", "repaired"]
    assert [line["predicted"] for line in lines[1:2]] == [[]]
    assert (coco.decode(lines[0]["predicted"][0]["rle"]) == items[0].mask).all()
    # another tool's count over the stored masks gives the stored scores
    inter = sum(line["intersection"] for line in lines)
    union = sum(line["union"] for line in lines)
    assert stored["mine/cIoU"] == pytest.approx(inter / union)
    assert stored["mine/gIoU"] == pytest.approx(np.mean([line["iou"] for line in lines]))
    assert stored["mine/invalid"] == pytest.approx(1 / 3)
    assert Image.open(found.folder / "sheet.png").size[0] > 600
    assert not list(found.folder.glob("*.partial"))


def test_an_empty_set_is_an_error_and_leaves_the_old_items(tmp_path, run):
    run([], [])
    with pytest.raises(ValueError, match="no item"):
        evaluation.evaluate_run(EvaluateSettings(run=str(tmp_path), device="cpu"))
    assert not (tmp_path / "eval" / "val" / "items.jsonl").exists()


def test_partners_are_other_targets_of_the_same_picture():
    a, b = jpeg(32, 48, seed=1), jpeg(32, 48, seed=2)
    same_mask = quarter(0, image=a, turn=7, labels=("others", "another word"), question="?")
    items = [quarter(0, image=a), quarter(1, image=a), same_mask, quarter(2, image=b), quarter(3, image=b, key="other")]
    alone, several = quarter(0, image=jpeg(32, 48, seed=3)), quarter(1, image=a, turn=9, labels=("others", "x", "y"))
    found = partners([*items, alone, several])
    assert found == {
        ("a", 0): (items[1].question, items[1].labels),
        ("a", 1): ("?", ("others", "another word")),
        ("a", 7): (items[1].question, items[1].labels),
        ("a", 2): (items[4].question, items[4].labels),
        ("other", 3): (items[3].question, items[3].labels),
    }
    asked = swapped(items[0], found["a", 0])
    assert asked.question == items[1].question
    assert (asked.mask == items[0].mask).all()


def test_a_model_that_reads_the_question_fails_the_swap_and_one_that_does_not_passes(tmp_path, run):
    picture = jpeg(32, 48)
    items = [quarter(i, image=picture) for i in range(4)]
    lonely = quarter(0, key="lonely", image=jpeg(32, 48, seed=9))
    settings = EvaluateSettings(run=str(tmp_path), name="swap", swap_questions=True, device="cpu")
    asked = run([*items, lonely], [good(items[i]) for i in (1, 2, 3, 0)])
    reads = evaluation.evaluate_run(settings)
    assert asked == [items[i].question for i in (1, 2, 3, 0)]
    assert reads.items == 4
    assert reads.scores["swap/cIoU"] == 0.0
    assert reads.scores["swap/unmatched"] == 0.0
    assert reads.scores["swap/ceiling_cIoU"] == 1.0
    stubborn = [good(items[i]).replace(items[i].labels[1], items[(i + 1) % 4].labels[1]) for i in range(4)]
    run([*items, lonely], stubborn)
    assert evaluation.evaluate_run(settings).scores["swap/cIoU"] == 1.0


def test_the_sheet_draws_from_the_whole_set():
    sample = evaluation._Sample(10)
    for i in range(1000):
        sample.add(i)
    assert len(set(sample.kept)) == 10
    assert max(sample.kept) > 500
    assert evaluation.pick_device("cpu") == "cpu"
    assert torch.device(evaluation.pick_device("auto"))
