"""Features: what is the same in memory, whatever made it."""

import pickle

import numpy as np
import pytest

from mse_pipeline import store
from mse_pipeline.clip import Clip, Split
from mse_pipeline.errors import UsageError
from mse_pipeline.prediction.dropping import Without
from mse_pipeline.store.features import Features
from mse_pipeline.task import Classification


def test_a_value_that_is_not_defined_is_spelled_in_one_way():
    spellings = np.array([0x7FC00000, 0xFFC00000, 0x7FC00001], np.uint32).view(np.float32)
    read_only = spellings[:, None].copy()
    read_only.flags.writeable = False
    times, valid = np.stack([np.arange(3.0), np.arange(3.0) + 1], axis=1), [True] * 3
    features = Features(read_only, times, valid, ["pitch"])
    assert features.equals(Features(np.full((3, 1), np.nan), times, valid, ["pitch"]))
    assert read_only.view(np.uint32)[:, 0].tolist() == [0x7FC00000, 0xFFC00000, 0x7FC00001]


PITCH = Features([[220, 1], [np.nan, 2], [0, 0]], [[0, 0.5], [0.5, 1], [1, 1.5]], [True, True, False], ["f0", "loud"])


def test_a_table_of_features_has_times_names_and_nothing_where_nothing_is_defined():
    table = PITCH.to_pandas()
    assert (table.shape, list(table.columns), table.index.name) == ((3, 2), ["f0", "loud"], "start")
    assert table.index.tolist() == [0.0, 0.5, 1.0]
    assert table.isna().to_numpy().tolist() == [[False, False], [True, False], [True, True]]
    assert {str(kind) for kind in table.dtypes} == {"float32"}


def test_a_table_of_no_rows_keeps_its_names():
    empty = Features(np.zeros((0, 2)), np.zeros((0, 2)), [], ["f0", "loud"])
    assert (empty.to_pandas().shape, list(empty.to_pandas().columns)) == ((0, 2), ["f0", "loud"])
    assert repr(empty) == "Features of 0 rows, 0 valid, with 2 values: f0, loud"


@pytest.fixture
def cache(tmp_path):
    cache = store.open(tmp_path)
    clips = [Clip(id=f"{split}/dia0_utt0", split=split, text="", label="joy") for split in (Split.TRAIN, Split.TEST)]
    dataset = cache.create("meld", clips, task=Classification(("joy", "anger")))
    dataset.put("acoustic.egemaps", {clips[0].id: PITCH})
    return cache


def test_cache_dataset_stream_and_features_say_what_they_are_when_printed(cache, tmp_path):
    dataset = cache["meld"]
    told = f"The cache {tmp_path}: 1 dataset\n  meld: 2 clips; acoustic.egemaps"
    assert (repr(cache), str(cache)) == (told, told)
    assert repr(dataset) == (
        f"The dataset meld in {tmp_path}: 2 clips (1 train, 1 test)\n  acoustic.egemaps: 1 clips, clock none"
    )
    assert str(dataset["acoustic.egemaps"]).startswith("acoustic.egemaps of 1 clips on the clock none, 2 values a row")
    assert str(dataset.native("acoustic.egemaps")).startswith("acoustic.egemaps of 1 clips on its own clock")
    assert str(PITCH) == "Features of 3 rows, 2 valid, from 0.00 to 1.50 s, with 2 values: f0, loud"


def test_what_is_damaged_can_be_printed(cache):
    (cache.path / "meld" / "dataset.json").write_text("{")
    assert "dataset.json" in repr(cache)
    assert "dataset.json" in repr(cache["meld"])


@pytest.mark.parametrize(
    ("look", "told"),
    [
        (lambda cache: cache["MELD"], "Did you mean meld?"),
        (lambda cache: cache["iemocap"], "It holds: meld."),
        (lambda cache: cache["meld"]["audio.egemaps"], "Did you mean acoustic.egemaps?"),
        (lambda cache: cache["meld"]["egemaps"], "Did you mean acoustic.egemaps?"),
        (lambda cache: cache["meld"].native("acoustic.egemap"), "Did you mean acoustic.egemaps?"),
        (lambda cache: cache["meld"]["acoustic.egemaps"]["train/dia0_ut0"], "did you mean train/dia0_utt0?"),
        (lambda cache: cache["meld"].native("acoustic.egemaps")["dia0_utt0"], "did you mean train/dia0_utt0?"),
        (lambda cache: cache["meld"]["acoustic.egemaps"].length("x"), "it has 1 clips, as train/dia0_utt0."),
        (lambda cache: Without(cache["meld"]["acoustic.egemaps"], ["a"])["a"], "left out"),
    ],
)
def test_a_name_that_is_not_there_is_a_key_error_that_names_near_ones(cache, look, told):
    with pytest.raises(KeyError, match=told.replace("?", "[?]")) as found:
        look(cache)
    assert isinstance(found.value, UsageError)
    assert str(pickle.loads(pickle.dumps(found.value))) == str(found.value)


def test_asking_whether_a_clip_is_there_raises_nothing(cache):
    for stream in (cache["meld"]["acoustic.egemaps"], cache["meld"].native("acoustic.egemaps")):
        assert stream.get("train/dia0_utt1") is None
        assert "train/dia0_utt1" not in stream
