"""The records of nets as a table, and what it says of their errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from gmlayers.experiments import schema
from gmlayers.experiments.display import shown
from gmlayers.experiments.trainer import build
from gmlayers_studies.nets.net import Net, NetRun
from gmlayers_studies.records import DAMAGED, Records, seed_name
from gmlayers_studies.statistics import welch

COLUMNS = ["dataset", "label", "seed", "epoch", "train_loss", "seconds", "error"]
"""The table has these columns even if it has no rows."""


@dataclass(frozen=True)
class NetResults:
    """What has been recorded of nets."""

    runs: Sequence[NetRun]
    table: pd.DataFrame
    """The table has a row for every epoch of every trial, by :func:`table_of`."""
    records: Records = field(default_factory=lambda: Records([]))
    """The rows were read from these records, and whatever else was recorded can be."""


def table_of(runs: Iterable[NetRun], records: Records) -> pd.DataFrame:
    """Return a row for every epoch of every trial: dataset, label, seed, and what stands in its line of metrics.

    Raises:
        ValueError: if a line has not what a trainer writes.
    """
    rows = []
    for run in runs:
        fields = {"train_loss": schema.Number, "seconds": schema.Number, run.training.metric: run.training.task.values}
        for seed in run.seeds:
            for row in records.rows(run.place, seed_name(seed)):
                place = f"{seed_name(seed)}, epoch {row['epoch']}"
                whole = schema.table(row, fields, Path(run.place), place, advice=DAMAGED)
                values = {"dataset": run.dataset, "label": run.label, "seed": seed, **whole}
                rows.append({**values, "error": values.pop(run.training.metric)})
    return pd.DataFrame.from_records(rows, columns=None if rows else COLUMNS)


def summary(table: pd.DataFrame, epoch: int | None = None) -> pd.DataFrame:
    """Return a row for each trial: its last epoch, up to one that is given, what stood there, and all its seconds."""
    rows = table if epoch is None else pd.DataFrame(table[table["epoch"] <= epoch])
    trials = rows.sort_values("epoch", kind="stable").groupby(["dataset", "label", "seed"], sort=False)
    last = trials[["epoch", "error", "train_loss"]].last()
    return last.assign(seconds=trials["seconds"].sum().round(3)).reset_index()


def last_common_epoch(table: pd.DataFrame, dataset: str, labels: Sequence[str]) -> int:
    """Return the last epoch that trials of all labels have come to; 0 where one has none."""
    rows = table[table["dataset"] == dataset]
    reached = [rows.loc[rows["label"] == label, "epoch"].max() for label in labels]
    return 0 if any(pd.isna(epoch) for epoch in reached) else int(min(reached))


def errors(table: pd.DataFrame, dataset: str, label: str, epoch: int) -> np.ndarray:
    """Return the errors at an epoch in percent, one for each seed that has come to it."""
    wanted = (table["dataset"] == dataset) & (table["label"] == label) & (table["epoch"] == epoch)
    return 100 * table.loc[wanted, "error"].to_numpy(np.float64)


class Comparison(NamedTuple):
    """What the errors of two nets at one epoch say, in percent."""

    text: str
    low: float
    """Ends of the interval of the first's mean minus the second's; nan where nothing can be judged."""
    high: float
    other: float
    """Mean error of the second."""


def compare(results: NetResults, dataset: str, one: str, other: str) -> Comparison:
    """Compare two nets at the last epoch that both have come to, by Welch's test and its interval of 95 %."""
    table = results.table
    epoch = last_common_epoch(table, dataset, (one, other))
    if epoch == 0:
        return Comparison(f"{dataset}: no records of {one} and {other} to compare", math.nan, math.nan, math.nan)
    ours, theirs = errors(table, dataset, one, epoch), errors(table, dataset, other, epoch)
    text = (
        f"{dataset}, epoch {epoch}: {one} {shown((ours / 100).tolist(), percent=True)}, "
        f"{other} {shown((theirs / 100).tolist(), percent=True)} ({len(ours)} and {len(theirs)} seeds)"
    )
    unfinished = any(
        not len(of_run := rows_of(table, run)) or set(of_run[of_run["epoch"] >= epoch]["seed"]) != set(run.seeds)
        for run in results.runs
        if run.dataset == dataset and run.label in (one, other)
    )
    _, low, high, p = welch(ours, theirs)
    if math.isnan(low):
        return Comparison(f"{text}; too few seeds, or no spread, to judge", math.nan, math.nan, float(theirs.mean()))
    text = f"{text}; difference in [{low:.2f}, {high:.2f}] points, Welch p = {p:.2g}"
    if unfinished:
        return Comparison(f"{text}; trials are missing", math.nan, math.nan, float(theirs.mean()))
    return Comparison(text, low, high, float(theirs.mean()))


def against(*pairs: tuple[Net, Net], claim: str, within: float = 0.0) -> Callable[[NetResults], Sequence[str]]:
    """Return what judges a claim: that the first net of every pair has the lower error.

    Args:
        pairs: nets to compare.
        claim: what is claimed, in words.
        within: the share of the second's error by which the first may be higher and the claim yet hold: it holds if the
            whole interval lies below that, and does not if the whole interval lies above.
    """

    def judge(results: NetResults) -> Sequence[str]:
        sentences = []
        for dataset in results.table["dataset"].unique():
            found = [compare(results, dataset, one.label, other.label) for one, other in pairs]
            outcome = (
                "not judged yet"
                if any(math.isnan(c.low) for c in found)
                else "borne out"
                if all(c.high < within * c.other for c in found)
                else "refuted"
                if any(c.low > within * c.other for c in found)
                else "not decided by these trials"
            )
            margin = f" (to within {100 * within:.0f} % of its error)" if within else ""
            sentences += [*(comparison.text for comparison in found), f"{dataset}: {claim}{margin}: {outcome}"]
        return sentences

    return judge


def missing(results: NetResults) -> list[str]:
    """Return a sentence for every run of which trials are not finished."""
    sentences = []
    for run in results.runs:
        epochs, seeds = run.epochs, run.seeds
        rows = rows_of(results.table, run)
        left = [seed for seed in seeds if rows[rows["seed"] == seed]["epoch"].max() != epochs]
        if left:
            names = ", ".join(map(str, left))
            sentences.append(f"not finished: {run.dataset}, {run.label}: seeds {names} of {len(seeds)}")
    return sentences


def rows_of(table: pd.DataFrame, run: NetRun) -> pd.DataFrame:
    """Return the rows of one run."""
    return pd.DataFrame(table[(table["dataset"] == run.dataset) & (table["label"] == run.label)])


def finished(summaries: pd.DataFrame, run: NetRun) -> pd.DataFrame:
    """Return the rows of :func:`summary` of the finished trials of one run."""
    rows = rows_of(summaries, run)
    return pd.DataFrame(rows[rows["epoch"] == run.epochs])


def parameters(run: NetRun) -> int:
    """Return the number of parameters of a net."""
    return sum(p.numel() for p in build(run.training.trial(0), run.training.task).parameters())
