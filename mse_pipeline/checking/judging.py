"""Judging: a clip and its probed file -> its length and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from mse_pipeline.checking.probing import Probed
from mse_pipeline.clip import Clip, Defect, DefectCode

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
    if clip.start is not None and clip.start < 0:
        yield defect("negative_start", f"{clip.id} begins at {clip.start:g} s, before its file.")
    short = _too_short(clip, probed)
    if short:
        yield defect("too_short", f"{short}.")
    seconds = length(clip, probed)
    if seconds is not None and max_seconds is not None and seconds > max_seconds:
        cut = f"extraction takes its first {max_seconds:g} s"
        yield defect("too_long", f"{clip.id} is {seconds:.1f} s long; {cut}.")


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
    known = {defect.clip: place for place, defect in enumerate(merged) if defect.code == "known_bad"}
    # A clip may be a duplicate in two ways: of a row, and of a file's content.
    there = {(defect.clip, defect.code) for defect in merged if defect.code != "duplicate"}
    for defect in probed:
        place = known.get(defect.clip)
        if place is not None:
            told_before = merged[place]
            message = f"{told_before.message} Probing found it {defect.code}: {defect.message}"
            merged[place] = replace(told_before, message=message)
        elif (defect.clip, defect.code) not in there:
            merged.append(defect)
    return tuple(merged)


def _code(code: str) -> DefectCode:
    # Errors of media carry codes of this list; the type checker cannot see that.
    return code  # type: ignore[return-value]
