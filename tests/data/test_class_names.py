"""The class lists that the package brings, held by count and checksum against what was compared with their publishers.

cocostuff: `labels.txt` of github.com/nightrome/cocostuff at cad94560, without the eleven ids that no picture has.
context59: values as mmsegmentation's converter `pascal_context.py` writes them, the ids of the 459 classes in rising
order, which is that of the names in CAT-Seg; `PascalContextDataset.CLASSES` has another order, which no mask has.
voc20: `VOCDataset.CLASSES` of mmsegmentation at 1d341e50, without the background.
"""

from __future__ import annotations

import hashlib
from importlib import resources

import numpy as np
import pytest
from PIL import Image

from text4seg.data.sources.registry import examples

UNUSED_STUFF_IDS = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91}


def rows(name: str) -> list[tuple[int, str]]:
    text = (resources.files("text4seg") / "assets" / "classes" / f"{name}.txt").read_text(encoding="utf-8")
    cells = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
    return [(int(value), label) for value, label in cells]


@pytest.mark.parametrize(
    ("name", "ids", "checksum"),
    [
        ("cocostuff", set(range(1, 183)) - UNUSED_STUFF_IDS, "c03a13c1d45df251"),
        ("context59", set(range(1, 60)), "7a4b74fc35f030e4"),
        ("voc20", set(range(1, 21)), "11197f0fe821b6dc"),
    ],
)
def test_our_lists_are_the_published_ones(name, ids, checksum):
    found = rows(name)
    assert [value for value, _ in found] == sorted(ids)
    listed = "\n".join(f"{value} {label}" for value, label in found)
    assert hashlib.sha256(listed.encode()).hexdigest()[:16] == checksum


def test_the_lines_of_ade20k_are_read_with_their_odd_blanks(tmp_path):
    """Lines as `objectInfo150.txt` of github.com/CSAILVision/sceneparsing has them, at 4ce20bd9."""
    lines = [
        "Idx\tRatio\tTrain\tVal\tName",
        "1\t0.1576\t11664\t1172\twall",
        "2\t0.0231\t1906\t199\tbed ",
        "3\t0.0198\t4688\t460\twindowpane, window ",
        "4 \t0.0074\t709\t75\twater",
    ]
    (tmp_path / "objectInfo150.txt").write_text("\n".join(lines) + "\n")
    for folder in ("images/training", "annotations/training"):
        (tmp_path / folder).mkdir(parents=True)
    Image.new("RGB", (5, 1)).save(tmp_path / "images/training/a.jpg")
    Image.fromarray(np.arange(5, dtype=np.uint8)[None]).save(tmp_path / "annotations/training/a.png")
    (example,) = examples("semantic", {"layout": "ade20k", "root": str(tmp_path)}, 0)
    assert example.labels == ("others", "wall", "bed", "windowpane", "water")
    assert example.synonyms == ((), (), (), ("window",), ())
    assert example.mask.tolist() == [[255, 1, 2, 3, 4]]
