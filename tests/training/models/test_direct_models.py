"""Models without a backbone: what they read, that padding does not matter, and what they learn."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from benchmarks.made_models import EPOCHS, RATES, SMALL, TOLD_BY, TRAINED, made
from mse_pipeline.adapter import AdapterConfig, build
from mse_pipeline.clip import Split
from mse_pipeline.errors import UsageError
from mse_pipeline.training.answering import direct_scores, score_clips
from mse_pipeline.training.loop import fit_adapter
from mse_pipeline.training.models.mult import Block, positions
from mse_pipeline.training.models.tfn import tensor_fusion
from tests.training.models.conftest import job_of

ALL = tuple(name for name in SMALL if name not in {"linear", "mag-bert"})
"""Without those that have a file of tests of their own for all of this."""
LEARNING = tuple(name for name in ALL if name != "lfmim")
"""Without the one that takes too long to learn here."""
READS_TEXT = ("chfn-style", "unimse-style", "unisa-finetune")
"""Models that move words, or speak them: they cannot go without a text."""


@pytest.fixture(scope="module")
def told_by(tmp_path_factory):
    """Datasets of two classes, told by one modality alone, or by the exclusive or of text and acoustic."""
    return {by: made(tmp_path_factory.mktemp(by), by) for by in TOLD_BY}


def accuracy(dataset, name, options, epochs, **more):
    given = {**TRAINED, "epochs": epochs, "learning_rate": RATES.get(name, 1e-2), "model_options": options, **more}
    return fit_adapter(job_of(dataset, name, **given), 2).scores[Split.TEST]["acc"]


def among(names, slow):
    """Cases of the models, those of some of them left out by `make test`: transformers of 10 ms a step."""
    return [pytest.param(name, marks=pytest.mark.slow) if name in slow else name for name in names]


@pytest.mark.parametrize("name", ["linear", *LEARNING])
@pytest.mark.parametrize("by", ["acoustic", "text"])
def test_what_one_modality_tells_is_learned(told_by, small, name, by):
    assert accuracy(told_by[by], name, small(name), 10 if name == "mult" else 12) > 0.9


@pytest.mark.parametrize("name", among(["linear", *LEARNING], slow=READS_TEXT))
def test_so_is_what_the_picture_tells(told_by, small, name):
    assert accuracy(told_by["visual"], name, small(name), 10 if name == "mult" else 12) > 0.9


@pytest.mark.parametrize("name", among(["linear", *LEARNING], slow=["unimse-style"]))
def test_an_exclusive_or_is_learned_by_all_but_a_linear_model(told_by, small, name):
    epochs = EPOCHS.get(name, 10 if name == "mult" else 20)
    assert (accuracy(told_by["xor"], name, small(name), epochs) > 0.85) == (name != "linear")


@pytest.mark.slow
def test_so_it_is_by_lfmim(told_by, small):
    assert accuracy(told_by["xor"], "lfmim", small("lfmim"), EPOCHS["lfmim"]) > 0.85


@pytest.mark.parametrize("name", ["linear", *LEARNING])
def test_what_is_not_read_is_not_learned(told_by, small, name):
    size = 12 if name == "linear" else 48
    assert 0.25 < accuracy(told_by["acoustic"], name, small(name), 20, without=("acoustic",), batch_size=size) < 0.75


def changed(chosen, streams_of):
    return [replace(one, text=text) for one, text in zip(chosen, streams_of, strict=False)]


@pytest.mark.parametrize("name", ALL)
def test_padding_and_the_clips_beside_do_not_matter(job, small, name):
    made = job(name, model_options=small(name))
    torch.manual_seed(1)
    model = build(made.config).eval()
    chosen = changed(made.examples[Split.TRAIN][:3], ("", "so", "we go there so it is"))
    together = score_clips(made, model, chosen)
    alone = torch.cat([score_clips(made, model, [one]) for one in chosen])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    batch = made.batcher.batch(chosen)
    padding = torch.full((3, 4, batch.acoustic.shape[2]), float("nan"))
    longer = replace(batch, acoustic=torch.cat([batch.acoustic, padding], 1))
    with torch.no_grad():
        torch.testing.assert_close(direct_scores(model, made.answers, longer), together, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_a_clip_without_a_stream_and_one_alone_in_its_batch_are_learned(job, small, name):
    from mse_pipeline.training.answering import direct_loss

    made = job(name, model_options=small(name))
    model = build(made.config).train()
    batch = made.batcher.batch(made.examples[Split.TRAIN][:1])
    silent = replace(batch, acoustic=torch.zeros(1, 1, batch.acoustic.shape[2]), acoustic_lengths=torch.tensor([0]))
    loss = direct_loss(made, model, silent)
    loss.backward()
    assert torch.isfinite(loss)
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    assert all(torch.isfinite(one).all() for one in gradients)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("without", [("acoustic",), ("acoustic", "visual"), ("text",), ("text", "visual")])
def test_any_modality_may_be_missing_from_a_dataset(job, small, name, without):
    if "text" in without and name in READS_TEXT:
        with pytest.raises(UsageError, match="cannot be trained --without text"):
            job(name, without=without, model_options=small(name))
        return
    made = job(name, without=without, model_options=small(name))
    scores = score_clips(made, build(made.config).eval(), made.examples[Split.TEST])
    assert scores.shape == (9, 3)
    torch.testing.assert_close(scores.exp().sum(1), torch.ones(9))


@pytest.mark.parametrize("name", LEARNING)
def test_numbers_are_learned(job, small, name):
    rate = 3e-3 if name == "mult" else RATES.get(name, 1e-2)
    epochs = 60 if name == "unimse-style" else 25
    settings = {"epochs": epochs, "learning_rate": rate, "adam_epsilon": 1e-8, "keep": "last"}
    trained = fit_adapter(job(name, "regression", model_options=small(name), **settings), 1)
    assert trained.scores[Split.TEST]["Corr"] > 0.8


def test_the_tensor_holds_every_product_of_its_factors():
    a, b, c = torch.tensor([[2.0, 3.0]]), torch.tensor([[5.0]]), torch.tensor([[7.0]])
    found = sorted(tensor_fusion([a, b, c])[0].tolist())
    assert found == sorted(x * y * z for x in (2.0, 3.0, 1.0) for y in (5.0, 1.0) for z in (7.0, 1.0))


def test_the_papers_tensor_has_129_times_33_times_33_values():
    with torch.device("meta"):
        config = AdapterConfig(hidden_size=32, acoustic_dim=74, visual_dim=35, model="tfn", head=1)
        assert build(config).inference[1].in_features == 129 * 33 * 33


def test_positions_are_sinusoids_also_of_odd_widths():
    made = positions(4, 5)
    assert made.shape == (4, 5)
    torch.testing.assert_close(made[:, 0], torch.arange(4.0).sin())
    torch.testing.assert_close(made[:, 1], torch.arange(4.0).cos())


def test_a_block_of_which_one_row_is_wanted_makes_of_it_what_it_makes_of_all():
    torch.manual_seed(0)
    block, rows, lengths = Block(8, 2, 0.1).eval(), torch.randn(3, 5, 8), torch.tensor([5, 2, 1])
    padding, last = torch.arange(5) >= lengths[:, None], (lengths - 1)[:, None]
    with torch.no_grad():
        every, one = block(rows, None, padding), block(rows, None, padding, last)
    torch.testing.assert_close(one[:, 0], every[torch.arange(3), lengths - 1])


def test_mult_refuses_heads_that_do_not_share_its_width(job):
    with pytest.raises(UsageError, match="its width 10 is no multiple of its 4 heads"):
        build(job("mult", model_options={"width": 10, "heads": 4}).config)
