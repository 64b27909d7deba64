"""On what a run is trained: the accelerator, and how many processes on how many machines."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from text4seg.training.launch import launched
from text4seg.training.settings import TrainerSettings


@dataclass(frozen=True)
class Hardware:
    """One process a device.

    Attributes:
        accelerator: cpu or gpu.
        devices: on each node.
        nodes: machines.
    """

    accelerator: str
    devices: int
    nodes: int

    @property
    def ranks(self) -> int:
        """Processes in all."""
        return self.devices * self.nodes


def hardware(settings: TrainerSettings) -> Hardware:
    """What `auto` stands for: under torchrun or srun what was launched, else all GPUs, else one process on the CPU.

    Raises:
        ValueError: an unknown accelerator, more GPUs than there are, a number below 1, or other numbers than were
            launched.
    """
    accelerator, devices, nodes = settings.accelerator, settings.devices, settings.nodes
    if accelerator not in ("auto", "cpu", "gpu"):
        raise ValueError(f"`trainer.accelerator` must be auto, cpu or gpu, got {accelerator!r}.")
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if accelerator == "gpu" and not gpus:
        raise ValueError("`trainer.accelerator` is gpu, but PyTorch sees no CUDA device here.")
    if accelerator == "auto":
        accelerator = "gpu" if gpus else "cpu"
    found = launched()
    if devices == "auto":
        devices = found.devices if found else gpus if accelerator == "gpu" else 1
        nodes = found.nodes if found else nodes
    if not str(devices).isdigit() or int(devices) < 1:
        raise ValueError(f"`trainer.devices` must be auto or a number from 1 on, got {devices!r}.")
    if accelerator == "gpu" and int(devices) > gpus:
        raise ValueError(f"`trainer.devices` is {devices}, but PyTorch sees {gpus} CUDA devices here.")
    if found and (int(devices), nodes) != (found.devices, found.nodes):
        raise ValueError(
            f"{found.by} started {found.nodes} x {found.devices} processes, but `trainer.nodes` x `trainer.devices` is "
            f"{nodes} x {devices}; leave both to `trainer.devices=auto`."
        )
    return Hardware(accelerator, int(devices), nodes)


def precision_on(asked: str, accelerator: str) -> str:
    """What `auto` stands for: bf16-mixed where the processor multiplies bfloat16 itself, else 32-true.

    A processor that does not can do it all the same, but without its vectors: a hundred times slower.
    """
    return ("bf16-mixed" if _multiplies_bfloat16(accelerator) else "32-true") if asked == "auto" else asked


def emulated(precision: str, accelerator: str) -> bool:
    """Whether this processor only imitates what `precision` computes in."""
    return precision.startswith("bf16") and not _multiplies_bfloat16(accelerator)


def _multiplies_bfloat16(accelerator: str) -> bool:
    if accelerator == "gpu":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # what PyTorch itself asks before it multiplies
