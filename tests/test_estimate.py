"""What a run will cost is counted on models without weights, from the numbers that its YAML carries."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from text4seg import fit
from text4seg.config import load
from text4seg.training.estimate import estimate

CONF = Path(__file__).resolve().parents[1] / "conf"
# Of the checkpoints themselves: InternVL2-8B's published index states 16,150,730,752 bytes in two a parameter. That of
# Qwen-VL-Chat-Int4 states 9,731,786,240: what these parameters take when the decoder's are packed as GPTQ does. That of
# a fine-tuned Qwen2-VL-7B states 16,582,751,232. DeepSeek-VL's files hold 3.95 and 14.69 GB, with a head
# of SigLIP's that is never used. The counts of LLaVA-1.5-7B, Qwen2.5-VL, Qwen3-VL, Gemma 3, SmolVLM2 and of InternVL2.5
# with 2B, 8B and 26B (InternVL2's sizes) are those that others print for the loaded checkpoints (docs/backbones.md).
PARAMETERS = {
    "internvl2": 16_150_730_752 // 2,
    "internvl2_1b": 938_158_976,
    "internvl2_2b": 2_205_754_368,
    "internvl2_4b": 4_146_855_936,
    "internvl2_26b": 25_514_186_112,
    "internvl25": 16_150_730_752 // 2,
    "internvl3": 7_944_373_760,
    "internvl3_5": 8_528_318_464,
    "llava15_7b": 7_063_427_072,
    "llava15_13b": 13_351_494_656,
    "qwen_vl": 9_655_886_592,
    "deepseek_vl_1_3b": 1_962_640_384,
    "deepseek_vl_7b": 7_331_390_721,
    "qwen2_vl": 16_582_751_232 // 2,
    "qwen2_5_vl": 8_292_166_656,
    "qwen3_vl": 4_437_815_808,
    "gemma3": 4_300_079_472,
    "paligemma": 3_032_242_416,
    "llava_onevision": 8_029_890_080,
    "smolvlm": 2_246_784_880,
    "idefics3": 8_462_086_384,
}
# Linear layers of a projector; two (an MLP) where nothing is said.
PROJECTORS = {"qwen_vl": 0, "deepseek_vl_7b": 3, "gemma3": 0, "paligemma": 1, "smolvlm": 1, "idefics3": 1}
PROJECTORS |= {"qwen3_vl": 2 + 3 * 2}  # three more for features from inside the tower
IMAGE_TOKENS = {"llava15_7b": 576, "llava15_13b": 576, "deepseek_vl_1_3b": 576, "deepseek_vl_7b": 576}
IMAGE_TOKENS |= {"llava_onevision": 27 * 27 + 27 * 28, "smolvlm": 9 * 9, "idefics3": 13 * 13}


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_parameters_of_every_shipped_size(name) -> None:
    config = load(CONF / f"{name}.yaml", [])
    assert config.trainer.strategy == "zero2"
    found = estimate(config)
    assert found.report.total - found.report.trainable == PARAMETERS[name]
    numbers = config.model.architecture
    layers = numbers.get("text_config", numbers)["num_hidden_layers"]
    tower = 6 * 24 if config.model.lora.vision else 0
    assert found.report.targets == layers * (4 if name == "internvl2_4b" else 7) + PROJECTORS.get(name, 2) + tower
    assert found.image_tokens == IMAGE_TOKENS.get(name, 16 * 16)


def test_the_share_of_lora_worked_out_by_hand() -> None:
    hidden, keys, inner = 4096, 1024, 14336
    layer = 2 * (hidden + hidden) + 2 * (hidden + keys) + 3 * (hidden + inner)
    projector = 2 * (hidden + hidden)
    assert estimate(load(CONF / "internvl2.yaml", [])).report.trainable == 64 * (32 * layer + projector)


def test_zero2_splits_the_optimizer_and_nothing_else() -> None:
    one, four, eight = estimate(load(CONF / "internvl2.yaml", [])).memory
    assert (one.gpus, four.gpus, eight.gpus) == (1, 4, 8)
    assert one.weights == four.weights == eight.weights == pytest.approx(2 * (PARAMETERS["internvl2"] + 168_820_736))
    buffers = 2 * 200_000_000 * 2  # DeepSpeed's, for gradients under way
    assert [(row.optimizer - buffers) * row.gpus for row in (one, four, eight)] == [168_820_736 * 14] * 3
    assert one.activations == eight.activations
    assert one.total == one.weights + one.optimizer + one.activations
    alone = estimate(load(CONF / "internvl2.yaml", ["trainer.strategy=ddp"])).memory
    assert alone[0].optimizer == 168_820_736 * 12, "PEFT makes adapters in float32"
    assert alone[1].optimizer == alone[2].optimizer == 168_820_736 * 16, "and DDP's buckets"


def test_fsdp2_splits_the_decoder() -> None:
    one, _, eight = estimate(load(CONF / "internvl2.yaml", ["trainer.strategy=fsdp2"])).memory
    trained, layer = 168_820_736, 2 * 4096 * (4096 + 1024) + 3 * 4096 * 14336
    assert one.weights == 2 * PARAMETERS["internvl2"] + 4 * trained
    assert one.optimizer == 8 * eight.optimizer == 12 * trained
    assert one.weights - eight.weights == 7 / 8 * (32 * layer * 2 + 4 * trained) - 2 * 2 * layer


def test_settings_move_what_they_should() -> None:
    def memory(*words):
        return estimate(load(CONF / "internvl2.yaml", list(words))).memory[0]

    usual = memory()
    assert memory("model.quantize=4").weights < usual.weights / 3
    assert memory("model.gradient_checkpointing=false").activations > 5 * usual.activations
    assert memory("data.batch_size=8").activations == pytest.approx(2 * usual.activations)
    less = usual.optimizer - memory("model.lora.rank=8").optimizer
    assert less == 168_820_736 * 14 * 7 / 8


def test_lengths_that_are_known_better_stand_in_for_the_rules() -> None:
    config = load(CONF / "internvl2.yaml", [])
    assert estimate(config, length=900, answer=50).answer_tokens == 50
    config.data.codec = "full"
    assert estimate(config, answer=50).answer_tokens == 50


def test_the_dry_run_needs_no_weights_and_reads_back(capsys, monkeypatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert fit.main(["--config", str(CONF / "internvl2.yaml"), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert yaml.safe_load(out)["trainer"]["strategy"] == "zero2"
    assert "# OpenGVLab/InternVL2-8B: 8,075,365,376 parameters" in out
    assert "# trained: 168,820,736 (2.05%), LoRA of rank 64 on 226 layers" in out
    assert "33,925 steps of 128 samples (8 ranks x 4 at once x 4): 4,342,400 samples, about 2,275 million tokens" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trainer.strategy=zero3"], "`trainer.strategy: zero3` is not offered"),
        (["trainer.strategy=fsdp2", "model.quantize=4"], "`trainer.strategy: fsdp2` is for LoRA over weights that are"),
        (["trainer.strategy=fsdp2", "trainer.precision=16-mixed"], "`trainer.strategy: fsdp2` has no 16-mixed"),
        (["model.device_map=auto"], "`model.device_map` is for evaluate and predict"),
        (["model.quantize=4", "model.lora.enabled=false"], "`model.quantize` freezes the weights"),
        (["model.quantize=3"], "`model.quantize` must be one of 4, 8, got 3"),
        (["model.dtype=int8"], "`model.dtype` must be one of float32, bfloat16, float16"),
    ],
)
def test_a_way_to_hold_weights_that_cannot_train(capsys, words, message) -> None:
    assert fit.main(["--config", str(CONF / "internvl2.yaml"), "--dry-run", *words]) == 2
    assert message in capsys.readouterr().err


def test_without_numbers_there_is_no_estimate(capsys) -> None:
    assert fit.main(["--config", str(CONF / "compose.yaml"), "--dry-run"]) == 0
    assert (
        "# no estimate: neither a folder in `model.path` nor `model.architecture` (of that" in capsys.readouterr().out
    )
    words = ["model.path=OpenGVLab/InternVL2-40B"]
    assert fit.main(["--config", str(CONF / "internvl2.yaml"), "--dry-run", *words]) == 0
    assert "# no estimate: neither" in capsys.readouterr().out, "another checkpoint's numbers say nothing of this one"
    words = ["model.architecture.text_config.model_type=nonsense"]
    assert fit.main(["--config", str(CONF / "internvl2.yaml"), "--dry-run", *words]) == 0
    assert "# no estimate: " in capsys.readouterr().out
