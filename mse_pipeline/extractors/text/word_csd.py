"""Word times of CMU's computational sequences (.csd): TimestampedWords, one entry a video."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mse_pipeline.errors import ClipError, MseError
from mse_pipeline.extractors.text.rows import TimedWord
from mse_pipeline.extractors.text.text_file import unreadable, word_at


def read_csd(path: Path, names: Sequence[str]) -> list[TimedWord] | None:
    """The words of one entry.

    Args:
        path: The file.
        names: What the entry may be called, the likeliest first.

    Returns:
        Its words in seconds; None where there is no such entry.

    Raises:
        ClipError: `alignment_failed`: the file is damaged or hostile, or holds no words.
    """
    from mse_pipeline.hdf5_guard import child, keys, numbers, opened

    try:
        with opened(path) as file:
            data = child(child(file, keys(file)[0]), "data")
            # A name from a label file may hold slashes, which HDF5 would follow.
            name = next((name for name in names if "/" not in name and name in data), None)
            if name is None:
                return None
            entry = child(data, name)
            words = numbers(entry, "features", text=True)[:].reshape(-1)
            times = np.asarray(numbers(entry, "intervals")[:], np.float64)
    except (MseError, IndexError) as error:
        raise ClipError("alignment_failed", str(error) or f"{path.name} is empty.") from None
    if times.shape != (len(words), 2):
        raise unreadable(path.name, f"{name} has {len(words)} words but intervals of shape {times.shape}.")
    return [
        word_at(word.decode("utf-8", "replace"), start, end, None, (f"{path.name}:{name}", None))
        for word, (start, end) in zip(words.tolist(), times.tolist(), strict=True)
    ]
