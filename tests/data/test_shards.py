"""Shard folders: the same bytes for the same recipe, readable by others, never half there."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import tarfile
import threading
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import webdataset as wds
from fake_item import jpeg
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from shard_sets import CODEC, GRID, RULE, keys_of, make, recipe, shard

import text4seg.data.shards.build as build_module
from text4seg.data.settings import BuildSettings
from text4seg.data.shards.build import build, ensure
from text4seg.data.shards.index import Index
from text4seg.data.shards.read import records
from text4seg.data.shards.record import MEMBERS, from_members, to_members
from text4seg.data.shards.verify import summarise, verify
from text4seg.data.types import IGNORE, Sample, Turn

ENDLESS = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from shard_sets import make
make(Path({out!r}), count=100000)
"""


@pytest.fixture
def folder(tmp_path):
    make(tmp_path / "set")
    return tmp_path / "set"


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_recipe_gives_the_same_bytes(tmp_path, monkeypatch):
    make(tmp_path / "one")
    monkeypatch.setattr(time, "time", lambda: 2e9)
    make(tmp_path / "two")
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "two")
    make(tmp_path / "three", seed=1)
    assert bytes_of(tmp_path / "one")["shard-00000.tar"] != bytes_of(tmp_path / "three")["shard-00000.tar"]


def test_plain_tar_lists_four_members_a_key_and_keys_hold_no_dots(folder):
    listed = subprocess.run(["tar", "-tf", shard(folder)], capture_output=True, text=True, check=True).stdout.split()
    keys = keys_of(shard(folder))
    assert sorted(listed) == sorted(f"{key}.{member}" for key in keys for member in MEMBERS)
    assert not [key for key in keys if set(key) & set("./\\ ")]


def test_samples_are_dealt_evenly_and_empty_shards_are_left_out(tmp_path):
    index = make(tmp_path / "set", count=10)
    assert [entry.samples for entry in index.shards] == [3, 3, 2, 2]
    index = make(tmp_path / "few", count=2)
    assert len(index.shards) == 2
    assert verify(tmp_path / "few") == []


def test_a_whole_folder_is_kept_and_a_changed_recipe_builds_anew(folder):
    calls = []
    spelling = GRID, CODEC, RULE
    assert ensure(recipe(), folder, *spelling, calls.append).samples == 12
    assert ensure(recipe(), folder, *spelling, calls.append, thorough=True).samples == 12
    assert calls == []
    assert ensure(recipe(seed=3), folder, *spelling, calls.append).recipe["seed"] == 3
    assert calls[-1] == 12
    assert ensure(recipe(seed=3), folder, (4, 4), CODEC, RULE, calls.append).grid == GRID
    assert ensure(recipe(seed=3), folder, (4, 4), CODEC, RULE, thorough=True).grid == (4, 4)


def test_a_folder_of_other_things_is_not_overwritten(tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "love.txt").write_text("dear")
    with pytest.raises(ValueError, match="not shards"):
        make(tmp_path / "letters")
    assert (tmp_path / "letters" / "love.txt").read_text() == "dear"


def test_a_folder_that_only_has_an_index_is_not_taken_for_shards(tmp_path):
    """Other programs write an `index.json` beside their data too."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "index.json").write_text('{"version": 2}')
    with pytest.raises(ValueError, match="not shards"):
        make(tmp_path / "theirs")
    (tmp_path / "theirs" / "shard.00000.mds").write_bytes(b"dear")
    with pytest.raises(ValueError, match=r"shard\.00000\.mds"):
        make(tmp_path / "theirs")
    assert len(list((tmp_path / "theirs").iterdir())) == 2


def test_a_stranger_among_the_shards_is_not_deleted(folder):
    (folder / "notes.txt").write_text("dear")
    with pytest.raises(ValueError, match=r"notes\.txt"):
        ensure(recipe(seed=3), folder, GRID, CODEC, RULE)
    assert (folder / "notes.txt").read_text() == "dear"
    assert verify(folder) == ["notes.txt: a file that the index does not list"]


def test_a_link_and_the_current_folder_can_be_built_into(tmp_path, monkeypatch):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    for seed in (0, 1):
        make(tmp_path / "link", seed=seed)
        assert (tmp_path / "link").is_symlink()
        assert verify(tmp_path / "disk") == []
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    make(Path())
    assert verify(tmp_path / "here") == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "here", "link"]


def test_shards_may_lie_in_the_folder_that_they_are_made_from(tmp_path):
    root = tmp_path / "cars"
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(root / "images" / "a.png")
    Image.new("L", (4, 4), 1).save(root / "masks" / "a.png")
    (root / "classes.txt").write_text("0\tothers\n1\tcar\n")
    settings = BuildSettings(source="folder", options={"root": str(root)}, shards=1)
    calls = []
    for _ in range(2):
        ensure(settings, root / "shards", GRID, CODEC, RULE, calls.append)
    assert calls == [1]
    Image.new("RGB", (4, 4)).save(root / "images" / "b.png")
    Image.new("L", (4, 4), 1).save(root / "masks" / "b.png")
    ensure(settings, root / "shards", GRID, CODEC, RULE, calls.append)
    assert calls == [1, 1, 2]


def test_more_shards_than_files_can_be_open_are_built(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, before[1]))
    try:
        assert len(make(tmp_path / "set", shards=100, count=100).shards) == 100
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_any_number_of_processes_gives_the_same_bytes(folder, tmp_path):
    told = []
    build(recipe(), tmp_path / "set", GRID, CODEC, RULE, told.append, processes=2)
    assert bytes_of(tmp_path / "set") == bytes_of(folder)
    assert told[-1] == 12


@pytest.mark.slow
def test_ray_gives_the_same_bytes(folder, tmp_path):
    pytest.importorskip("ray", reason="optional: pip install ray")
    build(recipe(), tmp_path / "set", GRID, CODEC, RULE, processes=1, engine="ray")
    assert bytes_of(tmp_path / "set") == bytes_of(folder)
    with pytest.raises(ValueError, match="`engine` must be one of processes, ray"):
        build(recipe(), tmp_path / "set2", GRID, CODEC, RULE, engine="dask")


def test_a_stopped_build_goes_on_with_its_finished_shards(folder, tmp_path):
    def stop(done):
        if done > 7:  # in the third of four shards
            raise KeyboardInterrupt

    out, partial = tmp_path / "set", tmp_path / "set.partial"
    with pytest.raises(KeyboardInterrupt):
        build(recipe(), out, GRID, CODEC, RULE, stop)
    finished = {path: path.stat().st_mtime_ns for path in partial.glob("*.tar") if path.with_suffix(".json").is_file()}
    assert len(finished) == 2
    told = []
    build(recipe(), out, GRID, CODEC, RULE, told.append)
    assert bytes_of(out) == bytes_of(folder)
    assert {(out / path.name).stat().st_mtime_ns for path in finished} == set(finished.values())
    assert told == list(range(7, 13))
    with pytest.raises(KeyboardInterrupt):
        build(recipe(), out, GRID, CODEC, RULE, stop)
    build(recipe(seed=1), out, GRID, CODEC, RULE)  # another recipe begins anew
    assert verify(out) == []


def test_a_build_that_fails_leaves_what_was_there(folder):
    before = bytes_of(folder)
    with pytest.raises(ValueError, match="wrong"):
        build(recipe(task_options={"turns": 1, "templates": "wrong.yaml"}), folder, GRID, CODEC, RULE)
    assert bytes_of(folder) == before
    assert not folder.with_name("set.partial").exists()


def test_a_killed_build_leaves_no_index_and_the_next_repairs_it(tmp_path):
    out, partial = tmp_path / "set", tmp_path / "set.partial"
    script = ENDLESS.format(tests=str(Path(__file__).parent), out=str(out))
    with subprocess.Popen([sys.executable, "-c", script]) as running:
        for _ in range(600):
            if partial.is_dir() and sum(path.stat().st_size for path in partial.glob("*.tar")) > 20_000:
                break
            time.sleep(0.05)
        running.send_signal(signal.SIGKILL)
    assert not out.exists()
    assert list(partial.glob("*.tar"))
    assert not (partial / "index.json").exists()
    assert "set.partial" in verify(out)[0]
    assert "build did not finish" in verify(partial)[0]
    with pytest.raises(ValueError, match="shards build"):
        Index.load(out)
    make(out)
    assert verify(out) == []
    assert not partial.exists()


def planes():
    return st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))


@given(
    planes(), st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.sampled_from(["rrle", "irle", "full"])
)
def test_members_and_back(shape, question, codec):
    num, height, width, seed = shape
    masks = np.random.default_rng(seed).choice([0, 1, 2, IGNORE], (num, height, width)).astype(np.uint8)
    turns = tuple(
        Turn(f"{question} {i}", "Here:", ("others", "red car", f"Ding {i}"), "partial", str(i)) for i in range(num)
    )
    turns = (replace(turns[0], box=(0.0, 1.5, 2.0, 3.25), references=("a", question)), *turns[1:])
    sample = Sample("a-000", jpeg(height, width), turns, masks, "cars")
    members = to_members(sample, (3, 2), codec, "center")
    assert to_members(sample, (3, 2), codec, "center") == members
    back = from_members("a-000", members)
    assert (back.key, back.image, back.turns, back.source) == ("a-000", sample.image, turns, "cars")
    assert back.masks.dtype == np.uint8
    np.testing.assert_array_equal(back.masks, masks)
    assert len(members["descriptor.txt"].decode().split("\n\n")) == num


@pytest.mark.parametrize(
    ("name", "value"), [("box", [1, 2, 3]), ("box", "left"), ("references", "yes"), ("references", [1])]
)
def test_odd_boxes_and_references_are_named(name, value):
    masks = np.zeros((1, 4, 4), np.uint8)
    members = to_members(
        Sample("a-000", jpeg(4, 4), (Turn("?", "", ("others", "a"), "referring"),), masks), (2, 2), "rrle", "center"
    )
    (turn,) = json.loads(members["qa.json"])
    members["qa.json"] = json.dumps([turn | {name: value}]).encode()
    with pytest.raises(ValueError, match=f"a-000: `{name}` of a turn"):
        from_members("a-000", members)


def test_summarise_counts_what_was_put_in(tmp_path):
    index = make(tmp_path / "set", task="generalized", options={"count": 12, "kinds": {"none": 1.0, "attribute": 1.0}})
    found = summarise(tmp_path / "set")
    samples = [record.sample() for entry in index.shards for record in records(tmp_path / "set" / entry.name)]
    empty = sum(not plane.any() for sample in samples for plane in sample.masks)
    assert 0 < empty < found["turns"]
    assert found["without_target"] == empty / found["turns"]
    assert found["samples"] == sum(found["turns_per_sample"].values()) == len(samples)
    assert found["tasks"] == {"generalized": found["turns"]}
    assert found["sources"] == {"scenes": 12}
    assert found["grid"] == [8, 8]
    assert found["bytes"] == sum(path.stat().st_size for path in (tmp_path / "set").glob("*.tar"))
    lengths = found["descriptor_characters"]
    assert lengths["shortest"] <= lengths["median"] <= lengths["longest"]
    assert lengths["shortest"] == len("others *8\n " * 8) - 1
    assert json.loads(json.dumps(found)) == found


def test_webdataset_reads_the_shards(folder):
    found = list(islice(wds.WebDataset(str(shard(folder)), shardshuffle=False), 3))
    assert [sample["__key__"] for sample in found] == keys_of(shard(folder))
    assert set(MEMBERS) <= set(found[0])


def test_what_is_no_file_in_a_tar_is_passed_over(folder):
    keys = keys_of(shard(folder))
    link, directory = tarfile.TarInfo("scene.jpg"), tarfile.TarInfo("folder")
    link.type, link.linkname, directory.type = tarfile.SYMTYPE, "../../elsewhere", tarfile.DIRTYPE
    with tarfile.open(shard(folder), "a") as tar:
        tar.addfile(link)
        tar.addfile(directory)
    assert [record.key for record in records(shard(folder))] == keys


def test_who_comes_second_waits_and_takes_what_was_built(tmp_path, monkeypatch) -> None:
    """Two trainings started at once on data that nobody has built yet."""
    begun, built = threading.Event(), []
    real = build_module.run_jobs

    def slowly(jobs, *rest):
        built.append(len(jobs))
        begun.set()
        time.sleep(1)
        real(jobs, *rest)

    monkeypatch.setattr(build_module, "run_jobs", slowly)
    found = []
    first = threading.Thread(target=lambda: found.append(make(tmp_path / "o", count=4, shards=2)))
    first.start()
    assert begun.wait(30)
    with pytest.warns(UserWarning, match=r"another process builds .*o: waiting for it"):
        second = make(tmp_path / "o", count=4, shards=2)
    first.join()
    assert built == [2]
    assert found == [second]
    assert verify(tmp_path / "o") == []
