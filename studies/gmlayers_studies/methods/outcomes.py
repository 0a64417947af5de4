"""What the records of methods hold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from gmlayers.experiments.schema import Number, Range, table
from gmlayers_studies.methods.method import Entry, MethodRun, condense, finite
from gmlayers_studies.records import DAMAGED, Records, Row, seed_name
from gmlayers_studies.study import Allowance


@dataclass(frozen=True)
class Outcome:
    """What the records say of one seed of an entry that came to its end."""

    entry: Entry
    seed: int
    states: Sequence[Mapping[str, Any]]
    """All states in their order; one that was the best so far on the points held out has an ``error``, by
    :func:`~gmlayers_studies.methods.method.condense`."""
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


def outcomes_of(runs: Iterable[MethodRun], records: Records) -> list[Outcome]:
    """Return what there are finished records of, entry by entry.

    Raises:
        ValueError: if a row has not what a trial writes.
    """
    found = []
    for run in runs:
        for seed in run.seeds:
            rows = [_checked(row, run, seed) for row in records.rows(run.place, seed_name(seed))]
            if len(rows) > 1 and run.is_finished(rows):
                found.append(Outcome(run.entry, seed, condense(rows[:-1]), rows[-1]))
    return found


def _checked(row: Row, run: MethodRun, seed: int) -> Row:
    """Return a row of a trial, or raise ``ValueError`` if no trial can have written it."""
    final = {
        "setting": Annotated[int, Range(0, len(run.entry.settings) - 1)],
        "held_out": Number,
        "parameters": Number,
        "used": Number,
    }
    errors = {name: Number for name in ("error", "gradient_error") if name in row}
    fields = {"seconds": Number, **errors, **(final if row.get("last") else {})}
    return table(row, fields, Path(run.place), f"{seed_name(seed)}, epoch {row['epoch']}", advice=DAMAGED)


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


def at(outcomes: Sequence[Outcome], problem: str, size: Allowance) -> dict[str, list[Outcome]]:
    """Return the outcomes of every method on a problem at a size."""
    return {e.method: own for e, own in by_entry(outcomes) if (e.problem, e.size) == (problem, size)}


def sizes(outcomes: Sequence[Outcome], problem: str) -> list[Allowance]:
    """Return the sizes on a problem: the shortest times first, methods' own sizes last."""
    found = dict.fromkeys(o.entry.size for o in outcomes if o.entry.problem == problem)
    return sorted(found, key=lambda size: (size.seconds, math.inf if size.parameters is None else size.parameters))


def main_sizes(outcomes: Sequence[Outcome], problem: str) -> list[Allowance]:
    """Return the sizes, other than own ones, at the time for which there are most outcomes; of several the longest."""
    counts: dict[float, int] = {}
    for outcome in outcomes:
        if outcome.entry.problem == problem and outcome.entry.parameters is not None:
            counts[outcome.entry.seconds] = counts.get(outcome.entry.seconds, 0) + 1
    if not counts:
        return []
    seconds = max(counts, key=lambda time: (counts[time], time))
    return [size for size in sizes(outcomes, problem) if size.seconds == seconds and size.parameters is not None]


def middle_size(outcomes: Sequence[Outcome], problem: str) -> Allowance | None:
    """Return the middle one of the main sizes, None if there are none."""
    found = main_sizes(outcomes, problem)
    return found[len(found) // 2] if found else None
