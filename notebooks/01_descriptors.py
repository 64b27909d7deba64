# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A mask as text
#
# What a model of this project reads and writes, without any model: a mask becomes a grid of words, the grid becomes
# a text, a text that somebody scribbled on becomes a grid again. Nothing here needs torch.

# %%
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from PIL.ImageDraw import Draw

from text4seg.descriptors import ceiling, encode, paint, parse, rasterize

# %% [markdown]
# ## A picture and its mask
# Values of the mask index the labels; `labels[0]` is always `others`, everything that nobody asks about.

# %%
height, width = 240, 320
labels = ("others", "red car", "tree")
mask_image = Image.new("L", (width, height), 0)
draw = Draw(mask_image)
draw.rounded_rectangle((40, 130, 190, 190), radius=15, fill=1)
draw.rectangle((80, 100, 150, 135), fill=1)
draw.ellipse((210, 40, 300, 130), fill=2)
draw.rectangle((248, 125, 262, 200), fill=2)
mask_HW = np.asarray(mask_image)

COLOURS = np.array([[235, 235, 235], [200, 60, 60], [70, 140, 80]], dtype=np.uint8)


def show(panels: dict[str, np.ndarray]) -> None:
    """Index masks side by side, each stretched to the picture's shape."""
    _, axes = plt.subplots(1, len(panels), figsize=(4 * len(panels), 3.2), squeeze=False)
    for axis, (title, ids) in zip(axes[0], panels.items(), strict=True):
        axis.imshow(COLOURS[ids], extent=(0, width, height, 0), interpolation="nearest")
        axis.set_title(title)
        axis.set_axis_off()
    plt.show()


grid = rasterize(mask_HW, labels, size=(16, 16))
show({"mask": mask_HW, "16 x 16 grid": grid.ids, "8 x 8 grid": rasterize(mask_HW, labels, size=(8, 8)).ids})

# %% [markdown]
# ## The grid as text
# `rrle` counts runs row by row and is what models learn; `irle` lets runs cross rows; `full` writes one word a cell.

# %%
texts = {codec: encode(grid, codec=codec) for codec in ("rrle", "irle", "full")}
print(texts["rrle"])
{codec: f"{len(text)} characters" for codec, text in texts.items()}

# %% [markdown]
# All three say the same:

# %%
for codec, text in texts.items():
    assert parse(text, size=grid.size, codec=codec).grid == grid

# %% [markdown]
# ## What a model may get wrong
# The parser reads each row by itself. A wrong count costs one row; nothing that can be written raises an exception.

# %%
rows = texts["rrle"].split("\n ")
damaged = {
    "one wrong count": texts["rrle"].replace("red car *4", "red car *6", 1),
    "two rows forgotten": "\n ".join(rows[:9] + rows[11:]),
    "cut short": texts["rrle"][: len(texts["rrle"]) // 2],
    "no descriptor at all": "Sorry, I cannot see a car.",
}
decoded = {title: parse(text, size=grid.size, labels=labels) for title, text in damaged.items()}
for title, result in decoded.items():
    print(f"{title}: {result.status}, {len(result.repairs)} repairs", *result.repairs[:2], sep="\n    ")


# %% [markdown]
# Labels that are given to `parse` get the ids that they have here; a word that nobody asked for would get a higher one.

# %%
show({title: np.where(result.grid.ids < len(labels), result.grid.ids, 0) for title, result in decoded.items()})

# %% [markdown]
# ## Back to pixels, and the best that a grid can do
# `nearest` paints blocks, `smooth` rounds the corners. `ceiling` is the IoU that a perfect grid reaches: no model that
# writes this grid can do better.

# %%
size = (height, width)
show({"mask": mask_HW, "nearest": paint(grid, size), "smooth": paint(grid, size, method="smooth")})
for side in (8, 16, 32, 64):
    iou = ceiling(mask_HW, labels, size=(side, side)).iou()
    print(side, *(f"{label} {share:.3f}" for label, share in zip(labels, iou, strict=True)), sep="   ")

# %% [markdown]
# ## Small things
# `center` looks at one pixel a cell, so a small object can fall between the samples. `majority` asks every pixel of
# the cell; `coverage` gives the cell to the object from a given share on.

# %%
small_HW = np.zeros((height, width), dtype=np.uint8)
small_HW[114:126, 95:106] = 1
show({rule: rasterize(small_HW, labels, size=(16, 16), rule=rule).ids for rule in ("center", "majority", "coverage")})
