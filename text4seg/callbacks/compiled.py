"""Training with compiled decoder layers; scores are made without: answers grow by a token, and would compile for ever.

Source: PyTorch's regional compilation: one layer is compiled and serves all.
"""

from __future__ import annotations

import torch
from lightning import Callback, LightningModule, Trainer

from text4seg.models.backbone import Backbone


class Compiled(Callback):
    """Compiles the decoder's layers, in place; weights keep their names.

    Args:
        backbone: adapted already.
    """

    def __init__(self, backbone: Backbone) -> None:
        for layer in backbone.layers:
            layer.compile(dynamic=True)  # lengths differ from batch to batch

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """As the layers are."""
        torch.compiler.set_stance("force_eager")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compiled again."""
        torch.compiler.set_stance("default")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """The next run of this process starts afresh."""
        torch.compiler.set_stance("default")
