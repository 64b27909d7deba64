"""Exact resume: chance is a pure function of the place in training, and the place is in every checkpoint.

Before each micro-batch the Python, numpy and torch generators are seeded from (seed, rank, number of the micro-batch).
A stored generator state would be right only for the moment it was taken; validation, pictures or a first batch
between that moment and the next step would shift it.
"""

from __future__ import annotations

import hashlib
import random
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer

from text4seg.data.datamodule import ShardDataModule


class Resume(Callback):
    """Seeds every micro-batch and tells the data module which batches were used.

    Args:
        seed: of the run.
        data: keeps the position.
    """

    def __init__(self, seed: int, data: ShardDataModule) -> None:
        self.seed, self.data = seed, data

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Count micro-batches as this run accumulates them: the loop counts in them, and other ranks had others."""
        done = checkpoint["global_step"] * trainer.accumulate_grad_batches
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        for part in ("total", "current"):
            progress[part] = dict.fromkeys(progress[part], done)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: dict[str, Any], batch_idx: int
    ) -> None:
        """Seed the generators for this micro-batch."""
        seed_all(self.seed, trainer.global_rank, self.data.position.batches)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: dict[str, Any], batch_idx: int
    ) -> None:
        """Move the position behind this micro-batch."""
        self.data.consumed(batch["origin"])


def seed_all(seed: int, rank: int, batch: int) -> None:
    """Seed Python's, numpy's and torch's generators for one micro-batch of one rank."""
    digest = hashlib.sha256(f"{seed} {rank} {batch}".encode()).digest()
    number = int.from_bytes(digest[:4], "big")
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)
