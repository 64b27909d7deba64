"""Whatever a model prints: no exception, always the asked size, and the three readers agree."""

import random

import numpy as np
import pytest
from grids import ODD_LABELS, broken
from hypothesis import given, settings
from hypothesis import strategies as st

from text4seg.descriptors import CODECS, OTHERS, DescriptorError, LabelGrid, answer, encode, parse, parse_strict

SIZES = ((16, 16), (1, 1), (4, 4), (1, 9), (9, 1), (32, 32), (3, 5))


def sources(seed: int, count: int) -> list[tuple[str, tuple[int, int], str, tuple[str, ...]]]:
    """Well-formed texts to break: text, size, codec, labels."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(count):
        size, codec = SIZES[i % len(SIZES)], CODECS[i % 5 % 3]
        labels = (OTHERS, *(ODD_LABELS[j] for j in rng.choice(len(ODD_LABELS), 2, replace=False)))
        blocks = rng.integers(0, 3, (-(-size[0] // 3), -(-size[1] // 4)))
        grid = LabelGrid(np.kron(blocks, np.ones((3, 4), int))[: size[0], : size[1]], labels)
        text = encode(grid, codec)
        made.append((answer("It is:", text) if i % 2 else text, size, codec, labels))
    return made


def read_strictly(text: str, size: tuple[int, int], codec: str) -> LabelGrid | DescriptorError:
    try:
        return parse_strict(text, size, codec)
    except DescriptorError as error:
        return error


def check(text, size, codec, labels, thorough: bool) -> str:
    decoded = parse(text, size, codec, labels)
    assert decoded.grid.ids.shape == size
    assert decoded.grid.labels[: len(labels)] == labels
    assert (decoded.status == "repaired") == bool(decoded.repairs)
    if decoded.status == "invalid":
        assert not decoded.grid.ids.any()
    if thorough:
        plain = parse(text, size, codec)
        strict = read_strictly(text, size, codec)
        assert (plain.status == "ok") == isinstance(strict, LabelGrid)
        if isinstance(strict, DescriptorError):
            assert 0 <= strict.row <= size[0] + 1
            assert 0 <= strict.column <= size[1]
        else:
            assert strict == plain.grid
        again = parse(encode(plain.grid, codec), size, codec)
        assert (again.status, again.grid == plain.grid) == ("ok", True)
    return decoded.status


def run(total: int, seed: int, thorough_every: int) -> dict[str, int]:
    rng, texts = random.Random(seed), sources(seed, 700)
    seen = dict.fromkeys(("ok", "repaired", "invalid"), 0)
    for i in range(total):
        text, size, codec, labels = texts[rng.randrange(len(texts))]
        mutated = broken(text, rng)
        try:
            seen[check(mutated, size, codec, labels, i % thorough_every == 0)] += 1
        except Exception as error:
            raise AssertionError(f"{error!r} on {mutated!r}, size {size}, codec {codec}, labels {labels}") from error
    return seen


def test_some_thousand_broken_texts():
    seen = run(6000, seed=1, thorough_every=1)
    assert min(seen.values()) > 100, seen  # the mutations reach every outcome


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_million_broken_texts():
    seen = run(1_000_000, seed=2, thorough_every=25)
    print(f"1,000,000 broken texts: {seen}")
    assert sum(seen.values()) == 1_000_000


@pytest.mark.parametrize("codec", CODECS)
@settings(max_examples=200)
@given(
    text=st.text(st.one_of(st.sampled_from("|* \n12<>/seg,;-a"), st.characters()), max_size=80),
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    labels=st.lists(st.text(max_size=5).filter(lambda word: word != OTHERS), max_size=3, unique=True),
)
def test_any_string_at_all(codec, text, size, labels):
    decoded = parse(text, size, codec, labels)
    assert decoded.grid.ids.shape == size
    check(text, size, codec, (OTHERS,), thorough=True)
