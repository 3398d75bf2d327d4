"""Soundtrack: decoded audio frames of any kind become mono 16 kHz samples, placed on the clip's clock.

`Downmix` makes one channel of any number of channels, `Levels` measures faults such as silence, and `SoundTrack`
places the samples in time and resamples them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import av
import numpy as np
from av.audio.frame import format_dtypes

from mse_pipeline.errors import ClipError
from mse_pipeline.media.audio import SAMPLE_RATE

SILENT = 1e-3
"""Peak, of full scale, up to which a clip's sound counts as silence: -60 dBFS."""

CANCELLED = 0.01
"""Share of the channels' mean power. Below it the channels cancel each other out: their correlation is below -0.98."""

CLIPPED = 1.122
"""Peak, of full scale, from which a remark says that samples are cut: 1 dB. Lossy codecs overshoot by less."""

_PLANES = 8
_OFFSET_AND_SCALE = {"u1": (128.0, 2.0**7), "i2": (0.0, 2.0**15), "i4": (0.0, 2.0**31)}


class Converter:
    """Mono float32 at some rate from frames of one kind, by FFmpeg's libswresample.

    The downmix is normalised so that full scale in all channels stays full scale: libswresample's own default
    for floating-point output lets a stereo sum reach 1.41.

    Args:
        source: The first frame; later ones must have its rate, sample format and layout.
        rate: Samples a second to convert to.

    Raises:
        av.FFmpegError: libswresample does not know how the layout is mixed.
    """

    def __init__(self, source: Any, rate: int) -> None:
        self._graph = av.filter.Graph()
        self._graph.threads = 1
        self._source = self._graph.add(
            "abuffer",
            f"sample_rate={source.sample_rate}:sample_fmt={source.format.name}:"
            f"channel_layout={source.layout.name}:time_base=1/{source.sample_rate}",
        )
        resample = self._graph.add("aresample", "rematrix_maxval=1")
        mono = self._graph.add("aformat", f"sample_fmts=flt:channel_layouts=mono:sample_rates={rate}")
        self._sink = self._graph.add("abuffersink")
        self._graph.link_nodes(self._source, resample, mono, self._sink)
        self._graph.configure()

    def __call__(self, frame: Any | None) -> Iterator[np.ndarray]:
        """Convert one frame, or with None what is still inside; chunks of (N,) float32."""
        if frame is not None:
            frame.pts = None  # samples are counted here; FFmpeg must not use the time again
        self._source.push(frame)
        while True:
            try:
                yield self._sink.pull().to_ndarray()[0]
            except (av.error.BlockingIOError, av.error.EOFError):
                return


class Downmix:
    """Mixes frames of one kind to one channel, at their own rate.

    Uses FFmpeg's mix if it has one for the layout; the channel W of Ambisonics, which is what an omnidirectional
    microphone hears; else the mean of the channels.

    Args:
        source: The first frame; later ones must have its rate, sample format and layout.
        channel: Use only this channel, counted from 0.
    """

    def __init__(self, source: Any, channel: int | None = None) -> None:
        self.kind = frame_kind(source)
        self._source = source
        self._channel = 0 if channel is None and source.layout.name.startswith("ambisonic") else channel
        self._converter: Converter | None = None
        if self._channel is None:
            try:
                self._converter = Converter(source, source.sample_rate)
            except av.FFmpegError:
                if source.format.name not in format_dtypes:
                    raise

    def __call__(self, frames: Sequence[Any]) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
        """Mix frames of the kind.

        Returns:
            (N,) float32; the channels as (C, N) float32, None where there is one; and (N,) bool, true where a sample
            was no finite number and was made 0, None where all are.
        """
        first = frames[0]
        if first.format.name not in format_dtypes:  # 64-bit integers, which PyAV cannot turn into an array
            return _converted(self._converter, first), None, None
        samples = np.concatenate([frame.to_ndarray() for frame in frames], axis=1)
        bad: np.ndarray | None = None
        if samples.dtype.kind == "f" and not np.isfinite(samples).all():
            bad = np.asarray(~np.isfinite(self._split(samples)).all(0))
            samples = np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)
        channels = None
        if self._converter is None or first.layout.nb_channels > 1:
            channels = self._split(samples).astype(np.float32)
            offset, scale = _OFFSET_AND_SCALE.get(samples.dtype.str[1:], (0.0, 1.0))
            channels = (channels - np.float32(offset)) / np.float32(scale) if scale != 1.0 else channels
        if self._converter is None and channels is not None:
            mono = channels.mean(0) if self._channel is None else channels[min(self._channel, len(channels) - 1)]
            return mono, channels, bad
        whole = first
        if len(frames) > 1 or bad is not None:
            whole = av.AudioFrame.from_ndarray(samples, format=first.format.name, layout=first.layout.name)
            whole.sample_rate = first.sample_rate
        return _converted(self._converter, whole), channels, bad

    def rest(self) -> Iterator[np.ndarray]:
        """What is still inside."""
        return iter(()) if self._converter is None else self._converter(None)

    def _split(self, samples: np.ndarray) -> np.ndarray:
        """(C, N) of an array as PyAV gives it, in which packed formats have one row."""
        return samples if self._source.format.is_planar else samples.reshape(-1, self._source.layout.nb_channels).T


def _converted(converter: Converter | None, frame: Any) -> np.ndarray:
    """All samples of a frame. The rate stays the same, so the number of samples does too."""
    chunks = () if converter is None else converter(frame)
    return np.concatenate([*chunks, np.zeros(0, np.float32)])


def packed(frame: Any) -> Any:
    """A frame with interleaved channels if it has more planes than PyAV can read: 8, the size of FFmpeg's `data`.

    Raises:
        av.FFmpegError: libswresample cannot convert the frame.
    """
    if not frame.format.is_planar or frame.layout.nb_channels <= _PLANES:
        return frame
    converter = av.AudioResampler(frame.format.packed.name, frame.layout.name, frame.sample_rate)
    (whole,) = converter.resample(frame)
    whole.pts, whole.time_base = frame.pts, frame.time_base
    return whole


def frame_kind(frame: Any) -> tuple[int, str, str]:
    """Rate, sample format and layout of an audio frame: what a downmix is made for."""
    return frame.sample_rate, frame.format.name, frame.layout.name


class Levels:
    """Faults of a clip's sound, measured while it is mixed.

    Attributes:
        peak: Largest sample of the mix, of full scale.
    """

    def __init__(self) -> None:
        self.peak = 0.0
        self._samples = self._bad = 0
        self._mixed = 0.0
        self._powers = np.zeros(0)

    def add(self, mixed: np.ndarray, channels: np.ndarray | None, bad: np.ndarray | None) -> None:
        """Add the next result of `Downmix`."""
        self._samples += len(mixed)
        self._bad += 0 if bad is None else int(bad.sum())
        if channels is None or not len(mixed):
            return
        powers = np.einsum("cn,cn->c", channels, channels)
        if len(powers) > len(self._powers):
            self._powers = np.pad(self._powers, (0, len(powers) - len(self._powers)))
        self._powers[: len(powers)] += powers
        self._mixed += float(np.dot(mixed, mixed))

    def cancelled(self) -> int | None:
        """The loudest channel, from 0, where the channels cancel each other out in the mix; else None."""
        if len(self._powers) < 2 or self._powers.max() < self._samples * SILENT**2 / 10:
            return None
        return int(self._powers.argmax()) if self._mixed < CANCELLED * self._powers.mean() else None

    def remarks(self, path: Any, channel: int | None) -> list[ClipError]:
        """The faults of the sound that a user should know.

        Args:
            path: The file, for the sentences.
            channel: The channel that is used instead of a mix, from 0; None for the mix.
        """
        remarks: list[ClipError] = []
        if not self._samples:
            return remarks
        if channel is not None:
            remarks.append(
                ClipError(
                    "cancelled_audio",
                    f"The channels of {path} cancel each other out when they are mixed, as if one had the opposite "
                    f"sign; only channel {channel + 1}, the loudest, is used.",
                )
            )
        if self._bad:
            share = 100 * self._bad / self._samples
            remarks.append(
                ClipError(
                    "non_finite_audio",
                    f"{self._bad:,} samples ({share:.3g} %) of the sound of {path} are infinite or not a number; they "
                    "are read as silence.",
                )
            )
        if channel is None and self.peak <= SILENT:
            loudest = f"at {20 * np.log10(self.peak):.0f} dB of full scale" if self.peak else "0"
            remarks.append(
                ClipError("silent_audio", f"The sound of {path} is silence: its loudest sample is {loudest}.")
            )
        if self.peak > CLIPPED:
            remarks.append(
                ClipError(
                    "clipped_audio",
                    f"The sound of {path} reaches {self.peak:.3g} times full scale; it is cut at full scale.",
                )
            )
        return remarks


GAP = 0.05
"""Seconds by which timestamps may differ from the count of samples; a larger difference is a gap. Containers round
timestamps, Matroska to a millisecond, so smaller differences are not gaps."""

PREROLL = 0.25
"""Seconds that are decoded before a span and dropped, so that codec and resampler are stable at its start."""

_AT_ONCE = 0.5
"""Seconds of sound that are converted at once: a call for each frame of 20 ms would cost more than the conversion."""

MAX_SILENCE = 3600.0
"""Seconds of silence that gaps may add up to; a file that announces more has broken timestamps."""


class TimestampError(ValueError):
    """Timestamps that cannot be those of a recording."""


class SoundTrack:
    """Collects a clip's sound: a late start is padded, an early one cut, and gaps are filled with silence.

    Samples are first made mono and placed at their own rate, and then resampled from a sample on the grid that both
    rates share. A span therefore has the same phase as the whole file. If the file is read from its beginning, the
    samples of a span follow those before them, as in the whole file.

    Args:
        zero: The file's time zero on the stream's clock, in seconds.
        start: Begin of the clip after `zero`, in seconds.
        end: End of the clip after `zero`, in seconds; None for the end of the file.
        sought: Whether the file is not read from its beginning.
        channel: Use only this channel instead of the downmix.
        measure_only: Keep only the levels, not the samples.

    Attributes:
        levels: What was measured inside the clip.
    """

    def __init__(
        self,
        zero: float,
        start: float,
        end: float | None,
        *,
        sought: bool = False,
        channel: int | None = None,
        measure_only: bool = False,
    ) -> None:
        self._zero, self._start, self._end = zero, start, end
        self._sought, self._channel, self._measure_only = sought, channel, measure_only
        self.levels = Levels()
        self._mono: Downmix | None = None
        self._resampler: Converter | None = None
        self._waiting: list[tuple[Any, float | None]] = []  # frames of one kind, and when each begins after `zero`
        self._waiting_samples = 0
        self._mono_chunks: list[np.ndarray] = []  # placed, to be resampled
        self._mono_samples = 0
        self._chunks: list[np.ndarray] = []
        self._rate = 0
        self._written = 0  # index after the last placed sample, at the source's rate after `zero`
        self._position = 0  # the same for the resampled samples, at 16 kHz
        self._placed = False
        self._silence = 0.0
        self._heard = False
        self.overrun = False
        self.done = False

    def add(self, frame: Any) -> None:
        """Take the next decoded frame.

        Raises:
            TimestampError: The timestamps leave more silence than `MAX_SILENCE`.
            av.FFmpegError: libswresample cannot convert the frame.
        """
        frame = packed(frame)
        if self._waiting and frame_kind(self._waiting[0][0]) != frame_kind(frame):
            self._convert()
        if frame.sample_rate != self._rate:
            self._restart(frame.sample_rate)
        timed = frame.pts is not None and frame.time_base is not None
        self._waiting.append((frame, float(frame.pts * frame.time_base) - self._zero if timed else None))
        self._waiting_samples += frame.samples
        if self._waiting_samples >= _AT_ONCE * self._rate or frame.format.name not in format_dtypes:
            self._convert()

    def _convert(self) -> None:
        """Make what waits mono, and place each frame's samples."""
        waiting, self._waiting, self._waiting_samples = self._waiting, [], 0
        if not waiting:
            return
        frames = [frame for frame, _ in waiting]
        if self._mono is None or self._mono.kind != frame_kind(frames[0]):
            self._drain_mono()
            self._mono = Downmix(frames[0], self._channel)
        mono, channels, bad = self._mono(frames)
        begin = 0
        for frame, at in waiting:
            end = begin + frame.samples
            inside = self._inside(begin, end, self._written if at is None else round(at * self._rate))
            self.levels.add(
                mono[inside],
                None if channels is None else channels[:, inside],
                None if bad is None else bad[inside],
            )
            self._place(mono[begin:end], at)
            begin = end

    def _inside(self, begin: int, end: int, index: int) -> slice:
        """Of samples that are placed from `index` on, those inside the clip."""
        first = max(0, round(self._start * self._rate) - index)
        past = end - begin if self._end is None else round(self._end * self._rate) - index
        return slice(min(begin + first, end), max(begin, min(end, begin + past)))

    def finish(self) -> np.ndarray:
        """The clip's samples, (N,) float32 in [-1, 1] at 16 kHz; N is 0 where the clip has no sound."""
        self._drain()
        if not self._heard:
            return np.zeros(0, np.float32)
        samples = np.concatenate(self._chunks) if self._chunks else np.zeros(0, np.float32)
        if self._end is not None:
            samples = samples[: round(self._end * SAMPLE_RATE) - round(self._start * SAMPLE_RATE)]
        np.nan_to_num(samples, copy=False, nan=0.0, posinf=1.0, neginf=-1.0)  # sums of numbers beyond all measure
        self._measure(samples)
        return np.clip(samples, -1.0, 1.0, out=samples)

    def _restart(self, rate: int) -> None:
        """Begin at a source rate: on the common grid at first, later where the rate changes."""
        if self._rate:
            now = self._written / self._rate
            self._drain()
            self._written = round(now * rate)
        else:
            common = math.gcd(rate, SAMPLE_RATE)
            settled = max(0.0, self._start - PREROLL) if self._sought else 0.0
            blocks = math.floor(settled * common + 1e-9)
            self._written = blocks * (rate // common)
            self._position = blocks * (SAMPLE_RATE // common)
        self._rate = rate

    def _place(self, chunk: np.ndarray, at: float | None) -> None:
        """Append mono samples at the source's rate where the clock says that they belong."""
        if at is not None:
            index = round(at * self._rate)
            if not self._placed or abs(index - self._written) > GAP * self._rate:
                if index > self._written:
                    self._fill(index)
                else:
                    chunk = chunk[self._written - index :]
        if len(chunk):
            self._placed = True
            self._write(chunk)

    def _fill(self, index: int) -> None:
        limit = math.inf if self._end is None else math.ceil((self._end + PREROLL) * self._rate)
        missing = int(min(index, limit)) - self._written
        self._silence += missing / self._rate
        if self._silence > MAX_SILENCE:
            raise TimestampError(
                f"its timestamps leave {self._silence:.0f} s of silence; at most {MAX_SILENCE:.0f} s are accepted"
            )
        while missing > 0:
            count = min(missing, self._rate)
            self._write(np.zeros(count, np.float32), heard=False)
            missing -= count

    def _write(self, chunk: np.ndarray, *, heard: bool = True) -> None:
        begin, self._written = self._written, self._written + len(chunk)
        if self._end is not None:
            limit = self._end * self._rate
            self.overrun |= heard and self._written > limit + GAP * self._rate
            self.done |= self._written >= limit + PREROLL * self._rate
            self._heard |= heard and begin < limit and self._written > self._start * self._rate
        else:
            self._heard |= heard and self._written > self._start * self._rate
        if self._rate == SAMPLE_RATE:
            self._keep(chunk)
            return
        self._mono_chunks.append(chunk)
        self._mono_samples += len(chunk)
        if self._mono_samples >= _AT_ONCE * self._rate:
            self._resample()

    def _resample(self) -> None:
        chunks, self._mono_chunks, self._mono_samples = self._mono_chunks, [], 0
        if not chunks:
            return
        frame = av.AudioFrame.from_ndarray(np.concatenate(chunks)[None], format="flt", layout="mono")
        frame.sample_rate = self._rate
        if self._resampler is None:
            self._resampler = Converter(frame, SAMPLE_RATE)
        for piece in self._resampler(frame):
            self._keep(piece)

    def _keep(self, piece: np.ndarray) -> None:
        """Keep resampled samples from the clip's start on."""
        first = round(self._start * SAMPLE_RATE)
        begin, self._position = self._position, self._position + len(piece)
        if self._position <= first:
            return
        if self._measure_only:
            self._measure(piece[max(0, first - begin) :])
        else:
            self._chunks.append(np.array(piece[max(0, first - begin) :], np.float32))

    def _measure(self, samples: np.ndarray) -> None:
        self.levels.peak = max(self.levels.peak, float(np.abs(samples).max(initial=0.0)))

    def _drain_mono(self) -> None:
        if self._mono is not None:
            for chunk in self._mono.rest():
                self._place(chunk, None)
            self._mono = None

    def _drain(self) -> None:
        self._convert()
        self._drain_mono()
        self._resample()
        if self._resampler is not None:
            for piece in self._resampler(None):
                self._keep(piece)
            self._resampler = None
