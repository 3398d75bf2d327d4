"""Texts in capitals are read in lower case where a recipe asks for it, in training and in prediction alike."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from mse_pipeline import store
from mse_pipeline.clip import Clip, Split
from mse_pipeline.recipe import PromptSection, Recipe, load
from mse_pipeline.training.earlier import config_digest
from mse_pipeline.training.examples import Dialogues, cased, remark_on_case
from mse_pipeline.training.job import prepare, restore
from mse_pipeline.training.run import train
from mse_pipeline.training.stored import open_stored
from mse_pipeline.training.streams import choose_streams
from tests.training.test_training_run import SETTINGS, WORDING, tiny  # noqa: F401

AUTO = WORDING.model_copy(update={"case": "auto"})


def clips(*texts):
    return [Clip(id=str(n), split=Split.TRAIN, text=text, dialogue="1", turn=n) for n, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("as-written", ["I MEAN IT", "NASA rocks", "ÄRGER!", "好的 OK", "", "123"]),
        ("auto", ["i mean it", "NASA rocks", "ärger!", "好的 ok", "", "123"]),
        ("lower", ["i mean it", "nasa rocks", "ärger!", "好的 ok", "", "123"]),
    ],
)
def test_only_texts_without_small_letters_are_lowered_unless_all_are(case, expected):
    assert [
        clip.text for clip in cased(clips("I MEAN IT", "NASA rocks", "ÄRGER!", "好的 OK", "", "123"), case)
    ] == expected


def test_what_was_said_before_is_lowered_too():
    said = cased(clips("I SEE", "WHY"), "auto")
    assert Dialogues(said, turns=1).lines(said[1]) == ["i see\n"]


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (["OH", "I SEE", "well, yes", "你好", "12"], "2 of 3 texts are wholly in capitals"),
        (["OH", "I see"], ""),
        (["你好", "", "12"], ""),
        ([], ""),
    ],
)
def test_capitals_are_told_where_most_texts_have_them(texts, told):
    assert told in remark_on_case(clips(*texts), "as-written")
    assert bool(remark_on_case(clips(*texts), "as-written")) == bool(told)
    assert remark_on_case(clips(*texts), "auto") == ""


def test_a_prompt_without_the_setting_is_written_as_it_was_before_there_was_one():
    assert "case" not in PromptSection().to_dict()
    recipe = load("mosi")
    assert "case" not in recipe.to_dict()["prompt"]
    assert Recipe.model_validate(load("table").to_dict()).prompt.case == "auto"


@pytest.fixture
def shouted(made_dataset):
    """A dataset whose texts are in capitals."""
    dataset = made_dataset()
    said = [replace(clip, text=clip.text.upper()) for clip in dataset.clips]
    return store.open(dataset.path.parent).create("made", said, task=dataset.manifest.task)


def test_a_run_keeps_the_case_and_predictions_read_likewise(made_dataset, shouted, tiny, tmp_path):  # noqa: F811
    settings = SETTINGS.model_copy(update={"epochs": 1})
    choice = choose_streams(shouted, asked={})
    as_written, auto = (prepare(shouted, tiny, settings, choice, wording) for wording in (WORDING, AUTO))
    assert {example.text for example in auto.examples[Split.TRAIN]} == {
        example.text.lower() for example in as_written.examples[Split.TRAIN]
    }
    assert config_digest(auto.about) != config_digest(as_written.about)
    (result,) = train(auto, tmp_path / "runs", [1])
    assert json.loads((result.folder.parent / "run.json").read_text())["config"]["prompt"]["case"] == "auto"
    new = [Clip(id="new", split=Split.TEST, text="I AM SO GLAD")]
    (example,) = restore(open_stored(result.folder), tiny, new, {}).examples[Split.TEST]
    assert example.text == "i am so glad"
