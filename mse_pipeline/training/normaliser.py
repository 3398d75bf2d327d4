"""Normaliser: each dimension to zero mean and unit deviation, fitted on the train split and stored with the run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mse_pipeline.errors import MseError
from mse_pipeline.store.features import Features

_SMALLEST = 1e-6  # a dimension that varies less is constant: it is centred, not blown up


@dataclass(frozen=True, eq=False)
class Normaliser:
    """(x - mean) / deviation, a dimension at a time.

    Attributes:
        names: The D dimensions' names, which features must have to be normalised.
        mean: (D,) float64.
        deviation: (D,) float64, population standard deviation; 1 for constant dimensions.
        rows: Number of rows that it was fitted on.

    Examples:
        >>> f = Features([[1.0, 5.0], [3.0, 5.0]], [[0, 1], [1, 2]], [True, True], ("f0", "constant"))
        >>> fit([f])(f).tolist()
        [[-1.0, 0.0], [1.0, 0.0]]
    """

    names: tuple[str, ...]
    mean: np.ndarray
    deviation: np.ndarray
    rows: int

    def __call__(self, features: Features) -> np.ndarray:
        """Normalised values (T, D) float32. Invalid rows and values that are not finite become 0, the mean.

        Raises:
            MseError: The features have other dimensions.
        """
        if features.names != self.names:
            raise MseError(
                f"The features have the dimensions {_short(features.names)}, the normaliser was fitted on "
                f"{_short(self.names)}. Use the recipe that the run was trained with."
            )
        values = (features.values.astype(np.float64) - self.mean) / self.deviation
        values[~features.valid] = 0.0
        values[~np.isfinite(values)] = 0.0
        return values.astype(np.float32)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            **asdict(self),
            "names": list(self.names),
            "mean": self.mean.tolist(),
            "deviation": self.deviation.tolist(),
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Normaliser:
        """The normaliser of what `to_dict` gave."""
        mean, deviation = (np.asarray(value[name], np.float64) for name in ("mean", "deviation"))
        return cls(tuple(value["names"]), mean, deviation, int(value["rows"]))


def _short(names: Sequence[str]) -> str:
    return f"{len(names)} ({', '.join(names[:3])}, …)" if len(names) > 3 else f"{len(names)} ({', '.join(names)})"


def fit(clips: Iterable[Features]) -> Normaliser:
    """Fit on the valid, finite values of clips, one clip in memory at a time.

    Deviations are merged clip by clip (Chan, Golub & LeVeque 1983), which stays exact where sums of squares of
    large values do not.

    Raises:
        MseError: No clip has a valid row, or clips differ in their dimensions.
    """
    names: tuple[str, ...] | None = None
    count = mean = spread = np.zeros(0)
    for features in clips:
        if names is None:
            names = tuple(features.names)
            count, mean, spread = (np.zeros(len(names)) for _ in range(3))
        elif features.names != names:
            raise MseError("Clips of the train split differ in their dimensions; extract them with one recipe.")
        values = features.values[features.valid].astype(np.float64)
        finite = np.isfinite(values)
        new = finite.sum(axis=0)
        total = np.maximum(count + new, 1)
        own = np.where(finite, values, 0.0).sum(axis=0) / np.maximum(new, 1)
        spread = spread + np.where(finite, (values - own) ** 2, 0.0).sum(axis=0)
        spread = spread + (own - mean) ** 2 * count * new / total
        mean = mean + (own - mean) * new / total
        count = count + new
    if names is None or not count.any():
        raise MseError("No clip of the train split has a valid row, so there is nothing to normalise by.")
    deviation = np.sqrt(spread / np.maximum(count, 1))
    return Normaliser(names, mean, np.where(deviation > _SMALLEST, deviation, 1.0), int(count.max()))
