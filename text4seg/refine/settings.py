"""What the refine room can be told. Plain dataclasses; importing this pulls in nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, field

REFINERS = ("none", "smooth", "crf", "sam")
PROMPTS: dict[str, tuple[int, bool]] = {
    "geometric": (0, True),
    "padded-10pt": (10, True),
    "stretched-10pt": (10, False),
    "stretched-20pt": (20, False),
}
"""Ways to ask SAM. Published ones: points inside and outside, and whether the logits lie where the picture lies. The
second is the first release's, the third that of the tables' scripts since July 2025, the last that of the other code
base since November 2025; all three were made for the first generation of SAM."""


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
    """Of the smoothing kernel."""
    alike_size: float = 50.0
    """Reach of the kernel that joins pixels of like colour, in pixels."""
    alike_colour: float = 13.0
    """What that kernel takes for like, in grey levels (standard deviation)."""
    alike_weight: float = 10.0
    """Of the kernel that joins pixels of like colour."""


@dataclass
class SamSettings:
    """A Segment Anything model, and how the coarse mask is put to it."""

    path: str = "facebook/sam-vit-huge"
    """Hub name or folder: SAM (the paper's is ViT-H), SAM-HQ, SAM 2 or SAM 3."""
    prompts: str = "geometric"
    """geometric, or as published: padded-10pt, stretched-10pt, stretched-20pt."""
    points: int = 3
    """geometric: most points inside the coarse mask, and most outside."""
    box: bool = True
    """geometric: also give the coarse mask's box."""
    agree: float = 0.5
    """geometric: the coarse mask stays where SAM's has a smaller IoU with it."""
    seed: int = 42
    """Published: with the question's own name it seeds the points that are drawn."""


@dataclass
class RefineSettings:
    """How a grid becomes a mask."""

    name: str | None = None
    """none (every pixel takes its cell's label), smooth (interpolated between cells), crf, sam; null: as `decoding.paint` says."""
    crf: CrfSettings = field(default_factory=CrfSettings)
    sam: SamSettings = field(default_factory=SamSettings)
