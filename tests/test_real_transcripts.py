"""Real transcripts: `make real` runs Whisper base on sentences that are known."""

from __future__ import annotations

import random

import pytest

from benchmarks.transcripts import SETS, scores, transcribe

pytestmark = pytest.mark.real


@pytest.fixture
def heard(real_models, shared, tmp_path):
    """Scores of some clips of a set, always the same ones."""
    model = real_models / "whisper-base"
    if not model.is_dir():
        pytest.skip(f"needs {model} (make real)")

    def of(name, count):
        sentences = SETS[name](shared / "data")
        random.Random(0).shuffle(sentences)
        return scores(list(transcribe(sentences[:count], str(model), tmp_path / "lines.jsonl")))

    return of


def test_sentences_of_actors_are_heard_with_words_within_their_speech(heard):
    found = heard("ravdess", 40)  # of 960, which `python -m benchmarks.transcripts` takes
    assert found["word error rate"] <= 0.10
    assert found["in speech as given"] >= 0.95
    assert found["english"] == 1.0


def test_sentences_without_sense_are_mostly_heard(heard):
    """Whisper writes what is likely, and GRID's sentences are not: `bin blue at f two now`."""
    assert heard("grid", 11)["as said"] <= 0.5
