"""A step's samples over any number of devices, and the steps that passes over the data make."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small import MODEL, SHORT, steps_of, write_config

from text4seg import fit
from text4seg.config import Config, load
from text4seg.data.shards.index import Index
from text4seg.training.launch import launched, local_rank
from text4seg.training.plan import STEPS, plan

CONF = Path(__file__).resolve().parents[1] / "conf"
PUBLISHED = sorted(path.stem for path in CONF.glob("*.yaml") if load(path, []).trainer.global_batch == 128)


def config(micro: int = 4, **trainer: object) -> Config:
    made = Config()
    return replace(
        made,
        data=replace(made.data, batch_size=micro),
        trainer=replace(made.trainer, **trainer),  # type: ignore[arg-type]
    )


@given(st.integers(1, 64), st.integers(1, 16), st.integers(1, 16))
def test_any_split_gives_the_batch_back(ranks, micro, accumulate):
    found = plan(config(micro, global_batch=ranks * micro * accumulate), ranks)
    assert (found.ranks, found.micro, found.accumulate) == (ranks, micro, accumulate)
    assert found.batch == ranks * micro * accumulate


@given(st.integers(1, 512), st.integers(1, 64), st.integers(1, 64))
def test_what_does_not_divide_is_refused_with_sizes_that_do(batch, micro, ranks):
    try:
        assert plan(config(micro, global_batch=batch), ranks).batch == batch
    except ValueError as error:
        numbers = str(error).partition("may be ")[2].rstrip(".").split(", ")
        for size in filter(None, numbers):
            assert plan(config(int(size), global_batch=batch), ranks).batch == batch
        assert batch % (micro * ranks) or micro * ranks > batch


def test_the_refusal_shows_the_arithmetic():
    with pytest.raises(
        ValueError, match=r"128 is no multiple of 6 ranks x 4 samples.* = 24.*too many or do not divide"
    ):
        plan(config(global_batch=128), 6)
    with pytest.raises(ValueError, match=r"8 ranks x 3 samples.* = 24: `data.batch_size` may be 1, 2, 4, 8, 16\."):
        plan(config(3, global_batch=128), 8)
    with pytest.raises(ValueError, match=r"128 / \(8 ranks x 4 samples\) = 4 accumulated, but .* is 2"):
        plan(config(global_batch=128, accumulate=2), 8)


def test_epochs_are_steps_of_the_index():
    assert plan(config(epochs=5, global_batch=128), 8, samples=868_000).steps == 33_907
    assert plan(config(epochs=0.5, global_batch=8), 1, samples=40).steps == 3, "2.5 passes are finished"
    assert plan(config(epochs=1e-9), 1, samples=40).steps == 1
    assert plan(config(), 1).steps == STEPS
    assert plan(config(steps=7), 2, samples=28).epochs == 2
    with pytest.raises(ValueError, match=r"`trainer.steps` \(7\) and `trainer.epochs` \(2\) are both given"):
        plan(config(steps=7, epochs=2), 1, 10)
    for epochs, samples in ((0, 40), (2, 0)):
        with pytest.raises(ValueError, match=rf"`trainer.epochs` {epochs} of {samples} samples make no step"):
            plan(config(epochs=epochs), 1, samples)
    with pytest.raises(ValueError, match="needs the number of samples"):
        plan(config(epochs=2), 1)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_papers_batch_on_any_usual_number_of_devices(name):
    recipe = load(CONF / f"{name}.yaml", [])
    for ranks in (1, 2, 4, 8, 16):
        assert plan(recipe, ranks).batch == 128


def test_the_paper_is_meant():
    assert len(PUBLISHED) >= 10


def test_a_settled_configuration_gives_the_same_steps_elsewhere():
    two = plan(config(epochs=3, global_batch=None, accumulate=2), 2, samples=160)
    again = plan(two.settle(config(epochs=3, accumulate=2)), 1)
    assert (again.steps, again.batch, again.accumulate) == (two.steps, two.batch, 4)


def test_epochs_of_shards_that_are_built_on_the_way(tmp_path, capsys):
    path = write_config(tmp_path, train=12)
    words = [*MODEL, *SHORT, "trainer.steps=null", "trainer.accumulate=null", "trainer.epochs=2"]
    words += ["trainer.global_batch=6", "trainer.validate_every=5"]
    assert fit.main(["--config", str(path), *words, f"run_dir={tmp_path}/run"]) == 0, capsys.readouterr().err
    samples = Index.load(tmp_path / "train").samples
    steps = -(-2 * samples // 6)
    told = " ".join(capsys.readouterr().out.split())
    assert f"plan: {steps} steps of 6 samples (1 ranks x 2 at once x 3), {steps * 6 / samples:.2f} epochs" in told
    lines = steps_of(tmp_path / "run")
    assert [(line["step"], line["samples"]) for line in lines] == [(str(n), "6") for n in range(1, steps + 1)]
    scores = (tmp_path / "run" / "logs" / "scores.csv").read_text().splitlines()
    at = [int(line.partition(",")[0]) for line in scores[1:]]
    assert at == [*range(5, steps, 5), steps], "validation counts steps, not micro-batches"
    assert float(lines[-1]["lr"]) == pytest.approx(2e-4 / (steps - 1), rel=1e-4), "the decay ends where the epochs do"
    assert fit.main(["--config", str(path), *words, "--dry-run"]) == 0
    assert f"an epoch: {samples} samples" in capsys.readouterr().out


def test_a_batch_that_cannot_be_split_is_refused_before_anything_is_loaded(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("text4seg.training.fit.load_backbone", lambda *_: pytest.fail("loaded"))
    words = [*MODEL, *SHORT, "trainer.accumulate=null", "trainer.global_batch=7", f"run_dir={tmp_path}/run"]
    assert fit.main(["--config", str(write_config(tmp_path)), *words]) == 2
    assert "`trainer.global_batch` 7 is no multiple of 1 ranks x 2 samples" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_who_launched_this(monkeypatch):
    for name in ("TORCHELASTIC_RUN_ID", "SLURM_NTASKS", "SLURM_JOB_NAME", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert launched() is None
    assert local_rank() == 0
    for name, value in {"SLURM_NTASKS": 16, "SLURM_NTASKS_PER_NODE": 8, "SLURM_LOCALID": 3}.items():
        monkeypatch.setenv(name, str(value))
    found = launched()
    assert found is not None
    assert (found.by, found.devices, found.nodes, found.ranks, local_rank()) == ("srun", 8, 2, 16, 3)
    monkeypatch.delenv("SLURM_NTASKS_PER_NODE")
    with pytest.raises(ValueError, match="--ntasks-per-node"):
        launched()
    told = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": 4, "LOCAL_WORLD_SIZE": 2, "RANK": 3, "LOCAL_RANK": 1}
    for name, value in told.items():
        monkeypatch.setenv(name, str(value))
    found = launched()
    assert found is not None
    assert (found.by, found.devices, found.nodes, local_rank()) == ("torchrun", 2, 2, 1)
