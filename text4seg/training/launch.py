"""Who started this process, and how many there are: this program itself, torchrun, or srun. Imports nothing heavy."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Launch:
    """Processes that somebody else started, one a device.

    Attributes:
        by: torchrun or srun.
        devices: processes on this node.
        nodes: machines.
        local_rank: number of this process on its node.
    """

    by: str
    devices: int
    nodes: int
    local_rank: int

    @property
    def ranks(self) -> int:
        """Processes in all."""
        return self.devices * self.nodes


def launched() -> Launch | None:
    """The launch that the environment tells of; None where this program starts its processes itself.

    Raises:
        ValueError: srun started several tasks without saying how many a node has.
    """
    told = os.environ
    if "TORCHELASTIC_RUN_ID" in told:  # torchrun comes first: inside a SLURM job both are set
        devices = int(told["LOCAL_WORLD_SIZE"])
        return Launch("torchrun", devices, int(told["WORLD_SIZE"]) // devices, int(told["LOCAL_RANK"]))
    if "SLURM_NTASKS" not in told or told.get("SLURM_JOB_NAME") in ("bash", "interactive"):
        return None
    tasks = int(told["SLURM_NTASKS"])
    if tasks > 1 and "SLURM_NTASKS_PER_NODE" not in told:
        raise ValueError(f"srun started {tasks} tasks; say how many each node has: --ntasks-per-node (one a GPU).")
    devices = int(told.get("SLURM_NTASKS_PER_NODE", tasks))
    return Launch("srun", devices, max(1, tasks // devices), int(told.get("SLURM_LOCALID", "0")))


def local_rank() -> int:
    """Number of this process on its node; Lightning sets LOCAL_RANK for those that it starts."""
    found = launched()
    return found.local_rank if found else int(os.environ.get("LOCAL_RANK", "0"))
