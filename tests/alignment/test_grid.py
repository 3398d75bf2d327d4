import numpy as np
import pytest

from mse_pipeline.alignment.apply import aligner, to_grid
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
