"""What the sources can be told. Plain dataclasses; importing this pulls in nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class ScenesSettings:
    """Procedural pictures of coloured shapes with expressions that are true by construction."""

    count: int = 1000
    """Pictures."""
    size: list[int] = field(default_factory=lambda: [128, 128])
    """Height, width in pixels."""
    objects: list[int] = field(default_factory=lambda: [4, 7])
    """Fewest and most things in a picture."""
    target_share: list[float] = field(default_factory=lambda: [0.02, 0.20])
    """Visible share of the frame that a thing must have to be asked for."""
    distractor_share: float = 0.6
    """About this share of single-target questions has a target that shares its shape or its colour with another thing."""
    kinds: dict[str, float] = field(
        default_factory=lambda: {"attribute": 4.0, "size": 1.0, "texture": 0.5, "relation": 2.0, "position": 1.5}
    )
    """Weights of the expression kinds: attribute, size, texture, relation, position, several, none."""
    questions: int = 4
    """Most referents a picture offers."""
    exclude_pairs: list[str] = field(default_factory=list)
    """Pairs such as `red circle` that are never drawn (held out from pre-training)."""
    textured: float = 0.2
    """Share of things with stripes or dots."""
    noise: float = 4.0
    """Standard deviation of the pixel noise, in grey levels."""
    classes: str = "shape"
    """Labels of the semantic mask: shape, colour, both, either (shape or colour, drawn for each picture), or any."""


@dataclass
class FolderSettings:
    """A folder of images and index masks: `images/`, `masks/`, `classes.txt`, optionally `splits/NAME.txt`."""

    root: str = ""
    split: str | None = None
    """Name of a list in `splits/`; null takes every image."""
    ignore: int = 255
    """Mask value of pixels that are neither taught nor scored."""


@dataclass
class ReferSettings:
    """REFER / refCOCO layout: `instances.json`, `refs(*).json` or `.p`, `images/`."""

    root: str = ""
    refs: str | None = None
    """File of the expressions; null takes the only one there is (JSON before pickle)."""
    split: str | None = None
    images: str = "images"
    """Folder of the photographs, below `root` or absolute."""
