"""What the trainer can be told. Plain dataclasses; importing this pulls in nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class TrainerSettings:
    """How long, on what, how often."""

    steps: int = 1000
    """Optimizer steps."""
    accumulate: int = 1
    """Micro-batches a step."""
    strategy: str = "auto"
    """auto, ddp or zero2 (DeepSpeed stage 2)."""
    accelerator: str = "auto"
    """auto, cpu, gpu."""
    devices: int | str = "auto"
    """Devices a node: a number, or auto (all GPUs; one process on a CPU)."""
    nodes: int = 1
    precision: str = "32-true"
    """32-true, bf16-mixed, bf16-true or 16-mixed."""
    threads: int | None = None
    """CPU threads a process; null: PyTorch's choice."""
    validate_every: int | None = 500
    """Steps between validations; the end is always validated, with null nothing before it."""
    checkpoint_every: int = 200
    """Steps between checkpoints: what a killed run can lose."""
    monitor: str = "val/cIoU"
    """Which score names the best weights: val/cIoU, val/gIoU, val/mIoU or val/ok."""
    log_every: int = 10
    pictures: int = 8
    """Items drawn at each validation."""
