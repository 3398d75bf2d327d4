"""MediaPipe's Face Landmarker: blendshapes, pose and landmarks become a stream of a dataset that is in the cache.

Each file of results becomes the track of one face.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.exchange.base import Imported
from mse_pipeline.exchange.openface import (
    FaceTrack,
    TrackFormat,
    csv_text,
    defined_frames,
    frame_intervals,
    read_folder,
)
from mse_pipeline.exchange.registry import Format
from mse_pipeline.store.dataset import Dataset

_SIDED = (
    *("browDown", "browOuterUp", "cheekSquint", "eyeBlink", "eyeLookDown", "eyeLookIn", "eyeLookOut", "eyeLookUp"),
    *("eyeSquint", "eyeWide", "mouthDimple", "mouthFrown", "mouthLowerDown", "mouthPress", "mouthSmile"),
    *("mouthStretch", "mouthUpperUp", "noseSneer"),
)
_SINGLE = (
    *("browInnerUp", "cheekPuff", "jawForward", "jawLeft", "jawOpen", "jawRight", "mouthClose", "mouthFunnel"),
    *("mouthLeft", "mouthPucker", "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower"),
    "mouthShrugUpper",
)
BLENDSHAPES = tuple(sorted([*_SINGLE, *(f"{name}{side}" for name in _SIDED for side in ("Left", "Right"))]))
"""MediaPipe's names of the 51 blendshapes, in its own order."""

POSE = ("pose_Tx", "pose_Ty", "pose_Tz", "pose_Rx", "pose_Ry", "pose_Rz")
"""Place in cm; angles in rad, turned about x first, then y, then z."""

_MILLISECONDS = ("timestamp_ms", "timestampms", "time_ms", "timems")
_TIMES = ("timestamp", "time", "timestamp_s", "time_s", "seconds")
_FRAMES = ("frame", "frame_index", "frame_number", "frame_id", "frameindex", "index")
_LANDMARK = re.compile(r"(?:.*\D)?(?P<number>\d{1,3})_?(?P<axis>[xyz])|(?:.*_)?(?P<axis2>[xyz])_?(?P<number2>\d{1,3})")
_MAX_BYTES = 1 << 28


@dataclass(frozen=True)
class Kept:
    """What of a file is kept.

    Attributes:
        blendshapes: The 51 blendshapes.
        pose: Place and angles of the head.
        landmarks: How many landmarks; 0 for none.
    """

    blendshapes: bool
    pose: bool
    landmarks: int

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the values, in this order."""
        marks = tuple(f"{axis}_{k}" for k in range(self.landmarks) for axis in "xyz")
        return (*(BLENDSHAPES if self.blendshapes else ()), *(POSE if self.pose else ()), *marks)


@dataclass(frozen=True)
class _Frame:
    """One frame: its time as the file tells it, its number of faces, and the values of the first that are there."""

    time: float
    faces: int
    values: Mapping[str, float]


def read_track(path: Path, name: str, kept: Kept, fps: float) -> FaceTrack:
    """Read the first face of each frame.

    Args:
        path: The file.
        name: How messages call it.
        kept: What is kept.
        fps: Frames a second, for files that number frames and tell no times; else 0.

    Raises:
        MseError: It is no such file, is damaged, or no frame has what is to be kept.
    """
    try:
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise MseError(f"{name} has {size:,} bytes; at most {_MAX_BYTES:,} are read.")
        text = csv_text(path.read_bytes(), name)
    except OSError as error:
        raise MseError(f"{name} cannot be read: {error.strerror or error}.") from error
    rows = _table(text, name) if name.lower().endswith(".csv") else _objects(text, name)
    clock = _Clock(name, fps)
    frames = [_frame(row, clock, name) for row in rows]
    times = clock.seconds([frame.time for frame in frames])
    order = np.argsort(times, kind="stable")
    values = np.full((len(frames), len(kept.names)), np.nan)
    for row, place in enumerate(order):
        measured = frames[place].values
        values[row] = [measured.get(column, np.nan) for column in kept.names]
    shown = np.array([frames[index].faces > 0 for index in order], bool)
    if shown.any():
        _require_all(name, kept, [frame.values for frame in frames if frame.faces])
    values, valid, partial = defined_frames(values, shown)
    most = max((frame.faces for frame in frames), default=0)
    return FaceTrack(values, frame_intervals(times[order]), valid, kept.names, max(most, 1), 0, partial)


class _Clock:
    """Times of frames, as a file tells them."""

    def __init__(self, name: str, fps: float) -> None:
        self._name, self._fps = name, fps
        self._key = ""

    def read(self, row: Mapping[str, Any]) -> float:
        """The time of a frame, in whatever unit."""
        lowered = {str(key).strip().lower(): value for key, value in row.items()}
        key = next((key for key in (*_MILLISECONDS, *_TIMES, *_FRAMES) if key in lowered), "")
        if not key or (self._key and key != self._key):
            raise MseError(
                f"{self._name} does not tell every frame's time: expected timestamp_ms, timestamp or time, or frame "
                "with --option fps=25."
            )
        self._key = key
        time = _number(lowered[key])
        if not np.isfinite(time):
            raise MseError(f"{self._name} has a {key} that is not a number: {lowered[key]!r}.")
        return time

    def seconds(self, times: Sequence[float]) -> np.ndarray:
        """All of them in seconds."""
        frame_times = np.array(times, np.float64)
        if self._key in _FRAMES:
            if not self._fps:
                raise MseError(
                    f"{self._name} numbers its frames and tells no times; give --option fps=25, or what it was."
                )
            return frame_times / self._fps
        steps = np.abs(np.diff(np.sort(frame_times)))
        # Nobody looks for faces less than once a second: steps over 1 are milliseconds.
        apart = self._key in _MILLISECONDS or (len(steps) > 0 and float(np.median(steps)) > 1.0)
        return frame_times / 1000.0 if apart else frame_times


def _table(text: str, name: str) -> Iterator[Mapping[str, Any]]:
    """The rows of a CSV file."""
    reader = csv.DictReader(io.StringIO(text, newline=""))
    columns = [column.strip() for column in reader.fieldnames or ()]
    if len(set(columns)) < len(columns):
        raise MseError(f"{name} has several columns of one name.")
    try:
        for row in reader:
            if None in row or None in row.values():
                raise MseError(f"{name} has another number of cells in line {reader.line_num} than in its header.")
            yield {column.strip(): cell for column, cell in row.items()}
    except csv.Error as error:
        raise MseError(f"{name} is not valid CSV: {error}.") from error


def _objects(text: str, name: str) -> list[Mapping[str, Any]]:
    """The frames of a JSON file: a list, an object with a list, or an object a line."""
    frames: Any
    try:
        try:
            frames = json.loads(text)
        except json.JSONDecodeError:
            frames = [json.loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError) as error:
        raise MseError(f"{name} is not valid JSON: {error}.") from error
    if isinstance(frames, Mapping):
        frames = next((frames[key] for key in ("frames", "results", "detections") if key in frames), [frames])
    if not isinstance(frames, list) or not all(isinstance(frame, Mapping) for frame in frames):
        raise MseError(
            f"{name} is not a list of frames; expected objects with a time and the Face Landmarker's result."
        )
    return frames


def _frame(row: Mapping[str, Any], clock: _Clock, name: str) -> _Frame:
    """A frame of either kind of file."""
    time = clock.read(row)
    if name.lower().endswith(".csv"):
        values = _cells(row)
        return _Frame(time, int(any(np.isfinite(value) for value in values.values())), values)
    result = row.get("result", row)
    result = result if isinstance(result, Mapping) else {}
    shapes = _faces(result, "faceBlendshapes", "face_blendshapes", "blendshapes")
    marks = _faces(result, "faceLandmarks", "face_landmarks", "landmarks")
    matrices = _faces(result, "facialTransformationMatrixes", "facial_transformation_matrixes")
    values = {**_scores(shapes[:1]), **_points(marks[:1]), **_pose(matrices[:1])}
    return _Frame(time, max(len(shapes), len(marks), len(matrices)), values)


def _cells(row: Mapping[str, Any]) -> dict[str, float]:
    """What a row of a table tells, under our names."""
    by_lower = {name.lower(): name for name in (*BLENDSHAPES, *POSE)}
    values = {}
    for column, cell in row.items():
        name = by_lower.get(column.lower())
        mark = _LANDMARK.fullmatch(column.lower()) if name is None else None
        if mark:
            name = f"{mark['axis'] or mark['axis2']}_{int(mark['number'] or mark['number2'])}"
        if name is not None:
            values[name] = _number(cell)
    return values


def _faces(result: Mapping[str, Any], *names: str) -> list[Any]:
    """The faces of one kind of result; a face alone is a list of one."""
    detections: Any = next((result[name] for name in names if result.get(name)), [])
    if isinstance(detections, Mapping):
        return [detections]
    return detections if isinstance(detections, list) else []


def _scores(faces: Sequence[Any]) -> dict[str, float]:
    """Blendshapes of a face: categories with scores, or scores by name."""
    values: dict[str, float] = {}
    for face in faces:
        shapes = face.get("categories", face) if isinstance(face, Mapping) else face
        if isinstance(shapes, Mapping):
            values.update({str(name): _number(score) for name, score in shapes.items()})
        elif isinstance(shapes, list):
            for shape in shapes:
                if isinstance(shape, Mapping):
                    values[str(shape.get("categoryName") or shape.get("category_name"))] = _number(shape.get("score"))
    return values


def _points(faces: Sequence[Any]) -> dict[str, float]:
    """Landmarks of a face: objects with x, y and z, or lists of three."""
    values: dict[str, float] = {}
    for face in faces:
        for number, point in enumerate(face if isinstance(face, list) else []):
            coordinates = (
                point if isinstance(point, Mapping) else dict(zip("xyz", point, strict=False)) if point else {}
            )
            values.update({f"{axis}_{number}": _number(coordinates.get(axis)) for axis in "xyz"})
    return values


def _pose(matrices: Sequence[Any]) -> dict[str, float]:
    """Place and angles from a 4 x 4 matrix, in rows (Python) or as sixteen numbers by rows or columns (JavaScript)."""
    for matrix in matrices:
        values = matrix.get("data", []) if isinstance(matrix, Mapping) else matrix
        flat = [number for row in values for number in (row if isinstance(row, list) else [row])]
        numbers = np.array([_number(number) for number in flat])
        if numbers.shape != (16,) or not np.isfinite(numbers).all():
            continue
        square = numbers.reshape(4, 4)
        if np.abs(square[3, :3]).max() > np.abs(square[:3, 3]).max():
            square = square.T  # by columns: the place stands where zeros are in one by rows
        turn = square[:3, :3]
        angles = (
            np.arctan2(turn[2, 1], turn[2, 2]),
            np.arctan2(-turn[2, 0], np.hypot(turn[2, 1], turn[2, 2])),
            np.arctan2(turn[1, 0], turn[0, 0]),
        )
        return dict(zip(POSE, map(float, (*square[:3, 3], *angles)), strict=True))
    return {}


def _number(value: Any) -> float:
    """A number, or NaN for what is none."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return float("nan")


def _require_all(name: str, kept: Kept, faces: Sequence[Mapping[str, float]]) -> None:
    """Refuse a file of whose frames with a face all lack a part of what is to be kept.

    Raises:
        MseError: They do.
    """
    known = {key for face in faces for key, value in face.items() if np.isfinite(value)}
    parts = {
        "blendshapes (output_face_blendshapes)": BLENDSHAPES if kept.blendshapes else (),
        "pose (output_facial_transformation_matrixes)": POSE if kept.pose else (),
        f"{kept.landmarks} landmarks": tuple(f"x_{k}" for k in range(kept.landmarks)),
    }
    lacking = [part for part, names in parts.items() if set(names) - known]
    if not lacking:
        return
    raise MseError(
        f"{name} shows faces, but no frame has all of: {', '.join(lacking)}. Run the Face Landmarker with these "
        "results, or choose others by --option blendshapes=false, pose=true, landmarks=478."
    )


STREAM = "visual.mediapipe"


def read(
    path: Path,
    *,
    dataset: Dataset,
    blendshapes: bool = True,
    pose: bool = False,
    landmarks: int = 0,
    fps: float = 0.0,
    follow_links: bool = False,
) -> Imported:
    """Read a folder of the Face Landmarker's results as the stream `STREAM` of a dataset.

    MediaPipe writes no files itself; these are the forms in which its results are usually kept, one file a video,
    matched with clips by name as OpenFace's are:

    - JSON, or a JSON object a line: a frame an object, with a time and the result as the JavaScript or the Python
      interface has it (``faceBlendshapes``, ``face_blendshapes``, ...), inline or under ``result``;
    - CSV: a frame a row, with a time, columns named like the blendshapes, and landmarks as ``x_0``, ``y_0``, ``z_0``
      or ``lm_0_x``, ....

    The time is ``timestamp_ms``, ``timestamp`` or ``time`` (in milliseconds where frames lie more than 1 apart, else in
    seconds), or ``frame`` with the option `fps`.

    Args:
        path: The folder.
        dataset: Has the clips.
        blendshapes: Whether the 51 blendshapes are kept (``_neutral``, which says nothing, is not).
        pose: Whether the head's place (cm) and angles (rad) are kept, from the facial transformation matrix.
        landmarks: How many landmarks are kept, 478, or 468 of earlier versions; 0 for none.
        fps: Frames a second, where files number frames and tell no times.
        follow_links: Whether symbolic links that lead out of the folder are followed.

    Raises:
        UsageError: There are no such files, none fits a clip, or one could be of several clips.
        MseError: A file is damaged, or lacks what is to be kept; told while the stream is read.
    """
    if landmarks not in (0, 468, 478):
        raise UsageError(f"Option landmarks must be 478, 468, or 0 for none; got {landmarks}.")
    if not (blendshapes or pose or landmarks):
        raise UsageError("Of blendshapes, pose and landmarks at least one must be kept.")
    if not 0.0 <= fps <= 1000.0:
        raise UsageError(f"Option fps must be between 0 and 1000; got {fps:g}.")
    form = TrackFormat(
        name="mediapipe",
        stream=STREAM,
        endings=(".json", ".jsonl", ".csv"),
        load=partial(read_track, kept=Kept(blendshapes, pose, landmarks), fps=fps),
        options={"blendshapes": blendshapes, "pose": pose, "landmarks": landmarks, "fps": fps},
        written="keep the Face Landmarker's results in one a video",
        alike="keep the same results of all videos",
        chosen="the first of each frame was taken",
        rule="no face",
    )
    return read_folder(path, dataset, form, follow_links)


FORMAT = Format("JSON or CSV files of MediaPipe's Face Landmarker, for a dataset in the cache", read, extends=True)
