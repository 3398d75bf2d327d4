"""Ablations: what a training without a part reads, and where its run lies."""

from __future__ import annotations

import json

import pytest

from mse_pipeline import adapter, backbones
from mse_pipeline.clip import Split
from mse_pipeline.recipe import PromptSection, Training
from mse_pipeline.training.job import prepare
from mse_pipeline.training.reading import read
from mse_pipeline.training.run import run_folder, train
from mse_pipeline.training.streams import choose_streams

SETTINGS = Training(epochs=1, batch_size=12, acoustic_hidden=4, visual_hidden=4)
WORDING = PromptSection(task="Which emotion is it? It is")


@pytest.fixture(scope="module")
def tiny():
    return backbones.load("tiny")


@pytest.fixture
def job(made_dataset, tiny):
    def make(*without, backbone=None):
        dataset = made_dataset()
        choice = choose_streams(dataset, asked={}, without=without)
        return prepare(dataset, backbone or tiny, SETTINGS, choice, WORDING)

    return make


def test_without_text_the_prompt_holds_fixed_parts_and_pseudo_tokens_alone(job, tiny):
    made = job("text")
    batch = made.batcher.batch(made.examples[Split.TRAIN][:3])
    model = adapter.MSEAdapter(made.config)
    reading = read(tiny, model, made.prompt, batch)
    assert reading.mask.sum(1).tolist() == [len(made.prompt) + SETTINGS.pseudo_tokens] * 3
    whole = job()
    with_text = whole.batcher.batch(whole.examples[Split.TRAIN][:3])
    assert (
        read(tiny, adapter.MSEAdapter(whole.config), whole.prompt, with_text).mask.sum(1).min()
        > len(made.prompt) + SETTINGS.pseudo_tokens
    )


def test_previous_turns_are_text_too(made_dataset, tiny):
    from dataclasses import replace

    from mse_pipeline import store

    dataset = made_dataset()
    clips = [replace(clip, dialogue="0", turn=turn) for turn, clip in enumerate(dataset.clips)]
    dataset = store.open(dataset.path.parent).create("made", clips, task=dataset.manifest.task)
    wording = PromptSection(task="Which emotion is it? It is", context=2)
    choice = choose_streams(dataset, asked={}, without=("text",))
    made = prepare(dataset, tiny, SETTINGS, choice, wording)
    assert made.about["prompt"]["context"] == 0
    assert made.batcher.batch(made.examples[Split.TRAIN][-3:]).context_ids is None


def test_no_word_of_a_text_reaches_a_prediction(job, tiny):
    from dataclasses import replace

    from mse_pipeline.training.scoring import score_steps

    made = job("text")
    model = adapter.MSEAdapter(made.config)
    chosen = made.examples[Split.TEST][:3]
    other = [replace(one, text="quite other words", before=("before: that\n",)) for one in chosen]
    one, two = (
        score_steps(tiny, model, made.prompt, made.answers, made.batcher.batch(some)) for some in (chosen, other)
    )
    assert one.equal(two)


@pytest.mark.parametrize(
    ("without", "variant"),
    [(("tgm",), "without-tgm"), (("msf", "visual"), "without-visual+msf"), (("text",), "without-text")],
)
def test_an_ablation_is_trained_saved_and_told_by_its_name(job, tmp_path, without, variant):
    made = job(*without)
    (result,) = train(made, tmp_path, [1])
    assert f"-{variant}-" in run_folder(made, tmp_path).name
    loaded, _ = adapter.load(result.folder / "adapter")
    assert loaded.config == made.config
    described = json.loads((result.folder.parent / "run.json").read_text())
    assert described["config"]["without"] == [part for part in ("tgm", "msf", "text") if part in without]
    assert described["trainable_parameters"] == sum(p.numel() for p in loaded.parameters())
