"""Records as a table, and what the figures have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from gmlayers.experiments import plots
from gmlayers.experiments.display import shown
from gmlayers.experiments.records import readable
from gmlayers.experiments.reproduce.experiment import Part
from gmlayers.experiments.run_folder import seed_folder

LEVEL = 0.05
"""Below this p-value a difference counts as one."""


def records(parts: Iterable[Part]) -> pd.DataFrame:
    """Return a row for every epoch of every trial: dataset, label, seed, epoch, error, train_loss, seconds."""
    rows = []
    for part in parts:
        for seed in part.run.seeds:
            for row in readable(seed_folder(part.folder, seed) / "metrics.jsonl"):
                values = {name: row[name] for name in ("epoch", "train_loss", "seconds")}
                rows.append(
                    {
                        "dataset": part.dataset,
                        "label": part.arm.label,
                        "seed": seed,
                        **values,
                        "error": row[part.run.metric],
                    }
                )
    columns = ["dataset", "label", "seed", "epoch", "train_loss", "seconds", "error"]
    return pd.DataFrame.from_records(rows, columns=columns)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row per trial: its last epoch and what stood there, and all its seconds."""
    trials = table.sort_values("epoch").groupby(["dataset", "label", "seed"], sort=False)
    last = trials[["epoch", "error", "train_loss"]].last()
    return last.assign(seconds=trials["seconds"].sum().round(1)).reset_index()


def last_errors(table: pd.DataFrame, dataset: str, label: str) -> np.ndarray:
    """Return the errors at the last epoch, one per seed, in percent."""
    rows = summary(table)
    wanted = (rows["dataset"] == dataset) & (rows["label"] == label)
    return 100 * rows.loc[wanted, "error"].to_numpy(np.float64)


def comparison(table: pd.DataFrame, dataset: str, one: str, other: str) -> str:
    """Return a sentence: whether the first label's errors are lower, with interval and Welch's test."""
    ours, theirs = last_errors(table, dataset, one), last_errors(table, dataset, other)
    text = (
        f"{dataset}: {one} {shown(ours.tolist(), percent=False)} %, {other} {shown(theirs.tolist(), percent=False)} %"
    )
    if min(len(ours), len(theirs)) < 2:
        return f"{text}; one seed each judges nothing"
    test: Any = stats.ttest_ind(ours, theirs, equal_var=False)
    low, high = test.confidence_interval(1 - LEVEL)
    verdict = "cannot be told apart" if test.pvalue >= LEVEL else "lower" if ours.mean() < theirs.mean() else "higher"
    return f"{text}; difference in [{low:.2f}, {high:.2f}] points, Welch p = {test.pvalue:.2g}: {verdict}"


def error_curves(table: pd.DataFrame) -> Figure:
    """Draw test error against epochs: mean and one standard deviation over seeds, a panel for each data set."""
    datasets = list(table["dataset"].unique())
    figure = Figure(figsize=(3.4 * max(1, len(datasets)) + 0.6, 3.2), layout="constrained")
    panels = figure.subplots(1, max(1, len(datasets)), squeeze=False)[0]
    for axes, dataset in zip(panels, datasets):
        part = table[table["dataset"] == dataset]
        for index, (label, rows) in enumerate(part.groupby("label", sort=False)):
            errors = 100 * rows.pivot_table(index="epoch", columns="seed", values="error")
            mean, std = errors.mean(1), errors.std(1).fillna(0)
            colour = plots.COLOURS[index % len(plots.COLOURS)]
            axes.plot(errors.index, mean, plots.STYLES[index % len(plots.STYLES)], color=colour, label=label)
            axes.fill_between(errors.index, mean - std, mean + std, color=colour, alpha=0.2, linewidth=0)
        axes.set(title=dataset, xlabel="epoch", yscale="log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")
        axes.tick_params(axis="y", which="minor", labelsize="x-small")
        axes.grid(which="both", alpha=0.25)
    panels[0].set_ylabel("test error (%)")
    panels[-1].legend(frameon=False, fontsize="small")
    return figure
