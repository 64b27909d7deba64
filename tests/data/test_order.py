"""Who reads what: every shard once, whatever the number of processes; the shuffle loses nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from text4seg.data.order import generator, shards_of, shuffled

SEEDS = st.integers(0, 2**40)


@given(st.integers(1, 6), st.integers(1, 4), st.integers(0, 30), SEEDS, st.integers(0, 50))
def test_every_shard_is_read_once_an_epoch(ranks, workers, spare, seed, epoch):
    places = ranks * workers
    shards = [f"shard-{i}" for i in range(places + spare)]
    parts = [shards_of(shards, seed, epoch, place, places) for place in range(places)]
    assert sorted(name for part in parts for name in part) == sorted(shards)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(SEEDS, st.integers(0, 9), st.integers(0, 3))
def test_the_order_is_a_pure_function(seed, epoch, place):
    shards = list(range(20))
    generator("something else").random()
    first = shards_of(shards, seed, epoch, place, 4)
    assert first == shards_of(list(shards), seed, epoch, place, 4)
    assert shards == list(range(20))


def test_epochs_and_seeds_differ():
    orders = {tuple(shards_of(range(20), seed, epoch, 0, 1)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


def test_too_few_shards_are_an_error_that_says_what_to_do():
    with pytest.raises(ValueError, match=r"3 shards cannot feed 4 .*shards=4 or more"):
        shards_of(["a", "b", "c"], 0, 0, 0, 4)


@given(st.lists(st.integers(), max_size=60), st.integers(0, 70), SEEDS)
def test_shuffling_is_a_permutation(items, buffer, seed):
    out = list(shuffled(iter(items), buffer, generator(seed)))
    assert sorted(out) == sorted(items)
    assert out == list(shuffled(items, buffer, generator(seed)))
    if buffer <= 1:
        assert out == items


def test_an_item_leaves_at_most_a_buffer_early():
    for position, item in enumerate(shuffled(range(200), 10, generator(1))):
        assert item <= position + 10
    assert list(shuffled(range(200), 200, generator(1))) != list(range(200))


def test_shuffling_is_lazy():
    def endless():
        number = 0
        while True:
            yield number
            number += 1

    stream = shuffled(endless(), 5, generator(0))
    assert len([next(stream) for _ in range(20)]) == 20


def test_a_generator_depends_on_its_parts_alone():
    assert generator("a", 1).random() == generator("a", 1).random() != generator("a", 2).random()
