"""How much of each frame is decoded; PyAV is not imported to say it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

_HALVED = frozenset({"mpeg1video", "mpeg2video", "mpeg4"})
"""Codecs, by FFmpeg's names, that decode frames of half the width and height in less time."""


@dataclass(frozen=True)
class Decoding:
    """How much of a video is decoded. Anything but `full` gives other pixels.

    Attributes:
        effort: ``full``: what the codec's standard says. ``fast``: without the loop filter (H.264, HEVC), and frames of
            half the width and height where the codec has them (MPEG-1, MPEG-2, MPEG-4) and they are still `width` wide.
            ``key_frames``: the same, and only frames that are decoded without others; each is shown until the next.
        width: Pixels that frames of the stored width keep at least; without a meaning for ``full``.
    """

    effort: Literal["full", "fast", "key_frames"] = "full"
    width: int = 0

    @classmethod
    def of(cls, effort: Literal["full", "fast", "key_frames"], width: int) -> Decoding:
        """For frames that are reduced to a width; all frames that are decoded in full are decoded alike.

        Examples:
            >>> Decoding.of("full", 480) == Decoding.of("full", 224), Decoding.of("fast", 480)
            (True, Decoding(effort='fast', width=480))
        """
        return cls() if effort == "full" else cls(effort, width)

    def options(self, codec: Any) -> dict[str, str]:
        """FFmpeg's options of a decoder.

        Args:
            codec: PyAV's codec context.
        """
        if self.effort == "full":
            return {}
        half = codec.name in _HALVED and codec.width // 2 >= self.width
        return {"skip_loop_filter": "all", **({"lowres": "1"} if half else {})}


FULL = Decoding()
"""All of it, where nothing else is asked for."""
