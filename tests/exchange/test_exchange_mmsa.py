"""MMSA pickles in and out."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mse_pipeline import store
from mse_pipeline.clip import Clip, Split
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.exchange import mmsa
from mse_pipeline.exchange import mmsa as mmsa_write
from mse_pipeline.exchange.base import bring_in
from mse_pipeline.exchange.mmsa import PUBLISHED
from mse_pipeline.task import Classification, Regression

ROOT = Path(__file__).resolve().parents[2]
LENGTHS = {"audio": (9, 5), "vision": (7, 4), "text": (6, 8)}


def part(ids, rng, **changes):
    """One split as MMSA's README describes it."""
    count = len(ids)
    made = {
        "raw_text": [f"words of {one}" for one in ids],
        "id": list(ids),
        "annotations": ["Negative", "Neutral", "Neutral", "Neutral"][:count],
        "regression_labels": np.array([-1 / 3, 0, 2 / 3, 1][:count], np.float32),
        "text_bert": np.zeros((count, 3, LENGTHS["text"][0]), np.int64),
    }
    for field, (longest, dim) in LENGTHS.items():
        made[field] = np.zeros((count, longest, dim), np.float32)
        lengths = rng.integers(1, longest + 1, count)
        for index, length in enumerate(lengths):
            made[field][index, :length] = rng.normal(size=(length, dim))
            if field == "text":
                made["text_bert"][index, 1, :length] = 1
        if field != "text":
            made[f"{field}_lengths"] = lengths.tolist()
    return {**made, **changes}


@pytest.fixture
def content():
    rng = np.random.default_rng(0)
    return {
        "train": part(["-3g5yACwYnA$_$13", "a_b_c$_$0", "x$_$1"], rng),
        "valid": part(["-3g5yACwYnA$_$0001"], rng),
        "test": part(["y$_$1", "y$_$2"], rng),
    }


@pytest.fixture
def given(tmp_path):
    def write(content, name="file.pkl"):
        path = tmp_path / name
        path.write_bytes(pickle.dumps(content))
        return path

    return write


@pytest.fixture
def cache(tmp_path):
    return store.open(tmp_path / "cache")


def test_clips_labels_and_ids_are_those_of_the_file(given, content):
    imported = mmsa.read(given(content))
    first, second, third, *_ = imported.clips
    assert [clip.id for clip in imported.clips] == [one for name in content for one in content[name]["id"]]
    assert [clip.split for clip in imported.clips] == ["train"] * 3 + ["valid"] + ["test"] * 2
    assert (first.dialogue, second.dialogue, first.text) == ("-3g5yACwYnA", "a_b_c", "words of -3g5yACwYnA$_$13")
    assert (first.label, third.label) == (-0.333333, 0.666667)
    assert (first.labels, second.labels, third.labels) == ({}, {}, {"annotation": "Neutral"})
    assert imported.task == Regression(-3.0, 3.0)
    assert imported.source["clock"] == "rows"


def test_features_have_their_true_lengths(given, content, cache):
    dataset = bring_in(mmsa.read(given(content), text=True), cache, "mine")
    for name, fields in content.items():
        for index, clip in enumerate(fields["id"]):
            for stream, field in (("acoustic", "audio"), ("visual", "vision"), ("text", "text")):
                lengths = fields["text_bert"][:, 1].sum(1) if field == "text" else fields[f"{field}_lengths"]
                features = dataset[f"{stream}.mmsa"][clip]
                assert features.values.tolist() == fields[field][index, : lengths[index]].tolist(), name
                assert features.intervals.tolist() == [[i, i + 1] for i in range(lengths[index])]
                assert features.valid.all()
    assert dataset.native("visual.mmsa")["x$_$1"].notes == {"clock": "rows"}


def test_aligned_files_lose_the_zeros_at_their_end_alone(given, content, cache):
    for fields in content.values():
        del fields["audio_lengths"]
        fields["audio"][0] = 0
        fields["audio"][0, 2, 1] = 1.0
    content["test"]["audio"][1] = 0
    dataset = bring_in(mmsa.read(given(content)), cache, "mine")
    assert dataset["acoustic.mmsa"]["y$_$1"].values.tolist() == content["test"]["audio"][0, :3].tolist()
    assert "y$_$2" not in dataset["acoustic.mmsa"]
    notes = dataset.manifest.source["imports"][0]["notes"]
    assert any("no lengths; rows of zeros at the end were cut" in note for note in notes)
    assert any("1 clips have no rows" in note for note in notes)


def test_infinity_and_nan_are_counted_and_not_defined(given, content, cache):
    content["train"]["audio"][0, 0, :3] = -np.inf
    content["valid"]["audio"][0, 0, 0] = np.nan
    dataset = bring_in(mmsa.read(given(content)), cache, "mine")
    values = dataset["acoustic.mmsa"]["-3g5yACwYnA$_$13"].values
    assert np.argwhere(np.isnan(values)).tolist() == [[0, 0], [0, 1], [0, 2]]
    assert dataset["acoustic.mmsa"]["-3g5yACwYnA$_$13"].valid.all()
    notes = dataset.manifest.source["imports"][0]["notes"]
    assert "acoustic.mmsa: 3 infinite and 1 NaN values in 2 clips are not defined." in notes


def test_sims_has_labels_a_modality_and_chinese_texts(given, content):
    for fields in content.values():
        count = len(fields["id"])
        fields["raw_text"] = ["我不想嫁给李茶"] * count
        fields["regression_labels"] = [-0.8] * count
        fields |= {f"regression_labels_{one}": np.full(count, 0.2, np.float32) for one in "TAV"}
    imported = mmsa.read(given(content))
    assert imported.task == Regression(-1.0, 1.0)
    assert imported.clips[0].language == "zh"
    assert imported.clips[0].label == -0.8
    assert imported.clips[0].labels == {"text": 0.2, "acoustic": 0.2, "visual": 0.2}
    assert mmsa.read(given(content), corpus="simsv2").source["corpus"] == "simsv2"


def test_clips_that_nobody_annotated_have_no_label(given, content):
    content["train"]["mask"] = np.array([1, 0, 1])
    content["train"]["regression_labels"][1] = np.nan
    content["train_mix"] = {}
    imported = mmsa.read(given(content))
    assert [clip.label for clip in imported.clips[:3]] == [-0.333333, None, 0.666667]
    assert imported.clips[1].labels == {}
    assert any("train_mix is left out" in note for note in imported.notes)


def change(split, **fields):
    return lambda content: content[split].update(fields)


WRONG = {
    "label beyond the scale": (change("test", regression_labels=[3.5, 0]), "3.5 among regression_labels"),
    "label that is not a number": (change("test", regression_labels=[np.nan, 0]), "nan among"),
    "label in words": (change("test", regression_labels=["Positive", "x"]), "not all numbers"),
    "too few labels": (change("test", regression_labels=[0]), "2 ids and 1 regression_labels"),
    "unknown annotation": (change("test", annotations=["Bored", "Neutral"]), "annotation 'Bored'"),
    "id without a clip": (change("test", id=["abc", "y$_$2"]), "the id 'abc'"),
    "id out of the folder": (change("test", id=["../../etc$_$passwd", "y$_$2"]), "without folders"),
    "absolute id": (change("test", id=["/etc$_$passwd", "y$_$2"]), "without folders"),
    "id twice": (change("test", id=["x$_$1", "y$_$2"]), "'x\\$_\\$1' twice"),
    "ids in bytes": (change("test", id=[b"x$_$1", b"y$_$2"]), "must be texts"),
    "too few texts": (change("test", raw_text=["a"]), "2 ids and 1 texts"),
    "no texts": (change("test", raw_text=None), "has no raw_text"),
    "odd mask": (change("test", mask=np.ones(5)), "mask"),
    "another split": (lambda content: content.update(extra={}), "part 'extra'"),
    "split twice": (lambda content: content.update(dev=content["valid"]), "two parts"),
    "split of numbers": (lambda content: content.update(test=[1]), "Part test"),
}
WRONG_ARRAYS = {
    "longer than the array": (change("test", audio_lengths=[10, 1]), "has 10 rows"),
    "negative length": (change("test", audio_lengths=[-1, 1]), "has -1 rows"),
    "half a row": (change("test", audio_lengths=[1.5, 1]), "whole number"),
    "too few lengths": (change("test", audio_lengths=[1]), "whole number"),
    "two axes": (change("test", audio=np.zeros((2, 5))), "shape \\(2, 5\\)"),
    "texts for numbers": (change("test", audio=["a", "b"]), "found none"),
    "too few clips": (change("test", audio=np.zeros((1, 9, 5))), "2 ids and 1 clips"),
    "no dimensions": (change("test", audio=np.zeros((2, 9, 0))), "rows without values"),
    "other dimensions": (change("test", audio=np.zeros((2, 9, 6))), "6 values a row"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_with_clips_is_told(given, content, name):
    spoil, told = WRONG[name]
    spoil(content)
    with pytest.raises(MseError, match=told):
        mmsa.read(given(content))


@pytest.mark.parametrize("name", WRONG_ARRAYS)
def test_what_is_wrong_with_arrays_is_told(given, content, cache, name):
    spoil, told = WRONG_ARRAYS[name]
    spoil(content)
    with pytest.raises(MseError, match=told):
        bring_in(mmsa.read(given(content)), cache, "mine")


@pytest.mark.parametrize("value", [[1, 2], {"a": 1}, {}, 5])
def test_another_pickle_is_told(given, value):
    with pytest.raises(MseError, match="not an MMSA pickle"):
        mmsa.read(given(value))


def test_a_published_file_is_named(given, content, monkeypatch):
    aligned = next(one for one in PUBLISHED if one.name == "MMSA MOSEI aligned_50.pkl")
    monkeypatch.setattr(mmsa, "file_digest", lambda path: aligned.digest)
    imported = mmsa.read(given(content))
    assert imported.source["published"] == "MMSA MOSEI aligned_50.pkl"
    assert imported.source["corpus"] == "mosei"
    with pytest.raises(UsageError, match="of the corpus mosei"):
        mmsa.read(given(content), corpus="sims")


def test_an_unknown_corpus_is_told(given, content):
    with pytest.raises(UsageError, match="mosi, mosei, sims, simsv2"):
        mmsa.read(given(content), corpus="meld")


def test_export_and_import_give_the_same(given, content, cache, tmp_path):
    content["train"]["mask"] = np.array([1, 0, 1])
    for fields in content.values():
        fields |= {f"regression_labels_{one}": np.zeros(len(fields["id"])) for one in "TAV"}
    first = bring_in(mmsa.read(given(content), corpus="mosei", text=True), cache, "first")
    streams = {name.partition(".")[0]: name for name in first}
    out = tmp_path / "out.pkl"
    mmsa_write.write(first, out, streams=streams)
    second = bring_in(mmsa.read(out, corpus="mosei", text=True), cache, "second")
    assert second.clips == first.clips
    assert second.manifest.task == first.manifest.task
    for stream in first:
        assert list(second[stream]) == list(first[stream])
        assert all(second[stream][clip].equals(first[stream][clip]) for clip in first[stream])


def test_what_is_written_opens_with_plain_numpy_code(given, content, cache, tmp_path):
    dataset = bring_in(mmsa.read(given(content)), cache, "mine")
    out = tmp_path / "out.pkl"
    mmsa_write.write(dataset, out, streams={"acoustic": "acoustic.mmsa", "visual": "visual.mmsa"})
    with out.open("rb") as file:
        data = pickle.load(file)
    longest = max(max(fields["audio_lengths"]) for fields in content.values())
    for name, fields in content.items():
        audio, lengths = data[name]["audio"], data[name]["audio_lengths"]
        assert audio.shape == (len(fields["id"]), longest, 5)
        assert audio.dtype == np.float32
        assert lengths == fields["audio_lengths"]
        np.testing.assert_array_equal(audio, fields["audio"][:, :longest])
        np.testing.assert_allclose(data[name]["regression_labels"], fields["regression_labels"], atol=1e-6)
        assert data[name]["id"] == fields["id"]
        assert data[name]["annotations"] == fields["annotations"]


def test_a_dataset_of_ones_own_gets_ids_of_mmsas_form(cache, tmp_path):
    clips = [
        Clip(id=f"{split}/a", split=split, text="t", label=label)
        for split, label in zip(Split, (-1, 0.0, 2), strict=True)
    ]
    dataset = cache.create("own", clips, task=Regression(-3, 3))
    features = store.Features(np.ones((2, 1)), [[0, 1], [1, 2]], [True, True], ("x",))
    dataset.put("acoustic.x", {"train/a": features})
    mmsa_write.write(dataset, tmp_path / "out.pkl", streams={"acoustic": "acoustic.x"})
    imported = mmsa.read(tmp_path / "out.pkl")
    assert [clip.id for clip in imported.clips] == ["own$_$train_a", "own$_$valid_a", "own$_$test_a"]
    assert [clip.labels for clip in imported.clips] == [{}, {}, {}]
    assert [clip for clip, _ in imported.streams["acoustic.mmsa"]()] == ["own$_$train_a"]


@pytest.mark.parametrize(
    ("task", "streams", "told"),
    [
        (Classification(("a", "b")), {"acoustic": "acoustic.x"}, "has classes"),
        (Regression(-3, 3), {}, "no stream"),
        (Regression(-3, 3), {"smell": "smell.x"}, "got smell"),
        (Regression(-3, 3), {"visual": "visual.x"}, "no stream"),
    ],
)
def test_what_cannot_be_written_is_told(cache, tmp_path, task, streams, told):
    clips = [Clip(id=one, split=Split.TRAIN) for one in ("a/b", "a_b")]
    dataset = cache.create("own", clips, task=task)
    features = store.Features(np.ones((1, 1)), [[0, 1]], [True], ("x",))
    dataset.put("acoustic.x", {"a/b": features})
    with pytest.raises(UsageError, match=told):
        mmsa_write.write(dataset, tmp_path / "out.pkl", streams=streams)
    assert not (tmp_path / "out.pkl").exists()
    if isinstance(task, Regression):
        with pytest.raises(UsageError, match="one id"):
            mmsa_write.write(dataset, tmp_path / "out.pkl", streams={"acoustic": "acoustic.x"})


MEASURE = """
import resource, sys
from pathlib import Path
from mse_pipeline import store
from mse_pipeline.exchange import base, mmsa
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
base.bring_in(mmsa.read(Path(sys.argv[1])), store.open(sys.argv[2]), "big")
print(before, peak())
"""


@pytest.mark.slow
def test_a_large_file_is_never_whole_in_memory(tmp_path):
    count, rows, dim = 300, 925, 177
    array = np.zeros((count, rows, dim), np.float32)
    array[:, :20] = 1.0  # the true lengths are short, so that the test is fast; the file is large all the same
    fields = {
        "raw_text": ["t"] * count,
        "id": [f"v$_${i}" for i in range(count)],
        "regression_labels": [0.0] * count,
        "vision": array,
        "vision_lengths": [20] * count,
    }
    path = tmp_path / "big.pkl"
    with path.open("wb") as file:
        pickle.dump({"train": fields}, file, protocol=4)
    del array, fields
    code = [sys.executable, "-c", MEASURE, str(path), str(tmp_path / "cache")]
    before, after = map(int, subprocess.run(code, capture_output=True, text=True, check=True, cwd=ROOT).stdout.split())
    assert path.stat().st_size > 190e6
    assert after - before < 0.7 * path.stat().st_size


def unpadded(part, wrap):
    """The part with an array of its own length for each clip."""
    made = dict(part)
    for field in ("audio", "vision"):
        lengths = made.pop(f"{field}_lengths")
        made[field] = wrap([rows[:length] for rows, length in zip(part[field], lengths, strict=True)])
    return made


def as_objects(rows):
    array = np.empty(len(rows), object)
    for place, one in enumerate(rows):
        array[place] = one
    return array


@pytest.mark.parametrize("wrap", [list, as_objects])
def test_clips_of_differing_length_are_as_padded_ones(given, content, wrap):
    padded = mmsa.read(given(content))
    ragged = mmsa.read(given({name: unpadded(one, wrap) for name, one in content.items()}, "ragged.pkl"))
    assert ragged.clips == padded.clips
    for stream, read in padded.streams.items():
        other = dict(ragged.streams[stream]())
        for clip, features in read():
            assert other[clip].equals(features)


@pytest.mark.parametrize("rows", [[np.ones((2, 3)), np.ones((2, 4))], [np.ones(3), np.ones((2, 3))], ["a", "b"]])
def test_clips_that_fit_no_array_are_refused(given, content, rows):
    content["test"]["audio"] = rows
    with pytest.raises(MseError, match="audio must be an array of numbers"):
        list(mmsa.read(given(content)).streams["acoustic.mmsa"]())


def test_one_long_clip_among_many_short_ones_is_not_padded(given, content):
    ids = [f"x$_${number}" for number in range(2000)]
    rng = np.random.default_rng(0)
    content["test"] = {**part(ids[:4], rng), "id": ids, "raw_text": ids, "regression_labels": np.zeros(2000)}
    content["test"]["audio"] = [np.ones((20_000, 1), np.float32), *[np.ones((1, 1), np.float32)] * 1999]
    with pytest.raises(MseError, match="padded to 20,000 rows a clip, audio would take 160,000,000 bytes"):
        mmsa.read(given(content))
