"""Packing: each stream is put on the clock that its recipe asks for, in one file that training reads."""

from __future__ import annotations

from collections.abc import Callable, Collection

from mse_pipeline.alignment.apply import aligner
from mse_pipeline.store.checksum import DamagedError
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.features import Features
from mse_pipeline.store.packing import pack_stream


def pack(
    dataset: Dataset, on_stream: Callable[[str], None] = lambda stream: None, *, anew: Collection[str] = ()
) -> list[str]:
    """Write the packs that are missing or out of date; returns the streams that were packed.

    A stream that waits for words that the dataset has not yet is left for a later run.

    Args:
        dataset: The dataset in the cache.
        on_stream: Told which stream is next.
        anew: Streams whose packs are to be written in any case, because they are damaged.

    Raises:
        DamagedError: What is to be packed of a stream is damaged; the other streams are packed.
    """
    packed: list[str] = []
    problem: DamagedError | None = None
    for stream, entry in dataset.manifest.streams.items():
        words = entry.alignment.get("stream")
        if words is not None and words not in dataset.manifest.streams:
            continue
        on_stream(stream)
        words_of = None if words is None else WordRows(dataset, words)
        align = aligner(entry.alignment, words_of, of_words=words == stream)
        try:
            packed += [stream] if pack_stream(dataset, stream, align, anew=stream in anew) else []
        except DamagedError as error:
            problem = problem or error
    if problem is not None:
        raise problem
    return packed


class WordRows:
    """The rows of a word stream by clip id, read once from end to end when asked in the corpus's order.

    Args:
        dataset: The dataset in the cache.
        stream: Name of the word stream.
    """

    def __init__(self, dataset: Dataset, stream: str) -> None:
        self._native = dataset.native(stream)
        self._order = {clip: place for place, clip in enumerate(self._native)}
        self._coming = self._native.in_order()
        self._next = 0

    def __call__(self, clip: str) -> Features | None:
        """A clip's rows; None where it has none."""
        place = self._order.get(clip)
        if place is None:
            return None
        if place < self._next:
            return self._native[clip]
        for name, features in self._coming:
            self._next += 1
            if name == clip:
                return features
        return None
