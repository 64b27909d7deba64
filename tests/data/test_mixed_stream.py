"""Several sets in one stream, batches of like lengths, another number of processes: what is exact and what is not."""

from __future__ import annotations

import io
from collections import Counter
from itertools import islice

import numpy as np
import pytest
from PIL import Image
from shard_sets import WordProcessor, data_settings, make
from torch.utils.data import DataLoader

from text4seg.data.datamodule import ShardDataModule, lanes_in
from text4seg.data.image import open_image
from text4seg.data.lanes import lanes_of
from text4seg.data.position import Position
from text4seg.data.settings import DataSettings, SetSettings, SplitSettings
from text4seg.data.shards.index import Index
from text4seg.data.stream import Seat, TrainStream

SIZES = {"small": 8, "middle": 24, "large": 64}
WORLD, WORKERS = 2, 2


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Three sets of very different size; a seed each, so that no key comes twice."""
    top = tmp_path_factory.mktemp("mixed")
    for seed, (name, size) in enumerate(SIZES.items()):
        make(top / name, count=size, seed=seed, shards=4)
    return {name: top / name for name in SIZES}


def mixed(folders, weights=(None, None, None)):
    return lanes_of({n: (f, Index.load(f), w) for (n, f), w in zip(folders.items(), weights, strict=True)})


def rank_batches(lanes, rank, position, num, world=WORLD, workers=WORKERS, **changes):
    stream = TrainStream(
        lanes, data_settings(**changes), WordProcessor(), 5, Seat(rank, world), position, lambda _: 0.0
    )
    return list(islice(DataLoader(stream, batch_size=None, num_workers=workers), num))


def consumed(batches, position):
    for batch in batches:
        position.advance(batch["origin"].worker, batch["origin"].cursor)
    return Position.load(position.state())


def keys(batches):
    return [key for batch in batches for key in batch["origin"].keys]


def set_of(key):
    return list(SIZES)[int(key.split("-")[1])]


def test_without_weights_an_epoch_is_every_sample_of_every_set_once(folders):
    lanes = mixed(folders)
    assert (len(lanes), lanes[0].samples) == (1, 96)
    seen = Counter()
    for rank in range(WORLD):
        found = rank_batches(lanes, rank, Position.start(WORKERS), 96, batch_size=1)
        seen.update(b["origin"].keys[0] for b in found if b["origin"].cursor.epoch == 0)
    assert len(seen) == 96
    assert set(seen.values()) == {1}


@pytest.mark.parametrize("weights", [(None, None, None), (1.0, 1.0, 2.0)])
@pytest.mark.parametrize("window", [1, 3])
def test_a_resume_in_mid_epoch_is_the_uninterrupted_run(folders, weights, window):
    """2 ranks x 2 loading processes, three sets; also where a window of batches is half delivered."""
    lanes = mixed(folders, weights)
    for rank in range(WORLD):
        start = Position.start(WORKERS, len(lanes))
        whole = rank_batches(lanes, rank, start, 24, length_window=window)
        for done in (5, 9):
            stored = consumed(whole[:done], Position.start(WORKERS, len(lanes)))
            rest = rank_batches(lanes, rank, stored, 24 - done, length_window=window)
            assert [(b["origin"].keys, b["texts"]) for b in rest] == [
                (b["origin"].keys, b["texts"]) for b in whole[done:]
            ]
            assert [b["origin"].cursor for b in rest] == [b["origin"].cursor for b in whole[done:]]


def test_ratios_hold_whatever_the_sizes_and_each_set_has_epochs_of_its_own(folders):
    lanes = mixed(folders, (1.0, 1.0, 2.0))
    found = rank_batches(lanes, 0, Position.start(1, 3), 600, world=1, workers=0, batch_size=1)
    drawn = Counter(map(set_of, keys(found)))
    assert drawn["small"] / 600 == pytest.approx(0.25, abs=0.06)
    assert drawn["large"] / 600 == pytest.approx(0.5, abs=0.06)
    for name, size in SIZES.items():
        own = [key for key in keys(found) if set_of(key) == name]
        for start in range(0, len(own) - size, size):
            assert len(set(own[start : start + size])) == size  # none twice before all came once


def test_weights_are_for_all_sets_or_for_none(folders):
    with pytest.raises(ValueError, match=r"`data.train.mix`: give every set a `weight`"):
        mixed(folders, (1.0, None, 2.0))
    with pytest.raises(ValueError, match="above 0"):
        mixed(folders, (1.0, 0.0, 2.0))


def test_a_window_puts_like_lengths_together(folders):
    def padding(window):
        found = rank_batches(mixed(folders), 0, Position.start(1), 24, 1, 0, batch_size=4, length_window=window)
        assert sorted(keys(found)) == sorted(set(keys(found)))
        return sum(max(map(len, b["texts"])) * 4 - sum(map(len, b["texts"])) for b in found)

    assert padding(8) < 0.5 * padding(1)


def test_another_number_of_processes_goes_on_near_by(folders):
    lanes = lanes_of({"large": (folders["large"], Index.load(folders["large"]), None)})
    states, done = [], Counter()
    for rank in range(WORLD):
        found = rank_batches(lanes, rank, Position.start(WORKERS), 8)
        done.update(keys(found))
        states.append(consumed(found, Position.start(WORKERS)).state())
    assert done.total() == 32  # half an epoch
    position = Position.spread(states, 1, 2, [64])
    assert [c.lanes for c in position.cursors] == [((0, 16),)] * 2
    assert position.batches == 16
    rest, second = Counter(), Counter()
    for batch in rank_batches(lanes, 0, position, 96, world=1, workers=2, batch_size=1):
        (second if batch["origin"].cursor.epoch else rest).update(batch["origin"].keys)
    assert (rest.total(), set(rest.values())) == (32, {1})
    assert (len(second), set(second.values())) == (64, {1})  # the next epoch is exact again


def module(folders, workers=1, **mix):
    sets = mix or {name: SetSettings(str(folder), weight=1.0) for name, folder in folders.items()}
    settings = data_settings(train=SplitSettings(mix=sets), workers=workers)
    found = ShardDataModule(settings, WordProcessor(), seed=3)
    found.prepare_data()
    found.setup("fit")
    return found


def test_the_data_module_mixes_and_resumes(folders):
    first = module(folders)
    assert [lane.name for lane in first.lanes] == list(SIZES)
    batches = list(islice(first.train_dataloader(), 6))
    for batch in batches[:3]:
        first.consumed(batch["origin"])
    again = module(folders)
    again.load_state_dict(first.state_dict())
    assert keys(islice(again.train_dataloader(), 3)) == keys(batches[3:])
    other = module(folders, workers=2)
    with pytest.warns(UserWarning, match="1 ranks x 1 loading processes x 2 samples and goes on with 1 x 2 x 2"):
        other.load_state_dict(first.state_dict())
    assert (other.position.batches, len(other.position.cursors)) == (3, 2)


def test_a_resume_on_other_shards_goes_on_in_the_curriculum(folders):
    first = module(folders)
    for batch in islice(first.train_dataloader(), 5):
        first.consumed(batch["origin"])
    other = module(folders, workers=2, only=SetSettings(str(folders["small"])))
    other.accept = True
    asked: list[int] = []
    other.progress = lambda batch: asked.append(batch) or 0.0
    with pytest.warns(UserWarning, match="read from their beginning"):
        other.load_state_dict(first.state_dict())
    assert [(cursor.batches, cursor.lanes) for cursor in other.position.cursors] == [(2, ((0, 0),))] * 2
    stream = other.train_dataloader().dataset
    next(iter(stream))
    assert set(asked) == {5}, "the sixth batch of the run"


def test_a_mix_that_loses_its_weights_is_another_order_of_the_data(folders):
    first = module(folders)
    other = module(folders, **{name: SetSettings(str(folder)) for name, folder in folders.items()})
    with pytest.raises(ValueError, match=r"not mixed as they were \(by `weight`, or by size\)"):
        other.load_state_dict(first.state_dict())
    other.accept = True
    with pytest.warns(UserWarning, match="read from their beginning"):
        other.load_state_dict(first.state_dict())
    assert next(iter(other.train_dataloader()))["texts"]


def test_a_mix_is_for_training_and_stands_alone(folders):
    sets = {"a": SetSettings(str(folders["small"]))}
    assert lanes_in(SplitSettings(mix=sets)) == 1
    for split in (SplitSettings(mix=sets, shards="x"),):
        with pytest.raises(ValueError, match=r"`data.train.mix` is for training"):
            ShardDataModule(DataSettings(train=split), WordProcessor()).prepare_data()
    with pytest.raises(ValueError, match=r"`data.val.mix`"):
        ShardDataModule(DataSettings(val=SplitSettings(mix=sets)), WordProcessor()).prepare_data()


def test_reduced_decoding_keeps_the_picture(tmp_path):
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 255, (12, 16, 3), np.uint8)).resize((640, 480), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=95)
    whole, reduced = (open_image(buffer.getvalue(), "a", least=least) for least in (None, 100))
    assert (whole.size, reduced.size) == ((640, 480), (160, 120))
    a, b = (np.asarray(i.resize((96, 96), Image.Resampling.BICUBIC), float) for i in (whole, reduced))
    assert np.abs(a - b).mean() < 2.0
    assert open_image(buffer.getvalue(), "a", least=500).size == (640, 480)


def test_a_set_smaller_than_the_processes_is_mixed_in_by_its_weight(folders, tmp_path):
    make(tmp_path / "tiny", count=3, seed=9, shards=3)
    sets = {"large": (folders["large"], 9.0), "tiny": (tmp_path / "tiny", 1.0)}
    lanes = lanes_of({name: (folder, Index.load(folder), weight) for name, (folder, weight) in sets.items()})
    seen = Counter(
        key.split("-")[1]
        for rank in range(WORLD)
        for key in keys(rank_batches(lanes, rank, Position.start(WORKERS, 2), 150, batch_size=1))
    )
    assert 15 <= seen["9"] <= 47, seen  # a tenth of 300; five standard deviations
    alone = lanes_of({"tiny": (tmp_path / "tiny", Index.load(tmp_path / "tiny"), None)})
    with pytest.raises(ValueError, match="3 shards cannot feed 4 loading processes"):
        rank_batches(alone, 0, Position.start(WORKERS), 1)
