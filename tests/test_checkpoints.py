"""Finding a checkpoint to go on from: DeepSpeed's are folders, of which every file must be whole."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from text4seg.training.fit import _check_ranks
from text4seg.training.folder import checkpoint_of, ranks_of

MODEL, SHARE = "checkpoint/mp_rank_00_model_states.pt", "checkpoint/bf16_zero_pp_rank_{}_mp_rank_00_optim_states.pt"


@pytest.fixture
def saved(tmp_path) -> Path:
    """A checkpoint of DeepSpeed's layout, saved by eleven ranks."""
    folder = tmp_path / "checkpoints" / "step-00000004.ckpt"
    (folder / "checkpoint").mkdir(parents=True)
    for name in (MODEL, *(SHARE.format(rank) for rank in range(11))):
        torch.save({"x": torch.zeros(9)}, folder / name)
    (folder / "latest").write_text("checkpoint")
    return folder


def test_a_whole_one_is_found_and_knows_its_ranks(tmp_path, saved) -> None:
    (tmp_path / "checkpoints" / "step-00000005.partial").mkdir()
    assert checkpoint_of(tmp_path) == saved
    assert ranks_of(saved) == 11
    _check_ranks(saved, 11)
    with pytest.raises(ValueError, match="saved by 11 processes, this run has 2"):
        _check_ranks(saved, 2)


def test_an_ordinary_one_leaves_the_ranks_to_the_data_module(tmp_path) -> None:
    path = tmp_path / "step-00000001.ckpt"
    torch.save({}, path)
    assert ranks_of(path) is None
    assert ranks_of(None) is None
    _check_ranks(path, 3)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (MODEL, "mp_rank_00_model_states.pt"),
        (SHARE.format(3), "rank 3 are missing"),
        ("latest", "latest is missing"),
    ],
)
def test_a_missing_file_is_named(tmp_path, saved, name, message) -> None:
    (saved / name).unlink()
    with pytest.raises(ValueError, match=f"is damaged .*{message}"):
        checkpoint_of(tmp_path)


@pytest.mark.parametrize("name", [MODEL, SHARE.format(10)])
def test_a_cut_file_is_named(tmp_path, saved, name) -> None:
    path = saved / name
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=f"is damaged .{path.name}"):
        checkpoint_of(tmp_path)


def test_an_empty_one_is_damaged(tmp_path, saved) -> None:
    shutil.rmtree(saved / "checkpoint")
    with pytest.raises(ValueError, match="rank 0 are missing"):
        checkpoint_of(tmp_path)
