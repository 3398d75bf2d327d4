"""Where: which clips of a dataset a condition keeps, by their own fields and by what was measured of their media.

Examples:
    >>> sorted(MEASURES)[:4]
    ['clipped_share', 'face_brightness', 'face_contrast', 'face_share']
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mse_pipeline.clip import DEFECT_CODES, Clip
from mse_pipeline.errors import UsageError
from mse_pipeline.store.checksum import damaged, unseal
from mse_pipeline.store.condition import Kind, Value, read_condition
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.features import Features

SOUND, FACE, SPEECH = "acoustic.quality", "visual.quality", "acoustic.vad"
OF_QUALITY = frozenset({SOUND, FACE, SPEECH})
"""Extractors whose streams say how good the media are: no adapter reads them unasked."""

_LISTED = 3


@dataclass(frozen=True)
class Measure:
    """How one number of a clip is made of the rows of a stream.

    Attributes:
        extractor: Whose stream.
        make: Features -> the number; NaN where it is not defined.
    """

    extractor: str
    make: Callable[[Features], float]


def _median(name: str) -> Callable[[Features], float]:
    def make(features: Features) -> float:
        values = features.values[features.valid, features.names.index(name)].astype(np.float64)
        known = values[~np.isnan(values)]
        return float(np.median(known)) if len(known) else math.nan

    return make


def _share(features: Features) -> float:
    return float(features.valid.mean()) if len(features) else math.nan


def _spoken(features: Features) -> float:
    """Share of the clip in which somebody speaks, as the notes tell it."""
    share = features.notes.get("speech_share")
    return float(share) if isinstance(share, int | float) else math.nan


MEASURES: Mapping[str, Measure] = {
    **{name: Measure(SOUND, _median(name)) for name in ("loudness", "level", "peak", "clipped_share", "snr")},
    "speech_share": Measure(SPEECH, _spoken),
    "face_share": Measure(FACE, _share),
    **{
        name: Measure(FACE, _median(name))
        for name in ("face_size", "face_sharpness", "face_brightness", "face_contrast")
    },
}
"""What is measured of a clip's media, by name."""

_FIELDS: Mapping[str, Kind] = {
    "id": "text",
    "split": "text",
    "speaker": "text",
    "dialogue": "text",
    "turn": "number",
    "language": "text",
    "duration": "number",
    "defects": "codes",
}


@dataclass(frozen=True)
class Selection:
    """The clips that a condition keeps.

    Attributes:
        where: The condition, as it was given.
        kept: Ids of the clips that meet it.
        left_out: How many do not.
        unknown: How many of these are left out because a value of theirs is not known.
        remarks: What should be known of it, as sentences.
    """

    where: str
    kept: frozenset[str]
    left_out: int
    unknown: int
    remarks: tuple[str, ...] = ()

    def to_plain(self) -> dict[str, Any]:
        """As a run keeps it.

        Examples:
            >>> Selection("snr > 10", frozenset({"a"}), 2, 1).to_plain()
            {'where': 'snr > 10', 'kept': 1, 'left_out': 2, 'unknown': 1}
        """
        return {"where": self.where, "kept": len(self.kept), "left_out": self.left_out, "unknown": self.unknown}

    def sentence(self) -> str:
        """How many clips are kept and left out.

        Examples:
            >>> Selection("snr > 10", frozenset({"a"}), 2, 1).sentence()
            '--where snr > 10: 1 of 3 clips kept, 2 left out; of 1 of these it is not known.'
        """
        unknown = f"; of {self.unknown:,} of these it is not known" if self.unknown else ""
        total = len(self.kept) + self.left_out
        return f"--where {self.where}: {len(self.kept):,} of {total:,} clips kept, {self.left_out:,} left out{unknown}."


def kinds_of(clips: tuple[Clip, ...]) -> dict[str, Kind]:
    """The names that a condition may use of these clips: fields, labels and measures, and what each stands for."""
    labels: dict[str, list[Any]] = {"label": [clip.label for clip in clips]}
    for name in dict.fromkeys(name for clip in clips for name in clip.labels):
        if f"label_{name}".isidentifier():
            labels[f"label_{name}"] = [clip.labels.get(name) for clip in clips]
    text = {name for name, values in labels.items() if any(isinstance(value, str) for value in values)}
    of_labels: dict[str, Kind] = {name: "text" if name in text else "number" for name in labels}
    return {**_FIELDS, **of_labels, **dict.fromkeys(MEASURES, "number")}


def select(dataset: Dataset, where: str) -> Selection:
    """The clips of a dataset that meet a condition.

    Args:
        dataset: In the cache; what the condition names of media must have been measured.
        where: As in ``face_share > 0.5 and split == "train"``.

    Raises:
        UsageError: The condition cannot be read, no clip was measured for it, or no clip meets it.
        MseError: The cache is damaged.
    """
    clips = dataset.clips
    condition = read_condition(where, kinds_of(clips), DEFECT_CODES)
    _require_measured(dataset, condition.names)
    columns, remarks = {}, []
    for name in sorted(condition.names):
        columns[name], remark = _column(dataset, name)
        remarks += [remark] if remark and remark not in remarks else []
    decided = {clip.id: condition({name: column.get(clip.id) for name, column in columns.items()}) for clip in clips}
    kept = frozenset(clip for clip, meets in decided.items() if meets)
    unknown = sum(meets is None for meets in decided.values())
    if not kept:
        reason = f"of {unknown:,} it is not known" if unknown else "all are known"
        raise UsageError(
            f"No clip of {dataset.name} meets --where {condition.text!r} ({len(clips):,} clips; {reason}). "
            f"Their values: mse inspect, or mse datasets check {dataset.name} --quality --csv FILE."
        )
    return Selection(condition.text, kept, len(clips) - len(kept), unknown, tuple(remarks))


def _column(dataset: Dataset, name: str) -> tuple[Mapping[str, Value], str]:
    """A value by clip, and what should be known of it, as a sentence; clips that are not there have none."""
    if name in MEASURES:
        return _measured(dataset, MEASURES[name], name)
    if name == "duration":
        return _durations(dataset)
    if name == "defects":
        return _defects(dataset), ""
    if name.startswith("label_"):
        return {clip.id: _plain(clip.labels.get(name.removeprefix("label_"))) for clip in dataset.clips}, ""
    return {clip.id: _plain(getattr(clip, name)) for clip in dataset.clips}, ""


def _plain(value: Any) -> Value:
    return None if value is None else float(value) if isinstance(value, int | float) else str(value)


def _require_measured(dataset: Dataset, names: Iterable[str]) -> None:
    """Refuse names whose stream no clip has; all of them are told, with the one command that makes the streams."""
    lacking: dict[str, list[str]] = {}
    for name in sorted(name for name in names if name in MEASURES):
        extractor = MEASURES[name].extractor
        stream = stream_of(dataset, extractor)
        if stream is None or not dataset.count(stream):
            lacking.setdefault(extractor, []).append(name)
    if lacking:
        told = "; ".join(f"{', '.join(names)} of {extractor}" for extractor, names in lacking.items())
        raise UsageError(
            f"--where: no clip of {dataset.name} has these measures yet: {told}. Extract them first: "
            f"{_command(dataset, *lacking)}"
        )


def _measured(dataset: Dataset, measure: Measure, name: str) -> tuple[Mapping[str, Value], str]:
    stream = str(stream_of(dataset, measure.extractor))
    rows = dataset.rows(stream)
    values = {clip: measure.make(features) for clip, features in dataset.native(stream).in_order()}
    lacking = len(dataset.clips) - len({row.clip for row in rows})
    told = f"{lacking:,} clips have no {stream} yet, so that their {name} is not known: {_command(dataset, stream)}"
    return values, told if lacking > 0 else ""


def stream_of(dataset: Dataset, extractor: str) -> str | None:
    """The stream of a dataset that an extractor makes: the one of its name, else the first of another name."""
    if extractor in dataset.manifest.streams:
        return extractor
    return next(
        (name for name, entry in dataset.manifest.streams.items() if _made_by(entry.identity) == extractor), None
    )


def is_of_quality(dataset: Dataset, stream: str) -> bool:
    """Whether a stream says how good the media are, and nothing of who is seen and heard."""
    return _made_by(dataset.manifest.streams[stream].identity) in OF_QUALITY


def _made_by(identity: Mapping[str, Any]) -> str:
    return str(identity.get("stream", ""))


def _command(dataset: Dataset, *streams: str) -> str:
    """The command that extracts streams of quality; of a table of clips, whose place is not kept, all but its name."""
    target = dataset.manifest.source.get("recipe", "…")
    settings = " ".join(f"--set 'streams.{stream}={{}}' --streams {stream}" for stream in streams)
    return f"mse extract {target} {settings}"


def _durations(dataset: Dataset) -> tuple[Mapping[str, Value], str]:
    """Seconds of each clip: of its span where that is given, else of its rows in a stream."""
    spans: dict[str, Value] = {
        clip.id: clip.end - (clip.start or 0.0) for clip in dataset.clips if clip.end is not None
    }
    if len(spans) == len(dataset.clips):
        return spans, ""
    timed = [name for name in dataset.manifest.streams if not name.startswith("text.")]
    timed.sort(key=lambda name: not is_of_quality(dataset, name))  # these are small
    stream = next((name for name in timed if dataset.count(name)), None)
    if stream is None:
        raise UsageError(
            f"--where: the table of {dataset.name} does not tell the duration of {len(dataset.clips) - len(spans):,} "
            f"clips, and nothing of them was extracted yet. First: {_command(dataset, SOUND)}"
        )
    lacking = {clip.id for clip in dataset.clips} - spans.keys()
    rows: dict[str, Value] = {
        clip: float(features.intervals[-1, 1])
        for clip, features in dataset.native(stream).in_order(lacking)
        if len(features)
    }
    return {**spans, **rows}, ""


def _defects(dataset: Dataset) -> Mapping[str, Value]:
    """Codes of each clip: the corpus's, and those of all streams that failed or were remarked on."""
    found: dict[str, set[str]] = {clip.id: set() for clip in dataset.clips}
    path = dataset.path / "defects.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            defect = unseal(line)[0]
        except ValueError as error:
            raise damaged(path, "The list of defects", error) from error
        if defect.get("clip") in found:
            found[str(defect["clip"])].add(str(defect.get("code")))
    for stream in dataset.manifest.streams:
        for row in dataset.rows(stream):
            if row.code is not None:
                found[row.clip].add(row.code)
    return {clip: frozenset(codes) for clip, codes in found.items()}
