"""What the trainer can be told. Plain dataclasses; importing this pulls in nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class StageSettings:
    """One stretch of a staged training. Whatever it leaves open is as in the rest of the configuration."""

    name: str = ""
    length: float = 1.0
    """Relative to the other stages' lengths; all together make `trainer.steps`."""
    train: list[str] = field(default_factory=list)
    """Parts that learn: vision, projector, language; empty: all that train at all. The others stand still (rate 0)."""
    lr: float | None = None
    """In place of `optim.lr`; warm-up and decay still span the whole training."""
    codec: str | None = None
    grid: list[int] | None = None
    image_size: int | None = None
    """compose: side in pixels of its pictures, in place of the model's; with fewer image tokens for a coarser grid a step costs under half. A multiple of an image token's pixels (patch x `model.merge`)."""
    tasks: list[str] = field(default_factory=list)
    """As of a variant: with `data.turns: one`, draw the turn among those of these tasks."""
    plain: bool = False
    """As of a variant: ask with the first wording of each list."""
    answer: bool = True
    """False: no answer is taught, only the labels of the image tokens (`cells`)."""
    cells: float | None = None
    """In place of `loss.cells`."""
    fade: float = 0.0
    """Share of the stage over which the one before fades out, batch by batch; rate, parts and `cells` change at once."""


@dataclass
class TrainerSettings:
    """How long, on what, how often."""

    steps: int | None = None
    """Optimizer steps; null: what `epochs` makes of them, or 1000."""
    epochs: float | None = None
    """In place of `steps`: passes over the training samples, counted in the shards' index."""
    global_batch: int | None = None
    """Samples a step over all devices; `accumulate` follows from it. null: batch_size x accumulate x devices."""
    fill_memory: bool = False
    """Find `data.batch_size` before training: the most samples of `data.max_length` tokens that fit into the device's
    memory, among those that divide the global batch."""
    accumulate: int | None = None
    """Micro-batches a step on each device; null: what `global_batch` needs, or 1."""
    strategy: str = "auto"
    """auto, ddp, zero2 (DeepSpeed stage 2) or fsdp2 (the decoder's frozen weights are shared out, too; LoRA only)."""
    accelerator: str = "auto"
    """auto, cpu, gpu."""
    devices: int | str = "auto"
    """Devices a node: a number, or auto (all GPUs; one process on a CPU)."""
    nodes: int = 1
    precision: str = "32-true"
    """32-true, bf16-mixed, bf16-true, 16-mixed, or auto: bf16-mixed where the processor multiplies bfloat16 itself, else 32-true."""
    compile: bool = False
    """Compile the decoder's layers in training (torch.compile): the first steps take a minute longer, the others less."""
    threads: int | None = None
    """CPU threads a process; null: PyTorch's choice."""
    validate_every: int | None = 500
    """Steps between validations; the end is always validated, with null nothing before it."""
    checkpoint_every: int = 200
    """Steps between checkpoints: what a killed run can lose. The best validation so far is one as well."""
    monitor: str = "val/cIoU"
    """Which score names the best weights: val/cIoU, val/gIoU, val/mIoU or val/ok."""
    bad_steps: int = 5
    """So many steps in a row whose loss or gradient is not a number are left out; one more ends the run."""
    log_every: int = 10
    """Steps between lines of the log."""
    pictures: int = 8
    """Items drawn at each validation."""
