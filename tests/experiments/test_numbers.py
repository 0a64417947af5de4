"""Numbers as people write them, and what decides where two readings are possible."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gmlayers.experiments._numbers import MARKS, Decimal, number, plain, read, settle

SWAP = str.maketrans(",.", ".,")


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("1,234.50", 1234.5, ""),
        ("-1,234,567", -1234567, ""),
        ("1 234.5", 1234.5, ""),
        ("1'234'567.25", 1234567.25, ""),
        ("1\u202f234", 1234, ""),
        ("$1,234.50", 1234.5, "$"),
        ("-$5", -5, "$"),
        ("$-5", -5, "$"),
        ("\N{MINUS SIGN}5 €", -5, "€"),
        ("12.5 %", 12.5, "%"),
        ("+.5", 0.5, ""),
        ("1.5E3", 1500, ""),
        ("  7 ", 7, ""),
    ],
)
def test_what_is_a_number_is_one_with_either_mark(text, value, unit):
    assert number(text, "point") == (value, unit)
    assert number(text.translate(SWAP), "comma") == (value, unit)


NONE = """|-|%|$|$ %|$5%|%5|--5|12 kg|1,23|0,123|1,234,56|1234,567|1,234'567|1_000|٣|0x1F|1e999|inf|nan|NA|1.2.3|1 2"""


@pytest.mark.parametrize("text", NONE.split("|"))
def test_what_is_no_number_is_none(text):
    assert number(text, "point") is None


@given(st.floats(allow_nan=False, allow_infinity=False, width=64))
def test_a_number_of_a_program_is_itself(value):
    assert number(repr(value), "point") == (value, "")
    assert plain(np.array([repr(value)])).tolist() == [value]


@given(st.integers(-(10**15), 10**15), st.sampled_from([0, 1, 2, 3]), st.sampled_from([",", "'", " "]))
def test_grouped_digits_are_what_they_were(value, decimals, group):
    text = f"{value:,.{decimals}f}" if decimals else f"{value:,}"
    assert number(text.replace(",", group), "point") == (value, "")


def test_the_unit_is_that_of_most_and_others_are_no_numbers():
    reading = read(["$5", "$6", "7", "$8"], "point")
    assert reading.unit == "$"
    np.testing.assert_array_equal(reading.values, [5, 6, np.nan, 8])


def settled(*columns: list[str], decimal: Decimal = "auto", **options):
    found = settle("file", {str(index): column for index, column in enumerate(columns)}, decimal, **options)
    return [reading.values.tolist() for reading in found.values()]


def test_a_column_is_read_as_it_must_be():
    assert settled(["1,234", "1,234.5"]) == [[1234, 1234.5]]
    assert settled(["1,234", "1,5"]) == [[1.234, 1.5]]
    assert settled(["1.234", "1.234.567"]) == [[1234, 1234567]]
    assert settled(["0,123", "1,234"]) == [[0.123, 1.234]]
    assert settled(["1", "2"]) == [[1, 2]]


def test_the_others_decide():
    assert settled(["1,234"], ["12.5"]) == [[1234], [12.5]]
    assert settled(["1,234"], ["12,5"]) == [[1.234], [12.5]]
    assert settled(["1.234"], ["12,5"]) == [[1234], [12.5]]
    assert settled(["1,234"], votes=lambda: ["point"]) == [[1234]]
    assert settled(["1,234"], decimal="comma") == [[1.234]]
    assert settled(["1,234"], decimal="point") == [[1234]]


def test_three_decimals_of_a_program():
    assert settled(["1.234"]) == [[1.234]]


@pytest.mark.parametrize(
    ("columns", "options"),
    [
        ((["1,234"],), {}),
        ((["1,234"], ["12.5"], ["12,5"]), {}),
        ((["1.234"], ["12.5"], ["12,5"]), {}),
        ((["1.234"],), {"programs": False}),
        ((["$9", "$1,234"],), {}),
    ],
)
def test_what_nothing_decides_is_asked(columns, options):
    with pytest.raises(
        ValueError, match=r"^file, column '0': '\$?1.234' may be 1\.?234 or 1\.?234, .*--decimal comma\)$"
    ):
        settled(*columns, **options)


def test_others_are_only_asked_if_something_hangs_on_them():
    def votes():
        pytest.fail("asked")

    assert settled(["12,5"], ["red"], ["1,234"], votes=lambda: ())[0] == [12.5]
    assert settled(["red", "blue"], ["1,5"], votes=votes)[1] == [1.5]


@pytest.mark.parametrize("mark", MARKS)
def test_a_long_text_takes_no_long(mark):
    for text in ("1" * 100_000 + "x", "1," * 50_000, "1,111" + ",111" * 30_000 + "x", "$" * 100_000):
        assert number(text, mark) is None
