"""One training run from a configuration: data, model, callbacks, trainer, in the order that they need each other."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from lightning import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from rich.console import Console

from text4seg.callbacks.compiled import Compiled
from text4seg.callbacks.journal import Journal
from text4seg.callbacks.keeper import Keeper, write_whole
from text4seg.callbacks.pictures import Pictures
from text4seg.callbacks.progress import FitProgress
from text4seg.callbacks.resume import Resume
from text4seg.callbacks.saver import Saver, StoppedError
from text4seg.callbacks.score import Score
from text4seg.callbacks.throughput import Throughput
from text4seg.callbacks.watch import Watch
from text4seg.config import Config, to_yaml
from text4seg.data.datamodule import ShardDataModule, counted
from text4seg.models.backbone import Backbone
from text4seg.models.lora import LoraReport, choose_trained, hold_trained_in_float32
from text4seg.models.module import Text4SegModule
from text4seg.models.registry import load_backbone
from text4seg.models.start import start_from
from text4seg.models.strategy import make_strategy
from text4seg.report.stamp import write_stamp
from text4seg.training.folder import checkpoint_of, step_of
from text4seg.training.hardware import Hardware, emulated, hardware, precision_on
from text4seg.training.launch import launched
from text4seg.training.note import note_of, refuse_changes
from text4seg.training.plan import Plan, plan
from text4seg.training.probe import find_batch_size
from text4seg.training.sides import look_at_sides
from text4seg.training.stages import phases_of, sides_of, stage_lines, teaches_cells, unfolded

STEPS = Path("logs", "steps.csv")
"""A run that has this file has trained."""


@dataclass(frozen=True)
class Progress:
    """Batch number of a rank -> share of training done; travels to the loading processes."""

    accumulate: int
    steps: int

    def __call__(self, batch: int) -> float:
        """Between 0 and 1."""
        return min(1.0, (batch // self.accumulate) / max(1, self.steps))


@dataclass
class Outcome:
    """What a run came to.

    Attributes:
        run: its folder.
        scores: of the best weights; empty without validation data.
        steps: done in all.
        planned: steps of the whole training.
        skipped: records that this rank left out, also before a resume.
        reasons: why, for the first few of them since the start or the resume.
        left_out: steps whose loss or gradient was no number, since the start or the resume.
    """

    run: Path
    scores: dict[str, float]
    steps: int
    planned: int
    skipped: int
    reasons: list[str]
    left_out: int = 0


def fit(config: Config, run: Path, console: Console, accept: bool = False) -> Outcome:
    """Train, or go on from the run's newest checkpoint.

    Args:
        config: everything.
        run: the run folder; made when it is missing.
        console: for progress.
        accept: go on although data or settings are not those of the checkpoint.

    Raises:
        ValueError: a wrong setting, missing data or weights, a damaged checkpoint (nothing is trained then); or a loss
            that is not a number.
        KeyboardInterrupt: Ctrl-C came twice, or before training.
    """
    if config.trainer.threads:
        torch.set_num_threads(config.trainer.threads)
    torch.manual_seed(config.seed)
    devices = hardware(config.trainer)
    precision = precision_on(config.trainer.precision, devices.accelerator)
    config = replace(config, trainer=replace(config.trainer, precision=precision))
    if config.trainer.epochs is None and not config.trainer.fill_memory:
        plan(config, devices.ranks)  # a batch that cannot be split is refused before anything is loaded
    checkpoint = checkpoint_of(run)
    refuse_changes(checkpoint, config, accept)
    backbone = load_backbone(config.model)
    longest = min(config.data.max_length, backbone.context or config.data.max_length)
    look_at_sides(backbone, sides_of(config), longest)
    report = choose_trained(backbone, config.model)
    if precision.endswith("-mixed"):
        hold_trained_in_float32(backbone)
    if config.model.start and checkpoint is None:
        console.print(f"starts from {start_from(backbone, Path(config.model.start))}")
    if config.trainer.fill_memory and checkpoint is None:
        config = replace(config, data=replace(config.data, batch_size=find_batch_size(config, devices, backbone)))
    data = ShardDataModule(
        replace(unfolded(config), max_length=longest),
        backbone.processor,
        config.seed,
        tell=_teller(console),
        accept=accept,
        cells=teaches_cells(config),
    )
    planned = _plan(config, devices, data)
    config = planned.settle(config)
    data.progress = Progress(planned.accumulate, planned.steps)
    module = Text4SegModule(backbone, config.loss, config.optim, planned.steps, phases_of(config))
    callbacks = _callbacks(config, planned, run, data, console)
    if config.trainer.compile:
        callbacks.append(Compiled(backbone))
    trainer = _trainer(config, planned, devices, run, callbacks, checkpoint)
    with _claimed(run, trainer.is_global_zero):
        if trainer.is_global_zero:
            _announce(console, run, backbone, report)
            console.print(f"plan:       {planned}")
            if data.data.max_length < config.data.max_length:
                console.print(f"context:    {data.data.max_length} tokens; longer samples are left out")
            if emulated(precision, devices.accelerator):
                console.print(
                    f"precision:  {precision} is imitated on this processor, up to 100 times slower; "
                    "trainer.precision=auto takes what is fast",
                    style="yellow",
                )
            for line in stage_lines(config, planned.steps):
                console.print(f"stage:      {line}", highlight=False)
            if data.cells and backbone.processor.image_place == "first":
                console.print("cells:      image tokens stand before the question they answer; see model.image_place")
            write_whole(run / "config.yaml", to_yaml(config))
            write_stamp(run, config, backbone, report)
        with suppress(StoppedError):
            trainer.fit(module, datamodule=data, ckpt_path=checkpoint and str(checkpoint), weights_only=True)
    keeper = next(c for c in callbacks if isinstance(c, Keeper))
    journal = next(c for c in callbacks if isinstance(c, Journal))
    return Outcome(
        run, keeper.best, trainer.global_step, planned.steps, data.position.skipped, journal.reasons, journal.left_out
    )


def _plan(config: Config, devices: Hardware, data: ShardDataModule) -> Plan:
    """Epochs need the shards' index: this process builds it, unless several were launched at once."""
    if config.trainer.epochs is not None and launched() is None:
        data.prepare_data()
    return plan(config, devices.ranks, counted(config.data))


@contextmanager
def _claimed(run: Path, main: bool) -> Iterator[None]:
    """Make the run folder; when nothing is trained in it, give it back, so that the corrected command can have it."""
    made, new = not run.exists(), not (run / "config.yaml").exists()
    if main:
        run.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except SystemExit as error:  # what Lightning makes of a second Ctrl-C
        raise KeyboardInterrupt from error
    except Exception:
        if main and new and not (run / STEPS).exists():
            (run / "config.yaml").unlink(missing_ok=True)
            if made:
                shutil.rmtree(run)
        raise


def _callbacks(config: Config, planned: Plan, run: Path, data: ShardDataModule, console: Console) -> list[Callback]:
    settings = config.trainer
    score = Score(config.decoding, keep=settings.pictures)
    throughput = Throughput(run / "logs" / "throughput.json", config.model.gradient_checkpointing)
    return [
        Watch(run / "logs" / "ranks", f"Go on with --resume {run}"),
        Resume(config.seed, data),
        score,
        Pictures(score, run / "pictures"),
        Journal(run / "logs", score, settings.log_every, settings.bad_steps),
        Keeper(run, score, settings.monitor),
        throughput,
        FitProgress(planned.steps, console, throughput),
        Saver(run / "checkpoints", settings.checkpoint_every, note_of(config, planned.ranks)),
    ]


def _trainer(
    config: Config, planned: Plan, devices: Hardware, run: Path, callbacks: list[Callback], checkpoint: Path | None
) -> Trainer:
    settings = config.trainer
    lora = config.model.lora
    unused = not lora.enabled or lora.vision  # LLaVA does not look at its tower's last layer
    strategy = make_strategy(settings.strategy, planned.micro, devices.accelerator, devices.ranks, unused)
    every = settings.validate_every or planned.steps
    return Trainer(
        accelerator=devices.accelerator,
        devices=devices.devices,
        num_nodes=devices.nodes,
        strategy=strategy,
        precision=settings.precision,  # type: ignore[arg-type]
        max_steps=planned.steps,
        max_epochs=-1,
        accumulate_grad_batches=planned.accumulate,
        gradient_clip_val=config.optim.clip or None,
        val_check_interval=every * planned.accumulate,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        inference_mode=settings.strategy != "fsdp2",  # layers that were put together in it could not train any more
        log_every_n_steps=settings.log_every,
        callbacks=callbacks,
        # What a killed run logged behind its checkpoint comes again: TensorBoard is told to drop it.
        logger=TensorBoardLogger(str(run), name="logs", version="", purge_step=step_of(checkpoint) + 1),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=str(run),
    )


def _announce(console: Console, run: Path, backbone: Backbone, report: LoraReport) -> None:
    console.print(f"run folder: {run}")
    console.print(f"backbone:   {backbone.loaded}")
    console.print(f"training:   {report}")


def _teller(console: Console) -> Callable[[str, int], None]:
    def tell(split: str, done: int) -> None:
        if done % 1000 == 0:
            console.print(f"building {split} shards: {done} samples")

    return tell
