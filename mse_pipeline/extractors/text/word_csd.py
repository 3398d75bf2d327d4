"""Word times of CMU's computational sequences (.csd): TimestampedWords, one entry a video."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mse_pipeline.errors import ClipError, MseError
from mse_pipeline.extractors.text.word_checks import Given, Words, checked, unreadable


def read_csd(path: Path, names: Sequence[str], scale: float = 1.0) -> Words | None:
    """The words of one entry.

    Args:
        path: The file.
        names: What the entry may be called, the likeliest first.
        scale: Units of time in a second.

    Returns:
        Its words in seconds; None where there is no such entry.

    Raises:
        ClipError: `alignment_failed`: the file is damaged or hostile, or holds no words.
    """
    from mse_pipeline.hdf5_guard import child, keys, numbers, opened, strings

    try:
        with opened(path) as file:
            data = child(child(file, keys(file)[0]), "data")
            # A name from a label file may hold slashes, which HDF5 would follow.
            name = next((name for name in names if "/" not in name and name in data), None)
            if name is None:
                return None
            entry = child(data, name)
            words = strings(entry, "features")
            times = np.asarray(numbers(entry, "intervals")[:], np.float64)
    except (MseError, IndexError) as error:
        raise ClipError("alignment_failed", str(error) or f"{path.name} is empty.") from None
    if times.shape != (len(words), 2):
        raise unreadable(path.name, f"{name} has {len(words)} words but intervals of shape {times.shape}.")
    words_with_times = [Given(word, *span) for word, span in zip(words, times.tolist(), strict=True)]
    return checked({"": words_with_times}, f"{path.name}:{name}", scale)[""]
