"""Label distributions: the loss by hand, what is learned of annotators' votes, and what they are compared with."""

import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from mse_pipeline import backbones, metrics, store
from mse_pipeline.backbones.answers import Answers
from mse_pipeline.clip import Clip, Split
from mse_pipeline.errors import UsageError
from mse_pipeline.prediction.evaluation import evaluate
from mse_pipeline.recipe import PromptSection, Training
from mse_pipeline.report.runs import read_predictions
from mse_pipeline.task import Classification
from mse_pipeline.training.dry_run import dry_run
from mse_pipeline.training.job import prepare
from mse_pipeline.training.loop import fit_adapter
from mse_pipeline.training.objective import answer_loss, balanced_weights
from mse_pipeline.training.run import train
from mse_pipeline.training.scoring import score_answers
from mse_pipeline.training.streams import choose_streams
from tests.closeness import assert_close
from tests.small_models import byte_tokenizer, small_backbone
from tests.training.conftest import CLASSES
from tests.training.test_answers_by_head import gradient, parts
from tests.training.test_objective import around, make_batch, small_adapter

SHARES = torch.tensor([[0.5, 0.25, 0.25], [0.0, 0.0, 1.0], [0.2, 0.8, 0.0], [1 / 3, 1 / 3, 1 / 3]])
WORDS = Classification(("ink", "into", "or"))  # of several tokens, which begin alike, and of other numbers
WEIGHTS = torch.tensor([0.5, 1.0, 2.0])
WORDING = PromptSection(task="Which mood is it? It is")


def spoken(backbone, task=WORDS):
    """Adapter, prompt and answers, spelled as the names of the classes."""
    prompt, _ = around(backbone, task)
    answers = Answers(task, backbone.tokenizer, backbone.family, label_words=True)
    return small_adapter(backbone), prompt, answers


def of(batch, shares=SHARES):
    return replace(batch, distributions=shares)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["even", "weighted"])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_loss_of_a_head_is_the_cross_entropy_to_the_shares(weights, smoothing):
    backbone = small_backbone()
    adapter, prompt, answers = parts(backbone)
    batch = make_batch(backbone)
    logs = score_answers(backbone, adapter, prompt, answers, batch)
    expected = 0.0
    for row, shares in zip(logs.tolist(), SHARES.tolist(), strict=True):
        for place, share in enumerate(shares):
            counts = 1.0 if weights is None else weights[place].item()
            # What a clip whose label is this class would cost, by the share that says so.
            expected -= share * counts * ((1 - smoothing) * row[place] + smoothing * sum(row) / len(row)) / len(logs)
    loss = answer_loss(backbone, adapter, prompt, answers, of(batch), weights, smoothing)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert loss.item() != pytest.approx(answer_loss(backbone, adapter, prompt, answers, batch).item(), rel=1e-3)


@pytest.mark.parametrize("architecture", ["llama", "opt"])
def test_the_loss_of_spelled_answers_is_the_cross_entropy_to_the_shares(architecture):
    backbone = small_backbone(architecture, tokenizer=byte_tokenizer())
    adapter, prompt, answers = spoken(backbone)
    assert len(set(map(len, answers.ids))) > 1
    batch = make_batch(backbone)
    logs = score_answers(backbone, adapter, prompt, answers, batch)
    lengths = torch.tensor([float(len(ids)) for ids in answers.ids])
    expected = (-(SHARES * logs).sum(1) / (SHARES @ lengths)).mean()
    assert_close(answer_loss(backbone, adapter, prompt, answers, of(batch)), expected)


@pytest.mark.parametrize("head", [True, False], ids=["head", "spelled"])
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["even", "weighted"])
def test_a_clip_with_one_class_alone_has_the_loss_and_the_gradient_of_its_label(head, weights):
    backbone = small_backbone(tokenizer=byte_tokenizer())
    adapter, prompt, answers = parts(backbone) if head else spoken(backbone)
    batch = make_batch(backbone)
    alone = torch.eye(3)[batch.targets]
    smoothing = 0.2 if head else 0.0
    found = []
    for given in (batch, of(batch, alone)):
        adapter.zero_grad()
        loss = answer_loss(backbone, adapter, prompt, answers, given, weights, smoothing)
        loss.backward()
        found.append((loss.detach(), gradient(adapter)))
    for value, expected in zip(found[1], found[0], strict=True):
        assert_close(value, expected, 1e-4)


def test_smoothing_of_spelled_answers_of_one_token_is_that_of_labels():
    backbone = small_backbone()
    adapter, batch = small_adapter(backbone), make_batch(backbone)
    prompt, answers = around(backbone, Classification(("neutral", "joy", "anger")))
    assert set(map(len, answers.ids)) == {1}
    losses = [
        answer_loss(backbone, adapter, prompt, answers, given, WEIGHTS, 0.3)
        for given in (batch, of(batch, torch.eye(3)[batch.targets]))
    ]
    assert_close(losses[1], losses[0], 1e-5)


def test_balanced_weights_count_shares():
    assert balanced_weights([0], 3, [[0.5, 0.5, 0.0]]).tolist() == pytest.approx([2 / 3, 2.0, 1.0])
    votes = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
    assert balanced_weights([], 2, votes).tolist() == pytest.approx(balanced_weights([0, 0, 1], 2).tolist())


@pytest.fixture(scope="module")
def tiny():
    return backbones.load("tiny")


def moods(folder, count=48, change=lambda clip: clip):
    """Clips whose one acoustic value says how many of the annotators chose joy; a third has no majority."""
    rng = np.random.default_rng(2)
    clips, pitch = [], {}
    for split, clips_of_it in ((Split.TRAIN, count), (Split.VALID, 12), (Split.TEST, 12)):
        for place in range(clips_of_it):
            joy = (0.1, 0.5, 0.9)[place % 3]
            label = None if joy == 0.5 else "joy" if joy > 0.5 else "anger"
            shares = {"neutral": 0.0, "joy": joy, "anger": 1 - joy}
            clip = Clip(id=f"{split}/{place}", split=split, text="so it is", label=label, distribution=shares)
            clips.append(change(clip))
            value = 4 * joy - 2 + 0.05 * rng.normal()
            pitch[clip.id] = store.Features([[value]] * 3, [[0.0, 0.1], [0.1, 0.2], [0.2, 0.3]], [True] * 3, ["pitch"])
    dataset = store.open(folder / "cache").create("moods", clips, task=Classification(CLASSES))
    dataset.put("acoustic.pitch", pitch)
    return dataset


SETTINGS = Training(
    epochs=12,
    batch_size=8,
    learning_rate=1e-2,
    adam_epsilon=1e-8,
    acoustic_hidden=8,
    pseudo_tokens=1,
    encoder="attentive",
    place="before-answer",
    pseudo_scale="matched",
    residual=True,
    answer="head",
    keep="last",
    targets="distribution",
)


def job_of(dataset, tiny, **changes):
    settings = SETTINGS.model_copy(update=changes)
    return prepare(dataset, tiny, settings, choose_streams(dataset, asked={}), WORDING)


@pytest.mark.parametrize("answer", ["head", "spelled"])
def test_what_annotators_disagree_about_is_learned_from_the_features(tmp_path, tiny, answer):
    job = job_of(moods(tmp_path), tiny, answer=answer)
    trained = fit_adapter(job, 1)
    given = [example.distribution for example in job.examples[Split.TEST]]
    marginal = np.mean([example.distribution for example in job.examples[Split.TRAIN]], axis=0)
    guessed = metrics.distribution_distances([marginal.tolist()] * len(given), given)
    found = trained.calibration[Split.TEST]
    assert found["distributions"] == 12
    assert found["KL"] < guessed["KL"] / 4
    assert found["JSD"] < guessed["JSD"] / 4
    assert found["cosine"] > guessed["cosine"]
    assert trained.scores[Split.TEST]["weight_F1"] == 1.0


def test_a_run_tells_of_votes_and_scores_labels_alone(tmp_path, tiny):
    dataset = moods(tmp_path)
    job = job_of(dataset, tiny, epochs=1)
    assert [len(job.examples[split]) for split in Split] == [48, 12, 12]
    (one,) = train(job, tmp_path / "runs", [1])
    result = json.loads((one.folder / "result.json").read_text())
    assert {"ECE", "KL", "JSD", "cosine", "distributions"} == set(result["calibration"]["test"])
    assert (
        "4 of 12 clips of the test split have votes and no label: metrics of classes are of the others."
        in (result["alarms"])
    )
    rows = pq.read_table(one.folder / "predictions.parquet").to_pylist()
    assert [row["target"] for row in rows if row["split"] == "test"][:3] == [2, None, 1]
    assert len(read_predictions(one.folder / "predictions.parquet", "test")[1]) == 8
    found = evaluate(one.folder, dataset)
    assert (found.labelled, found.remarks) == (8, ())
    assert found.seeds[0].metrics == pytest.approx(result["test"], nan_ok=True)
    assert found.seeds[0].calibration == pytest.approx(result["calibration"]["test"], abs=1e-5)
    assert [prediction.target for prediction in found.predictions[:3]] == ["anger", None, "joy"]


def test_labels_are_learned_as_ever_and_compared_with_votes(tmp_path, tiny):
    job = job_of(moods(tmp_path), tiny, targets="label")
    assert len(job.examples[Split.TRAIN]) == 32
    assert not any(example.distribution for example in job.examples[Split.TRAIN])
    assert job.batcher.batch(job.examples[Split.TRAIN][:4]).distributions is None
    assert "targets" not in job.about["training"]
    assert len(job.examples[Split.TEST]) == 12


def test_a_clip_without_votes_is_learned_by_its_label(tmp_path, tiny):
    dataset = moods(tmp_path, change=lambda clip: replace(clip, distribution={}) if clip.id == "train/0" else clip)
    job = job_of(dataset, tiny, class_weights="balanced")
    batch = job.batcher.batch(job.examples[Split.TRAIN][:2])
    assert_close(batch.distributions, torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.5, 0.5]]))
    # Of 48 clips 24 are joy and 24 are anger, but for the one that is anger altogether.
    assert job.weights.tolist() == pytest.approx([1.0, 24 / 23.9, 24 / 24.1])


@pytest.mark.parametrize("targets", ["label", "distribution"])
def test_corrected_votes_are_other_data(tmp_path, tiny, targets):
    digests = [
        job_of(moods(tmp_path / str(joy), change=lambda clip, joy=joy: with_joy(clip, joy)), tiny, targets=targets).data
        for joy in (0.7, 0.8)
    ]
    assert digests[0].digests()["label"] != digests[1].digests()["label"]
    assert {name for name, value in digests[0].digests().items() if value != digests[1].digests()[name]} == {"label"}


def with_joy(clip, joy):
    changed = {"neutral": 0.0, "joy": joy, "anger": 1 - joy}
    return replace(clip, distribution=changed) if clip.id == "train/2" else clip


def test_a_dry_run_shows_a_clip_without_label_with_its_likeliest_answer(tmp_path, tiny):
    dataset = moods(tmp_path, change=lambda clip: replace(clip, label=None) if clip.id == "train/0" else clip)
    told = dry_run(job_of(dataset, tiny, answer="spelled"), dataset, choose_streams(dataset, asked={}), WORDING)
    assert (told.prompt.example_clip, told.prompt.example[-1].piece) == ("train/0", "2")
    assert told.clips == {"train": 48, "valid": 12, "test": 12}


def test_distributions_that_are_not_there_cannot_be_learned(tmp_path, tiny, made_dataset):
    without = moods(tmp_path / "a", change=lambda clip: replace(clip, distribution={}))
    with pytest.raises(UsageError, match=r"no clip in the train split of moods has annotators' votes.*votes_CLASS"):
        job_of(without, tiny)
    with pytest.raises(UsageError, match="targets: distribution is for classes"):
        job_of(made_dataset("regression"), tiny)
    foreign = moods(tmp_path / "b", change=lambda clip: replace(clip, distribution={"sad": 1.0}))
    with pytest.raises(UsageError, match=r"The clip train/0 cannot be trained on.*'sad'"):
        job_of(foreign, tiny)
    undecided = moods(tmp_path / "c", change=lambda c: replace(c, label=None) if c.split == Split.VALID else c)
    with pytest.raises(UsageError, match="no labelled clip in its valid split"):
        job_of(undecided, tiny)
