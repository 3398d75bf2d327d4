"""Decode: one pass over a media file gives a clip's sound and its frames, on one clock.

`decode` opens the file, reads its packets up to the clip's end, and gives the sound to a `SoundTrack` and the frames
to a `VideoTrack`, which finds the time of each frame and passes it to the samplers.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from mse_pipeline.errors import ClipError
from mse_pipeline.media.audio import Audio
from mse_pipeline.media.container import container_start, find_stream, is_bare, prepare, why_refused
from mse_pipeline.media.effort import FULL, Decoding
from mse_pipeline.media.frames import Frame, PixelAspect
from mse_pipeline.media.probe import MediaInfo, describe
from mse_pipeline.media.soundtrack import SoundTrack, TimestampError
from mse_pipeline.media.timeline import (
    CODECS,
    CONTAINERS,
    FrameClock,
    FrameRequest,
    FrameSampler,
    Opened,
    Skipper,
    Timeline,
    exact,
    open_at,
)

__all__ = ["Decoded", "FrameRequest", "decode"]

MAX_STILL = 3600
"""Seconds that one frame may be shown; a file that announces more has broken timestamps."""


class VideoTrack:
    """Follows a clip's video and knows when each frame is shown and when the video ends.

    Args:
        requests: Which frames are wanted.
        clock: When a frame is shown after the clip's start.
        aspect: The shape of the stream's pixels.
        begin: The clip's start in the file, in seconds; a first frame without a time is the file's first.
        length: The clip's length in seconds; None for the end of the file.
        fps: Mean frames a second, for frames without a time or a duration.
    """

    def __init__(
        self,
        requests: Sequence[FrameRequest],
        clock: FrameClock,
        aspect: PixelAspect,
        *,
        begin: Fraction,
        length: Fraction | None,
        fps: Fraction,
    ) -> None:
        self._samplers = [FrameSampler(request) for request in requests]
        self._clock, self._aspect, self._length = clock, aspect, length
        self._step = 1 / fps
        self._last: Fraction | None = None
        self._end = self._passed = -begin
        self.first: Frame | None = None
        self.overrun = False
        self.done = False

    def add(self, frame: Any) -> None:
        """Take the next decoded frame.

        Raises:
            TimestampError: A frame would be shown for longer than `MAX_STILL`.
        """
        time = self._clock(frame)
        if time is None:
            time = self._end
        previous = Fraction(0) if self._last is None else self._last
        if self._last is not None and time <= previous:
            return  # a frame that goes back in time is a copy or comes from a splice
        if time - max(previous, Fraction(0)) > MAX_STILL:
            raise TimestampError(
                f"one frame would be shown for {float(time - previous):.0f} s; at most {MAX_STILL} s are accepted"
            )
        if self._length is not None and time >= self._length:
            self._end = time
            self.done = self.overrun = True
            return
        self._end = time + self._lasts(frame)
        self._last = time
        shown = Frame(frame, self._aspect())
        self.first = self.first or shown
        for sampler in self._samplers:
            sampler.add(time, shown)

    def pass_over(self, packet: Any) -> None:
        """Take a packet whose frame is not decoded; the frame before is shown in its place."""
        time = self._clock(packet)
        if time is not None:
            self._passed = max(self._passed, time + self._lasts(packet))
            self.overrun = self.overrun or (self._length is not None and time >= self._length)

    def _lasts(self, timed: Any) -> Fraction:
        """Seconds that a frame, or that of a packet, is shown."""
        lasts = Fraction(timed.duration * timed.time_base) if timed.duration and timed.time_base else Fraction(0)
        return lasts if 0 < lasts <= MAX_STILL else self._step

    def finish(self) -> float:
        """Hand over the last rows; returns the video's end in seconds from the clip's start, 0 if there is none."""
        if self._last is None:
            return 0.0
        end = max(self._end, self._passed)
        end = end if self._length is None else min(end, self._length)
        for sampler in self._samplers:
            sampler.finish(end)
        return max(float(end), 0.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoded:
    """The result of one pass over a file. If one stream is missing or broken, the other is still decoded.

    Attributes:
        info: What the file's headers say, and the first frame that was decoded.
        audio: The clip's sound from its start; None if it was not asked for or there is a problem.
        duration: Length of the clip in seconds, as far as it was decoded: the longer of sound and video.
        truncated: Whether the clip was longer than `max_seconds`, and only so much was decoded.
        audio_problem: Why there is no sound: `no_audio` or `undecodable`.
        video_problem: Why there are no frames: `no_video` or `undecodable`.
        audio_remarks: Faults of the sound, which was used nevertheless: `silent_audio`, `non_finite_audio`,
            `cancelled_audio`, `clipped_audio`, or `damaged` where parts of it are lost.
        video_remarks: Faults of the video, which was used nevertheless: `damaged`.
    """

    info: MediaInfo
    audio: Audio | None
    duration: float
    truncated: bool = False
    audio_problem: ClipError | None = None
    video_problem: ClipError | None = None
    audio_remarks: Sequence[ClipError] = ()
    video_remarks: Sequence[ClipError] = ()

    @property
    def damage(self) -> tuple[str, ...]:
        """All remarks, as sentences."""
        return tuple(dict.fromkeys(str(remark) for remark in (*self.audio_remarks, *self.video_remarks)))


def decode(
    path: str | os.PathLike[str],
    *,
    start: float | None = None,
    end: float | None = None,
    audio: bool = True,
    frames: Sequence[FrameRequest] = (),
    max_seconds: float | None = None,
) -> Decoded:
    """Decode a clip: its sound as mono 16 kHz float32, its frames at the requested rates.

    Time zero is `start`, or the beginning of the file (of its earliest stream) without a `start`. Frames go to the
    requests' `on_batch` while the file is read. If `on_batch` raises, decoding ends and the error is passed on.

    Args:
        path: The media file.
        start: Begin of the clip in the file, in seconds.
        end: End of the clip in the file, in seconds.
        audio: Whether the sound is wanted.
        frames: Which frames are wanted.
        max_seconds: Limit in seconds; a longer clip is cut there.

    Returns:
        The sound, and the facts and problems of both streams.

    Raises:
        ClipError: `missing_media`, `undecodable` (the file as a whole), `negative_start`, or `too_short` where
            `end` is not after `start`.

    Examples:
        >>> decode("nowhere.mp4")
        Traceback (most recent call last):
        mse_pipeline.errors.ClipError: nowhere.mp4 does not exist.
    """
    file = Path(path)
    begin, length = _span(file, start, end)
    limited = max_seconds is not None and (length is None or length > exact(max_seconds))
    if limited and max_seconds is not None:
        length = exact(max_seconds)
    # One pass, but where streams want different pixels of the same frames.
    ways = sorted({request.decoding for request in frames}, key=lambda way: (way != FULL, way.width, way.effort))
    opened = open_at(file, begin, audio, bool(frames))
    with opened.container:
        first = _Pass(file, opened, begin, length, limited)
        if audio:
            first.want_sound()
        if ways:
            first.want_frames([request for request in frames if request.decoding == ways[0]])
        decoded = first.run()
    for way in ways[1:]:
        opened = open_at(file, begin, False, True)
        with opened.container:
            other = _Pass(file, opened, begin, length, limited)
            other.want_frames([request for request in frames if request.decoding == way])
            other.run()
    channel = first.cancelled()
    if channel is None:
        return decoded
    # This is rare: a second pass costs less than to keep every channel of every clip.
    opened = open_at(file, begin, True, False)
    with opened.container:
        second = _Pass(file, opened, begin, length, limited)
        second.want_sound(channel)
        sound = second.run()
    return replace(decoded, audio=sound.audio, audio_remarks=sound.audio_remarks)


def _span(path: Path, start: float | None, end: float | None) -> tuple[Fraction, Fraction | None]:
    """Begin and length of the clip, in exact seconds; no length where it lasts to the end of the file."""
    begin = 0.0 if start is None else float(start)
    if begin < 0.0 or not math.isfinite(begin):
        raise ClipError("negative_start", f"The clip would start at {begin} s of {path}, expected 0 or later.")
    if end is not None and not float(end) > begin:
        message = f"The clip would end at {end} s of {path}, which is not after its start, {begin} s."
        raise ClipError("too_short", message)
    if end is None or math.isinf(end):
        return exact(begin), None
    # Ends less than a microsecond apart may become the same fraction; the clip still has a length.
    return exact(begin), exact(end) - exact(begin) or Fraction(float(end) - begin)


class _Side:
    """One stream of the pass, its sink and what went wrong with it."""

    def __init__(self, stream: Any, sink: SoundTrack | VideoTrack, timeline: Timeline) -> None:
        self.stream, self.sink, self._timeline = stream, sink, timeline
        self.skipper: Skipper | None = None
        self.key_frames = False  # whether all others are passed over
        self.frames = 0
        self.errors = 0
        self.first_error: BaseException | None = None
        self.ended = False

    def take(self, packet: Any) -> None:
        """Decode a packet, now or once it is known whether its frame is needed."""
        if self.key_frames and isinstance(self.sink, VideoTrack) and packet.size and not packet.is_keyframe:
            self.sink.pass_over(packet)
            return
        for ready in [packet] if self.skipper is None else self.skipper.ready(packet):
            if not self.ended:
                self._decode(ready)

    def _decode(self, packet: Any) -> None:
        """Decode a packet; a broken one is counted and the next one tried."""
        try:
            for frame in packet.decode():
                self.frames += 1
                if self.stream.type == "audio":
                    self._timeline.heard(self.stream.index, frame)
                self.sink.add(frame)
                if self.sink.done:
                    self.ended = True
                    return
        except av.error.EOFError:
            self.ended = True
        except TimestampError as error:
            self.note(error)
            self.ended = True
        except av.FFmpegError as error:
            self.note(error)

    def note(self, error: BaseException) -> None:
        self.errors += 1
        self.first_error = self.first_error or error


class _Pass:
    """One pass over an open container.

    Args:
        path: The file, for messages.
        opened: The same, open at or before the clip.
        begin: The clip's start, in seconds after the file's.
        length: The most seconds to decode; None for all.
        limited: Whether `length` is the caller's limit and not the clip's own end.
    """

    def __init__(self, path: Path, opened: Opened, begin: Fraction, length: Fraction | None, limited: bool) -> None:
        self._path, self._opened, self._container = path, opened, opened.container
        self._begin, self._length, self._limited = begin, length, limited
        self._info = describe(self._container, path)
        self._zero = container_start(self._container)
        self._sides: dict[int, _Side] = {}
        self._sound: tuple[_Side, SoundTrack] | None = None
        self._picture: tuple[_Side, VideoTrack] | None = None
        self._problems: dict[str, ClipError] = {}
        self._channel: int | None = None
        self._remarks: dict[str, list[ClipError]] = {"audio": [], "video": []}

    def want_sound(self, channel: int | None = None) -> None:
        """Decode the sound, if there is one; mixed, or one channel of it."""
        end = None if self._length is None else float(self._begin + self._length)
        stream = self._stream("audio")
        if stream is not None:
            track = SoundTrack(float(self._zero), float(self._begin), end, channel=channel, sought=self._opened.sought)
            self._sound = self._side(stream, track), track
            self._channel = channel

    def want_frames(self, frames: Sequence[FrameRequest]) -> None:
        """Decode the video for these requests, which want the same of it, if there is one."""
        decoding = frames[0].decoding
        stream = self._stream("video", decoding)
        if stream is None:
            return
        fps = exact(self._info.fps) if self._info.fps and self._info.fps > 0 else Fraction(25)
        clock = FrameClock(stream, None if is_bare(self._container) else self._zero + self._begin)
        aspect = PixelAspect(self._container, stream)
        picture = VideoTrack(frames, clock, aspect, begin=self._begin, length=self._length, fps=fps)
        side = self._side(stream, picture)
        self._picture = side, picture
        codec = stream.codec_context
        # A bare stream has no times but those that its frames are counted by.
        side.key_frames = decoding.effort == "key_frames" and not is_bare(self._container)
        if not side.key_frames and codec.name in CODECS and self._container.format.name in CONTAINERS:
            rates = [request.rate for request in frames]
            side.skipper = Skipper(codec, rates, clock, None if self._length is None else float(self._length))

    def _stream(self, kind: str, decoding: Decoding = FULL) -> Any | None:
        """The stream of a kind, ready to be decoded; None if it is missing or cannot be decoded."""
        stream = find_stream(self._container, kind)
        if stream is None:
            self._problems[kind] = ClipError(f"no_{kind}", f"{self._path} has no {kind} stream.")
            return None
        try:
            prepare(stream, self._path, decoding)
        except ClipError as problem:
            self._problems[kind] = problem
            return None
        return stream

    def _side(self, stream: Any, sink: SoundTrack | VideoTrack) -> _Side:
        self._sides[stream.index] = _Side(stream, sink, self._opened.timeline)
        return self._sides[stream.index]

    def cancelled(self) -> int | None:
        """The loudest channel, if the channels cancel each other out in the downmix; else None."""
        mixed = self._sound is not None and self._channel is None and "audio" not in self._problems
        return self._sound[1].levels.cancelled() if self._sound is not None and mixed else None

    def run(self) -> Decoded:
        """Read the file up to the clip's end and collect the results."""
        if self._sides:
            self._read()
        audio, seen = self._finish_sound(), self._finish_picture()
        duration = max(audio.duration if audio else 0.0, seen)
        self._check_length(duration)
        return Decoded(
            info=self._info,
            audio=audio,
            duration=duration,
            truncated=self._limited and any(side.sink.overrun for side in self._sides.values()),
            audio_problem=self._problems.get("audio"),
            video_problem=self._problems.get("video"),
            audio_remarks=tuple(self._remarks["audio"]),
            video_remarks=tuple(self._remarks["video"]),
        )

    def _read(self) -> None:
        sides = self._sides
        try:
            for packet in self._container.demux(*[side.stream for side in sides.values()]):
                self._opened.timeline.place(packet)
                side = sides[packet.stream.index]  # the closing, empty packets have no stream_index of their own
                if not side.ended:
                    side.take(packet)
                if all(side.ended for side in sides.values()):
                    return
        except av.FFmpegError as error:
            for side in sides.values():
                side.note(error)

    def _finish_sound(self) -> Audio | None:
        if self._sound is None:
            return None
        side, track = self._sound
        try:
            samples = track.finish()
        except (av.FFmpegError, TimestampError) as error:  # in the last frames; the samples before them are kept
            side.note(error)
            samples = track.finish()
        if not self._settle("audio", side, len(samples) > 0):
            return None
        self._remarks["audio"] += track.levels.remarks(self._path, self._channel)
        return Audio(samples)

    def _finish_picture(self) -> float:
        if self._picture is None:
            return 0.0
        side, picture = self._picture
        seen = picture.finish()
        if picture.first is not None:
            self._info = self._info.turned(picture.first.orientation)
        return seen if self._settle("video", side, seen > 0.0) else 0.0

    def _settle(self, kind: str, side: _Side, yielded: bool) -> bool:
        """Record the problem of a stream that gave nothing, or the damage of one that gave something."""
        why = "" if side.first_error is None else why_refused(side.first_error)
        if yielded:
            if side.errors:
                lost = f"Parts of the {kind} of {self._path} were lost ({side.errors} times): {why}."
                self._remarks[kind].append(ClipError("damaged", lost))
            return True
        code, message = "undecodable", f"The {kind} stream of {self._path} has no content that can be decoded."
        if side.errors:
            message = f"The {kind} of {self._path} cannot be decoded: {why}."
        elif self._begin > 0 or side.frames:
            until = "" if self._length is None else f" to {float(self._begin + self._length):g} s"
            code, message = f"no_{kind}", f"{self._path} has no {kind} from {float(self._begin):g} s{until}."
        self._problems[kind] = ClipError(code, message)
        return False

    def _check_length(self, duration: float) -> None:
        """Add a remark for a file that ends long before its headers say, as after a broken download."""
        announced = [
            side.stream.duration and side.stream.duration * side.stream.time_base for side in self._sides.values()
        ]
        if self._limited or duration == 0.0 or not all(announced):
            return
        expected = float(max(announced) - self._begin)
        if self._length is not None:
            expected = min(expected, float(self._length))
        if duration < 0.9 * expected and duration < expected - 1.0:
            missing = (
                f"{self._path} announces {expected:.2f} s, but only {duration:.2f} s could be read; fetch it again."
            )
            for side in self._sides.values():
                if side.stream.type not in self._problems:
                    self._remarks[side.stream.type].append(ClipError("damaged", missing))
