"""A folder of face tracks, one file a video -> a stream of a dataset that is in the cache."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mse_pipeline.clip import Clip
from mse_pipeline.corpora.base import enumerate_some
from mse_pipeline.corpora.files import list_files, open_root, telling
from mse_pipeline.errors import UsageError
from mse_pipeline.exchange.base import Imported, file_digest
from mse_pipeline.exchange.clip_files import FileMatch, match_files, within_span
from mse_pipeline.exchange.openface_file import FaceTrack
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.features import Features


@dataclass(frozen=True, kw_only=True)
class TrackFormat:
    """What one tool's files are like.

    Attributes:
        name: Of the format.
        stream: The stream that is made.
        endings: Of its files, the usual one first.
        load: Reads a file's track, of its path and of the name that messages call it.
        options: What decides about the values; kept with the stream.
        written: How such files come about, for the error where there is none.
        alike: How files with the same columns are made, for the error where they differ.
        chosen: Which of several faces is taken.
        rule: Which frames are not valid.
    """

    name: str
    stream: str
    endings: tuple[str, ...]
    load: Callable[[Path, str], FaceTrack]
    options: Mapping[str, Any]
    written: str
    alike: str
    chosen: str
    rule: str


def read_folder(path: Path, dataset: Dataset, form: TrackFormat, follow_links: bool = False) -> Imported:
    """Read a folder of tracks as a stream of a dataset.

    Args:
        path: The folder; its files are matched with clips by `match_files`.
        dataset: Has the clips.
        form: What the files are like.
        follow_links: Whether symbolic links that lead out of the folder are followed.

    Raises:
        UsageError: There are no such files, none fits a clip, or one could be of several clips.
        MseError: A file is damaged; told while the stream is read.
    """
    root = open_root(path)
    listing = list_files(root, follow_links)
    files = [name for name in listing.files if name.lower().endswith(form.endings)]
    if not files:
        with telling(listing):
            raise UsageError(f"There is no {' or '.join(form.endings)} file below {path}; {form.written}.")
    matches = match_files(dataset.clips, files)
    if not matches:
        first = dataset.clips[0].id if dataset.clips else "ID"
        raise UsageError(
            f"None of the {len(files):,} files below {path} is named like a clip of {dataset.name}, as "
            f"{first}{form.endings[0]}; the first is {files[0]}."
        )
    notes = [*listing.refused]
    absent = len(dataset.clips) - len(matches)
    if absent:
        notes.append(f"{form.stream}: {absent:,} of {len(dataset.clips):,} clips of {dataset.name} have no file.")
    unused = sorted(set(files) - {match.file for match in matches.values()})
    if unused:
        notes.append(f"{form.stream}: {len(unused):,} files are of no clip: {enumerate_some(unused, 5)}.")
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted({match.file for match in matches.values()}):
        digest.update(f"{name}\0{file_digest(root / name)}\n".encode())
    source = {
        "format": form.name,
        "files": len(files),
        "blake2b": digest.hexdigest(),
        **form.options,
    }
    reader = partial(_read_stream, root, dataset.clips, matches, form, notes)
    return Imported(
        task=dataset.manifest.task, clips=dataset.clips, streams={form.stream: reader}, source=source, notes=notes
    )


def _read_stream(
    root: Path,
    clips: Sequence[Clip],
    matches: Mapping[str, FileMatch],
    form: TrackFormat,
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
            track, opened = form.load(root / match.file, match.file), match.file
            repaired += track.repaired
        if names is not None and track.names != names:
            raise UsageError(f"{match.file} has other columns than the files before it; {form.alike}.")
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
        notes.append(f"{form.stream}: {several:,} clips show several faces; {form.chosen}.")
    if outside:
        notes.append(f"{form.stream}: {outside:,} clips have no frame within their span, and no features.")
    if repaired:
        notes.append(f"{form.stream}: {repaired:,} frames held values that are no numbers; they are not valid.")
    notes.append(f"{form.stream}: {invalid:,} of {total:,} frames are not valid ({form.rule}).")


def _clip_features(track: FaceTrack, clip: Clip, cut: bool) -> Features:
    inside, intervals = within_span(track.intervals, clip, cut)
    note = {"faces": track.faces, "face_id": track.face}
    return Features(track.values[inside], intervals, track.valid[inside], track.names, note)
