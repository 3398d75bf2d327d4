"""Scores of sentiment intensities: the metrics of MOSI and MOSEI, of CH-SIMS, and of one's own scale."""

from __future__ import annotations

import math

import numpy as np

from mse_pipeline.metrics.classes import class_scores


def mosei(p: np.ndarray, t: np.ndarray) -> dict[str, float]:
    """MOSI and MOSEI: errors and correlation on raw values, classes by clip, then round half to even."""
    scores = _signs(p, t)
    for limit, classes in ((2, 5), (3, 7)):
        same = np.round(np.clip(p, -limit, limit)) == np.round(np.clip(t, -limit, limit))
        scores[f"Mult_acc_{classes}"] = float(same.mean())
    scores["MAE"] = float(np.round(np.abs(p - t).mean(), 4))
    scores["Corr"] = _corr(p, t)
    return {name: round(value, 4) for name, value in scores.items()}


def _signs(p: np.ndarray, t: np.ndarray) -> dict[str, float]:
    """Two classes in both readings: a prediction of exactly 0 is positive in Has0 and negative in Non0."""
    has0 = class_scores(p >= 0, t >= 0)
    scores = {"Has0_acc_2": has0.accuracy, "Has0_F1_score": has0.weighted_f1}
    rows = t != 0
    if not rows.any():
        return {**scores, "Non0_acc_2": math.nan, "Non0_F1_score": math.nan}
    non0 = class_scores(p[rows] > 0, t[rows] > 0)
    return {**scores, "Non0_acc_2": non0.accuracy, "Non0_F1_score": non0.weighted_f1}


def sims(p: np.ndarray, t: np.ndarray) -> dict[str, float]:
    """CH-SIMS and CH-SIMS v2: all on values clipped to [-1, 1]; the bins are right-closed, so 0 is negative."""
    p, t = np.clip(p, -1, 1), np.clip(t, -1, 1)

    def bins(values: np.ndarray, *inner: float) -> np.ndarray:
        # float32 edges, as in the reference: against float64 ones the float32 of 0.1 would fall above 0.1.
        return np.digitize(values, np.array(inner, np.float32), right=True)

    two = class_scores(bins(p, 0.0), bins(t, 0.0))
    weak = np.abs(t) <= np.float32(0.4)
    return {
        "Mult_acc_2": two.accuracy,
        "F1_score": two.weighted_f1,
        "Mult_acc_2_weak": float((bins(p, 0.0) == bins(t, 0.0))[weak].mean()) if weak.any() else math.nan,
        "MAE": float(np.abs(p - t).mean()),
        "Corr": _corr(p, t),
        "Mult_acc_3": float((bins(p, -0.1, 0.1) == bins(t, -0.1, 0.1)).mean()),
        "Mult_acc_5": float((bins(p, -0.7, -0.1, 0.1, 0.7) == bins(t, -0.7, -0.1, 0.1, 0.7)).mean()),
        "R_squre": _r2(p, t),
    }


def own_scale(p: np.ndarray, t: np.ndarray, limits: tuple[float, float] | None) -> dict[str, float]:
    """Numbers on a scale of one's own; with a range around 0 the signs as well. CCC: Lin, Biometrics 45 (1989)."""
    if limits is not None:
        outside = t[(t < np.float32(limits[0])) | (t > np.float32(limits[1]))]
        if len(outside):
            raise ValueError(f"Target {outside[0]:g} lies outside the range {limits[0]:g} to {limits[1]:g}.")
        p = np.clip(p, np.float32(limits[0]), np.float32(limits[1]))
    a, b = p.astype(np.float64), t.astype(np.float64)
    spread = a.var() + b.var() + (a.mean() - b.mean()) ** 2
    covariance = ((a - a.mean()) * (b - b.mean())).mean()
    scores = {
        "MAE": float(np.abs(a - b).mean()),
        "RMSE": float(np.sqrt(((a - b) ** 2).mean())),
        "Corr": _corr(p, t),
        "CCC": float(2 * covariance / spread) if spread > 0 else math.nan,
        "R2": _r2(p, t),
    }
    return {**scores, **_signs(p, t)} if limits is not None and limits[0] < 0 < limits[1] else scores


def _corr(p: np.ndarray, t: np.ndarray) -> float:
    """Pearson's correlation; NaN where one side does not vary."""
    return math.nan if np.ptp(p) == 0 or np.ptp(t) == 0 else float(np.corrcoef(p, t)[0][1])


def _r2(p: np.ndarray, t: np.ndarray) -> float:
    """Share of variance explained; with constant targets 1 if all are hit, else 0, as scikit-learn has it."""
    if len(t) < 2:
        return math.nan
    residual = float(((t - p).astype(np.float64) ** 2).sum())
    total = float(((t - t.mean(dtype=np.float64)) ** 2).sum())
    if total == 0:
        return 1.0 if residual == 0 else 0.0
    return 1 - residual / total
