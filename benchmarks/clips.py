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


def real(shared: Path, scratch: Path) -> Clips:
    """Clips of GRID and of MELD, the latter also enlarged to 1080p, and a street scene.

    Args:
        shared: The folder whose folder `data` holds the datasets.
        scratch: Where the enlarged clips go.
    """
    data = shared / "data"
    # About as long as MELD's clips are in the mean; the longest would be all that a few of them measure.
    meld = [path for path in sorted((data / "meld" / "clips").glob("*.mp4")) if 3e5 < path.stat().st_size < 7e5][:4]
    return {
        "GRID, 360x288": sorted((data / "grid").glob("*.mpg"))[:10],
        "MELD, 1280x720": meld,
        "MELD enlarged, 1920x1080": [_enlarged(path, scratch / f"{path.stem}-1080p.mp4") for path in meld[:2]],
        "street, 1920x1080": sorted((data / "multiface").glob("*.mp4"))[:1],
    }


def _enlarged(source: Path, path: Path) -> Path:
    """A video as H.264 of 1920 x 1080, with its sound."""
    import av

    with av.open(str(source)) as given, av.open(str(path), "w") as out:
        video, audio = given.streams.video[0], given.streams.audio[0]
        large = out.add_stream("libx264", rate=video.average_rate, options={"crf": "21"})
        large.width, large.height, large.pix_fmt = 1920, 1080, "yuv420p"
        large.codec_context.thread_count = 1
        copied = out.add_stream_from_template(audio)
        for packet in given.demux(video, audio):
            if packet.stream is video:
                for frame in packet.decode():
                    out.mux(large.encode(frame.reformat(1920, 1080, format="yuv420p")))
            elif packet.dts is not None:
                packet.stream = copied
                out.mux(packet)
        out.mux(large.encode())
    return path


def all_clips(scratch: Path, folders: Sequence[Path], drawn_720p: bool, shared: Path | None = None) -> Clips:
    """What a run is measured on.

    Args:
        scratch: Where clips are drawn.
        folders: Folders of videos; drawn clips alone where there are none.
        drawn_720p: Whether 1280 x 720 clips are drawn beside those.
        shared: Take the clips of `real` in place of all these.
    """
    if shared is not None:
        return real(shared, scratch)
    kinds = dict(given(folders))
    if not folders:
        kinds.update(_by_kind(drawn(scratch, (320, 240))))
    if drawn_720p or not folders:
        # About 2 Mbit a second and 3.6 seconds, as the files of MELD, which are of this size, have in the mean.
        kinds.update(_by_kind(drawn(scratch, (1280, 720), quality=19, each=4, duration=3.6)))
    return kinds
