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


PARTIAL = [[np.nan, 1.0, 2.0, 0.0], [5.0, 3.0, 2.0, 1.0], [np.nan, np.nan, 2.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
VALID = [True, True, True, False]


def test_the_share_of_defined_values_stands_behind_the_others():
    one = features(PARTIAL, VALID)
    fitted, plain = fit([one], share=True), fit([one])
    assert (fitted.width, plain.width) == (5, 4)
    assert fitted(one)[:, -1].tolist() == [0.75, 1.0, 0.5, 0.0]
    np.testing.assert_array_equal(fitted(one)[:, :-1], plain(one))


def test_there_is_no_share_where_all_values_of_the_train_split_are_defined():
    whole = features([[1.0, 2.0], [3.0, 4.0]])
    fitted = fit([whole], share=True)
    assert (fitted.share, fitted.width) == (False, 2)
    assert fitted.to_dict() == fit([whole]).to_dict()


def test_json_keeps_whether_there_is_a_share_and_files_without_one_stay_as_they_were():
    one = features(PARTIAL, VALID)
    fitted = fit([one], share=True)
    back = Normaliser.from_dict(json.loads(json.dumps(fitted.to_dict())))
    assert back(one).tobytes() == fitted(one).tobytes()
    assert "share" not in fit([one]).to_dict()
    assert not Normaliser.from_dict(fit([one]).to_dict()).share


@pytest.mark.parametrize("share", [False, True])
def test_of_many_rows_the_blocks_are_as_one(share):
    values = np.where(RNG.random((40_000, 3)) < 0.3, np.nan, RNG.normal(5, 2, (40_000, 3)))
    one = features(values, RNG.random(40_000) > 0.1)
    fitted = fit([one], share=share)
    expected = np.nan_to_num((one.values.astype(float) - fitted.mean) / fitted.deviation) * one.valid[:, None]
    np.testing.assert_allclose(fitted(one)[:, :3], expected, atol=1e-6)
    if share:
        np.testing.assert_allclose(fitted(one)[:, 3], np.isfinite(one.values).mean(1) * one.valid, rtol=1e-6)
