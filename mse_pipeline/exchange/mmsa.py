"""MMSA's pickles (Mao et al. 2022): features of CMU-MOSI, CMU-MOSEI, CH-SIMS and CH-SIMS v2, also those of MMSA-FET.

A dictionary by split of dictionaries: ``raw_text``, ``id`` (``video$_$clip``), ``audio`` (N, La, Da), ``vision`` (N,
Lv, Dv), ``audio_lengths``, ``vision_lengths``, ``regression_labels``, ``regression_labels_T`` and ``_A``, ``_V``,
``annotations``, ``text`` (N, Lt, 768) and ``text_bert`` (N, 3, Lt). Aligned files have no lengths.

In the order of this file: one split, each field checked when it is used; the published feature files, identified by the
digests that MMSA (github.com/thuiar/MMSA) and the authors of MSE-Adapter (Hugging Face, AZYoung) give; import; export
to a pickle that plain numpy code opens as MMSA's README describes.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mse_pipeline.cells import said
from mse_pipeline.clip import Clip, Split
from mse_pipeline.corpora import mosei, mosi, sims, simsv2
from mse_pipeline.corpora.text import repair
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.exchange.base import ROWS_CLOCK, Imported, Undefined, file_digest, row_clock
from mse_pipeline.exchange.clip_table import About, about_of
from mse_pipeline.exchange.pickle_write import Padded, Pieces, by_split, streams_of, write_pickle
from mse_pipeline.exchange.restricted import PickleFile, read_pickle
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.features import Features
from mse_pipeline.store.storage import aside
from mse_pipeline.task import Regression

SEPARATOR = "$_$"
_ID = re.compile(r"(?!\.)[^\x00-\x1f\x7f-\x9f/\\]+")
_MAX_ID = 200
_ROWS = ("text", "audio", "vision")
_MAX_PADDING = 64  # times the values that there are; ragged files have some clips of many times the usual length
_SMALL = 64 << 20


@dataclass(frozen=True)
class SplitFields:
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
            MseError: One is not a number, or lies outside of the scale.
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
            got = f"one of {array.dtype} and shape {array.shape}" if isinstance(array, np.ndarray) else "none"
            raise MseError(f"{self.name}: {field} must be an array of numbers (clips, rows, dimensions), found {got}.")
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
    padded = dict(fields)
    for field in _ROWS:
        given = fields.get(field)
        rows = given.tolist() if isinstance(given, np.ndarray) and given.dtype.hasobject else given
        if not isinstance(rows, list) or not rows or not all(_is_rows(clip_rows, rows[0]) for clip_rows in rows):
            continue
        longest, dim = max(map(len, rows)), rows[0].shape[1]
        dtype = np.result_type(*{clip_rows.dtype for clip_rows in rows})
        size, held = len(rows) * longest * dim * dtype.itemsize, sum(clip_rows.nbytes for clip_rows in rows)
        if size > _SMALL + _MAX_PADDING * held:
            raise MseError(
                f"{name}: padded to {longest:,} rows a clip, {field} would take {size:,} bytes for {held:,}."
            )
        padded[field] = np.zeros((len(rows), longest, dim), dtype)
        for place, clip_rows in enumerate(rows):
            padded[field][place, : len(clip_rows)] = clip_rows
        padded.setdefault(f"{field}_lengths", [len(clip_rows) for clip_rows in rows])
    return padded


def _is_rows(one: Any, first: Any) -> bool:
    return (
        isinstance(one, np.ndarray) and one.ndim == 2 and one.dtype.kind in "fiu" and one.shape[1:] == first.shape[1:]
    )


def mask_of(part: SplitFields) -> np.ndarray:
    """(N,) bool: which clips are annotated; semi-supervised files say it, in all others every clip is."""
    if not part.has("mask"):
        return np.ones(len(part), bool)
    mask = np.asarray(part.fields["mask"])
    if mask.shape[:1] != (len(part),) or mask.size != len(part) or mask.dtype.kind not in "fiub":
        raise MseError(f"{part.name}: mask must have one number a clip.")
    return mask.reshape(-1).astype(bool)


def lengths_of(part: SplitFields, field: str) -> list[int] | None:
    """The number of rows of each clip in a field; None if the file does not tell.

    Raises:
        MseError: Lengths are not whole numbers, or more than the array has rows.
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


def _text_lengths(part: SplitFields, array: np.ndarray) -> np.ndarray | None:
    """From the mask of the tokens, the second row of ``text_bert``."""
    tokens = part.fields.get("text_bert")
    if not isinstance(tokens, np.ndarray) or tokens.shape != (len(array), 3, array.shape[1]):
        return None
    return tokens[:, 1, :].sum(axis=1)


def _texts(part: SplitFields, field: str, count: int | None) -> list[str]:
    given = part._get(field)
    values = given.reshape(-1).tolist() if isinstance(given, np.ndarray) else given
    if not isinstance(values, list | tuple) or not all(isinstance(text, str) for text in values):
        raise MseError(
            f"{part.name}: {field} must be texts. In a file of Python 2 that may be another encoding: "
            "--option encoding=latin1."
        )
    if count is not None and len(values) != count:
        raise MseError(f"{part.name} has {count:,} ids and {len(values):,} texts in {field}.")
    return list(values)


_TRAIN, _VALID, _TEST = Split


@dataclass(frozen=True)
class PublishedFile:
    """A published file.

    Attributes:
        name: How its publishers call it.
        corpus: Name of the corpus.
        digest: SHA-256, hex; of two files only the first eight digits are known.
        counts: Clips a split.
    """

    name: str
    corpus: str
    digest: str
    counts: Mapping[Split, int]


PUBLISHED = (
    PublishedFile("MMSA MOSI unaligned_50.pkl", "mosi", "78e0f8b5", mosi.OFFICIAL),
    PublishedFile("MMSA MOSI aligned_50.pkl", "mosi", "d3994fd2", mosi.OFFICIAL),
    PublishedFile(
        "MMSA MOSEI unaligned_50.pkl",
        "mosei",
        "ad8b23d50557045e7d47959ce6c5b955d8d983f2979c7d9b7b9226f6dd6fec1f",
        mosei.OFFICIAL,
    ),
    PublishedFile(
        "MMSA MOSEI aligned_50.pkl",
        "mosei",
        "45eccfb748a87c80ecab9bfac29582e7b1466bf6605ff29d3b338a75120bf791",
        mosei.OFFICIAL,
    ),
    PublishedFile(
        "MMSA SIMS unaligned_39.pkl",
        "sims",
        "c9e20c13ec0454d98bb9c1e520e490c75146bfa2dfeeea78d84de047dbdd442f",
        sims.OFFICIAL,
    ),
    PublishedFile(
        "CH-SIMS v2 ch-simsv2s.pkl",
        "simsv2",
        "f8fd9a1dd070588a714ff357b00f31d5bb93277b4e502cf2dc4ff718a95fc49b",
        simsv2.OFFICIAL,
    ),
)


def recognise(digest: str) -> PublishedFile | None:
    """The published file that has this digest.

    Args:
        digest: SHA-256, hex.

    Examples:
        >>> recognise("45eccfb748a87c80ecab9bfac29582e7b1466bf6605ff29d3b338a75120bf791").name
        'MMSA MOSEI aligned_50.pkl'
        >>> recognise("0" * 64) is None
        True
    """
    return next((file for file in PUBLISHED if digest.startswith(file.digest)), None)


def by_counts(counts: Mapping[Split, int]) -> str | None:
    """The corpus that has these numbers of clips a split.

    Examples:
        >>> by_counts({Split.TRAIN: 1284, Split.VALID: 229, Split.TEST: 686})
        'mosi'
    """
    return next((file.corpus for file in PUBLISHED if dict(file.counts) == dict(counts)), None)


SPLITS = {"train": Split.TRAIN, "valid": Split.VALID, "val": Split.VALID, "dev": Split.VALID, "test": Split.TEST}
SEMI_SUPERVISED = ("train_mix",)
"""Keys beside the splits that repeat the train split with clips that nobody annotated."""
SCALES = {
    "mosi": mosei.SENTIMENT[1],
    "mosei": mosei.SENTIMENT[1],
    "sims": simsv2.SENTIMENT[1],
    "simsv2": simsv2.SENTIMENT[1],
}
"""Corpus -> largest label; the least is its negative."""
MODALITIES = {"acoustic": "audio", "visual": "vision"}
LABELS = {"text": "regression_labels_T", "acoustic": "regression_labels_A", "visual": "regression_labels_V"}
ANNOTATIONS = ("Negative", "Neutral", "Positive")
_RELEASE_EVERY = 128
_ABOUT = "mse_about"


def read(path: Path, *, corpus: str = "", text: bool = False, encoding: str = "utf-8") -> Imported:
    """Read an MMSA pickle.

    Args:
        path: The file.
        corpus: ``mosi``, ``mosei``, ``sims`` or ``simsv2``; empty: found by the file's digest, its number of clips, or
            its labels.
        text: Also import the text features, as the stream ``text.mmsa``.
        encoding: Of texts that Python 2 wrote.

    Returns:
        Streams ``acoustic.mmsa`` and ``visual.mmsa``. The file has no times: row i has the interval (i, i + 1).

    Raises:
        UsageError: The corpus is unknown, or the file cannot be opened.
        MseError: The file is hostile, damaged or no MMSA pickle; or a label is unknown.
    """
    if corpus and corpus not in SCALES:
        raise UsageError(f"MMSA's corpora are {', '.join(SCALES)}; got {corpus!r}.")
    file = read_pickle(path, encoding=encoding)
    notes: list[str] = []
    parts = _parts(file, notes)
    digest = file_digest(path)
    published = recognise(digest)
    counts = {split: len(part) for split, part in parts.items()}
    texts = (part.fields.get(_ABOUT) for part in parts.values())
    about = next((About.of(text, f"{_ABOUT} of {path}") for text in texts if isinstance(text, str)), None)
    corpus_name = corpus or (published.corpus if published else about.corpus if about else by_counts(counts))
    if published and corpus and corpus != published.corpus:
        raise UsageError(f"{path} is {published.name}, of the corpus {published.corpus}; got {corpus!r}.")
    if about is not None and not corpus and isinstance(about.task, Regression):
        task = about.task
        scale = max(abs(task.low), abs(task.high))
        notes.append(f"Exported by mse: labels from {task.low:g} to {task.high:g}.")
    else:
        scale, note = _scale(corpus_name, parts)
        task = Regression(-scale, scale)
        notes.append(note)
    clips = tuple(clip for split, part in parts.items() for clip in _clips(split, part, scale))
    _unique(path, clips)
    source = {
        "format": "mmsa",
        "files": [path.name],
        "sha256": digest,
        "published": published.name if published else None,
        **({"corpus": corpus_name} if corpus_name else {}),
        **({"dataset": about.dataset} if about else {}),
        **ROWS_CLOCK,
    }
    wanted = [*MODALITIES.items(), *([("text", "text")] if text else [])]
    streams = {}
    for modality, field in wanted:
        having = {split: part for split, part in parts.items() if part.has(field)}
        if having:
            streams[f"{modality}.mmsa"] = _Stream(file, f"{modality}.mmsa", field, having, notes, about)
    if not text and any(part.has("text") for part in parts.values()):
        notes.append("Text features are left out; --option text=true imports them as text.mmsa.")
    return Imported(task=task, clips=clips, streams=streams, source=source, notes=notes)


def _parts(file: PickleFile, notes: list[str]) -> dict[Split, SplitFields]:
    if not isinstance(file.value, Mapping) or not any(key in SPLITS for key in file.value):
        raise MseError(
            f"{file.path} is not an MMSA pickle: expected a dictionary with the keys train, valid and test, found "
            f"{_kind(file.value)}."
        )
    parts: dict[Split, SplitFields] = {}
    for key, value in file.value.items():
        if key in SEMI_SUPERVISED:
            notes.append(f"The part {key} is left out: it repeats the train split, with clips without labels.")
        elif key not in SPLITS:
            raise MseError(f"{file.path} has a part {str(key)[:40]!r}; expected {', '.join(SPLITS)}.")
        elif SPLITS[key] in parts:
            raise MseError(f"{file.path} has two parts for the split {SPLITS[key]}.")
        elif not isinstance(value, Mapping):
            raise MseError(f"Part {key} of {file.path} is {_kind(value)}; expected a dictionary of fields.")
        else:
            name = f"{file.path}, {key}"
            parts[SPLITS[key]] = SplitFields(name, padded_fields(value, name))
    return {split: parts[split] for split in Split if split in parts}


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"one with the keys {', '.join(str(key)[:20] for key in list(value)[:5]) or 'none'}"
    return f"a {type(value).__name__}"


def _scale(corpus: str | None, parts: Mapping[Split, SplitFields]) -> tuple[float, str]:
    """The largest label there can be, and how it was found."""
    if corpus:
        return SCALES[corpus], f"Taken for the corpus {corpus}: labels from {-SCALES[corpus]:g} to {SCALES[corpus]:g}."
    sims = any(part.has(name) for part in parts.values() for name in LABELS.values())
    scale = 1.0 if sims else 3.0
    reason = "SIMS has, labels a modality" if sims else "MOSI and MOSEI have, one label a clip"
    return scale, (
        f"The corpus is not known; the file has, as {reason}: labels are taken to be from {-scale:g} to {scale:g}. "
        f"If that is wrong, give --option corpus= with one of {', '.join(SCALES)}."
    )


def _clips(split: Split, part: SplitFields, scale: float) -> Iterator[Clip]:
    texts, ids = part.texts("raw_text"), part.ids()
    labels = part.labels("regression_labels", scale)
    modalities = {name: part.labels(field, scale) for name, field in LABELS.items() if part.has(field)}
    annotations = part.texts("annotations") if part.has("annotations") else None
    mask = mask_of(part)
    for index, clip in enumerate(ids):
        known = bool(mask[index])
        further: dict[str, str | float] = {name: values[index] for name, values in modalities.items() if known}
        if known and annotations and annotations[index]:
            word = annotations[index].capitalize()
            if word not in ANNOTATIONS:
                raise MseError(
                    f"{clip} of {part.name} has the annotation {annotations[index][:40]!r}; known are "
                    f"{', '.join(ANNOTATIONS)}."
                )
            if word != annotation_of(labels[index]):
                further["annotation"] = word  # else it says no more than the label's sign
        text = repair(said(texts[index]))
        yield Clip(
            id=clip,
            split=split,
            text=text,
            language=_language(text, scale),
            dialogue=clip.partition("$_$")[0],
            label=labels[index] if known else None,
            labels=further,
        )


def annotation_of(label: float) -> str:
    """The word for a label, as MMSA's tables have it.

    Examples:
        >>> annotation_of(-0.4), annotation_of(0.0)
        ('Negative', 'Neutral')
    """
    return ANNOTATIONS[int(label > 0) - int(label < 0) + 1]


def _language(text: str, scale: float) -> str:
    """SIMS is Chinese, MOSI and MOSEI are English; a file of one's own is told by its signs."""
    chinese = any("一" <= sign <= "鿿" for sign in text)
    return "zh" if chinese or (scale == SCALES["sims"] and not text.isascii()) else "en"


def _unique(path: Path, clips: tuple[Clip, ...]) -> None:
    seen: dict[str, Split] = {}
    for clip in clips:
        if clip.id in seen:
            raise MseError(f"{path} has the clip {clip.id!r} twice, in {seen[clip.id]} and in {clip.split}.")
        seen[clip.id] = clip.split


@dataclass(frozen=True)
class _Stream:
    """Gives the features of one field clip by clip, and tells at the end what was repaired or cut."""

    file: PickleFile
    name: str
    field: str
    parts: Mapping[Split, SplitFields]
    notes: list[str]
    about: About | None

    def __call__(self) -> Iterator[tuple[str, Features]]:
        undefined = Undefined(self.name)
        cut = empty = 0
        names: tuple[str, ...] | None = None
        for part in self.parts.values():
            array = part.array(self.field)
            if names is None and self.about is not None:
                names = self.about.names(self.name.partition(".")[0], array.shape[2])
            names = names or tuple(f"{self.field}_{index}" for index in range(array.shape[2]))
            if array.shape[2] != len(names):
                raise MseError(
                    f"{part.name}: {self.field} has {array.shape[2]} values a row; another split {len(names)}."
                )
            lengths = lengths_of(part, self.field)
            for index, clip in enumerate(part.ids()):
                if lengths is None:
                    rows = _without_padding(array[index])
                    cut += len(rows) < array.shape[1]
                else:
                    rows = array[index, : lengths[index]]
                if len(rows):
                    values, valid = undefined.read(rows)
                    yield clip, Features(values, row_clock(len(values)), valid, names, ROWS_CLOCK)
                empty += not len(rows)
                if index % _RELEASE_EVERY == 0:
                    self.file.release()
        if any(lengths_of(part, self.field) is None for part in self.parts.values()):
            self.notes.append(
                f"{self.name}: the file has no lengths; rows of zeros at the end were cut from {cut:,} clips."
            )
        if empty:
            self.notes.append(f"{self.name}: {empty:,} clips have no rows, and so no features.")
        self.notes.extend(undefined.notes())


def _without_padding(rows: np.ndarray) -> np.ndarray:
    """Rows up to the last one that is not all zeros."""
    filled = np.flatnonzero(rows.any(axis=1))
    return rows[: filled[-1] + 1] if len(filled) else rows[:0]


_FIELDS = {**MODALITIES, "text": "text"}


def write(dataset: Dataset, path: Path, *, streams: dict[str, str]) -> None:
    """Write an MMSA pickle with padded arrays and true lengths, whole or not at all, a clip at a time.

    ``text_bert``, the token ids of one BERT, is left out; ``text`` is there if a text stream is chosen. The field
    `_ABOUT` of each split is ours: the dataset's name, the range of its labels and the names of dimensions, as JSON.

    Args:
        dataset: One whose labels are numbers.
        path: The file.
        streams: Name of the stream by modality: acoustic, visual, text.

    Raises:
        UsageError: Labels are classes, or two clips would have the same id.
    """
    if not isinstance(dataset.manifest.task, Regression):
        raise UsageError(
            f"{dataset.name} has classes, and MMSA's pickles hold numbers; mse-adapter is a format that holds classes."
        )
    padded = streams_of(streams, dataset, tuple(_FIELDS))
    ids = {clip.id: _id(dataset.name, clip) for clip in dataset.clips}
    if len(set(ids.values())) < len(ids):
        raise UsageError(f"Two clips of {dataset.name} would have one id in {path}; MMSA's ids have no folders.")
    further = [name for name in LABELS if _all_numbers(dataset.clips, name)]
    about = json.dumps(about_of(dataset, list(streams.values())), ensure_ascii=False)
    value = {
        split.value: {**_part(clips, [ids[clip.id] for clip in clips], padded, further), _ABOUT: about}
        for split, clips in by_split(dataset.clips).items()
    }
    with aside(path) as temporary, temporary.open("wb") as file:
        write_pickle(value, file)


def _part(clips: Sequence[Clip], ids: list[str], padded: dict[str, Padded], further: list[str]) -> dict[str, Any]:
    numbers = [0.0 if clip.label is None else float(clip.label) for clip in clips]
    part: dict[str, Any] = {
        "raw_text": [clip.text for clip in clips],
        "id": ids,
        "annotations": [_annotation(clip) for clip in clips],
        "regression_labels": np.array(numbers, np.float64),
    }
    for name in further:
        part[LABELS[name]] = np.array([float(clip.labels.get(name, 0.0)) for clip in clips], np.float64)
    if any(clip.label is None for clip in clips):
        part["mask"] = np.array([clip.label is not None for clip in clips], np.int64)
    for modality, one in padded.items():
        field = _FIELDS[modality]
        shape = (len(clips), one.longest, one.dim)
        part[field] = Pieces(shape, np.dtype(np.float32), lambda one=one: one.blocks(clips))  # type: ignore[misc]
        part[f"{field}_lengths"] = one.lengths(clips)
    return part


def _all_numbers(clips: Sequence[Clip], name: str) -> bool:
    labelled = [clip for clip in clips if clip.label is not None]
    return bool(labelled) and all(isinstance(clip.labels.get(name), float) for clip in labelled)


def _annotation(clip: Clip) -> str:
    """The word for the label, as MMSA's tables have it; empty for a clip without one."""
    if clip.label is None:
        return ""
    if (known := str(clip.labels.get("annotation", ""))) in ANNOTATIONS:
        return known
    return annotation_of(float(clip.label))


def _id(dataset: str, clip: Clip) -> str:
    return clip.id if SEPARATOR in clip.id else f"{dataset}{SEPARATOR}{clip.id.replace('/', '_')}"
