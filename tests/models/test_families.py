"""What every family has to do, on tiny random checkpoints in the layout of the real ones."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from checkpoints import picture
from torch.nn import functional

from text4seg.models.ends import end_tokens
from text4seg.models.lora import apply_lora, choose_trained
from text4seg.models.loss import answer_loss
from text4seg.models.module import Text4SegModule
from text4seg.models.processor import model_inputs
from text4seg.models.registry import load_backbone, load_processor, load_skeleton
from text4seg.models.settings import LoraSettings, LossSettings, ModelSettings, OptimSettings

TURNS = (
    [("the red car?", "<seg>others *2| red car *2\n others *4\n</seg>")],
    [("all?", "<seg>sky *4\n</seg>"), ("and the left one, please?", "none")],
)
# Linear layers that a decoder layer of each architecture has: attention's and the MLP's.
LINEARS = {"gpt_neox": 4, "phi": 6, "gpt2": 4, "phi3": 4}
SEVEN = ("llama", "qwen2", "qwen3", "gemma", "gemma3_text", "qwen2_vl_text", "qwen2_5_vl_text", "qwen3_vl_text")
LINEARS |= dict.fromkeys(SEVEN, 7)
# Linear layers of a projector; two (an MLP) where nothing is said. Gemma 3's is a bare matrix, which LoRA cannot adapt.
PROJECTORS = {"qwen": 5, "gemma3": 0, "paligemma": 1, "idefics3": 1, "smolvlm": 1, "deepseek_vl_hybrid": 3}
PROJECTORS |= {"qwen3_vl": 4}  # one more, for features from inside the tower


def batch_of(backbone, side="right", turns=TURNS, pictures=range(9)):
    encoded = [backbone.processor.encode(picture(n), pairs) for n, pairs in zip(pictures, turns, strict=False)]
    return backbone.processor.collate(encoded, side)


def lora_of(settings, **changes) -> LoraSettings:
    """LoRA of rank 2 on decoder and projector, where that has a layer for it."""
    bare = str(settings.path).endswith("gemma3")
    return LoraSettings(rank=2, projector="frozen" if bare else "lora", **changes)


def in_double(batch):
    return {name: part.double() if part.is_floating_point() else part for name, part in batch.items()}


def test_hidden_states_and_answer_loss_are_finite(settings) -> None:
    backbone = load_backbone(settings)
    batch = batch_of(backbone)
    hidden = backbone.hidden_states(model_inputs(batch))
    assert hidden.shape[:2] == batch["input_ids"].shape
    assert answer_loss(hidden, batch["labels"], backbone.logits).isfinite()
    assert ("RANDOM" in backbone.loaded) == (settings.family in ("tiny", "compose"))


def test_what_closes_a_learnt_answer_ends_one(settings) -> None:
    backbone = load_backbone(settings)
    ids, learnt = backbone.processor.tokens([("Is it red?", "yes")])
    tokenizer = backbone.processor.tokenizer
    said = len(tokenizer("yes", add_special_tokens=False)["input_ids"])
    closing = [token for token, kept in zip(ids, learnt, strict=True) if kept][said:]
    special = [token for token in closing if tokenizer.decode([token]) and not tokenizer.decode([token], True)]
    assert backbone.processor.end_id == special[0]
    assert special[0] in end_tokens(backbone.core, tokenizer)


def test_the_processor_alone_is_the_same(settings) -> None:
    alone, whole = load_processor(settings), load_backbone(settings).processor
    assert alone.geometry == whole.geometry
    assert alone.tokens(TURNS[1]) == whole.tokens(TURNS[1])


@pytest.mark.parametrize("reduction", ["sample", "token"])
def test_answer_loss_equals_the_full_logits_loss(settings, reduction) -> None:
    backbone = load_backbone(settings)
    backbone.model.double().eval()
    batch = in_double(batch_of(backbone))
    found = answer_loss(backbone.hidden_states(model_inputs(batch)), batch["labels"], backbone.logits, reduction)
    logits = backbone.model(**model_inputs(batch)).logits[:, :-1]
    losses = functional.cross_entropy(logits.transpose(1, 2), batch["labels"][:, 1:], reduction="none")
    counts = (batch["labels"][:, 1:] != -100).sum(1)
    wanted = losses.sum() / counts.sum() if reduction == "token" else (losses.sum(1) / counts).mean()
    assert found.item() == pytest.approx(wanted.item(), rel=1e-6)


def test_a_skeleton_counts_what_the_model_has(settings) -> None:
    if settings.family == "compose":
        with pytest.raises(ValueError, match="says how large"):
            load_skeleton(settings)
        return
    whole, bare = load_backbone(settings), load_skeleton(settings)
    assert (bare.vision, bare.projector, bare.language) == (whole.vision, whole.projector, whole.language)
    assert all(p.is_meta for p in bare.model.parameters())
    reports = [apply_lora(backbone, lora_of(settings)) for backbone in (whole, bare)]
    assert reports[0] == reports[1]


def test_every_weight_belongs_to_one_part(settings) -> None:
    """All train where all parts are asked to, and each by itself trains what no other does."""
    sizes = []
    for parts in (["vision", "projector", "language"], ["vision"], ["projector"], ["language"]):
        asked = replace(settings, train=parts, lora=LoraSettings(enabled=False))
        sizes.append(choose_trained(load_backbone(asked), asked))
    assert sizes[0].trainable == sizes[0].total == sum(size.trainable for size in sizes[1:])


def test_one_lora_step_changes_adapters_only(settings) -> None:
    backbone = load_backbone(settings)
    text = backbone.model.config.get_text_config()
    report = apply_lora(backbone, lora_of(settings, alpha=4, dropout=0.0))
    projector = PROJECTORS.get(backbone.core.config.model_type, 2)
    assert report.targets == LINEARS[text.model_type] * text.num_hidden_layers + projector
    module = Text4SegModule(backbone, LossSettings(), OptimSettings(lr=1e-2, warmup_ratio=0.0), steps=10)
    optimizer = module.configure_optimizers()["optimizer"]
    before = {name: weight.clone() for name, weight in backbone.model.state_dict().items()}
    module.training_step(batch_of(backbone), 0).backward()
    optimizer.step()
    after = backbone.model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    # A starts random and B at zero, so the first step moves every B and no A.
    assert len(changed) == report.targets
    assert all(".lora_B." in name for name in changed)


@torch.inference_mode()
def test_a_padded_neighbour_does_not_change_the_text(settings) -> None:
    backbone = load_backbone(settings)
    backbone.core.set_attn_implementation("sdpa")  # the tiny model's own rounds to float32
    backbone.model.double().eval()
    short, long = [("red?", None)], [("the second of the three large cars from the left?", None)]
    greedy = {"do_sample": False, "max_new_tokens": 12, "pad_token_id": backbone.processor.pad_id}

    def texts(turns, pictures):
        encoded = [backbone.processor.encode(picture(n), t) for n, t in zip(pictures, turns, strict=True)]
        prompts = in_double(backbone.processor.collate(encoded, "left"))
        out = backbone.model.generate(**prompts, **greedy)[:, prompts["input_ids"].shape[1] :]
        return [row[: int((row == out.new_tensor(greedy["pad_token_id"])).int().argmax()) or None] for row in out]

    together = texts([short, long, [("?", None)], long], [0, 1, 2, 3])
    alone = texts([short], [0])[0]
    assert len(alone) > 1
    assert torch.equal(alone, together[0])


@torch.inference_mode()
def test_the_flag_says_whether_the_image_sees_the_question(settings) -> None:
    """An image that stands first is the same before any question, but where `shared_prefix` says that it is not."""
    backbone = load_backbone(replace(settings, image_place="first"))
    backbone.core.set_attn_implementation("sdpa")  # the tiny model's own rounds to float32
    backbone.model.double().eval()
    states = []
    for question in ("red?", "the second of the three large cars?"):
        batch = in_double(batch_of(backbone, turns=[[(question, None)]]))
        hidden_TD = backbone.hidden_states(model_inputs(batch))[0]
        states.append(hidden_TD[batch["input_ids"][0] == backbone.processor.image_token_id])
    assert torch.allclose(*states, atol=1e-9) == backbone.shared_prefix


@torch.inference_mode()
def test_a_batch_has_the_losses_of_its_rows(settings) -> None:
    backbone = load_backbone(settings)
    backbone.core.set_attn_implementation("sdpa")  # the tiny model's own rounds to float32
    backbone.model.double().eval()
    four = [*TURNS, [("the dog on the left of the tree?", "<seg>others *4\n</seg>")], [("?", "!")]]

    def losses(numbers) -> list[float]:
        batch = in_double(batch_of(backbone, turns=[four[n] for n in numbers], pictures=numbers))
        hidden = backbone.hidden_states(model_inputs(batch))
        rows = range(len(numbers))
        return [float(answer_loss(hidden[n : n + 1], batch["labels"][n : n + 1], backbone.logits)) for n in rows]

    together = losses(range(4))
    assert together == pytest.approx([losses([n])[0] for n in range(4)], rel=1e-6)
    assert len({round(loss, 6) for loss in together}) == 4


@torch.inference_mode()
def test_the_picture_matters(settings) -> None:
    backbone = load_backbone(settings)
    backbone.model.eval()
    batch = batch_of(backbone)
    other = {**model_inputs(batch), "pixel_values": batch["pixel_values"].flip(0)}
    assert not torch.allclose(backbone.hidden_states(model_inputs(batch)), backbone.hidden_states(other))


@torch.inference_mode()
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_saved_and_loaded_it_is_the_same(settings, dtype, tmp_path) -> None:
    backbone = load_backbone(replace(settings, dtype=dtype))
    backbone.model.eval()
    backbone.save(tmp_path)
    again = load_backbone(ModelSettings(settings.family, path=str(tmp_path), dtype=dtype))
    again.model.eval()
    before, after = backbone.model.state_dict(), again.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert {p.dtype for p in again.model.parameters()} == {getattr(torch, dtype)}
    one, two = batch_of(backbone), batch_of(again)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert torch.equal(backbone.hidden_states(model_inputs(one)), again.hidden_states(model_inputs(two)))
    assert "RANDOM" not in again.loaded


def test_gradient_checkpointing_changes_no_gradient(settings) -> None:
    found = []
    for checkpointing in (False, True):
        backbone = load_backbone(settings)
        torch.manual_seed(0)
        lora = lora_of(settings, dropout=0.0)
        choose_trained(backbone, replace(settings, gradient_checkpointing=checkpointing, lora=lora))
        features = []
        backbone.part("projector").register_forward_pre_hook(lambda _m, given, kept=features: kept.append(given[0]))
        layers = []
        first = backbone.part("language").get_submodule(backbone.linears("language")[0].split(".", 2)[2])
        first.register_forward_hook(lambda _m, _i, _o, kept=layers: kept.append(1))
        module = Text4SegModule(backbone, LossSettings(), OptimSettings(), steps=1)
        module.training_step(batch_of(backbone), 0).backward()
        found.append([p.grad for p in module.parameters() if p.grad is not None])
        assert len(layers) == 1 + checkpointing, "a checkpointed layer runs twice"
        assert not features[0].requires_grad, "backward would run through the frozen tower"
        assert backbone.part("language").training
        assert not any(layer.training for layer in backbone.part("vision").modules()), "a frozen tower stays as it is"
    assert len(found[0]) == len(found[1]) > 0
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*found, strict=True))
