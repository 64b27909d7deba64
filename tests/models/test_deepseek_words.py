"""DeepSeek-VL's tokens are those of its published processor, which `tests/reference/deepseek_words.py` recorded.

Its vocabulary is not kept here: the fixture is of a small one with the same peculiarities. `TEXT4SEG_DEEPSEEK_VL` names
a folder with a checkpoint's own tokenizer and, as `recorded.json`, what that script writes for it.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from reference.deepseek_words import END, TOKENS, write_words
from test_deepseek_vl import RECORDED as MODELS
from test_deepseek_vl import TINY_SIGLIP

from text4seg.models.families.deepseek_vl_original import SIGLIP
from text4seg.models.registry import load_processor
from text4seg.models.settings import ModelSettings

RECORDED = Path(__file__).parents[1] / "reference" / "deepseek_words.json"
REAL = os.environ.get("TEXT4SEG_DEEPSEEK_VL")


@pytest.mark.parametrize(
    "real",
    [
        False,
        pytest.param(
            True,
            marks=pytest.mark.skipif(
                REAL is None, reason="set TEXT4SEG_DEEPSEEK_VL to a folder with DeepSeek-VL's own tokenizer"
            ),
        ),
    ],
)
def test_ids_are_those_of_the_published_processor(real, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(SIGLIP, "siglip_tiny", TINY_SIGLIP)
    (tmp_path / "config.json").write_text(json.dumps(MODELS["single"]["config"]))
    if real:
        assert REAL is not None
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(Path(REAL, name), tmp_path)
    else:
        write_words(tmp_path)
    processor = load_processor(ModelSettings("deepseek_vl", path=str(tmp_path)))
    processor.geometry = replace(processor.geometry, num_tokens=TOKENS)
    end = processor.tokenizer.convert_tokens_to_ids(END)
    recorded = json.loads((Path(REAL, "recorded.json") if real and REAL else RECORDED).read_text(encoding="utf-8"))
    answers = [found["ids"] for found in recorded]
    for found, answer in zip(recorded, [*answers[1:], answers[0]], strict=True):
        assert processor.tokenizer(found["text"], add_special_tokens=False)["input_ids"] == found["ids"]
        assert processor.tokens([(found["text"], None)])[0] == found["asked"]
        said = recorded[answers.index(answer)]["text"]
        ids, learnt = processor.tokens([(found["text"], said)])
        assert ids == [*found["asked"], *answer, end]
        assert [i for i, is_learnt in zip(ids, learnt, strict=True) if is_learnt] == [*answer, end]
