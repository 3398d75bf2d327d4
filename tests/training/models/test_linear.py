"""linear: what it reads of a clip, how it is fitted, and that nothing of it is pickled."""

import json

import numpy as np
import pytest
import torch

from mse_pipeline import adapter, store
from mse_pipeline.clip import Clip, Split
from mse_pipeline.errors import UsageError
from mse_pipeline.store.features import Features
from mse_pipeline.task import Classification, Regression
from mse_pipeline.training.loop import fit_adapter
from mse_pipeline.training.models.linear import Linear, pooled
from mse_pipeline.training.run import train
from tests.training.models.conftest import job_of

NAN = float("nan")


@pytest.mark.parametrize(
    ("values", "valid", "first"),
    [
        ([[1.0, 5.0], [3.0, 5.0]], [1, 1], [2.0, 5.0, 1.0, 0.0]),
        ([[1.0, NAN], [3.0, 5.0]], [1, 1], [2.0, 5.0, 1.0, 0.0]),
        ([[1.0, NAN], [3.0, NAN]], [1, 1], [2.0, NAN, 1.0, NAN]),
        ([[1.0, 5.0], [9.0, 9.0]], [1, 0], [1.0, 5.0, 0.0, 0.0]),
        ([[1.0, 5.0]], [0], [NAN] * 4),
    ],
    ids=["all defined", "one undefined", "one never defined", "a row that is not valid", "no valid row"],
)
def test_functionals_are_of_the_defined_values_of_valid_rows(values, valid, first):
    edges = np.arange(len(values) + 1.0)
    found = pooled(Features(values, np.stack([edges[:-1], edges[1:]], 1), valid, ("a", "b")))
    assert found.shape == (14,)
    np.testing.assert_array_equal(found[:4], first)


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_it_learns_what_streams_tell_and_not_what_the_text_does_not(job, kind):
    trained = fit_adapter(job("linear", kind), 1)
    name, least = ("acc", 0.85) if kind == "classification" else ("Corr", 0.9)
    assert trained.scores[Split.TEST][name] > least
    blind = fit_adapter(job("linear", kind, without=("acoustic", "visual")), 1)
    assert not blind.scores[Split.TEST][name] > 0.7
    probabilities = np.array(trained.predicted[Split.TEST].probabilities)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("language", "texts"), [("en", ("so very good", "quite bad today")), ("zh", ("我很高兴", "他很难过"))]
)
def test_it_reads_words_and_of_chinese_characters(tmp_path, language, texts):
    from mse_pipeline.recipe import PromptSection

    clips = [
        Clip(id=f"{s}/{n}", split=s, text=texts[n % 2], label=("yes", "no")[n % 2]) for s in Split for n in range(8)
    ]
    dataset = store.open(tmp_path).create("made", clips, task=Classification(("yes", "no")))
    made = job_of(dataset, "linear", wording=PromptSection(language=language))
    trained = fit_adapter(made, 1)
    assert trained.scores[Split.TEST]["acc"] == 1
    assert trained.adapter.options["characters"] == (language == "zh")
    assert ("很高" if language == "zh" else "very good") in trained.adapter.terms


def test_what_is_stored_is_numbers_and_json_and_answers_alike(job, tmp_path):
    (result,) = train(job("linear"), tmp_path / "runs", [1])
    folder = result.folder / "adapter"
    assert {path.suffix for path in folder.iterdir()} == {".safetensors", ".json", ".md"}
    loaded, _ = adapter.load(folder)
    assert isinstance(loaded, Linear)
    made = job("linear")
    batch = made.batcher.batch(made.examples[Split.TEST])
    trained = fit_adapter(made, 1)
    with torch.no_grad():
        torch.testing.assert_close(loaded(batch), trained.adapter(batch))
    described = json.loads((result.folder.parent / "run.json").read_text())
    assert (described["model"], described["backbone"]) == ("linear", "none")
    assert result.result["trainable_parameters"] == result.result["total_parameters"] > 0


def test_a_class_without_a_clip_in_train_is_not_predicted(tmp_path):
    labels = {Split.TRAIN: "ab", Split.VALID: "abc", Split.TEST: "abc"}
    clips = [
        Clip(id=f"{s}/{n}", split=s, text=f"it is {c}{c}", label=c) for s in Split for n, c in enumerate(labels[s] * 4)
    ]
    dataset = store.open(tmp_path).create("made", clips, task=Classification(("a", "b", "c")))
    trained = fit_adapter(job_of(dataset, "linear"), 1)
    assert set(trained.predicted[Split.TEST].values) == {0, 1}


def test_numbers_stay_in_the_range(tmp_path):
    clips = [Clip(id=f"{s}/{n}", split=s, text="", label=min(1.0, n / 4)) for s in Split for n in range(6)]
    dataset = store.open(tmp_path).create("made", clips, task=Regression(-1.0, 1.0))
    far = {
        c.id: Features([[float(c.label) * (1 if c.split == Split.TRAIN else 9)]], [[0, 1]], [1], ("a",)) for c in clips
    }
    dataset.put("acoustic.made", far)
    trained = fit_adapter(job_of(dataset, "linear"), 1)
    assert max(trained.predicted[Split.TEST].values) == 1.0


def test_what_it_cannot_learn_is_told(tmp_path):
    clips = [
        Clip(id=f"{s}/{n}", split=s, text="so", label="a", distribution={"a": 0.5, "b": 0.5})
        for s in Split
        for n in range(3)
    ]
    dataset = store.open(tmp_path).create("made", clips, task=Classification(("a", "b")))
    with pytest.raises(UsageError, match="learns labels, not the shares of votes"):
        fit_adapter(job_of(dataset, "linear", targets="distribution"), 1)
