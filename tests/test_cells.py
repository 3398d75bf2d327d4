"""Which cells say that there is no value, and which are numbers: the same for all readers."""

from __future__ import annotations

import pytest

from mse_pipeline.cells import MISSING, is_like_a_number, is_missing, is_unsaid, number_of, said

# The default of pandas.read_csv's parameter na_values, as its documentation lists it.
PANDAS = (
    *(" ", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A"),
    *("NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
)


@pytest.mark.parametrize("word", [*PANDAS, "", "NaT", "NAN", "none", "Null", "Na", " nan ", "\tNA"])
def test_words_for_absent_values_are_known_in_any_case(word):
    assert is_missing(word)
    assert number_of(word) is None


@pytest.mark.parametrize("word", ["0", "neutral", "no", "nil", "-", "?", "unknown", "nano", "None.", "NA12", "N"])
def test_other_words_are_values(word):
    assert not is_missing(word)


@pytest.mark.parametrize("word", sorted(MISSING))
def test_what_is_said_is_absent_where_a_program_wrote_so(word):
    assert is_unsaid(word)
    assert said(word) == ""


@pytest.mark.parametrize(
    "text", ["None.", "none", "Null", "NONE", "Na", "Nan", "None of them", "NaN?", "N/A, I guess", " Nate"]
)
def test_what_people_say_is_kept(text):
    assert said(text) == text


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        ("1.5", 1.5),
        (" -2 ", -2.0),
        ("1e-3", 0.001),
        ("\u22121.5", -1.5),  # minus sign
        ("\u20131.5", -1.5),  # en dash
        ("\uff0d\uff11\uff0e\uff15", -1.5),  # full width
        ("+.5", 0.5),
        ("1,5", None),
        ("1_000", None),
        ("1 000", None),
        ("inf", None),
        ("1e999", None),
        ("١٢", None),
        ("1²", None),
        ("1-2", None),
        ("-", None),
        ("0x10", None),
    ],
)
def test_numbers_of_a_table_with_commas(cell, number):
    assert number_of(cell) == number


@pytest.mark.parametrize(
    ("cell", "delimiter", "number"),
    [
        ("1,5", ";", 1.5),
        ("-0,5", ";", -0.5),
        ("\u22120,25", ";", -0.25),
        ("\uff11\uff0c\uff15", ";", 1.5),
        ("1,500", ";", 1.5),
        ("2,5e-3", ";", 0.0025),
        ("1.5", ";", 1.5),
        ("1.234,5", ";", None),
        ("1,234.5", ";", None),
        ("1,2,3", ";", None),
        (",5", ";", 0.5),
        ("-1,", ";", -1.0),
        (",", ";", None),
        ("1,5", "\t", 1.5),
        ("0,125", "\t", 0.125),
        ("1,500", "\t", None),
        ("1,5", "", None),  # Parquet has numbers of its own
    ],
)
def test_a_comma_is_a_decimal_sign_where_it_cannot_be_another(cell, delimiter, number):
    assert number_of(cell, delimiter) == number


@pytest.mark.parametrize(
    ("cell", "alike"),
    [("1,5", True), ("1'000", True), ("1 000,5", True), ("-1.234,5", True), ("1.5", False), ("joy, 2", False)],
)
def test_numbers_of_other_notations_are_told_from_words(cell, alike):
    assert is_like_a_number(cell) == alike
