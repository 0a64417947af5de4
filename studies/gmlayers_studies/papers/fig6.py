"""Figure 6: test error against the initial scale γ, at K = 5.

What the paper's figure shows is not known; this is our reading of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gmlayers.experiments import plots
from gmlayers.experiments.models import Shape
from gmlayers_studies.nets import drawing, judging
from gmlayers_studies.nets.judging import NetResults
from gmlayers_studies.nets.net import Net
from gmlayers_studies.nets.report import report
from gmlayers_studies.papers.nets import gm, profiles
from gmlayers_studies.study import Study, epochs

USUAL = gm(5)


def scaled(name: str, scale: float) -> Net:
    """Return the layer at an initial scale."""
    return Net(f"{USUAL.label} (γ = {name})", "paper", Shape(components=5, init_scale=scale))


ARMS = {
    1 / 256: scaled("2^-8", 1 / 256),
    1 / 64: scaled("2^-6", 1 / 64),
    1 / 16: scaled("2^-4", 1 / 16),
    1 / 4: scaled("2^-2", 1 / 4),
    1 / 2: USUAL,
    1.0: scaled("1", 1.0),
}
SCALES = {arm.label: scale for scale, arm in ARMS.items()}


def draw(results: NetResults) -> Figure:
    """Draw the error at the last common epoch against the scale, a panel for each data set."""

    def panel(axes: Axes, rows: pd.DataFrame) -> None:
        last = pd.DataFrame(rows[rows["epoch"] == int(rows.groupby(["label", "seed"])["epoch"].max().to_numpy().min())])
        scales = [SCALES[label] for label in last["label"]]
        errors = (100 * last["error"]).groupby(scales).agg(["mean", "std"])
        axes.errorbar(
            errors.index, errors["mean"], errors["std"].fillna(0), fmt="o-", color=plots.COLOURS[0], capsize=3
        )
        axes.set_xscale("log", base=2)
        axes.set(xlabel="initial scale γ", yscale="log")
        drawing.plain_numbers(axes)

    return drawing.panels(results, panel, "test error (%)")


def judge(results: NetResults) -> Sequence[str]:
    """Compare every scale with the paper's usual one by Welch's test; one that differs bears the claim out."""
    sentences = []
    for dataset in results.table["dataset"].unique():
        found = [judging.compare(results, dataset, arm.label, USUAL.label) for arm in ARMS.values() if arm != USUAL]
        judged = [c for c in found if not math.isnan(c.low)]
        differs = any(c.low > 0 or c.high < 0 for c in judged)
        outcome = "borne out" if differs else "not judged yet" if len(judged) < len(found) else "not borne out"
        sentences += [*(c.text for c in found), f"{dataset}: the initial scale matters: {outcome}"]
    return sentences


STUDY = Study(
    name="fig6",
    title="Test error against the initial scale γ, K = 5",
    claim="the initial scale matters to the error that is reached",
    contestants=tuple(ARMS.values()),
    profiles=profiles(full=epochs((0, 1, 2, 3, 4), 200)),
    report=report(draw, judge),
)
