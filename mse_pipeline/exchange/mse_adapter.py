"""MSE-Adapter's own pickles of MELD, CHERMA and IEMOCAP: a list of dictionaries a split.

An entry is ``{"label": str, "features": {"text": str, "audio": (La, Da), "video": (Lv, Dv), "audio_len": int,
"video_len": int}}``. All entries of a file are padded to the same shape. There are no ids. The export writes a file a
split, which MSE-Adapter's own loader opens.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mse_pipeline.cells import said
from mse_pipeline.clip import Clip, Split
from mse_pipeline.corpora.text import repair
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.exchange.base import ROWS_CLOCK, Imported, Undefined, file_digest, row_clock
from mse_pipeline.exchange.clip_table import ABOUT, About, about_of
from mse_pipeline.exchange.matching import CLASSES, LANGUAGES, PickleEntry, rebuild, spelling
from mse_pipeline.exchange.pickle_write import Padded, by_split, streams_of, write_pickle
from mse_pipeline.exchange.restricted import PickleFile, read_pickle
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.features import Features
from mse_pipeline.store.storage import aside, write_json
from mse_pipeline.task import Classification

MODALITIES = {"acoustic": "audio", "visual": "video"}
_NAME = re.compile(r"(?:(?P<corpus>.+?)[_-])?(?P<split>train|valid|val|dev|test)\.(?:pkl|pickle)", re.IGNORECASE)
_SPLITS = {"train": Split.TRAIN, "valid": Split.VALID, "val": Split.VALID, "dev": Split.VALID, "test": Split.TEST}
_RELEASE_EVERY = 128


def read(path: Path, *, corpus: str = "", classes: str = "", labels: str = "", encoding: str = "utf-8") -> Imported:
    """Read MSE-Adapter pickles.

    Args:
        path: The folder with ``meld_train.pkl``, ``meld_valid.pkl`` and ``meld_test.pkl``, or one such file.
        corpus: ``meld``, ``cherma`` or ``iemocap``; empty: what the files' names say.
        classes: The labels that there are, with commas between, for data of one's own.
        labels: Folder with the corpus's label files, by which ids are rebuilt and texts and labels compared; empty: ids
            are made, as in ``train/00001``.
        encoding: Of texts that Python 2 wrote.

    Returns:
        Streams ``acoustic.mse`` and ``visual.mse``. The files have no times: row i has the interval (i, i + 1).

    Raises:
        UsageError: There are no such files, or nothing tells which classes there are.
        MseError: A file is hostile or damaged, a label is unknown, or lengths do not fit the arrays.
    """
    files = _files(path)
    about = None if corpus or classes else _about(files)
    corpus = corpus or (about.corpus or "" if about else _corpus(path, files))
    known = tuple(name.strip() for name in classes.split(",") if name.strip()) or CLASSES.get(corpus, ())
    if about is not None and isinstance(about.task, Classification):
        known = about.task.classes
    if not known:
        raise UsageError(
            f"Nothing tells which labels {path} has: give --option corpus= with one of {', '.join(CLASSES)}, or "
            "--option classes= with the labels, commas between."
        )
    notes: list[str] = []
    entries = {split: _entries(read_pickle(file, encoding=encoding)) for split, file in files.items()}
    by_split = {
        split: [PickleEntry(repair(said(one.text)), spelling(corpus, one.label, known, one.name)) for one in given]
        for split, given in entries.items()
    }
    if labels:
        clips = rebuild(str(path), by_split, corpus, labels, notes)
    else:
        language = LANGUAGES.get(corpus, "en")
        clips = {
            split: [_clip(split, i, one, language) for i, one in enumerate(part)] for split, part in by_split.items()
        }
        notes.append("The files have no ids: they were made by order, as in train/00000.")
    digests = {file.name: file_digest(file) for file in files.values()}
    own = corpus in CLASSES and known == CLASSES[corpus]
    source = {
        "format": "mse-adapter",
        "files": list(digests),
        "sha256": digests,
        **({"corpus": corpus} if own or about else {}),
        **({"dataset": about.dataset} if about else {}),
        **ROWS_CLOCK,
    }
    streams = {
        f"{modality}.mse": _Stream(f"{modality}.mse", field, entries, clips, notes, about)
        for modality, field in MODALITIES.items()
    }
    every = tuple(clip for split in Split if split in clips for clip in clips[split])
    task = about.task if about else Classification(known)
    return Imported(task=task, clips=every, streams=streams, source=source, notes=notes)


def _files(path: Path) -> dict[Split, Path]:
    candidates = sorted(path.iterdir()) if path.is_dir() else [path]
    files: dict[Split, Path] = {}
    for file in candidates:
        match = _NAME.fullmatch(file.name)
        if match is None or not file.is_file():
            continue
        split = _SPLITS[match["split"].lower()]
        if split in files:
            raise UsageError(
                f"{path} has two files of split {split}: {files[split].name} and {file.name}. Give a folder "
                "with one dataset."
            )
        files[split] = file
    if not files:
        raise UsageError(f"{path} is none of MSE-Adapter's pickles; expected names as meld_train.pkl, meld_valid.pkl.")
    return {split: files[split] for split in Split if split in files}


def _corpus(path: Path, files: Mapping[Split, Path]) -> str:
    for file in files.values():
        match = _NAME.fullmatch(file.name)
        name = (match["corpus"] or "").lower() if match else ""
        if name in CLASSES:
            return name
    return next((name for name in CLASSES if path.resolve().name.lower().startswith(name)), "")


def _about(files: Mapping[Split, Path]) -> About | None:
    """What our export says of the dataset in the folder, if the files are that dataset's."""
    about = About.beside(next(iter(files.values())))
    names = {match["corpus"] for file in files.values() if (match := _NAME.fullmatch(file.name))}
    fits = about is not None and names == {about.dataset} and isinstance(about.task, Classification)
    return about if fits else None


@dataclass(frozen=True)
class _One:
    """An entry: where it is, its text, its label, its arrays and their true lengths by field."""

    name: str
    text: str
    label: str
    arrays: Mapping[str, np.ndarray]
    lengths: Mapping[str, int]
    file: PickleFile


def _entries(file: PickleFile) -> list[_One]:
    if not isinstance(file.value, list):
        raise MseError(f"{file.path} holds a {type(file.value).__name__}; expected a list of entries, one a clip.")
    entries = [_one(f"entry {index} of {file.path.name}", entry, file) for index, entry in enumerate(file.value)]
    for field in MODALITIES.values():
        widths = {item.arrays[field].shape[1] for item in entries}
        if len(widths) > 1:
            raise MseError(
                f"{file.path}: {field} has rows of {len(widths)} different widths, of which one is expected."
            )
    return entries


def _one(name: str, entry: Any, file: PickleFile) -> _One:
    features = entry.get("features") if isinstance(entry, dict) else None
    if not isinstance(features, dict):
        raise MseError(f"{name} is not of the form {{'label': ..., 'features': {{...}}}}.")
    label, text = entry.get("label"), features.get("text")
    if not isinstance(label, str) or not isinstance(text, str):
        raise MseError(f"{name} has no label or no text; both must be texts.")
    arrays, lengths = {}, {}
    for field in MODALITIES.values():
        array, length = features.get(field), features.get(f"{field}_len")
        if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind not in "fiu" or not array.shape[1]:
            raise MseError(f"{name}: {field} must be an array of numbers (rows, dimensions).")
        if isinstance(length, bool) or not isinstance(length, int) or not 0 <= length <= len(array):
            length_found = length if isinstance(length, int | float) else f"a {type(length).__name__}"
            raise MseError(f"{name}: {field}_len is {length_found}; the array has {len(array)} rows.")
        arrays[field], lengths[field] = array, length
    return _One(name, text, label, arrays, lengths, file)


def _clip(split: Split, index: int, entry: PickleEntry, language: str) -> Clip:
    return Clip(id=f"{split}/{index:05d}", split=split, text=entry.text, language=language, label=entry.label)


@dataclass(frozen=True)
class _Stream:
    """Gives the features of one field clip by clip."""

    name: str
    field: str
    entries: Mapping[Split, list[_One]]
    clips: Mapping[Split, list[Clip]]
    notes: list[str]
    about: About | None

    def __call__(self) -> Iterator[tuple[str, Features]]:
        undefined = Undefined(self.name)
        names: tuple[str, ...] = ()
        empty = 0
        for split, entries in self.entries.items():
            for index, (clip, one) in enumerate(zip(self.clips[split], entries, strict=True)):
                array, length = one.arrays[self.field], one.lengths[self.field]
                if not names and self.about is not None:
                    names = self.about.names(self.name.partition(".")[0], array.shape[1]) or ()
                names = names or tuple(f"{self.field}_{index}" for index in range(array.shape[1]))
                if array.shape[1] != len(names):
                    raise MseError(f"{one.name}: {self.field} has {array.shape[1]} values a row; others {len(names)}.")
                if length:
                    values, valid = undefined.read(array[:length])
                    yield clip.id, Features(values, row_clock(length), valid, names, ROWS_CLOCK)
                empty += not length
                if index % _RELEASE_EVERY == 0:
                    one.file.release()
        if empty:
            self.notes.append(f"{self.name}: {empty:,} clips have no rows, and so no features.")
        self.notes.extend(undefined.notes())


def write(dataset: Dataset, path: Path, *, streams: dict[str, str]) -> None:
    """Write ``NAME_train.pkl``, ``NAME_valid.pkl`` and ``NAME_test.pkl`` into a folder, a clip at a time.

    What they have no place for, as the names of dimensions, is in the file `ABOUT` beside them. Clips without a
    label are left out: the format has no place for them.

    Args:
        dataset: One whose labels are classes.
        path: The folder, made if need be.
        streams: Name of the stream by modality; acoustic and visual, both.

    Raises:
        UsageError: Labels are numbers, or a modality is missing.
    """
    if not isinstance(dataset.manifest.task, Classification):
        raise UsageError(f"{dataset.name} has numbers as labels, and this format holds classes; mmsa holds numbers.")
    padded = streams_of(streams, dataset, tuple(MODALITIES))
    missing = [modality for modality in MODALITIES if modality not in padded]
    if missing:
        raise UsageError(
            f"MSE-Adapter's pickles need a stream of each modality; there is none of {', '.join(missing)}."
        )
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is a file; MSE-Adapter's pickles are three files in a folder.")
    for split, clips in by_split([clip for clip in dataset.clips if clip.label is not None]).items():
        with aside(path / f"{dataset.name}_{split}.pkl") as temporary, temporary.open("wb") as file:
            write_pickle(_written_entries(clips, padded), file)
    write_json(path / ABOUT, about_of(dataset, list(streams.values())))


def _written_entries(clips: Sequence[Clip], padded: dict[str, Padded]) -> Iterator[dict[str, Any]]:
    for clip in clips:
        features: dict[str, Any] = {"text": clip.text}
        for modality, field in MODALITIES.items():
            features[field] = padded[modality].rows(clip)
            features[f"{field}_len"] = padded[modality].lengths([clip])[0]
        yield {"label": str(clip.label), "features": features}
