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

from text4seg import templates
from text4seg.config import Config
from text4seg.data.settings import BuildSettings, DataSettings, SplitSettings
from text4seg.descriptors import LabelGrid, answer, encode, paint, parse, rasterize
from text4seg.refine.settings import RefineSettings, SamSettings
from text4seg.report import evaluation, identity, questions
from text4seg.report.answer_log import Answered, AnswerLog
from text4seg.report.pictures import choose
from text4seg.report.record import stored_mask
from text4seg.report.settings import EvaluateSettings, MatchSettings
from text4seg.report.swap import partners, swapped

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from fake_backbone import Reciter, backbone_of, prompts_of
from fake_item import FakeItem, jpeg
from sam_checkpoints import write_sam


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
        config = Config(data=DataSettings(val=SplitSettings(shards="DIR"), val_batch_size=2))
        monkeypatch.setattr(evaluation, "load_run", lambda *_, **__: (config, backbone))
        monkeypatch.setattr(identity, "weights_of", lambda *_: tmp_path / "no weights")
        (tmp_path / "no weights").mkdir(exist_ok=True)
        index = SimpleNamespace(shards=[], recipe={}, tasks={"referring": len(items)})
        monkeypatch.setattr(questions.Index, "load", lambda _: index)
        monkeypatch.setattr(questions.Questions, "_items", lambda _: iter(items))
        return asked

    return prepare


def test_writes_scores_items_and_a_sheet(tmp_path, run):
    items = [quarter(i) for i in range(3)]
    run(items, [good(items[0]), "no idea", good(items[2]).replace("*2", "*3", 1)])
    told: list[tuple] = []
    settings = EvaluateSettings(run=str(tmp_path), name="mine", device="cpu", ahead=1)
    found = evaluation.evaluate_run(settings, lambda *heard: told.append(heard))
    assert [heard[:2] for heard in told] == [(2, 3), (3, 3)]
    assert told[-1][2] == pytest.approx(found.scores["mine/gIoU"])
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
    report = json.loads((found.folder / "report.json").read_text())
    assert report["left_language"] == sum(line["left"] is not None for line in lines) == 2
    assert report["timing"]["per_mask"]["tokens"] == pytest.approx(np.mean([line["tokens"] for line in lines]), abs=2)
    assert 0 < report["timing"]["decoding"]["passes"] < report["timing"]["decoding"]["tokens"]
    assert Image.open(found.folder / "sheet.png").size[0] > 600
    assert not list(found.folder.glob("*.partial"))


def test_an_evaluation_without_a_sheet_leaves_no_older_one(tmp_path, run):
    for sheet in (1, 0):
        run([quarter(0)], [good(quarter(0))])
        found = evaluation.evaluate_run(EvaluateSettings(run=str(tmp_path), device="cpu", sheet=sheet))
        assert (found.folder / "sheet.png").exists() == bool(sheet)


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


def test_the_gallery_shows_the_worst_and_some_of_the_rest():
    lines = [{"iou": (i * 37 % 100) / 100} for i in range(100)]
    shown = [lines[number]["iou"] for number in choose(lines, 12)]
    assert shown == sorted(shown)
    assert shown[:8] == [i / 100 for i in range(8)]
    assert shown[-1] == 0.99
    assert len(choose(lines, 200)) == 100


def test_devices():
    assert evaluation.pick_device("cpu") == "cpu"
    assert torch.device(evaluation.pick_device("auto"))
    with pytest.raises(ValueError, match="one of auto"):
        evaluation.pick_device("tpu")


def test_a_killed_evaluation_goes_on_behind_its_last_batch(tmp_path, run):
    items = [quarter(i) for i in range(4)]
    texts = [good(items[0]), "no idea", good(items[2]).replace("*2", "*3", 1), good(items[3])]
    settings = EvaluateSettings(run=str(tmp_path), name="mine", device="cpu", ahead=1)
    run(items, texts)
    whole = evaluation.evaluate_run(settings).folder
    expected = {name: (whole / name).read_bytes() for name in ("items.jsonl", "metrics.json", "sheet.png")}
    report = json.loads((whole / "report.json").read_text())
    run(items, texts[:2])

    def killed(answered: int, *_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluation.evaluate_run(settings, killed)
    log = next(whole.glob("*.partial.jsonl"))
    log.write_text(log.read_text() + '{"number": 1, "sec')  # a line that the kill cut
    asked = run(items, texts[2:])
    evaluation.evaluate_run(settings)
    assert asked == [item.question for item in items[2:]], "the first batch is not asked again"
    assert {name: (whole / name).read_bytes() for name in expected} == expected
    again = json.loads((whole / "report.json").read_text())
    assert {**again, "timing": 0} == {**report, "timing": 0}
    assert not list(whole.glob("*.partial.jsonl"))


def test_answers_about_hundreds_of_classes_are_drawn(tmp_path, run):
    labels = ("others", *(f"class {number}" for number in range(1, 301)))
    item = quarter(0, labels=labels, task="conditioned", question="What is where?", size=(2, 2))
    said = np.array([[300, 255], [0, 1]])
    run([item], [answer("Sure:", encode(LabelGrid(said, labels)))])
    found = evaluation.evaluate_run(EvaluateSettings(run=str(tmp_path), device="cpu"))
    line = json.loads((found.folder / "items.jsonl").read_text())
    drawn = stored_mask(line, item.mask.shape)
    assert [drawn[0, 0], drawn[0, -1], drawn[-1, 0], drawn[-1, -1]] == [300, 255, 0, 1]
    assert (found.folder / "report.html").is_file()
    assert (found.folder / "sheet.png").is_file()


def test_answers_of_another_evaluation_are_not_used(tmp_path, run):
    items = [quarter(0), quarter(1)]
    folder = tmp_path / "eval" / "val"
    folder.mkdir(parents=True)
    other = AnswerLog(folder, "another one", rank=3)
    other.open()
    other.append(Answered(0, 1.0, [{"iou": 7.0}], {}))
    run(items, [good(item) for item in items])
    with pytest.warns(UserWarning, match=r"begins anew.*answers-3\.partial\.old"):
        found = evaluation.evaluate_run(EvaluateSettings(run=str(tmp_path), device="cpu"))
    assert found.scores["val/gIoU"] == 1.0
    assert not other.path.exists()
    assert "7.0" in other.path.with_suffix(".old").read_text()


def stopped(settings: EvaluateSettings, after: int = 2) -> Path:
    """Leave an evaluation behind so many answers; gives the file that holds them."""

    def stop(answered: int, *_: object) -> None:
        if answered >= after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluation.evaluate_run(settings, stop)
    return Path(settings.run or "", "eval", settings.name, "answers-0.partial.jsonl")


def test_answers_of_another_number_of_threads_are_kept(tmp_path, run):
    items = [quarter(i) for i in range(4)]
    settings = EvaluateSettings(run=str(tmp_path), device="cpu", ahead=1)
    run(items, [good(item) for item in items[:2]])
    threads = torch.get_num_threads()
    stopped(settings)
    try:
        torch.set_num_threads(threads + 1)
        asked = run(items, [good(item) for item in items[2:]])
        evaluation.evaluate_run(settings)
    finally:
        torch.set_num_threads(threads)
    assert len(asked) == 2
    report = json.loads((tmp_path / "eval" / "val" / "report.json").read_text())
    assert report["timing"]["hardware"]["threads"] == threads + 1
    assert report["settings"]["decoding"]["grammar"] == "report", "what the run decided is told, too"
    assert "hardware" not in report["stamp"], "what differs with the machine stands in the timing"


def test_an_edited_file_of_synonyms_makes_it_another_evaluation(tmp_path, run):
    items = [quarter(i) for i in range(4)]
    words = tmp_path / "words.txt"
    words.write_text("nothing, nobody\n")
    settings = EvaluateSettings(run=str(tmp_path), device="cpu", ahead=1, match=MatchSettings(synonyms=str(words)))
    run(items, [good(item) for item in items])
    stopped(settings)
    words.write_text("nothing, nowhere\n")
    asked = run(items, [good(item) for item in items])
    with pytest.warns(UserWarning, match="begins anew"):
        evaluation.evaluate_run(settings)
    assert len(asked) == 4


@pytest.mark.parametrize("spoilt", [lambda line: b"\0" * 40, lambda line: line.replace(b"Segment", b"Segm\xffnt")])
def test_a_damaged_batch_is_answered_again(tmp_path, run, spoilt):
    items = [quarter(i) for i in range(4)]
    settings = EvaluateSettings(run=str(tmp_path), device="cpu", ahead=1)
    run(items, [good(item) for item in items])
    log = stopped(settings, after=4)
    head, first, second, _ = log.read_bytes().split(b"\n")
    log.write_bytes(b"\n".join([head, spoilt(first), second, b""]))
    assert spoilt(first) != first
    asked = run(items, [good(item) for item in items[:2]])
    assert evaluation.evaluate_run(settings).items == 4
    assert asked == [item.question for item in items[:2]]


def test_a_second_evaluation_of_the_name_is_refused_while_the_first_runs(tmp_path, run):
    items = [quarter(i) for i in range(4)]
    settings = EvaluateSettings(run=str(tmp_path), device="cpu", ahead=1)
    run(items, [good(item) for item in items])
    refused = []

    def second(*_: object) -> None:
        with pytest.raises(ValueError, match=r"another process evaluates into .*eval/val.* its own `name`"):
            evaluation.evaluate_run(settings)
        refused.append(1)

    assert evaluation.evaluate_run(settings, second).items == 4
    assert len(refused) == 2
    run(items, [good(item) for item in items])
    assert evaluation.evaluate_run(settings).items == 4, "the place is free again"


def test_a_part_of_the_answers_is_no_report(tmp_path, run):
    items = [quarter(i) for i in range(4)]
    settings = EvaluateSettings(run=str(tmp_path), device="cpu", ahead=1)
    run(items, [good(item) for item in items])
    folder = tmp_path / "eval" / "val"

    def lose(answered: int, *_: object) -> None:
        if answered == 4:
            log = folder / "answers-0.partial.jsonl"
            log.write_text("\n".join(log.read_text().split("\n")[:2]) + "\n")

    with pytest.raises(ValueError, match=r"of 2 batches of answers 1 are in .*Start the evaluation again"):
        evaluation.evaluate_run(settings, lose)
    assert not (folder / "report.json").exists()
    asked = run(items, [good(item) for item in items[2:]])
    assert evaluation.evaluate_run(settings).items == len(asked) + 2 == 4


def test_shards_that_are_named_are_scored_as_they_are_whatever_the_protocol_builds():
    recipe = BuildSettings(source="scenes", options={"count": 3})
    both = evaluation._data(EvaluateSettings(shards="DIR", build=recipe, limit=5), Config()).val
    assert (both.shards, both.build, both.limit) == ("DIR", None, 5)
    assert evaluation._data(EvaluateSettings(build=recipe), Config()).val.build == recipe


def test_answers_in_words_are_no_masks():
    """Which have batches of their own: neither they nor their tokens count."""
    mask, words = {"task": "referring"}, {"task": "text"}
    batches = [
        Answered(0, 2.0, [mask] * 3, {"tokens": 30, "passes": 6, "seconds": 1.5}),
        Answered(1, 1.0, [mask], {"tokens": 10, "passes": 2, "seconds": 0.5}),
        Answered(2, 9.0, [words] * 4, {"tokens": 999, "passes": 999, "seconds": 9.0}),
    ]
    assert evaluation.per_mask(batches) == {"tokens": 10.0, "passes": 2.0, "seconds": 0.5}
    assert evaluation.per_mask(batches[2:]) == {}


def test_every_wording_is_asked_and_the_spread_is_told(tmp_path, run):
    item = quarter(0)
    count = len(templates.QUESTIONS["partial"])
    asked = run([item], [good(item)] * (count - 1) + ["what?"])
    found = evaluation.evaluate_run(EvaluateSettings(run=str(tmp_path), device="cpu", wording="all"))
    assert len(set(asked)) == found.items == count
    assert found.scores["val/gIoU"] == pytest.approx((count - 1) / count)
    report = json.loads((found.folder / "report.json").read_text())
    assert report["wordings"]["spread"]["gIoU"]["lowest"] == 0.0
    assert len(report["wordings"]["each"]) == count
    asked = run([item], [good(item)])
    evaluation.evaluate_run(EvaluateSettings(run=str(tmp_path), device="cpu", wording="1"))
    assert asked == [templates.QUESTIONS["partial"][1].format(labels=item.labels[1])]


def test_a_refiner_changes_the_mask_and_the_coarse_scores_stay_beside(tmp_path, run):
    item = quarter(0)
    run([item], [good(item)])
    settings = EvaluateSettings(run=str(tmp_path), device="cpu", refine=RefineSettings(name="smooth"))
    found = evaluation.evaluate_run(settings)
    assert found.scores["val/coarse_gIoU"] == 1.0
    assert found.scores["val/gIoU"] < 1.0
    line = json.loads((found.folder / "items.jsonl").read_text())
    smooth = paint(parse(good(item), item.size, labels=item.labels[1:]).grid, item.mask.shape, "smooth")
    assert (coco.decode(line["predicted"][0]["rle"]) == smooth).all()


def test_sam_refines_in_an_evaluation(tmp_path, run):
    item = quarter(0)
    sam = SamSettings(path=str(write_sam(tmp_path / "sam", "sam")), agree=0.0)
    found = []
    for name in ("once", "twice"):
        run([item], [good(item)])
        settings = EvaluateSettings(run=str(tmp_path), name=name, device="cpu", refine=RefineSettings("sam", sam=sam))
        scores = evaluation.evaluate_run(settings).scores
        assert scores[f"{name}/coarse_gIoU"] == 1.0
        assert scores[f"{name}/gIoU"] < 1.0, "random weights draw something else"
        found.append((tmp_path / "eval" / name / "items.jsonl").read_bytes())
    assert found[0] == found[1]


def test_words_are_read_as_the_labels_they_mean_and_listed(tmp_path, run):
    item = quarter(0, labels=("others", "sofa"))
    (tmp_path / "words.txt").write_text("sofa, couch\n")
    texts = {word: good(item).replace("sofa", word) for word in ("sofa", "Sofa", "couch", "lorry")}
    run([quarter(0, labels=("others", "sofa"), turn=i) for i in range(4)], list(texts.values()))
    match = MatchSettings(synonyms=str(tmp_path / "words.txt"))
    found = evaluation.evaluate_run(EvaluateSettings(run=str(tmp_path), device="cpu", match=match))
    assert found.scores["val/gIoU"] == 3 / 4
    assert found.scores["val/unmatched"] == 1 / 4
    report = json.loads((found.folder / "report.json").read_text())
    assert [(row["word"], row["label"], row["how"], row["times"]) for row in report["matches"]] == [
        ("Sofa", "sofa", "normalised", 1),
        ("couch", "sofa", "synonym", 1),
    ]
    page = (found.folder / "report.html").read_text()
    assert "Words read as labels" in page
    assert "not asked for: lorry" in page


def test_the_page_escapes_what_comes_from_outside(tmp_path, run):
    item = quarter(0, question="<script>alert(1)</script>", labels=("others", "<b>x</b>"))
    run([item], ["<img src=x onerror=alert(2)>"])
    found = evaluation.evaluate_run(EvaluateSettings(run=str(tmp_path), device="cpu"))
    text = (found.folder / "report.html").read_text()
    assert "&lt;script&gt;alert(1)" in text
    assert "&lt;img src=x" in text
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert "http" not in text.replace("https://", "http"), "nothing from the network"
