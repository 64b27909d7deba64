"""Rows of the `datasets` library: pictures and masks that must agree, masks of few bits, folders that are broken.

What a row holds is tried without the library; only what the library itself raises needs it.
"""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from text4seg.data.settings import BuildSettings
from text4seg.data.shards.build import build
from text4seg.data.sources import hub
from text4seg.data.sources.registry import examples
from text4seg.data.sources.settings import HubSettings
from text4seg.data.tasks.samples import samples
from text4seg.data.tasks.settings import TaskSettings

H, W = 4, 8
SETTINGS = HubSettings(path="some/cars", classes=["cat", "dog", "cow"])
MASK = np.zeros((H, W), np.uint8)
MASK[1, :4], MASK[3] = 1, 3


def encoded(image: Image.Image, form: str = "PNG", **more) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **more)
    return buffer.getvalue()


def grey(bits: int) -> bytes:
    """MASK as a grey PNG of 2 or 4 bits, which Pillow does not write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    planes = np.unpackbits(MASK[..., None], axis=-1)[..., -bits:].reshape(H, -1)
    rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in planes)
    header = struct.pack(">IIBBBBB", W, H, bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def read(image: bytes, mask: bytes):
    return hub._example(SETTINGS, 5, {"image": {"bytes": image}, "label": {"bytes": mask}})


@pytest.mark.parametrize("bits", [2, 4])
def test_grey_masks_of_few_bits_keep_their_values(bits):
    np.testing.assert_array_equal(read(encoded(Image.new("RGB", (W, H))), grey(bits)).mask, MASK)


def test_a_picture_of_the_same_size_is_passed_on_as_it_is():
    image = encoded(Image.new("RGB", (W, H)), "JPEG")
    assert read(image, encoded(Image.fromarray(MASK))).image == image


def test_a_mask_is_read_as_a_picture_only(monkeypatch):
    """A program for Ghostscript is no mask, and is not handed on."""
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_, **__: pytest.fail("it was run"))
    script = encoded(Image.new("L", (W, H)), "EPS")
    with pytest.raises(ValueError, match="some/cars, row 5: the mask is not a readable image"):
        read(encoded(Image.new("RGB", (W, H))), script)


@pytest.mark.parametrize("form", ["JPEG", "GIF", "WEBP"])
def test_a_mask_of_another_format_is_refused(form):
    with pytest.raises(ValueError, match=r"some/cars, row 5: the mask is not a readable image \(PNG, TIFF, BMP\)"):
        read(encoded(Image.new("RGB", (W, H))), encoded(Image.fromarray(MASK), form))


@pytest.mark.parametrize("mode", ["F", "LA", "RGB"])
def test_a_mask_of_another_kind_is_refused(mode):
    with pytest.raises(ValueError, match=f"some/cars, row 5: the mask has the mode {mode}; expected an index mask"):
        read(encoded(Image.new("RGB", (W, H))), encoded(Image.new(mode, (W, H)), "TIFF"))


@given(names=st.permutations(["others", "cat", "dog", "cow"]), first=st.integers(0, 5))
def test_a_class_called_others_is_background(names, first):
    values = np.arange(W, dtype=np.uint8)[None].clip(max=first + 3).repeat(H, 0)
    row = {"image": {"bytes": encoded(Image.new("RGB", (W, H)))}, "label": {"bytes": encoded(Image.fromarray(values))}}
    found = hub._example(HubSettings(path="some/cars", classes=names, first=first), 5, row)
    shown = ["others" if value < first else names[value - first] for value in values[0].tolist()]
    assert [found.labels[index] for index in found.mask[0]] == shown
    assert found.labels == ("others", *(name for name in names if name != "others"))
    for task in ("all", "referring"):
        for sample in samples([found], task, TaskSettings(), 0):
            assert all("others" not in turn.labels[1:] for turn in sample.turns)


def test_a_picture_of_another_size_is_refused_with_its_row():
    with pytest.raises(ValueError, match=r"some/cars, row 5: the mask is 8x4 pixels, but its image 4x2"):
        read(encoded(Image.new("RGB", (W // 2, H // 2))), encoded(Image.fromarray(MASK)))


def test_a_picture_that_the_camera_turned_is_turned():
    tag = Image.Exif()
    tag[0x0112] = 6
    lying = Image.new("RGB", (H, W))
    turned = read(encoded(lying, "JPEG", exif=tag), encoded(Image.fromarray(MASK))).image
    assert Image.open(io.BytesIO(turned)).size == (W, H)
    with pytest.raises(ValueError, match="row 5: the mask is 8x4 pixels, but its image 4x8"):
        read(encoded(lying, "JPEG"), encoded(Image.fromarray(MASK)))


def test_a_picture_that_is_none_is_refused_with_its_row(tmp_path):
    mask = {"bytes": encoded(Image.fromarray(MASK))}
    with pytest.raises(ValueError, match="some/cars, row 5: the picture is not a readable image"):
        read(b"no picture", mask["bytes"])
    with pytest.raises(ValueError, match=r"some/cars, row 5: .*gone.jpg"):
        hub._example(SETTINGS, 5, {"image": {"bytes": None, "path": str(tmp_path / "gone.jpg")}, "label": mask})


def test_a_broken_folder_is_named_with_its_cause(tmp_path):
    pytest.importorskip("datasets", reason="optional: pip install datasets")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.csv").write_text('a,b\n1,2,3\n"x\n')
    with pytest.raises(ValueError, match=r"broken, split train: .*(tokenizing|EOF)"):
        examples("hub", {"path": str(tmp_path / "broken"), "classes": ["cat"]}, 0)


def test_a_set_of_many_classes_is_built(tmp_path):
    datasets = pytest.importorskip("datasets", reason="optional: pip install datasets")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Image()})
    rows = {"image": [Image.new("RGB", (W, H))], "label": [Image.fromarray(MASK)]}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(str(tmp_path / "saved"))
    options = {"path": str(tmp_path / "saved"), "classes": [f"class {n}" for n in range(300)]}
    settings = BuildSettings("hub", options, "all", shards=1)
    assert build(settings, tmp_path / "out", (4, 4), "rrle", "labelled").samples == 1
