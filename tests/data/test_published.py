"""Every published layout: masks as worked out by hand, through shards and the data module to a perfect score."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from PIL import Image
from published import DOT, EDGE, LEFT, SLIVER, TOP, WRITERS, H, W, _coco, box, palette, picture, values, write
from shard_sets import WordProcessor, data_settings

from text4seg import shards as door
from text4seg.data.datamodule import ShardDataModule
from text4seg.data.items import conversation
from text4seg.data.settings import BuildSettings, SplitSettings
from text4seg.data.shards.build import build
from text4seg.data.shards.read import records
from text4seg.data.shards.verify import verify
from text4seg.data.sources.json_items import JsonItems
from text4seg.data.sources.registry import examples, needs
from text4seg.data.sources.share import Share
from text4seg.data.tasks.samples import samples
from text4seg.data.tasks.settings import TaskSettings
from text4seg.data.types import ignore_value
from text4seg.data.variants import Curriculum
from text4seg.descriptors import parse
from text4seg.metrics.board import ScoreBoard

NAMES = [writer.__name__ for writer in WRITERS]


@pytest.fixture(params=WRITERS, ids=NAMES)
def miniature(request, tmp_path):
    return write(request.param, tmp_path / "set")


def test_masks_are_what_the_annotation_says(miniature):
    source, options, expected = miniature
    found = {example.id: example for example in examples(source, options, 0)}
    assert set(found) == set(expected)
    for name, masks in expected.items():
        example = found[name]
        for label, mask in masks.items():
            if example.mask is not None and label in example.labels and source != "rle":
                np.testing.assert_array_equal(example.mask == example.labels.index(label), mask, label)
            asked = [referent for referent in example.referents if label in referent.phrases]
            if source not in ("coco", "panoptic"):  # there a referent is the whole object, its parts included
                np.testing.assert_array_equal(asked[0].mask, mask, label)
        if example.mask is not None and source not in ("coco", "rle"):
            rest = ~np.any(list(masks.values()), axis=0)
            assert set(np.unique(example.mask[rest])) <= {0, ignore_value(example.mask)}


@pytest.mark.parametrize("compat", [None, "text4seg_v1"])
def test_a_perfect_model_reaches_the_ceiling(miniature, tmp_path, compat):
    """fixture -> build -> verify -> data module -> the right answers, scored."""
    source, options, _ = miniature
    task = "generalized" if source in ("refer", "reason") else "semantic"
    changes = {"compat": compat, "repeats": 2} if compat else {}
    recipe = BuildSettings(source, options, task, changes, shards=1)
    build(recipe, tmp_path / "out", (8, 8), "rrle", "labelled")
    assert verify(tmp_path / "out") == []
    settings = data_settings(
        train=SplitSettings(str(tmp_path / "out")), val=SplitSettings(str(tmp_path / "out")), rule="labelled", workers=0
    )
    module = ShardDataModule(settings, WordProcessor())
    module.setup("fit")
    batch = next(iter(module.train_dataloader()))
    assert all("<seg>" in text for text in batch["texts"])
    board, variant = ScoreBoard(), Curriculum(settings).usual
    answers = {}
    for entry in module.indices["val"].shards:
        for record in records(tmp_path / "out" / entry.name):
            sample = record.sample()
            answers |= {(sample.key, i): pair[1] for i, pair in enumerate(conversation(sample, variant, False))}
    for batch in module.val_dataloader():
        for item in batch["items"]:
            decoded = parse(answers[item.key, item.turn], item.size, item.codec, item.labels[1:])
            assert decoded.status == "ok"
            board.update(decoded, item)
    scores = board.compute()
    for name in ("cIoU", "gIoU"):
        assert scores[name] == scores[f"ceiling_{name}"] > 0


def test_shares_make_the_whole(tmp_path):
    options = {"count": 7, "size": [32, 32], "objects": [1, 2]}
    whole = [e.id for e in examples("scenes", options, 0)]
    shares = [[e.id for e in examples("scenes", options, 0, Share(i, 3))] for i in range(3)]
    assert sorted(name for share in shares for name in share) == sorted(whole)
    assert [len(share) for share in shares] == [3, 2, 2]


def test_an_error_in_one_record_does_not_end_the_others(tmp_path):
    source, options, _ = write(WRITERS[NAMES.index("lines")], tmp_path / "set")
    path = tmp_path / "set" / "all.jsonl"
    good = path.read_text()
    path.write_text(good + '{"image": "missing.jpg", "objects": []}\n' + good.replace('"id": "a"', '"id": "b"'))
    recipe = BuildSettings(source, options, "generalized", shards=1, on_error="skip")
    index = build(recipe, tmp_path / "out", (4, 4), "rrle", "center")
    assert index.samples == 6
    assert index.notes["broken"]["count"] == 1
    assert "record 2" in index.notes["broken"]["named"][0]
    recipe.on_error = "raise"
    with pytest.raises(ValueError, match="record 2"):
        build(recipe, tmp_path / "out2", (4, 4), "rrle", "center")


def test_check_names_what_is_missing_and_where_to_get_it(miniature, tmp_path, capsys):
    source, options, _ = miniature
    words = [f"options.{name}={value}" for name, value in options.items()]
    assert all(need.found() for need in needs(source, options))
    assert door.main(["build", "--check", "--source", source, *words]) == 0
    assert "first picture" in capsys.readouterr().out
    gone = {name: str(value).replace(str(tmp_path), str(tmp_path / "gone")) for name, value in options.items()}
    assert door.main(["build", "--check", "--source", source, *(f"options.{n}={v}" for n, v in gone.items())]) == 1
    told = capsys.readouterr().out
    assert "MISSING" in told
    assert "get it from" in told


def test_check_of_conversations_names_file_and_folder(tmp_path, capsys):
    words = [f"options.annotations={tmp_path / 'mix.json'}", f"options.images={tmp_path / 'pictures'}", "task=text"]
    asked = ["build", "--check", "--source", "dialogue", *words]
    assert door.main(asked) == 1
    told = capsys.readouterr().out
    assert told.count("MISSING") == 2
    assert "llava_v1_5_mix665k.json" in told
    talk = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "That."}]
    (tmp_path / "mix.json").write_text(json.dumps([{"id": "a", "image": "a.jpg", "conversations": talk}]))
    picture(tmp_path / "pictures" / "a.jpg")
    assert door.main(asked) == 0
    assert "first picture: 0000000, 12x16" in capsys.readouterr().out


def test_check_reports_a_word_that_stands_for_several_classes(tmp_path, capsys):
    source, options, _ = write(palette, tmp_path / "set")
    (tmp_path / "set" / "synonyms.txt").write_text("sky, air, heaven\nwood, air\n")
    assert door.main(["build", "--check", "--source", source, f"options.root={options['root']}"]) == 0
    assert "one word, several classes: air = wood, sky" in capsys.readouterr().out


@pytest.mark.parametrize("layout", ["context459", "mapillary", "ade847"])
def test_class_names_are_those_of_the_set_s_own_file(tmp_path, layout):
    """The package brings none of these three; a name that the file does not have is in no example."""
    source, options, expected = write(WRITERS[NAMES.index(layout)], tmp_path / "set")
    path = {"context459": "labels.txt", "mapillary": "config_v2.0.json", "ade847": "classes.txt"}[layout]
    words = [word for masks in expected.values() for word in masks]
    text = (tmp_path / "set" / path).read_text()
    for word in words:
        text = re.sub(rf"\b{word}\b", f"{word} renamed", text)
    (tmp_path / "set" / path).write_text(text)
    labels = {label for example in examples(source, options, 0) for label in example.labels}
    assert {f"{word} renamed" for word in words} <= labels
    assert not labels & set(words)
    (tmp_path / "set" / path).unlink()
    assert not all(need.found() for need in needs(source, options))
    with pytest.raises(ValueError, match=re.escape(path)):
        list(examples(source, options, 0))


def test_instances_are_numbered_from_left_to_right(tmp_path):
    options = _coco(tmp_path, {1: "dog"}, [(1, box(DOT)), (1, box(LEFT))])
    (example,) = examples("coco", {**options, "instances": True}, 0)
    assert example.labels == ("others", "dog 1", "dog 2")
    np.testing.assert_array_equal(example.mask == 1, LEFT)
    np.testing.assert_array_equal(example.mask == 2, DOT)


def test_photographs_that_a_set_of_the_family_holds_back_are_left_out(tmp_path):
    def refs(name, **splits):
        writer = WRITERS[NAMES.index("refcoco")]
        _, options, _ = write(writer, tmp_path / name)
        path = tmp_path / name / "refs(unc).json"
        rows = json.loads(path.read_text())
        path.write_text(json.dumps([{**row, "split": splits["split"]} for row in rows]))
        return options

    train = refs("refcoco", split="train")
    assert len(list(examples("refer", train, 0))) == 1
    refs("refclef", split="val")  # another collection of photographs, numbered by itself
    assert len(list(examples("refer", train, 0))) == 1
    refs("refcocog", split="val")
    share = Share()
    assert list(examples("refer", train, 0, share)) == []
    assert share.notes.counts["train expressions on held-out photographs"] == 2
    assert len(list(examples("refer", {**train, "leaks": "keep"}, 0))) == 1
    source, options, _ = write(WRITERS[NAMES.index("cocostuff")], tmp_path / "stuff" / "set")
    folder = tmp_path / "stuff" / "set"
    (folder / "train2017/000000000009.jpg").rename(folder / "train2017/000000000036.jpg")
    mask = folder / "annotations/train2017"
    (mask / "000000000009_labelTrainIds.png").rename(mask / "000000000036_labelTrainIds.png")
    assert len(list(examples(source, options, 0))) == 1
    assert list(examples(source, {**options, "held_out": str(tmp_path)}, 0)) == []


@pytest.mark.parametrize("numbered", [False, True])
def test_annotations_without_a_pixel_are_counted_and_left_out(tmp_path, numbered):
    options = _coco(tmp_path, {1: "dog"}, [(1, box(TOP)), (1, SLIVER)])
    share = Share()
    (example,) = examples("coco", {**options, "instances": numbered}, 0, share)
    assert [referent.phrases for referent in example.referents] == [("dog 1" if numbered else "dog",)]
    assert share.notes.as_plain() == {"annotations that cover no pixel": {"count": 1, "named": ["1 of image 42"]}}


MIX = [
    {"id": "a", "image": "a.jpg", "conversations": [{"from": "human", "value": "<image>\nWhat?"},
     {"from": "gpt", "value": "A dog."}, {"from": "human", "value": "Sure?"}, {"from": "gpt", "value": "Yes.\n"}]},
    {"id": "b", "conversations": [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Hi"}]},
    {"query": "<image>What?", "response": "A cat.", "images": ["a.jpg"]},
]  # fmt: skip


@pytest.mark.parametrize("form", ["list", "lines"])
def test_conversations_pass_untouched(tmp_path, form):
    picture(tmp_path / "images/a.jpg")
    path = tmp_path / "mix.json"
    path.write_text(json.dumps(MIX, indent=1) if form == "list" else "\n".join(map(json.dumps, MIX)))
    options = {"annotations": str(path), "images": str(tmp_path / "images")}
    first, second, third = examples("dialogue", options, 0)
    assert first.dialogue == (("What?", "A dog."), ("Sure?", "Yes.\n"))
    assert (second.image, second.dialogue) == (None, (("Hello", "Hi"),))
    assert (third.size, third.dialogue) == ((H, W), (("What?", "A cat."),))
    recipe = BuildSettings("dialogue", options, "text", shards=1)
    assert build(recipe, tmp_path / "out", (4, 4), "rrle", "center").tasks == {"text": 4}
    assert verify(tmp_path / "out") == []


def test_what_several_people_answered_travels_with_the_question(tmp_path):
    said = [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "A dog.", "answers": ["dog", "a dog", "cat"]}]
    records = [{"conversations": said}, MIX[1], {"query": "What?", "response": "A cat.", "images": []}]
    (tmp_path / "vqa.json").write_text(json.dumps(records))
    options = {"annotations": str(tmp_path / "vqa.json"), "images": str(tmp_path)}
    found = [turn for one in samples(examples("dialogue", options, 0), "text", TaskSettings(), 0) for turn in one.turns]
    assert [turn.references for turn in found] == [("dog", "a dog", "cat"), (), ()]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({**MIX[0], "image": ["a.jpg", "b.jpg"]}, "record 1 is about 2 pictures"),
        ({**MIX[0], "image": "../a.jpg"}, "leads out"),
        ({**MIX[0], "image": "b.jpg"}, "no file"),
        ({"image_path": "a.jpg", "conversations": MIX[0]["conversations"]}, "neither `image` nor `images` names one"),
        ({"query": "<img>a.jpg</img>What?", "response": "x"}, "neither `image` nor `images` names one"),
        ({**MIX[0], "image": {"path": "a.jpg"}}, "`image` must be a file's name"),
        ({**MIX[2], "images": [{"path": "a.jpg"}]}, "`images` a list of such"),
        ({"conversations": MIX[1]["conversations"][:1]}, "question, answer"),
        ({"conversations": [{"from": "robot", "value": "x"}]}, "`from` must be"),
        ([], "expected an object"),
        ({"query": "?", "response": "x", "answers": "x"}, "`answers` must be a list"),
    ],
)
def test_odd_conversations_are_named(tmp_path, record, message):
    picture(tmp_path / "images/a.jpg")
    (tmp_path / "mix.json").write_text(json.dumps([record]))
    options = {"annotations": str(tmp_path / "mix.json"), "images": str(tmp_path / "images")}
    with pytest.raises(ValueError, match=message):
        list(examples("dialogue", options, 0))


def test_an_empty_list_of_pictures_hides_no_picture(tmp_path):
    picture(tmp_path / "images/a.jpg")
    records = [{**MIX[0], "images": None}, {**MIX[0], "images": []}]
    (tmp_path / "mix.json").write_text(json.dumps(records))
    found = examples("dialogue", {"annotations": str(tmp_path / "mix.json"), "images": str(tmp_path / "images")}, 0)
    assert [example.image for example in found] == [tmp_path / "images/a.jpg"] * 2


def test_a_mark_in_the_midst_of_a_text_is_text(tmp_path):
    said = "Why does <image> fail in <svg><image></svg>?"
    (tmp_path / "mix.json").write_text(json.dumps([{"query": said, "response": "x"}]))
    (example,) = examples("dialogue", {"annotations": str(tmp_path / "mix.json"), "images": str(tmp_path)}, 0)
    assert (example.image, example.dialogue) == (None, ((said, "x"),))


@pytest.mark.parametrize(
    "text",
    [
        '[1, {"a": [2]}, "ö"]',
        '1\n{"a": [2]}\n"ö"',
        ' [ 1 ,\n{"a":[2]},"ö" ]\n',
        '\ufeff1\r\n\r\n{"a": [2]}\r\n"ö"',
        ' \n\n \n[1 ,{"a"\n:[2]}\n, "ö"]',
    ],
)
@pytest.mark.parametrize("chunk", [1, 2, 5, 1000])
def test_json_is_read_record_by_record(tmp_path, monkeypatch, text, chunk):
    monkeypatch.setattr("text4seg.data.sources.json_items.CHUNK", chunk)
    (tmp_path / "a.json").write_bytes(text.encode())
    records = JsonItems(tmp_path / "a.json")
    assert [records[number] for number in range(len(records))] == [1, {"a": [2]}, "ö"]


def test_a_json_without_records_has_none(tmp_path):
    for text in ("", "\n \n", "[]", " [ ]\n"):
        (tmp_path / "a.json").write_text(text)
        assert len(JsonItems(tmp_path / "a.json")) == 0, text


@pytest.mark.parametrize("text", ['[1, {"a": ', "[1, 2", "[1 x]", "["])
def test_half_a_json_names_the_record(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=r"a.json: record \d is cut off"):
        JsonItems(tmp_path / "a.json")


def test_a_local_data_set_of_the_hub_library(tmp_path):
    datasets = pytest.importorskip("datasets", reason="optional: pip install datasets")
    picture(tmp_path / "a.jpg")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Image()})
    rows = {"image": [str(tmp_path / "a.jpg")], "label": [Image.fromarray(values(1, 2, 0, edge=255))]}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(str(tmp_path / "saved"))
    options = {"path": str(tmp_path / "saved"), "classes": ["sky", "wood"]}
    (example,) = examples("hub", options, 0)
    assert (example.labels, example.size) == (("others", "sky", "wood"), (H, W))
    np.testing.assert_array_equal(example.mask == 1, TOP)
    np.testing.assert_array_equal(example.mask == 255, EDGE)
    with pytest.raises(ValueError, match="no column 'mask'"):
        examples("hub", {**options, "mask": "mask"}, 0)
