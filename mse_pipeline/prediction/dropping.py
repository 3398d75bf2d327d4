"""Dropping: a share of the clips is predicted without a modality, to see what a model is worth when one fails."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from zlib import crc32

import numpy as np

from mse_pipeline.errors import UsageError, did_you_mean
from mse_pipeline.store.features import ClipMissing, Features
from mse_pipeline.training.examples import Example
from mse_pipeline.training.stored import StoredTraining

TEXT = "text"
SHARES = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
"""Of a table."""


@dataclass(frozen=True)
class Drop:
    """Which share of the clips loses which modality.

    Attributes:
        shares: By modality (acoustic, visual, text), from 0 to 1; each is drawn alone, so that a clip may lose two.
        seed: Of the draw. With one seed, the clips of a smaller share are among those of a larger one.
    """

    shares: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0

    def clips(self, modality: str, every: Sequence[str]) -> frozenset[str]:
        """The clips that lose a modality, of all that there are.

        Examples:
            >>> some, more = (Drop({"text": share}).clips("text", list("abcdefghij")) for share in (0.3, 0.5))
            >>> len(some), len(more), some < more
            (3, 5, True)
        """
        order = np.random.default_rng([self.seed, crc32(modality.encode())]).permutation(len(every))
        ids = sorted(every)
        count = round(self.shares.get(modality, 0.0) * len(ids))
        return frozenset(ids[place] for place in order[:count])

    def sentence(self, every: Sequence[str]) -> str:
        """What is dropped, in words; empty for nothing."""
        told = [
            f"{modality} of {len(self.clips(modality, every)):,} of {len(every):,} clips" for modality in self.shares
        ]
        return f"Predicted without {' and '.join(told)} (seed {self.seed})." if told else ""


def read_modalities(stored: StoredTraining) -> tuple[str, ...]:
    """The modalities that a run reads."""
    return (*([TEXT] if stored.config.text else []), *stored.streams)


def parse_drop(given: Sequence[str], seed: int = 0) -> Drop:
    """What the command line says, each MODALITY=SHARE.

    Raises:
        UsageError: It says something else.

    Examples:
        >>> parse_drop(["acoustic=0.3"]).shares
        {'acoustic': 0.3}
    """
    shares: dict[str, float] = {}
    for text in given:
        modality, equals, number = text.partition("=")
        known = ("acoustic", "visual", TEXT)
        if modality not in known or not equals:
            raise UsageError(
                f"--drop is MODALITY=SHARE, as acoustic=0.3, with a modality of {', '.join(known)}; got "
                f"{text!r}{did_you_mean(modality, known)}."
            )
        try:
            share = float(number)
        except ValueError:
            share = -1.0
        if not 0 <= share <= 1:
            raise UsageError(f"--drop {text}: the share of the clips is a number from 0 to 1.")
        if modality in shares:
            raise UsageError(f"--drop says twice how many clips lose {modality}; keep one.")
        shares[modality] = share
    return Drop(shares, seed)


def require_read(drop: Drop, stored: StoredTraining) -> None:
    """Refuse to drop what a run does not read: its numbers would stay the same.

    Raises:
        UsageError: It does not read a modality.
    """
    there = read_modalities(stored)
    for modality in drop.shares:
        if modality not in there:
            raise UsageError(f"--drop {modality}: the run {stored.path} does not read it; it reads {', '.join(there)}.")


class Without(Mapping[str, Features]):
    """A stream without some clips.

    Args:
        stream: Features by clip id.
        lost: Clips that are not there.
    """

    def __init__(self, stream: Mapping[str, Features], lost: Collection[str]) -> None:
        self._stream, self._lost = stream, lost

    def __getitem__(self, clip: str) -> Features:
        if clip in self._lost:
            raise ClipMissing(clip, self, "What is left of the stream after clips were left out")
        return self._stream[clip]

    def __iter__(self) -> Iterator[str]:
        return (clip for clip in self._stream if clip not in self._lost)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def without_text(examples: Sequence[Example], lost: Collection[str]) -> list[Example]:
    """The examples, of which some have no text, nor anything said before."""
    return [replace(one, text="", before=()) if one.clip in lost else one for one in examples]
