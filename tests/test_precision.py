"""What a processor does not multiply itself is not chosen, and is named where it was asked for; tables stay exact."""

from __future__ import annotations

import pytest
import torch
from checkpoints import write_llava
from small import MODEL, SHORT, write_config

from text4seg.callbacks.score import Score
from text4seg.fit import main
from text4seg.report.run import load_run
from text4seg.training import hardware
from text4seg.training.hardware import emulated, precision_on


@pytest.mark.parametrize(
    ("asked", "fast", "settled", "warned"),
    [
        ("auto", True, "bf16-mixed", False),
        ("auto", False, "32-true", False),
        ("bf16-mixed", False, "bf16-mixed", True),
        ("bf16-true", True, "bf16-true", False),
        ("32-true", False, "32-true", False),
    ],
)
def test_auto_takes_what_is_fast(asked, fast, settled, warned, monkeypatch) -> None:
    monkeypatch.setattr(hardware, "_multiplies_bfloat16", lambda accelerator: fast)
    assert precision_on(asked, "cpu") == settled
    assert emulated(settled, "cpu") is warned


def test_this_processor_answers() -> None:
    assert precision_on("auto", "cpu") in ("bf16-mixed", "32-true")
    assert hardware._multiplies_bfloat16("cpu") == torch.ops.mkldnn._is_mkldnn_bf16_supported()


def test_under_mixed_precision_whatever_trains_is_in_float32(tmp_path, monkeypatch) -> None:
    seen: dict[str, tuple[bool, torch.dtype]] = {}
    real = Score.on_validation_start

    def look(self, trainer, module) -> None:
        seen.update({name: (weight.requires_grad, weight.dtype) for name, weight in module.named_parameters()})
        real(self, trainer, module)

    monkeypatch.setattr(Score, "on_validation_start", look)
    words = [word for word in SHORT if not word.startswith("trainer.precision")]
    words += ["model.family=llava", f"model.path={write_llava(tmp_path / 'llava')}", "model.dtype=bfloat16"]
    words += ["model.lora.projector=full", "trainer.precision=bf16-mixed", f"run_dir={tmp_path}/run"]
    assert main(["--config", str(write_config(tmp_path)), *words, "trainer.steps=1"]) == 0
    trained = {name: kind for name, (trains, kind) in seen.items() if trains}
    assert any("projector" in name for name in trained)
    assert any("lora" in name for name in trained)
    assert set(trained.values()) == {torch.float32}
    assert any(kind == torch.bfloat16 for _, kind in seen.values())


def test_rotary_tables_keep_their_precision_where_weights_do_not(tmp_path, monkeypatch) -> None:
    seen: dict[str, torch.Tensor] = {}
    real = Score.on_validation_start

    def look(self, trainer, module) -> None:
        seen.update({name: table for name, table in module.named_buffers() if "inv_freq" in name})
        assert any(weight.dtype == torch.bfloat16 for weight in module.parameters())
        real(self, trainer, module)

    monkeypatch.setattr(Score, "on_validation_start", look)
    words = [word for word in SHORT if not word.startswith("trainer.precision")]
    words += [*MODEL, "trainer.precision=bf16-true", "trainer.steps=1", f"run_dir={tmp_path}/run"]
    assert main(["--config", str(write_config(tmp_path)), *words]) == 0
    _, exact = load_run(tmp_path / "run", "last")
    tables = {f"model.{name}": table for name, table in exact.model.named_buffers() if "inv_freq" in name}
    assert tables
    assert seen.keys() >= tables.keys()
    assert all(torch.equal(seen[name], table) and seen[name].dtype == torch.float32 for name, table in tables.items())
