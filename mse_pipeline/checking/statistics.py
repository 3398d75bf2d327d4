"""Statistics: labels, lengths and streams of a corpus in numbers."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from mse_pipeline.checking.probing import Probed
from mse_pipeline.clip import Clip, Split
from mse_pipeline.media.probe import MediaInfo
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
    found: Counter[tuple[str, Split]] = Counter()
    for clip in clips:
        found[WITHOUT if clip.label is None else bin_of(clip.label), clip.split] += 1
    if not names:
        return {}
    used = [*names, *([WITHOUT] if any(name == WITHOUT for name, _ in found) else [])]
    return {name: {split: found[name, split] for split in Split} for name in used}


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
    found = {"streams": streams(probed), "container": info.container.partition(",")[0]}
    if info.has_audio:
        found |= {
            "sound codec": info.audio_codec or "unknown",
            "sample rate": f"{info.sample_rate} Hz" if info.sample_rate else "unknown",
            "channels": str(info.channels or "unknown"),
        }
    if info.has_video:
        found |= {
            "video codec": info.video_codec or "unknown",
            "frame size": f"{info.width}x{info.height}" + _stored(info),
            "frame rate": f"{round(info.fps, 3):g}/s" if info.fps else "unknown",
        }
    return found


def _stored(info: MediaInfo) -> str:
    """What a player does with the stored frames, where it has to do anything."""
    return " mirrored" * info.mirrored + (f" turned {info.rotation}°" if info.rotation else "")
