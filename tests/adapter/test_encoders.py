"""Encoders: their sizes, and that nothing behind a clip's end has any influence."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mse_pipeline.adapter import AdapterConfig, MSEAdapter
from mse_pipeline.adapter.config import ENCODER_NAMES
from mse_pipeline.adapter.encoders import ENCODERS, AttentiveStatistics
from tests.closeness import assert_close

LENGTHS = torch.tensor([7, 1, 0, 4])


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def made(name, *, dims=5, hidden=16, width=8, dropout=0.0):
    torch.manual_seed(0)
    return ENCODERS[name](dims, hidden, width, dropout=dropout).eval()


def rows(length=7):
    return torch.randn(4, 9, 5, generator=torch.Generator().manual_seed(1))[:, :length]


def test_the_configuration_knows_the_encoders():
    assert set(ENCODER_NAMES) == set(ENCODERS)


@pytest.mark.parametrize("name", ["attentive", "bilstm-attentive"])
@pytest.mark.parametrize("dims", [1, 25, 74, 768])
@pytest.mark.parametrize("hidden", [16, 32, 64, 200])
def test_none_has_more_parameters_than_the_lstm_in_whose_place_it_stands(name, dims, hidden):
    of_lstm = parameters(ENCODERS["lstm"](dims, hidden, 256))
    assert 0.8 * of_lstm < parameters(ENCODERS[name](dims, hidden, 256)) <= of_lstm


@pytest.mark.parametrize("name", ENCODER_NAMES)
def test_what_lies_behind_the_end_has_no_influence(name):
    encoder = made(name)
    whole = encoder(rows(), LENGTHS)
    spoilt = rows(9).clone()
    for clip, length in enumerate(LENGTHS.tolist()):
        spoilt[clip, length:] = torch.nan
    assert_close(encoder(spoilt, LENGTHS), whole)
    for clip, length in enumerate(LENGTHS.tolist()):
        if length:
            alone = encoder(rows()[clip : clip + 1, :length], LENGTHS[clip : clip + 1])
            assert_close(alone[0], whole[clip])
    assert whole[2].tolist() == [0.0] * 8


@pytest.mark.parametrize("name", ENCODER_NAMES)
def test_gradients_are_finite_for_rows_that_do_not_vary(name):
    encoder = made(name).train()
    encoder(torch.ones(4, 7, 5), LENGTHS).sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())
    assert all(torch.isfinite(parameter.grad).all() for parameter in encoder.parameters())


@pytest.mark.parametrize("name", ENCODER_NAMES)
def test_the_middle_of_a_clip_counts(name):
    encoder, before = made(name), rows()
    after = before.clone()
    after[:, 3] += 1.0
    moved = (encoder(after, LENGTHS) - encoder(before, LENGTHS)).abs().amax(1)
    assert (moved > 0).tolist() == [True, False, False, True]


def test_statistics_without_a_preference_are_mean_and_deviation():
    pool = AttentiveStatistics(3)
    nn.init.zeros_(pool.weigh.weight)
    nn.init.zeros_(pool.weigh.bias)
    values = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(2))
    mask = torch.arange(5) < torch.tensor([[5], [3]])
    for clip, count in enumerate((5, 3)):
        own = values[clip, :count]
        assert_close(pool(values, mask)[clip], torch.cat([own.mean(0), own.std(0, correction=0)]))


@pytest.mark.parametrize("name", ENCODER_NAMES)
def test_dropout_is_of_training_alone(name):
    encoder = made(name, dropout=0.5)
    assert torch.equal(encoder(rows(), LENGTHS), encoder(rows(), LENGTHS))
    encoder.train()
    assert not torch.equal(encoder(rows(), LENGTHS), encoder(rows(), LENGTHS))


def test_lstm_draws_the_weights_that_it_always_drew():
    torch.manual_seed(0)
    rnn, linear = nn.LSTM(5, 16, batch_first=True), nn.Linear(16, 8)
    encoder = made("lstm")
    assert torch.equal(encoder.rnn.weight_hh_l0, rnn.weight_hh_l0)
    assert torch.equal(encoder.linear.weight, linear.weight)


def test_pseudo_tokens_begin_as_large_as_they_are_told():
    torch.manual_seed(0)
    config = AdapterConfig(hidden_size=64, acoustic_dim=5, visual_dim=None, pseudo_size=0.125, pseudo_tokens=3)
    tokens = MSEAdapter(config)(rows(), LENGTHS, None, None, torch.randn(4, 2, 64), torch.ones(4, 2))
    assert tokens.pow(2).mean(2).sqrt().flatten().tolist() == pytest.approx([0.125] * 12, rel=1e-3)
