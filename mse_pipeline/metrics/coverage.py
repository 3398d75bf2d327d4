"""Coverage: of how many clips of each split a result is, and how many of them had each stream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mse_pipeline.clip import Split

LEAST = 0.9
"""Share of a split below which a result is not one of the whole split."""


@dataclass(frozen=True)
class SplitCoverage:
    """One split.

    Attributes:
        clips: The dataset's clips, with and without a label.
        read: Those that were trained on, or scored: they have a label.
        official: How many the split officially has; None where nobody tells.
        streams: By stream, how many of the clips that were read have a valid row in it.
    """

    clips: int
    read: int
    official: int | None
    streams: Mapping[str, int]

    @property
    def whole(self) -> int:
        """Clips of the whole split: those that it officially has, or those that are there if they are more."""
        return max(self.clips, self.official or 0)


@dataclass(frozen=True)
class Coverage:
    """All splits that a result is of.

    Attributes:
        splits: By the split's name; splits that have no clip and should have none are left out.

    Examples:
        >>> some = Coverage({"test": SplitCoverage(clips=2, read=2, official=2610, streams={"visual.mtcnn": 1})})
        >>> for sentence in some.shortcomings():
        ...     print(sentence)
        Only 2 of 2,610 clips were read (0.1 %; test 2/2,610): the others are not there, or have no label.
        visual.mtcnn: only 1 of 2 clips have it (50.0 %; test 1/2). The others were read without it.
    """

    splits: Mapping[str, SplitCoverage]

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of the streams that are read."""
        return tuple(dict.fromkeys(stream for split in self.splits.values() for stream in split.streams))

    def parts(self, stream: str | None = None) -> dict[str, tuple[int, int]]:
        """By split, how many clips have a stream, of how many that are read; how many are read, where none is named."""
        if stream is None:
            return {name: (split.read, split.whole) for name, split in self.splits.items()}
        return {name: (split.streams.get(stream, 0), split.read) for name, split in self.splits.items()}

    def shortcomings(self) -> tuple[str, ...]:
        """What covers less than 90 % of a split, as sentences."""
        sentences = []
        for stream in (None, *self.streams):
            parts = self.parts(stream)
            if is_low(parts):
                had, of = (sum(part[side] for part in parts.values()) for side in (0, 1))
                share = f"{had:,} of {of:,} clips {{}} ({100 * had / max(of, 1):.1f} %; {told(parts)})"
                if stream is None:
                    sentences.append(f"Only {share.format('were read')}: the others are not there, or have no label.")
                else:
                    sentences.append(f"{stream}: only {share.format('have it')}. The others were read without it.")
        return tuple(sentences)

    def to_plain(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {name: asdict(split) for name, split in self.splits.items()}

    @classmethod
    def from_plain(cls, value: Any) -> Coverage:
        """What `to_plain` gave, from a file that may be a stranger's.

        Raises:
            ValueError: It is something else.
        """
        if not isinstance(value, Mapping) or not value.keys() <= set(Split):
            raise ValueError("it is no object of the splits train, valid and test")
        return cls({str(name): _split(split) for name, split in value.items()})


NOT_TOLD = Coverage({})
"""Of nothing, as where nothing is trained or scored."""


def is_low(parts: Mapping[str, tuple[int, int]]) -> bool:
    """Whether in one of the splits less than `LEAST` is there.

    Examples:
        >>> is_low({"train": (9, 10)}), is_low({"train": (10, 10), "test": (8, 10)})
        (False, True)
    """
    return any(had < LEAST * of for had, of in parts.values())


def told(parts: Mapping[str, tuple[int, int]]) -> str:
    """Numbers of clips by split, in a few words.

    Examples:
        >>> told({"train": (14, 9989), "test": (13, 2610)})
        'train 14/9,989, test 13/2,610'
    """
    return ", ".join(f"{name} {had:,}/{of:,}" for name, (had, of) in parts.items())


def _split(value: Any) -> SplitCoverage:
    streams = value.get("streams") if isinstance(value, Mapping) else None
    if not isinstance(streams, Mapping):
        raise ValueError("a split of it has no streams")
    official = value.get("official")
    return SplitCoverage(
        clips=_count(value.get("clips")),
        read=_count(value.get("read")),
        official=None if official is None else _count(official),
        streams={str(name): _count(count) for name, count in streams.items()},
    )


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 53:
        raise ValueError(f"{str(value)[:40]!r} is no number of clips")
    return value
