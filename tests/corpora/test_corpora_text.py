"""Label files come in several encodings, with the damage of past conversions in them."""

from __future__ import annotations

import pytest

from mse_pipeline.corpora.text import c1_controls, decode, repair
from mse_pipeline.errors import UsageError


@pytest.mark.parametrize(
    ("damaged", "clean"),
    [
        ("he\x92s lost it", "he’s lost it"),
        ("\x93Hi\x94 \x97 well\x85", "“Hi” — well…"),
        ("no\xa0break", "no break"),
        ("café, naïve, 平静", "café, naïve, 平静"),
        ("\x81", "\ufffd"),
        ("", ""),
    ],
)
def test_c1_controls_become_what_cp1252_means(damaged, clean):
    assert repair(damaged) == clean
    assert repair(clean) == clean


def test_c1_controls_are_counted_without_the_no_break_space():
    assert c1_controls("a\x92b\x85c\xa0d") == 2


@pytest.mark.parametrize(
    ("data", "text", "encoding"),
    [
        (b"id,a\n", "id,a\n", "utf-8"),
        ("\ufeffid,a\n".encode(), "id,a\n", "utf-8"),
        ("id,说\n".encode("utf-16"), "id,说\n", "utf-16"),
        ("我不想嫁给李茶,开心\n你这是,愤怒".encode("gb18030"), "我不想嫁给李茶,开心\n你这是,愤怒", "gb18030"),
        (b"he\x92s here, it\x92s caf\xe9", "he’s here, it’s café", "cp1252"),
        ("he\x92s".encode(), "he\x92s", "utf-8"),
    ],
)
def test_encodings_are_told_apart(data, text, encoding):
    assert decode(data, "a.csv") == (text, encoding)


@pytest.mark.parametrize(
    ("data", "says"),
    [(b"\x00\x01\x02", "not a text file"), (b"\xff\xfeabc", "UTF-16")],
)
def test_what_is_no_text_is_refused_by_name(data, says):
    with pytest.raises(UsageError, match=says) as error:
        decode(data, "Table a.csv")
    assert "a.csv" in str(error.value)
