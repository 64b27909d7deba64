"""Score during fit: decode the validation answers, compare with the masks, log every score with its ceiling."""

from __future__ import annotations

import warnings
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from lightning import Callback, LightningModule, Trainer

from text4seg.decoding.engine.answering import Counts
from text4seg.decoding.engine.prepack import prepacked
from text4seg.decoding.generate import Answers, respond
from text4seg.decoding.language.grammar import UnwritableError
from text4seg.decoding.settings import REPORT, DecodingSettings
from text4seg.descriptors import Decoded, parse
from text4seg.metrics.board import ItemScore, ScoreBoard

if TYPE_CHECKING:
    from text4seg.data.items import Item
    from text4seg.models.backbone import Backbone

COLLAPSE = 0.5
"""Share of wrongly empty answers from which on a warning is given."""


def collapsed(scores: dict[str, float]) -> bool:
    """Whether most answers mark nothing although something is there (unseen by small grids not counted)."""
    rightly = scores.get("ceiling_all_others", 0.0)
    return scores.get("all_others", 0.0) - rightly > COLLAPSE * (1 - rightly)


class Scored(NamedTuple):
    """One item with its answer and score."""

    item: Item
    decoded: Decoded
    score: ItemScore


def score_batch(
    backbone: Backbone, batch: dict[str, Any], board: ScoreBoard, settings: DecodingSettings, counts: Counts
) -> list[Scored]:
    """Answer the prompts of one validation batch and put the answers on the board.

    Args:
        backbone: model and processor.
        batch: holds ``prompts`` (left-padded tensors) and ``items`` (what each asks for).
        board: where the scores are collected.
        settings: how to decode.
        counts: where the cost of the answers is added up.
    """
    answers = _answered(backbone, batch, settings)
    counts.add(answers.counts)
    scored = []
    for item, text in zip(batch["items"], answers.texts, strict=True):
        decoded = parse(text, tuple(item.size), item.codec, item.labels[1:])
        scored.append(Scored(item, decoded, board.update(decoded, item)))
    return scored


def _answered(backbone: Backbone, batch: dict[str, Any], settings: DecodingSettings) -> Answers:
    """The answers to a batch; one that the grammar cannot be kept to is answered without: training has to go on."""
    try:
        return respond(backbone, batch["prompts"], batch["items"], settings)
    except UnwritableError as error:
        warnings.warn(f"a validation batch is answered with decoding.grammar=report: {error}", stacklevel=2)
        return respond(backbone, batch["prompts"], batch["items"], replace(settings, grammar=REPORT))


class Score(Callback):
    """Logs ``val/cIoU``, ``val/gIoU``, ``val/ok``, ... after every validation, so checkpoints can monitor them.

    Must stand before callbacks that read the scores. The module needs an attribute ``backbone``.

    Args:
        settings: how to decode.
        prefix: put before every name.
        keep: how many of the first items to hold on to for pictures, per rank.

    Attributes:
        values: the last validation's scores by full name, in full precision.
        kept: the last validation's first items.
    """

    def __init__(self, settings: DecodingSettings | None = None, prefix: str = "val/", keep: int = 8) -> None:
        self.settings = settings or DecodingSettings()
        self.prefix = prefix
        self.keep = keep
        self.board = ScoreBoard(self.settings.paint)
        self.values: dict[str, float] = {}
        self.kept: list[Scored] = []
        self._counts, self._answers = Counts(), 0
        self._packed = ExitStack()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The weights will not change for a while."""
        if not trainer.sanity_checking:
            with trainer.precision_plugin.forward_context():  # as the answers are written
                self._packed.enter_context(prepacked(pl_module.backbone, self.settings))  # type: ignore[arg-type]

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """They will."""
        self._packed.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave the model's layers as they were."""
        self._packed.close()

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Clear the board and put it where ranks can exchange its counts."""
        self.board.to(pl_module.device)
        self.board.reset()
        self.kept = []
        self._counts, self._answers = Counts(), 0

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: dict[str, Any],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Decode and score one batch."""
        if trainer.sanity_checking:
            return
        with trainer.precision_plugin.forward_context():
            scored = score_batch(pl_module.backbone, batch, self.board, self.settings, self._counts)  # type: ignore[arg-type]
        self._answers += len(scored)
        self.kept += scored[: self.keep - len(self.kept)]

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compute and log the scores; warn when the model marks nothing anywhere."""
        if trainer.sanity_checking:
            return
        scores = self.board.compute()
        self.values = {f"{self.prefix}{name}": value for name, value in scores.items()}
        pl_module.log_dict(self.values)
        spent = self._counts.per_mask(self._answers)  # no scores: they depend on the machine
        pl_module.log_dict({f"{self.prefix}{name}_per_mask": value for name, value in spent.items()})
        if trainer.is_global_zero and not scores and sum(trainer.num_val_batches):
            warnings.warn("not one validation item could be scored: this run gets no scores.", stacklevel=2)
        if trainer.is_global_zero and collapsed(scores):
            warnings.warn(
                f"{scores['all_others']:.0%} of the validation answers mark nothing that was asked for, where "
                f"{scores['ceiling_all_others']:.0%} should: the model has not found the picture yet, or has "
                "collapsed. Early in training this is common; if it stays, let image tokens name their cells "
                "(loss.cells=1 loss.counts=1 model.image_place=last) or lower the learning rate.",
                stacklevel=2,
            )
