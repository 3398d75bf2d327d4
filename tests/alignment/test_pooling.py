"""Rows pool into segments by what they share with them, to the last hundredth."""

import itertools

import numpy as np
import pytest

from mse_pipeline.alignment.pooling import POOLS, overlaps, pooled, pooled_names, pooled_units


def steps(rng, rows=80, gaps=False):
    """Rows of uneven length; with gaps and overlaps where asked for."""
    edges = np.cumsum(rng.uniform(0.002, 0.05, rows + 1))
    rows = np.stack([edges[:-1], edges[1:]], axis=1)
    return rows + rng.uniform(-0.02, 0.02, rows.shape).clip(min=-0.001) if gaps else rows


def integral(values, rows, valid, start, end):
    """The mean over [start, end) of what a row says while it lasts, cut exactly at every edge, one piece at a time."""
    edges = np.unique(np.clip(np.r_[rows.ravel(), start, end], start, end))
    total, length = np.zeros(values.shape[1]), 0.0
    for left, right in itertools.pairwise(edges):
        for row in range(len(values)):
            if valid[row] and rows[row, 0] <= left and right <= rows[row, 1]:
                total += values[row] * (right - left)
                length += right - left
    return total / length


@pytest.mark.parametrize("gaps", [False, True])
def test_the_mean_is_the_integral(gaps):
    rng = np.random.default_rng(3)
    rows = steps(rng, gaps=gaps)
    values, valid = rng.normal(size=(len(rows), 3)), rng.random(len(rows)) > 0.2
    begins = rng.uniform(0, 1.5, 12)
    words = np.stack([begins, begins + rng.uniform(0.01, 0.5, 12)], axis=1)
    found, there = pooled(values, overlaps(rows, words, valid), "mean")
    for word in np.flatnonzero(there):
        np.testing.assert_allclose(found[word], integral(values, rows, valid, *words[word]), rtol=1e-9, atol=1e-12)


def test_a_row_that_covers_one_percent_of_a_word_counts_one_percent():
    found = overlaps(np.array([[0.0, 0.99], [0.99, 5.0]]), np.array([[0.0, 1.0]]), np.ones(2, bool))
    values, _ = pooled(np.array([[0.0], [100.0]]), found, "mean")
    assert values[0, 0] == pytest.approx(1.0, abs=1e-12)


def test_functionals_are_those_of_the_weighted_rows():
    rng = np.random.default_rng(0)
    # Rows of 10, 20 and 30 ms weigh as one, two and three rows of 10 ms do.
    rows = np.array([[0.00, 0.01], [0.01, 0.03], [0.03, 0.06]])
    values = rng.normal(size=(3, 2))
    found, _ = pooled(values, overlaps(rows, np.array([[0.0, 0.06]]), np.ones(3, bool)), "functionals")
    even = np.repeat(values, [1, 2, 3], axis=0)
    weights, middles = np.array([1, 2, 3]), rows.mean(axis=1)
    slopes = [np.polyfit(middles, column, 1, w=np.sqrt(weights))[0] for column in values.T]
    expected = np.stack([even.mean(0), even.std(0), even.min(0), even.max(0), np.ptp(even, axis=0), slopes], axis=1)
    np.testing.assert_allclose(found.reshape(2, 6), expected, rtol=1e-9)


def test_of_a_single_row_spread_and_slope_are_zero():
    found, _ = pooled(
        np.array([[7.0]]), overlaps(np.array([[0.3, 0.31]]), np.array([[0.0, 1.0]]), [True]), "functionals"
    )
    assert found.tolist() == [[7, 0, 7, 7, 0, 0]]


def test_invalid_rows_never_count():
    found = overlaps(np.array([[0, 1], [1, 2]], float), np.array([[0, 2]], float), np.array([True, False]))
    for pool in POOLS:
        assert 99.0 not in pooled(np.array([[1.0], [99.0]]), found, pool)[0]


def test_a_segment_without_rows_is_zero_and_not_valid():
    found = overlaps(np.array([[0, 1]], float), np.array([[0, 1], [1, 2], [0.5, 0.5]], float), np.ones(1, bool))
    values, valid = pooled(np.array([[3.0]]), found, "max")
    assert valid.tolist() == [True, False, False]
    assert values.tolist() == [[3.0], [0.0], [0.0]]


def test_segments_and_rows_may_come_in_any_order():
    rng = np.random.default_rng(1)
    rows, values = steps(rng, gaps=True), rng.normal(size=(80, 2))
    words = np.array([[0.1, 0.4], [0.2, 0.9], [1.0, 1.1]])
    straight = pooled(values, overlaps(rows, words, np.ones(80, bool)), "functionals")[0]
    mixed = rng.permutation(80)
    turned = pooled(values[mixed], overlaps(rows[mixed], words[::-1], np.ones(80, bool)), "functionals")[0]
    np.testing.assert_allclose(turned[::-1], straight, rtol=1e-9, atol=1e-12)


def test_hours_are_gathered_in_blocks(monkeypatch):
    rng = np.random.default_rng(2)
    rows, values = steps(rng), rng.normal(size=(80, 3))
    words = np.stack([np.arange(0, 2, 0.1), np.arange(0, 2, 0.1) + 0.15], axis=1)
    whole = pooled(values, overlaps(rows, words, np.ones(80, bool)), "functionals")
    monkeypatch.setattr("mse_pipeline.alignment.pooling._BLOCK", 10)
    parts = pooled(values, overlaps(rows, words, np.ones(80, bool)), "functionals")
    np.testing.assert_array_equal(parts[0], whole[0])
    np.testing.assert_array_equal(parts[1], whole[1])


def test_nothing_pools_to_nothing():
    empty = overlaps(np.zeros((0, 2)), np.array([[0.0, 1.0]]), np.zeros(0, bool))
    assert pooled(np.zeros((0, 4)), empty, "functionals")[0].shape == (1, 24)
    none = overlaps(np.array([[0.0, 1.0]]), np.zeros((0, 2)), np.ones(1, bool))
    assert pooled(np.zeros((1, 4)), none, "mean")[0].shape == (0, 4)


@pytest.mark.parametrize("pool", sorted(POOLS))
def test_names_and_units_have_one_place_a_value(pool):
    values, _ = pooled(np.ones((1, 2)), overlaps(np.array([[0.0, 1.0]]), np.array([[0.0, 1.0]]), [True]), pool)
    names = pooled_names(["f0", "loudness"], pool)
    assert len(set(names)) == len(pooled_units(["Hz", ""], pool)) == values.shape[1]


def test_a_long_row_is_found_below_short_ones_that_end_before_it():
    rows = np.array([[0.0, 10.0], [1.0, 2.0], [3.0, 4.0]])
    pairs = overlaps(rows, np.array([[5.0, 6.0], [3.5, 6.0]]), np.ones(3, bool))
    assert sorted(zip(pairs.segment.tolist(), pairs.row.tolist(), strict=True)) == [(0, 0), (1, 0), (1, 2)]


@pytest.mark.parametrize("start", [0.0, 60.0, 36_000.0])
@pytest.mark.parametrize("slope", [3.0, -0.25])
def test_a_slope_is_as_exact_ten_hours_into_a_recording(start, slope):
    edges = start + np.arange(21) * 0.01
    rows = np.stack([edges[:-1], edges[1:]], axis=1)
    values = 5.0 + slope * (rows.mean(axis=1, keepdims=True) - start)
    found, _ = pooled(values, overlaps(rows, np.array([[start, start + 0.2]]), np.ones(20, bool)), "functionals")
    assert found[0, -1] == pytest.approx(slope, rel=1e-6)


def with_gaps(rng, shape, share=0.4):
    """Random values of which a share is not defined."""
    return np.where(rng.random(shape) < share, np.nan, rng.normal(size=shape))


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("gaps", [False, True])
def test_of_each_dimension_only_the_defined_values_count(pool, gaps):
    rng = np.random.default_rng(5)
    rows = steps(rng, gaps=gaps)
    values, valid = with_gaps(rng, (len(rows), 4)), rng.random(len(rows)) > 0.2
    values[:, 3] = rng.normal(size=len(rows))  # one that is defined everywhere
    begins = rng.uniform(0, 1.8, 40)
    words = np.stack([begins, begins + rng.uniform(0.005, 0.3, 40)], axis=1)
    found, there = pooled(values, overlaps(rows, words, valid), pool)
    for column, one in enumerate(values.T):
        alone, defined = pooled(one[:, None], overlaps(rows, words, valid & ~np.isnan(one)), pool)
        ours = found.reshape(len(words), 4, -1)[:, column]
        np.testing.assert_allclose(ours[defined], alone[defined], rtol=1e-9, atol=1e-12)
        assert np.isnan(ours[there & ~defined]).all()
        assert (ours[~there] == 0.0).all()


@pytest.mark.parametrize("pool", POOLS)
def test_a_segment_without_any_defined_value_is_zero_and_not_valid(pool):
    rows = np.array([[0, 1], [1, 2], [2, 3]], float)
    values = np.array([[np.nan, np.nan], [220.0, np.nan], [np.nan, 1.0]])
    found, valid = pooled(values, overlaps(rows, rows, np.ones(3, bool)), pool)
    first, second, third = found.reshape(3, 2, -1)
    assert valid.tolist() == [False, True, True]
    assert (first == 0.0).all()
    assert np.isfinite(second[0]).all()
    assert np.isnan(second[1]).all()
    assert np.isnan(third[0]).all()
    assert np.isfinite(third[1]).all()


def test_an_undefined_value_changes_nothing_of_the_other_dimensions():
    rng = np.random.default_rng(6)
    rows = steps(rng)
    values = rng.normal(size=(len(rows), 3))
    partial = values.copy()
    partial[::2, 1] = np.nan
    pairs = overlaps(rows, np.array([[0.0, 0.4], [0.3, 1.2]]), np.ones(len(rows), bool))
    whole, some = (pooled(one, pairs, "functionals")[0].reshape(2, 3, -1) for one in (values, partial))
    np.testing.assert_allclose(some[:, [0, 2]], whole[:, [0, 2]], rtol=1e-12)


def test_undefined_values_are_no_warning(recwarn):
    rows = np.array([[0, 1], [1, 2]], float)
    pooled(np.array([[np.nan, 1.0], [np.nan, np.nan]]), overlaps(rows, rows, np.ones(2, bool)), "functionals")
    assert not recwarn.list
