"""Miniatures of every published set in its real layout on disk: two pictures, three classes or so.

Each writer returns (source, options, what the masks must be): {picture id: {label: bool mask}}.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco

H, W = 12, 16
TOP, LEFT, DOT = (np.zeros((H, W), bool) for _ in range(3))
TOP[:4] = True
LEFT[6:, :8] = True
DOT[9:11, 12:14] = True
EDGE = np.zeros((H, W), bool)
EDGE[4:6] = True

Expected = dict[str, dict[str, np.ndarray]]
Written = tuple[str, dict[str, Any], Expected]


def picture(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (H, W, 3), np.uint8)).save(path)


def values(a: int, b: int, rest: int, edge: int | None = None, kind: type = np.uint8) -> np.ndarray:
    mask = np.full((H, W), rest, kind)
    mask[TOP], mask[LEFT] = a, b
    if edge is not None:
        mask[EDGE] = edge
    return mask


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def rle(mask: np.ndarray) -> dict[str, Any]:
    found = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(mask.shape), "counts": found["counts"].decode()}


def box(mask: np.ndarray) -> list[list[int]]:
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    x, y, x2, y2 = (int(v) for v in (cols[0], rows[0], cols[-1] + 1, rows[-1] + 1))
    return [[x, y, x2, y, x2, y2, x, y2]]


def cocostuff(root: Path) -> Written:
    picture(root / "train2017" / "000000000009.jpg")
    save(root / "annotations/train2017/000000000009_labelTrainIds.png", values(0, 170, 255))
    return "semantic", {"layout": "cocostuff"}, {"000000000009": {"person": TOP, "wood": LEFT}}


def cocostuff_raw(root: Path) -> Written:
    picture(root / "train2017" / "000000000009.jpg")
    save(root / "stuffthingmaps/train2017/000000000009.png", values(12, 181, 255))
    return "semantic", {"layout": "cocostuff_raw"}, {"000000000009": {"stop sign": TOP, "wood": LEFT}}


def ade20k(root: Path) -> Written:
    picture(root / "images/training/ADE_train_1.jpg")
    save(root / "annotations/training/ADE_train_1.png", values(1, 2, 0))
    (root / "objectInfo150.txt").write_text(
        "Idx\tRatio\tTrain\tVal\tStuff\tName\n1\t0.15\t11664\t1172\t1\twall\n2\t0.1\t6046\t612\t1\tbuilding, edifice\n"
    )
    return "semantic", {"layout": "ade20k"}, {"ADE_train_1": {"wall": TOP, "building": LEFT}}


def ade847(root: Path) -> Written:
    picture(root / "images_detectron2/training/a/ADE_1.jpg")
    save(root / "annotations_detectron2/training/a/ADE_1.tif", values(0, 846, 65535, kind=np.uint16))
    (root / "classes.txt").write_text("\n".join(f"class {i}, synonym {i}" for i in range(847)))
    options = {"layout": "ade847", "classes": str(root / "classes.txt")}
    return "semantic", options, {"a/ADE_1": {"class 0": TOP, "class 846": LEFT}}


def context59(root: Path) -> Written:
    picture(root / "JPEGImages/2008_1.jpg")
    save(root / "SegmentationClassContext/2008_1.png", values(1, 59, 0))
    (root / "ImageSets/SegmentationContext").mkdir(parents=True)
    (root / "ImageSets/SegmentationContext/train.txt").write_text("2008_1\n")
    return "semantic", {"layout": "context59"}, {"2008_1": {"aeroplane": TOP, "wood": LEFT}}


def context459(root: Path) -> Written:
    picture(root / "JPEGImages/2008_1.jpg")
    save(root / "annotations_detectron2/pc459_train/2008_1.tif", values(0, 458, 65535, kind=np.uint16))
    (root / "labels.txt").write_text("\n".join(f"{i}: thing {i}" for i in range(1, 460)))
    return "semantic", {"layout": "context459"}, {"2008_1": {"thing 1": TOP, "thing 459": LEFT}}


def voc20(root: Path) -> Written:
    picture(root / "JPEGImages/2007_1.jpg")
    save(root / "SegmentationClass/2007_1.png", values(1, 20, 0, edge=255))
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    (root / "ImageSets/Segmentation/train.txt").write_text("2007_1\n")
    return "semantic", {"layout": "voc20"}, {"2007_1": {"aeroplane": TOP, "tvmonitor": LEFT}}


def mapillary(root: Path) -> Written:
    picture(root / "training/images/a.jpg")
    save(root / "training/v2.0/labels/a.png", values(0, 1, 2))
    names = (("animal--bird", "Bird"), ("object--bench", "Bench"), ("void--unlabeled", "Unlabeled"))
    (root / "config_v2.0.json").write_text(json.dumps({"labels": [{"name": n, "readable": r} for n, r in names]}))
    return "semantic", {"layout": "mapillary"}, {"a": {"Bird": TOP, "Bench": LEFT}}


def refcoco(root: Path) -> Written:
    return _refer(root, "refs(unc).json", lambda i: i)


def grefcoco(root: Path) -> Written:
    source, options, expected = _refer(root, "grefs(unc).json", lambda i: [i])
    path = root / "grefs(unc).json"
    refs = json.loads(path.read_text())
    refs += [{**refs[0], "ref_id": 7, "ann_id": [1, 2], "sentences": [{"sent": "both"}]}]
    refs += [{**refs[0], "ref_id": 8, "ann_id": [-1], "sentences": [{"sent": "no dog"}]}]
    path.write_text(json.dumps(refs))
    return source, options, {"36": expected["36"] | {"both": TOP | LEFT, "no dog": np.zeros((H, W), bool)}}


def _refer(root: Path, name: str, target: Any) -> Written:
    picture(root / "images/COCO_train2014_000000000036.jpg")
    image = {"id": 36, "file_name": "COCO_train2014_000000000036.jpg", "height": H, "width": W}
    parts = [{"id": 1, "segmentation": box(TOP)}, {"id": 2, "segmentation": rle(LEFT), "iscrowd": 1}]
    annotations = [{**part, "image_id": 36, "category_id": 1} for part in parts]
    (root / "instances.json").write_text(json.dumps({"images": [image], "annotations": annotations}))
    refs = [
        {"ref_id": i, "ann_id": target(i), "image_id": 36, "split": "train", "sentences": [{"sent": sent}]}
        for i, sent in ((1, "the sky"), (2, "the left one"))
    ]
    (root / name).write_text(json.dumps(refs))
    return "refer", {"split": "train"}, {"36": {"the sky": TOP, "the left one": LEFT}}


def _coco(root: Path, categories: dict[int, str], pieces: list[tuple[int, Any]], **image: Any) -> dict[str, Any]:
    picture(root / "images/000000000042.jpg")
    record = {"id": 42, "height": H, "width": W, **(image or {"file_name": "000000000042.jpg"})}
    annotations = [
        {"id": i, "image_id": 42, "category_id": category, "segmentation": segmentation, "iscrowd": 0}
        for i, (category, segmentation) in enumerate(pieces)
    ]
    named = [{"id": i, "name": name} for i, name in categories.items()]
    content = {"images": [record], "annotations": annotations, "categories": named}
    (root / "instances.json").write_text(json.dumps(content))
    return {"annotations": str(root / "instances.json"), "images": str(root / "images")}


SLIVER = [[0.1, 0.1, 0.2, 0.1, 0.2, 0.2]]
"""A polygon that covers no pixel; COCO has some."""


def instances(root: Path) -> Written:
    options = _coco(root, {1: "person", 18: "dog"}, [(1, box(TOP)), (18, rle(LEFT)), (18, box(DOT)), (1, SLIVER)])
    return "coco", options, {"42": {"person": TOP, "dog": LEFT | DOT}}


def paco(root: Path) -> Written:
    url = "http://images.cocodataset.org/train2017/000000000042.jpg"
    pieces = [(1, box(LEFT | DOT)), (2, box(DOT)), (3, box(TOP))]
    whole = np.zeros((H, W), bool)
    whole[6:, :14] = True
    options = _coco(root, {1: "mug", 2: "mug:handle", 3: "tv_stand"}, pieces, coco_url=url)
    return "coco", options, {"42": {"mug": whole & ~DOT, "handle of mug": DOT, "tv stand": TOP}}


def pascal_part(root: Path) -> Written:
    options = _coco(root, {1: "dog:head", 2: "cat:head"}, [(1, box(TOP)), (2, box(LEFT))])
    return "coco", options, {"42": {"head of dog": TOP, "head of cat": LEFT}}


def panoptic(root: Path) -> Written:
    picture(root / "images/000000000042.jpg")
    ids = np.zeros((H, W), np.int64)
    ids[TOP], ids[LEFT], ids[DOT] = 70_000, 300, 5
    save(root / "panoptic/000000000042.png", np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1).astype(np.uint8))
    segments = [{"id": i, "category_id": c, "iscrowd": 0} for i, c in ((70_000, 187), (300, 1), (5, 1))]
    content = {
        "images": [{"id": 42, "file_name": "000000000042.jpg", "height": H, "width": W}],
        "annotations": [{"image_id": 42, "file_name": "000000000042.png", "segments_info": segments}],
        "categories": [{"id": 1, "name": "person"}, {"id": 187, "name": "sky-other-merged"}],
    }
    (root / "panoptic.json").write_text(json.dumps(content))
    options = {
        "annotations": str(root / "panoptic.json"),
        "masks": str(root / "panoptic"),
        "images": str(root / "images"),
    }
    return "panoptic", options, {"42": {"sky-other-merged": TOP, "person": LEFT | DOT}}


def reasonseg(root: Path) -> Written:
    picture(root / "train/1_a.jpg")
    shapes = [
        {"label": "target", "shape_type": "polygon", "points": np.reshape(box(TOP), (-1, 2)).tolist()},
        {"label": "ignore", "shape_type": "polygon", "points": np.reshape(box(EDGE), (-1, 2)).tolist()},
    ]
    content = {"text": ["what is up there\u2019s?"], "is_sentence": True, "shapes": shapes}
    (root / "train/1_a.json").write_bytes(json.dumps(content, ensure_ascii=False).encode("cp1252"))
    return "reason", {}, {"1_a": {"what is up there\u2019s?": TOP}}


def lines(root: Path) -> Written:
    picture(root / "images/a.jpg")
    objects = [{"label": ["the sky", "up"], "rle": rle(TOP)}, {"label": "wood", "rle": rle(LEFT)}, {"label": "no cat"}]
    (root / "all.jsonl").write_text(json.dumps({"id": "a", "image": "a.jpg", "objects": objects}) + "\n")
    options = {"annotations": str(root / "all.jsonl"), "images": str(root / "images")}
    return "rle", options, {"a": {"the sky": TOP, "wood": LEFT, "no cat": np.zeros((H, W), bool)}}


def palette(root: Path) -> Written:
    picture(root / "images/a.jpg")
    colours = np.array([[0, 0, 0], [128, 0, 0], [0, 128, 64], [224, 224, 192]], np.uint8)
    save(root / "masks/a.png", colours[values(1, 2, 0, edge=3)])
    (root / "classes.txt").write_text("0,0,0\tothers\n128,0,0\tsky\n0,128,64\twood\n224,224,192\tignore\n")
    (root / "synonyms.txt").write_text("sky, heaven\n")
    return "folder", {}, {"a": {"sky": TOP, "wood": LEFT}}


WITH_ROOT = ("semantic", "refer", "reason", "folder")
WRITERS = (
    cocostuff, cocostuff_raw, ade20k, ade847, context59, context459, voc20, mapillary, refcoco, grefcoco, instances,
    paco, pascal_part, panoptic, reasonseg, lines, palette,
)  # fmt: skip


def write(writer: Any, root: Path) -> Written:
    """Write a miniature; its options name the folder."""
    root.mkdir(parents=True)
    source, options, expected = writer(root)
    return source, options | ({"root": str(root)} if source in WITH_ROOT else {}), expected
