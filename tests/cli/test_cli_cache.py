"""mse cache: what is there, fewer files of it, and what may go."""

import csv

import numpy as np
import pytest

from mse_pipeline import store
from mse_pipeline.clip import Clip, Split
from mse_pipeline.store.commit import Commit, run_lock
from mse_pipeline.store.journal import JournalRow
from mse_pipeline.store.keys import stream_id
from mse_pipeline.store.manifest import StreamEntry
from mse_pipeline.store.packing import pack_stream
from mse_pipeline.task import Classification
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


def test_show_without_a_name_lists_the_datasets_as_ls_does(mse, cache):
    told = mse("cache", "show", "--cache", cache)
    assert (told.code, told.out) == (0, mse("cache", "ls", "--cache", cache).out)
    assert [one["dataset"] for one in mse("cache", "show", "--cache", cache, "--json").json["datasets"]] == [
        "mine",
        "other",
    ]
    empty = mse("cache", "show", "--cache", cache / "nothing")
    assert (empty.code, "is empty: mse extract fills it" in " ".join(empty.out.split())) == (0, True)


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (("cache", "show", "--failures"), "mse cache show"),
        (("cache", "show", "--versions"), "mse cache show"),
        (("cache", "show", "--statistics"), "mse cache show"),
        (("export", "npy", "out"), "mse export"),
        (("inspect", "--people"), "mse inspect"),
        (("inspect", "--sheet", "sheet.html"), "mse inspect"),
        (("extractors", "compare", STREAM, STREAM), "mse extractors compare DATASET/STREAM, with DATASET one of"),
        (("train",), "mse train"),
    ],
)
def test_of_several_datasets_one_is_to_be_named(mse, cache, monkeypatch, tmp_path, words, command):
    monkeypatch.chdir(tmp_path)
    told = mse(*words, "--cache", cache)
    assert told.code == 2
    assert f"has several datasets; name one: {command} mine | other" in told.err


def test_the_only_dataset_need_not_be_named_and_is_told(mse, changed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cache = changed[0]
    for words in (("cache", "show", "--versions"), ("extractors", "compare", STREAM, STREAM), ("export", "npy", "out")):
        told = mse(*words, "--cache", cache)
        assert told.code == 0, told.err
        assert f"Dataset: mine, the only one in {cache}." in told.err.replace("\n", " ").replace("  ", " ")
    assert list((tmp_path / "out").iterdir())
    assert "Three things are needed" in mse("export", "mine", "npy", "--cache", cache).err
    assert "Name a clip" in mse("inspect", "--cache", cache).err


def test_prune_and_compact_tell_what_they_did(mse, cache):
    assert "mine: 1 files of 2.0 MB removed." in mse("cache", "prune", "mine", "--cache", cache).out
    told = mse("cache", "compact", "--cache", cache).out
    assert "mine: 4 files of 0.0 MB became 2 files" in told
    assert "other: 5 files of 2.0 MB became 3 files" in told  # the orphan is not merged, and goes by pruning
    assert mse("cache", "prune", "--cache", cache, "--json").json["pruned"][1]["files"] == 1


@pytest.fixture
def changed(made, tmp_path):  # noqa: F811
    """A cache with a dataset whose stream was made with one set, then with another; gives both versions."""
    dataset = made("mine")
    versions = []
    for name, clips in (("eGeMAPSv02", ("c0", "c1", "c2")), ("GeMAPSv01b", ("c0", "c1"))):
        identity = {"stream": STREAM, "revision": 1, "config": {"set": name}}
        versions.append(stream_id(identity))
        dataset.set_manifest(dataset.manifest.with_stream(STREAM, StreamEntry(versions[-1], identity)))
        commit(dataset, *clips, version=versions[-1])
    (dataset.stream_folder(STREAM, VERSION) / "stream.json").unlink()  # of the fixture, which has a version of its own
    return tmp_path, *versions


def test_show_lists_versions_with_what_they_differ_in(mse, changed):
    cache, old, new = changed
    told = mse("cache", "show", "mine", "--versions", "--cache", cache)
    lines = [line.split() for line in told.out.splitlines() if STREAM in line]
    assert lines == [[STREAM, new, "2", "current"], [STREAM, old, "3", "set:", "eGeMAPSv02", "->", "GeMAPSv01b"]]
    found = mse("cache", "show", "mine", "--versions", "--cache", cache, "--json").json["versions"][STREAM]
    assert [(one["id"], one["done"], one["current"]) for one in found] == [(new, 2, True), (old, 3, False)]
    assert found[1]["identity"]["config"] == {"set": "eGeMAPSv02"}
    assert found[1]["differs"] == ["set: eGeMAPSv02 -> GeMAPSv01b"]


def test_show_gives_one_list_at_a_time(mse, changed):
    result = mse("cache", "show", "mine", "--versions", "--failures", "--cache", changed[0])
    assert result.code == 2
    assert "ask for one of them" in result.err
    assert "differs" not in mse("cache", "show", "mine", "--cache", changed[0]).out


@pytest.fixture
def voices(tmp_path):
    """A cache with sound of two clips, in which pitch is defined in some rows, and a wide stream."""
    clips = [Clip(id=name, split=Split.TRAIN, text="Hi.", label="joy") for name in "ab"]
    recipe = {"streams": {"acoustic.librosa": {"features": {"f0": {"fmax": 500}}}}}
    dataset = store.open(tmp_path / "cache").create("mine", clips, task=Classification(("joy",)), recipe=recipe)
    intervals = [[k / 10, (k + 1) / 10] for k in range(4)]
    names = ("f0", "f0_voiced", "f0_voiced_probability")
    first = [[100.0, 1, 0.9], [np.nan, 0, 0.1], [140.0, 1, 0.7], [0, 0, 0]]
    second = [[np.nan, 0, 0.3], [180.0, 1, 0.5], [np.nan, 0, 0.1], [np.nan, 0, 0.1]]
    features = {
        "a": store.Features(first, intervals, [True, True, True, False], names),
        "b": store.Features(second, intervals, [True] * 4, names),
    }
    identity = {"stream": "acoustic.librosa", "revision": 2}
    dataset.set_manifest(dataset.manifest.with_stream("acoustic.librosa", StreamEntry(stream_id(identity), identity)))
    filled = Commit(dataset, "run")
    for clip, one in features.items():
        row = JournalRow(clip=clip, stream="acoustic.librosa", version=stream_id(identity), status="done", key=clip)
        filled.add(row, one)
    filled.write()
    pack_stream(dataset, "acoustic.librosa")
    wide = np.tile(np.arange(3.0)[:, None], (1, 40))
    wide[:, 33] = np.nan
    wide[:, 35] = 1.0
    wide[1, 37] = np.nan
    rows = store.Features(wide, intervals[:3], [True] * 3, [f"d{k:02d}" for k in range(40)])
    dataset.put("visual.wide", {"a": rows})
    return tmp_path / "cache"


def test_statistics_are_of_the_defined_values_of_valid_rows(mse, voices):
    told = mse("cache", "show", "mine", "--statistics", "--stream", "acoustic.librosa", "--cache", voices, "--json")
    (stream,) = told.json["statistics"].values()
    assert (stream["clips"], stream["rows"], stream["valid"]) == (2, 8, 7)
    pitch, voiced, _ = stream["dimensions"]
    assert pitch["defined"] == pytest.approx(3 / 7)
    assert (pitch["name"], pitch["unit"], pitch["mean"], pitch["low"], pitch["high"]) == ("f0", "Hz", 140, 100, 180)
    assert pitch["deviation"] == pytest.approx(np.std([100, 140, 180]))
    assert (voiced["unit"], voiced["defined"], voiced["mean"]) == ("", 1.0, pytest.approx(3 / 7))


def test_statistics_of_what_is_never_defined_are_null(mse, voices):
    told = mse("cache", "show", "mine", "--statistics", "--cache", voices, "--json").json
    never = told["statistics"]["visual.wide"]["dimensions"][33]
    assert never == {"name": "d33", "unit": "", "defined": 0.0, **dict.fromkeys(("mean", "deviation", "low", "high"))}


def test_the_table_of_a_wide_stream_has_what_is_worth_a_look(mse, voices):
    told = mse("cache", "show", "mine", "--statistics", "--dims", "5", "--cache", voices).out
    lines = [line.split() for line in told.splitlines()]
    assert [line[0] for line in lines if line and line[0].startswith("d")] == ["d00", "d01", "d33", "d35", "d37"]
    assert ["f0", "Hz", "42.9", "%", "140", "32.66", "100", "180"] in lines
    assert ["d33", "0", "%", "–", "–", "–", "–"] in lines
    assert "35 more values; --dims 0 and --json show all." in told
    assert "more values" not in mse("cache", "show", "mine", "--statistics", "--dims", "0", "--cache", voices).out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--statistics", "--failures"), "ask for one of them"),
        (("--csv", "failures.csv"), "--csv is of --failures; add that"),
        (("--stream", "visual.wide"), "--stream is of --statistics"),
        (("--statistics", "--stream", "visual.wode"), "Did you mean visual.wide?"),
    ],
)
def test_statistics_that_cannot_be_told_are_refused(mse, voices, arguments, told):
    result = mse("cache", "show", "mine", *arguments, "--cache", voices)
    assert result.code == 2
    assert told in result.err


def test_prune_tells_which_versions_go_and_takes_them(mse, changed):
    cache, old, new = changed
    folder = cache / "mine" / "streams" / STREAM
    line = f"{STREAM} {old}: 3 clips, 0.0 MB (set: eGeMAPSv02 -> GeMAPSv01b)"
    told = mse("cache", "prune", "--dry-run", "--cache", cache).out
    assert "mine: 2 files of 0.0 MB would be removed." in told
    assert line in told
    assert "0 files" in mse("cache", "prune", "--keep-versions", "--cache", cache).out
    assert (folder / old).is_dir()
    told = mse("cache", "prune", "mine", "--cache", cache).out
    assert "mine: 2 files of 0.0 MB removed." in told
    assert line in told
    assert [path.name for path in folder.iterdir()] == [new]


def test_prune_tells_scripts_the_same(mse, changed):
    cache, old, _ = changed
    dry = mse("cache", "prune", "--dry-run", "--cache", cache, "--json").json
    done = mse("cache", "prune", "--cache", cache, "--json").json
    assert (dry["dry_run"], done["dry_run"]) == (True, False)
    assert dry["pruned"] == done["pruned"]
    (one,) = done["pruned"]
    assert (one["dataset"], one["files"], one["left"]) == ("mine", 2, [])
    assert [(gone["version"], gone["done"], gone["files"]) for gone in one["versions"]] == [(old, 3, 2)]


@pytest.mark.parametrize("command", ["compact", "prune"])
def test_beside_a_run_both_are_refused(mse, cache, command):
    with run_lock(cache / "mine", "1/2"):
        result = mse("cache", command, "--cache", cache)
    assert result.code == 1
    assert "An extraction into mine is running" in result.err


def flip(path, place=-1):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def shard(cache, clip="c2"):
    dataset = store.open(cache)["mine"]
    row = next(row for row in dataset.rows(STREAM) if row.clip == clip)
    return dataset.stream_folder(STREAM, VERSION) / row.shard


def test_verify_says_that_all_is_as_written(mse, cache):
    result = mse("cache", "verify", "--cache", cache)
    assert (result.code, result.err.strip()) == (0, "")
    assert [line.split(":")[0] for line in result.out.splitlines()] == ["mine", "other"]
    assert "3 features (one for each clip and stream, in shards and in packs): no damage found." in result.out


def test_verify_names_stream_and_clips_and_exits_with_1(mse, cache):
    flip(shard(cache))
    result = mse("cache", "verify", "mine", "--cache", cache)
    assert result.code == 1
    assert "1 are damaged:" in result.out
    assert f"shard of {STREAM} {VERSION}, {shard(cache)}: " in result.out
    assert "clips: c2" in result.out
    assert f"1 files of mine are damaged, of {STREAM}. Run: mse cache verify mine --repair" in result.err
    assert mse("cache", "verify", "other", "--cache", cache).code == 0
    result = mse("cache", "verify", "--cache", cache, "--json")
    assert (result.code, result.json["damaged"]) == (1, True)
    (one,) = result.json["verified"][0]["damages"]
    assert (one["kind"], one["stream"], one["clips"], one["path"]) == ("shard", STREAM, ["c2"], str(shard(cache)))


def test_repair_gives_back_what_the_pack_has(mse, cache):
    pack_stream(store.open(cache)["mine"], STREAM)
    flip(shard(cache))
    flip(cache / "mine" / "dataset.json", 40)
    result = mse("cache", "verify", "mine", "--repair", "--cache", cache)
    assert (result.code, result.err.strip()) == (0, "")
    assert "Repaired: 2; extracted again: 0." in result.out
    assert mse("cache", "verify", "mine", "--cache", cache).code == 0


def test_repair_tells_what_it_needs(mse, cache):
    flip(shard(cache))
    result = mse("cache", "verify", "mine", "--repair", "--cache", cache, "--json")
    assert result.code == 1
    assert [one["clips"] for one in result.json["verified"][0]["left"]] == [["c2"]]
    assert "Give the folder of the raw files with --root" in result.json["verified"][0]["notes"][0]


def test_beside_a_run_repair_is_refused_and_verify_is_not(mse, cache):
    with run_lock(cache / "mine"):
        assert mse("cache", "verify", "mine", "--cache", cache).code == 0
        flip(shard(cache))
        result = mse("cache", "verify", "mine", "--repair", "--cache", cache)
    assert result.code == 1
    assert "An extraction into mine is running" in result.err


def test_a_dataset_that_is_not_there_is_told(mse, cache):
    result = mse("cache", "compact", "mime", "--cache", cache)
    assert result.code == 2
    assert "Did you mean mine?" in result.err


STREAMS = ("acoustic.x", "visual.y")


@pytest.fixture
def failed(tmp_path):
    """A cache in which 2,000 files are missing for two streams, and 3 clips have no sound for one."""
    clips = [Clip(id=f"c{n}", split=Split.TRAIN, text="", label="joy") for n in range(2003)]
    dataset = store.open(tmp_path / "cache").create("mine", clips, task=Classification(("joy", "anger")))
    manifest = dataset.manifest
    for stream in STREAMS:
        manifest = manifest.with_stream(stream, StreamEntry(stream_id({"stream": stream}), {"stream": stream}))
    dataset.set_manifest(manifest)
    work = Commit(dataset, run="run")
    for number, clip in enumerate(clips):
        missing = number < 2000
        for stream in STREAMS if missing else STREAMS[:1]:
            work.add(
                JournalRow(
                    clip=clip.id,
                    stream=stream,
                    version=manifest.streams[stream].version,
                    status="failed",
                    code="missing_media" if missing else "no_audio",
                    stage="find" if missing else "decode",
                    message=f"{clip.id} has no media file." if missing else "[red]=1+1[/red], \x1b[2J no sound.",
                )
            )
    work.write()
    return tmp_path / "cache"


def test_thousands_of_failures_are_a_few_lines(mse, failed):
    lines = mse("cache", "show", "mine", "--failures", "--cache", failed).out.splitlines()
    assert lines == [
        "missing_media (find): 2,000 clips",
        "  2,000 in acoustic.x, visual.y",
        "  c0 has no media file.",
        "  c1 has no media file.",
        "  c2 has no media file.",
        "  and 1,997 more",
        "no_audio (decode): 3 clips",
        "  3 in acoustic.x",
        "  c2000: [red]=1+1[/red], \N{REPLACEMENT CHARACTER}[2J no sound.",
        "All of them: --csv FILE, or --limit 0.",
    ]


@pytest.mark.parametrize(("limit", "count"), [(1, 8), (0, 2005)])
def test_as_many_examples_are_shown_as_are_asked_for(mse, failed, limit, count):
    told = mse("cache", "show", "mine", "--failures", "--limit", limit, "--cache", failed).out
    assert len(told.splitlines()) == count


def test_all_failures_go_into_a_table(mse, failed, tmp_path):
    path = tmp_path / "new" / "failures.csv"
    arguments = ("cache", "show", "mine", "--failures", "--csv", path, "--cache", failed)
    assert f"There is no folder {path.parent} to write failures.csv into" in mse(*arguments).err
    path.parent.mkdir()
    told = mse(*arguments, "--json").json
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows == told["failures"]
    assert len(rows) == 4003
    assert [(group["code"], group["clips"]) for group in told["groups"]] == [("missing_media", 2000), ("no_audio", 3)]
    assert rows[0] == {
        "clip": "c0",
        "stream": "acoustic.x",
        "code": "missing_media",
        "stage": "find",
        "message": "c0 has no media file.",
    }
