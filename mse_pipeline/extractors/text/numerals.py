"""Numbers as they are said, in English and Chinese: a model that hears letters knows no digits."""

from __future__ import annotations

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
    value, said = int(whole), ""
    if value == 0:
        return _DIGITS[0]
    for power, unit in ((3, "兆"), (2, "亿"), (1, "万"), (0, "")):
        part = value // 10_000**power % 10_000
        if part:
            # A gap is told by one zero, however wide it is.
            gap = said and (part < 1000 or value // 10_000 ** (power + 1) % 10_000 == 0)
            said += (_DIGITS[0] if gap else "") + _below_ten_thousand(part) + unit
    return said[1:] if said.startswith("一十") else said


def _below_thousand(value: int) -> list[str]:
    hundreds, rest = divmod(value, 100)
    words = [_ONES[hundreds], "hundred"] if hundreds else []
    if rest >= 20:
        return words + [_TENS[rest // 10]] + ([_ONES[rest % 10]] if rest % 10 else [])
    return words + ([_ONES[rest]] if rest else [])


def _below_ten_thousand(value: int) -> str:
    said = ""
    for power, unit in ((3, "千"), (2, "百"), (1, "十"), (0, "")):
        digit = value // 10**power % 10
        if digit:
            gap = said and value // 10 ** (power + 1) % 10 == 0
            said += (_DIGITS[0] if gap else "") + _DIGITS[digit] + unit
    return said
