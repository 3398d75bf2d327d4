"""Cells of strangers' tables as text: which of them say that there is no value, and which are numbers.

One vocabulary for all readers. It is the one of pandas (`pandas.read_csv`, parameter ``na_values``), so that a table
that went through pandas, R, a database or a spreadsheet means the same here as there.
"""

from __future__ import annotations

import math
import re

MISSING = frozenset(
    {
        *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>"),
        *("N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null", "NaT"),
    }
)
"""What programs write in the place of a value that is absent: pandas' list, and its word for an absent time."""

_ANY_CASE = frozenset(word.casefold() for word in MISSING)

_SIGNS = str.maketrans(
    {
        # Word and Excel write a minus sign, a dash or a hyphen of their own; East Asian keyboards full-width signs.
        **dict.fromkeys("\u2212\u2010\u2011\u2012\u2013\u2014\ufe63\uff0d", "-"),
        "\uff0b": "+",
        "\uff0e": ".",
        "\uff0c": ",",
        **{chr(0xFF10 + digit): str(digit) for digit in range(10)},
        # Marks of the direction of writing, which nobody sees.
        **dict.fromkeys("\u200e\u200f\u061c\ufeff"),
    }
)
_DECIMAL_COMMA = re.compile(r"([+-]?)(?=,?\d)(\d*),(\d*(?:[eE][+-]?\d+)?)")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")
_LIKE_A_NUMBER = re.compile(r"[+-]?\d[\d.,' ’\u00a0\u202f]*[,' ’\u00a0\u202f][\d.,' ’\u00a0\u202f]*\d")


def is_missing(cell: str) -> bool:
    """Whether a cell says that there is no value: a word of `MISSING` in any case, spaces aside.

    Examples:
        >>> is_missing(" nan"), is_missing("NONE"), is_missing("0"), is_missing("neutral")
        (True, True, False, False)
    """
    return cell.strip().casefold() in _ANY_CASE


def is_unsaid(cell: str) -> bool:
    """Whether a cell of a text, or of a speaker's name, says that there is none.

    People do say "None.", "null" or "Na", and some are called so. So what is said is missing only where the cell is
    nothing but a word of `MISSING` exactly as programs write it.

    Examples:
        >>> is_unsaid("NaN"), is_unsaid("None"), is_unsaid("None."), is_unsaid("Null"), is_unsaid("none")
        (True, True, False, False, False)
    """
    return cell.strip() in MISSING


def said(cell: str) -> str:
    """A cell of a text or a speaker's name; empty where it says that there is none.

    Examples:
        >>> said("NaN"), said("None of them.")
        ('', 'None of them.')
    """
    return "" if is_unsaid(cell) else cell


def number_of(cell: str, delimiter: str = ",") -> float | None:
    r"""A finite number, or None.

    The minus may be any sign that reads as one (U+2212), digits may be full-width. Thousands are not parted: whether
    1,500 is one and a half or fifteen hundred, the cell does not tell.

    Args:
        cell: The cell.
        delimiter: What parts the cells of the table. Where it is a semicolon, a comma is a decimal sign, as Excel
            writes it in most of Europe; where it is a tab, unless the comma may part thousands.

    Examples:
        >>> number_of(" 1.5 "), number_of("joy"), number_of("nan"), number_of("\u22122")
        (1.5, None, None, -2.0)
        >>> number_of("-0,5", ";"), number_of("-0,5"), number_of("1,500", ";"), number_of("1,500", "\t")
        (-0.5, None, 1.5, None)
    """
    plain = cell.strip().translate(_SIGNS)
    if delimiter == ";" or (delimiter == "\t" and not _THOUSANDS.fullmatch(plain)):
        plain = _DECIMAL_COMMA.sub(r"\1\2.\3", plain) if _DECIMAL_COMMA.fullmatch(plain) else plain
    try:
        number = float(plain)
    except ValueError:
        return None
    # float() also reads 1_000 and other scripts' digits, which nobody means in a table.
    return number if math.isfinite(number) and plain.isascii() and "_" not in plain else None


def is_like_a_number(cell: str) -> bool:
    """Whether a cell that is not a number may be meant as one: with a decimal comma, or with thousands parted.

    Examples:
        >>> is_like_a_number("1,5"), is_like_a_number("1'000.5"), is_like_a_number("joy"), is_like_a_number("2.0")
        (True, True, False, False)
    """
    return bool(_LIKE_A_NUMBER.fullmatch(cell.strip().translate(_SIGNS)))
