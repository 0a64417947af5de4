"""Series: several numbers at equal times, cut into windows."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from gmlayers._names import unknown

LARGEST = 1e4
"""Values further away than so many standard deviations are refused: nothing can be learned beside them."""


@dataclass(frozen=True)
class Series:
    """Several series at equal times, standardised by those that may be trained on.

    Attributes:
        names: of the series.
        times: of the rows.
        values: (rows, series), float32, of mean 0 and variance 1 over the training rows.
        mean: of the training rows, (series,).
        std: of the training rows, (series,).
        ends: the numbers of rows up to the ends of training, validation and test.
    """

    names: tuple[str, ...]
    times: pd.DatetimeIndex
    values: Tensor
    mean: Tensor
    std: Tensor
    ends: tuple[int, int, int]

    @classmethod
    def of(cls, table: pd.DataFrame, ends: tuple[int, int, int]) -> Series:
        """Return the series of a table of numbers whose index are times."""
        raw = torch.from_numpy(table.to_numpy(np.float64))
        mean, std = raw[: ends[0]].mean(0), raw[: ends[0]].std(0, correction=0)
        std = torch.where(std > 0, std, 1.0)
        values = ((raw - mean) / std).float()
        if not bool(values.isfinite().all()) or float(values.abs().max()) > LARGEST:
            name = str(table.columns[int(values.abs().nan_to_num(torch.inf).amax(0).argmax())])
            raise ValueError(
                f"{name!r} has values more than {LARGEST:.0e} standard deviations of the training rows away from their "
                f"mean; mend what is mistyped, or leave the column out"
            )
        return cls(tuple(map(str, table.columns)), pd.DatetimeIndex(table.index), values, mean, std, ends)

    def windows(self, part: int, look_back: int, horizon: int) -> Tensor:
        """Return the first rows of all windows whose targets lie in a part: 0 for training, 1 validation, 2 test."""
        low = 0 if part == 0 else self.ends[part - 1] - look_back
        return torch.arange(low, self.ends[part] - look_back - horizon + 1)

    def read(self, starts: Tensor, look_back: int, horizon: int) -> tuple[Tensor, Tensor]:
        """Return what is read, (windows, series, look_back), and what came after it, (windows, series, horizon)."""
        rows = self.values[starts.unsqueeze(1) + torch.arange(look_back + horizon)].transpose(1, 2)
        return rows[..., :look_back], rows[..., look_back:]

    def batches(
        self, part: int, look_back: int, horizon: int, *, every: int = 1, size: int = 128
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all windows of a part in order, or every so many."""
        for starts in self.windows(part, look_back, horizon)[::every].split(size):
            yield self.read(starts, look_back, horizon)


SEASONS = {"min": 1440, "h": 24, "D": 7, "B": 5, "W": 52, "ME": 12, "MS": 12, "QE": 4, "QS": 4, "YE": 1, "YS": 1}
"""The table has the steps of a season, by what a step is in the words of pandas: a day of hours, a week of days."""

MOST_MISSING = 0.2
"""A series with a larger share of missing values is refused: what is filled in would be learned."""

MOST_OFF = 0.01
"""A larger share of times off the common step is refused."""


@dataclass(frozen=True)
class Table:
    """A table of series at equal times, and what was done to have it.

    Attributes:
        values: a column for every series, without missing values, by equal times.
        notes: sentences that say how the file was understood and what was filled in.
        season: steps in a season, by which a seasonal forecast repeats.
    """

    values: pd.DataFrame
    notes: tuple[str, ...]
    season: int


def read_table(path: Path, date: str | None = None) -> Table:
    """Read series from a CSV file with a column of dates.

    Rows are put in order, and times that are missing are filled in between their neighbours, as are missing values;
    all that is said. Columns that hold no numbers are left out.

    Args:
        path: of the file; commas, semicolons, tabs or bars separate the columns.
        date: the column of dates; by default the first that can be read as dates.

    Raises:
        ValueError: if the file is no table, has no dates or no numbers, or times are repeated or have no common step.
    """
    table = _parsed(path)
    date = _date_column(table, date, path)
    times = _times(table, date)
    bad = np.flatnonzero(times.isna())
    if len(bad):
        raise ValueError(
            f"{path}: {len(bad):,} dates of {date!r} cannot be read, the first in line {bad[0] + 2}; write them like "
            f"2016-07-01 13:00"
        )
    notes = [f"{path}: {len(table):,} rows; {date!r} has the dates, {times.min()} to {times.max()}"]
    columns, ignored = {}, []
    for name in table:
        if name == date:
            continue
        raw: Any = table[name]
        _refuse_unclear(raw, str(name), path)
        numbers = np.asarray(pd.to_numeric(raw, errors="coerce"), dtype=np.float64)
        if len(numbers) > 2 and (np.diff(numbers) == 1).all() and numbers[0] in (0, 1):
            ignored.append(str(name))  # it counts the rows
            continue
        if np.isfinite(numbers).any() and int(np.isfinite(numbers).sum()) == int(raw.notna().sum()):
            columns[str(name)] = numbers
        else:
            ignored.append(str(name))
    if not columns:
        raise ValueError(f"{path} has no column of numbers beside {date!r}; there is nothing to forecast")
    if ignored:
        notes.append(f"left out, as they do not hold numbers alone: {', '.join(ignored)}")
    values = pd.DataFrame(columns, index=times)
    there: Any = ~np.isnan(values.to_numpy()).any(axis=1)
    if there.any() and not (there[0] and there[-1]):
        low, high = int(there.argmax()), len(there) - int(there[::-1].argmax())
        notes.append(f"{len(there) - (high - low):,} rows at the ends lack values, and were left out")
        values, times = values.iloc[low:high], times[low:high]
    if not times.is_monotonic_increasing:
        values = values.sort_index()
        notes.append("rows were put in the order of their dates")
    twice = times[times.duplicated()]
    if len(twice):
        raise ValueError(
            f"{path}: {len(twice):,} dates occur more than once, such as {twice[0]}; a file has one row for each time: "
            f"put several series beside each other, as columns"
        )
    return _regular(values, notes, path)


def _refuse_unclear(raw: Any, name: str, path: Path) -> None:  # noqa: ANN401  (pandas' types are in the way)
    """Raise ``ValueError`` for numbers with commas, or whose points may stand for thousands."""
    text = raw.dropna().astype(str).str.strip()
    commas = text[text.str.fullmatch(r"[+-]?[\d.]*,\d+")]
    if len(commas) and len(commas) > 0.5 * len(text):
        raise ValueError(f"{path}: {name!r} has numbers with commas, such as {commas.iloc[0]}; write them with points")
    points = text[text.str.contains(".", regex=False)]
    if len(points) and points.str.fullmatch(r"[+-]?[1-9]\d{0,2}(\.\d{3})+").all():
        raise ValueError(
            f"{path}: {name!r} has numbers such as {points.iloc[0]}, whose point may stand for thousands or decimals; "
            f"write them without points, or with another number of decimals"
        )


def _parsed(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, sep=None, engine="python", encoding="utf-8-sig", index_col=False, dtype=str)
    except FileNotFoundError:
        raise ValueError(f"there is no file {str(path)!r}") from None
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError, ValueError, csv.Error) as error:
        raise ValueError(f"{path} is no table of text ({' '.join(str(error).split())}); give a CSV file") from None
    if len(table) < 3 or len(table.columns) < 2:
        raise ValueError(
            f"{path}: expected a column of dates and one of numbers, got {len(table)} rows and the columns "
            f"{_listed(table)}"
        )
    return table


def _times(table: pd.DataFrame, name: str, rows: int | None = None) -> pd.DatetimeIndex:
    """Return a column as times in one order of day and month, NaT where it is none; numbers are no times.

    Raises:
        ValueError: if the order cannot be told, or the distance from UTC changes.
    """
    whole_table: Any = table  # whose types are in the way
    column = whole_table[name].head(len(table) if rows is None else rows)
    numeric: Any = pd.to_numeric(column, errors="coerce")
    if numeric.notna().any():
        return pd.DatetimeIndex([pd.NaT] * len(column))
    text: Any = column.astype(str).str.strip()
    offset: Any = text.str.extract(r"\d{2}:\d{2}.*?\s*(Z|[+-]\d{2}:?\d{2})$", expand=False)
    if offset.nunique() > 1:
        raise ValueError(
            f"the dates of {name!r} have several distances from UTC, such as {offset.dropna().unique()[0]} and "
            f"{offset.dropna().unique()[1]}; write all of them in UTC"
        )
    text = text.str.replace(r"(?<=\d)\s*(Z|[+-]\d{2}:?\d{2})$", "", regex=True) if offset.notna().any() else text
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas has its say about orders
        times = pd.DatetimeIndex(pd.to_datetime(text, errors="coerce", format="ISO8601"))
        if not times.isna().any():
            return times
        found = [pd.DatetimeIndex(pd.to_datetime(text, errors="coerce", dayfirst=first)) for first in (True, False)]
    whole = [one for one in found if not one.isna().any()]
    if len(whole) < 2 or whole[0].equals(whole[1]):
        return whole[0] if whole else min(found, key=lambda one: int(one.isna().sum()))
    rising = [one for one in whole if one.is_monotonic_increasing or one.is_monotonic_decreasing]
    if len(rising) == 1:
        return rising[0]
    raise ValueError(
        f"the dates of {name!r}, such as {text.iloc[0]}, may be read day or month first; write them like 2016-07-01"
    )


def _date_column(table: pd.DataFrame, date: str | None, path: Path) -> str:
    if date is not None:
        if date not in table:
            raise ValueError(f"{path}: {unknown('column', date, map(str, table.columns))}")
        return date
    for name in table:
        if np.mean(~_times(table, str(name), 100).isna()) > 0.9:
            return str(name)
    raise ValueError(
        f"{path}: no column can be read as dates, among {_listed(table)}; write them like 2016-07-01 13:00, and name "
        f"the column by --date"
    )


def _listed(table: pd.DataFrame) -> str:
    return ", ".join(map(str, table.columns))


def _regular(values: pd.DataFrame, notes: list[str], path: Path) -> Table:
    """Return the table at equal times, with what was missing filled in."""
    times = pd.DatetimeIndex(values.index)
    frequency = pd.infer_freq(times)
    if frequency is None:
        step: Any = pd.Timedelta(np.median(np.diff(times.to_numpy())))
        if not step > pd.Timedelta(0) or (times[-1] - times[0]) / step > 20 * len(times):
            raise ValueError(
                f"{path}: most times are {step} apart, but they go from {times[0]} to {times[-1]}; is one mistyped?"
            )
        regular = pd.date_range(times[0], times[-1], freq=step)
        off = times.difference(regular)
        if len(off) > MOST_OFF * len(times):
            raise ValueError(
                f"{path}: times have no common step: most are {step} apart, and {len(off):,} of {len(times):,} lie "
                f"elsewhere, such as {off[0]}; resample the table to equal times"
            )
        added = len(regular) - (len(times) - len(off))
        values, frequency = values.reindex(regular), str(regular.freqstr)
        strange = f", and {len(off):,} off the step left out" if len(off) else ""
        notes.append(f"a step is {step}; {added:,} times were missing{strange}")
    else:
        values = values.asfreq(frequency)
        notes.append(f"a step is {frequency}")
    share, worst = max((float(np.isnan(values[name].to_numpy()).mean()), str(name)) for name in values)
    if share > MOST_MISSING:
        raise ValueError(
            f"{path}: {100 * share:.0f} % of {worst!r} are missing, at most {100 * MOST_MISSING:.0f} % can be filled "
            f"in; drop the column or the part of the table"
        )
    if share > 0:
        count = int(np.isnan(values.to_numpy()).sum())
        values = values.interpolate("linear").bfill().ffill()
        notes.append(f"{count:,} missing values were filled in between their neighbours")
    return Table(values, tuple(notes), _season(frequency))


def _season(frequency: str) -> int:
    """Return the steps of a season: a day of what is shorter, a week of days, a year of what is longer."""
    unit = frequency.split("-")[0]
    number = int("".join(c for c in unit if c.isdigit()) or 1)
    steps = SEASONS.get(unit.lstrip("0123456789"), 1)
    return steps // number if steps % number == 0 else 1
