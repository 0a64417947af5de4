"""The main figure of a study of methods: error against parameters and against seconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterMathtext, NullFormatter

from gmlayers.experiments import plots
from gmlayers_studies.methods.claims import Judged
from gmlayers_studies.methods.outcomes import (
    Outcome,
    at,
    by_entry,
    final,
    main_sizes,
    middle_size,
    problems,
)

TICK = 1e-3
"""Fewer seconds are drawn as if they were these, since their axis is logarithmic."""

MARKERS = "osD^v<>PX*hp"

PER_ROW = 5
"""A line of panels has this many problems at most."""


def draw(judged: Judged) -> Figure:
    """Draw error against parameters, and under it against seconds, at the middle number of parameters."""
    outcomes, labels = judged.outcomes, judged.labels
    names = problems(outcomes)
    lines, columns = -(-len(names) // PER_ROW), min(len(names), PER_ROW)
    figure = Figure(figsize=(2.5 * columns + 2.6, 5.2 * lines), layout="constrained")
    axes = figure.subplots(2 * lines, columns, squeeze=False)
    for index, problem in enumerate(names):
        line, column = divmod(index, PER_ROW)
        own = [outcome for outcome in outcomes if outcome.entry.problem == problem]
        _by_parameters(labels, axes[2 * line, column], own)
        _by_seconds(labels, axes[2 * line + 1, column], own)
        axes[2 * line, column].set_title(judged.problems[problem].formula, fontsize="small")
    for row in axes:
        row[0].set_ylabel("test error (root mean square)", fontsize="small")
    for panel in axes.flat:
        panel.set_visible(panel.has_data())
    seen: dict[str, Any] = {}
    for panel in axes.flat:
        seen |= {label: handle for handle, label in zip(*panel.get_legend_handles_labels()) if label not in seen}
    ordered = [label for label in labels if label in seen]
    handles = [seen[label] for label in ordered]
    figure.legend(handles, ordered, loc="outside right center", frameon=False, fontsize="small")
    return figure


def _look(labels: Sequence[str], method: str) -> dict[str, Any]:
    """Return colour and style; where colours are used again markers are hollow."""
    index, ours = labels.index(method), method.startswith("GMNM")
    again, colour = divmod(index, len(plots.COLOURS))
    return {
        "color": plots.COLOURS[colour],
        "marker": MARKERS[index % len(MARKERS)],
        "markerfacecolor": "white" if again else plots.COLOURS[colour],
        "markersize": 4,
        "linestyle": "-" if ours else ":" if again else "--",
        "linewidth": 1.8 if ours else 1.0,
        "label": method,
    }


def _by_parameters(labels: Sequence[str], axes: Axes, outcomes: Sequence[Outcome]) -> None:
    problem = outcomes[0].entry.problem
    shown = [at(outcomes, problem, size) for size in main_sizes(outcomes, problem)]
    for method in labels:
        own = [found[method] for found in shown if method in found]
        if own:
            numbers = [float(np.median(final(several, "parameters"))) for several in own]
            errors = np.stack([np.quantile(final(several), (0, 0.5, 1)) for several in own], 1)
            bars = np.abs(errors[[0, 2]] - errors[1])
            axes.errorbar(numbers, errors[1], yerr=bars, capsize=2, **_look(labels, method))
    axes.set_xlabel("parameters", fontsize="small")
    _logarithmic(axes)
    ticks = [float(size.parameters or 0) for size in main_sizes(outcomes, problem)]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])


def _by_seconds(labels: Sequence[str], axes: Axes, outcomes: Sequence[Outcome]) -> None:
    middle = middle_size(outcomes, outcomes[0].entry.problem)
    for entry, own in by_entry(outcomes):
        if entry.parameters is None or entry.size == middle:
            axes.plot(*_median_curve(own), markevery=0.2, **_look(labels, entry.method))
    axes.set_xlabel("seconds on one core", fontsize="small")
    _logarithmic(axes)


def _logarithmic(axes: Axes) -> None:
    axes.set(xscale="log", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(LogFormatterMathtext())
        axis.set_minor_formatter(NullFormatter())
    axes.tick_params(labelsize="small")
    axes.grid(which="major", alpha=0.25)


def _median_curve(outcomes: Sequence[Outcome]) -> tuple[np.ndarray, np.ndarray]:
    """Return times and the median over seeds of the error that a trial has come to by then."""
    times = np.unique(np.concatenate([outcome.seconds for outcome in outcomes]))
    times = times[times >= max(outcome.seconds[0] for outcome in outcomes)]
    curves = [o.errors[np.searchsorted(o.seconds, times, side="right") - 1] for o in outcomes]
    return np.maximum(times, TICK), np.median(np.stack(curves), 0)
