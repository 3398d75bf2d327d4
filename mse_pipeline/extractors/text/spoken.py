"""How a unit of text is said: numbers as words, signs that are read aloud, accents and widths made plain."""

from __future__ import annotations

import re
import unicodedata

from mse_pipeline.extractors.text.numerals import chinese, english, english_ordinal, english_plural
from mse_pipeline.extractors.text.units import Unit

_PART = re.compile(
    r"(?P<money>[$€£¥])?(?P<number>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)"
    r"(?P<ending>%|(?:st|nd|rd|th|s)(?![a-z]))?|(?P<letters>[^\W\d_][^\d$€£¥%]*)|(?P<sign>&)",
    re.IGNORECASE,
)
_MONEY = {
    "en": {"$": "dollars", "€": "euros", "£": "pounds", "¥": "yuan"},
    "zh": {"$": "美元", "€": "欧元", "£": "英镑", "¥": "元"},
}


def spoken(unit: Unit, language: str, following: str = "") -> list[str]:
    """The words of a unit as they are said; none where nothing of it is.

    Args:
        unit: Word, character or number of a text.
        language: Of the text; numbers are read in Chinese (``zh``) and English (``en``). In other languages they stay
            digits, which no model of letters knows.
        following: What stands after it in the text: the digits before 年 are read one by one.

    Examples:
        >>> from mse_pipeline.extractors.text.units import units
        >>> [spoken(unit, "en") for unit in units("It’s $5, 50%, the 3rd & MP3")]  # doctest: +NORMALIZE_WHITESPACE
        [["It's"], ['five', 'dollars'], ['fifty', 'percent'], ['the'], ['third'], ['and'], ['MP', 'three']]
        >>> [spoken(unit, "zh", "年") for unit in units("2008")], [spoken(unit, "zh") for unit in units("30%")]
        ([['二零零八']], [['百分之三十']])
    """
    plain = unicodedata.normalize("NFKC", unit.text).translate({0x2019: "'", 0x2BC: "'", 0x2010: "-", 0x2011: "-"})
    if language not in _MONEY:
        return [plain]
    words: list[str] = []
    for found in _PART.finditer(plain):
        number, ending = found["number"], (found["ending"] or "").lower()
        if number is None:
            words += [found["letters"] or {"en": "and", "zh": "和"}[language]]
        elif language == "zh":
            said = chinese(number, digit_by_digit=following.startswith("年") and len(number) == 4)
            said = "百分之" + said if ending == "%" else said
            words += [said + _MONEY["zh"].get(found["money"] or "", "")]
        else:
            words += _english(number, ending)
            words += [_MONEY["en"][found["money"]]] if found["money"] else []
    return words


def _english(number: str, ending: str) -> list[str]:
    if ending == "%":
        return [*english(number), "percent"]
    if ending == "s":
        return english_plural(english(number))
    if ending and "." not in number:
        return english_ordinal(number)
    return english(number)
