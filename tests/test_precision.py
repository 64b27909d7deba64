"""What a processor does not multiply itself is not chosen, and is named where it was asked for."""

from __future__ import annotations

import pytest
import torch

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
