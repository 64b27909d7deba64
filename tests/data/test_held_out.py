"""Photographs that the refCOCO family holds back are left out, whatever the sets are called and linked by."""

from __future__ import annotations

import json

import pytest
from published import TOP, H, W, _coco, box, panoptic, picture
from test_refer import Tree, ref

from text4seg.data.sources import registry
from text4seg.data.sources.refer import examples
from text4seg.data.sources.settings import ReferSettings
from text4seg.data.sources.share import Share


@pytest.mark.parametrize("where", [".", "absolute"])
def test_held_out_photographs_are_found_from_any_folder(tmp_path, monkeypatch, where) -> None:
    tree = Tree(tmp_path / "refcoco")
    sibling = tmp_path / "refcocog"
    sibling.mkdir()
    (sibling / "refs(umd).json").write_text(json.dumps([ref(1, 1, "it", split="test")]))
    tree.read()
    monkeypatch.chdir(tree.root)
    root = "." if where == "." else str(tree.root)
    assert list(examples(ReferSettings(root=root, split="train"), seed=0)) == []
    share = Share()
    assert len(list(examples(ReferSettings(root=root), seed=0, share=share))) == 2
    assert share.notes.counts["expressions on held-out photographs, kept without `split`"] == 3


def test_sets_that_are_links_are_found_beside_the_link_and_beside_the_set(tmp_path) -> None:
    places = ("a/refcoco", "b/refcocog", "a/refcoco+")
    tree, other, third = (Tree(tmp_path / "store" / place) for place in places)
    for one, number, image in ((tree, 1, 7), (other, 1, 7), (third, 3, 8)):
        one.refs = [ref(1, number, "it", split="train" if one is tree else "test", image=image)]
        one.read()
    tree.refs = [ref(1, 1, "it"), ref(2, 3, "it", image=8)]
    tree.read()
    (tmp_path / "data").mkdir()
    for one in (tree, other):
        (tmp_path / "data" / one.root.name).symlink_to(one.root)
    train = ReferSettings(root=str(tmp_path / "data/refcoco"), split="train")
    assert [example.id for example in examples(train, 0)] == []
    third.refs = [ref(1, 3, "it", image=8)]
    third.read()
    assert [example.id for example in examples(train, 0)] == ["8"], "7 is held out by a set beside the link"


def test_a_family_that_is_not_there_is_named(tmp_path) -> None:
    Tree(tmp_path / "refcoco").refuse("`family` must be the folder", split="train", family=str(tmp_path / "gone"))


def test_what_a_mac_puts_beside_expressions_is_passed_over(tmp_path) -> None:
    tree = Tree(tmp_path / "refcoco")
    for name in ("._refs(unc).json", "._refs(unc).p"):
        (tree.root / name).write_bytes(b"\0\5\x16\7")
    assert [example.id for example in tree.read(split="train")] == ["7"]


def test_a_photograph_of_coco_is_known_by_its_file(tmp_path) -> None:
    family = tmp_path / "family/refcoco"
    family.mkdir(parents=True)
    (family / "refs(unc).json").write_text(json.dumps([ref(1, 1, "it", split="testA", image=36)]))
    options = _coco(tmp_path, {1: "dog"}, [(1, box(TOP))])
    path = tmp_path / "instances.json"
    content = json.loads(path.read_text())
    names = {1: "COCO_train2014_000000000036.jpg", 36: "COCO_train2014_000000000099.jpg", 37: "own_36.jpg"}
    content["images"] = [{"id": i, "file_name": name, "height": H, "width": W} for i, name in names.items()]
    content["annotations"] = [{**content["annotations"][0], "id": i, "image_id": i} for i in names]
    path.write_text(json.dumps(content))
    for name in names.values():
        picture(tmp_path / "images" / name)
    share = Share()
    found = registry.examples("coco", {**options, "held_out": str(family.parent)}, 0, share)
    assert [example.id for example in found] == ["36", "37"]
    assert share.notes.counts == {"photographs held out by the refCOCO family": 1}


def test_panoptic_sets_leave_out_what_is_held_back(tmp_path) -> None:
    source, options, _ = panoptic(tmp_path)
    family = tmp_path / "family/refcoco"
    family.mkdir(parents=True)
    for image, left in ((41, 1), (42, 0)):
        (family / "refs(unc).json").write_text(json.dumps([ref(1, 1, "it", split="val", image=image)]))
        assert len(list(registry.examples(source, {**options, "held_out": str(family.parent)}, 0))) == left
