"""Records that are odd: a damaged line, an annotation without an image, a category that is the background."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin, TiffTags
from published import DOT, EDGE, LEFT, TOP, H, W, _coco, ade20k, box, picture, rle, write

from text4seg.data.settings import BuildSettings
from text4seg.data.shards.build import build
from text4seg.data.shards.verify import verify
from text4seg.data.sources.json_items import JsonItems
from text4seg.data.sources.registry import examples
from text4seg.data.sources.share import Share

GOOD = [{"image": "ä.jpg", "at": [1, 2]}, {"b": {"c": "d"}}]
DAMAGE = {
    "within a text": b'{"image": "a.j',
    "behind a comma": b'{"image": "a.jpg", ',
    "within a list": b'{"image": [',
    "within a word": b'{"a": tru',
    "zeros": b"\0" * 40,
    "Latin-1": b'{"image": "caf\xe9"}',
    "Latin-1 outside": b"\xe9\xe8",
    "words": b"no JSON",
}


def lines(bad: bytes, place: int) -> bytes:
    parts = [json.dumps(one, ensure_ascii=False).encode() for one in GOOD]
    return b"\n".join([*parts[:place], bad, *parts[place:]])


@pytest.mark.parametrize("bad", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_a_damaged_line_costs_itself_only(tmp_path, monkeypatch, bad, place, chunk):
    monkeypatch.setattr("text4seg.data.sources.json_items.CHUNK", chunk)
    (tmp_path / "a.jsonl").write_bytes(lines(bad, place))
    records = JsonItems(tmp_path / "a.jsonl")
    assert len(records) == 3
    assert [records[number] for number in range(3) if number != place] == GOOD
    with pytest.raises(ValueError, match=rf"a\.jsonl: record {place + 1} is cut off or is not JSON"):
        records[place]


@pytest.mark.parametrize("text", [b'{"a": ', b'{\n "a": 1,\n "b"', b"\0\0\n\0", b"no JSON\nat all\n"])
def test_a_file_without_a_whole_line_is_refused(tmp_path, text):
    (tmp_path / "a.json").write_bytes(text)
    with pytest.raises(ValueError, match="record 1 is cut off"):
        JsonItems(tmp_path / "a.json")


def test_a_list_with_a_byte_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "a.json").write_bytes(b'["a", "\xe9"]')
    with pytest.raises(ValueError, match="not a readable JSON file"):
        JsonItems(tmp_path / "a.json")


def rle_lines(folder, *records: dict | bytes) -> dict[str, str]:
    picture(folder / "a.jpg")
    whole = [one if isinstance(one, bytes) else json.dumps({"image": "a.jpg", **one}).encode() for one in records]
    (folder / "all.jsonl").write_bytes(b"\n".join(whole))
    return {"annotations": str(folder / "all.jsonl"), "images": str(folder)}


def test_a_build_goes_on_behind_half_a_line(tmp_path):
    one = {"objects": [{"label": "dog", "rle": rle(LEFT)}], "id": None}
    options = rle_lines(tmp_path, one, *DAMAGE.values(), one)
    recipe = BuildSettings("rle", options, "referring", shards=2, on_error="skip")
    index = build(recipe, tmp_path / "out", (4, 4), "rrle", "center")
    assert (index.samples, index.notes["broken"]["count"]) == (2, len(DAMAGE))
    assert "record 2 is cut off" in " ".join(index.notes["broken"]["named"])
    assert verify(tmp_path / "out") == []
    recipe.on_error = "raise"
    with pytest.raises(ValueError, match=r"record [23] is cut off"):
        build(recipe, tmp_path / "out2", (4, 4), "rrle", "center")


def test_an_rle_record_whose_id_is_null_has_its_number(tmp_path):
    one = {"objects": [], "id": None}
    assert [e.id for e in examples("rle", rle_lines(tmp_path, one, {**one, "id": 0}, one), 0)] == [
        "0000000",
        "0",
        "0000002",
    ]


def test_rle_objects_called_others_are_background(tmp_path):
    objects = [{"label": "others", "rle": rle(DOT)}, {"label": "dog", "rle": rle(LEFT | DOT)}]
    (example,) = examples("rle", rle_lines(tmp_path, {"objects": objects}), 0)
    assert example.labels == ("others", "dog")
    np.testing.assert_array_equal(example.mask, LEFT.astype(np.uint8))
    assert [referent.phrases for referent in example.referents] == [("dog",)]


@pytest.mark.parametrize("numbered", [False, True])
@pytest.mark.parametrize("task", ["semantic", "referring"])
def test_a_coco_category_called_others_is_background(tmp_path, numbered, task):
    options = _coco(tmp_path, {1: "others", 2: "dog"}, [(1, box(TOP)), (2, box(LEFT))])
    options["instances"] = numbered
    (example,) = examples("coco", options, 0)
    assert example.labels == ("others", "dog 1" if numbered else "dog")
    np.testing.assert_array_equal(example.mask, LEFT.astype(np.uint8))
    assert [referent.phrases for referent in example.referents] == [example.labels[1:]]
    assert (
        build(BuildSettings("coco", options, task, shards=1), tmp_path / "out", (4, 4), "rrle", "center").samples == 1
    )


def panoptic_json(folder, segments: dict[int, list[dict]]) -> dict[str, str]:
    """Images that share a photograph and a PNG, each with its own list of segments."""
    content = {
        "images": [{"id": number, "file_name": "a.jpg", "height": H, "width": W} for number in segments],
        "categories": [{"id": 1, "name": "others"}, {"id": 2, "name": "dog"}],
        "annotations": [{"image_id": n, "file_name": "a.png", "segments_info": s} for n, s in segments.items()],
    }
    (folder / "p.json").write_text(json.dumps(content))
    return {"annotations": str(folder / "p.json"), "images": str(folder), "masks": str(folder)}


def test_a_panoptic_category_called_others_is_background(tmp_path):
    picture(tmp_path / "a.jpg")
    colours = np.zeros((H, W, 3), np.uint8)
    colours[~EDGE], colours[LEFT] = (1, 0, 0), (2, 0, 0)
    Image.fromarray(colours).save(tmp_path / "a.png")
    options = panoptic_json(tmp_path, {1: [{"id": 1, "category_id": 1}, {"id": 2, "category_id": 2}]})
    (example,) = examples("panoptic", options, 0)
    assert example.labels == ("others", "dog")
    np.testing.assert_array_equal(example.mask, np.where(EDGE, 255, LEFT))
    assert [referent.phrases for referent in example.referents] == [("dog",)]


@pytest.mark.parametrize("number", [-1, 2**24, 2**100])
def test_a_panoptic_segment_whose_number_is_no_colour_is_refused(tmp_path, number):
    picture(tmp_path / "a.jpg")
    Image.new("RGB", (W, H), (255, 255, 255)).save(tmp_path / "a.png")
    good = {"id": 2**24 - 1, "category_id": 2}
    options = panoptic_json(tmp_path, {1: [good], 2: [good, {"id": number, "category_id": 1}]})
    with pytest.raises(
        ValueError, match=r"p\.json, image 2: a segment has the `id` -?\d+.*; a colour numbers 0 to 16777215"
    ):
        list(examples("panoptic", options, 0))
    recipe = BuildSettings("panoptic", options, "all", shards=1, on_error="skip")
    index = build(recipe, tmp_path / "out", (4, 4), "rrle", "center")
    assert (index.samples, index.notes["broken"]["count"]) == (1, 1)


def test_a_tiff_with_a_broken_tag_costs_itself_only(tmp_path):
    dog = {"objects": [{"label": "dog", "rle": rle(LEFT)}]}
    options = rle_lines(tmp_path, dog, {"image": "b.tif", **dog})
    picture(tmp_path / "b.tif")
    tag = struct.pack("<HH", TiffImagePlugin.STRIPOFFSETS, TiffTags.LONG)
    data = (tmp_path / "b.tif").read_bytes()
    assert tag in data
    (tmp_path / "b.tif").write_bytes(data.replace(tag, tag[:2] + struct.pack("<H", TiffTags.ASCII)))
    recipe = BuildSettings("rle", options, "referring", shards=1, on_error="skip")
    index = build(recipe, tmp_path / "out", (4, 4), "rrle", "center")
    assert (index.samples, index.notes["broken"]["count"]) == (1, 1)


def test_photographs_of_lvis_lie_in_the_folders_of_their_addresses(tmp_path):
    url = "http://images.cocodataset.org/val2017/000000000042.jpg"
    options = _coco(tmp_path, {1: "dog"}, [(1, box(TOP))], coco_url=url)
    beside, below = (tmp_path / "images" / place / "000000000042.jpg" for place in ("", "val2017"))
    assert [e.image for e in examples("coco", options, 0)] == [beside]
    picture(below, seed=1)
    assert [e.image for e in examples("coco", options, 0)] == [beside]
    beside.unlink()
    assert [e.image for e in examples("coco", options, 0)] == [below]
    below.unlink()
    with pytest.raises(ValueError, match=r"no file .*/images/000000000042\.jpg; set `images`"):
        list(examples("coco", options, 0))


@pytest.mark.parametrize("url", ["http://a/../secret.jpg", "..", "/", "secret.jpg", "", "a\0/b.jpg"])
def test_an_address_leads_nowhere_else(tmp_path, url):
    options = _coco(tmp_path, {1: "dog"}, [(1, box(TOP))], coco_url=url)
    picture(tmp_path / "secret.jpg")
    with pytest.raises(ValueError, match="image 42"):
        list(examples("coco", options, 0))


def test_what_a_mac_puts_beside_masks_is_passed_over(tmp_path):
    source, options, expected = write(ade20k, tmp_path / "set")
    (tmp_path / "set/annotations/training/._ADE_train_1.png").write_bytes(b"\0\5\x16\7")
    assert [e.id for e in examples(source, options, 0)] == list(expected)


def test_coco_annotations_without_an_image_and_repeated_images_are_counted_and_left_out(tmp_path):
    options = _coco(tmp_path, {1: "dog"}, [(1, box(TOP))])
    path = tmp_path / options["annotations"]
    content = json.loads(path.read_text())
    (one,) = content["annotations"]
    content["annotations"] = [{**one, "image_id": None}, None, one, {k: v for k, v in one.items() if k != "image_id"}]
    content["images"] *= 2
    path.write_text(json.dumps(content))
    shares = [Share(index, 2) for index in range(2)]
    (example,) = [example for share in shares for example in examples("coco", options, 0, share)]
    assert [referent.phrases for referent in example.referents] == [("dog",)]
    assert shares[0].notes.counts == {"annotations that name no image": 3, "images that are listed twice": 1}
    assert not shares[1].notes.counts
    content["images"] = [content["images"][0], {**content["images"][0], "file_name": "another.jpg"}]
    path.write_text(json.dumps(content, indent=1))
    with pytest.raises(ValueError, match="stands there twice"):
        list(examples("coco", options, 0))


def test_a_reason_file_with_a_byte_order_mark_is_read(tmp_path):
    picture(tmp_path / "train/a.jpg")
    shape = {"label": "target", "points": [[0, 0], [W, 0], [W, 4], [0, 4]]}
    text = json.dumps({"text": ["what is tóp?"], "shapes": [shape]}, ensure_ascii=False)
    for encoding in ("utf-8", "utf-8-sig", "cp1252"):
        (tmp_path / "train/a.json").write_text(text, encoding=encoding)
        (example,) = examples("reason", {"root": str(tmp_path), "split": "train"}, 0)
        assert example.referents[0].phrases == ("what is tóp?",), encoding


def square(label: str, first: int, last: int) -> dict:
    """A square of a reason file, its edges in pixels."""
    corners = [[first, first], [last, first], [last, last], [first, last]]
    return {"label": label, "shape_type": "polygon", "points": corners}


def reasoned(folder, shapes: list[dict], size: tuple[int, int] = (40, 40), orientation: int = 1):
    """The one referent of a reason file, and what was noted."""
    (folder / "train").mkdir(exist_ok=True)
    tags = Image.Exif()
    tags[0x0112] = orientation
    Image.new("RGB", size).save(folder / "train/a.jpg", exif=tags)
    (folder / "train/a.json").write_text(json.dumps({"text": ["which?"], "shapes": shapes}))
    share = Share()
    (example,) = examples("reason", {"root": str(folder), "split": "train"}, 0, share)
    return example, example.referents[0], share.notes.counts


def test_shapes_of_a_reason_file_are_read_as_published(tmp_path):
    drawn = [square("ignore", 10, 20), square("target", 0, 30), square("target", 14, 16), square("Flag", 30, 40)]
    _, referent, noted = reasoned(tmp_path, drawn)
    assert int(referent.mask.sum()) == 900 - 100 + 4
    assert int(referent.void.sum()) == 100 - 4
    assert not noted
    _, referent, noted = reasoned(tmp_path, [{**square("target", 0, 0), "points": [[0, 0], [9, 9]]}])
    assert not referent.mask.any()
    assert noted == {"shapes of fewer than three points": 1}
    whole = {"label": "target", "shape_type": "rectangle", "points": [[30, 5], [10, 25]]}
    assert int(reasoned(tmp_path, [whole])[1].mask.sum()) == 400


@pytest.mark.parametrize("orientation", [6, 3])
def test_a_reason_file_was_drawn_on_the_picture_as_it_is_shown(tmp_path, orientation):
    low = [{**square("target", 0, 0), "points": [[0, 10], [20, 10], [20, 40], [0, 40]]}]
    example, referent, _ = reasoned(tmp_path, low, (40, 20), orientation)
    assert example.size == ((40, 20) if orientation == 6 else (20, 40))
    assert isinstance(example.image, bytes), "turned"
    assert int(referent.mask.sum()) == (600 if orientation == 6 else 200)


def test_litter_of_mac_archives_is_no_reason_file(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train/._a.json").write_bytes(b"\0\5\x16\7")
    reasoned(tmp_path, [square("target", 0, 9)])


def test_a_reason_file_without_its_photograph_is_named(tmp_path):
    reasoned(tmp_path, [square("target", 0, 9)])
    (tmp_path / "train/a.jpg").unlink()
    with pytest.raises(ValueError, match=r"a\.json has no photograph beside it: expected .*a\.jpg"):
        list(examples("reason", {"root": str(tmp_path), "split": "train"}, 0))


def test_objects_that_are_called_alike_are_one_target(tmp_path):
    picture(tmp_path / "a.jpg")
    objects = [{"label": "dog", "rle": rle(TOP)}, {"label": "cat", "rle": rle(DOT)}, {"label": "dog", "rle": rle(LEFT)}]
    (tmp_path / "a.jsonl").write_text(json.dumps({"image": "a.jpg", "objects": objects}))
    (example,) = examples("rle", {"annotations": str(tmp_path / "a.jsonl"), "images": str(tmp_path)}, 0)
    found = {referent.phrases[0]: referent.mask for referent in example.referents}
    assert list(found) == ["dog", "cat"]
    assert np.array_equal(found["dog"], TOP | LEFT)


def test_lvis_says_what_was_looked_for(tmp_path):
    options = _coco(tmp_path, {1: "cup", 2: "plate", 3: "fork"}, [(1, box(TOP))])
    path = tmp_path / "instances.json"
    content = json.loads(path.read_text())
    for given, absent in ((None, None), ([3, 99], (3,)), ([], ())):
        content["images"][0]["neg_category_ids"] = given
        path.write_text(json.dumps(content))
        (example,) = examples("coco", options, 0)
        assert example.absent == absent


def test_numbered_instances_are_not_cropped(tmp_path):
    options = _coco(tmp_path, {1: "dog"}, [(1, box(TOP)), (1, box(LEFT))]) | {"instances": True}
    for more in ({"crops": [4]}, {"compat": "text4seg_v1"}):
        recipe = BuildSettings("coco", options, "semantic", more, shards=1)
        with pytest.raises(ValueError, match=r"`options\.instances` counts objects from left to right"):
            build(recipe, tmp_path / "out", (4, 4), "rrle", "center")
