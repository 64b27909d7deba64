"""The folder source on a miniature tree written here, and on the real photographs where they are."""

from __future__ import annotations

import io
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from text4seg.data.sources.folder import examples
from text4seg.data.sources.index_masks import read_mask, table
from text4seg.data.sources.settings import FolderSettings
from text4seg.data.tasks.samples import samples
from text4seg.data.tasks.settings import TaskSettings
from text4seg.descriptors import check_labels

MASK = np.array([[0, 0, 1, 1], [2, 2, 255, 1], [2, 0, 0, 0]], np.uint8)
CLASSES = "0\tothers\n1\tred car\n2\tdog\n255\tignore\n"


def palette_png(path: Path, mask: np.ndarray) -> None:
    """An index mask whose palette shows every value in the same colour."""
    image = Image.fromarray(mask, "L") if mask.dtype == np.uint8 else Image.fromarray(mask)
    if image.mode == "L":
        image.putpalette([7, 7, 7] * 256)
    image.save(path)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two images of 4 x 3 pixels, one list that holds the first."""
    root = tmp_path / "cars"
    for folder in ("images", "masks", "splits"):
        (root / folder).mkdir(parents=True)
    for name, mask in (("a_1", MASK), ("b.2", MASK[::-1])):
        Image.new("RGB", (4, 3), (200, 30, 30)).save(root / "images" / f"{name}.jpg")
        palette_png(root / "masks" / f"{name}.png", np.ascontiguousarray(mask))
    (root / "classes.txt").write_text(CLASSES)
    (root / "splits" / "train.txt").write_text("a_1\n\n")
    (root / "splits" / "val.txt").write_text("b.2.jpg\n")
    return root


def read(root: Path, **options) -> list:
    return list(examples(FolderSettings(root=str(root), **options), seed=0))


def refuse(root: Path, *parts: str, **options) -> None:
    """Reading fails, and the message holds each of the parts."""
    with pytest.raises(ValueError, match=re.escape(parts[0])) as caught:
        read(root, **options)
    for part in parts:
        assert part in str(caught.value), f"{part!r} is missing in: {caught.value}"


def test_a_palette_mask_is_read_as_indices(tree):
    (example,) = read(tree, split="train")
    assert (example.id, example.size, example.source, example.split) == ("a_1", (3, 4), "cars", "train")
    assert example.image == tree / "images" / "a_1.jpg"
    assert example.labels == ("others", "red car", "dog")
    assert example.mask.dtype == np.uint8
    np.testing.assert_array_equal(example.mask, MASK)


def test_classes_that_are_there_can_be_referred_to(tree):
    (example,) = read(tree, split="train")
    assert [r.phrases for r in example.referents] == [("red car",), ("dog",)]
    np.testing.assert_array_equal(example.referents[0].mask, [[0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0]])
    np.testing.assert_array_equal(example.referents[1].mask, [[0, 0, 0, 0], [1, 1, 0, 0], [1, 0, 0, 0]])
    assert example.referents[0].mask.dtype == bool


def test_without_a_split_every_image_comes_in_order(tree):
    assert [e.id for e in read(tree)] == ["a_1", "b.2"]
    assert [e.id for e in read(tree, split="val")] == ["b.2"]


def test_both_kinds_of_task_work_on_it(tree):
    for task in ("referring", "all", "conditioned"):
        assert list(samples(read(tree), task, TaskSettings(), seed=1)), task


@pytest.mark.parametrize(
    ("classes", "labels", "expected"),
    [
        ("0\troad\n1\tred car\n2\tdog\n", ("others", "road", "red car", "dog"), {0: 1, 1: 2, 2: 3, 255: 255}),
        ("0\troad\n1\tdog\n2\tothers\n", ("others", "road", "dog"), {0: 1, 1: 2, 2: 0, 255: 255}),
        ("2\tdog\n0\tOthers\n1\tred  car", ("others", "red car", "dog"), {0: 0, 1: 1, 2: 2, 255: 255}),
        ("0\tignore\n1\tred car\n2\tdog\n", ("others", "red car", "dog"), {0: 255, 1: 1, 2: 2, 255: 255}),
        ("\ufeff0\tothers\r\n1 red car\r\n\r\n2\tdog\r\n", ("others", "red car", "dog"), {0: 0, 1: 1, 2: 2, 255: 255}),
    ],
    ids=["no others", "others elsewhere", "order and case", "ignore elsewhere", "windows"],
)
def test_others_is_moved_to_zero(tree, classes, labels, expected):
    (tree / "classes.txt").write_bytes(classes.encode())
    (example,) = read(tree, split="train")
    assert example.labels == labels
    np.testing.assert_array_equal(example.mask, np.vectorize(expected.get)(MASK))


def test_ignored_values_become_255(tree):
    (tree / "classes.txt").write_text("0\tothers\n1\tred car\n2\tdog\n300\tcat\n")
    wide = np.array([[0, 1, 65535, 300], [2, 9, 9, 300], [0, 0, 0, 0]], np.uint16)
    palette_png(tree / "masks" / "a_1.png", wide)
    (example,) = read(tree, split="train", ignore=9)
    np.testing.assert_array_equal(example.mask, [[0, 1, 255, 3], [2, 255, 255, 3], [0, 0, 0, 0]])


def grey_png(path: Path, bits: int, row: bytes) -> None:
    """A grey PNG of 4 x 3 pixels with few bits a pixel, as optimisers write them."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 4, 3, bits, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress((b"\0" + row) * 3)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


@pytest.mark.parametrize(("bits", "row"), [(2, b"\x18"), (4, b"\x01\x20")])
def test_few_bits_a_pixel_keep_their_values(tree, bits, row):
    grey_png(tree / "masks" / "a_1.png", bits, row)
    np.testing.assert_array_equal(read(tree, split="train")[0].mask, [[0, 1, 2, 0]] * 3)


def test_one_bit_a_pixel(tree):
    Image.fromarray(MASK == 1).save(tree / "masks" / "a_1.png")
    np.testing.assert_array_equal(read(tree, split="train")[0].mask, MASK == 1)


def bmp(path: Path, mask: np.ndarray, bits: int, colours: list[int], old: bool) -> None:
    """An index mask as a BMP with a palette of greys, in the header of Windows or in the old one of OS/2."""
    height, width = mask.shape
    colours = colours + [9] * (2**bits - len(colours) if old else 0)  # there the palette is always whole
    planes = np.unpackbits(mask[..., None], axis=-1)[..., -bits:].reshape(height, -1)
    rows = [np.packbits(row).tobytes() for row in planes[::-1]]
    pixels = b"".join(row + bytes(-len(row) % 4) for row in rows)
    palette = b"".join(bytes([grey] * 3 + [0] * (not old)) for grey in colours)
    sizes = struct.pack("<IHHHH", 12, width, height, 1, bits) if old else struct.pack(
        "<IiiHHIIiiII", 40, width, height, 1, bits, 0, len(pixels), 0, 0, len(colours), 0
    )  # fmt: skip
    start = 14 + len(sizes) + len(palette)
    path.write_bytes(struct.pack("<2sIII", b"BM", start + len(pixels), 0, start) + sizes + palette + pixels)


@given(
    mask=arrays(np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 40)), elements=st.integers(0, 1)),
    bits=st.sampled_from([1, 4, 8]),
    colours=st.permutations([0, 255]) | st.lists(st.integers(0, 255), min_size=2, max_size=2),
    old=st.booleans(),
)
def test_a_bmp_is_read_as_indices_or_refused(tmp_path_factory, mask, bits, colours, old):
    path = tmp_path_factory.getbasetemp() / "a.bmp"
    bmp(path, mask, bits, colours, old)
    known = table({0: 0, 1: 1}, 2)
    if bits > 1 and colours == [0, 255] and not old:  # which Pillow takes for one bit a pixel
        with pytest.raises(ValueError, match=rf"a\.bmp is not a readable image .*takes {bits} bits a pixel for 1"):
            read_mask(path, known, "names")
    else:
        np.testing.assert_array_equal(read_mask(path, known, "names"), mask)


def test_a_value_without_a_name_is_refused(tree):
    palette_png(tree / "masks" / "a_1.png", np.where(MASK == 2, 17, MASK).astype(np.uint8))
    refuse(tree, "a_1.png", "17", "classes.txt", split="train")


def test_masks_of_another_size_are_refused(tree):
    palette_png(tree / "masks" / "a_1.png", MASK[:2].copy())
    refuse(tree, "a_1.png is 4x2", "a_1.jpg is 4x3", split="train")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "F"])
def test_colour_masks_are_refused(tree, mode):
    path = tree / "masks" / "a_1.png"
    path.unlink()
    Image.new(mode, (4, 3)).save(path.with_suffix(".tif"))
    refuse(tree, "a_1.tif", f"mode {mode}", "index mask", split="train")


def test_a_lossy_mask_does_not_count_as_one(tree):
    (tree / "masks" / "a_1.png").rename(tree / "masks" / "a_1.jpg")
    refuse(tree, "a_1.jpg has no mask", "a_1.png", split="train")


@pytest.mark.parametrize("share", [0.9, 0.5, 0.1, 0.01, 0])
def test_a_truncated_mask_is_refused(tree, share):
    path = tree / "masks" / "a_1.png"
    Image.new("RGB", (60, 60)).save(tree / "images" / "a_1.jpg")
    palette_png(path, np.random.default_rng(0).integers(0, 3, (60, 60), np.uint8))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    refuse(tree, "a_1.png", "not a readable image", split="train")


def test_an_image_that_is_none_is_refused(tree):
    (tree / "images" / "a_1.jpg").write_text("<html>not found</html>")
    refuse(tree, "a_1.jpg", "not a readable image", split="train")


def test_a_missing_mask_is_named(tree):
    (tree / "masks" / "a_1.png").unlink()
    refuse(tree, "a_1.jpg has no mask", str(tree / "masks" / "a_1.png"), "splits")


def test_a_missing_image_is_named_with_its_line(tree):
    (tree / "splits" / "train.txt").write_text("a_1\na_2\n")
    refuse(tree, "train.txt, line 2", "'a_2'", "did you mean 'a_1'", split="train")


def test_a_missing_split_suggests_the_nearest(tree):
    refuse(tree, "no list 'trian'", "did you mean 'train'?", "train, val", "split=null", split="trian")


@pytest.mark.parametrize("line", ["../secret", "a/../../secret", "..\\secret", "/etc/passwd"])
def test_a_split_cannot_leave_the_folder(tree, line):
    palette_png(tree / "secret.png", MASK)
    (tree / "splits" / "train.txt").write_text(f"{line}\n")
    refuse(tree, "train.txt, line 1", "leads out of", split="train")
    refuse(tree, "no list '../splits/val'", split="../splits/val")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a_1\na_1.jpg\n", ["line 2", "twice"]),
        ("\n\n", ["is empty"]),
        ("a_1.png\n", ["line 1", "no image 'a_1.png'"]),
        (".\n", ["line 1", "no image '.'"]),
    ],
)
def test_odd_lists_are_refused(tree, text, parts):
    (tree / "splits" / "train.txt").write_text(text)
    refuse(tree, *parts, split="train")


@pytest.mark.parametrize(
    ("classes", "parts"),
    [
        ("0\tothers\ndog\n", ["line 2", "index<TAB>name", "'dog'"]),
        ("0\tothers\n99999\tdog\n", ["line 2", "65535"]),
        ("0\tothers\n1\tdog\n1\tcat\n", ["line 3", "repeats"]),
        ("0\tothers\n1\tdog\n2\tdog\n", ["line 3", "repeats"]),
        ("0\tothers\n255\tdog\n", ["line 2", "255 is ignored", "'dog'"]),
        ("0\tothers\n", ["names 0 classes"]),
    ],
)
def test_odd_class_lists_are_refused(tree, classes, parts):
    (tree / "classes.txt").write_text(classes)
    refuse(tree, "classes.txt", *parts)


def test_254_classes_are_the_most(tree):
    (tree / "classes.txt").write_text("\n".join(f"{i}\tclass {i}" for i in range(254)))
    assert len(read(tree, split="train")[0].labels) == 255


def test_class_lists_must_be_text(tree):
    (tree / "classes.txt").write_bytes(b"0\t\xff\xfe\n")
    refuse(tree, "classes.txt", "UTF-8")
    (tree / "classes.txt").unlink()
    refuse(tree, "classes.txt", "not a readable text file")


def test_two_images_of_one_name_are_refused(tree):
    Image.new("RGB", (4, 3)).save(tree / "images" / "a_1.png")
    refuse(tree, "a_1.jpg", "a_1.png", "same name")


@pytest.mark.parametrize(("root", "part"), [("", "got ''"), ("nowhere", "no such folder")])
def test_the_root_must_exist(root, part):
    with pytest.raises(ValueError, match=part):
        next(examples(FolderSettings(root=root), 0))


def test_what_systems_put_beside_photographs_is_passed_over(tree):
    for name in ("._a_1.jpg", ".thumbnails/a_1.jpg"):
        path = tree / "images" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"\0\5\x16\7")
    (tree / "images" / "a folder.png").mkdir()
    assert [e.id for e in read(tree)] == ["a_1", "b.2"]


def test_a_mask_is_read_as_what_it_is_not_as_what_it_is_called(tree):
    Image.fromarray(MASK).save(tree / "masks" / "a_1.png", "JPEG")
    refuse(tree, "a_1.png", "not a readable image", split="train")


def test_a_picture_that_its_camera_turns_goes_with_a_mask_drawn_on_what_it_shows(tree):
    tags = Image.Exif()
    tags[0x0112] = 6
    Image.new("RGB", (3, 4)).save(tree / "images" / "a_1.jpg", exif=tags)
    (example,) = read(tree, split="train")
    assert example.size == (3, 4)
    (sample,) = samples([example], "all", TaskSettings(), seed=0)
    assert Image.open(io.BytesIO(sample.image)).size == (4, 3)


def test_folders_below_images_are_part_of_the_name(tree):
    for folder, ending in (("images", ".jpg"), ("masks", ".png")):
        (tree / folder / "night").mkdir()
        (tree / folder / f"a_1{ending}").rename(tree / folder / "night" / f"c{ending}")
    (tree / "splits" / "train.txt").write_text("night/c\n")
    assert [e.id for e in read(tree, split="train")] == ["night/c"]


@pytest.mark.parametrize("name", ["pets3", "camvid", "coco_panoptic100"])
def test_real_masks_equal_their_stored_indices(shared_data, name):
    root = shared_data / name
    rows = [line.split("\t") for line in (root / "classes.txt").read_text().splitlines()]
    names = {int(index): label for index, label in rows}
    listed = (root / "splits" / "val.txt").read_text().split()
    found = read(root, split="val")
    assert [e.id for e in found] == listed
    for example in found[:20]:
        with Image.open(root / "masks" / f"{example.id}.png") as image:
            stored = np.asarray(image)
        for value in np.unique(stored):  # the name of a pixel is what classes.txt calls its value
            read_as = np.unique(example.mask[stored == value])
            assert len(read_as) == 1
            assert ("ignore" if read_as[0] == 255 else example.labels[read_as[0]]) == names[value]
        assert {r.phrases[0] for r in example.referents} == {names[v] for v in np.unique(stored) if 0 < v < 255}
        check_labels(example.labels)
        with Image.open(example.image) as image:
            assert image.size == example.size[::-1]


def test_real_splits_share_no_image(shared_data):
    train, val = ({e.id for e in read(shared_data / "pets3", split=split)} for split in ("train", "val"))
    assert (len(train), len(val), train & val) == (241, 59, set())
    assert all(re.fullmatch(r"\w+", name) for name in train | val)
