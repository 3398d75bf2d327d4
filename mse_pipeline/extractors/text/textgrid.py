"""Praat's TextGrid, long and short: words of one interval tier."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from mse_pipeline.extractors.text.word_checks import Given, Words, checked, read_text, unreadable

# Praat reads free-standing numbers, quoted texts and flags; all else in a file is comment (its manual, "TextGrid file
# formats"). The long form differs from the short one by such comments only.
_TOKEN = re.compile(r'"((?:[^"]|"")*+)(")?|(![^\n]*)|([^\s"]+)')
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
# What programs write for a number that there is none of: Praat, and Python.
_UNDEFINED = {"--undefined--": "nan", "nan": "nan", "inf": "inf", "-inf": "-inf"}
_TIERS = {"IntervalTier": 3, "TextTier": 2}
_WORDS = re.compile(r"(?:.*\s-\s)?words?", re.IGNORECASE)


def read_textgrid(path: Path, tier: str | None = None, scale: float = 1.0) -> Words:
    """The intervals of a tier; empty ones are silence.

    Args:
        path: The file.
        tier: The tier's name; None for the one called ``words`` (also ``word``, and ``speaker - words`` as the
            Montreal Forced Aligner writes), or for the only one. Of tiers with one name, ``words#2`` is the second.
        scale: Units of time in a second.

    Raises:
        ClipError: `alignment_failed`: the file is no TextGrid, has no such tier or several, or no word in it; with the
            line where one is at fault.
    """
    values = _Values(read_text(path), path.name)
    kind, what = values.text(), values.text()
    if what != "TextGrid" or not kind.startswith("ooTextFile"):
        raise unreadable(path.name, "is no TextGrid: it does not begin with ooTextFile and TextGrid.", 1)
    values.number(), values.number()
    tiers: list[tuple[str, list[Given]]] = []
    for _ in range(values.count()):
        width = _TIERS.get(tier_class := values.text())
        if width is None:
            raise values.error(f"a tier of class {tier_class[:50]!r}; there are IntervalTier and TextTier")
        name = values.text().strip()
        values.number(), values.number()
        words = []
        for _ in range(values.count()):
            times = [values.number() for _ in range(width - 1)]
            words.append(Given(values.text(), times[0], times[-1], line=values.line))
        if width == 3:
            tiers.append((name, words))
    chosen = tiers[_choose([name for name, _ in tiers], tier, path.name)][1]
    return checked({"": chosen}, path.name, scale)[""]


def _choose(names: list[str], wanted: str | None, file: str) -> int:
    """The place of the tier that is wanted."""
    # Tiers of one name are told apart by their number among them.
    numbered = [f"{name}#{names[: place + 1].count(name)}" for place, name in enumerate(names)]
    if wanted is None:
        found = [place for place, name in enumerate(names) if _WORDS.fullmatch(name)]
        found = found or ([0] if len(names) == 1 else [])
    else:
        found = [place for place, name in enumerate(names) if name == wanted.strip()]
        found = found or [place for place, name in enumerate(numbered) if name == wanted]
    if len(found) == 1:
        return found[0]
    asked = "called words, nor a single one" if wanted is None else f"called {wanted!r}"
    asked = f"{len(found)} are {'of words' if wanted is None else asked}" if found else f"none {asked}"
    called = [numbered[place] if names.count(name) > 1 else name for place, name in enumerate(names)]
    there = ", ".join(repr(name[:50]) for name in called[:10]) or "none"
    raise unreadable(file, f"of its interval tiers ({there}) {asked}. Name one with the option tier.")


class _Values:
    """The values of a TextGrid one after the other."""

    def __init__(self, text: str, file: str) -> None:
        self._text, self._file = text, file
        self._values = self._scan()
        self._counted, self.line = 0, 1

    def text(self) -> str:
        """The next value, which must be a text."""
        value = self._next()
        if isinstance(value, float):
            raise self.error(f"a text is expected, but this is the number {value:g}")
        return value

    def number(self) -> float:
        """The next value, which must be a number."""
        value = self._next()
        if not isinstance(value, float):
            raise self.error(f"a number is expected, but this is the text {value[:50]!r}")
        return value

    def count(self) -> int:
        """The next value, which must be a number of things; whether they are there shows as they are read."""
        value = self.number()
        if not (0 <= value <= 1e9 and value == int(value)):
            raise self.error(f"{value:g} is no count")
        return int(value)

    def error(self, why: str) -> Exception:
        """The error about the value that was read last."""
        return unreadable(self._file, f"{why}.", self.line)

    def _next(self) -> str | float:
        try:
            index, value = next(self._values)
        except StopIteration:
            raise unreadable(self._file, "ends before all that it announces is there; it is cut off.") from None
        self.line += self._text.count("\n", self._counted, index)
        self._counted = index
        return value

    def _scan(self) -> Iterator[tuple[int, str | float]]:
        for token in _TOKEN.finditer(self._text):
            quoted, closed, comment, bare = token.groups()
            if quoted is not None:
                if not closed:
                    line = self._text.count("\n", 0, token.start()) + 1
                    raise unreadable(self._file, "a text is opened with a quote and never closed.", line)
                yield token.start(), quoted.replace('""', '"')
            elif comment is None and (_NUMBER.fullmatch(bare) or bare.casefold() in _UNDEFINED):
                yield token.start(), float(_UNDEFINED.get(bare.casefold(), bare))
