import json

import numpy as np
import pytest

from mse_pipeline.errors import MseError
from mse_pipeline.store import Features
from mse_pipeline.training.normaliser import Normaliser, fit

RNG = np.random.default_rng(0)


def features(values, valid=None, names=None):
    values = np.asarray(values, np.float32)
    edges = np.arange(len(values) + 1.0)
    names = names or [f"d{i}" for i in range(values.shape[1])]
    return Features(
        values, np.stack([edges[:-1], edges[1:]], 1), np.ones(len(values)) if valid is None else valid, names
    )


def test_statistics_equal_those_of_all_valid_rows_together():
    clips = [features(RNG.normal(3e4, 2, (n, 4)), RNG.random(n) > 0.3) for n in (1, 7, 300, 0, 20)]
    rows = np.concatenate([f.values[f.valid] for f in clips]).astype(np.float64)
    fitted = fit(clips)
    np.testing.assert_allclose(fitted.mean, rows.mean(0), rtol=1e-12)
    np.testing.assert_allclose(fitted.deviation, rows.std(0), rtol=1e-9)
    assert fitted.rows == len(rows)


def test_values_that_are_not_finite_are_left_out_and_become_the_mean():
    fitted = fit([features([[1.0, 1.0], [3.0, -np.inf], [np.nan, 5.0]])])
    np.testing.assert_allclose(fitted.mean, [2, 3])
    assert fitted(features([[np.nan, 3.0], [3.0, np.inf]])).tolist() == [[0.0, 0.0], [1.0, 0.0]]


def test_invalid_rows_become_the_mean():
    fitted = fit([features([[1.0], [3.0]])])
    assert fitted(features([[3.0], [99.0]], [True, False])).tolist() == [[1.0], [0.0]]


def test_a_constant_dimension_is_centred_and_not_blown_up():
    assert fit([features([[5.0], [5.0]])])(features([[5.5]])).tolist() == [[0.5]]


def test_other_dimensions_are_refused_by_name():
    fitted = fit([features([[1.0, 2.0]])])
    with pytest.raises(MseError, match=r"2 \(d0, other\)"):
        fitted(features([[1.0, 2.0]], names=["d0", "other"]))
    with pytest.raises(MseError, match="differ in their dimensions"):
        fit([features([[1.0]]), features([[1.0]], names=["x"])])


@pytest.mark.parametrize("clips", [[], [features(np.zeros((0, 2)))], [features([[1.0]], [False])]])
def test_nothing_to_fit_on_is_told(clips):
    with pytest.raises(MseError, match=r"[Nn]o clip"):
        fit(clips)


def test_json_keeps_it_exactly():
    fitted = fit([features(RNG.normal(size=(9, 3)))])
    back = Normaliser.from_dict(json.loads(json.dumps(fitted.to_dict())))
    one = features(RNG.normal(size=(4, 3)))
    assert back(one).tobytes() == fitted(one).tobytes()
    assert back.rows == 9


def test_each_dimension_is_fitted_on_its_own_defined_values():
    # Pitch of a known mean of 200 Hz and deviation of 20 Hz in every fifth row; loudness in all.
    voiced = np.arange(100) % 5 == 0
    pitch = np.where(voiced, np.where(np.arange(100) % 2 == 0, 180.0, 220.0), np.nan)
    clips = [features(np.stack([pitch, np.arange(100.0)], 1)[begin : begin + 25]) for begin in (0, 25, 50, 75)]
    fitted = fit(clips)
    assert (fitted.mean[0], fitted.deviation[0]) == (200.0, 20.0)
    np.testing.assert_allclose(fitted.mean[1], 49.5)
    scaled = np.concatenate([fitted(one) for one in clips])
    assert (scaled[~voiced, 0] == 0.0).all()
    assert set(np.abs(scaled[voiced, 0]).tolist()) == {1.0}


def test_a_dimension_that_is_never_defined_reads_as_zero():
    fitted = fit([features([[np.nan, 1.0], [np.nan, 3.0]])])
    assert fitted(features([[np.nan, 1.0], [50.0, 3.0]]))[0].tolist() == [0.0, -1.0]
