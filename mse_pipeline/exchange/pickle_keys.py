"""Keys of dictionaries and members of sets: plain, and never so many of one hash that a lookup takes long.

Python finds a key by its hash. The hash of a whole number is the number modulo 2**61 - 1, and that of a tuple follows
from its members': a file can hold thousands of keys with one hash, and each new one would be compared with all before.
Texts and bytes have hashes that nobody can foresee.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import numpy as np

from mse_pipeline.exchange.pickle_arrays import Refused

MOST_ALIKE = 64
"""Keys of one hash in one container; by chance there are hardly two."""

_SCALARS = (str, bytes, bool, int, float, type(None), np.number)
_UNFORESEEN = (str, bytes, type(None))


class Keys:
    """Lets keys into containers, and counts those that hash alike."""

    def __init__(self) -> None:
        # By the container's id; the container is kept beside, so that no other one gets its id.
        self._counts: dict[int, tuple[Any, dict[int, int]]] = {}

    def enter(self, container: dict[Any, Any] | set[Any], keys: Iterable[Any]) -> Iterable[Any]:
        """Give the keys one after the other, each to be put into the container before the next is asked for.

        Raises:
            Refused: A key is not plain, or very many have one hash.
        """
        for key in keys:
            if type(key) is str:  # nearly all are
                yield key
                continue
            _check(key)
            if not _is_spread(key) and key not in container:
                _, counts = self._counts.setdefault(id(container), (container, {}))
                alike = counts.get(hash(key), 0) + 1
                if alike > MOST_ALIKE:
                    raise Refused(
                        f"it has more than {MOST_ALIKE} keys with one hash, as {str(key)[:40]}; such files are made to "
                        "take very long to read."
                    )
                counts[hash(key)] = alike
            yield key


def _check(key: Any) -> None:
    """Nested tuples are refused: a few steps make one whose hash takes centuries."""
    flat = key if isinstance(key, tuple) else (key,)
    if len(flat) > 8 or not all(isinstance(one, _SCALARS) for one in flat):
        raise Refused(f"it has a {type(key).__name__} as a key; texts and numbers are read.")


def _is_spread(key: Any) -> bool:
    """Whether nobody can make many different keys of this kind with one hash."""
    if isinstance(key, tuple):
        return all(isinstance(one, _UNFORESEEN) for one in key)
    # Smaller whole numbers are their own hash.
    return isinstance(key, _UNFORESEEN) or (isinstance(key, int) and abs(key) < sys.hash_info.modulus)
