"""What a rank leaves for the others, or for the next launch: its sign of life, its part of a checkpoint."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from text4seg.callbacks import saver, watch
from text4seg.callbacks.saver import Saver
from text4seg.callbacks.watch import Watch


def one_of_two(**more: Any) -> Any:
    strategy = SimpleNamespace(broadcast=lambda name: name, barrier=lambda: None)
    return SimpleNamespace(world_size=2, global_rank=0, is_global_zero=True, strategy=strategy, **more)


@pytest.fixture
def watching(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watch:
    monkeypatch.setattr(watch, "LOOK", 0.001)
    return Watch(tmp_path / "ranks", "go on")


def test_the_last_word_of_a_rank_stays(watching: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """The counting thread stands in the middle of a write when training ends."""
    writes, ends = threading.Event(), threading.Event()
    usual = Path.write_text

    def slow(self: Path, text: str, **options: Any) -> int:
        if threading.current_thread().name == "watch":
            writes.set()
            ends.wait(0.2)
        return usual(self, text, **options)

    monkeypatch.setattr(Path, "write_text", slow)
    before = set(threading.enumerate())
    watching.setup(one_of_two(), None, "fit")  # type: ignore[arg-type]
    assert writes.wait(5)
    watching.teardown(one_of_two(), None, "fit")  # type: ignore[arg-type]
    ends.set()
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
    assert json.loads((watching.folder / "0.json").read_text())["state"] == "done"
    assert [path.name for path in watching.folder.iterdir()] == ["0.json"]


def test_an_error_before_the_watch_is_set_up_stays_itself(watching: Watch) -> None:
    watching.on_exception(one_of_two(), None, RuntimeError("no such device"))  # type: ignore[arg-type]
    assert not watching.folder.exists()


def test_a_loss_of_another_rank_is_not_told_behind_the_end(watching: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(watching, "_tell", told.append)
    monkeypatch.setattr(watch.os, "_exit", lambda code: told.append(str(code)))

    def found_late() -> str:
        watching._end("done")
        return "rank 1 failed"

    monkeypatch.setattr(watching, "_ended", found_late)
    before = set(threading.enumerate())
    watching.setup(one_of_two(), None, "fit")  # type: ignore[arg-type]
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
    assert watching.sign.state == "done"
    assert not told


def test_parts_of_a_save_in_which_more_ranks_died_are_no_parts_of_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(folder: Path) -> None:  # as DeepSpeed does: a file a rank, into what is there
        folder.mkdir(exist_ok=True)
        (folder / "part-0").write_text("new")

    partial = tmp_path / "step-00000200.partial"
    partial.mkdir()
    (partial / "part-7").write_text("of the run before")
    monkeypatch.setattr(saver, "trained_weights", lambda model: {})
    monkeypatch.setattr(saver, "save_trained", lambda *_: None)
    module = SimpleNamespace(backbone=SimpleNamespace(model=None))
    Saver(tmp_path, 1, {}).save(one_of_two(global_step=200, save_checkpoint=save, lightning_module=module))
    assert [path.name for path in (tmp_path / "step-00000200.ckpt").iterdir()] == ["part-0"]
