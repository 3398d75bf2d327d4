"""OpenFace 2.x: the CSV files of FeatureExtraction become a stream of a dataset that is in the cache."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from mse_pipeline.errors import UsageError
from mse_pipeline.exchange.base import Imported
from mse_pipeline.exchange.openface_file import read_track
from mse_pipeline.exchange.track_folder import TrackFormat, read_folder
from mse_pipeline.store.dataset import Dataset

STREAM = "visual.openface"


def read(
    path: Path, *, dataset: Dataset, confidence: float = 0.8, landmarks: bool = False, follow_links: bool = False
) -> Imported:
    """Read a folder of OpenFace's CSV files as the stream `STREAM` of a dataset.

    A file belongs to the clip whose id, or whose media file, it is named like: ``train/dia0_utt0.csv``,
    ``train_dia0_utt0.csv``, or ``dia0_utt0.csv`` where only one clip is called so. The file of a long video serves all
    clips that are spans of it.

    Args:
        path: The folder.
        dataset: Has the clips.
        confidence: Frames below it are not valid, nor are those that OpenFace calls a failure.
        landmarks: Whether the coordinates of landmarks and the shape parameters are kept, beside gaze, pose and
            action units.
        follow_links: Whether symbolic links that lead out of the folder are followed.

    Raises:
        UsageError: There are no such files, none fits a clip, or one could be of several clips.
        MseError: A file is damaged; told while the stream is read.
    """
    if not 0.0 <= confidence <= 1.0:
        raise UsageError(f"Option confidence must be between 0 and 1; got {confidence:g}.")
    form = TrackFormat(
        name="openface",
        stream=STREAM,
        endings=(".csv",),
        load=partial(read_track, confidence=confidence, landmarks=landmarks),
        options={"confidence": confidence, "landmarks": landmarks},
        written="FeatureExtraction writes one a video",
        alike="run FeatureExtraction with the same options on all videos",
        chosen="the one with the most confident frames was taken",
        rule=f"failure, or confidence under {confidence:g}",
    )
    return read_folder(path, dataset, form, follow_links)
