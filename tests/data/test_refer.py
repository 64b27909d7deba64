"""The refer source on miniature refCOCO and gRefCOCO folders written here, and on real ones where they are.

Masks are held against numbers worked out by hand and against `COCO.annToMask` of pycocotools.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco
from pycocotools.coco import COCO

from text4seg.data.sources import segments
from text4seg.data.sources.refer import examples
from text4seg.data.sources.settings import ReferSettings
from text4seg.data.sources.share import Share
from text4seg.data.tasks.samples import samples
from text4seg.data.tasks.settings import TaskSettings

H, W = 6, 8
BOX = [[1, 1, 5, 1, 5, 4, 1, 4]]
"""Columns 1 to 4 of rows 1 to 3."""
BOX_MASK = np.pad(np.ones((3, 4), bool), ((1, 2), (1, 3)))
CORNER = np.zeros((H, W), bool)
CORNER[4:, 6:] = True
CORNER_RUNS = [40, 2, 4, 2]


def compressed(mask: np.ndarray) -> dict[str, Any]:
    rle = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def ann(name: int, segmentation: Any, image: int = 7) -> dict[str, Any]:
    return {"id": name, "image_id": image, "category_id": 1, "iscrowd": 0, "segmentation": segmentation}


def ref(name: int, target: Any, *sentences: str, split: str = "train", image: int = 7) -> dict[str, Any]:
    told = [{"sent_id": i, "raw": s.upper(), "sent": s, "tokens": s.split()} for i, s in enumerate(sentences)]
    # `file_name` with the annotation's number is what the published refs have; no such file exists
    return {"ref_id": name, "ann_id": target, "image_id": image, "category_id": 1, "split": split, "sentences": told,
            "file_name": f"000{image}_{target}.jpg"}  # fmt: skip


class Tree:
    """A folder in the REFER layout."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "images").mkdir(parents=True)
        self.images = [{"id": i, "file_name": f"000{i}.jpg", "height": H, "width": W} for i in (7, 8)]
        for image in self.images:
            Image.new("RGB", (W, H)).save(root / "images" / image["file_name"])
        self.annotations = [ann(1, BOX), ann(2, compressed(CORNER)), ann(3, BOX, image=8)]
        self.refs = [ref(10, 1, "the box", " a\n box "), ref(11, 3, "it", image=8, split="val"), ref(12, 2, "corner")]

    def read(self, **options) -> list:
        instances = {"images": self.images, "annotations": self.annotations, "categories": []}
        (self.root / "instances.json").write_text(json.dumps(instances))
        (self.root / "refs(unc).json").write_text(json.dumps(self.refs))
        return list(examples(ReferSettings(root=str(self.root), **options), seed=0))

    def mask(self) -> np.ndarray:
        return self.read()[0].referents[0].mask

    def refuse(self, *parts: str, **options) -> None:
        with pytest.raises(ValueError, match=re.escape(parts[0])) as caught:
            self.read(**options)
        for part in parts:
            assert part in str(caught.value), f"{part!r} is missing in: {caught.value}"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "refcoco")


def test_refs_are_gathered_by_image(tree):
    first, second = tree.read()
    assert (first.id, first.size, first.source, first.split) == ("7", (H, W), "refcoco", "train")
    assert first.image == tree.root / "images" / "0007.jpg"
    assert (first.mask, first.labels) == (None, ("others",))
    assert [(r.id, r.phrases) for r in first.referents] == [("10", ("the box", "a box")), ("12", ("corner",))]
    np.testing.assert_array_equal(first.referents[0].mask, BOX_MASK)
    np.testing.assert_array_equal(first.referents[1].mask, CORNER)
    assert (second.id, second.split, second.referents[0].mask.dtype) == ("8", "val", bool)


def test_the_annotated_box_travels_to_the_question(tree):
    tree.annotations[0]["bbox"] = [0.5, 1, 5, 2.5]  # not the mask's: people draw boxes and masks apart
    tree.refs += [ref(13, [1, 2], "both"), ref(14, [-1], "nothing")]
    boxes = {r.id: r.box for r in tree.read()[0].referents}
    assert boxes == {"10": (0.5, 1.0, 5.5, 3.5), "12": None, "13": None, "14": None}
    asked = {
        turn.id: turn.box for one in samples(tree.read()[:1], "generalized", TaskSettings(), 0) for turn in one.turns
    }
    assert asked == boxes
    together = samples(tree.read()[:1], "referring", TaskSettings(objects=9), 3)
    assert all(turn.box is None for one in together for turn in one.turns if "+" in turn.id)
    for broken in ([1, 2, 3], [0, 0, float("nan"), 1], "left", [0, 0, "1", 1]):
        tree.annotations[0]["bbox"] = broken
        tree.refuse("annotation 1", "bbox")


def test_only_refs_of_the_split_come(tree):
    tree.refs += [ref(13, 1, "seen in val", split="val")]
    assert [(e.id, [r.id for r in e.referents]) for e in tree.read(split="val")] == [("8", ["11"]), ("7", ["13"])]
    assert [e.split for e in tree.read()] == ["train+val", "val"]


def test_an_unknown_split_is_answered_with_the_known_ones(tree):
    tree.refuse("no split 'vla'", "did you mean 'val'?", "train, val", split="vla")


def test_test_splits_of_refclef_are_joined_as_refer_does(tree):
    tree.refs = [ref(i, 1, "it", split=s) for i, s in enumerate(("testA", "testAB", "testC", "val"))]
    for split, expected in (("testA", "01"), ("testB", "1"), ("testAB", "1"), ("test", "012"), ("val", "3")):
        assert "".join(r.id for e in tree.read(split=split) for r in e.referents) == expected


@pytest.mark.parametrize(
    ("segmentation", "expected"),
    [
        (BOX, BOX_MASK),
        ([*BOX, [1, 1], [2, 2, 3, 3], []], BOX_MASK),
        ([*BOX, *BOX], BOX_MASK),
        ([*BOX, [6, 4, 8, 4, 8, 6, 6, 6]], BOX_MASK | CORNER),
        ([[-9, -9, 30, -9, 30, 30, -9, 30]], np.ones((H, W), bool)),
        (compressed(CORNER), CORNER),
        ([compressed(CORNER), compressed(BOX_MASK)], BOX_MASK | CORNER),
        ({"size": [H, W], "counts": CORNER_RUNS}, CORNER),
        ({"size": [H, W], "counts": [0, H * W]}, np.ones((H, W), bool)),
        ([*BOX, {"size": [H, W], "counts": CORNER_RUNS}], BOX_MASK | CORNER),
    ],
)
def test_every_form_of_mask(tree, segmentation, expected):
    for crowd in (0, 1):
        tree.annotations[0] = {**ann(1, segmentation), "iscrowd": crowd}
        np.testing.assert_array_equal(tree.mask(), expected)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_run_lengths_agree_with_pycocotools(height, width, seed, share):
    mask = np.random.default_rng(seed).random((height, width)) < share
    rle = compressed(mask)
    np.testing.assert_array_equal(segments.run_lengths(rle, (height, width), ""), mask)
    raw = {"size": [height, width], "counts": segments.uncompressed(rle["counts"])}
    np.testing.assert_array_equal(coco.decode(coco.frPyObjects(raw, height, width)), mask)


@given(st.text() | st.text(st.characters(min_codepoint=48, max_codepoint=111)))
def test_no_run_length_text_crashes(text):
    if sum(segments.uncompressed(text)) == H * W:  # hardly ever; negative runs may still be among them
        return
    with pytest.raises(ValueError, match="here: run lengths"):
        segments.run_lengths({"size": [H, W], "counts": text}, (H, W), "here")


@pytest.mark.parametrize(
    "segmentation",
    [
        [],
        [[1, 1, 2, 2]],
        [[1, 1, 5]],
        [[100, 1, 105, 1, 105, 4]],
        {"size": [H, W], "counts": [H * W]},
        {"size": [H, W], "counts": [40, 2]},
        {"size": [H, W], "counts": [40, 200]},
        {"size": [H, W], "counts": [-8, 56]},
        {"size": [H, W], "counts": ["40", "8"]},
        {"size": [H, W], "counts": [2**70]},
        {"size": [W, H], "counts": CORNER_RUNS},
        {"size": 48, "counts": CORNER_RUNS},
        {"counts": CORNER_RUNS},
        {"size": [H, W]},
        {"size": [H, W], "counts": "o" * 1000},
        {"size": [H, W], "counts": ""},
        {"size": [H, W], "counts": "é"},
        [[1, 1, 5, 1, 5, 4, 1]],
        [[1, 1, float("nan"), 1, 5, 4]],
        [[1, 1, float("inf"), 1, 5, 4]],
        [[1, 1, 10**400, 1, 5, 4]],
        [[1, 1, 1e9, 1, 5, 4]],
        [[1, 1, "5", 1, 5, 4]],
        [1, 1, 5, 1, 5, 4],
        [None],
        None,
        "polygon",
    ],
    ids=str,
)
def test_damaged_masks_name_their_annotation(tree, segmentation):
    tree.annotations[0] = ann(1, segmentation)
    tree.refuse("instances.json, annotation 1 (of ref 10)")


def test_grefcoco_targets_are_unions_or_nothing(tree):
    tree.refs = [ref(1, [1, 2], "both"), ref(2, [1], "one"), ref(3, [-1], "no cat"), ref(4, [], "no dog")]
    both, one, *none = tree.read()[0].referents
    np.testing.assert_array_equal(both.mask, BOX_MASK | CORNER)
    np.testing.assert_array_equal(one.mask, BOX_MASK)
    assert all(r.mask.shape == (H, W) and not r.mask.any() for r in none)
    assert [r.id for r in none] == ["3", "4"]


def test_a_sliver_among_several_targets_is_counted_and_costs_nothing_else(tree):
    sliver = [[6.1, 4.1, 6.2, 4.1, 6.2, 4.2]]
    tree.annotations.append(ann(4, sliver))
    tree.refs = [ref(1, [1, 4], "both"), ref(2, [1], "one")]
    tree.read()
    share = Share()
    (example,) = examples(ReferSettings(root=str(tree.root)), 0, share)
    assert all(np.array_equal(one.mask, BOX_MASK) for one in example.referents)
    (case,) = share.notes.as_plain()["annotations of several that cover no pixel"]["named"]
    assert "annotation 4 (of ref 1)" in case
    tree.refs = [ref(1, [4], "nothing")]
    tree.refuse("annotation 4 (of ref 1)", "no usable polygon")


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_says_the_same_as_json(tree, protocol):
    expected = tree.read()
    with (tree.root / "grefs(unc).p").open("wb") as file:
        pickle.dump(tree.refs, file, protocol)
    found = tree.read(refs="grefs(unc).p")
    assert [(e.id, e.split, [(r.id, r.phrases) for r in e.referents]) for e in found] == [
        (e.id, e.split, [(r.id, r.phrases) for r in e.referents]) for e in expected
    ]


def test_json_is_read_before_its_pickle(tree):
    (tree.root / "refs(unc).p").write_bytes(b"damaged")
    assert len(tree.read()) == 2
    tree.refuse("refs(unc).p", "damaged", refs="refs(unc).p")


def test_several_files_of_refs_must_be_chosen_from(tree):
    (tree.root / "refs(google).p").write_bytes(b"")
    tree.refuse("refs(google).p", "refs(unc).json", "`refs`")
    tree.refuse("no file 'refs(umc).json'", "did you mean 'refs(unc).json'?", refs="refs(umc).json")


def test_a_hostile_pickle_is_refused(tree):
    class Hostile:
        def __reduce__(self):
            return os.system, (f"touch {tree.root / 'witness'}",)

    (tree.root / "refs(evil).p").write_bytes(pickle.dumps(Hostile()))
    tree.refuse("refs(evil).p", "system", refs="refs(evil).p")
    assert not (tree.root / "witness").exists()


@pytest.mark.parametrize("text", ["", "{", '{"images": [', "[" * 200_000, "\xff"])
@pytest.mark.parametrize("name", ["instances.json", "refs(unc).json"])
def test_broken_json_is_named(tree, name, text):
    tree.read()
    (tree.root / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=re.escape(name)):
        list(examples(ReferSettings(root=str(tree.root)), 0))


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"ann_id": 99}, ["annotation 99 (of ref 10)"]),
        ({"ann_id": 3}, ["annotation 3 (of ref 10)", "image 7"]),
        ({"ann_id": [1, -1]}, ["annotation -1 (of ref 10)"]),
        ({"ann_id": None}, ["ref 10", "`ann_id`", "int or str or list"]),
        ({"ann_id": [[1]]}, ["ref 10", "`ann_id`"]),
        ({"image_id": 99}, ["ref 10", "image 99"]),
        ({"sentences": []}, ["ref 10", "no sentences"]),
        ({"sentences": [{"raw": "x"}]}, ["ref 10", "`sent`"]),
        ({"sentences": ["x"]}, ["ref 10", "`sent`"]),
        ({"split": None}, ["ref 10", "`split`"]),
        ({"ref_id": None}, ["number 0", "`ref_id`"]),
        ({"ref_id": 12}, ["ref 12", "twice"]),
    ],
    ids=str,
)
def test_odd_refs_are_named(tree, change, parts):
    tree.refs[0] = {**tree.refs[0], **change}
    tree.refuse(*parts)


@pytest.mark.parametrize("records", [[], {}, "refs", [3], [None]], ids=str)
def test_refs_must_be_a_list_of_records(tree, records):
    tree.refs = records
    tree.refuse("refs(unc).json")


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"width": 9}, ["image 7", "(6, 9)", "(6, 8)", "0007.jpg"]),
        ({"height": "6"}, ["image 7", "`height`"]),
        ({"file_name": "0009.jpg"}, ["image 7", "no file", "0009.jpg", "`images`"]),
        ({"file_name": "../instances.json"}, ["image 7", "leads out"]),
        ({"file_name": "/etc/passwd"}, ["image 7", "leads out"]),
        ({"file_name": None}, ["image 7", "`file_name`"]),
        ({"file_name": "x" * 5000}, ["image 7", "no file"]),
        ({"id": 8}, ["image 8", "twice"]),
    ],
    ids=str,
)
def test_odd_images_are_named(tree, change, parts):
    tree.images[0] = {**tree.images[0], **change}
    tree.refuse("instances.json", *parts)


def test_a_damaged_photograph_is_named(tree):
    (tree.root / "images" / "0007.jpg").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0")
    tree.refuse("0007.jpg", "not a readable image")


def test_photographs_may_lie_elsewhere(tree):
    moved = tree.root.parent / "photographs"
    (tree.root / "images").rename(moved)
    assert len(tree.read(images=str(moved))) == 2
    tree.refuse("no file", "set `images`")


@pytest.mark.parametrize("sentence", ["left|right", "the dog *3", "<seg> dog", ""])
def test_separators_are_left_to_the_check_that_names_the_record(tree, sentence):
    tree.refs[0] = ref(10, 1, sentence)
    found = tree.read()
    assert found[0].referents[0].phrases == (sentence,)
    with pytest.raises(ValueError, match="refcoco 7"):
        list(samples(found, "referring", TaskSettings(), seed=0))


def test_a_photograph_that_its_camera_turns_is_taken_as_the_annotations_saw_it(tree):
    tags = Image.Exif()
    tags[0x0112] = 8
    Image.new("RGB", (H, W)).save(tree.root / "images" / "0007.jpg", exif=tags)
    first = tree.read()[0]
    assert (first.size, Image.open(io.BytesIO(first.image)).size) == ((H, W), (W, H))


def test_an_empty_sentence_beside_others_is_left_out(tree):
    tree.refs[0] = ref(10, 1, "", "the box", " \n ")
    assert tree.read()[0].referents[0].phrases == ("the box",)


def test_a_pickle_that_is_nested_too_deep_to_print_is_refused(tree):
    tree.read()
    (tree.root / "refs(unc).json").unlink()
    for data in (b"\x80\x02)" + b"\x85" * 100_000 + b".", b"\x80\x02](}\x8c\x06ref_id)" + b"\x85" * 100_000 + b"se."):
        (tree.root / "refs(unc).p").write_bytes(data)
        with pytest.raises(ValueError, match=r"refs\(unc\)\.p"):
            list(examples(ReferSettings(root=str(tree.root)), 0))


@pytest.mark.parametrize("file", ["refs(template).json", "refs(template).p"])
def test_real_masks_equal_those_of_pycocotools(shared_data, file, capsys):
    root = shared_data / "coco_refs"
    reference = COCO(root / "instances.json")
    refs = {str(r["ref_id"]): r for r in json.loads((root / "refs(template).json").read_text())}
    seen = set()
    for example in examples(ReferSettings(root=str(root), refs=file), seed=0):
        for referent in example.referents:
            record = refs[referent.id]
            expected = reference.annToMask(reference.anns[record["ann_id"]])
            np.testing.assert_array_equal(referent.mask, expected.astype(bool))
            assert list(referent.phrases) == [s["sent"] for s in record["sentences"]]
            assert (example.id, example.split) == (str(record["image_id"]), record["split"])
            seen.add(referent.id)
    assert seen == set(refs)


def test_real_run_lengths_equal_those_of_pycocotools(shared_data):
    instances = json.loads((shared_data / "coco_refs" / "instances.json").read_text())
    sizes = {image["id"]: (image["height"], image["width"]) for image in instances["images"]}
    crowds = [a for a in instances["annotations"] if isinstance(a["segmentation"][0], dict)]
    assert crowds
    for annotation in crowds:
        expected = coco.decode(annotation["segmentation"]).any(axis=2)
        found = segments.segment_mask(annotation, sizes[annotation["image_id"]], "")
        np.testing.assert_array_equal(found, expected)


def test_a_record_of_another_split_stops_nothing(tmp_path) -> None:
    tree = Tree(tmp_path / "refcoco")
    tree.refs[1]["sentences"] = []
    assert [e.id for e in tree.read(split="train")] == ["7"]
    tree.refuse("ref 11 has no sentences", split="val")
