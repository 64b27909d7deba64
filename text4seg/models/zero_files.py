"""The files of a checkpoint of DeepSpeed's ZeRO: a folder with one file a rank. Imports nothing heavy."""

from __future__ import annotations

import re
from pathlib import Path

MODEL_STATES = "mp_rank_00_model_states.pt"
SHARD = re.compile(r"((?:bf16_)?zero_pp_rank_)(\d+)(_mp_rank_00_optim_states\.pt)")


def shards_in(checkpoint: Path) -> list[int]:
    """Numbers of the ranks whose part of the optimizer a checkpoint holds."""
    names = (SHARD.fullmatch(path.name) for path in checkpoint.glob("checkpoint/*"))
    return sorted(int(match[2]) for match in names if match)


def ranks_of(checkpoint: Path | None) -> int | None:
    """How many ranks have shared out a checkpoint of DeepSpeed's; None for one that is whole."""
    return len(shards_in(checkpoint)) if checkpoint and checkpoint.is_dir() else None
