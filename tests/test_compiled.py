"""`trainer.compile`: the same losses, validation in between, and one compilation for all layers."""

from __future__ import annotations

import shutil

import pytest
import torch
from small import MODEL, SHORT, steps_of, write_config

from text4seg.fit import main


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU: install g++")
def test_compiled_layers_learn_the_same(tmp_path) -> None:
    config = write_config(tmp_path)
    words = ["--config", str(config), *SHORT, *MODEL, "trainer.steps=4", "trainer.validate_every=2"]
    words += ["model.options={width: 48, vision_layers: 1, language_layers: 10}", "model.lora.dropout=0.0"]
    assert main([*words, f"run_dir={tmp_path}/plain"]) == 0
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    assert main([*words, f"run_dir={tmp_path}/compiled", "trainer.compile=true"]) == 0
    plain, compiled = ([float(line["loss"]) for line in steps_of(tmp_path / run)] for run in ("plain", "compiled"))
    assert compiled == pytest.approx(plain, rel=1e-5)
    made = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert 1 <= made <= 4, "ten layers and two lengths share what was compiled"
