"""Grammars for serving engines, held against the parser and against an engine that reads them."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest
import torch
from vocabularies import tokenizer_of

from text4seg.decoding.language.automaton import Language
from text4seg.decoding.language.grammar import Grammar
from text4seg.decoding.language.serving import ebnf, regex
from text4seg.decoding.language.tokens import tokens_of
from text4seg.decoding.language.tracker import AnswerTracker
from text4seg.descriptors import CODECS, LabelGrid, answer, encode

LABELS = ('a "b" \\n', "red", "red car", "naïve (café) [x].", "红色的车")


def answer_of(size, codec, seed):
    ids = np.random.default_rng(seed).integers(0, len(LABELS) + 1, size)
    return answer("Sure, here:", encode(LabelGrid(ids, ("others", *LABELS)), codec))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("size", [(1, 1), (3, 4), (2, 12)])
def test_an_engine_takes_the_texts_and_allows_the_same_tokens(codec, size):
    xgrammar = pytest.importorskip("xgrammar", reason="an independent reader of the grammar: pip install xgrammar")
    tokenizer = tokenizer_of("tiny")
    info = xgrammar.TokenizerInfo.from_huggingface(tokenizer)
    compiler = xgrammar.GrammarCompiler(info, max_threads=1)
    compiled = compiler.compile_grammar(ebnf(size, codec, LABELS))
    for seed in range(3):
        matcher = xgrammar.GrammarMatcher(compiled, terminate_without_stop_token=True)
        assert matcher.accept_string(answer_of(size, codec, seed))
        assert matcher.is_terminated()
    matcher = xgrammar.GrammarMatcher(compiler.compile_grammar(ebnf(size, codec, LABELS, letters=0)))
    tracker = AnswerTracker(Grammar(tokens_of(tokenizer), Language(size, codec, LABELS)), info.vocab_size, preamble=0)
    bits, rng = xgrammar.allocate_token_bitmask(1, info.vocab_size), random.Random(0)
    (token,) = tokenizer("<seg>")["input_ids"]
    while True:
        assert tracker.accept(token)
        assert matcher.accept_token(token)
        if tracker.done:
            break
        matcher.fill_next_token_bitmask(bits)
        allowed = (bits[0][:, None] >> torch.arange(32, dtype=torch.int32) & 1).view(-1)[: info.vocab_size].bool()
        assert allowed.equal(tracker.allowed())
        token = rng.choice(allowed.nonzero()[:, 0].tolist())


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("size", [(1, 1), (3, 4), (2, 12)])
def test_the_expression_takes_the_texts(codec, size):
    pattern = re.compile(regex(size, codec, LABELS))
    for seed in range(5):
        text = answer_of(size, codec, seed)
        assert pattern.fullmatch(text)
        assert not pattern.fullmatch(text[:-1])
        assert not pattern.fullmatch(text.replace("<seg>", "<seg>blue"))


def test_the_expression_of_spelt_out_cells_is_exact():
    pattern = re.compile(regex((2, 2), "full", ("red",), letters=0))
    assert pattern.fullmatch("<seg>red| red\n red| others\n</seg>")
    assert not pattern.fullmatch("<seg>red| red\n red\n</seg>")


def test_a_line_that_takes_too_many_rules_is_refused():
    with pytest.raises(ValueError, match="at most 256 cells"):
        ebnf((17, 16), "irle", ("red",))
    assert len(ebnf((64, 64), "rrle", ("red",))) < 100_000
