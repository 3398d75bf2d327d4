import uuid

import numpy as np
import pytest

from mse_pipeline import store
from mse_pipeline.clip import Clip, Split
from mse_pipeline.store.commit import Commit
from mse_pipeline.store.journal import JournalRow
from mse_pipeline.store.manifest import StreamEntry
from mse_pipeline.task import Classification
from tests.s3_server import serve

STREAM, VERSION = "acoustic.x", "0123456789ab"


def features(seed, rows=12, dim=3):
    """Made features; the same for the same arguments."""
    rng = np.random.default_rng([seed, rows, dim])
    values = rng.normal(2.0, 3.0, size=(rows, dim)).astype(np.float32)
    edges = np.arange(rows + 1) / 7
    return store.Features(
        values, np.stack([edges[:-1], edges[1:]], 1), rng.random(rows) > 0.3, [f"d{n}" for n in range(dim)]
    )


def commit(dataset, *clips, stream=STREAM, version=VERSION, key="", run="run", rows=12):
    """Commit made features of clips, whose number in their id is the seed."""
    one = Commit(dataset, run)
    for clip in clips:
        row = JournalRow(clip=clip, stream=stream, version=version, status="done", key=f"{clip}{key}")
        one.add(row, features(int(clip[1:]), rows))
    assert one.write()


@pytest.fixture
def made(tmp_path):
    """A dataset of clips c0, c1 … with the stream acoustic.x in its manifest, and no features yet."""

    def make(name="mine", count=6, cache=tmp_path, alignment=None):
        clips = [Clip(id=f"c{n}", split=Split.TRAIN, text="hi", label="joy") for n in range(count)]
        dataset = store.open(cache).create(name, clips, task=Classification(("joy", "fear")))
        entry = StreamEntry(VERSION, {"stream": STREAM}, alignment or {"kind": "none"})
        dataset.set_manifest(dataset.manifest.with_stream(STREAM, entry))
        return dataset

    return make


@pytest.fixture
def shards_read(monkeypatch):
    """Names of the shards that are read, as they are."""
    from mse_pipeline.store import shards

    read = []
    before = shards.read_shard

    def counting(path, clips=None):
        read.append(path.name)
        return before(path, clips)

    monkeypatch.setattr(shards, "read_shard", counting)
    return read


@pytest.fixture(scope="module")
def s3():
    """A real S3 server with an empty bucket."""
    yield from serve()


@pytest.fixture
def s3_cache(s3, tmp_path, monkeypatch):
    """URL of an empty cache in the bucket."""
    monkeypatch.setenv("MSE_LOCAL_CACHE", str(tmp_path / "copies"))
    return f"s3://bucket/{uuid.uuid4().hex}/cache"
