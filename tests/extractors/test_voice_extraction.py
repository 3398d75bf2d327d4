"""emotion2vec and voices through a whole extraction: rows and utterances in one dataset, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mse_pipeline import store
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.extraction.run import ExtractionOptions, extract
from mse_pipeline.recipe import Recipe
from tests.extraction.conftest import write_wav
from tests.extractors.small_emotion2vec import random_state, save_plus, save_safe
from tests.extractors.test_speaker import WIDTH, save_ge2e

pytestmark = pytest.mark.slow


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    folder.mkdir()
    for name in "ab":
        write_wav(folder / f"{name}.wav", 1.6)
    rows = "id,media,split,text,label\na,a.wav,train,so,x\nb,b.wav,test,no,y\n"
    (folder / "clips.csv").write_text(rows, encoding="utf-8")
    return folder


def recipe(streams: dict[str, Any]) -> Recipe:
    told = {"version": 1, "name": "mine", "corpus": {"name": "table"}, "alignment": {"kind": "grid", "step": 0.5}}
    return Recipe.model_validate({**told, "streams": streams})


def test_rows_and_utterances_are_extracted_and_packed(root: Path, tmp_path: Path) -> None:
    plus, voice = str(save_plus(tmp_path / "plus")), str(save_ge2e(tmp_path / "pretrained.pt"))
    streams = {
        "acoustic.emotion2vec": {"model": plus},
        "acoustic.emotions": {
            "extractor": "acoustic.emotion2vec",
            "model": plus,
            "output": "emotions",
            "granularity": "utterance",
        },
        "acoustic.speaker": {"model": voice},
    }
    cache = store.open(tmp_path / "cache")
    summary = extract(recipe(streams), root, cache, ExtractionOptions(workers=1))
    assert not summary.failures
    dataset = cache["mine"]
    rows, emotions, speaker = (dataset[stream]["a"] for stream in streams)
    assert rows.values.shape[1] == 32
    assert rows.names[0] == "emotion2vec_0000"
    assert emotions.names[:2] == ("angry", "disgusted")
    assert emotions.values.sum(1) == pytest.approx(1.0, abs=1e-5)
    assert np.ptp(emotions.values, 0).max() < 1e-6  # one row a clip, in each bin of the grid
    assert speaker.dim == WIDTH
    assert len(rows) == len(emotions) == len(speaker)
    assert dataset.native("acoustic.emotion2vec")["a"].notes["model"] == "plus"


def test_a_file_that_does_not_fit_is_refused_before_the_first_clip(root: Path, tmp_path: Path) -> None:
    bare = str(save_safe(tmp_path / "model.safetensors", random_state()))
    streams = {"acoustic.emotion2vec": {"model": str(tmp_path / "nowhere.pt")}}
    with pytest.raises(UsageError, match=r"There is no file or folder '.*nowhere\.pt'"):
        extract(recipe(streams), root, store.open(tmp_path / "cache"), ExtractionOptions(workers=1))
    streams = {"acoustic.emotion2vec": {"model": bare, "output": "emotions"}}
    with pytest.raises(MseError, match="has no head for emotions"):
        extract(recipe(streams), root, store.open(tmp_path / "cache"), ExtractionOptions(workers=1))
