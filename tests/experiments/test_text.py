import csv
import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gmlayers.experiments.text import as_csv, cell, visible

ANY = st.text(st.characters(exclude_categories=()))


@given(ANY)
def test_what_is_visible_can_be_written_and_does_nothing(text):
    shown = visible(text)
    assert not {unicodedata.category(c) for c in shown} & {"Cc", "Cs", "Zl", "Zp"}
    shown.encode()
    assert visible(shown) == shown


@given(st.text(st.characters(categories=("L", "N", "P", "S", "M", "Zs"))))
def test_all_else_stays_as_it_is(text):
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("a\nb\r", r"a\nb\r"),
        ("\x9b", r"\x9b"),
        ("a\u202eb", r"a\u202eb"),
        ("\udcff", r"\udcff"),
    ],
)
def test_what_a_terminal_would_obey_is_shown(text, shown):
    assert visible(text) == shown


@given(ANY)
def test_a_cell_that_a_spreadsheet_would_run_begins_with_an_apostrophe(text):
    written = str(cell(text))
    try:
        float(text)
    except ValueError:
        assert written.startswith("'") == text.startswith(("'", "=", "+", "-", "@", "\t", "\r"))
    else:
        assert written == visible(text)


@given(st.lists(st.lists(ANY | st.integers(), min_size=2), max_size=4))
def test_a_table_comes_back_with_what_was_written(lines):
    assert [*csv.reader(io.StringIO(as_csv(lines), newline=""))] == [
        [str(cell(value)) for value in line] for line in lines
    ]
