"""Pickles are untrusted: plain data comes back as it was written, everything else is a ValueError and runs nothing."""

from __future__ import annotations

import copyreg
import json
import os
import pickle
import struct
from collections import OrderedDict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from text4seg.data.sources.plain_pickle import load

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
KEYS = st.text() | st.integers() | st.tuples(st.integers(), st.text())
PLAIN = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(KEYS, inner))


class Hostile:
    """Unpickling this runs a shell command."""

    def __init__(self, witness: Path) -> None:
        self.command = f"touch {witness}"

    def __reduce__(self):
        return os.system, (self.command,)


def write(folder: Path, data: bytes) -> Path:
    path = folder / "data.p"
    path.write_bytes(data)
    return path


@given(data=PLAIN, protocol=st.integers(3, pickle.HIGHEST_PROTOCOL))
def test_plain_data_comes_back(data, protocol, tmp_path_factory):
    assert load(write(tmp_path_factory.mktemp("plain"), pickle.dumps(data, protocol))) == data


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_reads_what_refs_hold(protocol, tmp_path):
    refs = [{"ref_id": 1, "ann_id": [2**40, -1], "sentences": [{"sent": "a café \u2615", "score": 0.5}], "flag": None}]
    assert load(write(tmp_path, pickle.dumps(refs, protocol))) == refs


def test_sets_are_plain(tmp_path):
    assert load(write(tmp_path, pickle.dumps([{1, 2}, frozenset("ab")], 4))) == [{1, 2}, frozenset("ab")]


def test_strings_of_python_2_are_read_as_latin_1(tmp_path):
    python_2 = b"(lp0\nS'caf\\xe9'\np1\naI7\naL8L\naV\\u2615\np2\na."
    assert load(write(tmp_path, python_2)) == ["caf\xe9", 7, 8, "\u2615"]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_command_is_named_and_not_run(protocol, tmp_path):
    witness = tmp_path / "witness"
    path = write(tmp_path, pickle.dumps([Hostile(witness)], protocol))
    with pytest.raises(ValueError, match=rf"data\.p .*{os.system.__module__}\.system"):
        load(path)
    assert not witness.exists()
    pickle.loads(path.read_bytes())
    assert witness.exists(), "the attack must work on the ordinary unpickler, or this test shows nothing"


def test_harmless_classes_are_refused_too(tmp_path):
    with pytest.raises(ValueError, match=r"collections\.OrderedDict"):
        load(write(tmp_path, pickle.dumps(OrderedDict(a=1))))


def test_an_extension_code_is_refused_even_when_it_is_cached(tmp_path):
    copyreg.add_extension("os", "getpid", 200)
    try:
        attack = b"\x80\x02\x82\xc8)R."
        assert pickle.loads(attack) == os.getpid()  # from here on it is in the cache, which asks no `find_class`
        with pytest.raises(ValueError, match="extension 200"):
            load(write(tmp_path, attack))
    finally:
        copyreg.remove_extension("os", "getpid", 200)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"not a pickle at all", id="text"),
        pytest.param(json.dumps([{"ref_id": 1}]).encode(), id="json"),
        pytest.param(b"\x80\x63.", id="unknown protocol"),
        pytest.param(b"cos\nsystem\n(S'true'\ntR.", id="global"),
        pytest.param(b"(S'true'\nios\nsystem\n.", id="inst"),
        pytest.param(b"]q\x00)R.", id="reduce a list"),
        pytest.param(b"]}S'a'\nK\x01sb.", id="build"),
        pytest.param(b"Pperson\n.", id="persistent id"),
        pytest.param(b"K\x01Q.", id="binary persistent id"),
        pytest.param(pickle.dumps(bytearray(b"x"), 5), id="an opcode that is not on the list"),
        pytest.param(b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".", id="a bytearray of a terabyte"),
        pytest.param(b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b".", id="bytes of four exabytes"),
        pytest.param(b"\x80\x02]K\x01]s.", id="a list as key"),
        pytest.param(b"h\x05.", id="memo that was never written"),
        pytest.param(b".", id="nothing on the stack"),
        pytest.param(b"(((((((((", id="marks only"),
    ],
)
def test_damaged_and_hostile_pickles_are_one_error(data, tmp_path):
    with pytest.raises(ValueError, match=r"data\.p is cut off, damaged, or holds more than plain data"):
        load(write(tmp_path, data))


def test_made_up_sizes_cost_no_memory(tmp_path):
    assert load(write(tmp_path, b"\x80\x02]r\xff\xff\xff\x7f.")) == []  # memo index
    assert load(write(tmp_path, b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"].")) == []  # frame


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_every_cut_is_an_error(protocol, tmp_path):
    whole = pickle.dumps([{"ref_id": 1, "sentences": [{"sent": "the dog"}]}], protocol)
    for length in range(len(whole)):
        with pytest.raises(ValueError, match="cut off"):
            load(write(tmp_path, whole[:length]))


def test_deep_nesting_is_no_crash(tmp_path):
    data = load(write(tmp_path, b"]" * 100_000 + b"a" * 99_999 + b"."))
    assert isinstance(data, list)


def test_the_size_is_bounded(tmp_path):
    path = write(tmp_path, pickle.dumps(["x" * 100]))
    with pytest.raises(ValueError, match="the limit is 64"):
        load(path, max_bytes=64)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no pickle at .*refs\(unc\)\.p"):
        load(tmp_path / "refs(unc).p")


def test_the_real_pickle_equals_its_json(shared_data):
    folder = shared_data / "coco_refs"
    assert load(folder / "refs(template).p") == json.loads((folder / "refs(template).json").read_text())
