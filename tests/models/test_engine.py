"""Draft and verify writes what plain greedy generation writes: every family, trees, ragged batches, ends, languages."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from checkpoints import picture
from fake_item import FakeItem
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from teacher import Copier, Teacher, plain, without_padding
from transformers import DynamicCache, LogitsProcessor

from text4seg.decoding.contract import Draft
from text4seg.decoding.engine.cache import RaggedCache
from text4seg.decoding.engine.fitness import unfit
from text4seg.decoding.engine.loop import Fixed
from text4seg.decoding.engine.prefix import by_picture, rows_of, shared
from text4seg.decoding.engine.sampling import Sampling
from text4seg.decoding.engine.structured import Plan, write
from text4seg.decoding.generate import respond
from text4seg.decoding.settings import DecodingSettings
from text4seg.descriptors import LabelGrid, answer, encode
from text4seg.models.lora import apply_lora
from text4seg.models.registry import load_backbone
from text4seg.models.settings import LoraSettings

QUESTIONS = ("red?", "the second of the three large cars from the left?", "?", "a dog on the grass")
TEXTS = (
    "<seg>others *8\n others *2| red *6\n others *2| red *6\n</seg>",
    "So: <seg>car *3| others *5\n car *3| others *5\n others *8\n</seg>",
    "<seg>others *8\n</seg>",
    "<seg>a *1\n a *1\n a *1\n a *1\n a *1\n",
)
BOUND = 60


def asked(count: int, **changes) -> list[FakeItem]:
    return [FakeItem(np.zeros((8, 8), np.uint8), size=(8, 8), **changes) for _ in range(count)]


def in_double(settings):
    backbone = load_backbone(settings)
    backbone.core.set_attn_implementation("sdpa")  # the tiny model's own rounds to float32
    backbone.model.double().eval()
    return backbone


def prompts_for(backbone, rows=range(4)):
    encoded = [backbone.processor.encode(picture(row), [(QUESTIONS[row], None)]) for row in rows]
    prompts = backbone.processor.collate(encoded, "left")
    dtype = next(backbone.model.parameters()).dtype
    return {name: part.to(dtype) if part.is_floating_point() else part for name, part in prompts.items()}


def teacher_of(backbone, prompts, rows=range(4), loud=1.2) -> Teacher:
    tokenizer = backbone.processor.tokenizer
    scripts = [tokenizer(TEXTS[row], add_special_tokens=False)["input_ids"] for row in rows]
    return Teacher(scripts, prompts["input_ids"].shape[1], loud)


def drafted(backbone, prompts, count=4, bound=BOUND, branches=1, **plan):
    made = Plan(drafters=[Copier() for _ in range(count)], widths=Fixed(7), branches=branches, **plan)
    tokens, spent, _ = write(backbone, prompts, asked(count), bound, made)
    return [without_padding(backbone, row) for row in tokens], spent


def test_every_family_writes_what_it_writes_by_itself(settings) -> None:
    backbone = in_double(settings)
    prompts = prompts_for(backbone)
    teacher = teacher_of(backbone, prompts)
    assert unfit(backbone, prompts["input_ids"].shape[1] + BOUND) is None
    wanted = [without_padding(backbone, row) for row in plain(backbone, prompts, asked(4), BOUND, [teacher])]
    for branches in (1, 2):
        texts, spent = drafted(backbone, prompts, branches=branches, adjust=teacher.adjust)
        assert texts == wanted
        assert 0 < spent.accepted < spent.drafted
        assert spent.passes < spent.tokens
    alone = prompts_for(backbone, [1])
    teacher = teacher_of(backbone, alone, [1])
    assert drafted(backbone, alone, 1, adjust=teacher.adjust)[0] == wanted[1:2]


def test_an_image_token_that_a_model_writes_is_a_word_like_any_other(settings) -> None:
    backbone = in_double(settings)
    prompts = prompts_for(backbone, [0])
    image = backbone.processor.image_token_id
    script = backbone.processor.tokenizer(TEXTS[0], add_special_tokens=False)["input_ids"]
    teacher = Teacher([[*script[:3], image, *script[3:5], image, image]], prompts["input_ids"].shape[1], 1e4)
    wanted = plain(backbone, prompts, asked(1), 20, [teacher])[0]
    assert wanted.count(image) >= 3
    plan = Plan(drafters=[Copier()], widths=Fixed(7), branches=1, adjust=teacher.adjust)
    assert write(backbone, prompts, asked(1), 20, plan)[0][0] == wanted


@pytest.mark.parametrize(("family", "attention"), [("llava", "sdpa"), ("auto:qwen2_vl", "eager"), ("tiny", "eager")])
def test_under_adapters_and_with_plain_attention(checkpoints, family, attention) -> None:
    backbone = load_backbone(checkpoints.settings(family))
    apply_lora(backbone, LoraSettings(rank=2, alpha=64))
    torch.manual_seed(0)
    for name, weight in backbone.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight.data, std=0.05)
    backbone.core.set_attn_implementation(attention)
    # transformers' plain attention takes its softmax in float32, where float64's mask of padding is minus infinity.
    backbone.model.to(torch.float32 if attention == "eager" else torch.float64).eval()
    prompts = prompts_for(backbone)
    wanted = [without_padding(backbone, row) for row in plain(backbone, prompts, asked(4), BOUND)]
    for branches in (1, 2):
        assert drafted(backbone, prompts, branches=branches)[0] == wanted


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_whatever_the_precision_every_token_is_the_models_own(checkpoints, dtype) -> None:
    """Rounding may part the texts; up to there they are one, and there the two best logits all but tie."""
    backbone = load_backbone(replace(checkpoints.settings("llava"), dtype=dtype))
    backbone.model.eval()
    prompts = prompts_for(backbone)
    teacher = teacher_of(backbone, prompts)
    made = Plan(drafters=[Copier() for _ in range(4)], widths=Fixed(7), adjust=teacher.adjust)
    texts, _, _ = write(backbone, prompts, asked(4), BOUND, made)
    for row, (text, wanted) in enumerate(zip(texts, plain(backbone, prompts, asked(4), BOUND, [teacher]), strict=True)):
        same = next((n for n, (a, b) in enumerate(zip(text, wanted, strict=False)) if a != b), len(text))
        if same < len(text):
            gap = gap_behind(backbone, {k: v[row : row + 1] for k, v in prompts.items()}, text[:same], teacher, row)
            assert gap < (1e-4 if dtype == "float32" else 0.2), "the texts part where nothing was in doubt"
        assert same > 3


def gap_behind(backbone, prompt, said, teacher, row) -> float:
    """Between the two likeliest tokens behind what was said of an answer."""
    ids = torch.cat([prompt["input_ids"], torch.tensor([said], dtype=torch.long)], 1)
    mask = torch.cat([prompt["attention_mask"], torch.ones(1, len(said), dtype=torch.long)], 1)
    with torch.inference_mode():
        logits = backbone.model(**{**prompt, "input_ids": ids, "attention_mask": mask}).logits[0, -1].float()
    best = teacher.adjust(row, said, logits).topk(2).values
    return float(best[0] - best[1])


def test_answers_end_each_by_itself_and_then_cost_nothing(checkpoints) -> None:
    backbone = in_double(checkpoints.settings("llava"))
    prompts = prompts_for(backbone)
    teacher = teacher_of(backbone, prompts, loud=50.0)  # so loud that the script is said
    texts, spent = drafted(backbone, prompts, bound=200, adjust=teacher.adjust)
    assert texts[:3] == list(TEXTS[:3])
    lengths = [len(backbone.processor.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts[:3]]
    assert spent.tokens == sum(lengths) + 200, "the fourth says its script and goes on to the bound"
    ends = backbone.processor.tokenizer.eos_token_id
    stopped = Teacher([[*teacher.scripts[0][:5], ends, 9, 9]] * 4, teacher.prompt, 50.0)
    assert drafted(backbone, prompts, adjust=stopped.adjust)[0] == [TEXTS[0][:5]] * 4


def test_a_finished_answer_makes_room_for_the_next(checkpoints) -> None:
    backbone = in_double(checkpoints.settings("llava"))
    prompts = prompts_for(backbone)
    ends, lengths = backbone.processor.tokenizer.eos_token_id, (30, 4, 6, 28)
    teacher = Teacher([[9] * (length - 1) + [ends] for length in lengths], prompts["input_ids"].shape[1], 50.0)
    tokens, spent, _ = write(backbone, prompts, asked(4), BOUND, Plan(slots=2, adjust=teacher.adjust))
    assert tokens == teacher.scripts
    assert spent.passes == sum(lengths) - 4
    # The prompt's own pass gives the first token; two batches of two would take 29 + 27 steps.
    assert spent.steps == 3 + 5 + 27


def test_a_bound_of_one_needs_no_pass(checkpoints) -> None:
    backbone = in_double(checkpoints.settings("llava"))
    prompts = prompts_for(backbone)
    for bound in (1, 2, 3):
        texts, spent = drafted(backbone, prompts, bound=bound)
        assert texts == [without_padding(backbone, row) for row in plain(backbone, prompts, asked(4), bound)]
        assert spent.passes <= 4 * (bound - 1)


class Cycle:
    """A language: after each third token exactly one is allowed, otherwise those of one remainder by four."""

    def __init__(self, size: int) -> None:
        self.size, self.count = size, 0

    def allowed(self) -> torch.Tensor:
        return self.mask(self.count, self.size)

    @staticmethod
    def mask(count: int, size: int) -> torch.Tensor:
        if count % 3 == 2:
            return torch.arange(size) == 7 + count
        return torch.arange(size) % 4 == count % 4

    def accept(self, token: int) -> bool:
        assert self.allowed()[token]
        self.count += 1
        return True

    def rollback(self, count: int) -> None:
        self.count -= count

    done = property(lambda self: False)
    left_at = property(lambda self: None)


class CycleProcessor(LogitsProcessor):
    """The same language for `generate`."""

    def __init__(self, prompt: int) -> None:
        self.prompt = prompt

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return scores.masked_fill(~Cycle.mask(input_ids.shape[1] - self.prompt, scores.shape[1]), -torch.inf)


def test_a_language_is_kept_to_and_what_it_forces_costs_no_pass(checkpoints) -> None:
    backbone = in_double(checkpoints.settings("llava"))
    prompts = prompts_for(backbone)
    wanted = plain(backbone, prompts, asked(4), BOUND, [CycleProcessor(prompts["input_ids"].shape[1])])
    size = backbone.core.get_output_embeddings().weight.shape[0]
    for drafters in ([], [Copier() for _ in range(4)]):
        trackers = [Cycle(size) for _ in range(4)]
        tokens, spent, _ = write(backbone, prompts, asked(4), BOUND, Plan(trackers=trackers, drafters=drafters))
        assert tokens == wanted
        if not drafters:
            assert spent.certain == sum(len(row) // 3 for row in tokens)
            assert spent.passes == spent.tokens - spent.certain - 4


@hypothesis_settings(max_examples=40)
@given(st.data())
def test_a_ragged_cache_holds_what_each_row_accepted(data) -> None:
    """Against lists: rows of any lengths, passes of any width, any rising choice accepted, rows dropped and joined."""
    draw = data.draw
    number = iter(range(1, 10**6))
    batch, size = draw(st.integers(1, 3)), draw(st.integers(1, 5))
    lengths = [draw(st.integers(1, size)) for _ in range(batch)]

    def prefilled(lengths):
        mask = torch.tensor([[0] * (size - n) + [1] * n for n in lengths])
        rows = [[next(number) for _ in range(n)] for n in lengths]
        padded = torch.tensor([[0] * (size - n) + row for n, row in zip(lengths, rows, strict=True)])
        kept = DynamicCache()
        for layer in range(2):
            part = padded[:, None, :, None].double().expand(-1, 2, -1, 3) + layer / 2
            kept.update(part, -part, layer)
        return RaggedCache(kept, mask), rows

    cache, rows = prefilled(lengths)
    for _ in range(draw(st.integers(1, 6))):
        act = draw(st.sampled_from(["pass", "pass", "pass", "select", "join"]))
        if act == "select":
            chosen = draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=4))
            cache.select(chosen)
            rows = [list(rows[n]) for n in chosen]
        elif act == "join" and len(rows) < 5:
            other, more = prefilled([draw(st.integers(1, size))])
            cache.join(other)
            rows += more
        width = draw(st.integers(1, 40))
        new = torch.tensor([[next(number) for _ in range(width)] for _ in rows])
        for layer in range(2):
            part = new[:, None, :, None].double().expand(-1, 2, -1, 3) + layer / 2
            keys, values = cache.update(part, -part, layer)
            for n, row in enumerate(rows):
                seen = keys[n, 1, : len(row) + width, 2] - layer / 2
                assert seen.tolist() == [*row, *new[n].tolist()]
                assert torch.equal(values[n], -keys[n])
        for n, row in enumerate(rows):
            places = sorted(draw(st.sets(st.integers(0, width - 1), max_size=4)))
            cache.accept(n, places)
            row += [int(new[n, place]) for place in places]
        assert cache.get_seq_length() == max(len(row) for row in rows)


def test_what_cannot_be_verified_is_told(checkpoints) -> None:
    backbone = load_backbone(checkpoints.settings("internvl2-4b"))
    assert unfit(backbone, 512) is None
    assert "rotary" in str(unfit(backbone, 513)), "its long factors set in for all rows at once"
    backbone.core.config.get_text_config()._attn_implementation = "flash_attention_2"
    assert "flash_attention_2" in str(unfit(backbone, 10))
    assert "mask" in str(unfit(replace(backbone, tree_attention=False), 10))


def test_an_empty_draft_is_one_token_a_pass(checkpoints) -> None:
    backbone = in_double(checkpoints.settings("llava"))
    prompts = prompts_for(backbone)
    tokens, spent, _ = write(backbone, prompts, asked(4), 12, Plan())
    assert tokens == plain(backbone, prompts, asked(4), 12)
    assert (spent.tokens, spent.passes, spent.fed, spent.drafted) == (48, 44, 44, 0)
    assert Draft() == Draft([], [])


def test_sampled_text_does_not_depend_on_drafts(checkpoints) -> None:
    backbone = in_double(checkpoints.settings("llava"))
    prompts = prompts_for(backbone)
    teacher = teacher_of(backbone, prompts, loud=2.0)
    texts = [
        drafted(backbone, prompts, adjust=teacher.adjust, choose=Sampling(1.0, seed), branches=n)[0]
        for seed, n in ((0, 1), (0, 2), (1, 1))
    ]
    bare = Plan(adjust=teacher.adjust, choose=Sampling(1.0, 0))
    wanted = [without_padding(backbone, row) for row in write(backbone, prompts, asked(4), BOUND, bare)[0]]
    assert texts[0] == texts[1] == wanted != texts[2]


def test_samples_are_spread_as_the_model_says(checkpoints) -> None:
    """Chi-square of third tokens, drafted rightly half of the time, against what the model itself gives them."""
    backbone = in_double(checkpoints.settings("llava"))
    prompts = prompts_for(backbone, [0] * 64)
    few = torch.tensor([70, 80, 90, 100, 110])

    def only_few(number, tokens, logits_V):
        """70, then 80, then one of a few."""
        kept = few if len(tokens) == 2 else few[len(tokens) : len(tokens) + 1]
        out = torch.full_like(logits_V, -torch.inf)
        out[kept] = logits_V[kept] * 3
        return out

    class Guess:
        def propose(self, accepted, width, branches=1):
            return Draft([[70, 80, 90][len(accepted)], 90], [-1, -1])

    counts = torch.zeros(5)
    for seed in range(10):
        made = Plan(drafters=[Guess()] * 64, choose=Sampling(0.7, seed), adjust=only_few)
        for tokens in write(backbone, prompts, asked(64), 3, made)[0]:
            counts[(few == tokens[2]).nonzero()[0, 0]] += 1
    one = {name: part[:1] for name, part in prompts.items()}
    ids = torch.cat([one["input_ids"], torch.tensor([[70, 80]])], 1)
    with torch.inference_mode():
        logits = backbone.model(**{**one, "input_ids": ids, "attention_mask": torch.ones_like(ids)}).logits[0, -1]
    expected = torch.softmax(logits[few] * 3 / 0.7, -1) * counts.sum()
    assert expected.min() > 5
    # A chance of one in a thousand at four degrees of freedom.
    assert ((counts - expected) ** 2 / expected).sum() < 18.5


@pytest.mark.parametrize("grammar", ["on", "off"])
def test_sampling_is_a_setting_and_plain_generation_draws_the_same(checkpoints, grammar) -> None:
    backbone = in_double(checkpoints.settings("tiny"))
    prompts = prompts_for(backbone)
    items = [FakeItem(np.zeros((8, 8), np.uint8), size=(2, 2), question=words) for words in QUESTIONS]
    settings = DecodingSettings(
        grammar=grammar, preamble=2, max_new_tokens=12, temperature=1.5, top_p=0.9, seed=3, width=5
    )
    texts = respond(backbone, prompts, items, settings).texts
    for slots in (None, 3):
        assert respond(backbone, prompts, items, replace(settings, engine="hf"), slots).texts == texts
    assert respond(backbone, prompts, items, settings, 1).texts == texts
    assert respond(backbone, prompts_for(backbone, [2]), items[2:3], settings).texts == texts[2:3]
    for other in (replace(settings, seed=4), replace(settings, temperature=0.0)):
        assert respond(backbone, prompts, items, other).texts != texts


@pytest.mark.parametrize(("top_p", "kept"), [(1.0, 4), (0.85, 3), (0.79, 2), (0.3, 1)])
def test_only_the_likeliest_tokens_are_drawn(top_p, kept) -> None:
    chances = torch.tensor([0.05, 0.5, 0.15, 0.3], dtype=torch.float64)
    draw = Sampling(2.0, seed=1, top_p=top_p)
    found = torch.bincount(torch.tensor([draw(0, chances.log() * 2) for _ in range(2000)]), minlength=4)
    expected = torch.where(chances >= chances.sort(descending=True).values[kept - 1], chances, 0)
    expected = expected / expected.sum() * 2000
    assert found[expected == 0].sum() == 0
    seen = expected > 0
    # A chance of one in a thousand at three degrees of freedom.
    assert ((found - expected)[seen] ** 2 / expected[seen]).sum() < 16.3


@pytest.mark.parametrize(("given", "said"), [((0.0, 0, 1.0), "more than 0"), ((1.0, 0, 1.5), "at most 1")])
def test_a_temperature_of_nothing_is_refused(given, said) -> None:
    with pytest.raises(ValueError, match=said):
        Sampling(*given)


SHARING = (
    "tiny",
    "llava",
    "internvl2-1b",
    "clip+llama",
    "auto:paligemma",
    "auto:gemma3",
    "auto:qwen2_5_vl",
    "auto:idefics3",
)


@pytest.mark.parametrize("family", SHARING)
def test_questions_about_one_picture_share_it(checkpoints, family) -> None:
    """Text as of each by itself; the tower sees each picture once, also where it stands behind the question."""
    backbone = in_double(checkpoints.settings(family))
    shown = [picture(0), picture(1), picture(0), picture(0), picture(1), picture(1)]
    words = ["red?", "a dog on the grass", "?", "the second of the three large cars?", "red?", "no?"]
    encoded = [backbone.processor.encode(image, [(word, None)]) for image, word in zip(shown, words, strict=True)]
    prompts = {
        k: v.double() if v.is_floating_point() else v for k, v in backbone.processor.collate(encoded, "left").items()
    }
    wanted = [without_padding(backbone, row) for row in plain(backbone, prompts, asked(6), 12)]
    seen = []
    convolution = next(
        part for part in backbone.part("vision").modules() if isinstance(part, torch.nn.Conv2d | torch.nn.Linear)
    )
    convolution.register_forward_pre_hook(lambda _m, given: seen.append(len(given[0])))
    for slots in (None, 2, 4):
        seen.clear()
        made = Plan(drafters=[Copier() for _ in range(6)], widths=Fixed(5), slots=slots)
        tokens, _, _ = write(backbone, prompts, asked(6), 12, made)
        assert [without_padding(backbone, row) for row in tokens] == wanted
        if slots is None:
            whole = sum(seen)
    seen.clear()
    write(backbone, rows_of(prompts, [0, 1]), asked(2), 1, Plan())
    assert whole == sum(seen), "what two pictures cost"


@hypothesis_settings(max_examples=60)
@given(st.data())
def test_prompts_are_put_together_again_from_what_they_share(data) -> None:
    draw = data.draw
    texts = [
        [
            *draw(st.lists(st.integers(1, 3), max_size=3)),
            9,
            9,
            *draw(st.lists(st.integers(1, 3), min_size=1, max_size=4)),
        ]
        for _ in range(draw(st.integers(1, 5)))
    ]
    shown = [draw(st.integers(0, 1)) for _ in texts]
    width = max(map(len, texts)) + draw(st.integers(0, 2))
    prompts = {
        "input_ids": torch.tensor([[0] * (width - len(text)) + text for text in texts]),
        "attention_mask": torch.tensor([[0] * (width - len(text)) + [1] * len(text) for text in texts]),
        "pixel_values": torch.tensor(shown)[:, None, None, None].float(),
    }
    parts = shared(prompts, 9)
    order = by_picture(prompts)
    assert sorted(order) == list(range(len(texts)))
    assert sum(shown[a] != shown[b] for a, b in pairwise(order)) <= 1
    if parts is None:
        groups = [[text for text, s in zip(texts, shown, strict=True) if s == which] for which in (0, 1)]
        heads = [{tuple(text[: text.index(9)]) for text in group} for group in groups]
        assert len(set(shown)) == len(shown) or any(len(head) > 1 for head in heads)
        return
    for row, text in enumerate(texts):
        group = parts.group[row]
        mask = parts.prefixes["attention_mask"][group].bool()
        assert [*parts.prefixes["input_ids"][group][mask].tolist(), *parts.rests[row]] == text
        assert parts.rests[row]
        assert 9 not in parts.rests[row]
        assert parts.prefixes["pixel_values"][group] == shown[row]


LONG = np.add.outer(np.arange(64) // 3, np.arange(64) // 16) % 2
STRIPES = np.arange(8).reshape(2, 4) // 2
ODD = (
    ("tiny", ("others", "red circle"), LONG),
    ("llava", ("others", "x"), np.ones((1, 1), int)),
    ("llava", ("others", "car", "car park", "cars"), STRIPES),
    ("llava", ("others", "чёрная кошка", "猫🐈"), STRIPES % 3),
    ("auto:qwen2_5_vl", ("others", "猫🐈"), STRIPES % 2),
)


@pytest.mark.parametrize(("family", "labels", "ids"), ODD, ids=lambda value: str(value)[:12])
def test_odd_grids(checkpoints, family, labels, ids) -> None:
    """Long answers, one cell, labels that begin alike, labels of several bytes a letter: right, and with mistakes."""
    backbone = in_double(checkpoints.settings(family))
    script = answer("Here:", encode(LabelGrid(ids, labels), "rrle"))
    tokens = backbone.processor.tokenizer(script, add_special_tokens=False)["input_ids"]
    prompts = prompts_for(backbone, [0, 1])
    items = [FakeItem(np.zeros((8, 8), np.uint8), size=ids.shape, labels=labels) for _ in range(2)]

    def both(bound, loud):
        teacher = Teacher([tokens, tokens[len(tokens) // 2 :]], prompts["input_ids"].shape[1], loud)
        made = Plan(drafters=[Copier(), Copier()], widths=Fixed(12), branches=2, adjust=teacher.adjust)
        return teacher, [without_padding(backbone, row) for row in write(backbone, prompts, items, bound, made)[0]]

    assert both(1600, 50.0)[1] == [script, without_padding(backbone, tokens[len(tokens) // 2 :])]
    teacher, texts = both(100, 1.4)
    assert texts == [without_padding(backbone, row) for row in plain(backbone, prompts, items, 100, [teacher])]


@pytest.mark.parametrize("grammar", ["on", "off"])
@pytest.mark.parametrize("family", ["tiny", "auto:qwen2_5_vl"])
def test_the_engine_is_a_setting_and_its_texts_are_the_same(checkpoints, family, grammar) -> None:
    backbone = in_double(checkpoints.settings(family))
    prompts = prompts_for(backbone)
    settings = DecodingSettings(grammar=grammar, preamble=4, max_new_tokens=40)
    found = [respond(backbone, prompts, asked(4), replace(settings, engine=e)) for e in ("structured", "hf")]
    assert found[0].texts == found[1].texts
    assert found[0].counts.tokens == found[1].counts.tokens
    if grammar == "on":
        assert found[0].counts.passes < found[1].counts.passes
    narrow = respond(backbone, prompts, asked(4), replace(settings, width=3, branches=2))
    assert narrow.texts == found[1].texts
    learning = [respond(backbone, prompts, asked(4), replace(settings, repeatable=False)) for _ in range(3)]
    assert all(answers.texts == found[1].texts for answers in learning)
    again = respond(backbone, prompts, asked(4), settings)
    assert again.counts.passes == found[0].counts.passes, "nothing that was learnt on the way counts"


def test_a_model_that_cannot_be_verified_is_answered_plainly_and_this_is_said(checkpoints) -> None:
    backbone = in_double(checkpoints.settings("internvl2-4b"))
    prompts = prompts_for(backbone)
    settings = DecodingSettings(grammar="off", max_new_tokens=16)
    backbone.core.config.get_text_config().original_max_position_embeddings = 64
    with pytest.warns(UserWarning, match="hf for this model: beyond 64 tokens"):
        found = respond(backbone, prompts, asked(4), settings)
    assert found.counts.passes == found.counts.tokens - 4
    assert found.counts.drafted == 0


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_mixed_precision_is_answered(checkpoints, attention) -> None:
    backbone = load_backbone(checkpoints.settings("llava"))
    backbone.core.set_attn_implementation(attention)
    backbone.model.eval()
    prompts = prompts_for(backbone)
    with torch.autocast("cpu", torch.bfloat16):
        tokens, spent, _ = write(backbone, prompts, asked(4), 20, Plan(drafters=[Copier() for _ in range(4)]))
    assert spent.tokens == sum(map(len, tokens)) == 80
