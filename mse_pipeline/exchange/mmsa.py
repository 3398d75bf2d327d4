"""MMSA's pickles (Mao et al. 2022): features of CMU-MOSI, CMU-MOSEI, CH-SIMS and CH-SIMS v2, also those of MMSA-FET.

A dictionary by split of dictionaries: ``raw_text``, ``id`` (``video$_$clip``), ``audio`` (N, La, Da), ``vision``
(N, Lv, Dv), ``audio_lengths``, ``vision_lengths``, ``regression_labels``, ``regression_labels_T`` and ``_A``, ``_V``,
``annotations``, ``text`` (N, Lt, 768) and ``text_bert`` (N, 3, Lt). Aligned files have no lengths.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mse_pipeline.cells import said
from mse_pipeline.clip import Clip, Split
from mse_pipeline.corpora.text import repair
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.exchange.base import Imported, file_digest
from mse_pipeline.exchange.mmsa_fields import Part, lengths_of, mask_of, padded_fields
from mse_pipeline.exchange.published import by_counts, recognise
from mse_pipeline.exchange.restricted import PickleFile, read_pickle
from mse_pipeline.exchange.values import ROWS_CLOCK, Repairs, row_clock
from mse_pipeline.store.features import Features
from mse_pipeline.task import Regression

SPLITS = {"train": Split.TRAIN, "valid": Split.VALID, "val": Split.VALID, "dev": Split.VALID, "test": Split.TEST}
SEMI_SUPERVISED = ("train_mix",)
"""Keys beside the splits that repeat the train split with clips that nobody annotated."""
SCALES = {"mosi": 3.0, "mosei": 3.0, "sims": 1.0, "simsv2": 1.0}
"""Corpus -> largest label; the least is its negative."""
MODALITIES = {"acoustic": "audio", "visual": "vision"}
LABELS = {"text": "regression_labels_T", "acoustic": "regression_labels_A", "visual": "regression_labels_V"}
ANNOTATIONS = ("Negative", "Neutral", "Positive")
_RELEASE_EVERY = 128


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
    found = corpus or (published.corpus if published else by_counts(counts))
    if published and corpus and corpus != published.corpus:
        raise UsageError(f"{path} is {published.name}, of the corpus {published.corpus}; got {corpus!r}.")
    scale, told = _scale(found, parts)
    notes.append(told)
    clips = tuple(clip for split, part in parts.items() for clip in _clips(split, part, scale))
    _unique(path, clips)
    source = {
        "format": "mmsa",
        "files": [path.name],
        "sha256": digest,
        "published": published.name if published else None,
        **({"corpus": found} if found else {}),
        **ROWS_CLOCK,
    }
    wanted = [*MODALITIES.items(), *([("text", "text")] if text else [])]
    streams = {}
    for modality, field in wanted:
        having = {split: part for split, part in parts.items() if part.has(field)}
        if having:
            streams[f"{modality}.mmsa"] = _Stream(file, f"{modality}.mmsa", field, having, notes)
    if not text and any(part.has("text") for part in parts.values()):
        notes.append("Text features are left out; --option text=true imports them as text.mmsa.")
    return Imported(task=Regression(-scale, scale), clips=clips, streams=streams, source=source, notes=notes)


def _parts(file: PickleFile, notes: list[str]) -> dict[Split, Part]:
    if not isinstance(file.value, Mapping) or not any(key in SPLITS for key in file.value):
        raise MseError(
            f"{file.path} is no MMSA pickle: expected a dictionary with the keys train, valid and test, found "
            f"{_kind(file.value)}."
        )
    parts: dict[Split, Part] = {}
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
            parts[SPLITS[key]] = Part(name, padded_fields(value, name))
    return {split: parts[split] for split in Split if split in parts}


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"one with the keys {', '.join(str(key)[:20] for key in list(value)[:5]) or 'none'}"
    return f"a {type(value).__name__}"


def _scale(corpus: str | None, parts: Mapping[Split, Part]) -> tuple[float, str]:
    """The largest label there can be, and how it was found."""
    if corpus:
        return SCALES[corpus], f"Taken for the corpus {corpus}: labels from {-SCALES[corpus]:g} to {SCALES[corpus]:g}."
    sims = any(part.has(name) for part in parts.values() for name in LABELS.values())
    scale = 1.0 if sims else 3.0
    told = "SIMS has, labels a modality" if sims else "MOSI and MOSEI have, one label a clip"
    return scale, (
        f"The corpus is not known; the file has, as {told}: labels are taken to be from {-scale:g} to {scale:g}. "
        f"If that is wrong, give --option corpus= with one of {', '.join(SCALES)}."
    )


def _clips(split: Split, part: Part, scale: float) -> Iterator[Clip]:
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
    parts: Mapping[Split, Part]
    notes: list[str]

    def __call__(self) -> Iterator[tuple[str, Features]]:
        repairs = Repairs(self.name)
        cut = empty = 0
        names: tuple[str, ...] | None = None
        for part in self.parts.values():
            array = part.array(self.field)
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
                    values = repairs.finite(rows)
                    yield clip, Features(values, row_clock(len(values)), np.ones(len(values), bool), names, ROWS_CLOCK)
                empty += not len(rows)
                if index % _RELEASE_EVERY == 0:
                    self.file.release()
        if any(lengths_of(part, self.field) is None for part in self.parts.values()):
            self.notes.append(
                f"{self.name}: the file has no lengths; rows of zeros at the end were cut from {cut:,} clips."
            )
        if empty:
            self.notes.append(f"{self.name}: {empty:,} clips have no rows, and so no features.")
        self.notes.extend(repairs.notes())


def _without_padding(rows: np.ndarray) -> np.ndarray:
    """Rows up to the last one that is not all zeros."""
    filled = np.flatnonzero(rows.any(axis=1))
    return rows[: filled[-1] + 1] if len(filled) else rows[:0]
