"""The endless stream: resumed at the very next record, whatever the workers and the damage; never hanging."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from PIL import Image
from shard_sets import WordProcessor, data_settings, keys_of, make, rewrite
from torch.utils.data import DataLoader

from text4seg.data.lanes import lanes_of
from text4seg.data.position import Cursor, Position
from text4seg.data.settings import AugmentSettings, VariantSettings
from text4seg.data.shards.index import Index
from text4seg.data.shards.read import records
from text4seg.data.stream import Seat, TrainStream
from text4seg.models.registry import load_processor
from text4seg.models.settings import ModelSettings

DAMAGED = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Thirty samples in six shards, two of them with broken JSON."""
    folder = tmp_path_factory.mktemp("stream") / "set"
    make(folder, count=30, shards=6)
    for number in range(DAMAGED):
        path = folder / f"shard-{number:05d}.tar"
        name = f"{keys_of(path)[number]}.qa.json"
        rewrite(path, lambda n, data, name=name: data[:40] if n == name else data)
    return folder


def stream_of(folder, position, seat=Seat(), progress=lambda batch: 0.0, **changes):  # noqa: B008
    return TrainStream(lanes(folder), data_settings(**changes), WordProcessor(), 5, seat, position, progress)


def lanes(folder):
    return lanes_of({"set": (folder, Index.load(folder), None)})


def batches(stream, workers, num):
    loader = DataLoader(stream, batch_size=None, num_workers=workers)
    return list(islice(loader, num))


def told(batch):
    return batch["origin"].keys, batch["texts"]


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("consumed", [1, 4, 17])
def test_a_resumed_stream_gives_exactly_the_remaining_batches(folder, workers, consumed):
    whole = batches(stream_of(folder, Position.start(max(1, workers)), turns="one"), workers, consumed + 9)
    position = Position.start(max(1, workers))
    for batch in whole[:consumed]:
        position.advance(batch["origin"].worker, batch["origin"].cursor)
    stored = Position.load(position.state())
    resumed = batches(stream_of(folder, stored, turns="one"), workers, 9)
    assert [told(batch) for batch in resumed] == [told(batch) for batch in whole[consumed:]]
    assert [batch["origin"].cursor for batch in resumed] == [batch["origin"].cursor for batch in whole[consumed:]]


def test_a_position_that_is_one_batch_off_gives_other_batches(folder):
    """The test above can fail."""
    whole = batches(stream_of(folder, Position.start(1)), 0, 8)
    right = whole[3]["origin"].cursor
    ((epoch, behind),) = right.lanes
    wrong = Position([replace(right, lanes=((epoch, behind + 1),))], 4)
    assert [told(batch) for batch in batches(stream_of(folder, wrong), 0, 4)] != [told(batch) for batch in whole[4:]]


@pytest.mark.parametrize("workers", [1, 2])
def test_every_usable_record_comes_once_an_epoch(folder, workers):
    usable = 30 - DAMAGED
    seen = Counter()
    for rank in range(2):
        stream = stream_of(folder, Position.start(workers), Seat(rank, 2), batch_size=1)
        for batch in batches(stream, workers if workers > 1 else 0, usable):
            if batch["origin"].cursor.epoch == 0:
                seen.update(batch["origin"].keys)
    assert len(seen) == usable
    assert set(seen.values()) == {1}


def test_skipped_records_are_counted_and_named(folder):
    found = [batch["origin"] for batch in batches(stream_of(folder, Position.start(1), batch_size=1), 0, 2 * 28)]
    reasons = [reason for origin in found for reason in origin.skipped]
    assert found[-1].cursor.skipped == len(reasons) == 2 * DAMAGED
    assert all("qa.json is not JSON" in reason for reason in reasons)
    assert [origin.cursor.batches for origin in found] == list(range(1, 57))


def test_broken_records_raise_when_told_to(folder):
    with pytest.raises(ValueError, match="not JSON"):
        batches(stream_of(folder, Position.start(1), on_error="raise"), 0, 30)


@pytest.mark.parametrize("workers", [0, 1])
def test_shards_without_a_usable_record_raise_instead_of_hanging(tmp_path, workers):
    make(tmp_path / "set", count=4, shards=2)
    for path in (tmp_path / "set").glob("*.tar"):
        rewrite(path, lambda name, data: b"[" if name.endswith("json") else data)
    with pytest.raises(ValueError, match="not one usable record in epoch 0"):
        batches(stream_of(tmp_path / "set", Position.start(1)), workers, 1)


def broken(folder, *numbers):
    make(folder, count=8, shards=4)
    for number in numbers:
        path = folder / f"shard-{number:05d}.tar"
        rewrite(path, lambda name, data: b"[" if name.endswith("json") else data)
    return folder


def test_a_process_whose_only_shard_is_broken_waits_for_another_one(tmp_path):
    """Each of four ranks reads one shard an epoch; two in an epoch get nothing."""
    folder = broken(tmp_path / "set", 0, 2)
    for rank in range(4):
        found = batches(stream_of(folder, Position.start(1), Seat(rank, 4), batch_size=1), 0, 12)
        assert found[-1]["origin"].cursor.skipped > 0
        assert found[-1]["origin"].cursor.epoch > 6


def test_a_process_that_finds_nothing_in_many_epochs_gives_up(tmp_path):
    folder = broken(tmp_path / "set", *range(4))
    with pytest.raises(ValueError, match=r"set: not one usable record in 10 epochs up to number 9 \(.*not JSON"):
        batches(stream_of(folder, Position.start(1), Seat(0, 4)), 0, 1)


def test_batches_are_padded_as_the_settings_say(folder):
    (batch,) = batches(stream_of(folder, Position.start(1), pad_to_multiple_of=4, max_length=99_999), 0, 1)
    assert batch["padding"] == {"pad_to_multiple_of": 4, "max_length": 99_999}


def test_samples_that_are_too_long_are_skipped(folder):
    with pytest.raises(ValueError, match="the limit is 10"):
        batches(stream_of(folder, Position.start(1), max_length=10), 0, 1)


def test_epochs_come_in_other_orders_and_with_other_turns(folder):
    found = batches(stream_of(folder, Position.start(1), batch_size=1, turns="one"), 0, 2 * 28)
    first, second = ([batch["origin"].keys[0] for batch in part] for part in (found[:28], found[28:]))
    assert first != second
    assert sorted(first) == sorted(second)
    texts = [{batch["origin"].keys[0]: batch["texts"][0] for batch in part} for part in (found[:28], found[28:])]
    assert 0 < sum(texts[0][key] != texts[1][key] for key in first) < 28
    both = batches(stream_of(folder, Position.start(1), batch_size=1), 0, 28)
    assert all(texts[0][batch["origin"].keys[0]] in batch["texts"][0] for batch in both)


def test_the_curriculum_moves_with_the_batches_of_the_rank(folder):
    curriculum = {
        "variants": {"dense": VariantSettings("full", [4, 4]), "runs": VariantSettings("rrle", [4, 4])},
        "curriculum": [{"at": 0.25, "dense": 1}, {"at": 0.75, "runs": 1}],
    }
    asked = []

    def progress(batch):
        asked.append(batch)
        return batch / 40

    stream = stream_of(folder, Position.start(1), progress=progress, format_hint=True, **curriculum)
    dense = ["(4x4 full)" in text for batch in batches(stream, 0, 40) for text in batch["texts"]]
    assert set(dense) == {False, True}
    assert set(dense[:20]) == {True}
    assert 5 < sum(dense[20:60]) < 35
    assert set(dense[62:]) == {False}
    assert asked == sorted(asked)
    assert set(asked) == set(range(40))


def test_workers_share_the_curriculum_of_their_rank(folder):
    """Batch i of the rank is drawn with the progress of batch i, whichever process makes it."""
    curriculum = {"variants": {"a": VariantSettings("full", [2, 2]), "b": VariantSettings("rrle", [2, 2])}}
    points = [{"at": 0.499, "a": 1}, {"at": 0.5, "b": 1}]
    stream = stream_of(
        folder,
        Position.start(2),
        progress=lambda batch: 1.0 if batch >= 5 else 0.0,
        curriculum=points,
        format_hint=True,
        **curriculum,
    )
    found = ["full)" in text for batch in batches(stream, 2, 10) for text in batch["texts"]]
    assert found == [True] * 10 + [False] * 10


def test_a_batch_has_one_variant(folder):
    """Unlike grids in a batch would be padded to the longest answer."""
    curriculum = {
        "variants": {"a": VariantSettings("full", [2, 2]), "b": VariantSettings("rrle", [4, 4])},
        "curriculum": [{"at": 0, "a": 1, "b": 1}],
    }
    stream = stream_of(folder, Position.start(1), batch_size=4, format_hint=True, **curriculum)
    kinds = [{"(2x2 full)" in text for text in batch["texts"]} for batch in batches(stream, 0, 20)]
    assert all(len(kind) == 1 for kind in kinds)
    assert {True} in kinds
    assert {False} in kinds


def test_image_tokens_are_given_the_labels_of_their_cells(folder):
    settings = data_settings(
        turns="one",
        variants={"only": VariantSettings("rrle", [2, 2], answer=False)},
        curriculum=[{"at": 0, "only": 1}],
    )
    processor = load_processor(ModelSettings(path="random", options={"image": 32, "patch": 8}))
    stream = TrainStream(
        lanes(folder), settings, processor, 5, Seat(), Position.start(1), lambda batch: 0.0, cells=True
    )
    batch = next(iter(stream))
    assert (batch["labels"] == -100).all()
    samples = {r.key: r.sample() for path in folder.glob("*.tar") for r in records(path) if is_sound(r)}
    for row, key in enumerate(batch["origin"].keys):
        named = batch["cells"][row][batch["cells"][row] != -100].tolist()
        sample = samples[key]
        possible = []
        for turn, plane in zip(sample.turns, sample.masks, strict=True):
            square = np.asarray(Image.fromarray(plane).resize((4, 4), Image.Resampling.NEAREST)).reshape(-1)
            words = [processor.tokenizer(f"{label}|")["input_ids"][0] for label in turn.labels]
            possible.append([words[i] for i in square])
        assert named in possible


def is_sound(record) -> bool:
    try:
        return bool(record.sample())
    except ValueError:
        return False


def test_too_few_shards_are_told_before_training(folder):
    with pytest.raises(ValueError, match="6 shards cannot feed 8"):
        stream_of(folder, Position.start(4), Seat(0, 2))


def test_a_position_survives_its_state():
    position = Position.start(2)
    position.advance(1, Cursor(((1, 2), (3, 4)), 5, 6, 7, 8))
    assert Position.load(position.state()) == position
    assert position.batches == 1


def test_crops_and_flips_change_answers_and_come_again_after_a_resume(tmp_path):
    make(tmp_path / "set", count=12, shards=2, task="conditioned")
    options = {"augment": AugmentSettings(flip=0.5, crops=4, smallest=0.4)}
    plain = batches(stream_of(tmp_path / "set", Position.start(1)), 0, 12)
    varied = batches(stream_of(tmp_path / "set", Position.start(1), **options), 0, 12)
    assert [told(batch)[0] for batch in varied] == [told(batch)[0] for batch in plain]
    assert 4 < sum(a["texts"] != b["texts"] for a, b in zip(varied, plain, strict=True)) <= 12
    position = Position.start(1)
    for batch in varied[:5]:
        position.advance(batch["origin"].worker, batch["origin"].cursor)
    resumed = batches(stream_of(tmp_path / "set", position, **options), 0, 7)
    assert [told(batch) for batch in resumed] == [told(batch) for batch in varied[5:]]
