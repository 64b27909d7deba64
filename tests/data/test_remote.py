"""Shards behind an address: fetched once, checked, and only from where it is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fsspec import AbstractFileSystem
from fsspec.registry import _registry
from shard_sets import WordProcessor, data_settings, flip, make, shard

from text4seg.data.datamodule import ShardDataModule
from text4seg.data.settings import SplitSettings
from text4seg.data.shards.index import Index
from text4seg.data.shards.remote import RemoteFolder, folder_at


@pytest.fixture
def folder(tmp_path):
    make(tmp_path / "set")
    return tmp_path / "set"


def module(address, cache, remote):
    split = SplitSettings(address)
    settings = data_settings(train=split, val=split, remote=remote, cache=str(cache), workers=0)
    found = ShardDataModule(settings, WordProcessor())
    found.setup("fit")
    return found


def test_training_reads_through_the_cache(folder, tmp_path):
    found = module(f"file://{folder}", tmp_path / "cache", ["file"])
    near = ShardDataModule(data_settings(train=SplitSettings(str(folder)), workers=0), WordProcessor())
    near.setup("fit")
    stream, expected = iter(found.train_dataloader()), iter(near.train_dataloader())
    assert [next(stream)["texts"] for _ in range(6)] == [next(expected)["texts"] for _ in range(6)]
    assert sum(len(batch["items"]) for batch in found.val_dataloader()) == found.indices["val"].turns
    copies = sorted(path.name for path in (tmp_path / "cache").rglob("*.tar"))
    assert len(copies) == 4
    remote = RemoteFolder(f"file://{folder}", tmp_path / "cache")
    Index.load(remote)
    shard(folder).unlink()  # the copy serves
    assert (remote / "shard-00000.tar").is_file()


@pytest.mark.parametrize("scheme", ["gs", "hf"])
def test_other_stores_are_asked_through_fsspec(folder, tmp_path, monkeypatch, scheme):
    """What the store's own library does with a path is not covered: a folder stands for it."""
    asked: list[str] = []

    class Store(AbstractFileSystem):
        protocol, cachable = scheme, False

        def _open(self, path: str, mode: str = "rb", **kwargs: Any) -> Any:
            asked.append(path)
            return Path(str(path).replace("owner/sets", str(tmp_path))).open(mode)

    monkeypatch.setitem(_registry, scheme, Store)
    settings = data_settings(
        train=SplitSettings(f"{scheme}://owner/sets/set"), cache=str(tmp_path / "cache"), workers=0
    )
    found = ShardDataModule(settings, WordProcessor())
    found.setup("fit")
    near = ShardDataModule(data_settings(train=SplitSettings(str(folder)), workers=0), WordProcessor())
    near.setup("fit")
    stream, expected = iter(found.train_dataloader()), iter(near.train_dataloader())
    assert [next(stream)["texts"] for _ in range(6)] == [next(expected)["texts"] for _ in range(6)]
    assert sorted(set(asked)) == [
        f"owner/sets/set/{name}" for name in ["index.json", *(shard(folder, n).name for n in range(4))]
    ]
    assert len(asked) == len(set(asked)) == 5, "each file is fetched once"
    shard(folder, 1).unlink()
    remote = RemoteFolder(f"{scheme}://owner/sets/set", tmp_path / "empty")
    Index.load(remote)
    with pytest.raises(ValueError, match=rf"{scheme}://owner/sets/set/shard-00001\.tar cannot be fetched"):
        remote / "shard-00001.tar"


def test_a_changed_shard_is_not_used(folder, tmp_path):
    flip(shard(folder), 700)
    remote = RemoteFolder(f"file://{folder}", tmp_path / "cache")
    Index.load(remote)
    with pytest.raises(ValueError, match="the index says"):
        remote / "shard-00000.tar"
    assert not list((tmp_path / "cache").rglob("*.tar*"))


@pytest.mark.parametrize("name", ["../x.tar", "/etc/passwd", "shard-99999.tar"])
def test_only_what_the_index_lists_is_fetched(folder, tmp_path, name):
    remote = RemoteFolder(f"file://{folder}", tmp_path / "cache")
    Index.load(remote)
    with pytest.raises(ValueError, match=r"no plain file name|lists no"):
        remote / name


@pytest.mark.parametrize("address", ["pipe:touch {witness}", "http://a/b", "HTTPS://a/b", "file:///x", "ftp://x"])
def test_other_addresses_are_refused_unless_allowed(tmp_path, address):
    witness = tmp_path / "witness"
    address = address.replace("{witness}", str(witness))
    with pytest.raises(ValueError, match=r"not among those that are allowed .*data\.remote"):
        folder_at(address)
    with pytest.raises(ValueError, match="allowed"):
        module(address, tmp_path / "cache", ["s3"])
    assert not witness.exists()
    assert isinstance(folder_at(address, [address.partition(":")[0].lower()]), RemoteFolder)


def test_an_allowed_pipe_is_run(folder, tmp_path):
    found = module(f"pipe:cat {folder}/{{name}}", tmp_path / "cache", ["pipe"])
    assert len(next(iter(found.train_dataloader()))["texts"]) == 2
    with pytest.raises(ValueError, match="cannot be fetched"):
        Index.load(RemoteFolder("pipe:false", tmp_path / "cache"))


def test_paths_are_paths():
    assert str(folder_at("shards/a")) == "shards/a"
    assert str(folder_at("C:/data")) == "C:/data"
    assert isinstance(folder_at("s3://bucket/a"), RemoteFolder)
