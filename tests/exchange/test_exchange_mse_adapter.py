"""MSE-Adapter's list-of-dictionaries pickles in and out."""

import csv
import pickle

import numpy as np
import pytest

from mse_pipeline import store
from mse_pipeline.clip import Clip, Split
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.exchange import mse_adapter
from mse_pipeline.exchange import mse_adapter as mse_adapter_write
from mse_pipeline.exchange.base import bring_in
from mse_pipeline.task import Classification, Regression

LABELS = ("neutral", "joy", "anger")


def entry(label, text, audio_len=2, video_len=1, **features):
    audio, video = np.zeros((4, 3), np.float32), np.zeros((2, 5))
    audio[:audio_len], video[:video_len] = 1.5, 2.5
    made = {"text": text, "audio": audio, "video": video, "audio_len": audio_len, "video_len": video_len}
    return {"label": label, "features": {**made, **features}}


@pytest.fixture
def folder(tmp_path):
    """meld_{train,valid,test}.pkl with three clips each."""
    home = tmp_path / "MELD"
    home.mkdir()
    for split in ("train", "valid", "test"):
        entries = [entry(label, f"It’s {split} {index}.", index + 1) for index, label in enumerate(LABELS)]
        (home / f"meld_{split}.pkl").write_bytes(pickle.dumps(entries))
    return home


@pytest.fixture
def cache(tmp_path):
    return store.open(tmp_path / "cache")


def change(folder, split, entries):
    (folder / f"meld_{split}.pkl").write_bytes(pickle.dumps(entries))


def test_clips_are_numbered_by_order_and_have_the_corpus_classes(folder):
    imported = mse_adapter.read(folder)
    assert [clip.id for clip in imported.clips[:4]] == ["train/00000", "train/00001", "train/00002", "valid/00000"]
    assert [clip.label for clip in imported.clips[:3]] == list(LABELS)
    assert imported.clips[0].text == "It’s train 0."
    assert imported.task == Classification(("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger"))
    assert imported.source["corpus"] == "meld"
    assert any("no ids" in note for note in imported.notes)


def test_features_have_their_true_lengths_and_undefined_values(folder, cache):
    broken = entry("joy", "x", 3)
    broken["features"]["audio"][0, 0] = -np.inf
    change(folder, "test", [broken, entry("joy", "y", 0)])
    dataset = bring_in(mse_adapter.read(folder), cache, "meld")
    assert [len(dataset["acoustic.mse"][f"train/0000{i}"]) for i in range(3)] == [1, 2, 3]
    assert dataset["visual.mse"]["train/00000"].values.tolist() == [[2.5] * 5]
    np.testing.assert_array_equal(dataset["acoustic.mse"]["test/00000"].values[0], [np.nan, 1.5, 1.5])
    assert "test/00001" not in dataset["acoustic.mse"]
    notes = dataset.manifest.source["imports"][0]["notes"]
    assert {
        "acoustic.mse: 1 infinite and 0 NaN values in 1 clips are not defined.",
        "acoustic.mse: 1 clips have no rows, and so no features.",
    } <= set(notes)


def write_labels(home, rows):
    home.mkdir(exist_ok=True)
    columns = ["Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID"]
    for split, name in (("train", "train"), ("valid", "dev"), ("test", "test")):
        with (home / f"{name}_sent_emo.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(columns)
            table.writerows([text.format(split), "Ross", label, "neutral", 7, turn] for text, label, turn in rows)
    return home


ROWS = [("It\x92s {}  0.", "neutral", 0), ("Lost.", "fear", 1), ("It's {} 1.", "joy", 2), ("it’s {} 2.", "anger", 5)]


def test_ids_are_rebuilt_from_the_label_files(folder, tmp_path, cache):
    labels = write_labels(tmp_path / "labels", ROWS)
    imported = mse_adapter.read(folder, labels=str(labels))
    ids = [clip.id for clip in imported.clips]
    assert ids[:4] == ["train/dia7_utt0", "train/dia7_utt2", "train/dia7_utt5", "dev/dia7_utt0"]
    assert imported.clips[1].speaker == "Ross"
    assert any("1 are not there" in note for note in imported.notes)
    dataset = bring_in(imported, cache, "meld")
    assert len(dataset["acoustic.mse"]["train/dia7_utt5"]) == 3


@pytest.mark.parametrize(
    "rows",
    [
        [ROWS[0], ROWS[3], ROWS[2]],
        [ROWS[0], ("Other", "joy", 1), ROWS[3]],
        [ROWS[0], ("It's {} 1.", "fear", 2), ROWS[3]],
        ROWS[:2],
    ],
    ids=["order", "text", "label", "fewer"],
)
def test_ids_are_never_guessed(folder, tmp_path, rows):
    labels = write_labels(tmp_path / "labels", rows)
    with pytest.raises(MseError, match="another version or order"):
        mse_adapter.read(folder, labels=str(labels))


def test_the_real_label_files_give_the_real_ids(shared, tmp_path):
    home = tmp_path / "MELD"
    home.mkdir()
    source = shared / "data/meld/current/dev_sent_emo.csv"
    with source.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["Dialogue_ID"], row["Utterance_ID"]) != ("110", "7")]
    small = {"audio": np.ones((1, 1), np.float32), "video": np.ones((1, 1), np.float32)}
    change(home, "valid", [entry(row["Emotion"], row["Utterance"], 1, 1, **small) for row in rows])
    imported = mse_adapter.read(home, labels=str(source.parent))
    assert len(imported.clips) == 1108
    assert {clip.id for clip in imported.clips} == {
        f"dev/dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}" for row in rows
    }


def test_cherma_is_chinese_whatever_the_language_of_its_labels(folder):
    for split in ("train", "valid", "test"):
        (folder / f"meld_{split}.pkl").unlink()
    (folder / "cherma_train.pkl").write_bytes(pickle.dumps([entry("happy", "我"), entry("平静", "你")]))
    imported = mse_adapter.read(folder / "cherma_train.pkl")
    assert [(clip.label, clip.language) for clip in imported.clips] == [("高兴", "zh"), ("平静", "zh")]


def test_classes_of_ones_own_can_be_given(folder):
    change(folder, "train", [entry("bored", "x")])
    (folder / "meld_valid.pkl").unlink()
    (folder / "meld_test.pkl").unlink()
    imported = mse_adapter.read(folder, classes="bored, keen")
    assert imported.task == Classification(("bored", "keen"))
    assert "corpus" not in imported.source


WRONG = {
    "unknown label": ([entry("joyful", "x")], "label 'joyful'; did you mean joy"),
    "label as a number": ([entry(3, "x")], "no label or no text"),
    "not text": ([entry("joy", None)], "no label or no text"),
    "no features": ([{"label": "joy"}], "not of the form"),
    "no dictionary": (["joy"], "not of the form"),
    "no list": ({"train": []}, "expected a list"),
    "longer than the array": ([entry("joy", "x", features=1) | {}], None),
    "too long": ([entry("joy", "x", audio_len=5)], "audio_len is 5; the array has 4"),
    "length of another kind": (
        [entry("joy", "x", 2, 1) | {"features": {**entry("joy", "x")["features"], "audio_len": "2"}}],
        "audio_len is a str",
    ),
    "no array": ([entry("joy", "x", audio=[1])], "audio must be an array"),
    "widths": ([entry("joy", "x"), entry("joy", "x", audio=np.ones((4, 7)))], "different widths"),
}
del WRONG["longer than the array"]


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_told(folder, name):
    entries, told = WRONG[name]
    change(folder, "test", entries)
    with pytest.raises(MseError, match=told):
        mse_adapter.read(folder)


def test_splits_of_different_widths_are_told(folder, cache):
    change(folder, "test", [entry("joy", "x", audio=np.ones((4, 7)))])
    with pytest.raises(MseError, match="7 values a row"):
        bring_in(mse_adapter.read(folder), cache, "meld")


def test_what_is_no_such_folder_is_told(tmp_path, folder):
    with pytest.raises(UsageError, match="none of MSE-Adapter's"):
        mse_adapter.read(tmp_path)
    (folder / "meld_train.pkl").rename(folder / "other_train.pkl")
    (folder / "iemocap_train.pkl").write_bytes(pickle.dumps([]))
    with pytest.raises(UsageError, match="two files of split train"):
        mse_adapter.read(folder)
    home = tmp_path / "unknown"
    home.mkdir()
    (folder / "other_train.pkl").rename(home / "train.pkl")
    with pytest.raises(UsageError, match="which labels"):
        mse_adapter.read(home)


def test_export_and_import_give_the_same(folder, cache, tmp_path):
    first = bring_in(mse_adapter.read(folder), cache, "meld")
    out = tmp_path / "out"
    mse_adapter_write.write(first, out, streams={"acoustic": "acoustic.mse", "visual": "visual.mse"})
    second = bring_in(mse_adapter.read(out), cache, "again")
    assert second.clips == first.clips
    for stream in first:
        assert all(second[stream][clip].equals(first[stream][clip]) for clip in first[stream])
    entries = pickle.loads((out / "meld_test.pkl").read_bytes())
    assert entries[1]["label"] == "joy"
    assert entries[1]["features"]["audio"].shape == (3, 3)
    assert (entries[1]["features"]["audio_len"], entries[1]["features"]["video_len"]) == (2, 1)


def test_what_cannot_be_written_is_told(folder, cache, tmp_path):
    dataset = bring_in(mse_adapter.read(folder), cache, "meld")
    both = {"acoustic": "acoustic.mse", "visual": "visual.mse"}
    with pytest.raises(UsageError, match="none of visual"):
        mse_adapter_write.write(dataset, tmp_path / "out", streams={"acoustic": "acoustic.mse"})
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        mse_adapter_write.write(dataset, tmp_path / "file", streams=both)
    numbers = cache.create("numbers", [Clip(id="a", split=Split.TRAIN, label=1.0)], task=Regression(0, 1))
    with pytest.raises(UsageError, match="mmsa holds numbers"):
        mse_adapter_write.write(numbers, tmp_path / "out", streams=both)
    empty = cache.create("empty", [Clip(id="a", split=Split.TRAIN, label="x")], task=Classification(("x", "y")))
    empty.put("acoustic.x", {"a": store.Features(np.ones((1, 1)), [[0, 1]], [True], ("x",))})
    with pytest.raises(UsageError, match="no stream"):
        mse_adapter_write.write(empty, tmp_path / "out", streams={"acoustic": "acoustic.x", "visual": "visual.x"})
