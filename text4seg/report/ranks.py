"""Several processes that share one evaluation, started by ``torchrun --nproc-per-node N -m text4seg.evaluate ...``.

They exchange which evaluation it is, and "I am here": what they find, they write down.
"""

from __future__ import annotations

import os
from datetime import timedelta

import torch
from torch import distributed

from text4seg.data.datamodule import seat
from text4seg.data.stream import Seat

PATIENCE = timedelta(days=30)
"""One process may be busy for long after the others are done."""


def join() -> Seat:
    """This process's seat among those that `torchrun` started; alone where it did not."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not distributed.is_initialized():
        distributed.init_process_group("gloo", timeout=PATIENCE)
        if torch.cuda.is_available():  # `cuda` is then a device of its own for each process of this machine
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    return seat()


def wait_for_all() -> None:
    """Go on when every process has come here."""
    if distributed.is_initialized():
        distributed.barrier()


def same_for_all(text: str) -> str:
    """The text that the first process has."""
    if not distributed.is_initialized():
        return text
    told = [text]
    distributed.broadcast_object_list(told)
    return told[0]
