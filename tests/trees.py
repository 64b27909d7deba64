"""Small annotated folders in the layouts that the sources read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("others", "cat", "dog")
SIZE = (40, 56)


def mask_of(number: int) -> np.ndarray:
    """A cat on the left, a dog on the right, a column to ignore."""
    mask = np.zeros(SIZE, np.uint8)
    mask[4 + number : 30, 3:20] = 1
    mask[10:36, 30 : 50 - number] = 2
    mask[:, 55] = 255
    return mask


def write_pictures(folder: Path, names: list[str]) -> None:
    """JPEG noise under the given names."""
    folder.mkdir(parents=True)
    for number, name in enumerate(names):
        noise = np.random.default_rng(number).integers(0, 255, (*SIZE, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{name}.jpg")


def write_folder(root: Path, count: int = 8) -> Path:
    """images/, masks/, classes.txt, splits/: half for training, half for validation."""
    names = [f"photo{number}" for number in range(count)]
    write_pictures(root / "images", names)
    (root / "masks").mkdir()
    for number, name in enumerate(names):
        Image.fromarray(mask_of(number)).save(root / "masks" / f"{name}.png")
    (root / "classes.txt").write_text("".join(f"{i}\t{name}\n" for i, name in enumerate(CLASSES)) + "255\tignore\n")
    (root / "splits").mkdir()
    for split, chosen in (("train", names[::2]), ("val", names[1::2])):
        (root / "splits" / f"{split}.txt").write_text("".join(f"{name}\n" for name in chosen))
    return root


def write_refer(root: Path, count: int = 8) -> Path:
    """instances.json, refs.json, images/; an expression for the cat of each picture."""
    names = [f"photo{number}" for number in range(count)]
    write_pictures(root / "images", names)
    images = [
        {"id": i, "file_name": f"{name}.jpg", "height": SIZE[0], "width": SIZE[1]} for i, name in enumerate(names)
    ]
    annotations = [
        {
            "id": 10 + i,
            "image_id": i,
            "category_id": 1,
            "iscrowd": 0,
            "segmentation": [[3, 4, 20, 4, 20, 30, 3, 30]],
            "bbox": [4.0, 5.0, 15.0, 23.0],
        }
        for i in range(count)
    ]
    categories = [{"id": 1, "name": "cat"}]
    (root / "instances.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    refs = [
        {
            "ref_id": 100 + i,
            "ann_id": 10 + i,
            "image_id": i,
            "file_name": f"{name}.jpg",
            "category_id": 1,
            "split": "val" if i % 2 else "train",
            "sentences": [{"sent_id": i, "sent": "the cat on the left"}],
        }
        for i, name in enumerate(names)
    ]
    (root / "refs.json").write_text(json.dumps(refs))
    return root
