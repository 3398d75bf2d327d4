"""A text -> the labels that a CTC model is to hear, and which word each belongs to."""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from mse_pipeline.extractors.text.spoken import spoken
from mse_pipeline.extractors.text.units import Unit, units

WILD = -1
"""Label of what the model does not know: any label does."""


@dataclasses.dataclass(frozen=True)
class Targets:
    """The labels of a text in their order.

    Attributes:
        labels: (L,) ids of the model's vocabulary, or `WILD`.
        owners: (L,) the place in `units` of what each belongs to; -1 for what parts words.
        units: Words and characters of the text.
    """

    labels: np.ndarray
    owners: np.ndarray
    units: tuple[Unit, ...]

    @property
    def known(self) -> int:
        """How many of the labels of words the model knows."""
        return int(((self.labels != WILD) & (self.owners >= 0)).sum())


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """What a CTC model can hear.

    Attributes:
        ids: Label -> id, without the blank and control tokens.
        blank: Id of the blank.
        delimiter: Id of the label between words; None where there is none.
        pieces: Splits a word into ids of longer pieces, None among them for what it does not know; None for a model
            of single characters.
    """

    ids: Mapping[str, int]
    blank: int
    delimiter: int | None = None
    pieces: Callable[[str], Sequence[int | None]] | None = None

    def targets(self, text: str, language: str) -> Targets:
        """The labels of a text. Punctuation that the model does not know is silent; other unknown signs are wild.

        Args:
            text: As people write it.
            language: Its ISO 639-1 code, for numbers.

        Examples:
            >>> letters = Vocabulary({"A": 2, "B": 3, "'": 4}, blank=0, delimiter=1)
            >>> found = letters.targets("Ab, b'é!", "en")
            >>> found.labels.tolist(), found.owners.tolist()
            ([2, 3, 1, 3, 4, -1], [0, 0, -1, 1, 1, 1])
        """
        there = tuple(units(text))
        labels: list[int] = []
        owners: list[int] = []
        before: Unit | None = None
        for place, unit in enumerate(there):
            for number, word in enumerate(spoken(unit, language, text[unit.end : unit.end + 1])):
                own = list(self._labels(word))
                if not own:
                    continue
                # Scripts without spaces have no label between their characters.
                joined = number == 0 and (before is None or before.by_character or unit.by_character)
                if labels and not joined and self.delimiter is not None:
                    labels.append(self.delimiter)
                    owners.append(-1)
                labels += own
                owners += [place] * len(own)
                before = unit
        return Targets(np.array(labels, np.int64), np.array(owners, np.int64), there)

    def _labels(self, word: str) -> Iterator[int]:
        last: int | None = None
        for label in self.pieces(word) if self.pieces is not None else self._letters(word):
            found = WILD if label is None else label
            # Several unknown signs in a row are one stretch of unknown sound.
            if found != WILD or last != WILD:
                yield found
            last = found

    def _letters(self, word: str) -> Iterator[int | None]:
        for letter in word:
            plain = unicodedata.normalize("NFKD", letter)[0]
            forms = (letter, letter.upper(), letter.lower(), plain, plain.upper(), plain.lower())
            known = next((form for form in forms if all(sign in self.ids for sign in form)), None)
            if known is not None:
                yield from (self.ids[sign] for sign in known)
            elif unicodedata.category(letter)[0] in "LN":
                yield None
