"""What is written of a study of blocks: a verdict by pairs, a table, and a figure of differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gmlayers.experiments import plots
from gmlayers_studies.hosts.run import BlockRun
from gmlayers_studies.records import Records, Row, seed_name
from gmlayers_studies.report import machines
from gmlayers_studies.statistics import Interval, welch
from gmlayers_studies.study import Finding, Results, Table

LEAST = 3
"""Fewer seeds are not judged."""


class Pair(NamedTuple):
    """Two blocks that are compared, or the best of two groups of them, and what is asked."""

    one: str | tuple[str, ...]
    other: str | tuple[str, ...]
    question: str


class Measure(NamedTuple):
    """What is judged, in words."""

    key: str
    """Its key in the last line of a trial."""
    title: str
    """What a column of it is called."""
    has: str
    """What a block does that has more of it: it "needs" bits."""
    unit: str
    """The unit of differences."""
    digits: int
    note: str
    """The sentence below the table that says what the columns hold."""
    scale: float = 1.0
    """What is recorded is multiplied by this."""
    columns: Mapping[str, Callable[[Sequence[Row]], str]] = {}
    """Further columns of the table, made from the last rows of all trials."""


class Outcome(NamedTuple):
    """A run with the last rows of its finished trials."""

    run: BlockRun
    rows: Sequence[Row]
    values: np.ndarray
    """What is judged, one for each finished seed."""
    tried: Sequence[float] | None
    """What each rate came to on the rows that are for choosing."""


By = Mapping[tuple[str, str], Outcome]


def report(
    pairs: Sequence[Pair],
    beside: str | None,
    measure: Measure,
    more: Sequence[Callable[[By], Sequence[str]]] = (),
) -> Callable[[Results], Finding | None]:
    """Return the report of a study of blocks.

    Args:
        pairs: what is judged, by Welch's test.
        beside: the figure shows differences from this block; by default from the first that a host has.
        measure: by which they are judged.
        more: these find further sentences, which come first.
    """

    def found(results: Results) -> Finding | None:
        outcomes = [outcome(results.records, cast(BlockRun, run), measure) for run in results.runs.values()]
        if not any(outcome.rows for outcome in outcomes):
            return None
        tasks = list(dict.fromkeys(outcome.run.entry.task for outcome in outcomes))
        by = {(o.run.entry.task, o.run.label): o for o in outcomes}
        sentences = [said for find in more for said in find(by)]
        sentences += [said for pair in pairs for task in tasks if (said := sentence(by, task, pair, measure))]
        header = ["task", "block", "parameters", "rate", "runs", measure.title, *measure.columns, "ms a step"]
        rows = [_row(outcome, measure) for outcome in outcomes]
        done = sum(len(outcome.rows) for outcome in outcomes)
        planned = sum(len(outcome.run.seeds) for outcome in outcomes)
        hours = sum(row["step_seconds"] * row["epoch"] for o in outcomes for row in o.rows) / 3600
        command = f"gmlayers reproduce {results.study.name} --profile full"
        page: list[str | Table] = [
            *([results.study.note, ""] if results.study.note else []),
            *(f"- {sentence}" for sentence in sentences),
            "",
            Table("blocks", header, rows),
            f"`{command}` ran {done} of {planned} runs in {hours:.1f} hours of one core, on {machines(results)}; those "
            f"that choose rates are not counted. {measure.note} ± is one standard deviation over seeds, and parameters "
            "are those of the blocks. Tests are Welch's and intervals are of 95 %; they are not corrected for their "
            "number.",
            "",
        ]
        return Finding({"": draw(by, tasks, beside, measure)}, page, header, rows, sentences)

    return found


def outcome(records: Records, run: BlockRun, measure: Measure) -> Outcome:
    """Return what is recorded of a run."""
    every = (records.rows(run.place, seed_name(seed)) for seed in run.seeds)
    rows = [rows[-1] for rows in every if run.is_finished(rows)]
    return Outcome(run, rows, measure.scale * np.array([row[measure.key] for row in rows]), run.tried(records))


def _row(outcome: Outcome, measure: Measure) -> Sequence[str]:
    entry, rows, values, digits = outcome.run.entry, outcome.rows, outcome.values, measure.digits
    spread = f" ± {values.std(ddof=1):.{digits}f}" if len(values) > 1 else ""
    chosen = None if outcome.tried is None else entry.rates[int(np.argmin(outcome.tried))]
    return [
        entry.task,
        entry.block,
        f"{rows[0]['parameters']:,}" if rows else "",
        "" if chosen is None else f"{chosen:g} of {len(entry.rates)}",
        f"{len(rows)} of {len(entry.seeds)}",
        f"{values.mean():.{digits}f}{spread}" if rows else "",
        *(column(rows) if rows else "" for column in measure.columns.values()),
        f"{1000 * np.median([row['step_seconds'] for row in rows]):.0f}" if rows else "",
    ]


def mean_of(key: str, form: str, scale: float = 1.0) -> Callable[[Sequence[Row]], str]:
    """Return what makes a column of the means of what is recorded by a key; blank where a trial has none."""

    def column(rows: Sequence[Row]) -> str:
        values = [row[key] for row in rows if key in row]
        return format(scale * float(np.mean(values)), form) if len(values) == len(rows) else ""

    return column


def _difference(by: By, task: str, one: str, other: str) -> Interval | None:
    """Return how much more the first has; None where there are too few seeds to judge."""
    pair = [by.get((task, name)) for name in (one, other)]
    if any(outcome is None or len(outcome.rows) < LEAST for outcome in pair):
        return None
    return welch(*(outcome.values for outcome in pair if outcome is not None))


def _best(by: By, task: str, names: str | tuple[str, ...]) -> str | None:
    """Return the block that does best on the rows that are for choosing; None where that cannot be known."""
    if isinstance(names, str):
        return names
    tried = [None if (o := by.get((task, name))) is None else o.tried for name in names]
    there = [(min(values), name) for values, name in zip(tried, names) if values is not None]
    unknown = any(values is None and (task, name) in by for values, name in zip(tried, names))
    return None if unknown or not there else min(there)[1]


def sentence(by: By, task: str, pair: Pair, measure: Measure) -> str | None:
    """Return what is found of a pair on a task; None where the host has not both."""
    if not all(any((task, name) in by for name in _each(names)) for names in (pair.one, pair.other)):
        return None
    start = f"{task}, {pair.question}: "
    one, other = (_best(by, task, names) for names in (pair.one, pair.other))
    if one is None or other is None:
        return f"{start}not judged, rates are not chosen yet"
    found = _difference(by, task, one, other)
    if found is None:
        return f"{start}not judged, fewer than {LEAST} seeds"
    verdict = "yes" if found.high < 0 else f"no, it {measure.has} more" if found.low > 0 else "not told apart"
    mean, low, high = (f"{value:+.{measure.digits}f}" for value in found[:3])
    return (
        f"{start}{verdict}; {one} {measure.has} {mean} [{low}, {high}] {measure.unit} more than {other}, "
        f"p = {found.p:.2g}"
    )


def _each(names: str | tuple[str, ...]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else names


def draw(by: By, tasks: Sequence[str], beside: str | None, measure: Measure) -> Figure:
    """Return a figure of the differences of all blocks from one, a panel for each task; a host with one has none."""
    rows: dict[str, list[str]] = {}
    for task in tasks:
        host = next(o.run.host for (name, _), o in by.items() if name == task)
        rows.setdefault(host.row, []).append(task)
    labels = {row: list(dict.fromkeys(label for task, label in by if task in of_row)) for row, of_row in rows.items()}
    rows = {row: of_row for row, of_row in rows.items() if len(labels[row]) > 1}
    columns, heights = max(map(len, rows.values())), [0.8 + 0.34 * len(labels[row]) for row in rows]
    figure = Figure(figsize=(2.6 * columns + 2.4, sum(heights)), layout="constrained")
    panels = figure.subplots(len(rows), columns, squeeze=False, gridspec_kw={"height_ratios": heights})
    for line, (row, of_row) in zip(panels, rows.items()):
        base = labels[row][0] if beside is None else beside
        for axis, task in zip(line, of_row):
            _panel(axis, by, task, [name for name in labels[row] if name != base], base)
            axis.set_xlabel(f"{measure.unit} more than {base}")
        for axis in line[1:]:
            axis.tick_params(labelleft=False)
        for axis in line[len(of_row) :]:
            axis.set_axis_off()
    return figure


def _panel(axis: Axes, by: By, task: str, names: Sequence[str], beside: str) -> None:
    for place, name in enumerate(names):
        found = _difference(by, task, name, beside)
        if found is None:
            continue
        colour = plots.COLOURS[0 if name.startswith("GM") else 2]
        axis.plot(found.mean, place, "o", color=colour)
        axis.plot([found.low, found.high], [place, place], color=colour)
    axis.axvline(0, color="0.5", linewidth=0.8)
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.grid(axis="x", alpha=0.25)
    axis.set_title(task)
