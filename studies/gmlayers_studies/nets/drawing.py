"""What the figures of nets have in common."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gmlayers.experiments import plots
from gmlayers_studies.nets.judging import NetResults


def error_curves(results: NetResults) -> Figure:
    """Draw test error against epochs: mean and one standard deviation over seeds, a panel for each data set."""

    def panel(axes: Axes, rows: pd.DataFrame) -> None:
        band(axes, rows, "epoch", "error", 100)
        axes.set(xlabel="epoch", yscale="log")
        axes.xaxis.set_major_locator(plots.whole_numbers())
        plain_numbers(axes)

    return panels(results, panel, "test error (%)")


def panels(results: NetResults, draw: Any, ylabel: str) -> Figure:  # noqa: ANN401  (a function of axes and rows)
    """Return a figure with a panel for each data set, and one legend."""
    datasets = list(results.table["dataset"].unique())
    figure = Figure(figsize=(3.4 * max(1, len(datasets)) + 0.6, 3.2), layout="constrained")
    row = figure.subplots(1, max(1, len(datasets)), squeeze=False)[0]
    for axes, dataset in zip(row, datasets):
        draw(axes, results.table[results.table["dataset"] == dataset])
        axes.set_title(plots.words(dataset))
        axes.grid(which="both", alpha=0.25)
    row[0].set_ylabel(ylabel)
    handles, labels = row[-1].get_legend_handles_labels()
    if len(labels) > 4:  # inside they would hide the curves
        figure.set_figwidth(figure.get_figwidth() + 2)
        figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize="small")
    elif labels:
        row[-1].legend(frameon=False, fontsize="small")
    return figure


def band(axes: Axes, rows: pd.DataFrame, x: str, y: str, factor: float = 1.0) -> None:
    """Draw a curve for each label: mean over seeds, and one standard deviation on either side."""
    for index, (label, part) in enumerate(rows.groupby("label", sort=False)):
        values = factor * part.pivot_table(index=x, columns="seed", values=y).dropna()  # epochs that all seeds have
        mean, std = values.mean(1), values.std(1).fillna(0)
        colour, style = plots.COLOURS[index % len(plots.COLOURS)], plots.STYLES[index % len(plots.STYLES)]
        axes.plot(values.index, mean, style, color=colour, label=label)
        axes.fill_between(values.index, mean - std, mean + std, color=colour, alpha=0.2, linewidth=0)


def plain_numbers(axes: Axes) -> None:
    """Write the numbers of a logarithmic vertical axis as they are, without powers of ten."""
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.tick_params(axis="y", which="minor", labelsize="x-small")
