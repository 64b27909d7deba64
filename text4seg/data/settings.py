"""What the data room can be told. Plain dataclasses; importing this pulls in nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class BuildSettings:
    """How to make a set of shards from annotations."""

    source: str = "scenes"
    """Source family: scenes, folder, refer, semantic, coco, panoptic, reason, dialogue, rle or hub."""
    options: dict[str, Any] = field(default_factory=dict)
    """The source's own settings (see `text4seg.data.sources.settings`)."""
    task: str = "referring"
    """referring, generalized, all, partial, conditioned, parts (an object and its parts), text (answers in words), semantic (all, partial and conditioned 1 : 3 : 6), or mix (`task_options.weights`)."""
    task_options: dict[str, Any] = field(default_factory=dict)
    """The task's own settings (see `text4seg.data.tasks.settings`)."""
    limit: int | None = None
    """Stop after this many samples."""
    shards: int = 8
    """Number of shards; training needs at least ranks x workers of them."""
    seed: int = 0
    quality: int = 90
    """JPEG quality of images that the source draws or that are not JPEG already."""
    on_error: str = "raise"
    """What a broken record of the annotations does: raise, or skip (counted and named in the index)."""


@dataclass
class SetSettings:
    """Where one of several sets lies, and its share in the mix."""

    shards: str | None = None
    """A folder written by `python -m text4seg.shards build`."""
    build: BuildSettings | None = None
    """Recipe: `fit` builds the folder when it is missing or was built otherwise."""
    weight: float | None = None
    """Share of the samples, relative to the other sets'; each set then has epochs of its own. null for all: every sample
    of every set comes once an epoch."""


@dataclass
class SplitSettings:
    """Where one split's shards lie, and how to build them when they are missing."""

    shards: str | None = None
    """A folder written by `python -m text4seg.shards build`."""
    build: BuildSettings | None = None
    """Recipe: `fit` builds the folder when it is missing or was built otherwise."""
    samples: int | None = None
    """How many samples an epoch will have: what `fit --dry-run` counts with until the shards are built."""
    mix: dict[str, SetSettings] = field(default_factory=dict)
    """Several sets in place of one (training): name -> shards or build, weight."""
    limit: int | None = None
    """Use only the first so many samples (validation)."""


@dataclass
class VariantSettings:
    """One way of writing the answer."""

    codec: str = "rrle"
    """rrle, irle or full."""
    grid: list[int] = field(default_factory=lambda: [16, 16])
    """Rows, columns."""
    tasks: list[str] = field(default_factory=list)
    """With `turns: one`: draw the turn among those of these tasks; empty: among all."""
    answer: bool = True
    """False: no answer is taught, only the labels of the image tokens (`loss.cells`)."""
    image_size: int | None = None
    """compose: side in pixels of the training pictures, in place of the model's; image tokens become fewer or more with it."""
    plain: bool = False
    """Ask with the first wording of each list: answers then start at one distance from the image, where a model that starts from random weights finds it sooner."""


@dataclass
class AugmentSettings:
    """How training pictures vary. Only semantic questions are touched: others may speak of places and sizes. So may labels
    that end in a number (`options.instances` counts from left to right): their pictures stay as they are."""

    flip: float = 0.0
    """Probability that picture and mask are mirrored."""
    crops: int = 0
    """Every picture has so many fixed crops; each visit draws one of them or the whole picture."""
    smallest: float = 0.5
    """Smallest crop, as a share of the picture's sides."""


@dataclass
class DataSettings:
    """Shards -> batches."""

    train: SplitSettings = field(default_factory=SplitSettings)
    val: SplitSettings = field(default_factory=SplitSettings)
    codec: str = "rrle"
    grid: list[int] = field(default_factory=lambda: [16, 16])
    """Rows, columns."""
    rule: str = "labelled"
    """How a cell gets its label: labelled (the sampled pixel; pixels without annotation teach nothing), center (the
    same, but such pixels are `others`, as published), majority or coverage."""
    remote: list[str] = field(default_factory=lambda: ["s3", "gs", "hf"])
    """Kinds of addresses that shards may be read from; http, https and pipe (which runs a command) only when listed."""
    cache: str | None = None
    """Where copies of remote shards are kept; null: ~/.cache/text4seg/shards."""
    variants: dict[str, VariantSettings] = field(default_factory=dict)
    """Named ways of writing the answer for `curriculum`."""
    curriculum: list[dict[str, float]] = field(default_factory=list)
    """Points `{at: progress 0..1, VARIANT: weight, ...}`; training draws a sample's variant with weights interpolated between them. Empty: always codec and grid."""
    format_hint: bool = False
    """Append the codec and the grid size to the question (a model that is trained on several needs to be told)."""
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    wrong_rows: float = 0.0
    """Probability with which each row of a training answer is wrong on purpose, in place and labels, and not learnt: the rows below have to be read from the picture, not copied from above (docs/grounding.md)."""
    turns: str = "all"
    """all: a sample's turns are one conversation; one: each visit draws one of them (cheap variety, and no answer can be copied from an earlier one)."""
    batch_size: int = 8
    """Samples a rank feeds at once (micro-batch)."""
    workers: int = 1
    """Loading processes a rank; 0 loads in the main process."""
    shuffle_buffer: int = 1000
    """Samples held back for shuffling, per worker."""
    length_window: int = 1
    """So many batches are filled together and sorted by length, so that samples of a batch need little padding; they
    are delivered in drawn order. Costs their memory in each loading process. All are written in the way of the first, so
    what a stage or a curriculum shows begins up to so many batches late in each process."""
    reduced_jpeg: bool = False
    """Decode large JPEGs at the smallest of 1/1, 1/2, 1/4, 1/8 that is not below the model's square (training)."""
    max_length: int = 2048
    """Tokens; a longer sample is counted and skipped, never cut."""
    pad_to_multiple_of: int = 16
    """Training batches are padded to such a multiple: fewer shapes to prepare kernels for, and kind to tensor cores."""
    val_batch_size: int = 16
    """Questions answered at once."""
    on_error: str = "skip"
    """What a broken sample does: skip (counted, named) or raise."""
