"""The micro-batch that fills the memory: never a size that might not fit, and always one that divides the batch."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small import MODEL, SHORT, write_config

from text4seg.config import load_whole
from text4seg.fit import main
from text4seg.training import probe
from text4seg.training.probe import largest


@given(st.integers(1, 96), st.floats(0, 50), st.floats(0.1, 10), st.floats(1, 500))
def test_the_largest_that_fits_is_found_and_none_that_does_not_is_tried(share, fixed, each, room):
    sizes = [size for size in range(1, share + 1) if share % size == 0]
    tried: list[int] = []

    def need(size: int) -> float:
        tried.append(size)
        return fixed + each * size

    if fixed + each > room:
        with pytest.raises(ValueError, match="not even 1 sample fits"):
            largest(sizes, need, room)
        assert tried == [1]
        return
    found = largest(sizes, need, room)
    assert found in sizes
    assert all(fixed + each * size <= room for size in tried)
    bigger = sizes[sizes.index(found) + 1 :]
    if bigger:
        assert (fixed + each * found) * bigger[0] / found > room


def test_a_run_finds_its_batch_size(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv(probe.SHARED_NAME, raising=False)
    words = [*MODEL, *SHORT, "trainer.accumulate=null", "trainer.global_batch=6", "trainer.fill_memory=true"]
    words += ["data.max_length=512", "trainer.steps=1", "data.val.shards=null", "data.val.build=null"]
    config = str(write_config(tmp_path, train=8))
    asked: list[int] = []
    monkeypatch.setattr(probe, "_need", lambda backbone, config, size, device: asked.append(size) or size * 2**20)
    monkeypatch.setattr(probe, "free_memory", lambda device: 5 * 2**20)
    assert main(["--config", config, *words, f"run_dir={tmp_path}/some"]) == 0, capsys.readouterr().err
    assert asked == [1, 2, 3]
    assert load_whole(tmp_path / "some" / "config.yaml").data.batch_size == 3
    assert "1 ranks x 3 at once x 2" in " ".join(capsys.readouterr().out.split())
    monkeypatch.undo()
    assert main(["--config", config, *words, f"run_dir={tmp_path}/all"]) == 0, capsys.readouterr().err
    assert load_whole(tmp_path / "all" / "config.yaml").data.batch_size == 6, "there is room for all"
    assert main(["--config", config, *words, "trainer.global_batch=null", f"run_dir={tmp_path}/none"]) == 2
    assert "needs a `trainer.global_batch`" in capsys.readouterr().err
