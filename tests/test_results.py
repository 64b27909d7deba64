"""What a run leaves: weights and scores, also where scores are missing, disks are full or files are damaged."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from checkpoints import CHATML, byte_tokenizer, write_vision
from safetensors import SafetensorError
from small import MODEL, SHORT, steps_of, write_config
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import GPT2Config, GPT2LMHeadModel

from text4seg.callbacks.keeper import Keeper
from text4seg.callbacks.score import Score
from text4seg.fit import main


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    return write_config(tmp_path_factory.mktemp("results"), train=16)


def test_a_score_that_cannot_come_is_not_waited_for(config, tmp_path, capsys):
    run = tmp_path / "run"
    words = [*MODEL, *SHORT, "trainer.monitor=val/mIoU", f"run_dir={run}"]
    assert main(["--config", str(config), *words]) == 2
    assert "asks about no classes (its tasks: referring)" in capsys.readouterr().err
    assert not run.exists(), "nothing was trained"


def test_the_best_weights_where_the_watched_score_is_missing(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr("text4seg.callbacks.keeper.save_trained", lambda *given: saved.append(given[-1]))
    score = Score()
    keeper = Keeper(tmp_path, score, "val/mIoU")
    for step, values in enumerate([{"val/ok": 1.0}, {"val/ok": 0.0, "val/mIoU": 0.1}, {"val/ok": 1.0}], 1):
        score.values = values
        trainer = SimpleNamespace(sanity_checking=False, global_step=step, is_global_zero=True)
        keeper.on_validation_end(trainer, SimpleNamespace(backbone=SimpleNamespace(model=torch.nn.Identity())))
    assert saved == ["-last", "", "-last", "", "-last"]
    assert keeper.best == {"val/ok": 0.0, "val/mIoU": 0.1, "step": 2.0}


def test_validation_data_of_which_nothing_can_be_read(config, tmp_path):
    broken = tmp_path / "val"
    broken.mkdir()
    for path in (config.parent / "val").iterdir():
        (broken / path.name).write_bytes(path.read_bytes().replace(b"\xff\xd8\xff", b"xxx"))
    run = tmp_path / "run"
    words = [*MODEL, *SHORT, "data.val.build=null", f"data.val.shards={broken}", f"run_dir={run}"]
    with pytest.warns(UserWarning, match="not one validation item could be scored"):
        assert main(["--config", str(config), *words]) == 0
    assert (run / "adapter").is_dir()
    assert not (run / "metrics.json").exists()


def test_weights_that_do_not_fit_on_the_disk(config, tmp_path, monkeypatch, capsys):
    def full(*_: object, **__: object) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("text4seg.callbacks.keeper.save_file", full)
    run = tmp_path / "run"
    words = [*MODEL, *SHORT, "model.lora.enabled=false", f"run_dir={run}"]
    assert main(["--config", str(config), *words]) == 2
    assert "No space left on device" in capsys.readouterr().err
    monkeypatch.undo()
    assert main(["--resume", str(run)]) == 0


def test_a_context_that_is_shorter_than_some_samples(config, tmp_path, capsys):
    """GPT-2 has a table of positions, and no place for a token behind its end."""
    vision, language = write_vision(tmp_path / "eyes", "clip"), tmp_path / "gpt2"
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 300, "bos_token_id": 1, "eos_token_id": 2}
    GPT2LMHeadModel(GPT2Config(n_positions=200, **sizes)).save_pretrained(language)
    byte_tokenizer(CHATML).save_pretrained(language)
    run = tmp_path / "run"
    model = ["model.family=compose", f"model.vision={vision}", f"model.language={language}"]
    words = [*SHORT, *model, "model.lora.projector=full", "trainer.steps=6", f"run_dir={run}"]
    assert main(["--config", str(config), *words]) == 0, capsys.readouterr().err
    assert "context:    200 tokens" in capsys.readouterr().out
    lines = steps_of(run)
    assert sum(int(line["skipped"]) for line in lines) > 0
    assert max(int(line["tokens"]) for line in lines) <= 2 * 200
    assert "max_length: 2048" in (run / "config.yaml").read_text(), "what was asked for stays on record"


@pytest.mark.parametrize("place", ["first", "last"])
def test_cells_in_front_of_the_question_are_mentioned(config, tmp_path, capsys, place):
    words = [*MODEL, *SHORT, "loss.cells=1", f"model.image_place={place}", f"run_dir={tmp_path / 'run'}"]
    assert main(["--config", str(config), *words]) == 0
    assert ("cells:      image tokens stand before" in capsys.readouterr().out) is (place == "first")


def test_the_journal_names_the_rate_that_a_step_used(config, tmp_path):
    run = tmp_path / "run"
    words = [*MODEL, *SHORT, "trainer.steps=5", "trainer.log_every=1", "optim.lr=0.01", "optim.warmup_ratio=0.4"]
    assert main(["--config", str(config), *words, f"run_dir={run}"]) == 0
    wanted = [0.005, 0.01, 0.01, 0.01 * 2 / 3, 0.01 / 3]
    assert [float(line["lr"]) for line in steps_of(run)] == pytest.approx(wanted, rel=1e-4)
    shown = EventAccumulator(str(run / "logs")).Reload()
    assert [event.value for event in shown.Scalars("train/lr")] == pytest.approx(wanted, rel=1e-4)
