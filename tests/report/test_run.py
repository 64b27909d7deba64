"""Reading a run back: weights that are damaged, incomplete or of another model are refused, never half used."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from small import MODEL, SHORT, write_config

from text4seg import fit, predict
from text4seg.report.run import load_run

STORED = {"lora": "adapter/adapter_model.safetensors", "whole": "weights.safetensors"}


@pytest.fixture(scope="module", params=STORED)
def trained(request, tmp_path_factory) -> tuple[Path, str]:
    """A run by LoRA with a projector that trains as a whole, and one of a whole part; with the file of its weights."""
    folder = tmp_path_factory.mktemp(request.param)
    parts = ["model.lora.projector=full"]
    if request.param == "whole":
        parts = ["model.lora.enabled=false", "model.train=[language]", "model.gradient_checkpointing=true"]
    words = [*MODEL, *SHORT, *parts, f"run_dir={folder}/run"]
    assert fit.main(["--config", str(write_config(folder)), *words]) == 0
    return folder / "run", STORED[request.param]


@pytest.fixture
def run(trained, tmp_path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(trained[0], tmp_path / "run"))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-50])


def without_one(path: Path) -> None:
    weights = load_file(path)
    del weights[sorted(weights)[len(weights) // 2]]
    save_file(weights, path)


def with_one_more(path: Path) -> None:
    weights = load_file(path)
    save_file({**weights, "stray": weights[min(weights)].clone()}, path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "cannot be read"),
        (lambda path: path.write_bytes(b""), "cannot be read"),
        (without_one, "lacks .*another model"),
        (with_one_more, "holds stray"),
    ],
    ids=["cut", "empty", "without one", "with one more"],
)
def test_damaged_weights_are_refused(trained, run, damage: Callable[[Path], object], message) -> None:
    load_run(run)
    damage(run / trained[1])
    with pytest.raises(ValueError, match=message):
        load_run(run)


def test_weights_of_another_model_are_refused(trained, run, capsys) -> None:
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("width: 48", "width: 64"))
    with pytest.raises(ValueError, match="was trained on another model"):
        load_run(run)
    assert predict.main([str(config), "--run", str(run), "--query", "dog"]) == 2
    assert "was trained on another model" in capsys.readouterr().err


def test_settings_that_were_cut_are_not_filled_up_with_default_ones(run) -> None:
    config = run / "config.yaml"
    config.write_text("".join(config.read_text().splitlines(keepends=True)[:20]))
    with pytest.raises(ValueError, match="breaks off"):
        load_run(run)


def test_an_adapter_that_was_copied_by_halves_is_not_looked_for_on_the_hub(trained, run) -> None:
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if (run / "adapter" / name).exists():
            (run / "adapter" / name).unlink()
            with pytest.raises(ValueError, match=f"there is no {name}"):
                load_run(run)
            shutil.copy(trained[0] / "adapter" / name, run / "adapter" / name)
