import numpy as np
import pytest

from mse_pipeline.alignment.apply import aligner, to_equal_bins, to_grid
from mse_pipeline.store import Features


def features(values, intervals, valid=None):
    values = np.asarray(values, float).reshape(len(intervals), -1)
    return Features(
        values,
        intervals,
        np.ones(len(values)) if valid is None else valid,
        [f"d{i}" for i in range(values.shape[1])],
    )


def integral(f: Features, start: float, end: float) -> np.ndarray:
    """The mean of a step function over [start, end), summed directly on a fine raster."""
    raster = np.linspace(start, end, 20_001)[:-1] + (end - start) / 40_000
    inside = (raster[:, None] >= f.intervals[:, 0]) & (raster[:, None] < f.intervals[:, 1]) & f.valid
    return (inside @ f.values).sum(0) / inside.sum()


def test_bins_hold_the_overlap_weighted_mean():
    rng = np.random.default_rng(0)
    edges = np.cumsum(rng.uniform(0.003, 0.2, 60))
    f = features(rng.normal(size=(59, 3)), np.stack([edges[:-1], edges[1:]], 1), rng.random(59) > 0.2)
    grid = to_grid(f, 0.25)
    for row in np.flatnonzero(grid.valid):
        np.testing.assert_allclose(grid.values[row], integral(f, *grid.intervals[row]), atol=2e-3)


def test_a_row_that_covers_one_percent_of_a_bin_counts_one_percent():
    grid = to_grid(features([[0.0], [100.0]], [[0.0, 0.99], [0.99, 1.0]]), 1.0)
    assert grid.values[0, 0] == pytest.approx(1.0)


def test_bins_without_valid_rows_are_marked_and_zero():
    f = features([[1.0], [7.0], [3.0]], [[0, 1], [1, 2], [2, 3]], [True, False, True])
    grid = to_grid(f, 0.5)
    assert grid.valid.tolist() == [True, True, False, False, True, True]
    assert grid.values[:, 0].tolist() == [1, 1, 0, 0, 3, 3]


def test_a_gap_between_rows_is_an_invalid_bin():
    assert to_grid(features([[1.0], [2.0]], [[0, 1], [2, 3]]), 1.0).valid.tolist() == [True, False, True]


def test_intervals_cover_the_clip_and_the_last_bin_ends_with_it():
    grid = to_grid(features(np.ones((7, 1)), [[i * 0.1, (i + 1) * 0.1] for i in range(7)]), 0.3)
    np.testing.assert_allclose(grid.intervals, [[0, 0.3], [0.3, 0.6], [0.6, 0.7]])


def test_float_noise_makes_no_extra_bin():
    edges = np.arange(31) * 0.1  # 0.1 * 30 is 3.0000000000000004
    assert len(to_grid(features(np.ones((30, 1)), np.stack([edges[:-1], edges[1:]], 1)), 0.1)) == 30


def test_overlapping_rows_are_weighted_together():
    grid = to_grid(features([[0.0], [1.0]], [[0.0, 1.0], [0.5, 1.0]]), 1.0)
    assert grid.values[0, 0] == pytest.approx(0.5 / 1.5)


def test_no_rows_give_no_bins():
    assert len(to_grid(Features(np.zeros((0, 4)), np.zeros((0, 2)), [], list("abcd")), 0.1)) == 0


@pytest.mark.parametrize("step", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_step_is_refused(step):
    with pytest.raises(ValueError, match="positive number of seconds"):
        to_grid(features([[1.0]], [[0, 1]]), step)


def test_aligner_knows_its_kinds():
    f = features([[1.0], [3.0]], [[0, 1], [1, 2]])
    assert aligner({"kind": "none"})("a", f) is f
    assert aligner({"kind": "grid", "step": 2})("a", f).values.tolist() == [[2.0]]
    with pytest.raises(ValueError, match="no alignment"):
        aligner({"kind": "words"})


def test_a_bin_holds_the_mean_of_the_defined_values_alone():
    # 220 Hz in the voiced rows, nothing in the others; the loudness is defined in all.
    voiced = np.array([1, 0, 0, 1, 1, 0, 0, 0, 0, 0, 1, 0], bool)
    f = features(
        np.stack([np.where(voiced, 220.0, np.nan), np.arange(12.0)], 1), [[k * 0.01, (k + 1) * 0.01] for k in range(12)]
    )
    grid = to_grid(f, 0.03)
    np.testing.assert_array_equal(grid.values[:, 0], [220.0, 220.0, np.nan, 220.0])
    np.testing.assert_allclose(grid.values[:, 1], [1.0, 4.0, 7.0, 10.0], rtol=1e-6)
    assert grid.valid.all()
    np.testing.assert_array_equal(to_equal_bins(f, 4).values[:, 0], [220.0, 220.0, np.nan, 220.0])


@pytest.mark.parametrize("bins", [lambda f: to_grid(f, 0.25), lambda f: to_equal_bins(f, 20)], ids=["grid", "bins"])
def test_each_dimension_is_as_if_the_rows_without_it_were_not_valid(bins):
    rng = np.random.default_rng(1)
    edges = np.cumsum(rng.uniform(0.003, 0.2, 60))
    rows, valid = np.stack([edges[:-1], edges[1:]], 1), rng.random(59) > 0.2
    values = np.where(rng.random((59, 3)) < 0.5, np.nan, rng.normal(size=(59, 3)))
    found = bins(features(values, rows, valid))
    for column in range(3):
        defined = ~np.isnan(values[:, column])
        alone = bins(features(np.where(defined, values[:, column], 0.0), rows, valid & defined))
        np.testing.assert_allclose(found.values[alone.valid, column], alone.values[alone.valid, 0], rtol=1e-6)
        assert np.isnan(found.values[found.valid & ~alone.valid, column]).all()
    assert (found.values[~found.valid] == 0.0).all()


def test_a_bin_without_any_defined_value_is_marked_and_zero():
    grid = to_grid(features([[1.0, 2.0], [np.nan, np.nan], [np.nan, 4.0]], [[0, 1], [1, 2], [2, 3]]), 1.0)
    assert grid.valid.tolist() == [True, False, True]
    np.testing.assert_array_equal(grid.values, [[1.0, 2.0], [0.0, 0.0], [np.nan, 4.0]])
