"""A run that was trained on transcripts: it tells so, and makes its own of new media."""

from __future__ import annotations

import json

import pytest

from mse_pipeline import store
from mse_pipeline.extraction.run import ExtractionOptions, extract
from mse_pipeline.prediction import Predictor
from mse_pipeline.recipe import Recipe
from mse_pipeline.report.runs import find
from mse_pipeline.report.table import ResultRow
from tests.extraction.conftest import write_wav
from tests.extractors.small_asr import save_whisper
from tests.prediction.conftest import train_on, write_table


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on clips whose table has no texts, and the folder of all that."""
    home = tmp_path_factory.mktemp("transcribed")
    rows = []
    for index in range(6):
        write_wav(home / f"tone{index}.wav", 0.6, seed=index)
        rows.append(
            (f"t{index}", f"tone{index}.wav", ("train", "valid", "test")[index % 3], "", ("a", "b")[index // 3])
        )
    write_table(home / "clips.csv", rows)
    heard = {"model": str(save_whisper(home / "whisper-small", seed=1)), "vad": 0, "no_speech": 1}
    plain = {
        "version": 1,
        "name": "tones",
        "corpus": {"name": "table", "text": "asr"},
        "streams": {"acoustic.egemaps": {}, "text.asr": heard},
        "alignment": {"kind": "words", "stream": "text.asr"},
    }
    cache = store.open(home / "cache")
    extract(Recipe.model_validate(plain), home, cache, ExtractionOptions(workers=1))
    return home, cache["tones"], train_on(cache["tones"], home / "runs")


def test_words_of_transcripts_are_what_features_are_aligned_to(trained):
    _, dataset, _ = trained
    for clip in dataset.clips:
        words = [word for word in dataset.native("text.asr")[clip.id].notes["words"] if word]
        assert len(dataset["acoustic.egemaps"][clip.id]) == len(words) > 0


def test_the_run_and_the_report_tell_where_the_texts_are_from(trained):
    _, _, run = trained
    text = json.loads((run / "run.json").read_text())["config"]["text"]
    assert (text["source"], text["model"], text["stream"]["name"]) == ("asr", "whisper-small", "text.asr")
    (found,) = find([run]).runs
    assert found.heard == "asr (whisper-small)"
    assert "text: asr (whisper-small) + egemaps" in ResultRow(found, {}).reads


def test_new_media_get_a_transcript_of_their_own(trained):
    home, dataset, run = trained
    predictor = Predictor.open(run)
    (found,) = predictor.predict([home / "tone2.wav"], workers=1)
    said = {clip.id: clip.text for clip in dataset.clips}["t2"]
    assert found.prediction in {"a", "b"}
    assert ("transcribed", said) in [(remark.code, remark.message) for remark in found.remarks]
    (given,) = predictor.predict([home / "tone2.wav"], texts={home / "tone2.wav": "so it is"}, workers=1)
    assert "transcribed" not in [remark.code for remark in given.remarks]
