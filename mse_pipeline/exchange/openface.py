"""OpenFace 2.x: the CSV files of FeatureExtraction become a stream of a dataset that is in the cache."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mse_pipeline.clip import Clip
from mse_pipeline.corpora.base import enumerate_some
from mse_pipeline.corpora.files import list_files, open_root
from mse_pipeline.errors import UsageError
from mse_pipeline.exchange.base import Imported, file_digest
from mse_pipeline.exchange.clip_files import FileMatch, match_files, within_span
from mse_pipeline.exchange.openface_file import FaceTrack, read_track
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.features import Features

STREAM = "visual.openface"


@dataclass(frozen=True)
class _Choice:
    """What of a file is kept."""

    confidence: float
    landmarks: bool


def read(path: Path, *, dataset: Dataset, confidence: float = 0.8, landmarks: bool = False) -> Imported:
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

    Raises:
        UsageError: There are no such files, none fits a clip, or one could be of several clips.
        MseError: A file is damaged; told while the stream is read.
    """
    if not 0.0 <= confidence <= 1.0:
        raise UsageError(f"Option confidence must be between 0 and 1; got {confidence:g}.")
    root = open_root(path)
    listing = list_files(root)
    files = [name for name in listing.files if name.lower().endswith(".csv")]
    if not files:
        raise UsageError(f"There is no .csv file below {path}; FeatureExtraction writes one a video.")
    matches = match_files(dataset.clips, files)
    if not matches:
        first = dataset.clips[0].id if dataset.clips else "ID"
        raise UsageError(
            f"None of the {len(files):,} files below {path} is named like a clip of {dataset.name}, as {first}.csv; "
            f"the first is {files[0]}."
        )
    notes = [*listing.refused]
    absent = len(dataset.clips) - len(matches)
    if absent:
        notes.append(f"{STREAM}: {absent:,} of {len(dataset.clips):,} clips of {dataset.name} have no file.")
    unused = sorted(set(files) - {match.file for match in matches.values()})
    if unused:
        notes.append(f"{STREAM}: {len(unused):,} files are of no clip: {enumerate_some(unused, 5)}.")
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted({match.file for match in matches.values()}):
        digest.update(f"{name}\0{file_digest(root / name)}\n".encode())
    source = {
        "format": "openface",
        "files": len(files),
        "blake2b": digest.hexdigest(),
        "confidence": confidence,
        "landmarks": landmarks,
    }
    reader = partial(_read_stream, root, dataset.clips, matches, _Choice(confidence, landmarks), notes)
    return Imported(
        task=dataset.manifest.task, clips=dataset.clips, streams={STREAM: reader}, source=source, notes=notes
    )


def _read_stream(
    root: Path,
    clips: Sequence[Clip],
    matches: Mapping[str, FileMatch],
    choice: _Choice,
    notes: list[str],
) -> Iterator[tuple[str, Features]]:
    several = outside = invalid = total = repaired = 0
    opened: str | None = None
    track: FaceTrack | None = None
    names: tuple[str, ...] | None = None
    for clip in clips:
        match = matches.get(clip.id)
        if match is None:
            continue
        if match.file != opened or track is None:
            track, opened = read_track(root / match.file, match.file, choice.confidence, choice.landmarks), match.file
            repaired += track.repaired
        if names is not None and track.names != names:
            raise UsageError(
                f"{match.file} has other columns than the files before it; run FeatureExtraction with the same options "
                "on all videos."
            )
        names = track.names
        features = _clip_features(track, clip, match.cut)
        if not len(features):
            outside += 1
            continue
        several += track.faces > 1
        invalid += int((~features.valid).sum())
        total += len(features)
        yield clip.id, features
    if several:
        notes.append(
            f"{STREAM}: {several:,} clips show several faces; the one with the most confident frames was taken."
        )
    if outside:
        notes.append(f"{STREAM}: {outside:,} clips have no frame within their span, and no features.")
    if repaired:
        notes.append(f"{STREAM}: {repaired:,} frames held values that are no numbers; they are not valid.")
    rule = f"failure, or confidence under {choice.confidence:g}"
    notes.append(f"{STREAM}: {invalid:,} of {total:,} frames are not valid ({rule}).")


def _clip_features(track: FaceTrack, clip: Clip, cut: bool) -> Features:
    inside, intervals = within_span(track.intervals, clip, cut)
    note = {"faces": track.faces, "face_id": track.face}
    return Features(track.values[inside], intervals, track.valid[inside], track.names, note)
