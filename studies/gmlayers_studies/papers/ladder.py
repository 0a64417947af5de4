"""The ladder of covariance families at one number of parameters: which structure earns what it costs?

All have the size of FC-240: the more a component costs, the fewer there are. Trained as in `practical`, for as many
epochs; every family has the rate that `ladder-rates` chose on held-out training rows, of as many that were tried.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gmlayers.experiments import plots
from gmlayers.experiments.models import Shape
from gmlayers.experiments.train_command import Changes
from gmlayers_studies.nets import drawing, judging
from gmlayers_studies.nets.judging import NetResults
from gmlayers_studies.nets.net import Net
from gmlayers_studies.nets.report import report
from gmlayers_studies.papers.tuning import EPOCHS
from gmlayers_studies.study import Profile, Study, epochs

WIDTH = 240
RANKS = (1, 2, 4, 16)
FC = "fully connected"


def family(label: str, shape: Shape, model: str = "low_rank", lr: float = 5e-3, weight_decay: float = 0.0) -> Net:
    """Return a net of the size of the fully connected one."""
    changes = Changes(optimizer="adamw", lr=lr, std_lr=lr, weight_decay=weight_decay, input_dropout=0.3)
    return Net(label, model, dataclasses.replace(shape, width=WIDTH), changes)


def at(arm: Net, lr: float, label: str | None = None) -> Net:
    """Return a net at another rate."""
    changes = dataclasses.replace(arm.changes, lr=lr, std_lr=lr)
    return dataclasses.replace(arm, label=label or arm.label, changes=changes)


FAMILIES: dict[str, Net] = {
    arm.label: arm
    for arm in (
        family("GM isotropic", Shape(rank=0)),
        family("GM diagonal", Shape(rank=0, base="diagonal")),
        *(family(f"GM rank {r}", Shape(rank=r)) for r in RANKS),
        family("GM shared factors", Shape(), "shared_factor"),
        family("GM isotropic, coupled", Shape(rank=0, coupling=True)),
        family("GM diagonal, coupled", Shape(rank=0, base="diagonal", coupling=True)),
        *(family(f"GM rank {r}, coupled", Shape(rank=r, coupling=True)) for r in RANKS),
        family(FC, Shape(), "fc", 2e-3, 0.05),
    )
}

CHOSEN = {
    "GM isotropic": 0.01,
    "GM diagonal": 0.01,
    "GM rank 1": 0.005,
    "GM rank 2": 0.01,
    "GM rank 4": 0.01,
    "GM rank 16": 0.01,
    "GM shared factors": 0.005,
    "GM isotropic, coupled": 0.005,
    "GM diagonal, coupled": 0.005,
    "GM rank 1, coupled": 0.01,
    "GM rank 2, coupled": 0.01,
    "GM rank 4, coupled": 0.005,
    "GM rank 16, coupled": 0.005,
    FC: 0.002,
}
"""The study `ladder-rates` chooses these rates."""

STEPS = (
    ("GM diagonal", "GM isotropic"),
    ("GM rank 1", "GM isotropic"),
    ("GM rank 2", "GM rank 1"),
    ("GM rank 4", "GM rank 2"),
    ("GM rank 16", "GM rank 4"),
    ("GM shared factors", "GM rank 1"),
    ("GM isotropic, coupled", "GM isotropic"),
    ("GM diagonal, coupled", "GM diagonal"),
    *((f"GM rank {r}, coupled", f"GM rank {r}") for r in RANKS),
)
"""Each pair holds a richer family and the family it extends."""


def draw(results: NetResults) -> Figure:
    """Draw the errors at the last epoch, mean and one standard deviation, a line for each family."""

    def panel(axes: Axes, rows: pd.DataFrame) -> None:
        end = pd.DataFrame(rows[rows["epoch"] == rows.groupby(["label", "seed"])["epoch"].transform("max")])
        names = [name for name in FAMILIES if name in set(end["label"])]
        for line, name in enumerate(names):
            errors = 100 * end[end["label"] == name]["error"]
            axes.errorbar(
                errors.mean(),
                line,
                xerr=errors.std() if len(errors) > 1 else 0,
                fmt="o",
                capsize=3,
                color=plots.COLOURS[0] if name.startswith("GM") else plots.COLOURS[2],
            )
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set_xlabel("test error (%)")

    figure = drawing.panels(results, panel, "")
    figure.set_figheight(4.2)
    return figure


def judge(results: NetResults) -> Sequence[str]:
    """Compare every family with the net of its size, and every richer family with the one it extends."""
    sentences = []
    for dataset in results.table["dataset"].unique():
        pairs = [*((name, FC) for name in FAMILIES if name != FC), *STEPS]
        sentences += [judging.compare(results, dataset, one, other).text for one, other in pairs]
    return sentences


STUDY = Study(
    name="ladder",
    title=f"Covariance families at the number of parameters of FC-{WIDTH}",
    claim="the structure of the covariance decides how good a GM layer of given size is",
    contestants=tuple(at(arm, CHOSEN[name]) for name, arm in FAMILIES.items()),
    profiles={
        "smoke": Profile(("digits",), epochs((0, 1), 2)),
        "quick": Profile(("mnist",), epochs((0, 1), 3)),
        "full": Profile(("mnist",), epochs(tuple(range(10)), EPOCHS)),
    },
    report=report(draw, judge),
    note=(
        "In a coupled family ω is coupled to the noise of the base as well as to that of the factors, at `in · out` "
        "numbers a component. Each rate was chosen among four, by one seed on held-out training rows."
    ),
)
