"""What refiners make of perfect grids: how much of the way from 16x16 to 32x32 costs nothing but arithmetic?

    python benchmarks/refiners.py DATA [--limit 60] [--sam facebook/sam-vit-huge | --sam random]

DATA holds folders with `images/`, `masks/` and `classes.txt` (as `--source folder` reads them); of each picture the
classes that cover at least 1 % of it are taken one by one as targets. Prints the mean IoU over targets of the refined
16x16 grid, of the same after none, smooth and crf (and SAM where one is named; `random` is a tiny one with RANDOM
weights that only shows that the road works: its masks are refused, for they do not agree with the coarse one), the
ceiling of 32x32 (none and smooth), and seconds a target.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from text4seg.descriptors import LabelGrid, paint, rasterize
from text4seg.refine.refiner import Refiner, refiner
from text4seg.refine.settings import RefineSettings, SamSettings

VOID, SMALLEST = 255, 0.01
NAMES = ("none", "smooth", "crf")


def main(argv: list[str] | None = None) -> None:
    """Print a line a data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--limit", type=int, default=60, help="targets a data set (default 60)")
    parser.add_argument("--sam", help="a checkpoint's hub name or folder, or `random`")
    options = parser.parse_args(argv)
    refiners = {name: refiner(RefineSettings(name=name)) for name in NAMES}
    if options.sam:
        path = random_sam() if options.sam == "random" else options.sam
        label = "sam RANDOM" if options.sam == "random" else "sam"
        refiners[label] = refiner(RefineSettings(name="sam", sam=SamSettings(path=path)))
    heads = [*(f"16x16 {name}" for name in refiners), "32x32 none", "32x32 smooth", *(f"s {name}" for name in refiners)]
    print(f"{'':18}{'targets':>9}" + "".join(f"{head:>18}" for head in heads))
    for folder in sorted(path for path in options.data.iterdir() if (path / "masks").is_dir()):
        rows = [measured(refiners, *target) for target, _ in zip(targets(folder), range(options.limit), strict=False)]
        means = np.mean(rows, axis=0)
        print(f"{folder.name:18}{len(rows):9}" + "".join(f"{value:18.3f}" for value in means))


def targets(folder: Path) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(picture, target, counted pixels), the pictures in a drawn order, so that a limit takes some of all."""
    paths = sorted((folder / "masks").glob("*.png"))
    for number in np.random.default_rng(0).permutation(len(paths)):
        picture = next((folder / "images").glob(f"{paths[number].stem}.*"))
        with Image.open(picture) as image, Image.open(paths[number]) as mask:
            pixels, ids = np.asarray(image.convert("RGB")), np.asarray(mask)
        for label in np.unique(ids[(ids > 0) & (ids != VOID)]):
            if (ids == label).mean() >= SMALLEST:
                yield pixels, ids == label, ids != VOID


def random_sam() -> str:
    """Folder of a small SAM that knows nothing."""
    import torch
    from transformers import SamConfig, SamImageProcessor, SamModel

    torch.manual_seed(0)
    eyes = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "mlp_dim": 64,
        "global_attn_indexes": [1],
    }
    folder = tempfile.mkdtemp()
    SamModel(SamConfig(vision_config=eyes)).save_pretrained(folder)
    SamImageProcessor().save_pretrained(folder)
    return folder


def measured(refiners: dict[str, Refiner], pixels: np.ndarray, target: np.ndarray, counted: np.ndarray) -> list[float]:
    """The figures of one target."""
    coarse, fine = (rasterize(target, "thing", size=(side, side)) for side in (16, 32))
    scores, seconds = [], []
    for refine in refiners.values():
        start = time.perf_counter()
        mask = refine(coarse, pixels) > 0
        seconds.append(time.perf_counter() - start)
        scores.append(iou(mask, target, counted))
    scores += [iou(_painted(fine, target.shape, method), target, counted) for method in ("nearest", "smooth")]
    return scores + seconds


def iou(mask: np.ndarray, target: np.ndarray, counted: np.ndarray) -> float:
    """IoU where pixels count."""
    union = ((mask | target) & counted).sum()
    return float((mask & target & counted).sum() / union) if union else 1.0


def _painted(grid: LabelGrid, shape: tuple[int, ...], method: str) -> np.ndarray:
    return paint(grid, (shape[0], shape[1]), method) > 0


if __name__ == "__main__":
    main()
