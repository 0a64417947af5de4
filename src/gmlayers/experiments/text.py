"""Text that came from files, made fit to be shown on a terminal and to be opened in a spreadsheet.

Names of classes, columns, files and folders may come from somebody else.
"""

from __future__ import annotations

import csv
import io
import sys
import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from gmlayers.experiments.schema import Unchecked

_HIDDEN = frozenset({"Cc", "Cs", "Zl", "Zp"})  # controls, halves of pairs that cannot be written, ends of lines

_TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""A text that has one of these characters is shown in another order, and reads as another text."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet takes a cell that begins with one of these for a formula, and a formula can start programs."""


def visible(text: str) -> str:
    r"""Return a text with control characters as escapes, so that a terminal shows them and does nothing else.

    Example:
        >>> print(visible("cat\x1b]0;gone\x07"))
        cat\x1b]0;gone\x07
    """
    return "".join(_escaped(c) if unicodedata.category(c) in _HIDDEN or c in _TURNING else c for c in text)


def cell(value: object) -> object:
    """Return what goes into a cell of a CSV file: a text is visible, and begins with an apostrophe if it could be run.

    A spreadsheet shows such a cell as text. Whoever reads the file with a program takes the apostrophe away. Numbers
    stay as they are, also those that are written as text.

    Example:
        >>> cell("=1+1"), cell("-0.5"), cell("cat"), cell(-1)
        ("'=1+1", '-0.5', 'cat', -1)
    """
    if not isinstance(value, str):
        return value
    return "'" * (value.startswith(_FORMULA) and not is_number(value)) + visible(value)


def as_csv(lines: Iterable[Sequence[object]]) -> str:
    """Return lines as CSV, every cell as :func:`cell` says."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([cell(value) for value in line] for line in lines)
    return text.getvalue()


def one_line(message: object) -> str:
    """Return a message of several lines as one."""
    return " ".join(str(message).split())


@contextmanager
def notes() -> Iterator[None]:
    """Show warnings for users as lines on standard error, while the block runs, and nothing of them twice.

    Of files without a checksum the first only is named: its note speaks for the others.
    """
    shown: set[object] = set()

    def show(message: Warning | str, category: type[Warning], *_: object) -> None:
        text = visible(one_line(message))
        key = category if issubclass(category, Unchecked) else text
        if key not in shown:
            shown.add(key)
            print(f"gmlayers: note: {text}", file=sys.stderr)  # noqa: T201

    with warnings.catch_warnings():
        warnings.showwarning = show
        warnings.simplefilter("always", UserWarning)
        yield


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def is_number(text: str) -> bool:
    """Return whether a text is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True
