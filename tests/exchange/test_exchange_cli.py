"""mse import, mse export, and what an imported dataset is good for."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from mse_pipeline import store
from mse_pipeline.cli import output
from mse_pipeline.cli.app import app
from mse_pipeline.clip import Clip, Split
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.exchange import registry
from mse_pipeline.store.commit import run_lock
from mse_pipeline.task import Classification, Regression

COUNTS = {"train": 6, "valid": 3, "test": 3}


@pytest.fixture
def mmsa_file(tmp_path):
    rng = np.random.default_rng(0)

    def part(split, count):
        return {
            "raw_text": [f"we go there {i}" for i in range(count)],
            "id": [f"{split}$_${i:04d}" for i in range(count)],
            "audio": rng.normal(size=(count, 6, 5)).astype(np.float32),
            "vision": rng.normal(size=(count, 4, 3)).astype(np.float32),
            "audio_lengths": [6 - i % 3 for i in range(count)],
            "vision_lengths": [4] * count,
            "regression_labels": np.linspace(-1, 1, count),
        }

    path = tmp_path / "unaligned_50.pkl"
    path.write_bytes(pickle.dumps({split: part(split, count) for split, count in COUNTS.items()}))
    return path


@pytest.fixture
def mse(tmp_path, monkeypatch):
    """Runs a command on a cache of the test's own; gives exit code and standard output."""
    monkeypatch.setenv("MSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        for name in ("json", "quiet", "debug"):
            monkeypatch.setattr(output.settings, name, False)
        result = CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=True)
        if isinstance(result.exception, MseError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


def test_an_import_is_a_dataset_that_tells_where_it_came_from(mse, mmsa_file):
    told = mse("import", "mmsa", mmsa_file, "--name", "mine")
    assert "mine: train 6, valid 3, test 3 clips" in told
    assert "acoustic.mmsa: 12 clips" in told
    shown = mse("cache", "show", "mine")
    assert "imported from mmsa, unaligned_50.pkl" in shown.replace("\n", " ")
    source = json.loads(mse("cache", "show", "mine", "--json"))["source"]["imports"][0]
    assert source["files"] == ["unaligned_50.pkl"]
    assert len(source["sha256"]) == 64
    assert source["streams"] == ["acoustic.mmsa", "visual.mmsa"]


def test_training_runs_on_an_import(mse, mmsa_file, tmp_path):
    mse("import", "mmsa", mmsa_file, "--option", "corpus=simsv2", "--json")
    trained = json.loads(
        mse("train", "simsv2", "--backbone", "tiny", "--epochs", "1", "--seed", "1", "--batch-size", "4", "--json")
    )
    assert "Mult_acc_5" in trained["seeds"][0]["test"]
    assert "MAE" in trained["seeds"][0]["test"]


def test_what_is_exported_comes_back_the_same(mse, mmsa_file, tmp_path):
    mse("import", "mmsa", mmsa_file, "--name", "one")
    told = mse("export", "one", "mmsa", tmp_path / "out.pkl")
    assert "of 12 clips" in told.replace("\n", " ")
    value = json.loads(mse("import", "mmsa", tmp_path / "out.pkl", "--name", "two", "--json"))
    assert value["clips"] == COUNTS
    assert value["streams"] == {"acoustic.mmsa": 12, "visual.mmsa": 12}
    cache = store.open(tmp_path / "cache")
    assert cache["one"].clips == cache["two"].clips
    for stream in cache["one"]:
        assert all(cache["two"][stream][clip].equals(one) for clip, one in cache["one"][stream].items())
    with pytest.raises(UsageError, match="--overwrite"):
        mse("export", "one", "mmsa", tmp_path / "out.pkl")
    written = json.loads(mse("export", "one", "mmsa", tmp_path / "out.pkl", "--overwrite", "--json"))
    assert written["streams"] == {"acoustic": "acoustic.mmsa", "visual": "visual.mmsa"}


def extracted(cache, **changes):
    """A dataset with the file's clips, as an extraction would have made it, with one stream."""
    clips = [
        Clip(id=f"{split}$_${i:04d}", split=Split(split), media=f"{split}/{i}.mp4", label=float(value))
        for split, count in COUNTS.items()
        for i, value in enumerate(np.linspace(-1, 1, count))
    ]
    clips[0] = replace(clips[0], **changes)
    dataset = cache.create("mine", clips, task=Regression(-3, 3), source={"corpus": "mosei"})
    dataset.put("acoustic.own", {clips[1].id: store.Features(np.ones((1, 1)), [[0, 1]], [True], ("x",))})
    return dataset


def test_an_import_adds_its_streams_to_a_dataset_of_the_same_clips(mse, mmsa_file, tmp_path):
    cache = store.open(tmp_path / "cache")
    before = extracted(cache)
    mse("import", "mmsa", mmsa_file, "--name", "mine")
    after = cache["mine"]
    assert after.clips == before.clips
    assert set(after) == {"acoustic.own", "acoustic.mmsa", "visual.mmsa"}
    assert list(after["acoustic.own"]) == ["train$_$0001"]
    assert after.manifest.source["corpus"] == "mosei"
    with pytest.raises(UsageError, match="several acoustic streams"):
        mse("export", "mine", "mmsa", tmp_path / "out.pkl")
    told = mse("export", "mine", "mmsa", tmp_path / "out.pkl", "--streams", "visual.mmsa")
    assert "visual.mmsa of 12 clips" in told.replace("\n", " ")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"id": "other"}, "with other clips: 1 of the 12"),
        ({"label": 2.0}, "has the label -1.0 in the file and 2.0"),
        ({"split": Split.TEST}, "split train of the file and in test"),
    ],
)
def test_an_import_never_changes_another_dataset(mse, mmsa_file, tmp_path, changes, told):
    cache = store.open(tmp_path / "cache")
    before = extracted(cache, **changes)
    with pytest.raises(UsageError, match=told):
        mse("import", "mmsa", mmsa_file, "--name", "mine")
    assert cache["mine"].clips == before.clips
    if "id" in changes:
        mse("import", "mmsa", mmsa_file, "--name", "mine", "--replace")
        assert cache["mine"].clips[0].id == "train$_$0000"


def test_an_import_waits_for_no_extraction(mse, mmsa_file, tmp_path):
    dataset = extracted(store.open(tmp_path / "cache"))
    with run_lock(dataset.path), pytest.raises(MseError, match="is running"):
        mse("import", "mmsa", mmsa_file, "--name", "mine")


def test_the_formats_are_listed(mse):
    assert "mse-adapter" in mse("import")
    formats = {row["format"]: row for row in json.loads(mse("import", "--json"))["formats"]}
    assert formats["mmsa"]["options"] == {"corpus": "", "text": False, "encoding": "utf-8"}
    assert (formats["mmsa"]["export"], formats["mmgcn"]["export"]) == (True, False)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["import", "mmsaa", "x"], "did you mean mmsa"),
        (["import", "mmsa"], "mse import mmsa PATH"),
        (["import", "mmsa", "missing"], "does not exist"),
        (["import", "mmsa", ".", "-o", "corpse=mosei"], "did you mean corpus"),
        (["import", "mmsa", ".", "-o", "corpus"], "KEY=VALUE"),
        (["import", "mmsa", ".", "-o", "text=1", "-o", "text=2"], "twice"),
        (["import", "mmsa", ".", "-o", "text=maybe"], "must be true or false"),
        (["import", "mmgcn", ".", "-o", "valid=some"], "must be a number"),
        (["import", "mmsa", "."], "cannot be read"),
        (["import", "openface", "."], "Use --name"),
        (["export", "mine", "mmgcn", "x"], "read, not written"),
        (["export", "mine", "mmsa", "x", "--streams", "visual.made"], "no stream"),
        (["export", "bare", "mmsa", "x"], "no features to write"),
    ],
)
def test_requests_that_cannot_be_carried_out_are_told(mse, tmp_path, arguments, told):
    cache = store.open(tmp_path / "cache")
    extracted(cache)
    cache.create("bare", [], task=Regression(0, 1))
    with pytest.raises(UsageError, match=told):
        mse(*arguments)


def test_a_hostile_pickle_is_refused_by_the_command(mse, tmp_path):
    class Hostile:
        def __reduce__(self):
            import os

            return os.system, ("touch CANARY",)

    path = tmp_path / "mosei.pkl"
    path.write_bytes(pickle.dumps({"train": Hostile()}))
    with pytest.raises(MseError, match="nothing of the file was run"):
        mse("import", "mmsa", path)
    assert not (tmp_path / "CANARY").exists()
    assert not (tmp_path / "cache").exists()


def test_a_format_that_is_only_written_is_told(monkeypatch, tmp_path):
    monkeypatch.setitem(registry.FORMATS, "out", registry.Format("written only", None, "mmsa_write:write"))
    with pytest.raises(UsageError, match="written, not read"):
        registry.read("out", tmp_path)
    assert registry.options_of("out") == {}


def test_features_alone_need_a_dataset(tmp_path):
    with pytest.raises(UsageError, match="hold features alone"):
        registry.read("openface", tmp_path)


@pytest.mark.parametrize("name", registry.available()[0])
def test_every_format_is_there(name):
    form = registry.find(name)
    assert registry.options_of(name) is not None
    assert form.writer is None or callable(registry._function(form.writer))


ROUND_TRIPS = {
    "mmsa": (Regression(-1.5, 2.0), "out.pkl"),
    "mse-adapter": (Classification(("calm", "joy")), "out"),
    "csd": (Classification(("calm", "joy")), "out"),
    "csd of numbers": (Regression(0.0, 5.0), "out"),
    "npy": (Regression(0.0, 5.0), "out"),
}


@pytest.mark.parametrize(("task", "out"), ROUND_TRIPS.values(), ids=ROUND_TRIPS)
def test_our_own_export_comes_back_without_options_with_names_and_range(mse, tmp_path, task, out, request):
    form = request.node.callspec.id.split()[0]
    label = task.classes[1] if isinstance(task, Classification) else 1.25
    clips = [Clip(id=f"{split}$_$0", split=split, text="so", label=label) for split in Split]
    dataset = store.open(tmp_path / "cache").create("mine", clips, task=task)
    for stream, names in (("acoustic.own", ("f0", "loudness")), ("visual.own", ("AU04", "AU12"))):
        row = store.Features([[0.5, 1.5]], [[0, 1]], [True], names)
        dataset.put(stream, {clip.id: row for clip in clips})
    mse("export", "mine", form, tmp_path / out)
    beside = json.loads(mse("import", form, tmp_path / out, "--json"))
    assert beside["dataset"] == "out"  # what was exported keeps its own streams
    told = json.loads(mse("import", form, tmp_path / out, "--cache", tmp_path / "other", "--json"))
    again = store.open(tmp_path / "other")["mine"]
    assert (told["dataset"], again.manifest.task) == ("mine", task)
    assert len(again.clips) == len(clips)
    assert {clip.label for clip in again.clips} == {label}
    for modality, names in (("acoustic", ("f0", "loudness")), ("visual", ("AU04", "AU12"))):
        (stream,) = (stream for stream in again if stream.startswith(modality))
        assert {features.names for features in again[stream].values()} == {names}
        assert {features.values.tolist()[0][1] for features in again[stream].values()} == {1.5}


@pytest.mark.parametrize(
    ("form", "out", "told"),
    [
        ("mmsa", "there", "there is a folder; mmsa is one file: give its name, as .*there/features.pkl"),
        ("mmsa", "missing/out.pkl", "There is no folder .*missing to write out.pkl into"),
        ("npy", "missing/out", "There is no folder .*missing to write out into"),
        ("npy", "out.pkl", "written as a folder of files: give a folder, as .*out-npy"),
        ("csd", "out.csd", "give a folder, as .*out-csd"),
        ("csd", "file", "file is the name of a file"),
    ],
)
def test_a_place_that_does_not_fit_is_told_and_nothing_is_made(mse, mmsa_file, tmp_path, form, out, told):
    mse("import", "mmsa", mmsa_file, "--name", "mine")
    (tmp_path / "there").mkdir()
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match=told):
        mse("export", "mine", form, tmp_path / out, "--overwrite")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("about", ["{", "[]", '{"format": 1, "task": {"low": 3, "high": 1}, "streams": {}}'])
def test_what_a_file_says_of_itself_is_read_with_distrust(mse, mmsa_file, tmp_path, about):
    value = pickle.loads(mmsa_file.read_bytes())
    value["train"]["mse_about"] = about
    mmsa_file.write_bytes(pickle.dumps(value))
    with pytest.raises(MseError, match=r"mse_about of .* cannot be read"):
        mse("import", "mmsa", mmsa_file, "--name", "mine")
