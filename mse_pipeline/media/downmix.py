"""Downmix: frames of sound with any number of channels become one channel, and what is strange about it is measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import av
import numpy as np
from av.audio.frame import format_dtypes

from mse_pipeline.errors import ClipError

SILENT = 1e-3
"""Peak, of full scale, up to which a clip's sound counts as silence: -60 dBFS."""

CANCELLED = 0.01
"""Share of the channels' mean power below which nothing is left in the mix: their correlation is below -0.98."""

CLIPPED = 1.122
"""Peak, of full scale, from which it is told that samples are cut: 1 dB. Lossy codecs overshoot by less."""

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
            frame.pts = None  # the samples are counted here; FFmpeg shall not look at the time again
        self._source.push(frame)
        while True:
            try:
                yield self._sink.pull().to_ndarray()[0]
            except (av.error.BlockingIOError, av.error.EOFError):
                return


class Downmix:
    """One channel, at their own rate, of frames of one kind.

    FFmpeg's mix where it has one for the layout; of Ambisonics the channel W, which is what an omnidirectional
    microphone hears; else the mean of the channels.

    Args:
        source: The first frame; later ones must have its rate, sample format and layout.
        channel: Take this one alone, counted from 0.
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
        if first.format.name not in format_dtypes:  # 64-bit integers, which PyAV makes no array of
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
            one = channels.mean(0) if self._channel is None else channels[min(self._channel, len(channels) - 1)]
            return one, channels, bad
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
    """All of a frame; as its rate stays, so many samples come out as went in."""
    chunks = () if converter is None else converter(frame)
    return np.concatenate([*chunks, np.zeros(0, np.float32)])


def packed(frame: Any) -> Any:
    """A frame with its channels interleaved where they are more planes than PyAV reaches: 8, as FFmpeg's `data` has.

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
    """What is strange about a clip's sound, measured while it is mixed.

    Attributes:
        peak: Largest sample of the mix, of full scale.
    """

    def __init__(self) -> None:
        self.peak = 0.0
        self._samples = self._bad = 0
        self._mixed = 0.0
        self._powers = np.zeros(0)

    def add(self, mixed: np.ndarray, channels: np.ndarray | None, bad: np.ndarray | None) -> None:
        """Take some more of what `Downmix` gave."""
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
        """What a user should know of the sound.

        Args:
            path: The file, for the sentences.
            channel: The one that is taken instead of a mix, from 0.
        """
        found: list[ClipError] = []
        if not self._samples:
            return found
        if channel is not None:
            found.append(
                ClipError(
                    "cancelled_audio",
                    f"The channels of {path} cancel each other out when they are mixed, as where the sign of one is "
                    f"turned; its channel {channel + 1}, the loudest, is used alone.",
                )
            )
        if self._bad:
            share = 100 * self._bad / self._samples
            found.append(
                ClipError(
                    "non_finite_audio",
                    f"{self._bad:,} samples ({share:.3g} %) of the sound of {path} are infinite or no number; they "
                    "are read as silence.",
                )
            )
        if channel is None and self.peak <= SILENT:
            loudest = f"at {20 * np.log10(self.peak):.0f} dB of full scale" if self.peak else "0"
            found.append(ClipError("silent_audio", f"The sound of {path} is silence: its loudest sample is {loudest}."))
        if self.peak > CLIPPED:
            found.append(
                ClipError(
                    "clipped_audio",
                    f"The sound of {path} reaches {self.peak:.3g} times full scale; it is cut at full scale.",
                )
            )
        return found
