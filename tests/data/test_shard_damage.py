"""Damage of every kind: `verify` finds it, training skips it with a count, and nothing raises but where told to."""

from __future__ import annotations

import io
import json
import os
import pickle
import tarfile
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from shard_sets import (
    CODEC,
    GRID,
    RULE,
    WordProcessor,
    data_settings,
    flip,
    keys_of,
    make,
    place_of,
    recipe,
    reseal,
    rewrite,
    shard,
)

from text4seg.data.lanes import lanes_of
from text4seg.data.position import Position
from text4seg.data.shards.build import ensure
from text4seg.data.shards.index import Index
from text4seg.data.shards.read import records
from text4seg.data.shards.verify import verify
from text4seg.data.stream import Seat, TrainStream


@pytest.fixture
def folder(tmp_path):
    make(tmp_path / "set")
    return tmp_path / "set"


def skips(folder, epochs=1):
    """What a training stream of one process leaves out, by reason, and the keys that it delivers in an epoch."""
    stream = TrainStream(
        lanes_of({"set": (folder, Index.load(folder), None)}),
        data_settings(batch_size=1),
        WordProcessor(),
        0,
        Seat(),
        Position.start(1),
        float,
    )
    reasons, keys = [], []
    for batch in stream:
        if batch["origin"].cursor.epoch >= epochs:
            assert batch["origin"].cursor.skipped >= len(reasons)
            return reasons, keys
        reasons += batch["origin"].skipped
        keys += batch["origin"].keys
    raise AssertionError("the stream ended")


def test_a_whole_folder_has_no_damage(folder):
    assert verify(folder) == []
    assert skips(folder)[0] == []
    assert len(skips(folder)[1]) == 12


def test_a_missing_shard_is_found_and_stops_training(folder):
    shard(folder, 2).unlink()
    assert verify(folder) == ["shard-00002.tar: missing"]
    with pytest.raises(ValueError, match="no shard at"):
        skips(folder)


@pytest.mark.parametrize("cut", [0.1, 0.3, 0.6])
def test_a_truncated_shard_is_found_and_skipped(folder, cut):
    data = shard(folder).read_bytes()
    shard(folder).write_bytes(data[: int(len(data) * cut)])
    found = verify(folder)
    assert "bytes, the index says" in found[0]
    assert any("broken off" in line or "records, the index says" in line for line in found[1:])
    reasons, keys = skips(folder)
    assert any("broken off" in reason for reason in reasons)
    assert 9 <= len(keys) < 12  # three of the twelve lie in this shard


def test_a_shard_cut_between_two_members_is_not_taken_for_whole(folder):
    second = keys_of(shard(folder))[1]
    shard(folder).write_bytes(shard(folder).read_bytes()[: place_of(shard(folder), f"{second}.descriptor.txt")])
    assert any("broken off" in line for line in verify(folder))
    reasons, keys = skips(folder)
    assert len(reasons) == 1
    assert len(keys) == 10


def test_an_empty_file_in_place_of_a_shard_is_skipped(folder):
    shard(folder, 1).write_bytes(b"")
    reasons, keys = skips(folder, epochs=2)
    assert reasons
    assert all("shard-00001.tar: broken off after the start" in reason for reason in reasons)
    assert len(keys) == 18


def bomb() -> bytes:
    """A JPEG of a few bytes whose header promises 65500 x 65500 pixels."""
    small = io.BytesIO()
    Image.new("RGB", (8, 8)).save(small, "JPEG")
    data = bytearray(small.getvalue())
    start = data.index(b"\xff\xc0") + 5
    data[start : start + 4] = (65500).to_bytes(2, "big") * 2
    return bytes(data)


def test_hostile_members_are_named_and_nothing_leaves_the_folder(folder, tmp_path):
    """A bomb, a pickle that would run, names that lead out: the epoch goes on without them."""

    class Hostile:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'witness'}",)

    first = keys_of(shard(folder, 0))[0]
    rewrite(shard(folder, 0), lambda name, data: bomb() if name == f"{first}.jpg" else data)
    evil = {"evil.pickle": pickle.dumps(Hostile()), "../../outside.jpg": b"x", "/outside.qa.json": b"[]"}
    with tarfile.open(shard(folder, 1), "a") as tar:
        for name, data in evil.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    before = sorted(path for path in tmp_path.rglob("*"))
    reasons, keys = skips(folder)
    assert len(keys) == 11
    assert any(first in reason and "decompression bomb" in reason for reason in reasons)
    assert any("evil: jpg, qa.json, mask.png missing" in reason for reason in reasons)
    assert len(reasons) == 4
    assert sorted(path for path in tmp_path.rglob("*")) == before
    assert any("decompression bomb" in line for line in verify(folder))


def test_a_flipped_byte_is_found_by_its_digest(folder):
    key = keys_of(shard(folder))[0]
    flip(shard(folder), place_of(shard(folder), f"{key}.mask.png") + 512 + 60)
    found = verify(folder)
    assert "SHA-256" in found[0]
    assert any("mask.png" in line for line in found[1:])
    reasons, keys = skips(folder)
    assert [key in reason for reason in reasons] == [True]
    assert len(keys) == 11
    assert ensure(recipe(), folder, GRID, CODEC, RULE, thorough=True).samples == 12
    assert verify(folder) == []


def test_a_flipped_byte_in_a_header_does_not_hide_the_rest(folder):
    second = keys_of(shard(folder))[1]
    flip(shard(folder), place_of(shard(folder), f"{second}.descriptor.txt") + 5)
    assert any("broken off" in line for line in verify(folder))
    reasons, keys = skips(folder)
    assert len(reasons) == 1
    assert len(keys) == 10


def change(member, new):
    """Damage one member of a shard's first record."""

    def damage(folder):
        name = f"{keys_of(shard(folder))[0]}.{member}"
        rewrite(shard(folder), lambda n, data: new(data) if n == name else data)
        reseal(folder)

    return damage


def turns(**news):
    """Change fields of the first turn."""
    return lambda data: json.dumps([{**json.loads(data)[0], **news}, *json.loads(data)[1:]]).encode()


def png(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


UNREADABLE = {
    "half a JSON": (change("qa.json", lambda data: data[: len(data) // 2]), "not JSON"),
    "JSON of another kind": (change("qa.json", lambda data: b"3"), "list of turns"),
    "a nest of brackets": (change("qa.json", lambda data: b"[" * 100_000), "not JSON"),
    "no questions": (change("qa.json", lambda data: None), "qa.json missing"),
    "no picture": (change("jpg", lambda data: None), "jpg missing"),
    "no masks": (change("mask.png", lambda data: None), "mask.png missing"),
    "half a picture": (change("jpg", lambda data: data[: len(data) // 2]), "not a readable image"),
    "text for a picture": (change("jpg", lambda data: b"hello"), "not a readable image"),
    "half a mask": (change("mask.png", lambda data: data[: len(data) // 2]), "not a readable image"),
    "a mask in colour": (change("mask.png", lambda data: png(np.zeros((96, 48, 3), np.uint8))), "8-bit grey"),
    "a plane too few": (change("mask.png", lambda data: png(np.zeros((95, 48), np.uint8))), "8-bit grey"),
    "a value without label": (change("mask.png", lambda data: png(np.full((96, 48), 9, np.uint8))), "holds 9"),
    "a label with a separator": (change("qa.json", turns(labels=["others", "a|b"])), "separator"),
    "an unknown task": (change("qa.json", turns(task="guess")), "unknown task"),
    "a label twice": (change("qa.json", turns(labels=["others", "a", "a"])), "asked for twice"),
    "the background asked for": (change("qa.json", turns(labels=["others", "others"])), "names the background"),
    "half a letter": (change("qa.json", turns(question="\ud800")), "no Unicode text"),
    "a source that is no text": (change("qa.json", turns(source={})), "`source` of qa.json must be text"),
    "a mask of another size": (change("mask.png", lambda data: png(np.zeros((96, 40), np.uint8))), "the mask is 40x48"),
    "a huge mask": (change("mask.png", lambda data: png(np.zeros((9600, 4800), np.uint8))), "the mask is 4800x4800"),
    "PostScript": (change("jpg", lambda data: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 48 48\n%%EndComments\n"),
                   "not a readable image"),
}  # fmt: skip
DISAGREEING = {
    "no descriptor": (change("descriptor.txt", lambda data: None), "descriptor.txt missing"),
    "another descriptor": (change("descriptor.txt", lambda data: data.replace(b"others", b"other")), "not the desc"),
    "a mask of another size": (change("mask.png", lambda data: png(np.zeros((96, 40), np.uint8))), "the mask is 40x48"),
    "another codec": (change("qa.json", turns(codec="irle")), "the index says"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_broken_record_is_found_and_skipped_with_its_reason(folder, name):
    damage, message = UNREADABLE[name]
    damage(folder)
    found = verify(folder)
    assert len(found) == 1
    assert message in found[0]
    reasons, keys = skips(folder)
    assert len(reasons) == 1
    assert message in reasons[0]
    assert len(keys) == 11


@pytest.mark.parametrize("name", DISAGREEING)
def test_members_that_disagree_are_found(folder, name):
    damage, message = DISAGREEING[name]
    damage(folder)
    found = verify(folder)
    assert len(found) == 1
    assert message in found[0]


def test_doubled_keys_wrong_counts_and_stray_files_are_found(folder):
    shard(folder, 1).write_bytes(shard(folder, 0).read_bytes())
    reseal(folder)
    found = verify(folder)
    assert sum("the key comes twice, first in shard-00000.tar" in line for line in found) == 3
    gone = keys_of(shard(folder, 1))[0]
    rewrite(shard(folder, 1), lambda name, data: None if name.startswith(gone) else data)
    reseal(folder)
    assert any("2 records, the index says 3" in line for line in verify(folder))
    (folder / "shard-00009.tar").write_bytes(b"")
    assert any(line.startswith("shard-00009.tar: a file that the index does not list") for line in verify(folder))


@pytest.mark.parametrize(
    "change",
    [
        {"shards": [{"name": "../x", "samples": 12, "bytes": 1, "sha256": ""}]},
        {"shards": [{"name": "..", "samples": 12, "bytes": 1, "sha256": ""}]},
        {"shards": [{"name": "/etc/passwd", "samples": 12, "bytes": 1, "sha256": ""}]},
        {"shards": [{"name": "", "samples": 12, "bytes": 1, "sha256": ""}]},
        {"shards": [{"name": 3, "samples": 12, "bytes": 1, "sha256": ""}]},
        {"shards": [{"name": "a.tar", "samples": "12", "bytes": 1, "sha256": ""}]},
        {"shards": 7},
        {"samples": 13},
        {"turns": 1},
        {"tasks": {"referring": "many"}},
        {"grid": [8]},
        {"grid": [0, 8]},
        {"grid": [10**9, 10**9]},
        {"codec": "morse"},
        {"rule": "guess"},
        {"format": 99},
        {"surprise": 1},
    ],
)
def test_a_hostile_index_is_refused(folder, change):
    path = folder / "index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match="cannot be read"):
        Index.load(folder)
    assert len(verify(folder)) == 1
    assert ensure(recipe(), folder, GRID, CODEC, RULE).samples == 12


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, "\0\1", "null"])
def test_an_index_that_is_no_index_is_refused(folder, text):
    (folder / "index.json").write_text(text)
    assert "cannot be read" in verify(folder)[0]


@settings(max_examples=60)
@given(st.data())
def test_verify_and_reading_survive_any_bytes(tmp_path_factory, data):
    source = tmp_path_factory.getbasetemp() / "fuzzed"
    if not source.exists():
        make(source, count=2, shards=1)
        shard(source).with_suffix(".bak").write_bytes(shard(source).read_bytes())
    whole = shard(source).with_suffix(".bak").read_bytes()
    damaged = bytearray(whole)
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=8)):
        damaged[place] ^= data.draw(st.integers(1, 255))
    shard(source).write_bytes(damaged)
    reseal(source)
    verify(source)
    for record in records(shard(source)):
        try:
            record.sample()
        except ValueError:
            continue


def lying(member: tarfile.TarInfo, claim: int) -> bytes:
    """A header of one block that claims another size; with the type of a sparse file, that size after its holes."""
    block = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    if member.type == tarfile.GNUTYPE_SPARSE:
        block[386:410], block[482:483], block[483:495] = b"00000000000\0" * 2, b"\0", b"%011o\0" % claim
    else:
        block[124:136] = b"%011o\0" % claim
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.GNUTYPE_SPARSE])
def test_a_member_that_claims_more_than_its_file_holds_costs_no_memory(folder, kind):
    member = tarfile.TarInfo("zz-000.jpg")
    member.type = kind
    shard(folder).write_bytes(lying(member, 2**30) + shard(folder).read_bytes())
    tracemalloc.start()
    found = verify(folder)
    reasons, _ = skips(folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert any("zz-000.jpg claims 1073741824 bytes" in line for line in found)
    assert any("zz-000.jpg claims" in line for line in reasons)
    assert peak < 2**27


def test_a_name_that_claims_to_be_longer_than_memory_is_no_crash(folder, monkeypatch):
    def full(*_):
        raise MemoryError

    monkeypatch.setattr(tarfile.TarFile, "next", full)
    assert any("broken off" in line for line in verify(folder))


def test_planes_count_one_by_one_against_pillows_limit(folder, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 48 * 48)  # Pillow warns beyond it and refuses from twice as many on
    shapes = {record.sample().masks.shape for record in records(shard(folder))}
    make(folder, task_options={"turns": 3}, options={**recipe().options, "questions": 3})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert {record.sample().masks.shape for record in records(shard(folder))} != shapes
        assert verify(folder) == []


def test_a_label_that_no_descriptor_can_carry_is_refused_on_reading(folder):
    """Before anything is made of it: validation encodes outside the place that skips broken records."""
    UNREADABLE["a label with a separator"][0](folder)
    with pytest.raises(ValueError, match="separator"):
        next(records(shard(folder))).sample()
