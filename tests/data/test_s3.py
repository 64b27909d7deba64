"""Shards on `s3://`, from a server that speaks S3 on this machine.

Needs `pip install moto flask flask-cors s3fs`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from shard_sets import WordProcessor, data_settings, flip, make, shard

from text4seg.data.datamodule import ShardDataModule
from text4seg.data.settings import SplitSettings
from text4seg.data.shards.index import Index
from text4seg.data.shards.remote import RemoteFolder

NEEDED = "optional: pip install moto flask flask-cors s3fs"
moto = pytest.importorskip("moto.server", reason=NEEDED)
s3fs = pytest.importorskip("s3fs", reason=NEEDED)


@pytest.fixture
def bucket(tmp_path, monkeypatch) -> Iterator[str]:
    """The address of a folder of shards; a copy of it lies at `tmp_path / "set"`."""
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "nobody's")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    make(tmp_path / "set")
    store = s3fs.S3FileSystem()
    name = f"bucket-{port}"  # what servers of one process hold outlives them
    store.mkdir(name)
    store.put(str(tmp_path / "set"), f"{name}/sets/", recursive=True)
    yield f"s3://{name}/sets/set"
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def test_training_from_a_bucket_is_training_from_the_folder(bucket, tmp_path):
    texts = []
    for address in (bucket, str(tmp_path / "set")):
        settings = data_settings(train=SplitSettings(address), cache=str(tmp_path / "cache"), workers=0)
        data = ShardDataModule(settings, WordProcessor())
        data.setup("fit")
        stream = iter(data.train_dataloader())
        texts.append([next(stream)["texts"] for _ in range(6)])
    assert texts[0] == texts[1]
    assert len(list((tmp_path / "cache").rglob("*.tar"))) == 4


def test_what_a_bucket_lacks_or_has_changed_is_said(bucket, tmp_path):
    remote = RemoteFolder(bucket, tmp_path / "cache")
    Index.load(remote)
    flip(shard(tmp_path / "set"), 700)
    store = s3fs.S3FileSystem()
    store.put(str(shard(tmp_path / "set")), f"{bucket}/shard-00000.tar")
    store.rm(f"{bucket}/shard-00001.tar")
    with pytest.raises(ValueError, match="the index says"):
        remote / "shard-00000.tar"
    with pytest.raises(ValueError, match=r"shard-00001\.tar cannot be fetched"):
        remote / "shard-00001.tar"
    with pytest.raises(ValueError, match="cannot be fetched"):
        Index.load(RemoteFolder("s3://no-such-bucket/set", tmp_path / "cache"))
    assert not list((tmp_path / "cache").rglob("*.tar*"))


@pytest.mark.parametrize("missing", ["key", "server"])
def test_a_store_that_does_not_answer_is_said(bucket, tmp_path, monkeypatch, missing):
    if missing == "server":
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    else:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(ValueError, match=r"/sets/set/index\.json cannot be fetched"):
        Index.load(RemoteFolder(bucket, tmp_path / "cache"))
