"""Report: what a check found, as plain values and as a table of clips.

Each clip and its probed file are judged: how long it is and what is wrong with it. The corpus is described by numbers:
labels, lengths, streams.
"""

from __future__ import annotations

import csv
import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from mse_pipeline.checking.probing import Probed
from mse_pipeline.clip import Clip, Defect, DefectCode, Split
from mse_pipeline.corpora.overview import Overview
from mse_pipeline.media.probe import MediaInfo
from mse_pipeline.store.storage import aside
from mse_pipeline.task import Classification, Task

WITHOUT = "(none)"
"""How clips without a label are counted."""

_FIFTHS = ((-0.7, "-1 to -0.8"), (-0.1, "-0.6 to -0.2"), (0.1, "0"), (0.7, "0.2 to 0.6"), (math.inf, "0.8 to 1"))


@dataclass(frozen=True)
class Spread:
    """Least, median, mean, greatest and sum of some numbers, and how many there are."""

    count: int
    minimum: float
    median: float
    mean: float
    maximum: float
    total: float


def spread(numbers: Iterable[float]) -> Spread | None:
    """Of numbers; None if there are none.

    Examples:
        >>> spread([1.0, 2.0, 6.0])
        Spread(count=3, minimum=1.0, median=2.0, mean=3.0, maximum=6.0, total=9.0)
    """
    values = sorted(numbers)
    if not values:
        return None
    middle, total = statistics.median(values), math.fsum(values)
    return Spread(len(values), values[0], middle, total / len(values), values[-1], total)


def label_counts(clips: Sequence[Clip], task: Task) -> dict[str, dict[Split, int]]:
    """Class, or bin of numbers -> split -> clips; `WITHOUT` last, where there are any.

    Numbers are counted in the bins that the field reports: on a range of -3 to 3 the seven nearest whole numbers
    (MOSI, MOSEI), on -1 to 1 the five classes of CH-SIMS. On other ranges there are no bins.
    """
    names, bin_of = _bins(task)
    counts: Counter[tuple[str, Split]] = Counter()
    for clip in clips:
        counts[WITHOUT if clip.label is None else bin_of(clip.label), clip.split] += 1
    if not names:
        return {}
    used = [*names, *([WITHOUT] if any(name == WITHOUT for name, _ in counts) else [])]
    return {name: {split: counts[name, split] for split in Split} for name in used}


def _bins(task: Task) -> tuple[tuple[str, ...], Callable[[str | float], str]]:
    if isinstance(task, Classification):
        return task.classes, str
    if (task.low, task.high) == (-3, 3):
        # Halves go to the even neighbour, as numpy rounds and the field's seven-class accuracy with it.
        return tuple(f"{number:+d}" if number else "0" for number in range(-3, 4)), _seventh
    if (task.low, task.high) == (-1, 1):
        return tuple(name for _, name in _FIFTHS), _fifth
    return (), str


def _seventh(label: str | float) -> str:
    number = round(min(max(float(label), -3.0), 3.0))
    return f"{number:+d}" if number else "0"


def _fifth(label: str | float) -> str:
    # Edges belong to the lower bin; six digits are what a number in 32 bits holds.
    value = round(float(label), 6)
    return next(name for edge, name in _FIFTHS if value <= edge)


def properties(files: Iterable[Probed]) -> dict[str, dict[str, int]]:
    """Property, as ``sample rate`` -> its value -> files, the most frequent first."""
    counters: dict[str, Counter[str]] = {}
    for probed in files:
        for name, value in _properties(probed).items():
            counters.setdefault(name, Counter())[value] += 1
    return {name: dict(counter.most_common()) for name, counter in counters.items()}


def streams(probed: Probed) -> str:
    """What a file holds: sound, video, both, or that it cannot be read.

    Examples:
        >>> streams(Probed(media="a.mp4"))
        'unreadable'
    """
    if probed.info is None:
        return "unreadable"
    return "+".join([*["sound"] * probed.info.has_audio, *["video"] * probed.info.has_video])


def _properties(probed: Probed) -> Mapping[str, str]:
    info = probed.info
    if info is None:
        return {"streams": streams(probed)}
    values = {"streams": streams(probed), "container": info.container.partition(",")[0]}
    if info.has_audio:
        values |= {
            "sound codec": info.audio_codec or "unknown",
            "sample rate": f"{info.sample_rate} Hz" if info.sample_rate else "unknown",
            "channels": str(info.channels or "unknown"),
        }
    if info.has_video:
        values |= {
            "video codec": info.video_codec or "unknown",
            "frame size": f"{info.width}x{info.height}" + _stored(info),
            "frame rate": f"{round(info.fps, 3):g}/s" if info.fps else "unknown",
        }
    return values


def _stored(info: MediaInfo) -> str:
    """What a player does with the stored frames, where it has to do anything."""
    return " mirrored" * info.mirrored + (f" turned {info.rotation}°" if info.rotation else "")


MIN_SOUND = 0.06
"""Seconds of sound that eGeMAPS needs, its longest analysis window."""

MIN_FRAMES = 2
"""Pictures without which there is no motion; MELD's shortest clips have two."""

TOLERANCE = 0.25
"""Seconds by which a span may reach beyond its file: spans are rounded, and streams end in whole frames."""


def length(clip: Clip, probed: Probed | None) -> float | None:
    """Seconds of a clip that its file holds; None if unknown."""
    duration = None if probed is None or probed.info is None else probed.info.duration
    if duration is None:
        return None
    begin = max(clip.start or 0.0, 0.0)
    return max(min(duration, duration if clip.end is None else clip.end) - begin, 0.0)


def judge(clip: Clip, probed: Probed, max_seconds: float | None) -> Iterator[Defect]:
    """What is wrong with a clip's media.

    Args:
        clip: Of the corpus.
        probed: Its file.
        max_seconds: What extraction cuts longer clips to; None for no limit.
    """

    def defect(code: str, message: str) -> Defect:
        return Defect(code=_code(code), message=message, clip=clip.id, path=probed.media)

    for code, message in probed.problems:
        yield defect(code, message)
    info = probed.info
    if info is None:
        return
    if not info.has_audio:
        yield defect("no_audio", f"{probed.media} has no sound.")
    if not info.has_video:
        yield defect("no_video", f"{probed.media} has no video.")
    if probed.speech is not None and not _speaks(clip, probed.speech):
        yield defect("no_speech", f"Nobody speaks in {clip.id}, as Silero VAD hears it.")
    if clip.start is not None and clip.start < 0:
        yield defect("negative_start", f"{clip.id} begins at {clip.start:g} s, before its file.")
    short = _too_short(clip, probed)
    if short:
        yield defect("too_short", f"{short}.")
    seconds = length(clip, probed)
    if seconds is not None and max_seconds is not None and seconds > max_seconds:
        cut = f"extraction takes its first {max_seconds:g} s"
        yield defect("too_long", f"{clip.id} is {seconds:.1f} s long; {cut}.")


def _speaks(clip: Clip, speech: Iterable[tuple[float, float]]) -> bool:
    """Whether somebody speaks within a clip's span of its file."""
    first, last = clip.start or 0.0, math.inf if clip.end is None else clip.end
    return any(begin < last and first < end for begin, end in speech)


def _too_short(clip: Clip, probed: Probed) -> str:
    """Why a clip has too little in its file, or nothing if it has enough."""
    info, seconds = probed.info, length(clip, probed)
    if info is None:
        return ""
    if clip.start is not None or clip.end is not None:
        span = f"{clip.id}, from {clip.start or 0:g} s to {'its end' if clip.end is None else f'{clip.end:g} s'}"
        if info.duration is not None and max(clip.start or 0.0, clip.end or 0.0) > info.duration + TOLERANCE:
            return f"{span}, reaches beyond {probed.media}, which ends at {info.duration:.2f} s"
        if seconds is not None and seconds < max(MIN_SOUND, (MIN_FRAMES - 0.5) / (info.fps or 25.0)):
            return f"{span}, is {seconds:.3f} s long"
    if info.has_video and probed.frames is not None and probed.frames < MIN_FRAMES:
        return f"The video of {probed.media} has {probed.frames} frame; {MIN_FRAMES} are needed"
    if info.has_audio and probed.sound_seconds is not None and probed.sound_seconds < MIN_SOUND:
        return (
            f"The sound of {probed.media} lasts {1000 * probed.sound_seconds:.0f} ms; {1000 * MIN_SOUND:.0f} are needed"
        )
    return ""


def same_content(clips: Iterable[Clip], digests: Mapping[str, str]) -> Iterator[Defect]:
    """A defect for each clip that has the content of an earlier one.

    Args:
        clips: Of the corpus.
        digests: Media -> digest of its content, of those whose content may be that of another.
    """
    first: dict[tuple[str, float | None, float | None], Clip] = {}
    for clip in clips:
        if clip.media is None:
            continue
        earlier = first.setdefault((digests.get(clip.media, clip.media), clip.start, clip.end), clip)
        if earlier is not clip:
            how = "the file" if clip.media == earlier.media else "a file with the content"
            message = (
                f"{clip.id} has {how} of {earlier.id}, {earlier.media}; their labels are {_labels(earlier, clip)}."
            )
            yield Defect(code="duplicate", message=message, clip=clip.id, path=clip.media)


def _labels(one: Clip, other: Clip) -> str:
    return "equal" if one.label == other.label else f"different, {one.label} and {other.label}"


def merge(told: Iterable[Defect], probed: Iterable[Defect]) -> tuple[Defect, ...]:
    """All defects, each told once.

    What probing finds on a clip that is known to be bad is said with the known defect; what the reader has told of a
    clip already is not told again.

    Examples:
        >>> known = Defect(code="known_bad", message="Known: no index.", clip="a")
        >>> [d.message for d in merge([known], [Defect(code="undecodable", message="It fails.", clip="a")])]
        ['Known: no index. Probing found it undecodable: It fails.']
    """
    merged = list(told)
    number_of = {defect.clip: number for number, defect in enumerate(merged) if defect.code == "known_bad"}
    # A clip may be a duplicate in two ways: of a row, and of a file's content.
    pairs = {(defect.clip, defect.code) for defect in merged if defect.code != "duplicate"}
    for defect in probed:
        number = number_of.get(defect.clip)
        if number is not None:
            told_before = merged[number]
            message = f"{told_before.message} Probing found it {defect.code}: {defect.message}"
            merged[number] = replace(told_before, message=message)
        elif (defect.clip, defect.code) not in pairs:
            merged.append(defect)
    return tuple(merged)


def _code(code: str) -> DefectCode:
    # Errors of media carry codes of this list; the type checker cannot see that.
    return code  # type: ignore[return-value]


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
class CheckReport:
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
        notes: Sentences about what the reader chose or ignored.
        seconds: How long the check took.
        quality: What was measured of each clip, by id and name; empty where nothing was measured.
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
    quality: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def qualities(self) -> dict[str, Spread | None]:
        """What was measured of the clips, by name; None where it is not defined in any."""
        names = dict.fromkeys(name for values in self.quality.values() for name in values)
        return {name: spread(v[name] for v in self.quality.values() if name in v) for name in names}

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
                code: {"count": len(defects), "examples": [_plain(defect) for defect in defects[:examples]]}
                for code, defects in self.by_code().items()
            },
            **({"quality": {n: one and asdict(one) for n, one in self.qualities.items()}} if self.quality else {}),
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


def write_csv(path: Path, report: CheckReport) -> None:
    """Write one row a clip, whole or not at all; what was measured of them stands behind the other columns."""
    with aside(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow((*COLUMNS, *report.qualities))
        writer.writerows(_rows(report))


def _rows(report: CheckReport) -> Iterator[list[Any]]:
    codes: dict[str, list[str]] = {}
    measured = tuple(report.qualities)
    for defect in report.defects:
        if defect.clip is not None:
            codes.setdefault(defect.clip, []).append(defect.code)
    for clip in report.clips:
        probed, own = report.files.get(clip.media or ""), report.quality.get(clip.id, {})
        yield [
            *(clip.id, clip.split, clip.media, clip.start, clip.end),
            *_media_cells(clip, probed),
            clip.label,
            " ".join(dict.fromkeys(codes.get(clip.id, []))),
            *(f"{value:.5g}" if (value := own.get(name)) is not None else None for name in measured),
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
