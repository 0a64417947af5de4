"""Series: several numbers at equal times, cut into windows."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from gmlayers._names import unknown


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
        raw = pd.Series(table[name])
        numbers = np.asarray(pd.to_numeric(raw, errors="coerce"), dtype=np.float64)
        if np.isfinite(numbers).any() and int(np.isfinite(numbers).sum()) == int(raw.notna().sum()):
            columns[str(name)] = numbers
        else:
            ignored.append(str(name))
    if not columns:
        raise ValueError(f"{path} has no column of numbers beside {date!r}; there is nothing to forecast")
    if ignored:
        notes.append(f"left out, as they do not hold numbers alone: {', '.join(ignored)}")
    values = pd.DataFrame(columns, index=times)
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


def _parsed(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, sep=None, engine="python", encoding="utf-8-sig")
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
    """Return a column as times, NaT where it is none; numbers are no times."""
    column = table[name].head(len(table) if rows is None else rows)
    if pd.api.types.is_numeric_dtype(column):
        return pd.DatetimeIndex([pd.NaT] * len(column))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas says that it looks at every date by itself
        times = pd.DatetimeIndex(pd.to_datetime(column, errors="coerce", format="ISO8601", utc=True))
        if times.isna().any():
            times = pd.DatetimeIndex(pd.to_datetime(column, errors="coerce", format="mixed", utc=True))
    return times.tz_localize(None)


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
        step = pd.Timedelta(np.median(np.diff(times.to_numpy())))
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
