"""Whatever a drafter proposes, the text is the model's own: random trees, decoys, the right path anywhere in them."""

from __future__ import annotations

import random

import numpy as np
import pytest
from checkpoints import picture
from fake_item import FakeItem
from teacher import Teacher, plain

from text4seg.decoding.contract import Draft
from text4seg.decoding.drafts.geometry import GeometryDrafter
from text4seg.decoding.drafts.spelling import Spelling
from text4seg.decoding.engine.loop import Fixed
from text4seg.decoding.engine.structured import Plan, write
from text4seg.models.registry import load_backbone

BOUND = 24
QUESTIONS = ("red?", "red?", "the second of the three large cars from the left?", "?", "")
TEXT = "Here it is:\n<seg>others *4\n others *1| red *3\n others *1| red *3\n others *4\n</seg>"


class Mischief:
    """Trees of random shape in which the right path, or a part of it, lies somewhere.

    Siblings may be the same token twice, the order need not be that of a walk, and more may come than was asked for.
    """

    def __init__(self, right: list[int], vocabulary: int, seed: int) -> None:
        self._right, self._vocabulary, self._draw = right, vocabulary, random.Random(seed)

    def propose(self, accepted, width, branches=1) -> Draft:
        draw, tokens, parents = self._draw, [], []
        path, rest = [-1], self._right[len(accepted) :]
        for _ in range(draw.choice((0, 1, 2, width, 3 * width))):
            if len(path) <= len(rest) and draw.random() < 0.5:
                token, parent = rest[len(path) - 1], path[-1]
                if draw.random() < 0.85:
                    path.append(len(tokens))
            else:
                token = draw.choice([*rest[:3], draw.randrange(self._vocabulary)])
                parent = draw.randrange(-1, len(tokens))
            tokens.append(token)
            parents.append(parent)
        return Draft(tokens, parents)


def prepared(checkpoints, family: str, loud: float = 3.0):
    backbone = load_backbone(checkpoints.settings(family))
    backbone.core.set_attn_implementation("sdpa")
    backbone.model.double().eval()
    pictures = [picture(seed) for seed in (0, 0, 0, 1, 2)]
    rows = zip(pictures, QUESTIONS, strict=True)
    prompts = backbone.processor.collate([backbone.processor.encode(one, [(text, None)]) for one, text in rows], "left")
    prompts = {name: part.double() if part.is_floating_point() else part for name, part in prompts.items()}
    items = [FakeItem(np.zeros((4, 4), np.uint8), size=(4, 4)) for _ in QUESTIONS]
    script = backbone.processor.tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    teacher = Teacher([script] * 4 + [script[:9]], prompts["input_ids"].shape[1], loud)
    return backbone, prompts, items, teacher


@pytest.mark.parametrize("family", ["llava", "auto:gemma3", "auto:qwen2_5_vl"])
def test_no_draft_changes_the_text(checkpoints, family) -> None:
    backbone, prompts, items, teacher = prepared(checkpoints, family)
    wanted = plain(backbone, prompts, items, BOUND, [teacher])
    text = backbone.processor.tokenizer.batch_decode(wanted, skip_special_tokens=True)
    vocabulary = backbone.core.get_output_embeddings().weight.shape[0]
    accepted = 0
    for seed, (slots, width) in enumerate(((None, 7), (1, 3), (2, 30), (3, 1))):
        drafters = [Mischief(row, vocabulary, 10 * seed + n) for n, row in enumerate(wanted)]
        plan = Plan(drafters=drafters, widths=Fixed(width), branches=9, slots=slots, adjust=teacher.adjust)
        tokens, spent, _ = write(backbone, prompts, items, BOUND, plan)
        assert backbone.processor.tokenizer.batch_decode(tokens, skip_special_tokens=True) == text
        assert spent.tokens == sum(map(len, tokens))
        accepted += spent.accepted
    assert accepted > 20, "guesses were right, or nothing was tested"


def test_geometry_drafts_save_passes_and_nothing_else(checkpoints) -> None:
    """The real drafter on a batch that says descriptors, with errors in them."""
    backbone, prompts, items, teacher = prepared(checkpoints, "llava", 4.5)
    spelling = Spelling(backbone.processor.tokenizer)
    wanted = plain(backbone, prompts, items, 90, [teacher])
    for branches, width in ((1, 16), (8, 48)):
        drafters = [GeometryDrafter(spelling, ("red",), (4, 4), openers=("Here it is:",)) for _ in items]
        plan = Plan(drafters=drafters, widths=Fixed(width), branches=branches, adjust=teacher.adjust)
        tokens, spent, _ = write(backbone, prompts, items, 90, plan)
        decode = backbone.processor.tokenizer.batch_decode
        assert decode(tokens, skip_special_tokens=True) == decode(wanted, skip_special_tokens=True)
        assert spent.passes < 0.7 * spent.tokens
