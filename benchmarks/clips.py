"""Clips that the benchmarks run on, by kind: people's own, and such as are drawn here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

Clips = Mapping[str, Sequence[Path]]
"""Files by kind, as in "1280x720 h264"."""

_SUFFIXES = {".mp4", ".mpg", ".mkv", ".avi", ".mov", ".webm"}


def given(folders: Sequence[Path]) -> Clips:
    """The videos below some folders."""
    found = sorted(path for folder in folders for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    return _by_kind(found)


def drawn(
    folder: Path, size: tuple[int, int], *, quality: int = 23, each: int = 1, duration: float | None = None
) -> list[Path]:
    """Draw clips of a size, some of each emotion.

    Args:
        folder: Where they go.
        size: Width and height in pixels.
        quality: libx264's constant rate factor; 23 is its default, less is finer.
        each: Clips of each emotion.
        duration: Their length in seconds; None for as long as a sentence takes.
    """
    from mse_pipeline import sample

    made = []
    for number in range(each * len(sample.EMOTIONS)):
        path = folder / f"{size[0]}x{size[1]}" / f"{number}.mp4"
        emotion = sample.EMOTIONS[number % len(sample.EMOTIONS)]
        sample.build_clip(path, emotion, number, sentence=number, size=size, quality=quality, duration=duration)
        made.append(path)
    return made


def _by_kind(paths: Sequence[Path]) -> Clips:
    from mse_pipeline.media.probe import probe

    kinds: dict[str, list[Path]] = {}
    for path in paths:
        info = probe(path)
        kinds.setdefault(f"{info.width}x{info.height} {info.video_codec}", []).append(path)
    return kinds


def all_clips(scratch: Path, folders: Sequence[Path], drawn_720p: bool) -> Clips:
    """What a run is measured on.

    Args:
        scratch: Where clips are drawn.
        folders: Folders of videos; drawn clips alone where there are none.
        drawn_720p: Whether 1280 x 720 clips are drawn beside those.
    """
    kinds = dict(given(folders))
    if not folders:
        kinds.update(_by_kind(drawn(scratch, (320, 240))))
    if drawn_720p or not folders:
        # About 2 Mbit a second and 3.6 seconds, as the files of MELD, which are of this size, have in the mean.
        kinds.update(_by_kind(drawn(scratch, (1280, 720), quality=19, each=4, duration=3.6)))
    return kinds
