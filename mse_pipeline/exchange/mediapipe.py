"""MediaPipe's Face Landmarker: blendshapes, pose and landmarks become a stream of a dataset that is in the cache."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from mse_pipeline.errors import UsageError
from mse_pipeline.exchange.base import Imported
from mse_pipeline.exchange.mediapipe_file import Kept, read_track
from mse_pipeline.exchange.track_folder import TrackFormat, read_folder
from mse_pipeline.store.dataset import Dataset

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
        rule="no face, or values that are missing",
    )
    return read_folder(path, dataset, form, follow_links)
