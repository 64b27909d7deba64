"""Overlays, sheets, tables and COCO masks."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFont
from pycocotools import mask as coco
from rich.console import Console

from text4seg.report.coco import coco_rle
from text4seg.report.overlay import overlay, palette
from text4seg.report.sheet import Entry, draw_sheet, spread, wrap
from text4seg.report.table import MEANINGS, class_table, score_table


def grey(height: int, width: int) -> Image.Image:
    return Image.new("RGB", (width, height), (100, 100, 100))


def test_overlay_tints_the_mask_and_nothing_else():
    mask = np.zeros((20, 30), np.uint8)
    mask[5:15, 10:20] = 2
    mask[0, 0] = 255
    drawn = np.asarray(overlay(grey(20, 30), mask, [(255, 0, 0), (0, 200, 0)], alpha=0.5, outline=2))
    assert drawn[10, 15].tolist() == [50, 150, 50]
    assert drawn[5, 10].tolist() == drawn[6, 15].tolist() == [0, 200, 0]
    assert drawn[7, 15].tolist() == [50, 150, 50]
    assert drawn[4, 15].tolist() == drawn[19, 29].tolist() == [100, 100, 100]
    assert drawn[0, 0].tolist() == [128, 128, 128]


@pytest.mark.parametrize("kind", [np.int32, np.int64, np.uint16])
def test_class_255_is_a_class_where_a_mask_has_more_than_8_bits(kind):
    drawn = overlay(grey(8, 9), np.full((8, 9), 255, kind), outline=0)
    assert np.asarray(drawn)[0, 0].tolist() == np.asarray(drawn)[4, 5].tolist() != [100, 100, 100]


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "I;16"])
def test_overlay_takes_pictures_of_any_mode(mode):
    drawn = overlay(Image.new(mode, (8, 6)), np.ones((6, 8), bool), outline=0)
    assert (drawn.mode, drawn.size) == ("RGB", (8, 6))


@pytest.mark.parametrize(("count", "most"), [(0, 12), (5, 12), (12, 12), (23, 12), (1000, 12), (7, 0)])
def test_a_sheet_shows_items_from_all_over_the_set(count, most):
    drawn = spread(count, most)
    assert len(set(drawn)) == len(drawn) == min(count, most)
    steps = {after - before for before, after in pairwise([*drawn, count])} if drawn else {0}
    assert max(steps) - min(steps) <= 1


def test_overlay_refuses_a_mask_of_another_size():
    with pytest.raises(ValueError, match=r"\(20, 30\)"):
        overlay(grey(20, 30), np.zeros((30, 20), bool))


def test_palette_keeps_its_first_colours_and_repeats_none():
    assert palette(3) == palette(200)[:3]
    assert len(set(palette(200))) == 200


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_what_is_hatched_depends_on_the_bits_of_a_mask(kind):
    """255 is void in 8 bits, and the 255th class in 16."""
    ids = np.full((64, 64), np.iinfo(kind).max, kind)
    if kind is np.uint16:
        ids[:, 32:] = 255
    sheet = np.asarray(draw_sheet([Entry(grey(64, 64), {"truth": ids}, "Where?")], columns=1, side=64)).astype(int)
    tile = sheet[8 + 18 :][:64, 8 + 64 + 8 :][:, :64]
    assert {tuple(pixel) for pixel in tile[:, :32].reshape(-1, 3).tolist()} == {(100, 100, 100), (128, 128, 128)}
    assert (np.ptp(tile[:, 32:], axis=-1) > 0).all() == (kind is np.uint16), "tinted, not hatched"


@pytest.mark.parametrize("word", ["traffic [sign]", "[/x]", "[red]"])
def test_names_in_tables_are_no_markup(word):
    console = Console(width=120, record=True)
    console.print(class_table({word: 0.5}))
    console.print(score_table({word: {"cIoU": 0.5}}, word))
    assert console.export_text().count(word) == 3


def test_a_legend_starts_with_what_shows():
    ids = np.zeros((10, 10), np.uint8)
    ids[2:8, 2:8] = 30
    labels = ("others", *(f"class {number}" for number in range(1, 41)))
    sheet = np.asarray(draw_sheet([Entry(grey(10, 10), {"truth": ids}, "Where?", labels=labels)], columns=1, side=64))
    legend = sheet[8 + 18 + 64 + 18 :]
    assert (legend == palette(40)[29]).all(-1).any()
    assert not (legend == palette(40)[39]).all(-1).any()  # for which there is no room


def test_sheet_holds_every_entry():
    mask = np.zeros((10, 40), np.uint8)
    mask[:, 20:] = 1
    wide = Entry(grey(10, 40), {"truth": mask, "prediction": mask * 0}, "Where?", "IoU 0.00", ("others", "cat"))
    tall = Entry(grey(60, 20), {"truth": np.tri(60, 20, dtype=int)}, "word " * 100, labels=("others", "a", "b", "c"))
    sheet = draw_sheet([wide, tall, wide], columns=2, side=64)
    assert sheet.width == 2 * (3 * 64 + 2 * 8) + 3 * 8
    strong = (np.asarray(sheet) == palette(1)[0]).all(-1)
    assert strong[: sheet.height // 2].any()
    assert strong[sheet.height // 2 :].any()
    with pytest.raises(ValueError, match="empty"):
        draw_sheet([])


@given(st.text(max_size=200), st.integers(20, 300), st.integers(1, 3))
def test_captions_keep_to_their_room(text, width, most):
    font = ImageFont.load_default(13)
    lines = wrap(text, font, width, most)
    assert 1 <= len(lines) <= most
    assert all(font.getlength(line) <= width for line in lines)


def written(table) -> str:
    console = Console(width=120)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_score_table_shows_each_run_and_the_ceiling():
    before = {"val/cIoU": 0.25, "val/ok": 0.5, "val/ceiling_cIoU": 0.875}
    after = {"val/cIoU": 0.625, "val/ok": 1.0, "val/mIoU": 0.125, "val/ceiling_cIoU": 0.875}
    text = written(score_table({"before": before, "after": after}, prefix="val/"))
    line = next(line for line in text.splitlines() if "cIoU" in line)
    assert [line.index(number) for number in ("0.250", "0.625", "0.875")] == sorted(
        line.index(number) for number in ("0.250", "0.625", "0.875")
    )
    assert "100.0%" in text
    assert "0.125" in text
    assert "gIoU" not in text
    for name in MEANINGS:
        assert name in written(score_table({"all": dict.fromkeys(MEANINGS, 0.5)}))


def test_class_table_shortens_the_middle():
    text = written(class_table({f"class {i:03}": i / 100 for i in range(100)}, most=4))
    assert [name for name in ("class 099", "class 098", "class 050", "class 000") if name in text] == [
        "class 099",
        "class 098",
        "class 000",
    ]


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_coco_masks_come_back(height, width, seed):
    mask = np.random.default_rng(seed).random((height, width)) < 0.3
    found = coco_rle(mask)
    assert (coco.decode(found["rle"]).astype(bool) == mask).all()
    assert found["area"] == mask.sum()
    if mask.any():
        rows, cols = np.nonzero(mask)
        box = [cols.min(), rows.min(), np.ptp(cols) + 1, np.ptp(rows) + 1]
        assert found["bbox"] == box
