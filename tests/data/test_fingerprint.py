"""What counts as a change of the files that shards are built from, and what does not."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from text4seg.data.settings import BuildSettings
from text4seg.data.shards.fingerprint import END, WHOLE_FILE, fingerprint


@pytest.fixture
def cars(tmp_path: Path) -> Path:
    root = tmp_path / "cars"
    for name in ("images", "masks", "splits"):
        (root / name).mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(root / "images" / "a.png")
    Image.new("L", (4, 4), 1).save(root / "masks" / "a.png")
    (root / "classes.txt").write_text("0\tothers\n1\tcar\n")
    (root / "synonyms.txt").write_text("car, auto\n")
    (root / "splits" / "train.txt").write_text("a\n")
    return root


def of(root: Path) -> str:
    return fingerprint(BuildSettings(source="folder", options={"root": str(root)}))


@pytest.mark.parametrize(
    ("name", "text"),
    [("classes.txt", "0\tothers\n1\tcat\n"), ("synonyms.txt", "car, moto\n"), ("splits/train.txt", "b\n")],
)
def test_a_text_of_the_same_size_is_a_change(cars, name, text):
    before, size = of(cars), (cars / name).stat().st_size
    (cars / name).write_text(text)
    assert (cars / name).stat().st_size == size
    assert of(cars) != before


def test_a_date_is_no_change(cars):
    before = of(cars)
    for path in cars.rglob("*"):
        os.utime(path, (1, 1))
    assert of(cars) == before


def test_linked_folders_count_as_those_that_they_stand_for(cars, tmp_path):
    before = of(cars)
    (cars / "masks").rename(tmp_path / "elsewhere")
    (cars / "masks").symlink_to(tmp_path / "elsewhere")
    assert of(cars) == before
    Image.new("L", (40, 40), 2).save(tmp_path / "elsewhere" / "a.png")
    changed = of(cars)
    assert changed != before
    (tmp_path / "more").mkdir()
    (tmp_path / "elsewhere" / "deeper").symlink_to(tmp_path / "more")
    assert of(cars) == changed
    (tmp_path / "more" / "b.txt").write_text("b")
    assert of(cars) != changed


def test_links_that_lead_back_end_there(cars):
    before = of(cars)
    (cars / "up").symlink_to(cars.parent)
    (cars / "masks" / "again").symlink_to(cars)
    (cars / "masks" / "self").symlink_to(cars / "masks")
    (cars / "masks" / "nowhere").symlink_to(cars / "masks" / "nowhere")
    assert of(cars) == before
    (cars / "masks" / "splits").symlink_to(cars / "splits")
    (cars / "splits" / "masks").symlink_to(cars / "masks")
    assert of(cars) != before  # each folder holds the other's files, once


def test_shards_behind_a_link_are_no_part_of_what_is_read(cars, tmp_path):
    (tmp_path / "out").mkdir()
    (cars / "out").symlink_to(tmp_path / "out")
    settings = BuildSettings(source="folder", options={"root": str(cars)})
    before = fingerprint(settings, tmp_path / "out")
    (tmp_path / "out" / "index.json").write_text("{}")
    assert fingerprint(settings, tmp_path / "out") == before


@pytest.mark.parametrize("place", [0, END - 1, -END, -1])
def test_a_large_file_counts_by_its_size_and_its_ends(tmp_path, place):
    content = bytearray(WHOLE_FILE + 1)
    (tmp_path / "a.json").write_bytes(content)
    settings = BuildSettings(source="coco", options={"annotations": str(tmp_path / "a.json"), "images": str(tmp_path)})
    before = fingerprint(settings)
    content[place] = 1
    (tmp_path / "a.json").write_bytes(content)
    assert fingerprint(settings) != before


@pytest.mark.parametrize("classes", [[f"class number {n}" for n in range(1000)], ["a"]])
def test_names_of_classes_are_no_path(classes):
    assert fingerprint(BuildSettings(source="hub", options={"path": "nobody/nothing", "classes": classes}))


def test_a_name_that_no_file_can_have_is_passed_over():
    assert fingerprint(BuildSettings(source="folder", options={"root": "x" * 5000}))


def family_set(folder: Path, split: str = "val") -> Path:
    folder.mkdir(parents=True)
    (folder / "refs(unc).json").write_text(json.dumps([{"ref_id": 1, "image_id": 7, "split": split}]))
    return folder


@pytest.mark.parametrize("given", [False, True])
def test_a_set_of_the_family_that_comes_later_is_a_change(tmp_path, given):
    root = family_set(tmp_path / "own" / "refcoco")
    family = tmp_path / "family" if given else tmp_path / "own"
    family.mkdir(exist_ok=True)
    options = {"root": str(root), "split": "train"} | ({"family": str(family)} if given else {})
    train = BuildSettings(source="refer", options=options)
    others = [BuildSettings(source="refer", options=options | more) for more in ({"split": "val"}, {"leaks": "keep"})]
    before, kept = fingerprint(train), [fingerprint(other) for other in others]
    (family / "notes").mkdir()
    (family / "notes" / "a.json").write_text("[]")
    assert fingerprint(train) == before
    family_set(family / "refcoco+")
    added = fingerprint(train)
    assert added != before
    assert [fingerprint(other) for other in others] == kept
    shutil.rmtree(family / "refcoco+")
    family_set(family / "refcoco+", "tst")
    assert fingerprint(train) not in (added, before)


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("name", ["refs", "images"])
def test_what_the_family_reads_beside_its_root_counts(tmp_path, name, absolute):
    root, beside = family_set(tmp_path / "own" / "refcoco"), tmp_path / "beside"
    beside.mkdir()
    (beside / "refs.json").write_text("[1]")
    given = beside / "refs.json" if name == "refs" else beside
    options = {"root": str(root), name: str(given) if absolute else os.path.relpath(given, root)}
    settings = BuildSettings(source="refer", options=options)
    before = fingerprint(settings)
    (beside / "refs.json").write_text("[2]")
    assert fingerprint(settings) != before


@pytest.mark.parametrize("source", ["coco", "semantic"])
def test_a_family_that_is_held_out_counts(tmp_path, source):
    (tmp_path / "family").mkdir()
    options = {"held_out": str(tmp_path / "family")} | ({"layout": "cocostuff"} if source == "semantic" else {})
    before = fingerprint(BuildSettings(source=source, options=options))
    family_set(tmp_path / "family" / "refcoco")
    assert fingerprint(BuildSettings(source=source, options=options)) != before
