"""The cache on object storage, through a real S3 server: all that the store does on a disk."""

from contextlib import suppress

import numpy as np
import pytest

from mse_pipeline import store
from mse_pipeline.clip import Clip, Split
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.store.commit import Commit, begin_run, run_lock
from mse_pipeline.store.journal import JournalRow
from mse_pipeline.store.packing import pack_stream
from mse_pipeline.store.pruning import compact, prune
from mse_pipeline.store.storage import files, remove
from mse_pipeline.task import Classification
from tests.extraction.conftest import corpus, recipe  # noqa: F401  fixtures
from tests.store.conftest import STREAM, VERSION, commit, features

pytestmark = pytest.mark.slow


def stored(dataset):
    return sorted(str(one.path).removeprefix(str(dataset.path)) for one in files(dataset.path))


def shards(dataset):
    return [name for name in stored(dataset) if "/shard-" in name]


def test_a_dataset_and_its_streams_read_back(made, s3_cache):
    dataset = made(cache=s3_cache)
    given = {f"c{n}": features(n) for n in range(4)}
    dataset.put("visual.x", given)
    again = store.open(s3_cache)
    assert list(again) == ["mine"]
    assert "other" not in again
    assert again["mine"].clips == dataset.clips
    assert again["mine"].clip_count() == 6
    for stream in (again["mine"]["visual.x"], again["mine"].native("visual.x")):
        assert all(stream[clip].equals(one) for clip, one in given.items())


def test_a_pack_is_downloaded_once_and_again_when_it_is_another(made, s3_cache, tmp_path):
    dataset = made(cache=s3_cache)
    commit(dataset, "c0", "c1")
    pack_stream(dataset, STREAM)
    copies = tmp_path / "copies"
    for _ in range(2):
        assert store.open(s3_cache)["mine"][STREAM]["c1"].equals(features(1))
        (copy,) = copies.iterdir()
    first = copy.stat().st_mtime_ns, copy.name
    store.open(s3_cache)["mine"][STREAM]
    assert (copy.stat().st_mtime_ns, copy.name) == first
    commit(dataset, "c2")
    pack_stream(dataset, STREAM)
    assert list(store.open(s3_cache)["mine"][STREAM]) == ["c0", "c1", "c2"]
    assert [path.name for path in copies.iterdir()] != [first[1]]
    assert len(list(copies.iterdir())) == 1


def test_its_pack_has_the_bytes_of_a_local_one(made, s3_cache, tmp_path):
    here, there = made(cache=tmp_path / "here"), made(cache=s3_cache)
    commit(here, "c0", "c1", "c2")
    commit(there, "c2")
    commit(there, "c1", "c0")
    for dataset in (here, there):
        assert pack_stream(dataset, STREAM)
    assert here.pack_path(STREAM).read_bytes() == there.pack_path(STREAM).read_bytes()


def test_two_runs_at_once_are_harmless(made, s3_cache):
    dataset = made(cache=s3_cache)
    with run_lock(dataset.path), run_lock(dataset.path):
        commit(dataset, "c0", "c1", run="one")
        commit(store.open(s3_cache)["mine"], "c1", "c0", run="two")
    assert {row.clip for row in dataset.rows(STREAM)} == {"c0", "c1"}
    assert all(one.equals(features(int(clip[1:]))) for clip, one in dataset.native(STREAM).items())


def test_a_run_that_begins_removes_nothing_but_the_guard_of_the_run_before(made, s3_cache):
    dataset = made(cache=s3_cache)
    begin_run(dataset, "first")
    (dataset.stream_folder(STREAM, VERSION) / "shard-of-another-run.parquet").write_bytes(b"being written")
    late = Commit(dataset, "first", guarded=True)
    late.add(JournalRow(clip="c0", stream=STREAM, version=VERSION, status="done", key="c0"), features(0))
    assert begin_run(dataset, "second") == 0
    assert not late.write()
    assert len(shards(dataset)) == 1
    assert not dataset.journal.read()


def test_a_row_whose_shard_is_gone_counts_as_missing(made, s3_cache):
    dataset = made(cache=s3_cache)
    commit(dataset, "c0")
    commit(dataset, "c1")
    remove(dataset.stream_folder(STREAM, VERSION) / str(dataset.journal.read()["c0", VERSION].shard))
    assert set(dataset.rows_with_shards()) == {("c1", VERSION)}
    with pytest.raises(MseError, match="cannot be read"):
        dataset.native(STREAM)["c0"]


def test_compaction_and_pruning(made, s3_cache):
    dataset = made(cache=s3_cache)
    for n in range(5):
        commit(dataset, f"c{n}")
    (dataset.stream_folder(STREAM, VERSION) / "shard-orphan.parquet").write_bytes(b"12345")
    assert prune(dataset).files == 0  # it is young: a run may be about to name it
    done = prune(dataset, older_than=-60.0)
    assert (done.files, done.bytes) == (1, 5)
    done = compact(dataset)
    assert (done.files_before, done.files_after) == (10, 2)
    assert len(shards(dataset)) == 1
    again = store.open(s3_cache)["mine"]
    assert all(again.native(STREAM)[f"c{n}"].equals(features(n)) for n in range(5))


def test_a_server_that_does_not_answer_and_a_storage_without_its_package_are_told(s3_cache, monkeypatch):
    import s3fs

    with pytest.raises(UsageError, match="Unsupported"):
        store.open("gibberish://bucket/cache")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(UsageError, match="cannot be reached"):
        store.open("s3://bucket/cache")


def test_an_extraction_and_a_training_with_the_cache_on_s3(corpus, recipe, s3_cache, tmp_path):  # noqa: F811
    from mse_pipeline import backbones
    from mse_pipeline.extraction.run import ExtractionOptions, extract
    from mse_pipeline.recipe import Training
    from mse_pipeline.training.job import prepare
    from mse_pipeline.training.run import train
    from mse_pipeline.training.streams import choose_streams

    made, root = recipe(), corpus(9)
    summary = extract(made, root, store.open(s3_cache), ExtractionOptions(workers=2))
    assert summary.streams["acoustic.egemaps"].made == 9
    assert extract(made, root, store.open(s3_cache), ExtractionOptions(workers=1)).processed == 0
    extract(made, root, store.open(tmp_path / "cache"), ExtractionOptions(workers=1))
    dataset, local = store.open(s3_cache)["mine"], store.open(tmp_path / "cache")["mine"]
    assert list(dataset["acoustic.egemaps"]) == [f"c{n}" for n in range(9)]
    packs = [one.pack_path("acoustic.egemaps").read_bytes() for one in (dataset, local)]
    assert packs[0] == packs[1]
    settings = Training(epochs=1, batch_size=4)
    job = prepare(dataset, backbones.load("tiny"), settings, choose_streams(dataset, asked={}), made.prompt)
    (result,) = train(job, tmp_path / "runs", [0])
    assert result.result["status"] == "done"
    assert np.isfinite(result.result["valid"]["acc"])


def test_a_cache_on_s3_from_the_command_line(s3_cache, capsys, monkeypatch):
    import json
    import sys

    from mse_pipeline.cli import main
    from mse_pipeline.cli.output import settings

    clips = [Clip(id="a", split=Split.TRAIN, label="joy")]
    store.open(s3_cache).create("mine", clips, task=Classification(("joy",))).put("visual.x", {"a": features(1)})
    for command, told in (("ls", "datasets"), ("compact", "compacted"), ("prune", "pruned")):
        settings.json = False
        monkeypatch.setattr(sys, "argv", ["mse", "cache", command, "--cache", s3_cache, "--json"])
        with suppress(SystemExit):
            main()
        (one,) = json.loads(capsys.readouterr().out.splitlines()[-1])[told]
        assert one["dataset"] == "mine"
