"""What the refine room can be told. Plain dataclasses; importing this pulls in nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, field

REFINERS = ("none", "smooth", "crf")


@dataclass
class CrfSettings:
    """A fully connected CRF over the pixels; the defaults are the published ones."""

    certainty: float = 0.9
    """Probability that a pixel's coarse label is right."""
    steps: int = 5
    """Mean-field steps."""
    near_size: float = 3.0
    """Reach of the smoothing kernel, in pixels (standard deviation)."""
    near_weight: float = 3.0
    alike_size: float = 50.0
    """Reach of the kernel that joins pixels of like colour, in pixels."""
    alike_colour: float = 13.0
    """What that kernel takes for like, in grey levels (standard deviation)."""
    alike_weight: float = 10.0


@dataclass
class RefineSettings:
    """How a grid becomes a mask."""

    name: str | None = None
    """none (every pixel takes its cell's label), smooth (interpolated between cells), crf; null: as `decoding.paint` says."""
    crf: CrfSettings = field(default_factory=CrfSettings)
