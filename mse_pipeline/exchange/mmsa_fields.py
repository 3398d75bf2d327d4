"""One split of an MMSA pickle: its fields, each checked when it is asked for."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mse_pipeline.errors import MseError

SEPARATOR = "$_$"
_ID = re.compile(r"(?!\.)[^\x00-\x1f\x7f-\x9f/\\]+")
_MAX_ID = 200
_ROWS = ("text", "audio", "vision")
_MAX_PADDING = 64  # times the values that there are; ragged files have some clips of many times the usual length
_SMALL = 64 << 20


@dataclass(frozen=True)
class Part:
    """The fields of one split.

    Attributes:
        name: File and split, for errors.
        fields: As the file has them.
    """

    name: str
    fields: Mapping[Any, Any]

    def __len__(self) -> int:
        return len(self.ids())

    def has(self, field: str) -> bool:
        """Whether the file has the field."""
        return self.fields.get(field) is not None

    def ids(self) -> list[str]:
        """Ids of the clips, ``video$_$clip``.

        Raises:
            MseError: The field is missing, or an id is of another form.
        """
        return self._ids

    @cached_property
    def _ids(self) -> list[str]:
        ids = _texts(self, "id", None)
        for one in ids:
            video, separator, clip = one.rpartition(SEPARATOR)
            plain = all(_ID.fullmatch(name) and len(name) <= _MAX_ID for name in (video, clip))
            if not separator or not plain:
                raise MseError(
                    f"{self.name} has the id {one[:_MAX_ID]!r}; expected the video's name, {SEPARATOR} and the clip's "
                    "name, as in -3g5yACwYnA$_$13, without folders."
                )
        return ids

    def texts(self, field: str) -> list[str]:
        """A text a clip."""
        return _texts(self, field, len(self))

    def labels(self, field: str, scale: float) -> list[float]:
        """A number a clip; from float32 the nearest one of six digits, which is what thirds were written with.

        Raises:
            MseError: One is no number, or lies outside of the scale.
        """
        given = self._get(field)
        digits = 6 if isinstance(given, np.ndarray) and given.dtype.itemsize <= 4 else 15
        try:
            values = np.array(given, dtype=np.float64).reshape(-1)
        except (TypeError, ValueError) as error:
            raise MseError(f"{self.name}: {field} are not all numbers.") from error
        if len(values) != len(self):
            raise MseError(f"{self.name} has {len(self):,} ids and {len(values):,} {field}.")
        mask = mask_of(self)
        made = []
        for clip, value, known in zip(self.ids(), values.tolist(), mask, strict=True):
            if known and not (math.isfinite(value) and abs(value) <= scale + 1e-6):
                raise MseError(
                    f"{clip} of {self.name} has {value:g} among {field}; labels lie between {-scale:g} and {scale:g}."
                )
            made.append(min(scale, max(-scale, round(value, digits))) if known else math.nan)
        return made

    def array(self, field: str) -> np.ndarray:
        """An array (N, L, D).

        Raises:
            MseError: It is none, or has not one entry a clip.
        """
        array = self._get(field)
        if not isinstance(array, np.ndarray) or array.ndim != 3 or array.dtype.kind not in "fiu":
            told = f"one of {array.dtype} and shape {array.shape}" if isinstance(array, np.ndarray) else "none"
            raise MseError(f"{self.name}: {field} must be an array of numbers (clips, rows, dimensions), found {told}.")
        if len(array) != len(self):
            raise MseError(f"{self.name} has {len(self):,} ids and {len(array):,} clips in {field}.")
        if not array.shape[2]:
            raise MseError(f"{self.name}: {field} has rows without values.")
        return array

    def _get(self, field: str) -> Any:
        if not self.has(field):
            has = ", ".join(str(key)[:30] for key in list(self.fields)[:20])
            raise MseError(f"{self.name} has no {field}; it has {has or 'nothing'}.")
        return self.fields[field]


def padded_fields(fields: Mapping[Any, Any], name: str) -> Mapping[Any, Any]:
    """Fields of a file whose clips have arrays (L, D) of their own, padded to one array (N, L, D), with their lengths.

    Args:
        fields: As the file has them; lists, and arrays of objects, of one array a clip.
        name: File and split, for errors.

    Raises:
        MseError: Padded, they would take many times what they take now.
    """
    made = dict(fields)
    for field in _ROWS:
        given = fields.get(field)
        rows = given.tolist() if isinstance(given, np.ndarray) and given.dtype.hasobject else given
        if not isinstance(rows, list) or not rows or not all(_is_rows(one, rows[0]) for one in rows):
            continue
        longest, dim = max(map(len, rows)), rows[0].shape[1]
        dtype = np.result_type(*{one.dtype for one in rows})
        size, held = len(rows) * longest * dim * dtype.itemsize, sum(one.nbytes for one in rows)
        if size > _SMALL + _MAX_PADDING * held:
            raise MseError(
                f"{name}: padded to {longest:,} rows a clip, {field} would take {size:,} bytes for {held:,}."
            )
        made[field] = np.zeros((len(rows), longest, dim), dtype)
        for place, one in enumerate(rows):
            made[field][place, : len(one)] = one
        made.setdefault(f"{field}_lengths", [len(one) for one in rows])
    return made


def _is_rows(one: Any, first: Any) -> bool:
    return (
        isinstance(one, np.ndarray) and one.ndim == 2 and one.dtype.kind in "fiu" and one.shape[1:] == first.shape[1:]
    )


def mask_of(part: Part) -> np.ndarray:
    """(N,) bool: which clips are annotated; semi-supervised files say it, in all others every clip is."""
    if not part.has("mask"):
        return np.ones(len(part), bool)
    mask = np.asarray(part.fields["mask"])
    if mask.shape[:1] != (len(part),) or mask.size != len(part) or mask.dtype.kind not in "fiub":
        raise MseError(f"{part.name}: mask must have one number a clip.")
    return mask.reshape(-1).astype(bool)


def lengths_of(part: Part, field: str) -> list[int] | None:
    """The number of rows of each clip in a field; None if the file does not tell.

    Raises:
        MseError: Lengths are no whole numbers, or more than the array has rows.
    """
    array = part.array(field)
    given: Any = part.fields.get(f"{field}_lengths")
    if given is None and field == "text":
        given = _text_lengths(part, array)
    if given is None:
        return None
    lengths = np.asarray(given)
    if lengths.size != len(array) or lengths.dtype.kind not in "iuf" or not np.array_equal(lengths, np.rint(lengths)):
        raise MseError(f"{part.name}: {field}_lengths must have one whole number a clip.")
    lengths = lengths.reshape(-1)
    wrong = np.flatnonzero((lengths < 0) | (lengths > array.shape[1]))
    if len(wrong):
        first = int(wrong[0])
        raise MseError(
            f"{part.ids()[first]} of {part.name} has {lengths[first]:g} rows by {field}_lengths; the array has "
            f"{array.shape[1]}."
        )
    return [int(length) for length in lengths]


def _text_lengths(part: Part, array: np.ndarray) -> np.ndarray | None:
    """From the mask of the tokens, the second row of ``text_bert``."""
    tokens = part.fields.get("text_bert")
    if not isinstance(tokens, np.ndarray) or tokens.shape != (len(array), 3, array.shape[1]):
        return None
    return tokens[:, 1, :].sum(axis=1)


def _texts(part: Part, field: str, count: int | None) -> list[str]:
    given = part._get(field)
    values = given.reshape(-1).tolist() if isinstance(given, np.ndarray) else given
    if not isinstance(values, list | tuple) or not all(isinstance(one, str) for one in values):
        raise MseError(
            f"{part.name}: {field} must be texts. In a file of Python 2 that may be another encoding: "
            "--option encoding=latin1."
        )
    if count is not None and len(values) != count:
        raise MseError(f"{part.name} has {count:,} ids and {len(values):,} texts in {field}.")
    return list(values)
