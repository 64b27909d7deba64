"""Draw what SAM is asked with: the prompts of every way in SAM's square, for a square, a wide and a tall picture.

    python benchmarks/sam_prompts.py OUT.png

The thing is an ellipse with a notch, its 16x16 grid is exact. Each panel is SAM's square: the picture where SAM has it,
the logits as a tint (red: the thing, blue: not, none: nothing known), points (green inside, black outside) and the box.
Read: geometric lies on the thing everywhere; stretched logits slide off it as soon as the picture is no square.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from text4seg.descriptors import paint, rasterize
from text4seg.refine.prompts import CERTAIN, Frame, Prompt, geometric, published
from text4seg.refine.settings import PROMPTS

SIDE, LOW, PAD = 320, 80, 24
SHAPES = {"square": (480, 480), "wide": (300, 480), "tall": (480, 260)}


def main(argv: list[str] | None = None) -> None:
    """Write the drawing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out = parser.parse_args(argv).out
    page = Image.new("RGB", (len(PROMPTS) * (SIDE + PAD), len(SHAPES) * (SIDE + 2 * PAD)), "white")
    for row, (name, shape) in enumerate(SHAPES.items()):
        for column, kind in enumerate(PROMPTS):
            place = column * (SIDE + PAD), row * (SIDE + 2 * PAD) + PAD
            page.paste(panel(shape, kind), place)
            ImageDraw.Draw(page).text((place[0], place[1] - 14), f"{name}, {kind}", fill="black")
    page.save(out)


def panel(shape: tuple[int, int], kind: str) -> Image.Image:
    """SAM's square for one picture and one way to ask."""
    thing = _thing(shape)
    grid = rasterize(thing, "thing", size=(16, 16))
    scale = SIDE / max(shape)
    frame = Frame(shape, (round(shape[0] * scale), round(shape[1] * scale)), SIDE, LOW)
    if kind == "geometric":
        prompt = geometric(grid.ids > 0, frame, points=3, box=True)
    else:
        points, padded = PROMPTS[kind]
        prompt = published(grid.ids > 0, paint(grid, shape) > 0, frame, points, padded, np.random.default_rng(0))
    return _drawn(thing, frame, prompt)


def _thing(shape: tuple[int, int]) -> np.ndarray:
    rows, cols = (np.indices(shape) + 0.5) / np.array(shape)[:, None, None]
    ellipse = ((rows - 0.62) / 0.3) ** 2 + ((cols - 0.6) / 0.22) ** 2 < 1
    return ellipse & ~((rows < 0.55) & (cols > 0.6))


def _drawn(thing: np.ndarray, frame: Frame, prompt: Prompt) -> Image.Image:
    grey = np.where(thing, 235, 150).astype(np.uint8)
    square = Image.new("L", (SIDE, SIDE), 60)
    square.paste(Image.fromarray(grey).resize(frame.filled[::-1]), (0, 0))
    logits = np.asarray(Image.fromarray(prompt.logits).resize((SIDE, SIDE), Image.Resampling.NEAREST)) / CERTAIN
    colours = np.where(logits[..., None] > 0, (230, 40, 40), (40, 80, 230))
    base = np.asarray(square.convert("RGB"), float)
    tinted = Image.fromarray((base + 0.35 * np.abs(logits)[..., None] * (colours - base)).astype(np.uint8))
    pen = ImageDraw.Draw(tinted)
    if prompt.box is not None:
        pen.rectangle(prompt.box, outline="yellow", width=2)
    for (x, y), inside in zip(prompt.points, prompt.inside, strict=True):
        pen.ellipse((x - 4, y - 4, x + 4, y + 4), fill="lime" if inside else "black", outline="white")
    return tinted


if __name__ == "__main__":
    main()
