"""Features: the rows that an extractor makes for one clip."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from mse_pipeline.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

_SHOWN_NAMES = 4


@dataclass(frozen=True, eq=False, repr=False)
class Features:
    """Values, their times and their validity always travel together.

    Attributes:
        values: (T, D) float32. NaN says that a value is not defined in its row, as pitch where nothing is voiced; the
            row's other values count.
        intervals: (T, 2) float64, begin and end of each row in seconds from the clip's start.
        valid: (T,) bool; False where there was nothing to measure, as in a frame without a face. Values are 0 there.
            A row is valid if at least one of its values is defined (`with_defined`).
        names: The D dimensions' names.
        notes: How the values were made if there was a choice, as which face was followed. Plain JSON.

    Raises:
        ValueError: The shapes do not fit together.

    Examples:
        >>> f = Features(np.ones((3, 2)), [[0, 1], [1, 2], [2, 3]], [True, True, False], ("f0", "loudness"))
        >>> f.values.shape, f.values.dtype.name, len(f)
        ((3, 2), 'float32', 3)
        >>> f
        Features of 3 rows, 2 valid, from 0.00 to 3.00 s, with 2 values: f0, loudness
    """

    values: np.ndarray
    intervals: np.ndarray
    valid: np.ndarray
    names: Sequence[str]
    notes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        values = np.ascontiguousarray(self.values, dtype=np.float32)
        intervals = np.ascontiguousarray(self.intervals, dtype=np.float64).reshape(-1, 2)
        valid = np.ascontiguousarray(self.valid, dtype=bool).reshape(-1)
        names = tuple(self.names)
        if values.ndim != 2:
            raise ValueError(f"Features need values of shape (T, D), got {values.shape}.")
        undefined = np.isnan(values)
        if undefined.any():  # one spelling of NaN: its sign and its other bits depend on how and where it was made
            values = np.where(undefined, np.float32(np.nan), values)
        if not len(values) == len(intervals) == len(valid):
            raise ValueError(
                "Values, intervals and valid must have the same number of rows, "
                f"got {len(values)}, {len(intervals)}, {len(valid)}."
            )
        if values.shape[1] != len(names):
            raise ValueError(
                f"Features of {values.shape[1]} dimensions need {values.shape[1]} names, got {len(names)}."
            )
        for name, value in (("values", values), ("intervals", intervals), ("valid", valid), ("names", names)):
            object.__setattr__(self, name, value)

    @classmethod
    def checked(cls, values: np.ndarray, intervals: np.ndarray, valid: np.ndarray, names: tuple[str, ...]) -> Features:
        """Features of arrays that are known to fit together and to have the right types, as slices of a pack are.

        Checking them again would take longer than reading a short clip.
        """
        features = object.__new__(cls)
        features.__dict__.update(values=values, intervals=intervals, valid=valid, names=names, notes={})
        return features

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        rows = f"{len(self):,} {'row' if len(self) == 1 else 'rows'}, {int(self.valid.sum()):,} valid"
        if len(self):
            rows += f", from {self.intervals[:, 0].min():.2f} to {self.intervals[:, 1].max():.2f} s"
        more = ", …" if self.dim > _SHOWN_NAMES else ""
        return f"Features of {rows}, with {self.dim:,} values: {', '.join(self.names[:_SHOWN_NAMES])}{more}"

    def to_pandas(self) -> pd.DataFrame:
        """The values as a table: a row a time, a column a value.

        Returns:
            (T, D) float32, NaN where a value is not defined or its row is not valid. The index ``start`` is the begin
            of each row in seconds from the clip's start; `intervals` has the ends.

        Examples:
            >>> Features([[220, 1], [0, 0]], [[0, 0.5], [0.5, 1]], [True, False], ("f0", "loudness")).to_pandas()
                      f0  loudness
            start
            0.0    220.0       1.0
            0.5      NaN       NaN
        """
        import pandas as pd

        values = np.where(self.valid[:, None], self.values, np.float32(np.nan))
        index = pd.Index(self.intervals[:, 0], name="start")
        return pd.DataFrame(values, index=index, columns=list(self.names))

    @property
    def dim(self) -> int:
        """Number of dimensions D."""
        return self.values.shape[1]

    def equals(self, other: Features) -> bool:
        """Whether both hold the same bits (NaN equals NaN) under the same names."""
        return (
            self.names == other.names
            and self.values.tobytes() == other.values.tobytes()
            and self.intervals.tobytes() == other.intervals.tobytes()
            and self.valid.tobytes() == other.valid.tobytes()
        )


class ClipMissing(UsageError, KeyError):
    """There are no features of a clip of that id.

    Its sentence is made when it is read: near ids are looked for among all, and `Mapping.get` raises and forgets it.

    Args:
        clip: The id.
        known: The ids that there are.
        where: What lacks it, as in "acoustic.egemaps".

    Examples:
        >>> str(ClipMissing("train/dia0_ut0", ["train/dia0_utt0", "test/dia1_utt1"], "acoustic.egemaps"))
        "acoustic.egemaps has no clip 'train/dia0_ut0'; did you mean train/dia0_utt0?"
        >>> str(ClipMissing("x", ["train/dia0_utt0"], "acoustic.egemaps"))
        "acoustic.egemaps has no clip 'x'; it has 1 clips, as train/dia0_utt0."
    """

    def __init__(self, clip: object, known: Collection[str], where: str) -> None:
        super().__init__(clip)
        self._clip, self._known, self._where = clip, known, where

    def __str__(self) -> str:
        some = ", ".join(islice(self._known, 2))
        near = did_you_mean(str(self._clip), self._known)
        rest = f"; it has {len(self._known):,} clips, as {some}." if some else "; it has none."
        return f"{self._where} has no clip {self._clip!r}{near or rest}"

    def __reduce__(self) -> tuple[type[UsageError], tuple[str]]:
        """Let the sentence cross process borders, without all the ids."""
        return UsageError, (str(self),)


def with_defined(values: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of which no value is defined become zeros that are not valid; the others stay as they are.

    Args:
        values: (T, D), NaN where a value is not defined.
        valid: (T,) bool.

    Returns:
        Both; the same arrays where every row has a defined value.

    Examples:
        >>> values, valid = with_defined(np.array([[1.0, np.nan], [np.nan, np.nan]]), np.array([True, True]))
        >>> values.tolist(), valid.tolist()
        ([[1.0, nan], [0.0, 0.0]], [True, False])
    """
    undefined = np.isnan(values)
    if not undefined.any():
        return values, valid
    empty = undefined.all(axis=1)
    return np.where(empty[:, None], values.dtype.type(0), values), valid & ~empty
