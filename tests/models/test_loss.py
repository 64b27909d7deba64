"""The loss on answers: worked values, and what gradient accumulation must not change."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from checkpoints import picture

from text4seg.descriptors import LabelGrid
from text4seg.models.lora import apply_lora, choose_trained
from text4seg.models.loss import answer_loss, cell_loss, drawn_words, renumbered
from text4seg.models.module import Text4SegModule
from text4seg.models.processor import model_inputs
from text4seg.models.registry import load_backbone
from text4seg.models.settings import LoraSettings, LossSettings, ModelSettings, OptimSettings

QUESTION = "Where is the red circle?"
ANSWERS = ["<seg>" + " others *3|" * n + "\n</seg>" for n in (1, 7, 2, 12, 3, 1, 9, 4)]


def test_a_worked_case() -> None:
    """Two rows; the head gives probability 1/2 or 1/4 to the right token of a row."""
    hidden = torch.tensor([[[0.0]] * 4, [[1.0]] * 4])
    labels = torch.tensor([[-100, 0, 0, 0], [-100, -100, -100, 0]])

    def head(hidden_ND):
        half, quarter = [math.log(p) for p in (0.5, 0.5)], [math.log(p) for p in (0.25, 0.75)]
        return torch.where(hidden_ND == 0, torch.tensor(half), torch.tensor(quarter))

    assert answer_loss(hidden, labels, head, "sample").item() == pytest.approx((math.log(2) + math.log(4)) / 2)
    assert answer_loss(hidden, labels, head, "token").item() == pytest.approx((3 * math.log(2) + math.log(4)) / 4)


def test_cells_are_named_where_they_stand() -> None:
    """Unlike an answer's tokens, which are predicted by the position before them."""
    hidden = torch.tensor([[[0.0], [1.0], [0.0]]])
    head = torch.nn.Linear(1, 2, bias=False)
    head.weight.data = torch.tensor([[0.0], [math.log(3.0)]])  # 1/2 and 1/2 where hidden is 0, 1/4 and 3/4 where 1
    assert cell_loss(hidden, torch.tensor([[-100, 0, -100]]), head).item() == pytest.approx(math.log(4))
    both = cell_loss(hidden, torch.tensor([[1, 1, -100]]), head).item()
    assert both == pytest.approx((math.log(2) + math.log(4 / 3)) / 2)
    assert cell_loss(hidden, torch.full((1, 3), -100), head).item() == 0, "rows longer than there are signs"


GRID = LabelGrid(np.tile(np.array([[0, 1, 1, 1], [0, 0, 0, 0]], np.int32), (2, 1)), ("others", "red"))
"""What the image tokens show; the lengths 1, 3 and 4 are named."""


def cells_module(weight: float, layer: int | None = None, counts: float = 0.0) -> Text4SegModule:
    options = {"image": 32, "patch": 8, "width": 32, "vision_layers": 1, "language_layers": 3}
    settings = ModelSettings(path="random", options=options, lora=LoraSettings(enabled=False))
    backbone = load_backbone(settings)
    choose_trained(backbone, settings)
    return Text4SegModule(
        backbone, LossSettings(cells=weight, cells_layer=layer, counts=counts), OptimSettings(), steps=1
    )


def cells_batch(module: Text4SegModule, answer: str | None) -> dict[str, torch.Tensor]:
    made = module.backbone.processor
    return made.collate([made.encode(picture(n), [(QUESTION, answer)], GRID) for n in range(2)])


def test_the_cells_loss_is_added_with_its_weight() -> None:
    module = cells_module(0.5)
    batch = cells_batch(module, ANSWERS[2])
    assert (batch["cells"] != -100).sum() == 2 * 16
    assert (batch["cells"][batch["input_ids"] == module.backbone.processor.image_token_id] != -100).all()
    alone = module.answer_loss({name: part for name, part in batch.items() if name != "cells"})
    _, (hidden,) = module.backbone.hidden_states_at(model_inputs(batch), [2])
    cells = cell_loss(hidden, batch["cells"], module.backbone.logits)
    assert module.answer_loss(batch).item() == pytest.approx(alone.item() + 0.5 * cells.item(), rel=1e-6)


def test_behind_each_run_its_length_is_named_in_the_layer_above() -> None:
    module, plain = cells_module(0.5, counts=0.25), cells_module(0.5)
    batch = cells_batch(module, ANSWERS[2])
    made = module.backbone.processor
    for ids, counts in zip(batch["input_ids"], batch["counts"], strict=True):
        start = int((ids == made.image_token_id).nonzero()[0, 0])
        places = (counts != -100).nonzero()[:, 0].tolist()
        named = {place - start: made.tokenizer.decode(int(counts[place])).strip(" *") for place in places}
        assert named == {1: "1", 4: "3", 8: "4", 9: "1", 12: "3", 16: "4"}
    _, (hidden,) = module.backbone.hidden_states_at(model_inputs(batch), [3])
    third = cell_loss(hidden, batch["counts"], module.backbone.logits).item()
    assert module.answer_loss(batch).item() == pytest.approx(plain.answer_loss(batch).item() + 0.25 * third, rel=1e-6)


def test_without_answers_the_cells_teach_the_lower_layers_only() -> None:
    module = cells_module(1.0, layer=1)
    batch = cells_batch(module, None)
    module.answer_loss(batch).backward()
    grads = {name: p.grad for name, p in module.named_parameters() if p.requires_grad}
    assert all(grad is not None for grad in grads.values())  # or ranks would wait for one another
    layers = {n: any(g.any() for k, g in grads.items() if f"layers.{n}." in k) for n in range(3)}
    assert layers == {0: True, 1: False, 2: False}


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("reduction", ["sample", "token"])
@pytest.mark.parametrize("chunk", [1, 5, 64])
def test_chunks_change_the_memory_and_nothing_else(chunk, reduction, frozen) -> None:
    whole, chunked = (cells_module(0.5, counts=0.25) for _ in range(2))
    most = []
    for module, size in ((whole, 0), (chunked, chunk)):
        module.loss.chunk, module.loss.reduction = size, reduction
        module.backbone.head.requires_grad_(not frozen)
    chunked.backbone.head.register_forward_hook(lambda head, given, made: most.append(len(made)))
    made = whole.backbone.processor  # a long and a short answer: their tokens weigh unequally
    batch = made.collate([made.encode(picture(n), [(QUESTION, ANSWERS[n])], GRID) for n in range(2)])
    losses = [module.answer_loss(batch) for module in (whole, chunked)]
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=1e-6)
    for loss in losses:
        (2 * loss).backward()
    assert max(most) <= chunk
    trained = 0
    for one, other in zip(whole.parameters(), chunked.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None)
        if one.grad is not None and other.grad is not None:
            torch.testing.assert_close(other.grad, one.grad, rtol=1e-4, atol=1e-7)
            trained += 1
    assert trained > 10


def test_a_sample_of_all_words_is_the_exact_loss() -> None:
    module = cells_module(0.5, counts=0.25)
    batch = cells_batch(module, ANSWERS[2])
    everything = len(module.backbone.head.weight)
    exact, sampled = module.answer_loss(batch), module.answer_loss(batch, sampled=everything)
    torch.testing.assert_close(sampled, exact, rtol=1e-5, atol=0)
    few = module.answer_loss(batch, sampled=40)
    assert 0.5 * exact < few < 1.5 * exact
    weights = [p for p in module.parameters() if p.requires_grad]
    grads = zip(*(torch.autograd.grad(loss, weights) for loss in (exact, sampled)), strict=True)
    for one, other in grads:
        torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-6)


def test_drawn_words_stand_for_the_whole_vocabulary_in_expectation() -> None:
    targets = {"labels": torch.tensor([[-100, 3, 11], [3, -100, -100]]), "cells": torch.tensor([-100, 7])}
    logits = torch.randn(20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sums = []
    for seed in range(4000):
        words, rise = drawn_words(targets, 20, 4, seed)
        assert len(words) == 7
        assert {3, 7, 11} <= set(words.tolist())
        assert words[renumbered(targets["labels"], words)[0, 1:]].tolist() == [3, 11]
        assert renumbered(targets["labels"], words)[1, 1] == -100
        sums.append((logits[words] + rise).exp().sum())
    assert torch.stack(sums).mean().item() == pytest.approx(logits.exp().sum().item(), rel=0.01)


def test_validation_and_the_next_step_draw_otherwise() -> None:
    """`val/loss` is exact; each step has words of its own, the same ones after a resume."""
    module = cells_module(0.0)
    module.loss.sampled = 40
    batch = cells_batch(module, ANSWERS[2])
    first = module.training_step(batch, 0).item()
    assert module.training_step(batch, 0).item() == first
    assert first != pytest.approx(module.answer_loss(batch).item(), rel=1e-6)
    targets = {"labels": batch["labels"]}
    one, other = (drawn_words(targets, 5000, 40, seed)[0].tolist() for seed in (0, 1))
    assert one != other


def test_a_head_that_is_no_plain_layer_is_refused() -> None:
    module = cells_module(0.0)
    module.backbone.core.lm_head = torch.nn.Sequential(module.backbone.core.lm_head)
    with pytest.raises(ValueError, match=r"`loss.sampled` needs a plain linear head, got Sequential"):
        module.backbone.logits(torch.zeros(1, 32), torch.tensor([0]))


@pytest.mark.parametrize("layer", [0, 4])
def test_a_layer_that_is_not_there(layer) -> None:
    module = cells_module(1.0, layer=layer)
    with pytest.raises(ValueError, match=rf"`loss.cells_layer` must be 1 to 3, .*got {layer}"):
        module.answer_loss(cells_batch(module, None))


def test_only_positions_that_predict_an_answer_reach_the_head() -> None:
    seen = []

    def head(hidden_ND):
        seen.append(hidden_ND.flatten().tolist())
        return torch.zeros(len(hidden_ND), 5)

    hidden = torch.arange(5.0).reshape(1, 5, 1)
    answer_loss(hidden, torch.tensor([[3, -100, -100, 1, 2]]), head)
    assert seen == [[2.0, 3.0]]


def test_a_sample_without_answer_does_not_count() -> None:
    hidden = torch.randn(2, 4, 3)
    labels = torch.tensor([[-100, 1, 2, 1], [-100, -100, -100, -100]])
    head = torch.nn.Linear(3, 4)
    assert torch.equal(answer_loss(hidden, labels, head), answer_loss(hidden[:1], labels[:1], head))


def test_what_is_refused() -> None:
    hidden, labels = torch.zeros(1, 3, 2), torch.full((1, 3), -100)
    with pytest.raises(ValueError, match="sample or token, got 'mean'"):
        answer_loss(hidden, labels, torch.nn.Linear(2, 2), "mean")
    with pytest.raises(ValueError, match="every label is -100"):
        answer_loss(hidden, labels, torch.nn.Linear(2, 2))


def gradients(micro: int, reduction: str) -> dict[str, torch.Tensor]:
    """Gradients of one optimizer step over eight samples, fed `micro` at a time."""
    options = {"image": 32, "patch": 8, "width": 32, "vision_layers": 1, "language_layers": 2}
    backbone = load_backbone(ModelSettings(path="random", options=options))
    torch.manual_seed(0)
    apply_lora(backbone, LoraSettings(rank=4, dropout=0.0))
    with torch.no_grad():
        for name, weight in backbone.model.named_parameters():
            if ".lora_B." in name:
                weight.normal_(std=0.02)  # at zero, half of the gradients would be zero
    backbone.core.set_attn_implementation("sdpa")  # the tiny model's own rounds to float32
    backbone.model.double().train()
    module = Text4SegModule(backbone, LossSettings(reduction), OptimSettings(), steps=1)
    encoded = [backbone.processor.encode(picture(n), [(QUESTION, a)]) for n, a in enumerate(ANSWERS)]
    for start in range(0, len(encoded), micro):
        batch = backbone.processor.collate(encoded[start : start + micro])
        batch["pixel_values"] = batch["pixel_values"].double()
        (module.training_step(batch, 0) * micro / len(encoded)).backward()
    return {name: p.grad for name, p in module.named_parameters() if p.requires_grad}


def test_one_by_one_accumulated_equals_all_at_once() -> None:
    together, apart = gradients(8, "sample"), gradients(1, "sample")
    assert together.keys() == apart.keys()
    assert all(torch.allclose(together[n], apart[n], rtol=1e-9, atol=1e-12) for n in together)
    assert all(grad.any() for grad in together.values())


def test_the_published_reduction_depends_on_the_micro_batch() -> None:
    """Why `sample` is the default."""
    together, apart = gradients(8, "token"), gradients(1, "token")
    assert not all(torch.allclose(together[n], apart[n], rtol=1e-3) for n in together)


def test_padding_to_a_multiple_changes_no_loss() -> None:
    module = cells_module(1.0)
    module.backbone.core.set_attn_implementation("sdpa")  # the tiny model's own rounds to float32
    module.backbone.model.double().eval()
    made = module.backbone.processor
    encoded = [made.encode(picture(n), [(QUESTION, a)], GRID) for n, a in enumerate(ANSWERS[:3])]
    longest = max(len(one.input_ids) for one in encoded)
    rounded = -(-longest // 16) * 16
    assert longest + 1 < rounded
    found = {}
    for multiple, room in ((1, None), (16, None), (16, longest + 1), (16, longest - 1)):
        batch = made.collate(encoded, pad_to_multiple_of=multiple, max_length=room)
        batch["pixel_values"] = batch["pixel_values"].double()
        assert len({batch[name].shape for name in ("input_ids", "attention_mask", "labels", "cells")}) == 1
        found.setdefault(batch["input_ids"].shape[1], []).append(module.training_step(batch, 0).item())
    assert {length: len(losses) for length, losses in found.items()} == {longest: 2, rounded: 1, longest + 1: 1}
    losses = [loss for each in found.values() for loss in each]
    assert max(losses) - min(losses) < 1e-12
