"""Finding a checkpoint to go on from: DeepSpeed's are folders, of which every file must be whole."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from text4seg.models.reshard import reshard
from text4seg.models.strategy import Zero2Strategy
from text4seg.models.zero_files import ranks_of
from text4seg.training.folder import checkpoint_of

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


def test_an_ordinary_one_leaves_the_ranks_to_the_data_module(tmp_path) -> None:
    path = tmp_path / "step-00000001.ckpt"
    torch.save({}, path)
    assert ranks_of(path) is None
    assert ranks_of(None) is None


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


def write_shards(folder: Path, ranks: int, sizes: list[int]) -> Path:
    """What DeepSpeed writes for weights 0, 1, 2, ... whose moments are the same numbers plus 1000."""
    (folder / "checkpoint").mkdir(parents=True)
    (folder / "latest").write_text("checkpoint")
    torch.save({"dp_world_size": ranks, "module": {}}, folder / MODEL)
    for rank in range(ranks):
        weights, state, paddings = [], {}, []
        for group, size in enumerate(sizes):
            part = -(-size // (2 * ranks)) * 2
            mine = torch.arange(size, dtype=torch.float32)[rank * part : (rank + 1) * part]
            paddings.append(part - len(mine))
            weights.append(mine)
            moment = torch.nn.functional.pad(mine + 1000, (0, paddings[-1]))
            state[group] = {"step": torch.tensor(7.0), "exp_avg": moment, "exp_avg_sq": moment * 2}
        inner = {
            "base_optimizer_state": {"state": state, "param_groups": [{"lr": 0.1, "params": [g]} for g in state]},
            "single_partition_of_fp32_groups": weights,
            "group_paddings": paddings,
            "partition_count": [ranks for _ in sizes],
            "param_slice_mappings": ["..."],
            "loss_scaler": None,
        }
        torch.save({"optimizer_state_dict": inner, "ds_version": "0"}, folder / SHARE.format(rank))
    return folder


def same(one: Path, other: Path, ranks: int) -> bool:
    """Whether two checkpoints hold the same numbers."""
    for rank in range(ranks):
        a, b = (
            torch.load(path / SHARE.format(rank), weights_only=False)["optimizer_state_dict"] for path in (one, other)
        )
        if a["group_paddings"] != b["group_paddings"] or a["partition_count"] != b["partition_count"]:
            return False
        pairs = list(zip(a["single_partition_of_fp32_groups"], b["single_partition_of_fp32_groups"], strict=True))
        for group, state in a["base_optimizer_state"]["state"].items():
            pairs += [(value, b["base_optimizer_state"]["state"][group][name]) for name, value in state.items()]
        if not all(torch.equal(x, y) for x, y in pairs):
            return False
    return True


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.lists(st.integers(30, 60), min_size=1, max_size=2))
def test_shares_for_other_ranks_are_those_that_they_would_have_saved(before, after, sizes) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        saved, direct = (write_shards(folder / str(n), ranks, sizes) for n, ranks in enumerate((before, after)))
        made = reshard(saved, folder / "made", after)
        assert ranks_of(made) == after
        assert torch.load(made / MODEL, weights_only=False)["dp_world_size"] == after
        assert same(made, direct, after)
        assert same(reshard(made, folder / "back", before), saved, before)


class Hostile:
    """What a pickle may hold: loading it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("name", [MODEL, SHARE.format(1)])
def test_a_pickle_that_names_more_than_deepspeed_writes_is_not_run(tmp_path, name) -> None:
    saved, made = write_shards(tmp_path / "saved", 2, [40]), tmp_path / "hostile"
    state = torch.load(saved / name, weights_only=False)
    torch.save({**state, "more": Hostile(made)}, saved / name)
    with pytest.raises(ValueError, match=rf"{name.rsplit('/')[-1]} names posix.mkdir.*`model.start`"):
        reshard(saved, tmp_path / "other", 1)
    with pytest.raises(ValueError, match=r"names posix\.mkdir"):
        Zero2Strategy.load_checkpoint(SimpleNamespace(world_size=2), saved)  # type: ignore[arg-type]
    assert not made.exists()
    assert not (tmp_path / "other").exists()
