"""Tables in text files: what separates their fields, what their columns hold, and what is said of both."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gmlayers.experiments._numbers import MARKS, Decimal, Mark, Reading, is_plain, number, plain, settle
from gmlayers.experiments.files import refuse_special

if TYPE_CHECKING:
    import pandas as pd

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
"""Fields may be separated by these. The first that fits the whole file is taken."""

SHOWN = 8
"""A line or an error names at most this many columns, and says how many more there are."""

STEPS = 100
"""A column whose range is fewer steps of float32 than this has lost most of its content."""

LONGEST = 1000
"""The name of a class has at most this many characters."""

COLUMNS_AT_ONCE = 256  # converted at once, so that a wide table is not there twice


@dataclass(frozen=True)
class Table:
    """A file whose lines have been counted and whose columns have names."""

    path: Path
    separator: str
    header: tuple[str, ...]
    rows: int

    def line(self, row: int) -> int:
        """Return the line in which a row of values begins, for an error message."""
        # Only a message needs it, so it is counted again rather than kept for every row.
        return next(line for index, (line, _) in enumerate(_lines(self.path, self.separator)) if index == row + 1)

    def place(self, row: int, column: str) -> str:
        """Return where a value stands, for an error message."""
        return f"{self.path}, line {self.line(row)}, column {column!r}"


@dataclass
class Notes:
    """What is worth saying of columns."""

    features: Sequence[str]
    ranges: NDArray[np.float64]
    """The least and the greatest value of each feature, ``(2, features)``."""
    truth: Sequence[str] = ()
    read: dict[str, str] = field(default_factory=dict)
    ignored: Sequence[str] = ()

    def sentences(self) -> Iterator[str]:
        """Say it."""
        yield f"Features ({len(self.features):,}): {listed(self.features)}"
        if self.ignored:
            yield f"Ignored ({len(self.ignored):,}): {listed(self.ignored)}"
        if self.read:
            yield f"Read as numbers: {listed(f'{shorter(name)} ({how})' for name, how in self.read.items())}"
        if self.truth:
            yield f"True is 1 and false is 0 in: {listed(self.truth)}"
        spread = self.ranges[1] - self.ranges[0]
        if not spread.all():
            yield f"The same in every row: {listed(name for name, r in zip(self.features, spread) if not r)}"
        rough: list[int] = np.flatnonzero(coarse(*self.ranges)).tolist()
        if rough:
            names = listed(self.features[index] for index in rough)
            yield f"Float32 rounds to fewer than {STEPS} different numbers, so subtract the least: {names}"


def coarse(low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return whether float32 keeps little of what lies between two numbers."""
    with np.errstate(over="ignore"):
        step = np.spacing(np.maximum(np.abs(low), np.abs(high)).astype(np.float32)).astype(np.float64)
    return (low < high) & (high - low < STEPS * step)


def listed(names: Iterable[str]) -> str:
    """Return names with commas between them, the first ones and a number if they are many."""
    names = list(names)
    more = len(names) - SHOWN
    return ", ".join(map(shorter, names[:SHOWN])) + (f" and {more:,} more" if more > 0 else "")


def shorter(text: str) -> str:
    """Return a text, cut if it is long."""
    return text if len(text) <= 60 else text[:57] + "..."


def shown(text: str) -> str:
    """Return a value of a file as it stands in an error message."""
    return repr(shorter(text)) if text.strip() else "an empty field"


# Lines and fields


def open_table(path: Path) -> Table:
    """Find what separates the fields of a file, and count those of every line.

    Raises:
        ValueError: if the file is no UTF-8 text, names are missing or repeated, or a line has too few or too many
            fields.
    """
    refuse_special(path)
    widths = {mark: _width(path, mark) for mark in SEPARATORS}
    marks = [mark for mark in SEPARATORS if widths[mark] > 1] or [","]
    faults: dict[str, ValueError] = {}
    for mark in marks:
        try:
            rows = _count(path, mark)
        except ValueError as error:
            faults[mark] = error
        else:
            return Table(path, mark, tuple(_names(path, mark)), rows)
    mark = max(marks, key=widths.__getitem__)
    _names(path, mark)  # what is wrong with them comes first
    raise faults[mark]


def _width(path: Path, mark: str) -> int:
    """How many fields the first line has; none if quotes do not fit the mark."""
    try:
        return len(next(_lines(path, mark), (0, []))[1])
    except ValueError:
        return 0


def _count(path: Path, mark: str) -> int:
    """How many rows of values there are, all with as many fields as there are names."""
    lines = _lines(path, mark)
    width, rows = len(next(lines, (0, []))[1]), 0
    for line, fields in lines:
        if len(fields) != width:
            raise ValueError(
                f"{path}, line {line}: expected {width} fields, got {len(fields)}; fields are separated by "
                f"{SEPARATORS[mark]} here, and one that holds such a mark must stand in quotes"
            )
        rows += 1
    return rows


def _names(path: Path, mark: str) -> list[str]:
    """The column names in the first line."""
    names = [name.strip() for name in next(_lines(path, mark), (0, []))[1]]
    if not any(names):
        raise ValueError(f"{path} is empty; expected a line of column names and lines of values")
    before: set[str] = set()
    for index, name in enumerate(names):
        if not name:
            raise ValueError(f"{path}: column {index + 1} has no name; name it in the first line or remove it")
        if name in before:
            raise ValueError(f"{path}: two columns are named {name!r}; rename one")
        before.add(name)
    # pandas numbers the columns of a table without names from 0, which is a header all the same.
    if all(any(number(name, of) for of in MARKS) for name in names) and names != list(map(str, range(len(names)))):
        raise ValueError(f"{path}: the first line holds only numbers; it must hold the column names")
    return names


def _lines(path: Path, mark: str) -> Iterator[tuple[int, list[str]]]:
    """The records of a file and the lines that they begin in, counted from 1; empty lines are skipped."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(_text(path, file), delimiter=mark, skipinitialspace=True, strict=True)
        begin = 1
        try:
            for fields in reader:
                if fields:
                    yield begin, fields
                begin = reader.line_num + 1
        except UnicodeDecodeError:
            raise ValueError(f"{path} is not UTF-8 text; save it as CSV in UTF-8") from None
        except csv.Error as error:
            reason = "a quoted field does not end with its quotes" if "expected after" in str(error) else str(error)
            raise ValueError(f"{path}, line {begin}: {reason}") from None


def _text(path: Path, file: TextIO) -> Iterator[str]:
    """The lines of a file of text, which holds no zero bytes."""
    for number_of_line, line in enumerate(file, 1):
        if "\0" in line:
            raise ValueError(f"{path}, line {number_of_line}: a zero byte; this is no CSV file, save it as one")
        yield line


# Columns


def read_columns(
    table: Table, features: Sequence[str], target: str | None, decimal: Decimal
) -> tuple[Tensor, NDArray[np.generic], Notes]:
    """Read columns of a table as features, and one as the target.

    Args:
        table: the file.
        features: these columns hold numbers.
        target: this one may hold text; None for no target.
        decimal: how numbers are written.

    Returns:
        The features in float32 ``(rows, features)`` in the order asked for, the target ``(rows,)`` as integers,
        floats or text (empty without a target), and what is to be said of the columns.

    Raises:
        ValueError: if a feature is no number that float32 holds, the target is missing somewhere, or numbers can be
            read in two ways; line and column are named.
    """
    frame = _frame(table, features if target is None else [*features, target], text=() if target is None else (target,))
    x, native, notes = _numeric(frame, features)
    texts = {} if target is None else {target: _target(table, frame, target)}
    values = plain(np.array(texts.get(target or "", []), dtype=np.str_))
    if target is not None:
        native[target] = values.dtype.kind
    place = {name: index for index, name in enumerate(features)}
    for name, (written, reading) in _settled(table, native, texts, decimal).items():
        if how := _example(written, reading):
            notes.read[name] = how
        if name != target:
            x[:, place[name]] = torch.from_numpy(reading.values)
            notes.ranges[:, place[name]] = reading.values.min(), reading.values.max()
        elif reading.whole:
            values = _integers(reading) if how else values
        elif name in notes.read:
            del notes.read[name]  # it stays text
    _check(table, x, features)
    return x, values, notes


def text_target(
    path: str, name: str, texts: NDArray[np.str_], decimal: Decimal
) -> tuple[NDArray[np.generic], str | None]:
    """Return an array of text as numbers, if it holds numbers, and how it is read if programs would not read it so."""
    values = plain(texts)
    if values.dtype.kind != "U":
        return values, None
    reading = settle(path, {name: texts.tolist()}, decimal)[name]
    return (_integers(reading), _example(texts.tolist(), reading)) if reading.whole else (values, None)


def _settled(
    table: Table, native: dict[str, str], texts: dict[str, list[str]], decimal: Decimal
) -> dict[str, tuple[list[str], Reading]]:
    """Read again, from their text, the columns that are no plain numbers or may be no decimals with a point."""
    odd = [name for name, kind in native.items() if kind in "OU"]
    floats = [name for name, kind in native.items() if kind == "f"]
    if decimal == "comma" or (decimal == "auto" and table.separator != ","):
        odd, floats = odd + floats, []
    if not odd:
        return {}
    found = _found(table, odd, floats, texts, decimal)
    if floats and any(reading.mark == "comma" for _, reading in found.values()):
        found = _found(table, odd + floats, [], texts, decimal)  # so 1.234 may be 1234
    return found


def _found(
    table: Table, odd: list[str], floats: list[str], texts: dict[str, list[str]], decimal: Decimal
) -> dict[str, tuple[list[str], Reading]]:
    """The text of columns and what it says; ``floats`` are others, which may decide."""
    frame = _frame(table, odd, text=odd)
    written = {name: texts.get(name) or list(map(str, frame[name])) for name in odd}

    def votes() -> Iterator[Mark]:
        """What the plain decimals of the file need: they are looked at only if something hangs on it."""
        others = _frame(table, floats, text=floats) if floats else {}
        if any(number(text, "comma") is None for name in floats for text in others[name]):
            yield "point"

    found = settle(str(table.path), written, decimal, votes=votes, programs=table.separator != ";")
    return {name: (written[name], found[name]) for name in odd}


def _frame(table: Table, used: Sequence[str], text: Sequence[str]) -> pd.DataFrame:
    """Read the columns ``used``, those of ``text`` as text."""
    import pandas as pd  # here, because it takes longer to import than everything else

    wanted = set(used)
    try:
        frame = pd.read_csv(
            table.path,
            sep=table.separator,
            header=0,
            names=list(table.header),
            usecols=lambda name: name in wanted,
            index_col=False,
            dtype=dict.fromkeys(text, str),
            na_filter=False,  # so that an error can show what stands in the file
            skipinitialspace=True,
            low_memory=False,  # one type per column, not one per piece
            encoding="utf-8-sig",
        )
    except pd.errors.ParserError as error:
        raise ValueError(f"{table.path}: {' '.join(str(error).split())}") from None
    if len(frame) != table.rows:
        raise ValueError(
            f"{table.path}: its {table.rows} rows can also be read as {len(frame)}; look for lines without fields and "
            "for line breaks within fields"
        )
    return frame


def _numeric(frame: pd.DataFrame, features: Sequence[str]) -> tuple[Tensor, dict[str, str], Notes]:
    """Columns as float32 ``(rows, columns)``, NaN where a text is no plain number, their kinds, and notes."""
    import pandas as pd

    place = {name: index for index, name in enumerate(frame.columns)}
    order = [place[name] for name in features]
    kinds = [dtype.kind for dtype in frame.dtypes.iloc[order]]
    x = np.empty((len(frame), len(order)), dtype=np.float32)
    ranges = np.zeros((2, len(order)))
    with np.errstate(over="ignore", invalid="ignore"):  # what float32 cannot hold becomes inf and is found later
        for start in range(0, len(order), COLUMNS_AT_ONCE):
            some = slice(start, start + COLUMNS_AT_ONCE)
            part = frame.iloc[:, order[some]]
            if "O" in kinds[some]:
                part = part.apply(pd.to_numeric, errors="coerce")
            wide = part.to_numpy(np.float64)
            x[:, some] = wide
            if len(wide):
                ranges[:, some] = wide.min(0), wide.max(0)
    unread = set(np.flatnonzero(np.isnan(x).any(0)).tolist())
    native = {
        name: "O" if index in unread else "f" if kind == "O" else kind
        for index, (name, kind) in enumerate(zip(features, kinds))
    }
    truth = [name for name, kind in zip(features, kinds) if kind == "b"]
    return torch.from_numpy(x), native, Notes(features, ranges, truth)


def _target(table: Table, frame: pd.DataFrame, column: str) -> list[str]:
    """A column as text without white space around it."""
    texts = [str(value).strip() for value in frame[column]]
    for row, text in enumerate(texts):
        if text.lower() in ("", "nan"):
            raise ValueError(f"{table.place(row, column)}: the target is {shown(text)}; fill it in")
        if len(text) > LONGEST:
            raise ValueError(
                f"{table.place(row, column)}: the target is a text of {len(text):,} characters, and a class has a name "
                f"of at most {LONGEST}; choose another column by target=... (--target)"
            )
    return texts


def _integers(reading: Reading) -> NDArray[np.generic]:
    """Numbers as integers if all are and have no unit."""
    whole = not reading.unit and bool((reading.values == reading.values.round()).all())
    return reading.values.astype(np.int64) if whole and np.abs(reading.values).max() < 2**53 else reading.values


def _example(texts: Sequence[str], reading: Reading) -> str | None:
    """How a column is read, by the first text of which a program would think otherwise."""
    for text, value in zip(texts, reading.values.tolist()):
        if not (is_plain(text.strip()) and float(text) == value):
            return f"{text.strip()!r} is {value:.15g}"
    return None


def _check(table: Table, x: Tensor, features: Sequence[str]) -> None:
    """Refuse a value that is no number or beyond float32."""
    wrong = ~torch.isfinite(x)
    if not wrong.any():
        return
    row, index = map(int, wrong.nonzero()[0])
    name, count = features[index], int(wrong[:, index].sum())
    text = str(_frame(table, [name], text=[name])[name].iloc[row])
    sizes = [abs(found[0]) for mark in MARKS if (found := number(text, mark)) is not None]
    beyond = bool(sizes) and min(sizes) > torch.finfo(torch.float32).max
    advice = "correct or remove it"
    if beyond:
        advice = "divide the column by a power of ten"
    elif sizes:
        advice = "write all numbers of the column in one way, and see --decimal"
    elif 2 * count > len(x):
        advice = (
            f"{count} of its {len(x)} values are none, and features must be numbers: remove the column, or write it in "
            "numbers, such as a column of 0 and 1 for each word"
        )
    expected = "a finite number" + " within the range of float32" * beyond
    raise ValueError(f"{table.place(row, name)}: expected {expected}, got {shown(text)}; {advice}")
