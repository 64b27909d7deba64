"""Is everything well formed that can be written under the grammar, and what does the grammar cost?

    python benchmarks/decoding.py validity                                 1000 prompts to random weights
    python benchmarks/decoding.py validity --prompts 0 --tokenizer SMOLLM2 [--tokenizer QWEN3 ...]

First a model of random weights (the tiny family's architecture and tokenizer) answers prompts with `grammar: on`: all
codecs, grids from 1x1 to 16x16, labels that share prefixes, of several bytes and with blanks, and none listed at all.
New tokens are bounded by the grid's worst case. Printed: answers by the strict parser's verdict.
Then, for each tokenizer folder, random walks through the grammar: milliseconds to prepare, milliseconds of a first
walk, which finds every mask it needs, microseconds of a mask that is known; and a step of a model of SmolLM2's shape (4
layers, random weights) with the grammar's share of it. With xgrammar installed, a walk through its compiled EBNF stands
beside. All in CPU time, so that other work on the machine does not count.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import AutoTokenizer, DynamicCache, LlamaConfig, LlamaForCausalLM

from text4seg.data.items import Item, Items
from text4seg.decoding.generate import respond
from text4seg.decoding.language.automaton import Language
from text4seg.decoding.language.grammar import Grammar
from text4seg.decoding.language.mask import Follower, GrammarMask
from text4seg.decoding.language.serving import WIDEST, ebnf
from text4seg.decoding.language.tokens import tokens_of
from text4seg.decoding.language.tracker import AnswerTracker
from text4seg.decoding.settings import ON, DecodingSettings
from text4seg.descriptors import CODECS, parse
from text4seg.models.registry import load_backbone
from text4seg.models.settings import ModelSettings

SIZES = ((1, 1), (1, 12), (8, 8), (5, 16), (16, 16))
LABELS = (
    ("red car",),
    ("red", "red car", "red car door", "r"),
    ("the second man from the left",),
    ("naïve café", "红色的车", "🚗 on the left"),
)
MANY = tuple(f"class {number}" for number in range(133))
WALKED = (("rrle", (16, 16)), ("rrle", (32, 32)), ("rrle", (64, 64)), ("irle", (16, 16)), ("irle", (64, 64)))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--tokenizer", action="append", default=[], help="a folder that transformers reads")
    parser.add_argument("--no-xgrammar", action="store_true", help="leave the comparison out")


def run(options: argparse.Namespace) -> None:
    """Print both tables."""
    torch.manual_seed(0)
    if options.prompts:
        _validity(options.prompts, options.batch)
    for folder in options.tokenizer:
        _cost(folder, not options.no_xgrammar)


def _validity(count: int, size: int) -> None:
    sizes = {"width": 64, "language_layers": 2}
    backbone = load_backbone(ModelSettings(family="tiny", path="random", options=sizes))
    verdicts: Counter[tuple[str, str]] = Counter()
    tokens, begin = 0, time.perf_counter()
    for start in range(0, count, size):
        items = Items(_item(number) for number in range(start, min(start + size, count)))
        encoded = [backbone.processor.encode(_noise(item.turn), [(item.question, None)]) for item in items]
        prompts = backbone.processor.collate(encoded, side="left")
        answers = respond(backbone, prompts, items, DecodingSettings(grammar=ON))
        tokens += answers.counts.tokens
        for item, text in zip(items, answers.texts, strict=True):
            verdicts[item.codec, parse(text, item.size, item.codec, item.labels[1:]).status] += 1
    print(f"{count} prompts to random weights, {tokens} tokens, {time.perf_counter() - begin:.0f} s")
    for (codec, status), found in sorted(verdicts.items()):
        print(f"  {codec:5} {status:9} {found}")
    well = sum(found for (_, status), found in verdicts.items() if status == "ok")
    print(f"  ok: {well / count:.2%}", flush=True)


def _item(number: int) -> Item:
    labels = LABELS[number // 3 % len(LABELS)]
    listed = number % 20 != 19  # one in twenty names no labels
    question = f"Where is {', '.join(labels)}? ({number})" if listed else f"What is there? ({number})"
    size = SIZES[number // 12 % len(SIZES)]
    mask = np.zeros((8, 8), np.uint8)
    return Item("", number, question, ("others", *labels), mask, b"", size, CODECS[number % 3], "center", "partial")


def _noise(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8))


def _cost(folder: str, compare: bool) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    begin = time.process_time()
    tokens = tokens_of(tokenizer)
    vocabulary = len(tokenizer)
    print(f"{folder}: {vocabulary} tokens, read once in {time.process_time() - begin:.2f} s")
    print(
        "  codec size  labels  prepared ms  first walk ms  known mask us   xgrammar: compiled ms  mask us  to bool us"
    )
    for labels in (LABELS[0], MANY):
        for codec, size in WALKED:
            begin = time.process_time()
            grammar = Grammar(tokens, Language(size, codec, labels))
            prepared = (time.process_time() - begin) * 1e3
            (first, _), (_, known) = (_walk(grammar, vocabulary) for _ in range(2))
            row = f"  {codec} {size[0]:2}x{size[1]:<3} {len(labels) + 1:6} {prepared:12.1f} {first:13.1f} {known:14.1f}"
            wide = codec == "irle" and size[0] * size[1] > WIDEST
            beside = "" if not compare else " a line too wide" if wide else _beside(tokenizer, size, codec, labels)
            print(row + beside, flush=True)
    _step(tokens, vocabulary)


def _walk(grammar: Grammar, vocabulary: int) -> tuple[float, float]:
    """A random walk, the same each time: milliseconds in all, microseconds of a mask and the step behind it."""
    tracker, rng, taken = AnswerTracker(grammar, vocabulary, preamble=0), random.Random(0), []
    while not tracker.done and len(taken) < 400:
        begin = time.process_time()
        ids = tracker.ids()
        spent = time.process_time() - begin
        assert ids is not None
        token = int(ids[rng.randrange(len(ids))])
        begin = time.process_time()
        tracker.accept(token)
        taken.append(spent + time.process_time() - begin)
    return sum(taken) * 1e3, median(taken) * 1e6


def _beside(tokenizer: Any, size: tuple[int, int], codec: str, labels: tuple[str, ...]) -> str:
    try:
        import xgrammar
    except ImportError:
        return "   xgrammar is not installed"
    vocabulary = len(tokenizer)
    info = xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=vocabulary)
    begin = time.process_time()
    compiled = xgrammar.GrammarCompiler(info, max_threads=1).compile_grammar(ebnf(size, codec, labels, letters=0))
    seconds = time.process_time() - begin
    matcher, rng = xgrammar.GrammarMatcher(compiled, terminate_without_stop_token=True), random.Random(0)
    bits, shifts = xgrammar.allocate_token_bitmask(1, vocabulary), torch.arange(32, dtype=torch.int32)
    masks, bools = [], []
    while not matcher.is_terminated() and len(masks) < 400:
        begin = time.process_time()
        matcher.fill_next_token_bitmask(bits)
        masks.append(time.process_time() - begin)
        begin = time.process_time()
        allowed = (bits[0][:, None] >> shifts & 1).view(-1)[:vocabulary].bool()
        bools.append(time.process_time() - begin)
        ids = allowed.nonzero()[:, 0].tolist()
        matcher.accept_token(rng.choice(ids))
    return f" {seconds * 1e3:24.1f} {median(masks) * 1e6:8.1f} {median(bools) * 1e6:11.1f}"


@torch.inference_mode()
def _step(tokens: Any, vocabulary: int) -> None:
    """One step of a model of SmolLM2's shape, and the grammar's share of it."""
    shape = {"hidden_size": 576, "intermediate_size": 1536, "num_attention_heads": 9, "num_key_value_heads": 3}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=vocabulary, num_hidden_layers=4, tie_word_embeddings=True, **shape))
    tracker = AnswerTracker(Grammar(tokens, Language((16, 16), "rrle", LABELS[0])), vocabulary, preamble=0)
    mask = GrammarMask(Follower([tracker], 256))
    for row in range(2):  # the first answer meets every place for the first time
        if row:
            tracker.rollback(tracker.accepted)
            mask = GrammarMask(Follower([tracker], 256))
        cache, ids = DynamicCache(), torch.zeros(1, 256, dtype=torch.long)
        scores = model(input_ids=ids, past_key_values=cache).logits[:, -1]
        steps, masks = [], []
        while True:
            begin = time.process_time()
            best = mask(ids, scores).argmax(-1, keepdim=True)
            masks.append(time.process_time() - begin)
            begin = time.process_time()
            scores.argmax(-1)
            masks[-1] -= time.process_time() - begin
            if tracker.done:
                break
            ids = torch.cat([ids, best], 1)
            begin = time.process_time()
            scores = model(input_ids=best, past_key_values=cache).logits[:, -1]
            steps.append(time.process_time() - begin)
        name = "first answer about a label" if row == 0 else "further answers"
        step, share = median(steps), sum(masks) / sum(steps)
        each = sum(masks) / len(masks) * 1e6
        print(f"  step of the model {step * 1e3:.2f} ms, grammar {each:.0f} us ({share:.1%}): {name}")
