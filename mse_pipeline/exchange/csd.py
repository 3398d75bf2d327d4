"""CMU's computational sequences (.csd): HDF5 files of features and intervals by video, and of labels and words.

A file holds ``/<root>/data/<video>/{features (N, d), intervals (N, 2)}`` and ``/<root>/metadata``; files are known by
their root, whatever they are called. Clips are the intervals of the label file, named ``<video>[k]`` as the SDK names
them after alignment; a clip's rows are those that overlap with its interval, on the clip's own clock.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from mse_pipeline.clip import Clip
from mse_pipeline.corpora.base import enumerate_some
from mse_pipeline.corpora.files import list_files, open_root, telling
from mse_pipeline.corpora.mmsa_table import is_label_table, read_label_table
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.exchange.base import Imported, file_digest
from mse_pipeline.exchange.clip_table import TABLE, read_clip_table
from mse_pipeline.exchange.csd_labels import Segment, make_segments, read_labels, task_of
from mse_pipeline.exchange.csd_numbers import Numbers, by_index, find_numbers, names_of, names_of_clip
from mse_pipeline.exchange.csd_rows import Place, read_rows, read_texts
from mse_pipeline.exchange.csd_write import entry_of, offset_of
from mse_pipeline.exchange.split_list import HELP, read_splits
from mse_pipeline.hdf5_guard import child, keys, opened
from mse_pipeline.store.features import Features
from mse_pipeline.task import Task

_STREAMS = {
    "covarep": "acoustic.covarep",
    "facet41": "visual.facet41",
    "facet42": "visual.facet42",
    "openface2": "visual.openface2",
    "glovevectors": "text.glove",
}
"""Root, without case and punctuation -> stream."""
_LABELS = {"alllabels", "opinionsegmentlabels"}
_WORDS = {"words"}
_OURS = {"classlabels"}
"""Written for the SDK; reading takes the clip table beside it."""
_STREAM = re.compile(r"(acoustic|visual|text)\.[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class _File:
    path: Path
    name: str
    root: str

    @property
    def kind(self) -> str:
        return re.sub(r"[^a-z0-9]", "", self.root.lower())


def read(
    path: Path,
    *,
    splits: str | None = None,
    target: str = "sentiment",
    roots: str | None = None,
    ids: str = "index",
    follow_links: bool = False,
) -> Imported:
    """Read a folder of .csd files: CMU-MOSEI's, CMU-MOSI's, or what `csd_write.write` made.

    Args:
        path: The folder; the files may lie in folders below it. A folder that we wrote has a clip table beside them.
        splits: A list of splits (`split_list.HELP`); None for MMSA's label.csv in the folder.
        target: Which annotation is to be predicted: sentiment, happy, sad, anger, surprise, disgust or fear.
        roots: Streams of further roots, as in ``OpenSMILE=acoustic.opensmile,VGG=visual.vgg``.
        ids: What clips are called: ``index`` for ``<video>[k]``, k being the place in the label file, as the SDK has
            it; ``number`` for ``<video>$_$<number>``, the number of the segment, as MMSA and this package's corpora
            have it. Lists of splits and entries of files may have either.
        follow_links: Whether symbolic links that lead out of the folder are followed.

    Raises:
        UsageError: There are no .csd files, labels or splits are missing, or an option does not fit.
        MseError: A file is damaged or hostile.
    """
    if path.is_file():
        raise UsageError(f"{path} is one file; give the folder that holds it and the label file.")
    folder = open_root(path)
    listing = list_files(folder, follow_links)
    with telling(listing):
        files = _files(folder, listing.files)
    streams, left_out = _streams(files, _own_roots(roots))
    notes = [*listing.refused]
    if left_out:
        notes.append(
            f"Left out, as no stream is known for their roots: {enumerate_some(left_out)}. "
            "The option roots names streams for them."
        )
    source: dict[str, Any] = {
        "format": "csd",
        "files": {file.name: {"root": file.root, "sha256": file_digest(file.path)} for file in files},
    }
    if (folder / TABLE).is_file():
        # The file was resolved by the listing: a link out of the folder is not among its files.
        if TABLE not in listing.files:
            raise UsageError(f"{folder / TABLE} is a symbolic link out of the folder; --follow-links allows it.")
        table = read_clip_table(folder / TABLE)
        task: Task = table.task
        places = [Place(clip.id, (), entry_of(clip.id), 0, None, offset_of(clip)) for clip in table.clips]
        clips = table.clips
        notes += table.notes
        source |= {"clips": file_digest(folder / TABLE)} | ({"corpus": table.corpus} if table.corpus else {})
    else:
        task = task_of(target)
        if ids not in ("index", "number"):
            raise UsageError(f"Option ids is index or number; got {ids!r}.")
        segments, numbers, found, list_path = _segments(folder, listing.files, files, splits, target)
        notes += found
        places = [_place(one, numbers) for one in segments]
        if ids == "number":
            places, segments = _by_number(places, segments)
        if target == "sentiment":
            # Its metrics and its recipe's settings hold.
            source["corpus"] = "mosei" if any(file.kind == "alllabels" for file in files) else "mosi"
        clips = _with_words(files, segments, places, notes)
        source |= {"splits": {"file": list_path.name, "sha256": file_digest(list_path)}, "target": target}
    readers: dict[str, Callable[[], Iterator[tuple[str, Features]]]] = {
        stream: partial(read_rows, file.path, file.root, stream, places, notes) for stream, file in streams.items()
    }
    return Imported(task=task, clips=clips, streams=readers, source=source, notes=notes)


def _files(folder: Path, listed: Sequence[str]) -> list[_File]:
    files = []
    for name in listed:
        if not name.lower().endswith(".csd"):
            continue
        with opened(folder / name) as file:
            roots = keys(file)
            if len(roots) != 1:
                raise MseError(f"{name} has {len(roots)} roots, {enumerate_some(roots, 3)}; a .csd file has one.")
            child(child(file, roots[0]), "data")
            files.append(_File(folder / name, name, roots[0]))
    if not files:
        raise UsageError(f"There is no .csd file below {folder}.")
    by_kind: dict[str, _File] = {}
    for one in files:
        other = by_kind.setdefault(one.kind, one)
        if other is not one:
            raise UsageError(f"{other.name} and {one.name} both have the root {one.root}; keep one of them.")
    return files


def _streams(files: Sequence[_File], own: Mapping[str, str]) -> tuple[dict[str, _File], list[str]]:
    """File by stream, and the roots that are none."""
    strangers = sorted(set(own) - {file.root for file in files})
    if strangers:
        raise UsageError(
            f"Option roots: there is no root {strangers[0]!r}; there are {', '.join(file.root for file in files)}."
        )
    streams: dict[str, _File] = {}
    left_out = []
    for file in files:
        stream = own.get(file.root) or _STREAMS.get(file.kind)
        if stream is None and _STREAM.fullmatch(file.root):
            stream = file.root
        if stream is not None and stream in streams:
            raise UsageError(f"{streams[stream].name} and {file.name} are both the stream {stream}; keep one of them.")
        if stream is not None:
            streams[stream] = file
        elif file.kind not in _LABELS | _WORDS | _OURS:
            left_out.append(f"{file.root} ({file.name})")
    return streams, left_out


def _own_roots(text: str | None) -> dict[str, str]:
    own = {}
    for part in filter(None, (text or "").split(",")):
        root, _, stream = part.partition("=")
        if not _STREAM.fullmatch(stream.strip()):
            raise UsageError(f"Option roots is written ROOT=acoustic.NAME,...; got {part!r}.")
        own[root.strip()] = stream.strip()
    return own


def _segments(
    folder: Path, listed: Sequence[str], files: Sequence[_File], splits: str | None, target: str
) -> tuple[list[Segment], Numbers, list[str], Path]:
    labels = [file for file in files if file.kind in _LABELS]
    if len(labels) != 1:
        raise UsageError(
            f"Below {folder} {len(labels)} files are labels; one with the root 'All Labels' (CMU_MOSEI_Labels.csd) or "
            f"'Opinion Segment Labels' is needed. Roots there: {', '.join(file.root for file in files)}."
        )
    tables = [name for name in listed if name.lower().endswith(".csv") and is_label_table(folder / name)]
    if splits is None and len(tables) != 1:
        found = f"several tables there could be: {enumerate_some(tables, 5)}" if tables else "there is no label.csv"
        raise UsageError(f".csd files do not tell splits, and below {folder} {found}. Give the option splits: {HELP}.")
    list_path = Path(splits).expanduser() if splits is not None else folder / tables[0]
    known = read_splits(list_path)
    with opened(labels[0].path) as file:
        labelled = read_labels(child(child(file, labels[0].root), "data"))
    rows = read_label_table(folder / tables[0]) if len(tables) == 1 else []
    texts = [name for name in listed if name.lower().endswith((".txt", ".annotprocessed"))]
    numbers, told = find_numbers(labelled, folder, texts, rows, known)
    known, lost = by_index(known, labelled, numbers)
    segments, notes = make_segments(labelled, known, target)
    return segments, numbers, [f"Splits are those of {list_path.name}.", *told, *lost, *notes], list_path


def _place(segment: Segment, numbers: Numbers) -> Place:
    clip = segment.clip.id
    names = names_of_clip(clip) if segment.index is None else names_of(segment.video, segment.index, numbers)
    count = 0 if segment.index is None else segment.count
    return Place(clip, names, segment.video, count, (segment.start, segment.end), segment.start)


def _by_number(places: Sequence[Place], segments: Sequence[Segment]) -> tuple[list[Place], list[Segment]]:
    """Clips called by the number of their segment.

    Raises:
        UsageError: The number of one is not known.
    """
    unknown = [place.clip for place in places if len(place.names) == 1]
    if unknown:
        raise UsageError(
            f"The numbers of {len(unknown):,} segments are not known: {enumerate_some(unknown, 5)}. Put CMU's "
            "transcripts (Raw/Transcript/Segmented) into the folder, which tell them, or import with ids=index."
        )
    called = [place.names[1] for place in places]
    return (
        [replace(place, clip=name) for place, name in zip(places, called, strict=True)],
        [replace(one, clip=replace(one.clip, id=name)) for one, name in zip(segments, called, strict=True)],
    )


def _with_words(
    files: Sequence[_File], segments: Sequence[Segment], places: Sequence[Place], notes: list[str]
) -> tuple[Clip, ...]:
    words = next((file for file in files if file.kind in _WORDS), None)
    if words is None:
        notes.append("There is no file with the root 'words' (TimestampedWords): clips have no text.")
        return tuple(one.clip for one in segments)
    texts, found = read_texts(words.path, words.root, places)
    notes += found
    return tuple(replace(one.clip, text=texts[one.clip.id]) for one in segments)
