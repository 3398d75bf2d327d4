"""lfmim: what flows where, sizes of both presets, and its four losses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mse_pipeline.adapter import AdapterConfig, build
from mse_pipeline.clip import Split
from mse_pipeline.errors import UsageError
from mse_pipeline.training.answering import direct_loss
from mse_pipeline.training.models.lfmim import LAYERS, Block, sampled
from mse_pipeline.training.models.sequences import Sequence

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


def test_an_unknown_preset_is_told(job):
    with pytest.raises(UsageError, match="one of paper, released"):
        build(job("lfmim", model_options={"preset": "mine"}).config)
