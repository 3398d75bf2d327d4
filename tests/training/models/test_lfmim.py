"""lfmim: what flows where, sizes of both presets, and its four losses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mse_pipeline import store
from mse_pipeline.adapter import AdapterConfig, build
from mse_pipeline.clip import Split
from mse_pipeline.errors import UsageError
from mse_pipeline.training.answering import BatchLoss, direct_loss
from mse_pipeline.training.examples import LABELLED, UNKNOWN
from mse_pipeline.training.models.lfmim import LAYERS, Block, sampled
from mse_pipeline.training.models.sequences import Sequence
from tests.training.models.conftest import job_of

SMALL = {"words": 8, "width": 32, "heads": 2}


@pytest.fixture
def made(job):
    """A job, its model and a batch."""

    def make(preset="paper"):
        one = job("lfmim", model_options={**SMALL, "preset": preset})
        torch.manual_seed(4)
        return one, build(one.config).eval(), one.batcher.batch(one.examples[Split.TRAIN][:3])

    return make


@pytest.mark.parametrize("preset", ["paper", "released"])
def test_what_is_heard_reaches_its_own_and_the_multimodal_branch_alone(made, preset):
    _, model, batch = made(preset)
    with torch.no_grad():
        before = {"all": model(batch), **model.branches}
        other = replace(batch, acoustic=batch.acoustic + 1)
        after = {"all": model(other), **model.branches}
    assert {name for name, values in before.items() if not torch.equal(values, after[name])} == {"all", "acoustic"}


def test_gradients_of_a_modalitys_loss_reach_nothing_of_the_multimodal_branch(made):
    job, model, batch = made()
    model(batch)
    model.branches["text"].sum().backward()
    assert all(
        weight.grad is None for part in ("blocks", "heads") for weight in getattr(model, part)["all"].parameters()
    )
    model.zero_grad()
    model(batch).sum().backward()
    assert all(
        weight.grad.abs().sum() > 0 for weight in model.blocks["text"][0].parameters() if weight.grad is not None
    )
    assert job.config.model == "lfmim"


def test_without_its_own_share_the_multimodal_branch_reads_pure_modalities(made):
    _, model, _ = made()
    own, back = torch.randn(1, 2, 32), torch.randn(1, 2, 32)
    with torch.no_grad():
        model.alpha["text"].copy_(torch.tensor([[1.0, 0.0]] * LAYERS))
    assert torch.equal(model._mixed("text", 2, own, back), own)


def test_the_loss_is_the_sum_of_four(made):
    job, model, batch = made()
    from mse_pipeline.training.objective import scores_loss
    from mse_pipeline.training.reading import value_scores

    with torch.no_grad():
        loss, values = direct_loss(job, model, batch), model(batch)
        parts = [values, *model.branches.values()]
        single = [scores_loss(value_scores(one, None, job.answers), batch.targets) for one in parts]
    assert len(single) == 4
    torch.testing.assert_close(loss, sum(single))


def test_long_streams_are_sampled_and_short_ones_padded():
    values = torch.arange(8.0)[None, :, None].repeat(2, 1, 1)
    rows, padding = sampled(Sequence(values, torch.tensor([8, 2]), torch.tensor([True, True])), 4)
    assert rows.squeeze(2).tolist() == [[0, 2, 4, 6], [0, 1, 0, 0]]
    assert padding.tolist() == [[False] * 4, [False, False, True, True]]


def size_of(**options):
    config = AdapterConfig(
        hidden_size=32, acoustic_dim=1024, visual_dim=2048, model="lfmim", head=7, options={"words": 1024, **options}
    )
    with torch.device("meta"):
        made = build(config)
    return sum(weight.numel() for weight in made.parameters()) - made.reader.words.weight.numel()


def test_the_released_preset_has_the_papers_code_in_full_but_for_what_it_never_uses():
    assert size_of(preset="released") == 266_521_808


def test_the_papers_blocks_have_three_million_parameters():
    with torch.device("meta"):
        assert 16 * sum(weight.numel() for weight in Block(128, 8).parameters()) == 3_180_544


@pytest.fixture
def labelled(made_dataset):
    """The made dataset, whose clips have labels of some modalities: of each the next class, or a lower number."""

    def make(kind="classification", modalities=LABELLED, of=lambda clip: True):
        dataset = made_dataset(kind)
        task = dataset.manifest.task

        def other(label, step):
            return task.classes[(task.classes.index(label) + step) % 3] if isinstance(label, str) else label / step

        clips = [
            replace(clip, labels={name: other(clip.label, 1 + step) for step, name in enumerate(modalities)})
            if of(clip)
            else clip
            for clip in dataset.clips
        ]
        return store.open(dataset.path.parent).create("made", clips, task=task)

    return make


def loss_by(job, batch, targets):
    torch.manual_seed(4)
    model = build(job.config).eval()
    with torch.no_grad():
        found = direct_loss(job, model, batch)
        losses = BatchLoss(job, model, batch)
        whole = losses(model(batch))
        own = [losses(model.branches[name], targets(place)) for place, name in enumerate(LABELLED)]
    return found, whole + sum(own)


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_each_branch_learns_the_label_of_its_modality_where_there_is_one(labelled, kind):
    job = job_of(labelled(kind), "lfmim", model_options=SMALL)
    assert (job.config.options["labels"], job.about["model"]) == ("modality", {"labels": "modality"})
    batch = job.batcher.batch(job.examples[Split.TRAIN][:6])
    assert not torch.equal(batch.own_targets[:, 1], batch.targets)
    found, expected = loss_by(job, batch, lambda place: batch.own_targets[:, place])
    torch.testing.assert_close(found, expected)
    assert type(build(job.config)).adaptation(job.config).startswith("each branch by its own label, padding masked")


def test_a_clip_without_such_a_label_stands_in_with_its_own(labelled):
    job = job_of(labelled(of=lambda clip: clip.id != "train/0"), "lfmim", model_options=SMALL)
    batch = job.batcher.batch(job.examples[Split.TRAIN][:2])
    assert batch.own_targets[0].tolist() == [UNKNOWN] * 3
    targets = torch.stack([batch.targets[0].expand(3), batch.own_targets[1]])
    found, expected = loss_by(job, batch, lambda place: targets[:, place])
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("modalities", "without", "asked", "learned"),
    [
        ((), (), "auto", "multimodal"),
        (("text", "acoustic"), (), "auto", "multimodal"),
        (("text", "acoustic"), ("visual",), "auto", "modality"),
        (LABELLED, (), "multimodal", "multimodal"),
    ],
)
def test_labels_that_are_not_all_there_or_not_wanted_are_left_out(labelled, modalities, without, asked, learned):
    job = job_of(labelled(modalities=modalities), "lfmim", without=without, model_options={**SMALL, "labels": asked})
    assert job.config.options["labels"] == learned
    if learned == "multimodal":
        assert "model" not in job.about
        assert type(build(job.config)).adaptation(job.config).startswith("LFMIM-ML, padding masked")


def test_labels_that_are_not_there_or_not_of_the_task_are_told(labelled, made_dataset):
    with pytest.raises(UsageError, match=r"no clip of the train split has a label of visual.*label_text"):
        job_of(labelled(modalities=("text", "acoustic")), "lfmim", model_options={**SMALL, "labels": "modality"})
    dataset = made_dataset()
    clips = [replace(clip, labels={"text": "bliss"}) for clip in dataset.clips]
    dataset = store.open(dataset.path.parent).create("made", clips, task=dataset.manifest.task)
    with pytest.raises(UsageError, match=r"train/0 has a label of a modality.*bliss.*labels=multimodal"):
        job_of(dataset, "lfmim", model_options=SMALL)
    assert job_of(dataset, "lfmim", model_options={**SMALL, "labels": "multimodal"}).config.model == "lfmim"


def test_an_unknown_preset_is_told(job):
    with pytest.raises(UsageError, match="one of paper, released"):
        build(job("lfmim", model_options={"preset": "mine"}).config)
    with pytest.raises(UsageError, match="labels is one of auto, modality, multimodal"):
        job("lfmim", model_options={"labels": "mine"})
