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
    leaks: str = "filter"
    """Train photographs that a set of the family holds back for validation or test: filter, or keep (the published
    mix). Left out ones are counted in the index."""
    family: str | None = None
    """Folder that holds the family's sets; null: the folder that `root` lies in."""


@dataclass
class SemanticSettings:
    """A published semantic set in its own layout: cocostuff, cocostuff_raw, ade20k, ade847, context59, context459, voc20
    or mapillary (`text4seg.data.sources.layouts`)."""

    root: str = ""
    layout: str = ""
    split: str = "train"
    """train or val."""
    classes: str | None = None
    """Your own names: a line a class in the set's order, `name, synonym, synonym`; null: the set's names."""
    held_out: str | None = None
    """Folder of the refCOCO family: photographs that its sets hold back are left out of `train` (COCO sets)."""


@dataclass
class AnnotatedSettings:
    """A file of annotations and the photographs that they are about."""

    annotations: str = ""
    """The JSON file."""
    images: str = ""
    """Folder of the photographs."""


@dataclass
class CocoSettings(AnnotatedSettings):
    """COCO-style instances: COCO, LVIS, and parts as in PACO-LVIS and Pascal-Part (categories called `object:part`)."""

    instances: bool = False
    """Number the instances from left to right (`dog 1`, `dog 2`) in place of one label for all of a category."""
    held_out: str | None = None
    """Folder of the refCOCO family: photographs that its sets hold back are left out."""


@dataclass
class PanopticSettings(AnnotatedSettings):
    """COCO panoptic: a JSON file and a folder of PNGs whose colours number the segments."""

    masks: str = ""
    """Folder of the PNGs."""
    held_out: str | None = None
    """Folder of the refCOCO family: photographs that its sets hold back are left out."""


@dataclass
class ReasonSettings:
    """ReasonSeg: a folder a split with NAME.jpg and NAME.json beside each other."""

    root: str = ""
    split: str = "train"


@dataclass
class DialogueSettings(AnnotatedSettings):
    """Conversations in words, such as LLaVA's mix665k: a JSON list or a JSON file of lines."""


@dataclass
class RleSettings(AnnotatedSettings):
    """One JSON object a line: `{"image", "objects": [{"label", "rle": {"size", "counts"}}]}`."""


@dataclass
class HubSettings:
    """A data set of the Hugging Face `datasets` library with a column of images and one of index masks."""

    path: str = ""
    """A hub name, a folder of `save_to_disk`, or a folder of Parquet files."""
    config: str | None = None
    split: str = "train"
    image: str = "image"
    """Column of the photographs."""
    mask: str = "label"
    """Column of the masks."""
    classes: list[str] = field(default_factory=list)
    """Names of the mask values from `first` on."""
    first: int = 1
    """Mask value of the first class; values below it are `others`."""
    ignore: int = 255
