"""Numbers as people and spreadsheets write them: ``1,234.50``, ``1.234,50 €``, ``12 %``.

One file writes its decimals in one way. What a column leaves open, such as ``1,234``, the other columns may settle; if
they do not, nobody can know, and :func:`settle` asks.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Mark = Literal["point", "comma"]
Decimal = Literal["auto", "point", "comma"]

MARKS: tuple[Mark, Mark] = ("point", "comma")
"""What may stand before the decimals has these names."""

_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_PLAIN = re.compile(r"[+-]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?|inf|infinity|nan)", re.ASCII | re.IGNORECASE)
_SIMPLE = re.compile(r"(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_GROUPED = re.compile(r"[1-9]\d{0,2}([,'\u2019 \u00a0\u2009\u202f])\d{3}(?:\1\d{3})*(?:\.\d*)?", re.ASCII)
_SWAPPED = str.maketrans(",.", ".,")


@dataclass(frozen=True)
class Reading:
    """A column of text, read as numbers."""

    values: NDArray[np.float64]
    """The numbers, NaN where a text is none."""
    mark: Mark
    """What stands before the decimals, if that matters."""
    unit: str
    """What stands beside every number: ``"%"``, a currency sign, or nothing. It changes no value."""

    @property
    def whole(self) -> bool:
        """Whether every text is a number."""
        return not np.isnan(self.values).any()


def is_plain(text: str) -> bool:
    """Return whether a text is a number as programs write numbers."""
    return _PLAIN.fullmatch(text) is not None


def plain(texts: NDArray[np.str_]) -> NDArray[np.generic]:
    """Return texts as integers or floats if every one is a number as programs write it, else as they are."""
    if all(map(_INTEGER.fullmatch, texts.tolist())):
        try:
            return texts.astype(np.int64)
        except (OverflowError, ValueError):  # too large, or too long for Python's int
            return texts.astype(np.float64)
    return texts.astype(np.float64) if all(map(is_plain, texts.tolist())) else texts


def number(text: str, mark: Mark) -> tuple[float, str] | None:
    """Return the finite number that a text is and its unit, or None.

    Digits may stand in groups of three, and one sign of a currency or of per cent may stand beside them.

    Example:
        >>> number("-1,234.50 $", "point"), number("1.234,5", "comma"), number("12 kg", "point")
        ((-1234.5, '$'), (1234.5, ''), None)
    """
    text, unit, sign = text.strip().replace("\N{MINUS SIGN}", "-"), "", ""
    if _is_unit(text[-1:]):
        text, unit = text[:-1].rstrip(), text[-1]
    for _ in range(2):  # -$5 as well as $-5
        if not sign and text[:1] in ("+", "-"):
            text, sign = text[1:].lstrip(), text[0]
        elif not unit and text[:1] != "%" and _is_unit(text[:1]):
            text, unit = text[1:].lstrip(), text[0]
    if mark == "comma":
        text = text.translate(_SWAPPED)
    if grouped := _GROUPED.fullmatch(text):
        text = text.replace(grouped[1], "")
    elif not _SIMPLE.fullmatch(text):
        return None
    value = float(sign + text)
    return (value, unit) if np.isfinite(value) else None


def _is_unit(character: str) -> bool:
    return character == "%" or (character != "" and unicodedata.category(character) == "Sc")


def read(texts: Sequence[str], mark: Mark) -> Reading:
    """Read a column. Its unit is that of most numbers, and a number with another one is none."""
    found = {text: number(text, mark) for text in set(texts)}
    units = Counter(found_one[1] for text in texts if (found_one := found[text]) is not None)
    unit = units.most_common(1)[0][0] if units else ""
    values = {text: np.nan if pair is None or pair[1] != unit else pair[0] for text, pair in found.items()}
    return Reading(np.array([values[text] for text in texts], dtype=np.float64), mark, unit)


def settle(
    path: str,
    columns: Mapping[str, Sequence[str]],
    decimal: Decimal,
    *,
    votes: Callable[[], Iterable[Mark]] = tuple,
    programs: bool = True,
) -> dict[str, Reading]:
    """Read the columns of one file, each in the one way that it can be read, or as the others say.

    Args:
        path: names the file in an error.
        columns: the texts of each column.
        decimal: what stands before the decimals, or ``"auto"``.
        votes: gives what other columns of the file need; called if a column can be read in two ways.
        programs: whether ``1.234`` has three decimals where nothing says otherwise, as it has for programs.

    Raises:
        ValueError: if the numbers of a column can be read in two ways, and nothing decides.
    """
    if decimal != "auto":
        return {name: read(texts, decimal) for name, texts in columns.items()}
    both = {name: {mark: read(texts, mark) for mark in MARKS} for name, texts in columns.items()}
    fitting = {name: [mark for mark in MARKS if of[mark].whole] for name, of in both.items()}
    open_rows = {
        name: np.flatnonzero(both[name]["point"].values != both[name]["comma"].values)
        for name, fits in fitting.items()
        if len(fits) == 2
    }
    needed = {fits[0] for fits in fitting.values() if len(fits) == 1}
    if any(map(len, open_rows.values())):
        needed.update(votes())
    chosen = {}
    for name, of in both.items():
        # Where neither fits an error is due, and it is to show what does not fit the better one.
        marks = fitting[name] or [min(MARKS, key=lambda mark: np.isnan(of[mark].values).sum())]
        if len(marks) == 2 and len(needed) == 1:
            marks = list(needed)
        elif len(open_rows.get(name, ())):
            text = columns[name][int(open_rows[name][0])]
            if not programs or "comma" in needed or any("," in text for text in columns[name]):
                ways = " or ".join(f"{found[0]:.15g}" for mark in MARKS if (found := number(text, mark)))
                raise ValueError(
                    f"{path}, column {name!r}: {text.strip()!r} may be {ways}, and nothing else decides; say "
                    "decimal='point' (--decimal point) or decimal='comma' (--decimal comma)"
                )
        chosen[name] = of[marks[0]]
    return chosen
