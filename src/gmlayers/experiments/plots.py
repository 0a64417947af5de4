"""Figures, drawn from records alone."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from gmlayers.experiments.files import write_whole
from gmlayers.experiments.text import visible

COLOURS = ("#0072B2", "#56B4E9", "#D55E00", "#000000", "#999999", "#009E73", "#CC79A7", "#E69F00")
"""Colour-blind readers can tell these colours of Okabe and Ito apart."""
PALETTE = 256
"""A ``.png`` has at most this many colours, which makes it a third to a quarter as large. They are spread over all that
are drawn, however few points have them: by how many do, the median cut, a few dots in orange would come out brown."""
STYLES = ("-", "--", "-", ":", "-.")


def curves(
    values: Mapping[str, NDArray[np.float64]], path: Path, *, title: str, ylabel: str, logarithmic_epochs: bool = False
) -> None:
    """Draw values against epochs: the mean over seeds, with error bars of one standard deviation.

    Args:
        values: label -> (seeds, epochs); numbers of epochs may differ.
        path: a ``.png`` file; written whole or not at all.
        title: stands above the axes.
        ylabel: stands beside the axis of values, which is logarithmic.
        logarithmic_epochs: for curves of very different lengths.
    """
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for index, (label, value) in enumerate(values.items()):
        epochs = np.arange(1, value.shape[1] + 1)
        mean, std = value.mean(0), value.std(0, ddof=1) if len(value) > 1 else None
        every = max(1, value.shape[1] // 12)
        axes.errorbar(
            epochs,
            mean,
            yerr=std,
            errorevery=(index * every // len(values), every),  # bars side by side, not on top of each other
            label=words(label),
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
    axes.set(xlabel="epoch", ylabel=ylabel, title=title)
    axes.xaxis.set_major_locator(whole_numbers())
    if logarithmic_epochs:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
    axes.grid(which="both", alpha=0.25)
    axes.legend(frameon=False, fontsize="small")
    save(figure, path)


def words(name: str) -> str:
    r"""Return a name as it may stand in a figure: control characters are visible, and dollars begin no formula.

    Example:
        >>> print(words("a$b$"))
        a\$b\$
    """
    return visible(name).replace("$", r"\$")


def whole_numbers() -> MaxNLocator:
    """Return the places of ticks on an axis of epochs."""
    return MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as ``.png`` or ``.svg``, whole or not at all; the same figure gives the same bytes."""
    content = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "gmlayers"}):
        if path.suffix == ".svg":
            FigureCanvasSVG(figure).print_svg(content, metadata={"Date": None})
        else:
            FigureCanvasAgg(figure).print_png(content)
            whole = Image.open(content).convert("RGB")
            palette = whole.quantize(PALETTE, Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE)
            picture = whole.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)  # or fields have steps
            content = io.BytesIO()
            picture.save(content, "PNG", optimize=True)
    write_whole(path, content.getvalue())
