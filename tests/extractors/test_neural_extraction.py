"""Encoders of all three modalities through a whole extraction: names of one's own, keys, packs on a grid."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mse_pipeline import store
from mse_pipeline.errors import UsageError
from mse_pipeline.extraction.run import ExtractionOptions, extract
from mse_pipeline.recipe import Recipe
from tests.extractors.small_encoders import save_speech, save_text, save_vision

pytestmark = pytest.mark.slow

CLIPS = {"bbaf2n": "so it is good", "lbax4n": "i am very unhappy", "swwp2s": ""}


@pytest.fixture(scope="module")
def home(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("neural")
    with (folder / "clips.csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["id", "media", "split", "text", "label"])
        for (name, text), split in zip(CLIPS.items(), ("train", "valid", "test"), strict=True):
            shutil.copy(shared / "data" / "grid" / f"{name}.mpg", folder)
            writer.writerow([name, f"{name}.mpg", split, text, split])
    return folder


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    models = tmp_path_factory.mktemp("models")
    bert = {"model": str(save_text(models / "bert", "bert")), "overlap": 4}
    return {
        "acoustic.wavlm": {"extractor": "acoustic.transformers", "model": str(save_speech(models / "wavlm", "wavlm"))},
        "visual.face": {"extractor": "visual.transformers", "model": str(save_vision(models / "vit", "vit"))},
        "visual.scene": {"extractor": "visual.transformers_frame", "model": str(save_vision(models / "clip", "clip"))},
        "text.bert": {"extractor": "text.transformers", **bert},
        "text.bert_mean": {"extractor": "text.transformers", **bert, "last": 3},
    }


def recipe(streams: dict[str, dict[str, Any]]) -> Recipe:
    alignment = {"kind": "grid", "step": 0.5}
    told = {"version": 1, "name": "grid", "corpus": {"name": "table"}, "streams": streams, "alignment": alignment}
    return Recipe.model_validate(told)


def test_all_modalities_of_real_clips_are_extracted_and_packed(
    home: Path, streams: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    cache = store.open(tmp_path / "cache")
    summary = extract(recipe(streams), home, cache, ExtractionOptions(workers=1))
    done = {stream: count.done for stream, count in summary.streams.items()}
    assert done == {"acoustic.wavlm": 3, "visual.face": 3, "visual.scene": 3, "text.bert": 2, "text.bert_mean": 2}
    assert {row.code for row in summary.failures} == {"no_text"}
    dataset = cache["grid"]
    assert {len(dataset[stream]["bbaf2n"]) for stream in ("acoustic.wavlm", "visual.face", "visual.scene")} == {6}
    text = dataset["text.bert"]["bbaf2n"]
    assert len(text) == 4  # no grid for tokens whose times nobody knows
    assert np.isnan(text.intervals).all()
    assert dataset.native("text.bert")["bbaf2n"].notes["tokens"] == ["so", "it", "is", "good"]
    assert dataset["acoustic.wavlm"]["bbaf2n"].names[0] == "wavlm_0000"
    assert dataset["visual.face"]["bbaf2n"].names[0] == "vit_0000"

    moved = {stream: dict(options) for stream, options in streams.items()}
    for stream, options in moved.items():
        options["model"] = str(shutil.copytree(options["model"], tmp_path / "moved" / stream))
    again = extract(recipe(moved), home, cache, ExtractionOptions(workers=1))
    assert again.processed == 0


def test_a_model_that_is_missing_is_told_before_the_first_clip(home: Path, tmp_path: Path) -> None:
    streams = {"acoustic.wavlm": {"extractor": "acoustic.transformers", "model": str(tmp_path / "nowhere")}}
    with pytest.raises(UsageError, match="nowhere' does not exist"):
        extract(recipe(streams), home, store.open(tmp_path / "cache"), ExtractionOptions(workers=1))
    assert not (tmp_path / "cache" / "grid").exists()
