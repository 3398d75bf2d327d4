"""Report: what a check found, and its forms as plain values and as a table of clips."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mse_pipeline.checking.judging import length
from mse_pipeline.checking.probing import Probed
from mse_pipeline.checking.statistics import Spread, streams
from mse_pipeline.clip import Clip, Defect, Split
from mse_pipeline.corpora.overview import Overview
from mse_pipeline.store.atomic import aside


@dataclass(frozen=True, kw_only=True)
class SplitReport:
    """A split in numbers.

    Attributes:
        found: Clips that label files describe.
        expected: Official number of them; None where there is none.
        with_media: Of those found, clips that have a file.
        readable: Of those with media, clips whose file can be read.
        seconds: Lengths of the readable clips, as far as files announce theirs.
        labels: Labels, where they are numbers.
    """

    found: int
    expected: int | None
    with_media: int
    readable: int
    seconds: Spread | None
    labels: Spread | None


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a check found.

    Attributes:
        dataset: Name of the recipe.
        corpus: Name of the reader.
        root: The folder.
        splits: By split.
        understood: What the reader made of the label files, in few words.
        labels: Class, or bin of numbers -> split -> clips.
        media: Property of a file, as ``sample rate`` -> value -> files.
        files: Media by their path below the root; the clips of a long video share one.
        clips: All of them, with or without media.
        defects: All of them, the reader's and those that probing found.
        sources: Label files that were read.
        notes: What the reader chose or left aside.
        seconds: How long the check took.
    """

    dataset: str
    corpus: str
    root: Path
    understood: Overview
    splits: Mapping[Split, SplitReport]
    labels: Mapping[str, Mapping[Split, int]]
    media: Mapping[str, Mapping[str, int]]
    files: Mapping[str, Probed]
    clips: Sequence[Clip]
    defects: Sequence[Defect]
    sources: Sequence[str]
    notes: Sequence[str]
    seconds: float

    @property
    def count_differences(self) -> list[str]:
        """How the corpus differs from its official counts, as sentences."""
        return [defect.message for defect in self.defects if defect.code == "split_count_mismatch"]

    def by_code(self) -> dict[str, list[Defect]]:
        """Defects by code, the most frequent first."""
        found: dict[str, list[Defect]] = {}
        for defect in self.defects:
            found.setdefault(defect.code, []).append(defect)
        return dict(sorted(found.items(), key=lambda item: -len(item[1])))

    def to_dict(self, examples: int) -> dict[str, Any]:
        """Plain JSON values, with so many examples of each kind of defect."""
        return {
            "dataset": self.dataset,
            "corpus": self.corpus,
            "root": str(self.root),
            "clips": len(self.clips),
            "files": len(self.files),
            "understood": self.understood.to_dict(),
            "splits": {str(split): asdict(part) for split, part in self.splits.items()},
            "labels": {name: {str(s): n for s, n in counts.items()} for name, counts in self.labels.items()},
            "media": {name: dict(values) for name, values in self.media.items()},
            "defects": {
                code: {"count": len(found), "examples": [_plain(defect) for defect in found[:examples]]}
                for code, found in self.by_code().items()
            },
            "sources": list(self.sources),
            "notes": list(self.notes),
            "seconds": self.seconds,
        }


def _plain(defect: Defect) -> dict[str, str]:
    return {name: value for name, value in asdict(defect).items() if value is not None and name != "code"}


COLUMNS = (
    *("id", "split", "media", "start", "end", "seconds", "streams", "bytes"),
    *("sound_codec", "sample_rate", "channels", "sound_seconds"),
    *("video_codec", "width", "height", "rotation", "fps", "frames", "label", "defects"),
)
"""Of the CSV: one row a clip; `streams` is sound+video, sound, video, unreadable, or empty without media."""


def write_csv(path: Path, report: Report) -> None:
    """Write one row a clip, whole or not at all."""
    with aside(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(_rows(report))


def _rows(report: Report) -> Iterator[list[Any]]:
    codes: dict[str, list[str]] = {}
    for defect in report.defects:
        if defect.clip is not None:
            codes.setdefault(defect.clip, []).append(defect.code)
    for clip in report.clips:
        probed = report.files.get(clip.media or "")
        yield [
            *(clip.id, clip.split, clip.media, clip.start, clip.end),
            *_media_cells(clip, probed),
            clip.label,
            " ".join(dict.fromkeys(codes.get(clip.id, []))),
        ]


def _media_cells(clip: Clip, probed: Probed | None) -> list[Any]:
    if probed is None or probed.info is None:
        return [None, None if probed is None else streams(probed), *[None] * 11]
    info, seconds = probed.info, length(clip, probed)
    return [
        *(None if seconds is None else round(seconds, 3), streams(probed), info.size),
        *(info.audio_codec, info.sample_rate, info.channels, _rounded(probed.sound_seconds)),
        *(info.video_codec, info.width, info.height, info.rotation if info.has_video else None),
        *(_rounded(info.fps), probed.frames),
    ]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
