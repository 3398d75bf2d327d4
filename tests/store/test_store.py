import json

import h5py
import numpy as np
import pytest

from mse_pipeline import store
from mse_pipeline.clip import Clip, Split
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.store.commit import Commit, begin_run
from mse_pipeline.store.journal import Journal, JournalRow
from mse_pipeline.store.keys import clip_key, stream_id
from mse_pipeline.store.manifest import read_columns
from mse_pipeline.store.pack import Pack, PackEntry, write_pack
from mse_pipeline.store.shards import read_shard, write_shard
from mse_pipeline.store.storage import ASIDE, aside, remove_unfinished
from mse_pipeline.task import Classification, Regression

RNG = np.random.default_rng(0)
VERSION = "0123456789ab"


def features(rows: int, dim: int = 3) -> store.Features:
    values = RNG.normal(size=(rows, dim)).astype(np.float32)
    edges = np.arange(rows + 1) / 7
    names = [f"d{i}" for i in range(dim)]
    return store.Features(values, np.stack([edges[:-1], edges[1:]], 1), RNG.random(rows) > 0.3, names, {"face": rows})


def packed(path, items, names, about) -> None:
    items = list(items)
    write_pack(path, [PackEntry(clip) for clip, _ in items], items, names=names, about=about)


def clips(*ids: str) -> list[Clip]:
    return [Clip(id=clip, split=Split(clip.partition("/")[0]), text="hi", label="joy") for clip in ids]


@pytest.fixture
def dataset(tmp_path):
    return store.open(tmp_path).create(
        "mine", clips("train/a", "train/b", "test/a"), task=Classification(("joy", "fear"))
    )


# Features


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((np.ones(3), np.ones((3, 2)), np.ones(3), ["a"]), "shape"),
        ((np.ones((3, 1)), np.ones((2, 2)), np.ones(3), ["a"]), "same number of rows"),
        ((np.ones((3, 2)), np.ones((3, 2)), np.ones(3), ["a"]), "need 2 names"),
    ],
)
def test_features_that_do_not_fit_together_are_refused(arguments, told):
    with pytest.raises(ValueError, match=told):
        store.Features(*arguments)


# Shards and packs


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf, -0.0, np.float32(1e-45)])
def test_a_shard_and_a_pack_read_back_the_same_bits(tmp_path, special):
    rows = {f"train/{n}": features(n) for n in (0, 1, 5)}
    rows["train/5"].values[2, 1] = special
    write_shard(tmp_path / "shard.parquet", "acoustic.x", [(clip, f"key-{clip}", f) for clip, f in rows.items()])
    packed(tmp_path / "pack.h5", rows.items(), ["d0", "d1", "d2"], {"stream": "acoustic.x"})
    back = {clip: (key, f) for clip, key, f in read_shard(tmp_path / "shard.parquet")}
    with Pack(tmp_path / "pack.h5") as pack:
        assert list(pack) == list(rows)
        assert [pack.length(clip) for clip in pack] == [0, 1, 5]
        for clip, one in rows.items():
            assert back[clip][0] == f"key-{clip}"
            assert back[clip][1].equals(one)
            assert back[clip][1].notes == one.notes
            assert pack[clip].equals(one)


def test_the_same_items_give_a_pack_of_the_same_bytes(tmp_path):
    items = [(f"train/{n}", features(n)) for n in (3, 4)]
    for name in ("one", "two"):
        packed(tmp_path / name, items, ["d0", "d1", "d2"], {"b": 1, "a": 2})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_pack_of_many_rows_is_written_in_blocks(tmp_path):
    items = {f"train/{n}": features(40_000, 1) for n in range(3)}
    packed(tmp_path / "pack.h5", items.items(), ["d0"], {})
    with Pack(tmp_path / "pack.h5") as pack:
        assert all(pack[clip].equals(one) for clip, one in items.items())


def test_only_the_clips_asked_for_are_read_from_a_shard(tmp_path):
    write_shard(tmp_path / "s.parquet", "acoustic.x", [(f"train/{n}", "k", features(n)) for n in range(4)])
    assert [clip for clip, _, _ in read_shard(tmp_path / "s.parquet", {"train/2"})] == ["train/2"]


def test_clips_of_different_dimensions_do_not_share_a_shard(tmp_path):
    with pytest.raises(ValueError, match="same names of dimensions"):
        write_shard(tmp_path / "s.parquet", "acoustic.x", [("a", "k", features(1, 2)), ("b", "k", features(1, 3))])


@pytest.mark.parametrize(
    "content", [b"", b"not a file of ours", b"PAR1" + b"\0" * 40, b"\x89HDF\r\n\x1a\n" + b"\0" * 99]
)
def test_damaged_files_are_told(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(MseError, match="cannot be read"):
        list(read_shard(tmp_path / "file"))
    with pytest.raises(MseError, match="cannot be read"):
        Pack(tmp_path / "file")


def test_a_pack_that_points_to_another_file_is_refused(tmp_path):
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["values"] = np.ones((2, 1), np.float32)
    packed(tmp_path / "pack.h5", [("train/a", features(2, 1))], ["d0"], {})
    with h5py.File(tmp_path / "pack.h5", "a") as file:
        del file["values"]
        file["values"] = h5py.ExternalLink("secret.h5", "values")
    with pytest.raises(MseError, match="outside"):
        Pack(tmp_path / "pack.h5")


# Keys


def test_a_key_changes_with_content_span_and_stream_and_with_nothing_else():
    stream = stream_id({"stream": "acoustic.x", "config": {"a": 1, "b": 2}})
    assert stream == stream_id({"config": {"b": 2, "a": 1}, "stream": "acoustic.x"})
    keys = {
        clip_key("00", (None, None), stream),
        clip_key("01", (None, None), stream),
        clip_key("00", (0.0, None), stream),
        clip_key("00", (None, 30.0), stream),
        clip_key("00", (None, None), stream_id({"stream": "acoustic.x", "config": {"a": 1, "b": 3}})),
    }
    assert len(keys) == 5


# Journal and commits


def test_the_last_row_of_a_clip_holds(tmp_path):
    journal = Journal(tmp_path / "journal")
    failed = JournalRow(
        clip="train/a", stream="acoustic.x", version=VERSION, status="failed", code="no_audio", stage="decode"
    )
    journal.commit("1", [failed])
    before = journal.fingerprint()
    journal.commit("2", [JournalRow(clip="train/a", stream="acoustic.x", version=VERSION, status="done", rows=3)])
    assert journal.read()["train/a", VERSION].status == "done"
    assert journal.fingerprint() != before


def test_a_damaged_journal_is_told_by_its_file(tmp_path):
    (tmp_path / "1.jsonl").write_text('{"clip": "train/a"')
    with pytest.raises(MseError, match=r"1\.jsonl is damaged"):
        Journal(tmp_path).read()


def row(clip: str) -> JournalRow:
    return JournalRow(clip=clip, stream="acoustic.x", version=VERSION, status="done", key=clip)


def test_a_commit_enters_as_one(dataset):
    commit = Commit(dataset, "run")
    commit.add(row("train/a"), features(4))
    commit.add(row("train/b"), features(2))
    assert commit.write()
    rows = dataset.journal.read()
    assert rows["train/a", VERSION].rows == 4
    assert rows["train/b", VERSION].shard == rows["train/a", VERSION].shard


def test_a_commit_of_a_run_that_no_longer_holds_is_refused(dataset):
    begin_run(dataset, "first")
    late = Commit(dataset, "first", guarded=True)
    late.add(row("train/a"), features(4))
    begin_run(dataset, "second")
    assert not late.write()
    assert not dataset.journal.read()
    assert not [p for p in dataset.path.rglob("*.parquet") if p.name.startswith(("shard", ASIDE))]


def test_a_new_run_removes_what_a_killed_one_left(dataset):
    commit = Commit(dataset, "run")
    commit.add(row("train/a"), features(4))
    commit.write()
    folder = dataset.stream_folder("acoustic.x", VERSION)
    (folder / f"{ASIDE}1-shard-x.parquet").write_bytes(b"half")
    (folder / "shard-orphan.parquet").write_bytes(b"no journal names it")
    assert begin_run(dataset, "next") == 2
    assert [path.name for path in folder.iterdir()] == [dataset.journal.read()["train/a", VERSION].shard]


def test_a_file_written_aside_vanishes_if_the_writer_fails(tmp_path):
    def fail():
        with aside(tmp_path / "file") as temporary:
            temporary.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert not list(tmp_path.iterdir())
    assert remove_unfinished(tmp_path) == 0


# Datasets


def test_a_stream_put_in_reads_back_packed_or_not(dataset):
    given = {"train/a": features(4), "test/a": features(0)}
    dataset.put("visual.action_units", given, source={"tool": "OpenFace"})
    again = store.open(dataset.path.parent)["mine"]
    stream = again["visual.action_units"]
    assert set(stream) == set(given)
    assert all(stream[clip].equals(given[clip]) for clip in given)
    assert again.manifest.streams["visual.action_units"].identity["imported"] == {"tool": "OpenFace"}
    packed = again["visual.action_units"]
    assert isinstance(packed, Pack)
    assert list(packed) == ["train/a", "test/a"]
    assert all(packed[clip].equals(given[clip]) for clip in given)


def test_putting_a_stream_again_replaces_it(dataset):
    dataset.put("visual.x", {"train/a": features(4)})
    newer = features(2)
    dataset.put("visual.x", {"train/a": newer})
    assert dataset["visual.x"]["train/a"].equals(newer)


@pytest.mark.parametrize(
    ("stream", "clip", "told"),
    [("action_units", "train/a", "is modality.kind"), ("visual.x", "train/zz", "'train/zz'")],
)
def test_putting_nonsense_is_refused(dataset, stream, clip, told):
    with pytest.raises(UsageError, match=told):
        dataset.put(stream, {clip: features(1)})


def test_the_clip_table_reads_back(tmp_path):
    given = [
        Clip(id="valid/ä", split=Split.VALID, media="x/y.mp4", start=1.5, end=2.0, text="你好\n,\"'", language="zh",
             speaker="A", dialogue="d", turn=3, label=-1.2, labels={"text": 0.4, "emotion": "joy"}),
        Clip(id="train/b", split=Split.TRAIN),
        Clip(id="train/c", split=Split.TRAIN, label="fear"),
    ]  # fmt: skip
    dataset = store.open(tmp_path).create("mine", given, task=Regression(-3, 3))
    assert store.open(tmp_path)["mine"].clips == tuple(given)
    assert store.open(tmp_path)["mine"].manifest.task == Regression(-3, 3)
    assert dataset.name == "mine"


def test_votes_are_kept_and_a_table_without_them_is_as_before_there_were_any(tmp_path):
    voted = Clip(id="a", split=Split.TRAIN, distribution={"fröhlich": 1 / 3, "b": 2 / 3})
    cache, task = store.open(tmp_path), Classification(("b", "fröhlich"))
    given = [voted, Clip(id="c", split=Split.TRAIN, label="b")]
    assert cache.create("mine", given, task=task).clips == tuple(given)
    assert dict(store.open(tmp_path)["mine"].clips[0].distribution) == {"fröhlich": 1 / 3, "b": 2 / 3}
    plain = cache.create("plain", given[1:], task=task)
    assert "distribution" not in read_columns(plain.path / "clips.parquet")[0]
    assert plain.clips == tuple(given[1:])


def test_creating_again_keeps_the_features(dataset):
    dataset.put("visual.x", {"train/a": features(4)})
    cache = store.open(dataset.path.parent)
    cache.create("mine", clips("train/a", "train/z"), task=Classification(("joy",)))
    assert list(cache["mine"]["visual.x"]) == ["train/a"]


@pytest.mark.parametrize("name", ["../up", "", ".hidden", "a/b"])
def test_names_that_are_no_folder_names_are_refused(tmp_path, name):
    with pytest.raises(UsageError, match="cannot name a dataset"):
        store.open(tmp_path).create(name, [], task=Regression(0, 1))


def test_ids_must_be_unique(tmp_path):
    with pytest.raises(UsageError, match="'train/a'"):
        store.open(tmp_path).create("mine", clips("train/a", "train/a"), task=Regression(0, 1))


def test_unknown_datasets_and_streams_are_told_with_the_nearest_name(dataset):
    cache = store.open(dataset.path.parent)
    dataset.put("visual.mtcnn", {"train/a": features(1)})
    with pytest.raises(UsageError, match="Did you mean mine"):
        cache["mind"]
    with pytest.raises(KeyError, match=r"visual\.mtcnn"):
        dataset["visual.mtcn"]
    assert "other" not in cache
    assert len(cache) == 1
    assert len(dataset) == 1


def test_a_missing_shard_and_a_foreign_manifest_are_told(dataset):
    dataset.put("visual.x", {"train/a": features(1)})
    for shard in dataset.path.rglob("shard-*.parquet"):
        shard.unlink()
    with pytest.raises(MseError, match=r"it is not there\. Run: mse cache verify mine --repair"):
        dataset.native("visual.x")["train/a"]
    (dataset.path / "dataset.json").write_text(json.dumps({"format": 99, "name": "mine"}))
    with pytest.raises(MseError, match="its format is not 2"):
        store.open(dataset.path.parent)["mine"].manifest  # noqa: B018
    (dataset.path / "clips.parquet").write_bytes(b"")
    with pytest.raises(MseError, match="clip table"):
        store.open(dataset.path.parent)["mine"].clips  # noqa: B018


def test_a_stream_that_is_not_packed_on_its_grid_yet_is_told(dataset):
    from mse_pipeline.store.manifest import StreamEntry

    dataset.put("visual.x", {"train/a": features(1)})
    entry = dataset.manifest.streams["visual.x"]
    dataset.set_manifest(
        dataset.manifest.with_stream(
            "visual.x", StreamEntry(entry.version, entry.identity, {"kind": "grid", "step": 0.1})
        )
    )
    with pytest.raises(MseError, match="mse extract mine"):
        dataset["visual.x"]


def test_a_stream_that_no_clip_has_is_empty_on_every_clock(dataset):
    from mse_pipeline.store.manifest import StreamEntry

    dataset.set_manifest(
        dataset.manifest.with_stream("visual.x", StreamEntry(VERSION, {}, {"kind": "grid", "step": 0.1}))
    )
    assert not dataset["visual.x"]


def test_a_pack_stays_current_while_other_streams_grow(dataset):
    dataset.put("visual.x", {"train/a": features(3)})
    dataset.put("acoustic.y", {"train/a": features(2), "train/b": features(2)})
    assert isinstance(dataset["visual.x"], Pack)
    assert isinstance(dataset["acoustic.y"], Pack)


def test_a_pack_that_lacks_a_clip_is_not_used(dataset):
    dataset.put("visual.x", {"train/a": features(3)})
    version = dataset.manifest.streams["visual.x"].version
    commit = Commit(dataset, "later")
    commit.add(JournalRow(clip="train/b", stream="visual.x", version=version, status="done", key="k"), features(2))
    commit.write()
    assert sorted(dataset["visual.x"]) == ["train/a", "train/b"]
