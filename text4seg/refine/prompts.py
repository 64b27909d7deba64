"""Prompts for a promptable segmenter (SAM) from a coarse mask: points, a box, and logits, in the frame of its input.

SAM looks at a square. The first generation (SAM, SAM-HQ) keeps the picture's aspect ratio and pads below or on the
right; the later ones (SAM 2, SAM 3) stretch the picture. Whatever prompts it has to lie where the picture lies in that
square. The published prompts are kept by name, with their draws and, in two of the three, their logits stretched over
the padding. `benchmarks/sam_prompts.py` draws them all.

Source: Segment Anything (arXiv 2304.02643); published inference scripts of Text4Seg.
Axis legend: H, W pixels of the picture; R, C rows and columns of the grid; P points; S side of SAM's square, h, w the
part of it that the picture fills; L side of SAM's low-resolution masks. Points are (x, y); a pixel's centre is at +0.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

CERTAIN = float(np.log(0.999 / 0.001))
"""The published logit of a pixel inside the coarse mask."""


@dataclass(frozen=True)
class Frame:
    """Where a picture lies in SAM's square, at its top left.

    Attributes:
        size: ``(H, W)`` of the picture.
        filled: ``(h, w)``, the part of the square that it fills.
        side: S.
        low: L.
    """

    size: tuple[int, int]
    filled: tuple[int, int]
    side: int
    low: int

    def place(self, points_P2: NDArray[np.floating]) -> NDArray[np.float64]:
        """Points of the picture as points of the square."""
        scale = np.array([self.filled[1] / self.size[1], self.filled[0] / self.size[0]])
        return np.asarray(points_P2, np.float64) * scale


@dataclass(frozen=True, eq=False)
class Prompt:
    """What SAM is asked with.

    Attributes:
        points: float ``[P, 2]`` in the square.
        inside: bool ``[P]``: whether a point marks the thing, or what it is not.
        box: left, top, right, bottom in the square; None: no box.
        logits: float32 ``[L, L]``, positive where the thing is.
    """

    points: NDArray[np.float64]
    inside: NDArray[np.bool_]
    box: tuple[float, float, float, float] | None
    logits: NDArray[np.float32]


def geometric(cells_RC: NDArray[np.bool_], frame: Frame, points: int, box: bool) -> Prompt:
    """Prompts that lie where the thing lies; nothing is drawn.

    Args:
        cells_RC: the coarse mask's cells.
        frame: of the picture.
        points: most points inside, and most outside; the farthest from the mask's border first.
        box: whether to give the tight box.
    """
    marks = [inner_points(cells, frame.size, points) for cells in (cells_RC, ~cells_RC)]
    rows, cols = (np.flatnonzero(cells_RC.any(axis=axis)) for axis in (1, 0))
    down, across = (pixels / cells for pixels, cells in zip(frame.size, cells_RC.shape, strict=True))
    corners = [[cols[0] * across, rows[0] * down], [(cols[-1] + 1) * across, (rows[-1] + 1) * down]]
    (left, top), (right, bottom) = frame.place(np.array(corners)).tolist()
    field = np.zeros((frame.side, frame.side), np.float32)  # zero where no picture is: SAM's word for "nothing known"
    field[: frame.filled[0], : frame.filled[1]] = _resized(_signs(cells_RC), frame.filled)
    return Prompt(
        frame.place(np.concatenate(marks)),
        np.repeat([True, False], [len(part) for part in marks]),
        (left, top, right, bottom) if box else None,
        _resized(field, (frame.low, frame.low), Image.Resampling.BOX),
    )


def published(
    cells_RC: NDArray[np.bool_],
    mask_HW: NDArray[np.bool_],
    frame: Frame,
    points: int,
    padded: bool,
    rng: np.random.Generator,
) -> Prompt:
    """Prompts as the published scripts make them: points drawn from the painted mask, no box.

    Args:
        cells_RC: the coarse mask's cells.
        mask_HW: the same, painted.
        frame: of the picture.
        points: inside, and as many outside.
        padded: True: logits as of the first release, from the painted mask and in SAM's frame; False: as of today's,
            the grid stretched over the whole square, also where the picture does not reach.
        rng: draws the points.
    """
    places = [np.argwhere(part)[:, ::-1] for part in (mask_HW, ~mask_HW)]
    drawn = [rng.permutation(part)[:points] for part in places]
    if padded:
        scale = frame.low / max(frame.size)
        fits = max(1, int(frame.size[0] * scale + 0.5)), max(1, int(frame.size[1] * scale + 0.5))
        logits = np.zeros((frame.low, frame.low), np.float32)
        logits[: fits[0], : fits[1]] = _resized(_signs(mask_HW), fits)
    else:
        logits = _resized(_signs(cells_RC), (frame.low, frame.low))
    marks = frame.place(np.concatenate(drawn)) + 0.5  # a pixel's number as a place; SAM adds the half itself
    return Prompt(marks, np.repeat([True, False], [len(part) for part in drawn]), None, logits)


def inner_points(cells_RC: NDArray[np.bool_], size: tuple[int, int], count: int) -> NDArray[np.float64]:
    """Points of the picture far inside a region: each the farthest from the region's border, the picture's edge and
    the points before it; ties go to the first in reading order.

    Args:
        cells_RC: the region.
        size: ``(H, W)`` of the picture.
        count: most points.

    Returns:
        ``[P, 2]``, centres of cells; fewer than ``count`` where the region has fewer.
    """
    height, width = size[0] / cells_RC.shape[0], size[1] / cells_RC.shape[1]
    unit = np.array([width, height])
    spots_N2 = (np.argwhere(cells_RC)[:, ::-1] + 0.5) * unit
    near_M2 = (np.argwhere(~cells_RC & _grown(cells_RC))[:, ::-1] + 0.5) * unit
    far_N = np.minimum(spots_N2, np.array(size[::-1]) - spots_N2).min(axis=1, initial=np.inf)
    for spot in near_M2:  # distance to a neighbouring cell as a rectangle
        gaps_N2 = np.maximum(np.abs(spots_N2 - spot) - unit / 2, 0)
        far_N = np.minimum(far_N, np.hypot(gaps_N2[:, 0], gaps_N2[:, 1]))
    found: list[NDArray[np.float64]] = []
    while len(found) < min(count, len(spots_N2)):
        found.append(spots_N2[int(far_N.argmax())])
        far_N = np.minimum(far_N, np.hypot(*(spots_N2 - found[-1]).T))
    return np.array(found).reshape(-1, 2)


def _grown(cells_RC: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A region and the cells around it."""
    padded = np.pad(cells_RC, 1)
    tall = padded[:-2] | padded[1:-1] | padded[2:]
    return tall[:, :-2] | tall[:, 1:-1] | tall[:, 2:]


def _signs(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    return np.where(mask, CERTAIN, -CERTAIN).astype(np.float32)


def _resized(
    field: NDArray[np.float32], size: tuple[int, int], how: Image.Resampling = Image.Resampling.BILINEAR
) -> NDArray[np.float32]:
    """A field of ``size`` (rows, columns), interpolated, or averaged where it gets smaller."""
    return np.asarray(Image.fromarray(field).resize((size[1], size[0]), how))
