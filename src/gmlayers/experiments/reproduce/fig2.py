"""Figure 2: test error of GM layers with K = 5, 10 and 20 components, trained as in the paper."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from gmlayers.experiments.models import Shape
from gmlayers.experiments.reproduce import tables
from gmlayers.experiments.reproduce.experiment import Arm, Experiment, Profile

COMPONENTS = (5, 10, 20)


def draw(records: pd.DataFrame) -> Figure:
    """Draw error against epochs, a panel for each data set."""
    return tables.error_curves(records)


def judge(records: pd.DataFrame) -> Sequence[str]:
    """Compare neighbouring K by Welch's test on the errors at the last epoch."""
    return [
        tables.comparison(records, dataset, f"K = {more}", f"K = {fewer}")
        for dataset in records["dataset"].unique()
        for fewer, more in itertools.pairwise(COMPONENTS)
    ]


EXPERIMENT = Experiment(
    name="fig2",
    title="Test error of GM layers against epochs",
    claim="more components give a lower test error",
    arms=tuple(Arm(f"K = {K}", "paper", Shape(components=K)) for K in COMPONENTS),
    profiles={
        "smoke": Profile(("digits",), (0, 1), 3),
        "quick": Profile(("mnist",), (0, 1), 5),
        "full": Profile(("mnist", "fashion-mnist"), (0, 1, 2, 3, 4), 200),
    },
    draw=draw,
    judge=judge,
)
