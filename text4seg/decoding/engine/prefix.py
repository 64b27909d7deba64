"""What the prompts of a batch have in common: rows about one picture share everything up to where they part.

Axis legend: B prompts, T tokens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Shared:
    """A batch of prompts, taken apart.

    Attributes:
        prefixes: left-padded prompts, one for each group of rows.
        group: of each row.
        rests: each row's tokens behind its group's prefix, at least one.
    """

    prefixes: dict[str, Tensor]
    group: list[int]
    rests: list[list[int]]


def rows_of(prompts: dict[str, Tensor], rows: Sequence[int]) -> dict[str, Tensor]:
    """Some of the prompts, without the padding that all of them have."""
    index = torch.tensor(rows, device=prompts["input_ids"].device)
    mask_BT = prompts["attention_mask"][index]
    longest = int(mask_BT.sum(1).max())
    length = mask_BT.shape[1]
    return {
        name: part[index][:, length - longest :] if _is_text(part, prompts) else part[index]
        for name, part in prompts.items()
    }


def pictures(prompts: dict[str, Tensor]) -> list[bytes]:
    """What tells each prompt's picture from others'."""
    found = [hashlib.sha256() for _ in prompts["input_ids"]]
    for name in sorted(prompts):
        if not _is_text(prompts[name], prompts):
            for digest, part in zip(found, prompts[name], strict=True):
                digest.update(part.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return [digest.digest() for digest in found]


def by_picture(prompts: dict[str, Tensor]) -> list[int]:
    """Rows in an order that keeps those about one picture together, shorter prompts first among them."""
    lengths = prompts["attention_mask"].sum(1).tolist()
    found = pictures(prompts)
    first = {picture: row for row, picture in reversed(list(enumerate(found)))}
    return sorted(range(len(found)), key=lambda row: (first[found[row]], lengths[row]))


def shared(prompts: dict[str, Tensor], image_token_id: int) -> Shared | None:
    """Take prompts apart where some of them share a picture and what stands before their questions.

    Args:
        prompts: left-padded ``input_ids`` and ``attention_mask`` ``[B, T]``, other tensors of the tokens, and the
            images' tensors, a row each.
        image_token_id: no rest may hold it.

    Returns:
        None where nothing is shared.
    """
    mask_BT = prompts["attention_mask"]
    tokens = [ids[mask.bool()].tolist() for ids, mask in zip(prompts["input_ids"], mask_BT, strict=True)]
    groups: dict[bytes, list[int]] = {}
    for row, picture in enumerate(pictures(prompts)):
        groups.setdefault(picture, []).append(row)
    if len(groups) == len(tokens):
        return None
    cut = [0] * len(tokens)
    for rows in groups.values():
        length = _common([tokens[row] for row in rows])
        if any(image_token_id in tokens[row][length:] for row in rows):
            return None  # the picture stands behind the question
        for row in rows:
            cut[row] = length
    firsts = [rows[0] for rows in groups.values()]
    numbers = {row: number for number, rows in enumerate(groups.values()) for row in rows}
    group = [numbers[row] for row in range(len(tokens))]
    rests = [row[length:] for row, length in zip(tokens, cut, strict=True)]
    return Shared(_cut(prompts, firsts, [cut[row] for row in firsts]), group, rests)


def _common(rows: Sequence[Sequence[int]]) -> int:
    """Tokens that all rows begin with, but not the last one of any."""
    most = min(len(row) for row in rows) - 1
    return next((n for n in range(most) if len({row[n] for row in rows}) > 1), most)


def _cut(prompts: dict[str, Tensor], rows: Sequence[int], lengths: Sequence[int]) -> dict[str, Tensor]:
    """Rows with only so many of their tokens, padded anew on the left."""
    width = max(lengths)
    out = {}
    for name, part in prompts.items():
        if not _is_text(part, prompts):
            out[name] = part[list(rows)]
            continue
        made = part.new_zeros(len(rows), width)
        for number, (row, length) in enumerate(zip(rows, lengths, strict=True)):
            begin = part.shape[1] - int(prompts["attention_mask"][row].sum())
            made[number, width - length :] = part[row, begin : begin + length]
            made[number, : width - length] = part[row, 0] if begin else 0
        out[name] = made
    return out


def _is_text(part: Tensor, prompts: dict[str, Tensor]) -> bool:
    return part.shape == prompts["input_ids"].shape
