"""Text -> the units that have times of their own: words, and Chinese and Japanese characters one by one."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

# Han characters and kana: written without spaces, and each about a syllable.
_BY_CHARACTER = re.compile("[\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_WITHIN_WORDS = frozenset("'’ʼ＇-‐‑")
_WITHIN_NUMBERS = frozenset(".,:．，：")
_BEFORE_NUMBERS = frozenset("$€£¥￥")
_AFTER_NUMBERS = frozenset("%％")
_ALONE = frozenset("&＆")


@dataclass(frozen=True)
class Unit:
    """A word or character.

    Attributes:
        text: As it is written.
        start: Where it begins in the text, in characters.
        end: Where it ends.
    """

    text: str
    start: int
    end: int

    @property
    def by_character(self) -> bool:
        """Whether it is a character of a script without spaces."""
        return bool(_BY_CHARACTER.fullmatch(self.text))


def units(text: str) -> list[Unit]:
    """Split a text; what is between the units is punctuation and blanks.

    Examples:
        >>> [unit.text for unit in units("Well, it's 50% -- 我有3个iPhone。")]
        ['Well', "it's", '50%', '我', '有', '3', '个', 'iPhone']
        >>> units("(so)")
        [Unit(text='so', start=1, end=3)]
    """
    return [Unit(text[start:end], start, end) for start, end in _places(text)]


def folded(text: str) -> str:
    """What of a word counts when words of two sources are compared.

    Examples:
        >>> folded("It’s"), folded("ＨＩ"), folded("don-t")
        ('its', 'hi', 'dont')
    """
    plain = unicodedata.normalize("NFKC", text).casefold()
    return "".join(letter for letter in plain if _is_letter(letter)) or plain


def _places(text: str) -> Iterator[tuple[int, int]]:
    start: int | None = None
    for place, letter in enumerate(text):
        single = _BY_CHARACTER.match(letter) or letter in _ALONE
        if start is not None and (single or not _goes_on(text, place)):
            yield start, place
            start = None
        if single:
            yield place, place + 1
        elif start is None and _begins(text, place):
            start = place
    if start is not None:
        yield start, len(text)


def _begins(text: str, place: int) -> bool:
    if text[place] in _BEFORE_NUMBERS:
        return text[place + 1 : place + 2].isdecimal()
    return _is_letter(text[place])


def _goes_on(text: str, place: int) -> bool:
    letter, before, after = text[place], text[place - 1], text[place + 1 : place + 2]
    if letter in _WITHIN_WORDS:
        return _is_letter(before) and _is_letter(after)
    if letter in _WITHIN_NUMBERS:
        return before.isdecimal() and after.isdecimal()
    if letter in _AFTER_NUMBERS:
        return before.isdecimal()
    return _is_letter(letter) and before not in _AFTER_NUMBERS


def _is_letter(letter: str) -> bool:
    """Letters, digits, and the signs that go with letters in many scripts."""
    return bool(letter) and unicodedata.category(letter)[0] in "LNM"
