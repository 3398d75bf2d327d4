"""Equal bins: every clip cut into the same number of parts, whatever is said in them."""

from __future__ import annotations

import numpy as np

from mse_pipeline.alignment.pooling import overlaps, pooled
from mse_pipeline.store.features import Features


def to_equal_bins(features: Features, bins: int) -> Features:
    """Pool features to `bins` parts of equal length by the overlap-weighted mean of their valid rows.

    This is no word alignment, though it often goes by that name: part k of a clip is the same share of each stream,
    and of whatever was said then. Rows without times count as equally long.

    Args:
        features: On any clock.
        bins: Number of parts.

    Returns:
        Features of shape (bins, D); without rows where there were none.

    Examples:
        >>> f = Features([[1], [2], [4]], [[0, 1], [1, 2], [2, 4]], [True] * 3, ["loudness"])
        >>> to_equal_bins(f, 2).values.tolist()
        [[1.5], [4.0]]
    """
    timed = len(features) > 0 and bool(np.isfinite(features.intervals).any())
    places = np.arange(len(features), dtype=float)
    rows = features.intervals if timed else np.stack([places, places + 1], axis=1)
    end = float(np.nanmax(rows)) if len(features) else 0.0
    edges = np.linspace(0.0, end, bins + 1 if end > 0 else 1)
    parts = np.stack([edges[:-1], edges[1:]], axis=1)
    values, valid = pooled(features.values, overlaps(rows, parts, features.valid), "mean")
    intervals = parts if timed else np.full(parts.shape, np.nan)
    kept = {key: value for key, value in features.notes.items() if key not in {"tokens", "spans", "words"}}
    return Features(values, intervals, valid, features.names, kept)
