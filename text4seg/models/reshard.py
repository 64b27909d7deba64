"""A ZeRO-2 checkpoint for another number of ranks.

DeepSpeed refuses to load an optimizer that other ranks have shared out. What they hold is simple, though: all weights
that train, one behind the other as one flat vector (and Adam's moments alike), padded at its end and cut into equal
parts. So the parts are put together and cut anew; not a number changes.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint

from text4seg.models.zero_files import MODEL_STATES, SHARD

ALIGN = 2
"""DeepSpeed makes each part a multiple of so many numbers (`nccl_start_alignment_factor`)."""
KNOWN = {
    "deepspeed.runtime.fp16.loss_scaler.DynamicLossScaler",
    "deepspeed.runtime.fp16.loss_scaler.LossScaler",
    "deepspeed.runtime.zero.config.ZeroStageEnum",
    "deepspeed.utils.tensor_fragment.fragment_address",
}
"""What DeepSpeed pickles beside tensors and numbers. No prefix would do: `deepspeed.x.os.system` is a name, too."""

WEIGHTS, STATE, PADDINGS = "single_partition_of_fp32_groups", "base_optimizer_state", "group_paddings"


def refuse_code(checkpoint: Path) -> None:
    """Look at what a checkpoint's pickles name, without running them; DeepSpeed would run whatever they hold.

    Raises:
        ValueError: they name something that DeepSpeed does not write.
    """
    for path in sorted((checkpoint / "checkpoint").glob("*.pt")):
        strange = sorted(set(get_unsafe_globals_in_checkpoint(path)) - KNOWN)
        if strange:
            raise ValueError(
                f"{path} names {', '.join(strange)}, which loading would run and DeepSpeed does not write. If the file "
                "is not yours, do not use it; the adapter beside the checkpoint starts a new run (`model.start`)."
            )


def reshard(checkpoint: Path, out: Path, ranks: int) -> Path:
    """Write a checkpoint of DeepSpeed's ZeRO stage 1 or 2 for so many ranks.

    Args:
        checkpoint: its folder, as Lightning saved it.
        out: a new folder for the same; replaced when it exists.
        ranks: that will read it.

    Raises:
        ValueError: from `refuse_code`.
    """
    refuse_code(checkpoint)
    inner = checkpoint / "checkpoint"
    found = sorted((m for path in inner.iterdir() if (m := SHARD.fullmatch(path.name))), key=lambda m: int(m[2]))
    # DeepSpeed pickles its loss scaler, which `weights_only` would refuse; the names were looked at.
    shards = [torch.load(inner / match[0], map_location="cpu", weights_only=False) for match in found]
    shutil.rmtree(out, ignore_errors=True)
    (out / "checkpoint").mkdir(parents=True)
    for rank, states in enumerate(_cut([shard["optimizer_state_dict"] for shard in shards], ranks)):
        name = f"{found[0][1]}{rank}{found[0][3]}"
        torch.save({**shards[0], "optimizer_state_dict": states}, out / "checkpoint" / name)
    model = torch.load(inner / MODEL_STATES, map_location="cpu", weights_only=False)
    torch.save({**model, "dp_world_size": ranks}, out / "checkpoint" / MODEL_STATES)
    shutil.copy(checkpoint / "latest", out / "latest")
    return out


def _cut(shards: list[dict[str, Any]], ranks: int) -> list[dict[str, Any]]:
    groups = range(len(shards[0][WEIGHTS]))
    whole = [torch.cat([shard[WEIGHTS][group] for shard in shards]) for group in groups]
    parts = [[_part(flat, rank, ranks) for flat in whole] for rank in range(ranks)]
    states = {
        group: {
            name: _joined(shards, group, name) if value.numel() > 1 else value
            for name, value in shards[0][STATE]["state"][group].items()
        }
        for group in shards[0][STATE]["state"]
    }
    made = []
    for rank in range(ranks):
        padding = [_size(flat, ranks) - len(part) for flat, part in zip(whole, parts[rank], strict=True)]
        inside = {
            group: {name: _padded(value, rank, ranks) if value.numel() > 1 else value for name, value in state.items()}
            for group, state in states.items()
        }
        made.append(
            {
                **shards[0],
                WEIGHTS: parts[rank],
                STATE: {**shards[0][STATE], "state": inside},
                PADDINGS: padding,
                "partition_count": [ranks for _ in groups],
                "param_slice_mappings": [],  # read by DeepSpeed's universal checkpoints only
            }
        )
    return made


def _joined(shards: list[dict[str, Any]], group: int, name: str) -> Tensor:
    """A state of the optimizer for all weights, without the padding."""
    parts = []
    for shard in shards:
        value = shard[STATE]["state"][group][name]
        parts.append(value[: len(value) - shard[PADDINGS][group]])
    return torch.cat(parts)


def _size(flat: Tensor, ranks: int) -> int:
    """Numbers of a rank's part, padding included."""
    return -(-len(flat) // (ALIGN * ranks)) * ALIGN


def _part(flat: Tensor, rank: int, ranks: int) -> Tensor:
    size = _size(flat, ranks)
    return flat[rank * size : (rank + 1) * size].clone()


def _padded(flat: Tensor, rank: int, ranks: int) -> Tensor:
    part = _part(flat, rank, ranks)
    return torch.nn.functional.pad(part, (0, _size(flat, ranks) - len(part)))
