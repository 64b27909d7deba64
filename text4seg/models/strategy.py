"""How training is spread over devices: `auto`, `ddp`, `zero2` (DeepSpeed ZeRO stage 2), `fsdp2`; CPU ranks over gloo.

A ZeRO-2 checkpoint is read by any number of ranks (`reshard`).

Source: ZeRO (arXiv 1910.02054); Text4Seg (arXiv 2410.09855) trained under ZeRO-2.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.strategies import DDPStrategy, DeepSpeedStrategy, Strategy
from torch import Tensor

from text4seg.models.fsdp2 import Fsdp2Strategy
from text4seg.models.reshard import refuse_code, reshard
from text4seg.models.zero_files import ranks_of


def make_strategy(name: str, micro_batch: int, accelerator: str, devices: int, finds_unused: bool) -> Strategy | str:
    """A Lightning strategy by name.

    Args:
        name: auto, ddp, zero2 or fsdp2.
        micro_batch: samples a rank feeds at once; DeepSpeed wants to be told.
        accelerator: cpu or gpu.
        devices: processes on this node.
        finds_unused: some trained weights may get no gradient (whole parts or the tower train).

    Raises:
        ValueError: an unknown name, or `zero2` without the package deepspeed.
    """
    if name == "auto":
        name = "ddp" if devices > 1 else "single"
    if name == "single":
        return "auto"
    if name == "ddp":
        # Broadcasting buffers makes ranks wait for one another at every validation batch, and they may have unequally
        # many; the buffers here are constant tables.
        return DDPStrategy(find_unused_parameters=finds_unused, broadcast_buffers=False)
    if name == "fsdp2":
        return Fsdp2Strategy(devices)
    if name != "zero2":
        raise ValueError(f"`trainer.strategy` must be auto, ddp, zero2 or fsdp2, got {name!r}.")
    try:
        import deepspeed  # noqa: F401  (Lightning's own message does not name the extra)
    except ImportError as error:
        raise ValueError("`trainer.strategy: zero2` needs deepspeed: pip install 'text4seg[deepspeed]'.") from error
    options: dict[str, Any] = {
        "stage": 2,
        "offload_optimizer": False,
        "exclude_frozen_parameters": True,
        "logging_batch_size_per_gpu": micro_batch,
    }
    if accelerator == "gpu":
        return Zero2Strategy(**options)
    return CPUZero2Strategy(devices, **options)


class Zero2Strategy(DeepSpeedStrategy):
    """ZeRO-2 that goes on from a checkpoint of any number of ranks."""

    def backward(self, closure_loss: Tensor, optimizer: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Lightning has divided the loss by the accumulated batches; DeepSpeed would do it once more."""
        return super().backward(closure_loss, optimizer, *args, scale_wrt_gas=False, **kwargs)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Load it, shared out anew when other ranks have saved it.

        Raises:
            ValueError: it holds code that DeepSpeed did not write.
        """
        path = Path(checkpoint_path)
        refuse_code(path)
        if ranks_of(path) in (None, self.world_size):
            return super().load_checkpoint(path, weights_only)
        fitting = path.with_suffix(f".for-{self.world_size}-ranks")
        if self.is_global_zero:
            reshard(path, fitting, self.world_size)
        self.barrier()
        state = super().load_checkpoint(fitting, weights_only)
        self.barrier()
        if self.is_global_zero:
            shutil.rmtree(fitting)
        return state


class CPUZero2Strategy(Zero2Strategy):
    """ZeRO-2 between CPU processes over gloo: slow, but the same code path, so that it can be tested anywhere.

    Args:
        devices: processes on this node.
        options: for DeepSpeedStrategy.
    """

    def __init__(self, devices: int, **options: Any) -> None:
        import deepspeed

        super().__init__(process_group_backend="gloo", **options)
        # Its faster way between processes of one machine needs a compiler and a minute; gloo has to do.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        self._devices = devices
        # DeepSpeed's fused and CPU Adam have to be compiled; torch's own AdamW is what Lightning configures.
        assert self.config is not None
        self.config["zero_allow_untested_optimizer"] = True

    @property
    def parallel_devices(self) -> list[torch.device]:
        """One `cpu` a process; Lightning's check for CUDA devices does not apply."""
        return [torch.device("cpu", index) for index in range(self._devices)]

    @parallel_devices.setter
    def parallel_devices(self, parallel_devices: list[torch.device] | None) -> None:
        pass

    @property
    def root_device(self) -> torch.device:
        """The CPU, numbered: DeepSpeed wants to see a device of its own for each process."""
        return torch.device("cpu", self.local_rank)

    def setup_environment(self) -> None:
        """As DDP does: DeepSpeed's own version insists on CUDA."""
        assert self.accelerator is not None
        self.accelerator.setup_device(self.root_device)
        self.setup_distributed()
