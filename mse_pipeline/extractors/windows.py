"""Windows: long sequences are encoded piece by piece, and each row is taken where it is farthest from the borders."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence


@dataclasses.dataclass(frozen=True)
class Window:
    """A piece of a sequence and the part of it that is kept.

    Attributes:
        start: First row.
        stop: Row behind the last.
        keep_start: First row that is taken from this window.
        keep_stop: Row behind the last one that is taken from it.
    """

    start: int
    stop: int
    keep_start: int
    keep_stop: int

    @property
    def kept(self) -> slice:
        """The rows of the sequence that are taken from this window."""
        return slice(self.keep_start, self.keep_stop)

    @property
    def inner(self) -> slice:
        """The same rows, counted from the window's own beginning."""
        return slice(self.keep_start - self.start, self.keep_stop - self.start)


def windows(rows: int, length: int, overlap: int) -> list[Window]:
    """Cover a sequence with windows of one length, the last of them shifted back so that it ends with the sequence.

    Equal lengths go through a model in one batch without padding, which many speech encoders cannot mask.

    Args:
        rows: Of the sequence.
        length: Rows of a window; a shorter sequence is one window.
        overlap: Rows that a window shares with its neighbour, fewer than `length`.

    Examples:
        >>> [(w.start, w.stop, w.keep_start, w.keep_stop) for w in windows(10, 6, 2)]
        [(0, 6, 0, 5), (4, 10, 5, 10)]
        >>> windows(5, 6, 2)
        [Window(start=0, stop=5, keep_start=0, keep_stop=5)]
    """
    if not 0 <= overlap < length:
        raise ValueError(f"Windows of {length} rows cannot overlap by {overlap}.")
    starts = [*range(0, max(rows - length, 0), length - overlap), max(rows - length, 0)]
    return keep([(start, min(start + length, rows)) for start in starts])


def keep(spans: Sequence[tuple[int, int]]) -> list[Window]:
    """Share out a sequence's rows among windows that cover it, in the order of their beginnings.

    Two neighbours meet in the middle of what they share; the sequence's own ends are no borders.

    Examples:
        >>> [w.kept for w in keep([(0, 8), (4, 12)])]
        [slice(0, 6, None), slice(6, 12, None)]
    """
    seams = [(stop + start) // 2 for (_, stop), (start, _) in itertools.pairwise(spans)]
    borders = [spans[0][0], *seams, spans[-1][1]]
    return [Window(*span, first, last) for span, first, last in zip(spans, borders[:-1], borders[1:], strict=True)]


def batches(of: Sequence[Window], size: int) -> Iterator[list[Window]]:
    """At most `size` windows at a time, all of one length."""
    some: list[Window] = []
    for window in of:
        if some and (len(some) == size or window.stop - window.start != some[0].stop - some[0].start):
            yield some
            some = []
        some.append(window)
    if some:
        yield some
