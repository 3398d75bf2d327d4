"""Repair: what is lost is extracted again, and nothing else; the cache is what it was."""

import numpy as np
import pytest

from mse_pipeline import store
from mse_pipeline.extraction import repair as module
from mse_pipeline.extraction.repair import repair
from mse_pipeline.extraction.run import ExtractionOptions
from mse_pipeline.store.hdf5 import inspect
from mse_pipeline.store.integrity import verify
from mse_pipeline.store.shards import write_shard

STREAM = "acoustic.egemaps"
GRID = {"kind": "grid", "step": 0.1}
ONE = store.Features([[0.5]], [[0.0, 1.0]], [True], ("AU12",))


@pytest.fixture
def cache(corpus, recipe, run, tmp_path):
    """Nine clips extracted and packed on a grid, so that the pack is no copy of the shards; and a stream put there."""
    root = corpus()
    run(recipe(alignment=GRID), root)
    store.open(tmp_path / "cache")["mine"].put("visual.y", {"c0": ONE, "c1": ONE})
    return tmp_path / "cache", root


@pytest.fixture
def worked_on(monkeypatch):
    """Clips and streams that are extracted."""
    found = []
    before = module.work

    def counting(todo, *more):
        found.extend((one.clip.id, one.streams) for one in todo)
        return before(todo, *more)

    monkeypatch.setattr(module, "work", counting)
    return found


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 4
    path.write_bytes(data)


def whole(cache):
    dataset = store.open(cache)["mine"]
    packs = {path.name: path.read_bytes() for path in cache.rglob("*.h5")}
    native = {
        (stream, clip): one.values.tobytes() for stream in dataset for clip, one in dataset.native(stream).items()
    }
    rows = {(row.clip, row.stream, row.key, row.digest, row.checksum) for s in dataset for row in dataset.rows(s)}
    return packs, native, rows, dataset.clips, dataset.manifest


def other_values(dataset, clip, stream=STREAM):
    """Let a shard hold other values of one clip than the journal says."""
    row = next(row for row in dataset.rows(stream) if row.clip == clip)
    path = dataset.stream_folder(stream, row.version) / row.shard
    native = dataset.native(stream)
    held = [(one.clip, one.key, native[one.clip]) for one in dataset.rows(stream) if one.shard == row.shard]
    other = native[clip].values + np.float32(1)
    made = [(c, k, store.Features(other if c == clip else f.values, f.intervals, f.valid, f.names)) for c, k, f in held]
    write_shard(path, stream, made)
    return path


def test_only_the_lost_clip_is_extracted_again(cache, worked_on):
    folder, root = cache
    before = whole(folder)
    dataset = store.open(folder)["mine"]
    path = other_values(dataset, "c4")
    done = repair(dataset, root, ExtractionOptions(workers=1))
    assert done.extracted == (("c4", STREAM),)
    assert worked_on == [("c4", (STREAM,))]
    assert (done.after.damages, done.notes) == ((), ())
    assert whole(folder) == before
    assert not path.exists()


def test_a_damaged_pack_is_made_of_the_shards(cache, worked_on):
    folder, root = cache
    before = whole(folder)
    dataset = store.open(folder)["mine"]
    path = dataset.pack_path(STREAM)
    for place in (inspect(path).regions["values"].start + 3, 1):
        flip(path, place)
        done = repair(store.open(folder)["mine"], root / "not there")
        assert (done.after.damages, done.notes, done.extracted) == ((), (), ())
        assert whole(folder) == before
    assert worked_on == []


def test_a_damaged_clip_table_is_read_from_the_corpus_again(cache, worked_on):
    folder, root = cache
    before = whole(folder)
    flip(folder / "mine" / "clips.parquet", 60)
    done = repair(store.open(folder)["mine"], root)
    assert (done.after.damages, done.notes) == ((), ())
    assert whole(folder) == before
    assert worked_on == []


def test_what_is_whole_is_left_alone(cache):
    folder, root = cache
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    done = repair(store.open(folder)["mine"], root)
    assert done.before == done.after
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before


def test_without_the_raw_files_it_is_told_where_they_are_needed(cache):
    folder, root = cache
    dataset = store.open(folder)["mine"]
    other_values(dataset, "c4")
    done = repair(dataset, root / "elsewhere")
    (note,) = (note for note in done.notes if "--root" in note)
    assert "acoustic.egemaps of 1 clips, the first is 'c4', must be extracted again" in note
    assert [damage.clips for damage in done.after.damages] == [("c4",)]
    # The other clips moved on, and a later repair with the files completes it.
    assert len(store.open(folder)["mine"].native(STREAM)["c3"])
    done = repair(store.open(folder)["mine"], root, ExtractionOptions(workers=1))
    assert (done.after.damages, done.extracted) == ((), (("c4", STREAM),))


def test_imported_features_come_back_from_the_pack_or_it_is_told_how(cache):
    folder, root = cache
    before = whole(folder)
    dataset = store.open(folder)["mine"]
    other_values(dataset, "c1", "visual.y")
    done = repair(dataset, root)
    assert (done.after.damages, done.notes) == ((), ())
    assert whole(folder) == before
    dataset = store.open(folder)["mine"]
    other_values(dataset, "c1", "visual.y")
    dataset.pack_path("visual.y").unlink()
    done = repair(dataset, root)
    assert "visual.y of 1 clips, the first is 'c1', was imported and cannot be extracted" in done.notes[0]
    assert [damage.clips for damage in done.after.damages] == [("c1",)]


@pytest.mark.slow
def test_an_earlier_version_is_not_made_again(cache, recipe, run):
    folder, root = cache
    dataset = store.open(folder)["mine"]
    old = dataset.manifest.streams[STREAM].version
    path = other_values(dataset, "c4")
    run(recipe(streams={STREAM: {"extractor": "acoustic.opensmile"}}), root)
    done = repair(store.open(folder)["mine"], root)
    assert "is of an earlier version" in done.notes[0]
    assert [(damage.version, damage.clips, damage.path) for damage in done.after.damages] == [(old, ("c4",), path)]


def test_a_manifest_that_cannot_be_mended_is_told(cache):
    folder, root = cache
    (folder / "mine" / "dataset.json").write_text("{}")
    done = repair(store.open(folder)["mine"], root)
    assert "Move it away and run `mse extract mine`" in done.notes[0]
    assert [damage.kind for damage in done.after.damages] == ["manifest"]
    assert verify(store.open(folder)["mine"]).damages == done.after.damages
