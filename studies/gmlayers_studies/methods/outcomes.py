"""What the records of a contest hold, and how errors of two methods are compared."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from gmlayers_studies.methods.contest import Entry, Size
from gmlayers_studies.nets.tables import LEVEL
from gmlayers_studies.records import Records, Row

LEAST = 1e-16
"""Smaller errors are rounding, and count as this."""

ROUNDING = 1e-9
"""Logarithms that differ by less do so by rounding: there is no spread to judge by."""


@dataclass(frozen=True)
class Outcome:
    """What the records say of one seed of an entry that came to its end."""

    entry: Entry
    seed: int
    states: Sequence[Mapping[str, Any]]
    """As they came; one that was the best so far on the points held out has an ``error``, by :func:`condense`."""
    final: Mapping[str, Any]
    """The one with the least error on points held out."""

    @property
    def seconds(self) -> np.ndarray:
        """When the states were reached."""
        return np.array([state["seconds"] for state in self.states])

    @property
    def errors(self) -> np.ndarray:
        """At each of these times, the error of the state that had been best by then on the points held out."""
        found, best = [], math.inf
        for state in self.states:
            best = finite(state["error"]) if "error" in state else best
            found.append(best)
        return np.array(found)


def finite(error: float) -> float:
    """Return an error; one that is no number is infinite."""
    return error if math.isfinite(error) else math.inf


def condense(rows: Sequence[Row]) -> Sequence[Row]:
    """Return what is read of states: when they came, and the errors of those that were the best so far.

    The best is that of the least error on the points held out, and the first of several. Of a trial by which a setting
    is chosen nothing is read but its last row.
    """
    if not any("held_out" in row for row in rows):
        return rows  # condensed before
    found, least = [], math.inf
    for row in rows if "error" in rows[0] else ():
        held_out = finite(row["held_out"])
        better, least = not found or held_out < least, min(held_out, least)
        found.append({name: row[name] for name in ("epoch", "seconds", *["error"] * better)})
    return found


def outcomes_of(entries: Mapping[str, Entry], records: Records) -> list[Outcome]:
    """Return what there are finished records of, entry by entry."""
    found = []
    for place, entry in entries.items():
        for seed in entry.seeds:
            rows = records.rows(place, f"seed-{seed}")
            if len(rows) > 1 and rows[-1].get("last", False):
                found.append(Outcome(entry, seed, condense(rows[:-1]), rows[-1]))
    return found


def by_entry(outcomes: Sequence[Outcome]) -> Iterator[tuple[Entry, list[Outcome]]]:
    """Yield the seeds of every entry."""
    for _, own in groupby(outcomes, lambda outcome: id(outcome.entry)):
        several = list(own)
        yield several[0].entry, several


def problems(outcomes: Sequence[Outcome]) -> list[str]:
    """Return the names of the problems, in their order."""
    return list(dict.fromkeys(outcome.entry.problem for outcome in outcomes))


def final(outcomes: Sequence[Outcome], what: str = "error") -> np.ndarray:
    """Return what all came to; nan where it was not recorded."""
    return np.array([finite(o.final[what]) if what in o.final else math.nan for o in outcomes], float)


def at(outcomes: Sequence[Outcome], problem: str, size: Size) -> dict[str, list[Outcome]]:
    """Return the outcomes of every method on a problem at a size."""
    return {e.method: own for e, own in by_entry(outcomes) if (e.problem, e.size) == (problem, size)}


def sizes(outcomes: Sequence[Outcome], problem: str) -> list[Size]:
    """Return the sizes on a problem: the shortest times first, methods' own sizes last."""
    found = dict.fromkeys(o.entry.size for o in outcomes if o.entry.problem == problem)
    return sorted(found, key=lambda size: (size.seconds, math.inf if size.parameters is None else size.parameters))


def main_sizes(outcomes: Sequence[Outcome], problem: str) -> list[Size]:
    """Return the sizes, other than own ones, at the time for which there are most outcomes; of several the longest."""
    counts: dict[float, int] = {}
    for outcome in outcomes:
        if outcome.entry.problem == problem and outcome.entry.parameters is not None:
            counts[outcome.entry.seconds] = counts.get(outcome.entry.seconds, 0) + 1
    if not counts:
        return []
    seconds = max(counts, key=lambda time: (counts[time], time))
    return [size for size in sizes(outcomes, problem) if size.seconds == seconds and size.parameters is not None]


def middle_size(outcomes: Sequence[Outcome], problem: str) -> Size | None:
    """Return the middle one of the main sizes, None if there are none."""
    found = main_sizes(outcomes, problem)
    return found[len(found) // 2] if found else None


def centre(errors: np.ndarray) -> float:
    """Return the geometric mean."""
    return float(np.exp(np.log(np.maximum(errors, LEAST)).mean()))


class Ratio(NamedTuple):
    """How many times the errors of one are those of another: geometric mean, its interval of 95 %, Welch's p."""

    mean: float
    low: float
    high: float
    p: float


def ratio(ones: np.ndarray, others: np.ndarray) -> Ratio:
    """Return how many times the errors of the others are those of the ones, by Welch's test on logarithms.

    What cannot be known is nan: all where an error is infinite, the interval where there is no spread, or one seed.
    """
    logs = [np.log(np.maximum(errors, LEAST)) for errors in (others, ones)]
    if not np.isfinite(np.concatenate(logs)).all():
        return Ratio(math.nan, math.nan, math.nan, math.nan)
    difference = float(logs[0].mean() - logs[1].mean())
    mean = math.exp(difference)
    if min(map(len, logs)) < 2:
        return Ratio(mean, math.nan, math.nan, math.nan)
    parts = np.array([log.var(ddof=1) / len(log) for log in logs])
    error = math.sqrt(parts.sum())
    if error < ROUNDING:
        return Ratio(mean, math.nan, math.nan, math.nan)
    freedom = float(parts.sum() ** 2 / (parts**2 / [len(log) - 1 for log in logs]).sum())
    reach = float(stats.t.ppf(1 - LEVEL / 2, freedom)) * error
    with np.errstate(over="ignore"):  # with few and wild trials an interval has no end
        low, high = (float(np.exp(difference + side * reach)) for side in (-1, 1))
    return Ratio(mean, low, high, float(2 * stats.t.sf(abs(difference) / error, freedom)))
