"""The tower of the tiny model learns to name cells, and its checkpoint is one that `fit` starts from."""

from __future__ import annotations

from pathlib import Path

import torch

from text4seg.models.registry import load_backbone
from text4seg.models.settings import ModelSettings
from text4seg.training import eyes

CONFIG = """\
model: {{family: tiny, path: nothing yet, options: {{width: 32, language_layers: 1}}}}
data:
  train:
    shards: {folder}/train
    build: {{source: scenes, shards: 2, task: all, options: {{count: 40, classes: either}}}}
  val: {{shards: {folder}/val, build: {{source: scenes, shards: 1, options: {{count: 2}}}}}}
"""


def test_the_tower_learns_and_is_saved(tmp_path: Path, capsys) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG.format(folder=tmp_path))
    out = tmp_path / "eyes"
    assert eyes.main(["--config", str(config), "--out", str(out), "--steps", "100"]) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step")]
    losses = [float(line.split("loss ")[1].split(" ")[0]) for line in told]
    assert losses[-1] < losses[0]
    trained = load_backbone(ModelSettings(path=str(out)))
    fresh = load_backbone(ModelSettings(path="random", options={"width": 32, "language_layers": 1}))
    before, after = fresh.model.state_dict(), trained.model.state_dict()
    changed = {name.split(".")[1] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"vision_tower"}


def test_a_set_without_its_questions_is_told(tmp_path: Path, capsys) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG.format(folder=tmp_path).replace("task: all, options: {count: 40,", "options: {count: 4,"))
    assert eyes.main(["--config", str(config), "--out", str(tmp_path / "eyes"), "--steps", "1"]) == 2
    assert "has no `all` question about shapes or colours" in capsys.readouterr().err


def test_a_mistake_is_told(tmp_path, capsys) -> None:
    assert eyes.main(["--config", str(tmp_path / "none.yaml"), "--out", str(tmp_path)]) == 2
    assert "no configuration" in capsys.readouterr().err
