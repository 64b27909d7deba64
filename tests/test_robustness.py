"""What goes wrong around a training: stops at any moment, damaged files, wrong values, nothing to score."""

from __future__ import annotations

import json
import signal
import warnings
from pathlib import Path

import pytest
import torch
from lightning import Trainer
from safetensors.torch import load_file
from small import MODEL, SHORT, steps_of, write_config
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from text4seg.callbacks.score import Score
from text4seg.config import load, load_whole, to_yaml
from text4seg.fit import main
from text4seg.models.module import Text4SegModule

STEPS = 10
WORDS = [
    *MODEL,
    *SHORT,
    f"trainer.steps={STEPS}",
    "trainer.checkpoint_every=2",
    "trainer.validate_every=4",
    "trainer.accumulate=2",
    "trainer.log_every=1",
    "trainer.monitor=val/gIoU",
    "data.shuffle_buffer=3",
    "optim.lr=0.02",
]
SAME = ("step", "loss", "lr", "order", "skipped", "samples")
VALIDATED = [4, 8, STEPS]


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    return write_config(tmp_path_factory.mktemp("a folder größer"), train=16)


@pytest.fixture(scope="module")
def whole(config) -> Path:
    """An uninterrupted run."""
    run = config.parent / "whole run"
    assert main(["--config", str(config), *WORDS, f"run_dir={run}"]) == 0
    return run


def results(run: Path) -> dict:
    """Everything that must be the same after a resume."""
    return {
        "steps": [[line[name] for name in SAME] for line in steps_of(run)],
        "scores": (run / "logs" / "scores.csv").read_text(),
        "metrics": json.loads((run / "metrics.json").read_text()),
        "pictures": sorted(path.name for path in (run / "pictures").iterdir()),
        "best": {n: t.tolist() for n, t in load_file(run / "adapter" / "adapter_model.safetensors").items()},
        "last": {n: t.tolist() for n, t in load_file(run / "adapter-last" / "adapter_model.safetensors").items()},
    }


def checkpoints(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir() if path.suffix)


class Killed(BaseException):
    """Ends training where it stands, as a kill would: nobody catches it."""


def at_validation(monkeypatch, step: int, act) -> None:
    """Call `act` in the middle of the validation after `step`."""
    original = Score.on_validation_batch_end

    def disturbed(self, trainer: Trainer, *rest) -> None:
        original(self, trainer, *rest)
        if trainer.global_step == step:
            act()

    monkeypatch.setattr(Score, "on_validation_batch_end", disturbed)


def test_the_end_is_validated_whatever_the_interval(whole):
    lines = (whole / "logs" / "scores.csv").read_text().splitlines()[1:]
    assert [int(line.split(",")[0]) for line in lines] == VALIDATED
    metrics = json.loads((whole / "metrics.json").read_text())
    assert metrics["last/step"] == STEPS
    assert metrics["last/val/cIoU"] == pytest.approx(float(lines[-1].split(",")[2]))
    assert checkpoints(whole) == [f"step-{STEPS:08d}.ckpt"]


def test_an_interval_beyond_the_end_still_validates_the_end(config, tmp_path):
    run = tmp_path / "run"
    words = [*MODEL, *SHORT, "trainer.validate_every=500", f"run_dir={run}"]
    assert main(["--config", str(config), *words]) == 0
    assert json.loads((run / "metrics.json").read_text())["last/step"] == 2
    assert (run / "adapter").is_dir()


@pytest.mark.parametrize("step", VALIDATED)
def test_a_kill_in_a_validation_loses_nothing(config, whole, tmp_path, monkeypatch, step):
    def kill() -> None:
        raise Killed

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        at_validation(patch, step, kill)
        with pytest.raises(Killed):
            main(["--config", str(config), *WORDS, f"run_dir={run}"])
    assert main(["--resume", str(run)]) == 0
    assert results(run) == results(whole)
    before = results(run)
    assert main(["--resume", str(run)]) == 0, "a finished run"
    assert results(run) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [4, 6])
def test_a_stop_is_saved_and_goes_on(config, whole, tmp_path, monkeypatch, capfd, number, step):
    run = tmp_path / "run"
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    original = Text4SegModule.training_step

    def disturbed(self, batch, batch_idx):
        if batch_idx == 2 * step - 1:
            signal.raise_signal(number)
        return original(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(Text4SegModule, "training_step", disturbed)
        assert main(["--config", str(config), *WORDS, f"run_dir={run}"]) == 130
    shown = capfd.readouterr()
    assert "waiting for the end of this step" in shown.err
    assert f"stopped at step {step} of {STEPS}" in shown.out
    assert checkpoints(run) == [f"step-{step:08d}.ckpt"]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    assert main(["--resume", str(run)]) == 0
    assert results(run) == results(whole)


def test_ctrl_c_twice_ends_at_once(config, tmp_path, monkeypatch, capfd):
    run = tmp_path / "run"

    def twice() -> None:
        for _ in range(2):
            # Not os.kill: another thread may take the signal, and two of them before this one looks are one.
            signal.raise_signal(signal.SIGINT)

    # A shell starts what it runs in the background with Ctrl-C ignored; here it has its usual meaning.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    with monkeypatch.context() as patch:
        at_validation(patch, 4, twice)
        assert main(["--config", str(config), *WORDS, f"run_dir={run}"]) == 130
    signal.signal(signal.SIGINT, handler)
    assert "Traceback" not in capfd.readouterr().err
    assert checkpoints(run) == ["step-00000002.ckpt"]


def test_tensorboard_shows_each_step_once_after_a_resume(config, whole, tmp_path, monkeypatch):
    def kill() -> None:
        raise Killed

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        at_validation(patch, 8, kill)
        with pytest.raises(Killed):
            main(["--config", str(config), *WORDS, f"run_dir={run}"])
    assert main(["--resume", str(run)]) == 0
    shown = EventAccumulator(str(run / "logs")).Reload()
    assert [event.step for event in shown.Scalars("train/loss")] == list(range(1, STEPS + 1))


def test_a_failed_save_leaves_the_checkpoint_before_it(config, whole, tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    original = Trainer.save_checkpoint

    def full(self, filepath, *rest, **options) -> None:
        if self.global_step == 6:
            Path(filepath).write_bytes(b"half")
            raise OSError(28, "No space left on device")
        original(self, filepath, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "save_checkpoint", full)
        assert main(["--config", str(config), *WORDS, f"run_dir={run}"]) == 2
    assert "No space left" in capsys.readouterr().err
    assert "step-00000004.ckpt" in checkpoints(run)
    assert main(["--resume", str(run)]) == 0
    assert results(run) == results(whole)
    assert checkpoints(run) == checkpoints(whole)


@pytest.mark.parametrize("cut", [0, 100, -100])
def test_a_damaged_checkpoint_is_named(config, tmp_path, capsys, cut):
    run = tmp_path / "run"
    words = [*MODEL, *SHORT, f"run_dir={run}"]
    assert main(["--config", str(config), *words]) == 0
    path = next((run / "checkpoints").glob("*.ckpt"))
    path.write_bytes(path.read_bytes()[:cut])
    assert main(["--resume", str(run)]) == 2
    shown = capsys.readouterr().err
    assert f"{path} is damaged" in shown
    path.unlink()
    assert main(["--resume", str(run)]) == 0
    assert [line["step"] for line in steps_of(run)] == ["1", "2"]


def test_a_cut_configuration_does_not_go_on_with_default_values(whole, tmp_path):
    text = (whole / "config.yaml").read_text()
    path = tmp_path / "config.yaml"
    lines = [i + 1 for i, letter in enumerate(text[:-1]) if letter == "\n"]
    for end in (0, 5, 400, *lines[::4], *lines[-5:]):
        path.write_text(text[:end])
        with pytest.raises(ValueError, match=r"."):
            load_whole(path)
    path.write_text(text)
    assert to_yaml(load_whole(path)) == text
    path.write_text("\n".join(line for line in text.splitlines() if "log_every" not in line) + "\n")
    assert load_whole(path) == load(path, []), "an older version's run, which lacks a setting, can be read"


def test_the_log_of_a_run_that_was_killed_in_its_first_line(config, tmp_path):
    run = tmp_path / "run"
    words = [*MODEL, *SHORT, f"run_dir={run}"]
    (run / "logs").mkdir(parents=True)
    (run / "logs" / "steps.csv").write_text("step,lo")
    assert main(["--config", str(config), *words]) == 0
    assert [line["samples"] for line in steps_of(run)] == ["2", "2"]


def test_a_loss_that_is_not_a_number_costs_its_step(config, tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    original = Text4SegModule.training_step
    weights: list[float] = []

    def broken(self, batch, batch_idx):
        weights.append(sum(float(p.sum()) for p in self.parameters() if p.requires_grad))
        return original(self, batch, batch_idx) * (float("inf") if batch_idx == 5 else 1.0)

    monkeypatch.setattr(Text4SegModule, "training_step", broken)
    with pytest.warns(UserWarning, match="step 3 has the loss inf and the gradient norm nan: it is left out"):
        assert main(["--config", str(config), *WORDS, f"run_dir={run}"]) == 0
    assert "left out 1 steps" in capsys.readouterr().out
    assert [line["step"] for line in steps_of(run)] == [str(n) for n in range(1, STEPS + 1)]
    assert [line["loss"] for line in steps_of(run)].count("inf") == 1
    assert weights[4] == weights[6] != weights[3], "the bad step, and no other, moved nothing"
    state = load_file(run / "adapter-last" / "adapter_model.safetensors")
    assert all(torch.isfinite(value).all() for value in state.values())


def test_a_loss_that_stays_without_number_stops_the_run(config, tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    original = Text4SegModule.training_step

    def broken(self, batch, batch_idx):
        return original(self, batch, batch_idx) * (float("nan") if batch_idx >= 11 else 1.0)

    monkeypatch.setattr(Text4SegModule, "training_step", broken)
    assert main(["--config", str(config), *WORDS, "trainer.bad_steps=1", f"run_dir={run}"]) == 2
    shown = capsys.readouterr().err
    assert "step 7 has the loss nan" in shown
    assert "optim.lr" in shown
    assert checkpoints(run) == ["step-00000006.ckpt"]
    state = torch.load(run / "checkpoints" / "step-00000006.ckpt", weights_only=True)["state_dict"]
    assert all(torch.isfinite(value).all() for value in state.values())


def test_without_validation_data_the_last_weights_are_the_result(config, tmp_path, capsys):
    run = tmp_path / "run"
    words = [*MODEL, *SHORT, "data.val.shards=null", "data.val.build=null", f"run_dir={run}"]
    assert main(["--config", str(config), *words]) == 0
    best, last = (load_file(run / name / "adapter_model.safetensors") for name in ("adapter", "adapter-last"))
    assert all(torch.equal(best[name], last[name]) for name in last)
    assert main(["--resume", str(run)]) == 0


@pytest.mark.parametrize("workers", [0, 1])
def test_broken_records_are_counted_and_told(config, tmp_path, capsys, workers):
    folder = tmp_path / "shards"
    folder.mkdir()
    for path in (config.parent / "train").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    for path in sorted(folder.glob("*.tar"))[:2]:
        path.write_bytes(path.read_bytes()[:6000] + b"\xff" * 3000 + path.read_bytes()[9000:-9000])
    run = tmp_path / "run"
    words = [*WORDS, "data.train.build=null", f"data.train.shards={folder}", f"data.workers={workers}"]
    assert main(["--config", str(config), *words, f"run_dir={run}"]) == 0
    lost = sum(int(line["skipped"]) for line in steps_of(run))
    assert lost > 2
    assert f"skipped {lost} broken or too long records, e.g. " in " ".join(capsys.readouterr().out.split())
    assert main(["--resume", str(run)]) == 0
    assert f"skipped {lost} broken" in capsys.readouterr().out


def test_every_skipped_record_counts(config, tmp_path):
    run = tmp_path / "run"
    config = write_config(tmp_path, train=40)
    words = [*MODEL, *SHORT, "trainer.steps=4", "data.batch_size=4", "data.max_length=92", f"run_dir={run}"]
    assert main(["--config", str(config), *words]) == 0
    checkpoint = next((run / "checkpoints").glob("*.ckpt"))
    state = torch.load(checkpoint, weights_only=True)["ShardDataModule"]
    lines = steps_of(run)
    assert sum(int(line["skipped"]) for line in lines) == state["ranks"][0]["cursors"][0]["skipped"]
    assert max(int(line["skipped"]) for line in lines) > 5, "more than are named"


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_a_loading_process_is_one_line(config, tmp_path, capsys, workers):
    run = tmp_path / "run"
    words = [*MODEL, *SHORT, "data.max_length=5", f"data.workers={workers}", f"run_dir={run}"]
    assert main(["--config", str(config), *words]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "usable" in line]
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert not run.exists(), "nothing was trained: the name is free again"


def test_a_start_that_fails_leaves_a_folder_that_was_there(config, tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    (run / "notes.txt").write_text("mine")
    for _ in range(2):
        assert main(["--config", str(config), *MODEL, *SHORT, "data.workers=9", f"run_dir={run}"]) == 2
        assert "cannot feed" in capsys.readouterr().err
    assert (run / "notes.txt").read_text() == "mine"
    assert main(["--config", str(config), *MODEL, *SHORT, f"run_dir={run}"]) == 0


@pytest.mark.parametrize(
    "word",
    [
        "trainer.steps=0",
        "trainer.accumulate=0",
        "trainer.threads=-1",
        "trainer.validate_every=-3",
        "trainer.checkpoint_every=0",
        "trainer.log_every=0",
        "trainer.pictures=-1",
        "trainer.precision=half",
        "trainer.monitor=cIoU",
        "data.batch_size=0",
        "data.val_batch_size=0",
        "data.val.limit=-1",
        "data.grid=[4]",
        "data.length_window=0",
        "data.variants={dense: {codec: full}}",
        "data.turns=two",
        "data.on_error=rise",
        "data.curriculum=[{at: 0, nothing: 1}]",
        "data.train.build.limit=-1",
        "data.train.build.shards=0",
        "data.train.build.source=scene",
        "data.val.build.task=refering",
        "data.train.build.options.count=many",
        "data.val.build.task_options.turns=[1]",
        "optim.betas=[0.9]",
        "optim.lr=nan",
        "optim.clip=-1",
        "optim.schedule=line",
        "model.family=tinny",
        "model.lora.projector=ful",
        "trainer.strategy=zero3",
        "trainer.accelerator=tpu",
        "model.dtype=half",
        "model.lora.dropout=2",
        "decoding.paint=rough",
    ],
)
def test_values_that_cannot_work_are_refused_before_anything_starts(config, tmp_path, capsys, monkeypatch, word):
    monkeypatch.setattr("text4seg.fit._fit", lambda *_: pytest.fail("started"))
    assert main(["--config", str(config), word, f"run_dir={tmp_path}/run"]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert word.partition("=")[0].rpartition(".")[2] in shown
    assert not (tmp_path / "run").exists()


def test_points_of_a_curriculum_lie_in_training(config, tmp_path, capsys):
    words = ["data.variants={dense: {codec: full}}", "data.curriculum=[{at: 70, dense: 1}]"]
    assert main(["--config", str(config), *words, f"run_dir={tmp_path}/run"]) == 2
    assert "at: 0..1" in capsys.readouterr().err


def test_the_warnings_of_a_run_are_few(config, tmp_path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert main(["--config", str(config), *MODEL, *SHORT, f"run_dir={tmp_path}/run"]) == 0
    told = {str(warning.message).split("\n")[0][:120] for warning in caught}
    assert not [line for line in told if "sync_dist" in line or "compute" in line]
