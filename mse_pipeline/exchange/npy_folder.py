"""Folders of .npy files as MERBench keeps them: one file a clip, utterance level (D,) or frame level (T, D).

A feature set is a folder; a clip's file is ``<folder>/<clip>.npy``, or all of ``<folder>/<clip>/*.npy``, a frame each.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mse_pipeline.corpora.base import enumerate_some
from mse_pipeline.corpora.files import list_files, open_root, relative, telling
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.exchange.base import ROWS_CLOCK, Imported, Undefined, file_digest, row_clock, zero_where_undefined
from mse_pipeline.exchange.clip_table import TABLE, read_clip_table, write_clip_table
from mse_pipeline.exchange.npy_file import as_rows, read_npy
from mse_pipeline.names import ByName, same_on_disk, too_long
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.features import Features
from mse_pipeline.store.storage import aside

_MODALITIES = {
    "acoustic": ("acoustic", "audio"),
    "visual": ("visual", "video", "vision"),
    "text": ("text", "lexical"),
}
_TABLES = (TABLE, "label.csv", "labels.csv", "meta.csv")
_NPZ = re.compile(r"labels?[\w-]*\.npz")


def read(
    path: Path,
    *,
    labels: str | None = None,
    acoustic: str | None = None,
    visual: str | None = None,
    text: str | None = None,
    split: str | None = None,
    label_column: str | None = None,
    follow_links: bool = False,
) -> Imported:
    """Read feature folders and a label table.

    Args:
        path: The folder that holds the feature folders.
        labels: The label table, anywhere; None for the clips.csv, label.csv, labels.csv or meta.csv below `path`, or
            MERBench's label.npz. The columns of a table are id (or name), label, split and text, or those of MMSA's
            tables.
        acoustic: Folder of the acoustic features below `path`; None for one called acoustic, audio or
            ``acoustic.NAME``.
        visual: Likewise, also video and vision.
        text: Likewise, also lexical.
        split: The split of all clips, for a table without such a column.
        label_column: The table's column of labels; emo or val of label.npz.
        follow_links: Whether symbolic links that lead out of the folder are followed.

    Raises:
        UsageError: There is no table or feature folder, or they do not fit together.
        MseError: A file is damaged or hostile; told while streams are read.
    """
    folder = open_root(path)
    listing = list_files(folder, follow_links)
    with telling(listing):
        table_path = _table(folder, listing.files, labels)
    table = read_clip_table(table_path, split=split, label_column=label_column)
    files = [name for name in listing.files if name.lower().endswith(".npy")]
    with telling(listing):
        folders = _folders(folder, files, {"acoustic": acoustic, "visual": visual, "text": text})
    notes = [*table.notes, *listing.refused]
    streams: dict[str, Callable[[], Iterator[tuple[str, Features]]]] = {}
    digests: dict[str, str] = {}
    for stream, home in folders.items():
        files_of = _match([clip.id for clip in table.clips], home, files)
        if not files_of:
            first = next(iter(table.clips)).id
            raise UsageError(f"No file below {home or path} is named like a clip of {table_path.name}, as {first}.npy.")
        absent = len(table.clips) - len(files_of)
        if absent:
            notes.append(f"{stream}: {absent:,} of {len(table.clips):,} clips have no file in {home}.")
        unused = sum(name.startswith(f"{home}/") for name in files) - sum(map(len, files_of.values()))
        if unused:
            notes.append(f"{stream}: {unused:,} files in {home} belong to no clip of {table_path.name}.")
        digests[stream] = _digest(folder, [name for names in files_of.values() for name in names])
        streams[stream] = partial(_read_stream, folder, stream, files_of, table.names.get(stream), notes)
    source: dict[str, Any] = {
        "format": "npy",
        "labels": {"file": table_path.name, "sha256": file_digest(table_path)},
        "folders": {stream: {"folder": home, "blake2b": digests[stream]} for stream, home in folders.items()},
        "clock": "rows",
    }
    source |= {key: value for key, value in (("corpus", table.corpus), ("dataset", table.dataset)) if value}
    return Imported(task=table.task, clips=table.clips, streams=streams, source=source, notes=notes)


def write(dataset: Dataset, path: Path, *, streams: Mapping[str, str]) -> None:
    """Write a folder a stream, a .npy file a clip (T, D) float32, and the clip table beside them.

    Times and validity have no place in this format: the rows keep their order, and what was not measured is 0, a row or
    a value.

    Args:
        dataset: In the cache.
        path: The folder that is made.
        streams: Name of the stream by modality.

    Raises:
        UsageError: The path is a file, no stream is given, or an id is not a path below a folder.
    """
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is a file; .npy files are written into a folder.")
    if not streams:
        raise UsageError(f"No stream of {dataset.name} is to be written; it has {', '.join(dataset) or 'none'}.")
    root = path.resolve()
    files = {stream: {clip: _below(root, stream, clip) for clip in dataset[stream]} for stream in streams.values()}
    path.mkdir(parents=True, exist_ok=True)
    if alike := same_on_disk(root, [name for below in files.values() for name in below.values()]):
        raise UsageError(
            f"The disk of {path} takes {alike[0][0]} and {alike[0][1]} for one file; write to another disk, or give "
            "the clips ids that differ by more than case."
        )
    for stream, below in files.items():
        features = dataset[stream]
        for clip in features:
            with aside(root / below[clip]) as temporary, temporary.open("wb") as handle:
                np.save(handle, zero_where_undefined(features[clip].values), allow_pickle=False)
    write_clip_table(dataset, path, list(streams.values()))


def _below(root: Path, stream: str, clip: str) -> str:
    """A clip's file below the root; hidden names would not be found again."""
    try:
        below = relative(root, stream, f"{clip}.npy")
    except ValueError as error:
        raise UsageError(f"Clip {clip!r} cannot name a file: {error}.") from None
    if below != f"{stream}/{clip}.npy" or any(part.startswith(".") for part in below.split("/")):
        raise UsageError(f"Clip {clip!r} cannot name a file; .npy folders need plain names.")
    if (why := too_long(below)) is not None:
        raise UsageError(f"Clip {clip[:40]!r}… cannot name a file: its id {why}. Shorten the ids in the clip table.")
    return below


def _table(folder: Path, listed: Sequence[str], labels: str | None) -> Path:
    if labels is not None:
        path = Path(labels).expanduser()
        if not path.is_file():
            raise UsageError(f"There is no label table {path}.")
        return path
    candidates = [name for name in listed if posixpath.basename(name).lower() in _TABLES]
    candidates = candidates or [name for name in listed if _NPZ.fullmatch(posixpath.basename(name).lower())]
    if len(candidates) != 1:
        message = f"several: {enumerate_some(candidates, 5)}" if candidates else "none"
        raise UsageError(
            f"A label table with the columns id, label and split is needed; called {', '.join(_TABLES)} or label.npz "
            f"there is {message} below {folder}. Name one with the option labels."
        )
    return folder / candidates[0]


def _folders(folder: Path, files: Sequence[str], asked: Mapping[str, str | None]) -> dict[str, str]:
    """Folder below the root by stream."""
    tops = sorted({name.partition("/")[0] for name in files if "/" in name})
    folders: dict[str, str] = {}
    for modality, usual in _MODALITIES.items():
        name = asked[modality]
        if name is not None:
            try:
                home = relative(folder, "", name)
            except ValueError as error:
                raise UsageError(f"Option {modality}: {error}; it must lie below {folder}.") from None
            if not any(file.startswith(f"{home}/") for file in files):
                raise UsageError(f"Option {modality}: there is no .npy file in {name} below {folder}.")
            folders[_stream(modality, home)] = home
            continue
        fitting = [top for top in tops if top.lower() in usual or top.startswith(f"{modality}.")]
        if len(fitting) > 1:
            raise UsageError(
                f"Several folders are {modality}: {', '.join(fitting)}. Choose with the option {modality}."
            )
        folders |= {_stream(modality, home): home for home in fitting}
    if not folders:
        raise UsageError(
            f"No folder below {folder} tells its modality; there are {enumerate_some(tops) or 'none with .npy files'}. "
            "Set the options acoustic, visual or text to one of them."
        )
    return folders


def _stream(modality: str, home: str) -> str:
    kind = re.sub(r"[^A-Za-z0-9._-]", "_", posixpath.basename(home)).lstrip("._-") or "npy"
    if kind.startswith(f"{modality}."):
        return kind
    return f"{modality}.{'npy' if kind.lower() in _MODALITIES[modality] else kind}"


def _match(clips: Sequence[str], home: str, files: Sequence[str]) -> dict[str, list[str]]:
    """Files below the root by clip id, in the order of the clips."""
    by_place: dict[str, list[str]] = {}
    for name in files:
        if name.startswith(f"{home}/"):
            inner = name[len(home) + 1 :]
            by_place[inner[: -len(".npy")]] = [name]
            by_place.setdefault(posixpath.dirname(inner) + "/", []).append(name)
    by_place = ByName(by_place)
    files_of: dict[str, list[str]] = {}
    for clip in clips:
        # Ids of MMSA and of MELD as their files are named elsewhere.
        for spelling in dict.fromkeys(
            (clip, clip.replace("$_$", "_"), clip.replace("$_$", "/"), clip.replace("/", "_"))
        ):
            if spelling in by_place or spelling + "/" in by_place:
                files_of[clip] = by_place[spelling] if spelling in by_place else sorted(by_place[spelling + "/"])
                break
    return files_of


def _digest(folder: Path, names: Sequence[str]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in names:
        digest.update(f"{name}\0{file_digest(folder / name)}\n".encode())
    return digest.hexdigest()


def _read_stream(
    folder: Path, stream: str, found: Mapping[str, list[str]], names: tuple[str, ...] | None, notes: list[str]
) -> Iterator[tuple[str, Features]]:
    undefined = Undefined(stream)
    width: int | None = None
    for clip, files in found.items():
        parts = [as_rows(read_npy(folder / name), folder / name) for name in files]
        if any(part.shape[1] != parts[0].shape[1] for part in parts):
            raise MseError(f"The files of clip {clip} in {posixpath.dirname(files[0])} have different widths.")
        rows = np.concatenate(parts) if len(parts) > 1 else parts[0]
        if width is not None and rows.shape[1] != width:
            raise MseError(f"{files[0]} has {rows.shape[1]} columns, the files before it {width}; all must be alike.")
        width = rows.shape[1]
        if names is None or len(names) != width:
            names = tuple(f"{stream.partition('.')[2]}_{index}" for index in range(width))
        values, valid = undefined.read(rows)
        yield clip, Features(values, row_clock(len(values)), valid, names, dict(ROWS_CLOCK))
    notes += undefined.notes()
