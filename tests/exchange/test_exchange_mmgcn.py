"""Pickles of dialogues."""

import csv
import pickle

import numpy as np
import pytest

from mse_pipeline import store
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.exchange import mmgcn
from mse_pipeline.exchange import mmgcn as mmgcn_members
from mse_pipeline.exchange.base import bring_in

TURNS = {0: 2, 1: 1, 2: 3, 3: 1}
DIMS = {"text": 6, "audio": 4, "visual": 3}


def by_dialogue(make):
    return {key: make(count) for key, count in TURNS.items()}


def one_hot(count):
    return [[0, 1, 0] for _ in range(count)]


def members(**changes):
    rng = np.random.default_rng(0)
    made = {
        "ids": by_dialogue(lambda n: list(range(n))),
        "speakers": by_dialogue(one_hot),
        "labels": by_dialogue(lambda n: [4] * n),
        **{name: by_dialogue(lambda n, dim=dim: rng.normal(size=(n, dim))) for name, dim in DIMS.items()},
        "sentences": by_dialogue(lambda n: [f"line {i}" for i in range(n)]),
        "train": [0, 1, 2],
        "test": [3],
    }
    return {**made, **changes}


def meld(**changes):
    return (*members(**changes).values(), {})


def iemocap(**changes):
    return tuple(members(speakers=by_dialogue(lambda n: ["M"] * n), **changes).values())


def without_visual():
    made = members()
    del made["visual"]
    return (*made.values(), made["labels"])


def roberta():
    made = members()
    layers = [by_dialogue(lambda n: [np.full(5, 0.5, np.float32)] * n) for _ in range(4)]
    first = (made["ids"], made["speakers"], made["labels"])
    return (*first, *layers, made["sentences"], [0, 1], [3], [2])


@pytest.fixture
def given(tmp_path):
    def write(content, protocol=2):
        path = tmp_path / "features.pkl"
        path.write_bytes(pickle.dumps(content, protocol))
        return path

    return write


@pytest.mark.parametrize(
    ("make", "streams", "label", "speaker"),
    [
        (meld, ["text.mmgcn", "acoustic.mmgcn", "visual.mmgcn"], "joy", "speaker 1"),
        (iemocap, ["text.mmgcn", "acoustic.mmgcn", "visual.mmgcn"], "exc", "M"),
        (without_visual, ["text.mmgcn", "acoustic.mmgcn"], "joy", "speaker 1"),
        (roberta, [f"text.roberta_{layer}" for layer in (1, 2, 3, 4)], "joy", "speaker 1"),
    ],
    ids=["MELD", "IEMOCAP", "MELD without pictures", "RoBERTa"],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_the_form_tells_the_members(given, tmp_path, make, streams, label, speaker, protocol):
    imported = mmgcn.read(given(make(), protocol), valid=0.34)
    assert [clip.id for clip in imported.clips] == [
        *("train/dia0_utt0", "train/dia0_utt1", "train/dia1_utt0"),
        *("valid/dia2_utt0", "valid/dia2_utt1", "valid/dia2_utt2", "test/dia3_utt0"),
    ]
    assert {(clip.label, clip.speaker) for clip in imported.clips} == {(label, speaker)}
    assert (imported.clips[1].text, imported.clips[1].turn, imported.clips[1].dialogue) == ("line 1", 1, "train/dia0")
    assert list(imported.streams) == streams
    dataset = bring_in(imported, store.open(tmp_path / "cache"), "mine")
    expected = make()[3 if make is roberta else {"text": 3, "acoustic": 4}[streams[0].partition(".")[0]]]
    features = dataset[streams[0]]["valid/dia2_utt1"]
    assert features.values.tolist() == np.float32(expected[2][1])[None].tolist()
    assert features.intervals.tolist() == [[0, 1]]


def test_melds_train_and_dev_dialogues_are_told_apart(given, monkeypatch):
    monkeypatch.setattr(mmgcn_members, "_MELD_TRAIN", 1)
    monkeypatch.setattr(mmgcn_members, "_MELD_VALID", 2)
    imported = mmgcn.read(given(meld()))
    assert [clip.split for clip in imported.clips] == ["train"] * 2 + ["valid"] * 4 + ["test"]


def test_sets_of_dialogues_are_sorted(given):
    imported = mmgcn.read(given(iemocap(train={2, 0, 1})), valid=0)
    assert [clip.dialogue for clip in imported.clips][::2] == ["train/dia0", "train/dia1", "train/dia2", "test/dia3"]


def test_ids_are_rebuilt_from_the_label_files(given, tmp_path):
    dialogues = {"train": {0: 10, 1: 11}, "dev": {2: 5}, "test": {3: 8}}
    for name, numbers in dialogues.items():
        with (tmp_path / f"{name}_sent_emo.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID"])
            for key, number in numbers.items():
                table.writerows([[f"line {i}", "Joey", "joy", "positive", number, i] for i in range(TURNS[key])])
    imported = mmgcn.read(given(meld()), valid=0.34, labels=str(tmp_path))
    assert [clip.id for clip in imported.clips][1:4] == ["train/dia10_utt1", "train/dia11_utt0", "dev/dia5_utt0"]
    assert [clip for clip, _ in imported.streams["text.mmgcn"]()][-1] == "test/dia8_utt0"


WRONG = {
    "label": (meld(labels=by_dialogue(lambda n: [7] * n)), "label 7; known are 0 to 6"),
    "label in words": (meld(labels=by_dialogue(lambda n: ["joy"] * n)), "whole numbers"),
    "sentences": (meld(sentences=by_dialogue(lambda n: ["x"] * 5)), "sentences of dialogue 0"),
    "dialogue without labels": (meld(train=[0, 9]), "no labels of dialogue 9"),
    "dialogue in two splits": (meld(test=[0]), "in two splits"),
    "dialogues whose numbers hash alike": (
        meld(train=[n * (2**61 - 1) for n in range(9)]),
        "not a pickle of dialogues",
    ),
    "splits that are none": (meld(train=5), "not a pickle of dialogues"),
    "another tuple": ((1, 2, 3), "found a tuple of 3"),
    "members that are not dictionaries": (tuple(range(9)), "int, int"),
    "a dictionary": ({"a": 1}, "found a dict"),
}
WRONG_FEATURES = {
    "texts": (meld(visual=by_dialogue(lambda n: ["x"] * n)), "visual of dialogue 0 must be numbers"),
    "another number of rows": (meld(visual=by_dialogue(lambda n: np.ones((7, 3)))), "2 labels and 7 rows"),
    "other dimensions": (meld(visual=by_dialogue(lambda n: np.ones((n, n + 1)))), "2 visual values; others 3"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_told(given, name):
    content, told = WRONG[name]
    with pytest.raises(MseError, match=told):
        mmgcn.read(given(content))


@pytest.mark.parametrize("name", WRONG_FEATURES)
def test_what_is_wrong_with_features_is_told(given, name):
    content, told = WRONG_FEATURES[name]
    imported = mmgcn.read(given(content))
    with pytest.raises(MseError, match=told):
        list(imported.streams["visual.mmgcn"]())


@pytest.mark.parametrize(("options", "told"), [({"corpus": "mosei"}, "meld or iemocap"), ({"valid": 1.5}, "a share")])
def test_options_are_checked(given, options, told):
    with pytest.raises(UsageError, match=told):
        mmgcn.read(given(meld()), **options)
