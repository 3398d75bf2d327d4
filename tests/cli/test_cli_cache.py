"""mse cache: what is there, fewer files of it, and what may go."""

import pytest

from mse_pipeline.store.commit import run_lock
from tests.store.conftest import STREAM, VERSION, commit, made  # noqa: F401  a fixture


@pytest.fixture
def cache(made, tmp_path):  # noqa: F811
    for name in ("mine", "other"):
        dataset = made(name)
        commit(dataset, "c0", "c1")
        commit(dataset, "c2")
        (dataset.stream_folder(STREAM, VERSION) / "shard-orphan.parquet").write_bytes(b"x" * 2_000_000)
    return tmp_path


def test_ls_counts_without_opening_a_shard(mse, cache):
    for shard in cache.rglob("shard-*"):
        shard.write_bytes(b"no one reads this")
    result = mse("cache", "ls", "--cache", cache, "--json")
    first = result.json["datasets"][0]
    assert (first["dataset"], first["clips"], first["done"]) == ("mine", 6, {STREAM: 3})
    assert first["files"] > 5
    assert "acoustic.x (3)" in mse("cache", "ls", "--cache", cache).out


def test_prune_and_compact_tell_what_they_did(mse, cache):
    assert "mine: 1 files of 2.0 MB removed." in mse("cache", "prune", "mine", "--cache", cache).out
    told = mse("cache", "compact", "--cache", cache).out
    assert "mine: 4 files of 0.0 MB became 2 files" in told
    assert "other: 5 files of 2.0 MB became 3 files" in told  # the orphan is not merged, and goes by pruning
    assert mse("cache", "prune", "--cache", cache, "--json").json["pruned"][1]["files"] == 1


@pytest.mark.parametrize("command", ["compact", "prune"])
def test_beside_a_run_both_are_refused(mse, cache, command):
    with run_lock(cache / "mine", "1/2"):
        result = mse("cache", command, "--cache", cache)
    assert result.code == 1
    assert "An extraction into mine is running" in result.err


def test_a_dataset_that_is_not_there_is_told(mse, cache):
    result = mse("cache", "compact", "mime", "--cache", cache)
    assert result.code == 2
    assert "Did you mean mine?" in result.err
