"""What is written of a study of language models: a verdict by pairs, a table, and a figure of differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, cast

import numpy as np
from matplotlib.figure import Figure

from gmlayers.experiments import plots
from gmlayers_studies.language.run import BlockRun
from gmlayers_studies.records import Row, seed_name
from gmlayers_studies.report import machines
from gmlayers_studies.statistics import Interval, welch
from gmlayers_studies.study import Finding, Results, Table

LEAST = 3
"""Fewer seeds are not judged."""


class Pair(NamedTuple):
    """Two blocks that are compared, and what is asked."""

    one: str
    other: str
    question: str


class Outcome(NamedTuple):
    """A run with the last rows of its finished trials."""

    run: BlockRun
    rows: Sequence[Row]

    @property
    def bits(self) -> np.ndarray:
        """Bits a byte, one for each finished seed."""
        return np.array([row["bits"] for row in self.rows])


def report(pairs: Sequence[Pair], beside: str) -> Callable[[Results], Finding | None]:
    """Return the report of a study of blocks.

    Args:
        pairs: what is judged, by Welch's test.
        beside: the figure shows differences from this block.
    """

    def found(results: Results) -> Finding | None:
        outcomes = [_outcome(results, cast(BlockRun, run)) for run in results.runs.values()]
        if not any(outcome.rows for outcome in outcomes):
            return None
        tasks = list(dict.fromkeys(outcome.run.entry.task for outcome in outcomes))
        by = {(o.run.entry.task, o.run.label): o for o in outcomes}
        sentences = [_sentence(by, task, pair) for pair in pairs for task in tasks]
        header = ["task", "block", "parameters", "rate", "runs", "bits a byte", "ms a step"]
        rows = [_row(outcome, results) for outcome in outcomes]
        done = sum(len(outcome.rows) for outcome in outcomes)
        planned = sum(len(outcome.run.seeds) for outcome in outcomes)
        command = f"gmlayers reproduce {results.study.name} --profile full"
        page: list[str | Table] = [
            *([results.study.note, ""] if results.study.note else []),
            *(f"- {sentence}" for sentence in sentences),
            "",
            Table("blocks", header, rows),
            f"`{command}` ran {done} of {planned} runs, one a core on {machines(results)}. Bits a byte are those of "
            "the test files after the last step; ± is one standard deviation over seeds, and parameters are those of "
            "the blocks. Tests are Welch's and intervals are of 95 %; they are not corrected for their number.",
            "",
        ]
        return Finding({"": _draw(by, tasks, beside)}, page, header, rows, sentences)

    return found


def _outcome(results: Results, run: BlockRun) -> Outcome:
    every = (results.records.rows(run.place, seed_name(seed)) for seed in run.seeds)
    return Outcome(run, [rows[-1] for rows in every if run.is_finished(rows)])


def _row(outcome: Outcome, results: Results) -> Sequence[str]:
    entry, rows, bits = outcome.run.entry, outcome.rows, outcome.bits
    choice = outcome.run.choice(results.records)
    spread = f" ± {bits.std(ddof=1):.3f}" if len(bits) > 1 else ""
    return [
        entry.task,
        entry.block,
        f"{rows[0]['parameters']:,}" if rows else "",
        "" if choice is None else f"{entry.rates[choice]:g} of {len(entry.rates)}",
        f"{len(rows)} of {len(entry.seeds)}",
        f"{bits.mean():.3f}{spread}" if rows else "",
        f"{1000 * np.median([row['step_seconds'] for row in rows]):.0f}" if rows else "",
    ]


def _difference(by: Mapping[tuple[str, str], Outcome], task: str, one: str, other: str) -> Interval | None:
    """Return how many bits a byte the first needs more; None where there are too few seeds to judge."""
    pair = [by.get((task, name)) for name in (one, other)]
    if any(outcome is None or len(outcome.rows) < LEAST for outcome in pair):
        return None
    return welch(*(outcome.bits for outcome in pair if outcome is not None))


def _sentence(by: Mapping[tuple[str, str], Outcome], task: str, pair: Pair) -> str:
    start = f"{task}, {pair.question}: "
    found = _difference(by, task, pair.one, pair.other)
    if found is None:
        return f"{start}not judged, fewer than {LEAST} seeds"
    verdict = "yes" if found.high < 0 else "no, it needs more" if found.low > 0 else "not told apart"
    return (
        f"{start}{verdict}; {pair.one} needs {found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}] bits a byte more "
        f"than {pair.other}, p = {found.p:.2g}"
    )


def _draw(by: Mapping[tuple[str, str], Outcome], tasks: Sequence[str], beside: str) -> Figure:
    names = [name for name in dict.fromkeys(label for _, label in by) if name != beside]
    figure = Figure(figsize=(3.2 * len(tasks) + 2.2, 0.6 + 0.34 * len(names)), layout="constrained")
    axes = figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
    for axis, task in zip(axes, tasks):
        for place, name in enumerate(names):
            found = _difference(by, task, name, beside)
            if found is None:
                continue
            ours = name.startswith("GM")
            axis.plot(found.mean, place, "o", color=plots.COLOURS[0 if ours else 2])
            axis.plot([found.low, found.high], [place, place], color=plots.COLOURS[0 if ours else 2])
        axis.axvline(0, color="0.5", linewidth=0.8)
        axis.set_yticks(range(len(names)), names)
        axis.grid(axis="x", alpha=0.25)
        axis.set(title=task, xlabel=f"bits a byte more than {beside}")
    axes[0].invert_yaxis()
    return figure
