"""Figures, drawn from records alone."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gmlayers.experiments.records import write_whole

COLOURS = ("#0072B2", "#56B4E9", "#D55E00", "#000000", "#999999", "#009E73", "#CC79A7", "#E69F00")
"""Okabe and Ito's palette, told apart by colour-blind readers."""
STYLES = ("-", "--", "-", ":", "-.")


def error_curves(curves: Mapping[str, NDArray[np.float64]], path: Path, title: str) -> None:
    """Draw test error against epochs: the mean over seeds, with error bars of one standard deviation.

    Args:
        curves: label -> shares of wrong answers, (seeds, epochs).
        path: a ``.png`` file; written whole or not at all.
        title: stands above the axes.
    """
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for index, (label, errors) in enumerate(curves.items()):
        epochs = np.arange(1, errors.shape[1] + 1)
        mean, std = 100 * errors.mean(0), 100 * errors.std(0, ddof=1) if len(errors) > 1 else 0 * errors[0]
        every = max(1, errors.shape[1] // 12)
        axes.errorbar(
            epochs,
            mean,
            yerr=std,
            errorevery=(index * every // len(curves), every),  # bars side by side, not on top of each other
            label=label,
            color=COLOURS[index % len(COLOURS)],
            linestyle=STYLES[index % len(STYLES)],
            linewidth=1.6,
            elinewidth=0.9,
            capsize=2,
        )
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.tick_params(axis="y", which="minor", labelsize="x-small")
    axes.set(xlabel="epoch", ylabel="test error (%)", title=title)
    axes.grid(which="both", alpha=0.25)
    axes.legend(frameon=False, fontsize="small")
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    content = io.BytesIO()
    FigureCanvasAgg(figure).print_png(content)
    write_whole(path, content.getvalue())
