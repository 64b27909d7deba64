"""What `evaluate` can be told. Plain dataclasses; importing this pulls in nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, field

from text4seg.data.settings import BuildSettings
from text4seg.refine.settings import CrfSettings, RefineSettings, SamSettings

STORED, ALL = "stored", "all"


@dataclass
class DecodingChanges:
    """Decode otherwise than the run does; null: as the run does."""

    max_new_tokens: int | None = None
    """Most tokens of an answer."""
    paint: str | None = None
    """How a grid is brought to the image's size: nearest or smooth."""
    grammar: str | None = None
    """off, on (only well-formed answers can be written) or report (where answers left the language of descriptors)."""
    preamble: int | None = None
    """Most tokens of the sentence before the descriptor, with `grammar: on`."""
    engine: str | None = None
    """structured or hf."""
    prepack: bool | None = None
    """false: without copies of the weights that are laid out for a CPU."""
    temperature: float | None = None
    """0: the likeliest tokens; above: tokens are drawn."""
    top_p: float | None = None
    """Draw only from the likeliest tokens of this summed chance."""
    seed: int | None = None
    """Of the draws."""
    width: int | None = None
    """Tokens of a draft."""
    repeatable: bool | None = None
    """false: drafts as wide as is fastest on this machine; near ties may then round otherwise another time."""
    branches: int | None = None
    """Most branches of a draft."""


@dataclass
class MatchSettings:
    """What an answer's words mean when they are not the labels that were asked for; off by default."""

    synonyms: str | None = None
    """A file: a line a class, `name, synonym, synonym`. A word of several classes is taken for none, whichever are asked for."""
    similarity: str | None = None
    """A text model that finds the nearest label: `open_clip:ViT-B-32/laion2b_s34b_b79k`, or a sentence encoder's hub name or folder; null: off."""
    threshold: float = 0.8
    """Smallest cosine between the word and the nearest label; depends on the text model."""


@dataclass
class EvaluateSettings:
    """One evaluation of one run."""

    run: str | None = None
    """The run folder that `fit` wrote."""
    name: str = "val"
    """Results go to RUN/eval/NAME."""
    which: str = "best"
    """Which weights: best, last, or base (before tuning)."""
    before: bool = False
    """The same as `which: base`."""
    shards: str | None = None
    """A folder written by `python -m text4seg.shards build`; null: `build`, or the run's own validation set."""
    build: BuildSettings | None = None
    """Recipe of the set to score, where no `shards` are given; its shards are built when they are missing or were built otherwise."""
    limit: int | None = None
    """Use only the first so many samples; null: as the run's validation does, or all of `shards`."""
    codec: str | None = None
    """Ask for another spelling than the run's: rrle, irle or full."""
    grid: list[int] | None = None
    """Ask for another grid than the run's: rows, columns."""
    wording: str = "stored"
    """stored: questions as the shards have them; a number: that one of each list of questions, counted round; all: every one in turn (where kinds of questions are mixed, as many as the shortest list has), scores are then means over the wordings, with their spread. Questions for parts and in words stay as they are."""
    swap_questions: bool = False
    """Control: ask for another object of the same picture and score against the original mask."""
    batch_size: int | None = None
    """Items decoded at once; null: the run's `data.val_batch_size`."""
    ahead: int = 4
    """So many batches' questions are taken at a time: where an answer is finished the next question begins, so that a long answer does not hold the others. A killed evaluation loses at most these."""
    dtype: str | None = None
    """Compute in float64, float32, bfloat16 or float16; null: as the run holds its weights. In float64 the answers do not depend on the batch size; in the others near ties may fall either way."""
    sheet: int = 12
    """Items on the picture sheet, spread evenly over the set."""
    gallery: int = 60
    """Most pictures in report.html, worst first."""
    device: str = "auto"
    """auto (a GPU when there is one), cpu, cuda, mps, or spread: the layers over all GPUs of this machine."""
    decoding: DecodingChanges = field(default_factory=DecodingChanges)
    refine: RefineSettings = field(default_factory=RefineSettings)
    match: MatchSettings = field(default_factory=MatchSettings)


def check_wording(wording: str, swap: bool = False) -> None:
    """Refuse what is no wording, and any but the stored one for swapped questions.

    Raises:
        ValueError: neither ``stored`` nor ``all`` nor a number from 0; or not ``stored`` and `swap`.
    """
    if wording not in (STORED, ALL) and not wording.isdecimal():
        raise ValueError(f"`wording` must be stored, all or a number from 0, got {wording!r}.")
    if swap and wording != STORED:
        raise ValueError(
            f"`swap_questions` asks the stored questions of other objects, got wording={wording}: take wording=stored."
        )


def check_used(settings: EvaluateSettings) -> None:
    """Refuse settings that would do nothing.

    Raises:
        ValueError: of a refiner that is not the one named; a threshold without a text model; `before` beside `which`.
    """
    refine, match = settings.refine, settings.match
    for name, changed in (("crf", refine.crf != CrfSettings()), ("sam", refine.sam != SamSettings())):
        if changed and refine.name != name:
            raise ValueError(
                f"`refine.{name}.*` is set, but `refine.name` is {refine.name or 'null'}: take refine.name={name}."
            )
    if match.similarity is None and match.threshold != MatchSettings().threshold:
        raise ValueError("`match.threshold` is for `match.similarity`, which is null: name a text model there.")
    if settings.before and settings.which not in ("best", "base"):
        raise ValueError(
            f"`before` asks for the base weights, `which` for the {settings.which} ones: take one of them."
        )
