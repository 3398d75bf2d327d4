"""One CSV file of OpenFace's FeatureExtraction -> the track of one face."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mse_pipeline.corpora.base import enumerate_some
from mse_pipeline.corpora.text import decode
from mse_pipeline.errors import MseError
from mse_pipeline.file_kinds import kind_of_bytes

_NEEDED = ("frame", "timestamp", "confidence", "success")
_KEPT = re.compile(r"gaze_\w+|pose_[TR][xyz]|AU\d\d_[rc]")
_FURTHER = re.compile(r"[xyzXYZ]_\d+|eye_lmk_[xyzXYZ]_\d+|p_\w+")
_MAX_BYTES = 1 << 30
_NOMINAL_RATE = 30.0


@dataclass(frozen=True)
class FaceTrack:
    """The frames of one face.

    Attributes:
        values: (T, D) float32; 0 in rows that are not valid.
        intervals: (T, 2) seconds in the video: a frame lasts until the next one, at most the usual time.
        valid: (T,) bool.
        names: The D columns.
        faces: How many faces the file has.
        face: `face_id` of the one that was taken.
        repaired: Frames that held values that are no finite numbers.
    """

    values: np.ndarray
    intervals: np.ndarray
    valid: np.ndarray
    names: tuple[str, ...]
    faces: int
    face: int
    repaired: int


def read_track(path: Path, name: str, confidence: float, landmarks: bool) -> FaceTrack:
    """Read the face that has the most frames of success and confidence.

    Args:
        path: The file.
        name: How messages call it.
        confidence: From which on a frame is valid.
        landmarks: Whether landmarks and shape parameters are kept, beside gaze, pose and action units.

    Raises:
        MseError: It is no output of FeatureExtraction, or is damaged.
    """
    columns, table = _table(path, name)
    lacking = [column for column in _NEEDED if column not in columns]
    kept = [
        index
        for index, column in enumerate(columns)
        if _KEPT.fullmatch(column) or (landmarks and _FURTHER.fullmatch(column))
    ]
    if lacking or not kept:
        what = f"no column {', '.join(lacking)}" if lacking else "no column of gaze, pose or action units"
        raise MseError(f"{name} is no output of OpenFace's FeatureExtraction: it has {what}.")
    at = {column: index for index, column in enumerate(columns)}
    times, sure = table[:, at["timestamp"]], table[:, at["confidence"]]
    if not np.isfinite(times).all():
        raise MseError(f"{name} has timestamps that are no numbers of seconds; run FeatureExtraction again.")
    good = (table[:, at["success"]] == 1) & (sure >= confidence)
    ids = table[:, at["face_id"]] if "face_id" in at else np.zeros(len(table))
    faces = np.unique(ids)
    # Ties go to the face with the higher confidence in all, then to the lower id.
    best = max(faces, key=lambda face: (good[ids == face].sum(), np.nansum(sure[ids == face]), -face), default=0)
    chosen = np.flatnonzero(ids == best)
    chosen = chosen[np.argsort(times[chosen], kind="stable")]
    # Numbers beyond float32 become infinite here and count as damage below.
    with np.errstate(over="ignore"):
        values = table[chosen][:, kept].astype(np.float32)
    finite = np.isfinite(values).all(axis=1)
    valid = good[chosen] & finite
    values[~valid] = 0.0
    names = tuple(columns[index] for index in kept)
    intervals = frame_intervals(times[chosen])
    return FaceTrack(values, intervals, valid, names, max(len(faces), 1), int(best), int((~finite).sum()))


def frame_intervals(times: np.ndarray) -> np.ndarray:
    """Begin and end of frames: each lasts until the next, but over a gap no longer than frames usually do.

    Args:
        times: (T,) seconds at which they begin, in order.

    Returns:
        (T, 2) seconds.
    """
    steps = np.diff(times)
    rising = steps[steps > 0]
    usual = float(np.median(rising)) if len(rising) else 1.0 / _NOMINAL_RATE
    lasts = np.append(np.minimum(steps, usual * 1.5), usual) if len(times) else np.zeros(0)
    return np.stack([times, times + lasts], axis=1)


def csv_text(data: bytes, name: str) -> str:
    """The text of a CSV or JSON file.

    Raises:
        MseError: It is a file of another kind, as a broken download leaves it.
    """
    kind = kind_of_bytes(data[:4096]) if data else None
    if kind is not None and not kind.text:
        raise MseError(f"{name} cannot be read as text: it is {kind}")
    text, _ = decode(data, name)
    return text


def _table(path: Path, name: str) -> tuple[list[str], np.ndarray]:
    """Column names without the spaces before them, and the cells (N, columns) float64."""
    try:
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise MseError(f"{name} has {size:,} bytes; at most {_MAX_BYTES:,} are read.")
        data = path.read_bytes()
    except OSError as error:
        raise MseError(f"{name} cannot be read: {error.strerror or error}.") from error
    text = csv_text(data, name)
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        columns = [cell.strip() for cell in next(reader, [])]
        rows = []
        for number, cells in enumerate(reader, start=2):
            if not cells:
                continue
            if len(cells) != len(columns):
                raise MseError(f"{name} has {len(cells)} cells in row {number}, its header {len(columns)}.")
            rows.append(np.array(cells, dtype=np.float64))
    except csv.Error as error:
        raise MseError(f"{name} is no sound CSV: {error}.") from error
    except ValueError as error:
        raise MseError(f"{name} holds something else than numbers in row {number}: {error}.") from error
    twins = sorted({column for column in columns if columns.count(column) > 1})
    if twins:
        raise MseError(f"{name} has several columns named {enumerate_some(twins, 5)}.")
    return columns, np.array(rows, np.float64).reshape(len(rows), len(columns))
