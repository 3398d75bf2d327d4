"""How a unit of text is said: numbers as words, signs that are read aloud, accents and widths made plain.

Numbers as they are said, in English and Chinese: a model that hears letters knows no digits.

Text -> the units that have times of their own: words, and Chinese and Japanese characters one by one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

_ONES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
_ONES += ["thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
_TENS = ["zero", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_THOUSANDS = ("", "thousand", "million", "billion", "trillion")
_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
_DIGITS = "零一二三四五六七八九"
_MOST_DIGITS = 15  # longer ones are read digit by digit


def english(number: str) -> list[str]:
    """A number of digits, with a point or commas perhaps, as English words.

    Whole numbers of four digits from 1100 to 1999 and from 2010 to 2099 are read as years; numbers that begin with 0,
    and very long ones, digit by digit.

    Examples:
        >>> " ".join(english("1,205")), " ".join(english("1984")), " ".join(english("3.14"))
        ('one thousand two hundred five', 'nineteen eighty four', 'three point one four')
        >>> " ".join(english("007")), " ".join(english("1900")), " ".join(english("1906"))
        ('zero zero seven', 'nineteen hundred', 'nineteen oh six')
    """
    whole, point, fraction = number.replace(",", "").partition(".")
    if point:
        return [*english(whole), "point", *(_ONES[int(digit)] for digit in fraction)]
    if len(whole) > _MOST_DIGITS or (len(whole) > 1 and whole[0] == "0"):
        return [_ONES[int(digit)] for digit in whole]
    value = int(whole)
    if "," not in number and (1100 <= value <= 1999 or 2010 <= value <= 2099):
        century, year = divmod(value, 100)
        if year == 0:
            return [*_below_thousand(century), "hundred"]
        return [*_below_thousand(century), *(["oh"] if year < 10 else []), *_below_thousand(year)]
    if value == 0:
        return ["zero"]
    words: list[str] = []
    for power in reversed(range(len(_THOUSANDS))):
        part = value // 1000**power % 1000
        if part:
            words += [*_below_thousand(part), *([_THOUSANDS[power]] if power else [])]
    return words


def english_ordinal(number: str) -> list[str]:
    """A whole number as an English ordinal.

    Examples:
        >>> " ".join(english_ordinal("21")), " ".join(english_ordinal("30")), " ".join(english_ordinal("104"))
        ('twenty first', 'thirtieth', 'one hundred fourth')
    """
    *front, last = english(f"{int(number.replace(',', '')):,}")
    if last in _ORDINALS:
        return [*front, _ORDINALS[last]]
    return [*front, last[:-1] + "ieth" if last.endswith("y") else last + "th"]


def english_plural(words: list[str]) -> list[str]:
    """Of a decade: the last word in the plural.

    Examples:
        >>> english_plural(["nineteen", "ninety"])
        ['nineteen', 'nineties']
    """
    *front, last = words
    if last.endswith("y"):
        return [*front, last[:-1] + "ies"]
    return [*front, last + ("es" if last.endswith("x") else "s")]


def chinese(number: str, *, digit_by_digit: bool = False) -> str:
    """A number of digits, with a point or commas perhaps, as Chinese characters.

    Args:
        number: The number.
        digit_by_digit: Read it as years and telephone numbers are; numbers that begin with 0, and very long ones, are
            anyway.

    Examples:
        >>> chinese("10"), chinese("205"), chinese("10086"), chinese("3.14")
        ('十', '二百零五', '一万零八十六', '三点一四')
        >>> chinese("2008", digit_by_digit=True), chinese("120000000")
        ('二零零八', '一亿二千万')
    """
    whole, point, fraction = number.replace(",", "").partition(".")
    if point:
        return chinese(whole) + "点" + "".join(_DIGITS[int(digit)] for digit in fraction)
    if digit_by_digit or len(whole) > _MOST_DIGITS or (len(whole) > 1 and whole[0] == "0"):
        return "".join(_DIGITS[int(digit)] for digit in whole)
    value, spoken = int(whole), ""
    if value == 0:
        return _DIGITS[0]
    for power, unit in ((3, "兆"), (2, "亿"), (1, "万"), (0, "")):
        part = value // 10_000**power % 10_000
        if part:
            # A gap is told by one zero, however wide it is.
            gap = spoken and (part < 1000 or value // 10_000 ** (power + 1) % 10_000 == 0)
            spoken += (_DIGITS[0] if gap else "") + _below_ten_thousand(part) + unit
    return spoken[1:] if spoken.startswith("一十") else spoken


def _below_thousand(value: int) -> list[str]:
    hundreds, rest = divmod(value, 100)
    words = [_ONES[hundreds], "hundred"] if hundreds else []
    if rest >= 20:
        return words + [_TENS[rest // 10]] + ([_ONES[rest % 10]] if rest % 10 else [])
    return words + ([_ONES[rest]] if rest else [])


def _below_ten_thousand(value: int) -> str:
    spoken = ""
    for power, unit in ((3, "千"), (2, "百"), (1, "十"), (0, "")):
        digit = value // 10**power % 10
        if digit:
            gap = spoken and value // 10 ** (power + 1) % 10 == 0
            spoken += (_DIGITS[0] if gap else "") + _DIGITS[digit] + unit
    return spoken


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
    for index, letter in enumerate(text):
        single = _BY_CHARACTER.match(letter) or letter in _ALONE
        if start is not None and (single or not _goes_on(text, index)):
            yield start, index
            start = None
        if single:
            yield index, index + 1
        elif start is None and _begins(text, index):
            start = index
    if start is not None:
        yield start, len(text)


def _begins(text: str, index: int) -> bool:
    if text[index] in _BEFORE_NUMBERS:
        return text[index + 1 : index + 2].isdecimal()
    return _is_letter(text[index])


def _goes_on(text: str, index: int) -> bool:
    letter, before, after = text[index], text[index - 1], text[index + 1 : index + 2]
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
        >>> from mse_pipeline.extractors.text.spoken import units
        >>> [spoken(unit, "en") for unit in units("It’s $5, 50%, the 3rd & MP3")]  # doctest: +NORMALIZE_WHITESPACE
        [["It's"], ['five', 'dollars'], ['fifty', 'percent'], ['the'], ['third'], ['and'], ['MP', 'three']]
        >>> [spoken(unit, "zh", "年") for unit in units("2008")], [spoken(unit, "zh") for unit in units("30%")]
        ([['二零零八']], [['百分之三十']])
    """
    plain = unicodedata.normalize("NFKC", unit.text).translate({0x2019: "'", 0x2BC: "'", 0x2010: "-", 0x2011: "-"})
    if language not in _MONEY:
        return [plain]
    words: list[str] = []
    for match in _PART.finditer(plain):
        number, ending = match["number"], (match["ending"] or "").lower()
        if number is None:
            words += [match["letters"] or {"en": "and", "zh": "和"}[language]]
        elif language == "zh":
            said = chinese(number, digit_by_digit=following.startswith("年") and len(number) == 4)
            said = "百分之" + said if ending == "%" else said
            words += [said + _MONEY["zh"].get(match["money"] or "", "")]
        else:
            words += _english(number, ending)
            words += [_MONEY["en"][match["money"]]] if match["money"] else []
    return words


def _english(number: str, ending: str) -> list[str]:
    if ending == "%":
        return [*english(number), "percent"]
    if ending == "s":
        return english_plural(english(number))
    if ending and "." not in number:
        return english_ordinal(number)
    return english(number)
