"""The LightningModule: loss on answers, AdamW with warm-up, checkpoints that hold trainable weights only.

Source: training settings of Text4Seg (arXiv 2410.09855), Table 7.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torchmetrics import MeanMetric

from text4seg.models.backbone import Backbone
from text4seg.models.fsdp2 import shard
from text4seg.models.loss import IGNORE_LABEL, Head, answer_loss, cell_loss, drawn_words, renumbered
from text4seg.models.processor import TARGETS, model_inputs
from text4seg.models.settings import LossSettings, OptimSettings, Phase
from text4seg.models.tables import ExactTables


class Text4SegModule(LightningModule):
    """A backbone in training.

    Args:
        backbone: adapted already; whatever requires a gradient trains.
        loss: how token losses are averaged.
        optim: optimizer and schedule.
        steps: optimizer steps of the whole training.
        phases: stretches with rates, parts and losses of their own; none: one rate for all that trains.

    Raises:
        ValueError: nothing requires a gradient, an unknown schedule, or a phase with a part that does not train.
    """

    strict_loading = False

    def __init__(
        self,
        backbone: Backbone,
        loss: LossSettings,
        optim: OptimSettings,
        steps: int,
        phases: Sequence[Phase] = (),
    ) -> None:
        super().__init__()
        if optim.schedule not in ("linear", "cosine", "constant"):
            raise ValueError(f"`optim.schedule` must be linear, cosine or constant, got {optim.schedule!r}.")
        self.backbone = backbone
        self.model = backbone.model
        self.loss, self.optim, self.steps = loss, optim, steps
        self.mean = MeanMetric(nan_strategy="disable")
        self._tables = ExactTables(self.model)
        if not any(p.requires_grad for p in self.parameters()):
            raise ValueError("nothing trains: `model.lora.enabled` is false and `model.train` is empty.")
        self.phases = tuple(phases) or (Phase(1.0, optim.lr, cells=loss.cells),)
        self._check_parts()

    def on_fit_start(self) -> None:
        """What the strategy and the precision have cast is cast by now."""
        self._tables.restore(self.model)

    def configure_model(self) -> None:
        """Share the weights out where the strategy has laid out devices for it (`fsdp2`)."""
        if self.device_mesh is not None and not any(isinstance(m, FSDPModule) for m in self.modules()):
            shard(self.backbone, self.device_mesh["data_parallel"])

    def answer_loss(self, batch: dict[str, Any], sampled: int = 0) -> Tensor:
        """Loss of a batch from `Processor.collate`, a scalar; with the cells' loss where image tokens name them.

        Args:
            sampled: words that compete beside those asked for; 0: the whole vocabulary, exact.
        """
        inputs, weight = model_inputs(batch), self.phase(self.global_step).cells
        targets, head = self._competing({name: batch[name] for name in TARGETS if name in batch}, sampled)
        if "cells" not in batch or not weight:
            return self._said(self.backbone.hidden_states(inputs), targets["labels"], head)
        layer, counts = self._cells_layer(), self.loss.counts
        layers = (layer, min(layer + 1, self.backbone.depth)) if counts else (layer,)
        hidden_BTD, middle = self.backbone.hidden_states_at(inputs, layers)
        cells = weight * cell_loss(middle[0], targets["cells"], head, self.loss.chunk)
        if counts:
            cells = cells + counts * cell_loss(middle[1], targets["counts"], head, self.loss.chunk)
        return cells + self._said(hidden_BTD, targets["labels"], head)

    def _said(self, hidden_BTD: Tensor, labels_BT: Tensor, head: Head) -> Tensor:
        """Loss of the answers; 0 where a micro-batch has none, as those of a stage that teaches cells only."""
        if (labels_BT == IGNORE_LABEL).all():
            return 0.0 * hidden_BTD.sum()  # ranks wait for the gradients of every layer
        return answer_loss(hidden_BTD, labels_BT, head, self.loss.reduction, self.loss.chunk)

    def _competing(self, targets: dict[str, Tensor], sampled: int) -> tuple[dict[str, Tensor], Head]:
        """Targets, and a head that gives logits of the words that they are numbered in."""
        if not sampled:
            return targets, self.backbone.logits
        weight: Any = self.backbone.head.weight
        words, rise = drawn_words(targets, len(weight), sampled, self.global_step)
        numbered = {name: renumbered(part, words) for name, part in targets.items()}
        return numbered, lambda hidden_ND: self.backbone.logits(hidden_ND, words) + rise

    def _cells_layer(self) -> int:
        layers, asked = self.backbone.depth, self.loss.cells_layer
        number = (layers + 1) // 2 if asked is None else asked
        if not 1 <= number <= layers:
            raise ValueError(f"`loss.cells_layer` must be 1 to {layers}, the decoder's layers, got {number}.")
        return number

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Loss of one micro-batch."""
        return self.answer_loss(batch, self.loss.sampled)

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Loss of the right answers; the `Score` callback does the decoding."""
        answers, most = batch["answers"], self.backbone.context
        if most is not None:  # training leaves such samples out; here only the end of a long answer goes
            shape = answers["input_ids"].shape
            answers = {name: part[:, :most] if part.shape == shape else part for name, part in answers.items()}
        if (answers["labels"] != IGNORE_LABEL).any():
            self.mean.update(self.answer_loss(answers), len(batch["items"]))

    def on_validation_epoch_end(self) -> None:
        """Log the mean over all ranks' items; a rank may have none, so this cannot be left to single steps."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The ``compute`` method of metric")
            self.log("val/loss", self.mean.compute())
        self.mean.reset()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW over what trains, with the schedule stepped once an optimizer step."""
        groups = self._groups()
        optimizer = torch.optim.AdamW(
            [{"params": weights} for weights in groups.values()],
            lr=max(phase.lr for phase in self.phases),
            betas=(self.optim.betas[0], self.optim.betas[1]),
            weight_decay=self.optim.weight_decay,
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, [partial(self.rate, part) for part in groups])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _groups(self) -> dict[str, list[torch.nn.Parameter]]:
        """What trains, by part where phases tell parts apart; the head goes with the language model."""
        names = {part: {id(p) for p in self.backbone.weights(part)} for part in ("vision", "projector")}
        groups: dict[str, list[torch.nn.Parameter]] = {}
        for weight in self.parameters():
            if weight.requires_grad:
                part = next((part for part, ids in names.items() if id(weight) in ids), "language")
                groups.setdefault(part if self._told_apart else "all", []).append(weight)
        return groups

    @property
    def _told_apart(self) -> bool:
        return any(phase.parts for phase in self.phases)

    def _check_parts(self) -> None:
        asked = {part for phase in self.phases for part in phase.parts}
        still = sorted(asked - set(self._groups())) if asked else []
        if still:
            raise ValueError(
                f"a stage trains `{still[0]}`, but no weight of it trains; see `model.train` and `model.lora` "
                "(projector, vision)."
            )

    def phase(self, step: int) -> Phase:
        """The phase that a step lies in."""
        return next((phase for phase in self.phases if step / self.steps < phase.until), self.phases[-1])

    def rate(self, part: str, step: int) -> float:
        """Learning rate of a part at a step, as a share of the highest of all phases; 0 where it stands still."""
        phase, highest = self.phase(step), max(phase.lr for phase in self.phases)
        learns = not phase.parts or part in phase.parts
        return self.factor(step) * phase.lr / highest if learns and highest else 0.0

    def factor(self, step: int) -> float:
        """Learning rate at a step as a share of the highest."""
        warmup = math.ceil(self.optim.warmup_ratio * self.steps)
        if step < warmup:
            return (step + 1) / warmup
        if self.optim.schedule == "constant":
            return 1.0
        left = max(0.0, (self.steps - step) / max(1, self.steps - warmup))
        return left if self.optim.schedule == "linear" else 0.5 - 0.5 * math.cos(math.pi * left)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """What trains, and nothing else: frozen weights come from the backbone's own checkpoint.

        Here, and not where a checkpoint is written, because DeepSpeed's own filter misses the second name of a tied
        weight (`lm_head` beside `embed_tokens`) and would store the whole table.
        """
        state = super().state_dict(*args, **kwargs)
        trained = {name for name, p in self.named_parameters(remove_duplicate=False) if p.requires_grad}
        prefix = kwargs.get("prefix", "")
        return {name: value for name, value in state.items() if name.removeprefix(prefix) in trained}
