"""Family auto: what goes into a model is exactly what the checkpoint's own processor makes of a square picture."""

from __future__ import annotations

import pytest
import torch
from checkpoints import picture, write_language
from PIL import Image
from vlm_checkpoints import MAKERS, write_without_weights

from text4seg.models.processor import model_inputs
from text4seg.models.registry import load_backbone, load_processor
from text4seg.models.settings import ModelSettings

QUESTION, ANSWER = "the red car?", "<seg>red car *2\n</seg>"
CHATS = sorted(set(MAKERS) - {"paligemma"})


def square(processor) -> Image.Image:
    side = processor.geometry.side
    return picture(3).resize((side, side), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("kind", CHATS)
def test_a_prompt_is_what_the_own_processor_makes(checkpoints, kind) -> None:
    processor = load_processor(checkpoints.settings(f"auto:{kind}"))
    chat = [
        {"role": "user", "content": [{"type": "image", "image": square(processor)}, {"type": "text", "text": QUESTION}]}
    ]
    wanted = processor.own.apply_chat_template(
        chat, tokenize=True, add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    made = model_inputs(processor.collate([processor.encode(picture(3), [(QUESTION, None)])], "left"))
    assert made["input_ids"].tolist() == wanted["input_ids"].tolist()
    for name, part in made.items():
        assert torch.equal(part.reshape(wanted[name].shape), wanted[name]), name


def test_paligemma_has_a_prefix_and_a_suffix(checkpoints) -> None:
    """Tokens and marks of a training sample, and of a prompt, as its own processor makes them."""
    processor = load_processor(checkpoints.settings("auto:paligemma"))

    def wanted(**more):
        return processor.own(text=["<image>" + QUESTION], images=[[square(processor)]], return_tensors="pt", **more)

    learnt = wanted(suffix=[ANSWER])
    made = processor.collate([processor.encode(picture(3), [(QUESTION, ANSWER)])])
    for name in ("input_ids", "token_type_ids", "labels", "pixel_values"):
        assert torch.equal(made[name], learnt[name]), name
    asked = wanted()
    made = processor.collate([processor.encode(picture(3), [(QUESTION, None)])], "left")
    assert torch.equal(made["input_ids"], asked["input_ids"])
    assert torch.equal(made["token_type_ids"], asked["token_type_ids"])


@torch.inference_mode()
@pytest.mark.parametrize(("kind", "sees"), [("paligemma", True), ("gemma3", False), ("qwen2_5_vl", False)])
def test_whether_the_image_sees_the_question(checkpoints, kind, sees) -> None:
    """The capability flag tells the truth: only PaliGemma's image tokens look at the words behind them."""
    backbone = load_backbone(checkpoints.settings(f"auto:{kind}"))
    backbone.model.double().eval()
    processor = backbone.processor
    states = []
    for question in ("red?", "cat?"):
        batch = processor.collate([processor.encode(picture(3), [(question, None)])], "left")
        hidden_TD = backbone.hidden_states(model_inputs(batch))[0]
        states.append(hidden_TD[batch["input_ids"][0] == processor.image_token_id])
    assert torch.allclose(*states, atol=1e-9) != sees
    assert backbone.shared_prefix != sees
    assert backbone.tree_attention


@pytest.mark.parametrize("kind", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_qwen_takes_a_square_of_any_multiple(checkpoints, kind, tmp_path) -> None:
    settings = checkpoints.settings(f"auto:{kind}")
    step = settings.image_size // 2
    assert load_processor(ModelSettings("auto", path=settings.path)).geometry.num_tokens == 16 * 16
    other = load_processor(ModelSettings("auto", path=settings.path, image_size=3 * step))
    assert other.geometry.num_tokens == other.geometry.tokens_a_side**2 == 9
    with pytest.raises(ValueError, match=f"multiple of {step}"):
        load_processor(ModelSettings("auto", path=settings.path, image_size=step + 1))


def test_tiles_are_refused(checkpoints) -> None:
    path = checkpoints.settings("auto:idefics3").path
    with pytest.raises(ValueError, match=r"tiles.*do_image_splitting: false"):
        load_processor(ModelSettings("auto", path=path))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("blip2", r"its Blip2Processor cannot be used by family auto, .*AttributeError: 'str' object has no attribute"),
        ("pixtral", r"PixtralProcessor cuts .* into pieces \(tiles, or rows with a token behind each\)"),
    ],
)
def test_a_processor_that_cannot_be_used_is_named(tmp_path, kind, said) -> None:
    with pytest.raises(ValueError, match=said):
        load_processor(ModelSettings("auto", path=write_without_weights(tmp_path, kind)))


@torch.inference_mode()
def test_internvl_states_height_and_width(checkpoints, tmp_path) -> None:
    """Its family has code of its own; here it is what any other model is."""
    own = load_backbone(checkpoints.settings("internvl2-1b"))
    own.save(tmp_path)
    found = load_backbone(ModelSettings("auto", path=str(tmp_path)))
    assert found.processor.geometry.side == own.processor.geometry.side == 56
    batches = [b.processor.collate([b.processor.encode(picture(3), [(QUESTION, ANSWER)])]) for b in (found, own)]
    assert torch.equal(batches[0]["input_ids"], batches[1]["input_ids"])
    assert found.hidden_states(model_inputs(batches[0])).isfinite().all()
    with pytest.raises(ValueError, match="must be 56"):
        load_processor(ModelSettings("auto", path=str(tmp_path), image_size=112))


@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        ("idefics3", {"image_options": {"do_image_split": False}}, "'do_image_split', which Idefics3"),
        ("idefics3", {"image_size": 64}, "must be 32"),
        ("paligemma", {"template": "{{ messages[0].content[0].text }}"}, "cannot be used"),
        ("paligemma", {"template": None}, "no chat template"),
    ],
)
def test_what_does_not_fit_is_named(checkpoints, kind, changes, said) -> None:
    settings = checkpoints.settings(f"auto:{kind}")
    for key, value in changes.items():
        setattr(settings, key, value)
    with pytest.raises(ValueError, match=said):
        load_processor(settings).tokens([(QUESTION, ANSWER)])


def test_what_is_no_vision_language_model(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"needs `model\.path`"):
        load_processor(ModelSettings("auto"))
    path = write_language(tmp_path, "llama")
    with pytest.raises(ValueError, match=r"llama checkpoint.*does not know"):
        load_processor(ModelSettings("auto", path=path))
