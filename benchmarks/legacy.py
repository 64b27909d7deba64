"""The `legacy_*` scores beside the published scripts, on the same predictions.

    python benchmarks/legacy.py PATH [--write tests/metrics/published.json]

PATH is your own clone of https://github.com/mc-lan/Text4Seg (with or without a work tree). Its three evaluation scripts
are run as they are, in a temporary folder that holds the pictures which they expect, with the functions that they
import lifted out of their own modules; nothing of it is kept here but the numbers. Files are listed in order, since the
scripts' 32-bit sums depend on it. The cases are drawn by seed: blobs of several sizes, empty targets, empty answers,
words nobody asked for, void pixels.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image

from text4seg.metrics.boxes import mask_box
from text4seg.metrics.legacy import legacy_scores
from text4seg.metrics.measure import VOID, measure
from text4seg.metrics.tally import Tally

UTILS = "ms-swift/text4seg/utils.py"
NEEDED = ("AverageMeter", "Summary", "intersectionAndUnionGPU", "masks_to_boxes", "box_iou")
SCRIPTS = {
    "referring": ("ms-swift/text4seg/eval_refer_seg.py", {"legacy_cIoU": "ciou", "legacy_gIoU": "giou"}),
    "comprehension": ("ms-swift/text4seg/eval_refer_comprehen.py", {"legacy_REC_mask": "mllm_acc"}),
    "semantic": ("llava/eval/eval_semantic_seg.py", {"legacy_mIoU": "miou"}),
}
CLASSES = 21
SEEDS = range(4)
Answer = tuple[str, np.ndarray, np.ndarray]
"""Which picture, ids of the prediction, ids of the target (255: void)."""


def main(argv: list[str] | None = None) -> None:
    """Print both columns, and write the published one down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clone", type=Path)
    parser.add_argument("--write", type=Path, help="JSON of the published numbers")
    options = parser.parse_args(argv)
    published = {str(seed): {} for seed in SEEDS}
    for seed in SEEDS:
        ours = scored(seed)
        published[str(seed)] = {
            name: value for kind in SCRIPTS for name, value in run_published(options.clone, kind, seed).items()
        }
        for name, value in published[str(seed)].items():
            print(f"seed {seed}  {name:14} published {value:.9f}   ours {ours[name]:.9f}   {value == ours[name]}")
    if options.write:
        options.write.write_text(json.dumps(published, indent=1) + "\n")


def cases(kind: str, seed: int) -> list[Answer]:
    """The answers of one kind: 40 of referring (several a picture), 12 semantic ones."""
    rng = np.random.default_rng(seed)
    if kind == "semantic":
        return [(f"{i:03}", *_semantic(rng)) for i in range(12)]
    return [(f"{i // 3:03}", *_referring(rng)) for i in range(40)]


def scored(seed: int) -> dict[str, float]:
    """Our legacy numbers of one seed."""
    answers = [("r" + name, _tally(guess, truth, "referring", 2)) for name, guess, truth in cases("referring", seed)]
    found = legacy_scores(answers)
    classes = [("s" + name, _tally(*pair, "all", CLASSES)) for name, *pair in cases("semantic", seed)]
    return found | legacy_scores(classes)


def _tally(guess: np.ndarray, truth: np.ndarray, task: str, asked: int) -> Tally:
    target = np.where(truth == 255, VOID, truth.astype(np.int64))
    labels = ("others", *(f"class {i}" for i in range(1, asked + 1)))
    views = {"": measure(guess, target, asked, outline=False)}
    return Tally(labels, asked, task, "ok", False, False, False, views, mask_box(target > 0))


def _blob(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    (cy, cx), (ry, rx) = rng.random(2) * shape, rng.uniform(0.05, 0.5, 2) * shape
    return ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1


def _referring(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    shape = (int(rng.integers(200, 900)), int(rng.integers(200, 900)))
    truth = _blob(rng, shape) & (rng.random() < 0.85)
    guess = np.roll(truth, rng.integers(-60, 60, 2), (0, 1)) if rng.random() < 0.7 else _blob(rng, shape)
    guess = guess & (rng.random() < 0.85)
    # an unknown word is marked all the same by the published scripts
    return guess.astype(np.int64) * int(rng.integers(1, 3)), truth.astype(np.int64)


def _semantic(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    shape = (int(rng.integers(200, 500)), int(rng.integers(200, 500)))
    truth, guess = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for label in rng.integers(1, CLASSES - 3, 5):
        blob = _blob(rng, shape)
        truth[blob] = label
        guess[np.roll(blob, rng.integers(-30, 30, 2), (0, 1))] = label if rng.random() < 0.8 else CLASSES
    truth[_blob(rng, shape) & (rng.random(shape) < 0.5)] = 255
    return guess, truth


def run_published(clone: Path, kind: str, seed: int) -> dict[str, float]:
    """What a published script computes for the cases of a seed."""
    path, wanted = SCRIPTS[kind]
    tree = ast.parse(_source(clone, path))
    body = next(node.body for node in tree.body if isinstance(node, ast.If))
    before = [node for node in tree.body if not isinstance(node, ast.If)]
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder), kind, seed)
        space: dict[str, Any] = {"__name__": "published"}
        modules = _stand_in(clone)
        here, arguments = Path.cwd(), sys.argv
        listed, os.listdir = os.listdir, lambda place: sorted(listed(place))  # type: ignore[assignment]
        sys.modules |= modules
        try:
            os.chdir(folder)
            sys.argv = ["published", "--save_file", folder, "--dataset_split", "PAS20"]
            with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
                exec(compile(ast.Module([*before, *body], []), path, "exec"), space)
        finally:
            os.chdir(here)
            sys.argv, os.listdir = arguments, listed
            for name in modules:
                del sys.modules[name]
    percent = 100 if kind == "comprehension" else 1
    return {name: float(space[variable]) / percent for name, variable in wanted.items()}


def _write(folder: Path, kind: str, seed: int) -> None:
    """The pictures that the published scripts read."""
    (folder / "output_eval").mkdir()
    numbers: dict[str, int] = {}
    for picture, guess, truth in cases(kind, seed):
        place = folder / "PAS20" / picture
        place.mkdir(parents=True, exist_ok=True)
        number = numbers[picture] = numbers.get(picture, -1) + 1
        semantic = kind == "semantic"
        head = "" if semantic else f"{number}_"
        # off the list: the published lookup gives class 0; in referring any word is the target
        mask = np.where(guess < CLASSES, guess, 0) if semantic else (guess > 0) * 255
        target = truth if semantic else truth * 255
        for name, plane in (("pred_mask", mask), ("sam_mask", mask), ("gt_mask", target), ("image", mask)):
            Image.fromarray(plane.astype(np.uint8)).save(place / f"{head}{name}.png")


def _stand_in(clone: Path) -> dict[str, ModuleType]:
    """The modules that the scripts import from, holding nothing but the published functions that they name."""
    tree = ast.parse(_source(clone, UTILS))
    nodes = [node for node in tree.body if getattr(node, "name", None) in NEEDED]
    source = "import numpy as np\nimport torch\nfrom enum import Enum\nfrom torchvision.ops.boxes import box_area\n"
    found = {}
    for name in ("text4seg.utils", "llava", "llava.eval", "llava.eval.utils"):
        found[name] = ModuleType(name)
        exec(source, found[name].__dict__)
        exec(compile(ast.Module(nodes, []), UTILS, "exec"), found[name].__dict__)
    return found


def _source(clone: Path, path: str) -> str:
    if (clone / path).is_file():
        return (clone / path).read_text()
    shown = subprocess.run(["git", "-C", str(clone), "show", f"HEAD:{path}"], capture_output=True, text=True)
    if shown.returncode:
        raise SystemExit(f"no {path} in {clone}: give the root of a clone of mc-lan/Text4Seg. {shown.stderr.strip()}")
    return shown.stdout


if __name__ == "__main__":
    main()
