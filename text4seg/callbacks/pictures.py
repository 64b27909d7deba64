"""Pictures during fit: image, truth and prediction of the first validation items, as PNG and in TensorBoard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from lightning import Callback, LightningModule, Trainer
from numpy.typing import NDArray

from text4seg.callbacks.score import Score, Scored
from text4seg.report.overlay import open_picture
from text4seg.report.sheet import Entry, draw_sheet


def sheet_entry(scored: Scored) -> Entry:
    """One row of a sheet: picture, truth, prediction; question, IoU with its ceiling, and the parser's verdict."""
    item, decoded, score = scored
    note = f"IoU {score.iou:.2f} (ceiling {score.ceiling:.2f}), {decoded.status}"
    note += ", nothing marked" if score.tally.all_others else ""
    note += ", label not asked for" if score.tally.unmatched else ""
    panels: dict[str, NDArray[np.generic]] = {"truth": item.mask, "prediction": score.mask}
    return Entry(open_picture(item.image), panels, item.question, note, tuple(item.labels))


class Pictures(Callback):
    """Draws the items that a :class:`Score` callback kept; must stand behind it in the list of callbacks.

    Args:
        score: the callback that decodes.
        folder: where ``step_000123.png`` are written, usually ``RUN/pictures``.
    """

    def __init__(self, score: Score, folder: str | Path) -> None:
        self.score = score
        self.folder = Path(folder)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw and store one sheet."""
        if trainer.sanity_checking or not trainer.is_global_zero or not self.score.kept:
            return
        self._store(trainer, self.score.kept)

    def _store(self, trainer: Trainer, kept: Sequence[Scored]) -> None:
        sheet = draw_sheet([sheet_entry(scored) for scored in kept])
        self.folder.mkdir(parents=True, exist_ok=True)
        sheet.save(self.folder / f"step_{trainer.global_step:06d}.png")
        for logger in trainer.loggers:
            add_image = getattr(getattr(logger, "experiment", None), "add_image", None)
            if add_image is not None:
                add_image("val/pictures", np.asarray(sheet), trainer.global_step, dataformats="HWC")
