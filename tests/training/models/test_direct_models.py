"""Models without a backbone: what they read, that padding does not matter, and what they learn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mse_pipeline import store
from mse_pipeline.adapter import AdapterConfig, build
from mse_pipeline.clip import Clip, Split
from mse_pipeline.errors import UsageError
from mse_pipeline.store.features import Features
from mse_pipeline.task import Classification
from mse_pipeline.training.answering import direct_scores, score_clips
from mse_pipeline.training.loop import fit_adapter
from mse_pipeline.training.models.mult import positions
from mse_pipeline.training.models.tfn import tensor_fusion
from tests.training.models.conftest import job_of

SMALL = {
    "lf-dnn": {"words": 8, "width": 16, "fused": 16},
    "tfn": {"words": 8, "text": 8, "others": 8, "width": 16},
    "mult": {"words": 8, "width": 16, "heads": 2, "layers": 1},
}
ALL = {**SMALL, "lfmim": {"words": 8, "width": 32, "heads": 2}}
"""With the one that takes too long to learn here."""
COUNT = {Split.TRAIN: 96, Split.VALID: 24, Split.TEST: 48}


@pytest.fixture(scope="module")
def told_by(tmp_path_factory):
    """Datasets of two classes, told by one modality alone, or by the exclusive or of text and acoustic."""

    def make(by):
        rng = np.random.default_rng(5)
        clips, rows = [], {"acoustic": {}, "visual": {}}
        for split, count in COUNT.items():
            for n in range(count):
                signs = dict(zip(("text", "acoustic", "visual"), rng.integers(0, 2, 3).tolist(), strict=True))
                right = signs["text"] ^ signs["acoustic"] if by == "xor" else signs[by]
                text = f"well it is {('nay', 'aye')[signs['text']]} then"
                clips.append(Clip(id=f"{split}/{n}", split=split, text=text, label=("no", "yes")[right]))
                for modality, stream in rows.items():
                    values = rng.normal(size=(rng.integers(2, 5), 3)) * 0.3 + (2 * signs[modality] - 1)
                    edges = np.arange(len(values) + 1.0)
                    times = np.stack([edges[:-1], edges[1:]], 1)
                    stream[clips[-1].id] = Features(values, times, np.ones(len(values), bool), ("a", "b", "c"))
        dataset = store.open(tmp_path_factory.mktemp(by)).create("made", clips, task=Classification(("no", "yes")))
        for modality, stream in rows.items():
            dataset.put(f"{modality}.made", stream)
        return dataset

    return {by: make(by) for by in ("acoustic", "visual", "text", "xor")}


def accuracy(dataset, name, **more):
    epochs = 10 if name == "mult" else 20
    settings = {"epochs": epochs, "learning_rate": 1e-2, "adam_epsilon": 1e-8, "keep": "last", "warm_up": 0.0}
    made = job_of(dataset, name, model_options=SMALL.get(name, {}), **settings, **more)
    return fit_adapter(made, 2).scores[Split.TEST]["acc"]


@pytest.mark.parametrize("name", ["linear", *SMALL])
@pytest.mark.parametrize("by", ["acoustic", "visual", "text"])
def test_what_one_modality_tells_is_learned(told_by, name, by):
    assert accuracy(told_by[by], name) > 0.9


@pytest.mark.parametrize("name", ["linear", *SMALL])
def test_an_exclusive_or_is_learned_by_all_but_a_linear_model(told_by, name):
    assert (accuracy(told_by["xor"], name) > 0.85) == (name != "linear")


@pytest.mark.parametrize("name", ["linear", *SMALL])
def test_what_is_not_read_is_not_learned(told_by, name):
    without = {} if name == "linear" else {"batch_size": 48}
    assert 0.25 < accuracy(told_by["acoustic"], name, without=("acoustic",), **without) < 0.75


def changed(chosen, streams_of):
    return [replace(one, text=text) for one, text in zip(chosen, streams_of, strict=False)]


@pytest.mark.parametrize("name", ALL)
def test_padding_and_the_clips_beside_do_not_matter(job, name):
    made = job(name, model_options=ALL[name])
    torch.manual_seed(1)
    model = build(made.config).eval()
    chosen = changed(made.examples[Split.TRAIN][:3], ("", "so", "a longer text than the other one"))
    together = score_clips(made, model, chosen)
    alone = torch.cat([score_clips(made, model, [one]) for one in chosen])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    batch = made.batcher.batch(chosen)
    padding = torch.full((3, 4, batch.acoustic.shape[2]), float("nan"))
    longer = replace(batch, acoustic=torch.cat([batch.acoustic, padding], 1))
    with torch.no_grad():
        torch.testing.assert_close(direct_scores(model, made.answers, longer), together, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_a_clip_without_a_stream_and_one_alone_in_its_batch_are_learned(job, name):
    from mse_pipeline.training.answering import direct_loss

    made = job(name, model_options=ALL[name])
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
def test_any_modality_may_be_missing_from_a_dataset(job, name, without):
    made = job(name, without=without, model_options=ALL[name])
    scores = score_clips(made, build(made.config).eval(), made.examples[Split.TEST])
    assert scores.shape == (9, 3)
    torch.testing.assert_close(scores.exp().sum(1), torch.ones(9))


@pytest.mark.parametrize("name", SMALL)
def test_a_training_goes_on_as_if_it_had_not_been_interrupted(job, name, tmp_path, monkeypatch):
    from mse_pipeline.training import step

    made = job(name, epochs=2, dropout=0.1, model_options=SMALL[name])
    whole = fit_adapter(made, 1)
    plain, taken = step.direct_loss, []

    def stops(*given):
        taken.append(1)
        if len(taken) == 4:  # in the second epoch
            raise KeyboardInterrupt
        return plain(*given)

    monkeypatch.setattr(step, "direct_loss", stops)
    with pytest.raises(KeyboardInterrupt):
        fit_adapter(made, 1, checkpoint=tmp_path / "checkpoint.pt")
    monkeypatch.setattr(step, "direct_loss", plain)
    resumed = fit_adapter(made, 1, checkpoint=tmp_path / "checkpoint.pt")
    for one, other in zip(whole.adapter.parameters(), resumed.adapter.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", SMALL)
def test_numbers_are_learned(job, name):
    settings = {"epochs": 25, "learning_rate": 3e-3 if name == "mult" else 1e-2, "adam_epsilon": 1e-8, "keep": "last"}
    trained = fit_adapter(job(name, "regression", model_options=SMALL[name], **settings), 1)
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


def test_mult_refuses_heads_that_do_not_share_its_width(job):
    with pytest.raises(UsageError, match="its width 10 is no multiple of its 4 heads"):
        build(job("mult", model_options={"width": 10, "heads": 4}).config)
