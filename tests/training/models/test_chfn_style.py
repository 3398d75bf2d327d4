"""chfn-style: what moves words and how far, what does not matter, and its sizes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from benchmarks.made_models import small_encoder
from mse_pipeline.adapter import AdapterConfig, build
from mse_pipeline.clip import Split
from mse_pipeline.errors import UsageError
from mse_pipeline.training.answering import score_clips
from mse_pipeline.training.models.chfn_style import HyperFusion, ShiftLayer


@pytest.fixture
def model_of(job, small):
    def make(**options):
        made = job("chfn-style", model_options={**small("chfn-style"), **options})
        torch.manual_seed(4)
        return build(made.config).eval(), made.batcher.batch(made.examples[Split.TRAIN][:3])

    return make


def parts(seed=0):
    """Words, acoustic rows and visual rows of two clips, of width 8."""
    torch.manual_seed(seed)
    return torch.randn(2, 5, 8), torch.randn(2, 4, 8), torch.randn(2, 3, 8)


def fused(fusion, words, *streams):
    hyper = torch.cat(streams, dim=1)
    with torch.no_grad():
        return fusion(words, hyper, torch.zeros(hyper.shape[:2], dtype=torch.bool))


def test_with_beta_0_nothing_that_is_heard_or_seen_matters(model_of):
    model, batch = model_of(beta=0.0)
    other = replace(batch, acoustic=batch.acoustic + 1, visual=-3 * batch.visual)
    with torch.no_grad():
        assert torch.equal(model(batch), model(other))
        model.fusion.beta = 1.0
        assert not torch.allclose(model(batch), model(other), atol=1e-4)


def test_rows_of_padding_do_nothing_bit_by_bit(model_of):
    model, batch = model_of()
    other = {}
    for name in ("acoustic", "visual"):
        rows, lengths = getattr(batch, name), getattr(batch, f"{name}_lengths")
        padding = torch.arange(rows.shape[1]) >= lengths[:, None]
        assert padding.any()
        other[name] = rows.masked_fill(padding.unsqueeze(2), 77.0)
    with torch.no_grad():
        assert torch.equal(model(batch), model(replace(batch, **other)))


def test_the_order_of_rows_and_of_streams_matters_by_positions_alone(model_of):
    words, acoustic, visual = parts()
    fusion = HyperFusion(8, 2, 2).eval()
    plain = fused(fusion, words, acoustic, visual)
    torch.testing.assert_close(fused(fusion, words, acoustic[:, [2, 0, 3, 1]], visual[:, [1, 2, 0]]), plain)
    torch.testing.assert_close(fused(fusion, words, visual, acoustic), plain)
    for positions in (False, True):
        model, batch = model_of(positions=positions)
        longest = int(batch.acoustic_lengths.argmax())
        last = int(batch.acoustic_lengths[longest]) - 1
        swapped = batch.acoustic.clone()
        swapped[longest, [0, last]] = batch.acoustic[longest, [last, 0]]
        with torch.no_grad():
            same = torch.allclose(model(batch), model(replace(batch, acoustic=swapped)), atol=1e-6)
        assert same == (not positions)


@pytest.mark.parametrize("beta", [0.1, 1.0, 2.0])
def test_no_layer_moves_a_word_farther_than_beta_allows(beta):
    words, acoustic, visual = parts()
    fusion = HyperFusion(8, 2, 3, beta=beta).eval()
    hyper = torch.cat([acoustic, visual], dim=1)
    with torch.no_grad():
        for scale in (1e-2, 1.0, 1e2):
            moving = scale * words
            for moved in fusion.displacements(moving, hyper, torch.zeros(2, 7, dtype=torch.bool)):
                assert (moved.norm(dim=2) <= beta * moving.norm(dim=2) * (1 + 1e-5)).all()
                moving = moving + moved


def test_with_bert_all_of_it_is_read_and_trained(job, small, tmp_path):
    folder = small_encoder(tmp_path / "bert", "bert")
    made = job("chfn-style", model_options={**small("chfn-style"), "encoder": str(folder)})
    model = build(made.config).eval()
    model.begin(made.backbone)
    chosen = [replace(one, text=text) for one, text in zip(made.examples[Split.TRAIN], ("", "so it is"), strict=False)]
    alone = torch.cat([score_clips(made, model, [one]) for one in chosen])
    torch.testing.assert_close(score_clips(made, model, chosen), alone, atol=1e-5, rtol=1e-5)
    model(made.batcher.batch(chosen)).sum().backward()
    assert all(weight.grad is not None for weight in model.bert.encoder.parameters())
    assert len(made.about["model"]["encoder"]) == 64
    assert (type(model).adaptation(made.config), model.reader.words) == ("written without the paper's text", None)


def test_its_layers_have_as_many_parameters_as_described():
    with torch.device("meta"):
        layer, layers = ShiftLayer(128, 4), HyperFusion(128, 4, 4)
    assert sum(weight.numel() for weight in layer.parameters()) == 198_272
    assert sum(weight.numel() for weight in layers.parameters()) == 793_344


@pytest.mark.parametrize(
    ("dims", "count"),
    [((74, 35), 112_256), ((25, 177), 124_160), ((64, 64), 114_688), ((1024, 2048), 491_520)],
    ids=["MOSEI", "SIMS v2", "MELD", "CHERMA"],
)
def test_its_projections_have_as_many_parameters_as_described(dims, count):
    config = AdapterConfig(
        hidden_size=32,
        acoustic_dim=dims[0],
        visual_dim=dims[1],
        model="chfn-style",
        head=1,
        options={"sizes": {"num_hidden_layers": 1}},
    )
    with torch.device("meta"):
        assert sum(weight.numel() for weight in build(config).project.parameters()) == count


def test_heads_that_do_not_share_the_width_are_refused(job):
    with pytest.raises(UsageError, match="width must be a multiple of heads, but is 10 with 4 heads"):
        build(job("chfn-style", model_options={"width": 10}).config)
