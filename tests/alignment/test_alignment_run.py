"""From raw files to packs on words: aligned where words are known, whole where they are not."""

import json
import shutil

import numpy as np
import pytest

from mse_pipeline import store
from mse_pipeline.extraction.run import ExtractionOptions, extract
from mse_pipeline.recipe import Recipe
from tests.extraction.conftest import write_wav

pytestmark = pytest.mark.slow

SAID = ["set", "white", "with", "p", "two", "soon"]
WORDS = [[0.1, 0.2, "hel"], [0.2, 0.35, "lo"]]


@pytest.fixture
def root(tmp_path):
    """Three clips of sound; c2 has no word times."""
    home = tmp_path / "corpus"
    lines = ["id,media,split,text,label"]
    for number, split in enumerate(("train", "valid", "test")):
        write_wav(home / f"media/clip{number}.wav", 0.4, seed=number)
        lines.append(f"c{number},media/clip{number}.wav,{split},hel lo,{number}")
    (home / "clips.csv").write_text("\n".join(lines) + "\n")
    (home / "times").mkdir()
    for number in range(2):
        (home / f"times/clip{number}.json").write_text(json.dumps(WORDS))
    return home


@pytest.fixture
def run(tmp_path, root):
    def extract_here(streams=(), **alignment):
        recipe = Recipe.model_validate(
            {
                "version": 1,
                "name": "mine",
                "corpus": {"name": "table"},
                "streams": {
                    "acoustic.egemaps": {},
                    "text.words": {"extractor": "text.word_times", "path": "times/{stem}.json"},
                },
                "alignment": {"kind": "words", "stream": "text.words", **alignment},
            }
        )
        summary = extract(recipe, root, store.open(tmp_path / "cache"), ExtractionOptions(workers=1, streams=streams))
        return summary, store.open(tmp_path / "cache")["mine"]

    return extract_here


def test_streams_stand_on_words_and_a_clip_without_them_is_not_lost(run):
    summary, dataset = run()
    sound, words = dataset["acoustic.egemaps"], dataset["text.words"]
    for clip in ("c0", "c1"):
        np.testing.assert_array_equal(sound[clip].intervals, [[0.1, 0.2], [0.2, 0.35]])
        np.testing.assert_array_equal(words[clip].intervals, sound[clip].intervals)
    own = dataset.native("acoustic.egemaps")["c2"]
    assert sound["c2"].equals(own)
    assert "c2" not in words
    assert summary.streams["text.words"].failed == {"alignment_failed": 1}
    assert summary.streams["acoustic.egemaps"].failed == {}


def test_a_bad_word_is_a_remark_of_its_clip(run, root):
    (root / "times/clip0.json").write_text(json.dumps([*WORDS, [0.4, 0.3, "k"]]))
    summary, dataset = run()
    assert summary.remarks == {"word_times_repaired": 1}
    np.testing.assert_array_equal(dataset["text.words"]["c0"].intervals, [[0.1, 0.2], [0.2, 0.35]])
    assert "'k' goes from 0.4 to 0.3 s" in dataset.native("text.words")["c0"].notes["remark"]["message"]


def test_functionals_have_one_width_for_all_clips(run):
    _, dataset = run(pool="functionals", silence="keep")
    sound = dataset["acoustic.egemaps"]
    assert sound["c0"].dim == sound["c2"].dim == 6 * 25
    assert len(sound["c0"]) == 3  # silence, and two words
    assert "Loudness_sma3_slope" in sound["c0"].names


def test_new_word_times_make_new_packs(run, root):
    run()
    (root / "times/clip0.json").write_text(json.dumps([[0.0, 0.4, "hello"]]))
    (root / "times/clip2.json").write_text(json.dumps(WORDS))
    summary, dataset = run()
    assert summary.streams["text.words"].failed == {}
    assert summary.streams["acoustic.egemaps"].made == 0
    assert [len(dataset["acoustic.egemaps"][clip]) for clip in ("c0", "c1", "c2")] == [1, 2, 2]
    again, _ = run()
    assert again.processed == 0


def test_streams_wait_for_words_that_are_not_there_yet(run):
    _, dataset = run(streams=("acoustic.egemaps",))
    assert not dataset.pack_path("acoustic.egemaps").exists()
    assert len(dataset.native("acoustic.egemaps")) == 3
    _, dataset = run()
    assert len(dataset["acoustic.egemaps"]["c0"]) == 2


def test_words_of_grid_are_louder_than_the_silence_around_them(shared, tmp_path):
    for name in ("swwp2s.mpg", "swwp2s.align"):
        shutil.copy(shared / "data/grid" / name, tmp_path)
    (tmp_path / "clips.csv").write_text(
        "id,media,split,text,label\nswwp2s,swwp2s.mpg,train,set white with p two soon,1\n"
    )
    recipe = Recipe.model_validate(
        {
            "version": 1,
            "name": "grid",
            "corpus": {"name": "table"},
            "streams": {"acoustic.egemaps": {}, "text.word_times": {"path": "{media}.align"}},
            "alignment": {"kind": "words", "stream": "text.word_times", "silence": "keep"},
        }
    )
    extract(recipe, tmp_path, store.open(tmp_path / "cache"), ExtractionOptions(workers=1))
    dataset = store.open(tmp_path / "cache")["grid"]
    sound, words = dataset["acoustic.egemaps"]["swwp2s"], dataset["text.word_times"]["swwp2s"]
    assert dataset.native("text.word_times")["swwp2s"].notes["words"] == ["", *SAID, ""]
    np.testing.assert_allclose(words.intervals[1], [12_250 / 25_000, 19_250 / 25_000])
    np.testing.assert_array_equal(sound.intervals, words.intervals)
    loudness = sound.values[:, sound.names.index("Loudness_sma3")]
    assert loudness[words.valid].mean() > 2 * loudness[~words.valid].mean()
    assert loudness[words.valid].min() > loudness[~words.valid].max()
