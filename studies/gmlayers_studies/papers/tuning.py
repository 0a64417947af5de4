"""Chooses how the nets of `practical` are trained: as many configurations of each, judged on held-out training rows.

At other sizes than the first, rate and dropout are chosen anew.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gmlayers.experiments import plots
from gmlayers.experiments.models import Shape
from gmlayers.experiments.train_command import Changes
from gmlayers_studies.nets import drawing
from gmlayers_studies.nets.judging import NetResults
from gmlayers_studies.nets.net import Net
from gmlayers_studies.nets.report import report
from gmlayers_studies.study import Profile, Study, epochs

EPOCHS = 30
LAST = 5
"""The error is averaged over this many epochs for the choice, since that of one epoch is noisier."""


def gm(
    activation: str,
    lr: float,
    input_dropout: float = 0.3,
    weight_decay: float = 0.0,
    width: int = 500,
    factors: int = 16,
) -> Net:
    """Return the GM layer as large as a fully connected net of some width."""
    shape = Shape(width=width, activation=activation, factors=factors)
    net = _arm("GM", "shared_factor", shape, lr, input_dropout, weight_decay)
    return net if factors == 16 else dataclasses.replace(net, label=f"{net.label}, {factors} factors")


def fc(activation: str, lr: float, input_dropout: float = 0.3, weight_decay: float = 0.05, width: int = 1000) -> Net:
    """Return the fully connected net of some width."""
    return _arm("FC", "fc", Shape(width=width, activation=activation), lr, input_dropout, weight_decay)


def _arm(method: str, model: str, shape: Shape, lr: float, input_dropout: float, weight_decay: float) -> Net:
    changes = Changes(optimizer="adamw", lr=lr, std_lr=lr, input_dropout=input_dropout, weight_decay=weight_decay)
    label = f"{method} {shape.activation}, rate {lr:g}, dropout {input_dropout:g}, decay {weight_decay:g}"
    return Net(label, model, shape, changes)


GM_ARMS = (
    gm("relu", 5e-3),
    gm("relu", 1e-2),
    gm("relu", 5e-3, weight_decay=0.05),
    gm("gelu", 5e-3),
    gm("gelu", 1e-2),
    gm("gelu", 5e-3, input_dropout=0.2),
    gm("gelu", 5e-3, input_dropout=0.4),
    gm("gelu", 5e-3, weight_decay=0.05),
    gm("relu", 5e-3, input_dropout=0.2),
    gm("gelu", 5e-3, input_dropout=0.25),
    gm("gelu", 2.5e-3),
    gm("gelu", 2.5e-3, input_dropout=0.2),
    gm("gelu", 5e-3, input_dropout=0.25, factors=8),
    gm("relu", 5e-3, input_dropout=0.25, factors=8),
    gm("gelu", 5e-3, input_dropout=0.1),
    gm("relu", 5e-3, input_dropout=0.25),
)
FC_ARMS = (
    fc("relu", 1e-3),
    fc("relu", 2e-3),
    fc("relu", 1e-3, weight_decay=0.2),
    fc("gelu", 1e-3),
    fc("gelu", 2e-3),
    fc("relu", 1e-3, input_dropout=0.2),
    fc("relu", 1e-3, input_dropout=0.4),
    fc("gelu", 1e-3, input_dropout=0.2),
    fc("gelu", 1e-3, input_dropout=0.1),
    fc("gelu", 1e-3, input_dropout=0.05),
    fc("gelu", 5e-4),
    fc("gelu", 5e-4, input_dropout=0.1),
)

OTHERS = (
    ("gelu", 1.0, 0.05),
    ("gelu", 1.0, 0.1),
    ("gelu", 1.0, 0.15),
    ("gelu", 1.0, 0.2),
    ("gelu", 1.0, 0.3),
    ("gelu", 2.0, 0.1),
    ("gelu", 2.0, 0.2),
    ("gelu", 2.0, 0.3),
    ("gelu", 0.5, 0.2),
    ("relu", 1.0, 0.2),
    ("relu", 2.0, 0.2),
    ("relu", 2.0, 0.3),
)
"""At other sizes these activations, factors of the rate and dropouts are tried, and four configurations more."""


def resized(name: str, net: Callable[..., Net], lr: float, width: int, more: Sequence[Net]) -> tuple[Net, ...]:
    """Return the configurations of a net of another size, under its name."""
    arms = [net(activation, factor * lr, dropout, width=width) for activation, factor, dropout in OTHERS]
    return tuple(dataclasses.replace(arm, label=f"{name} {arm.label[3:]}") for arm in (*arms, *more))


def more_gm(width: int) -> tuple[Net, ...]:
    """Return what is tried of a small GM layer besides: half as many factors, ReLU at the usual rate, decay."""
    return (
        gm("gelu", 5e-3, 0.1, width=width, factors=8),
        gm("gelu", 5e-3, 0.2, width=width, factors=8),
        gm("relu", 5e-3, 0.1, width=width),
        gm("gelu", 5e-3, 0.2, 0.05, width=width),
    )


def more_fc(width: int) -> tuple[Net, ...]:
    """Return what is tried of a small fully connected net besides: other decays, ReLU with less dropout."""
    return (
        fc("gelu", 1e-3, 0.2, 0.2, width=width),
        fc("gelu", 1e-3, 0.2, 0.0, width=width),
        fc("relu", 1e-3, 0.1, width=width),
        fc("relu", 2e-3, 0.3, 0.2, width=width),
    )


GROUPS: dict[str, tuple[Net, ...]] = {
    "GM (size of FC-500)": GM_ARMS,
    "FC-1000": FC_ARMS,
    # what is best at one size need not be at another: a small net wants less dropout and a greater rate
    "GM (size of FC-240)": resized("GM-240", gm, 5e-3, 240, more_gm(240)),
    "FC-500": resized("FC-500", fc, 1e-3, 500, more_fc(500)),
    "FC-240": resized("FC-240", fc, 1e-3, 240, more_fc(240)),
}


def scores(results: NetResults, last: int = LAST) -> pd.DataFrame:
    """Return the mean error of the last epochs in percent, configurations by data sets."""
    end = {(run.dataset, run.label): run.epochs for run in results.runs}
    table = results.table
    ends = pd.Series([end[d, label] for d, label in zip(table["dataset"], table["label"])], table.index)
    done = table.groupby(["dataset", "label"])["epoch"].transform("max") == ends
    end_rows = pd.DataFrame(table[done & (table["epoch"] > ends - last)])
    return 100 * end_rows.pivot_table(index="label", columns="dataset", values="error", sort=False)


def draw(results: NetResults, last: int = LAST) -> Figure:
    """Draw the errors of all configurations."""

    def panel(axes: Axes, rows: pd.DataFrame) -> None:
        values = scores(NetResults(results.runs, rows), last).iloc[:, 0]
        colours = [plots.COLOURS[0] if str(label).startswith("GM") else plots.COLOURS[2] for label in values.index]
        axes.scatter(values, range(len(values)), color=colours)
        first = str(rows["dataset"].iloc[0]) == results.runs[0].dataset
        axes.set_yticks(range(len(values)), values.index if first else [""] * len(values))
        axes.tick_params(axis="y", labelsize="x-small")
        axes.set_ylim(len(values) - 0.5, -0.5)  # the first on top, and no point cut at the rim
        axes.set_xlabel("validation error (%)")

    figure = drawing.panels(results, panel, "")
    figure.set_figheight(0.6 + 0.17 * len({run.label for run in results.runs}))  # a line for every label
    return figure


def best(results: NetResults, groups: Mapping[str, Sequence[Net]], last: int = LAST) -> Sequence[str]:
    """Name the best configuration of each group on each data set."""
    found = scores(results, last)
    sentences = []
    for dataset in found.columns:
        for name, arms in groups.items():
            own = found[dataset].reindex([arm.label for arm in arms]).dropna()
            if len(own):
                least = f"{own.idxmin()} ({own.min():.2f} %)"
                sentences.append(f"{dataset}: best of {len(own)} configurations of {name}: {least}")
    return sentences


def judge(results: NetResults) -> Sequence[str]:
    """Name the best configuration of each net on each data set."""
    return best(results, GROUPS)


STUDY = Study(
    name="tuning",
    title="Configurations of GM layers and fully connected nets, on held-out training rows",
    claim="none; it chooses what practical compares",
    contestants=tuple(arm for arms in GROUPS.values() for arm in arms),
    profiles={
        "smoke": Profile(("digits",), epochs((0,), 2)),
        "quick": Profile(("mnist",), epochs((0,), 3)),
        "full": Profile(("mnist", "fashion-mnist"), epochs((0,), EPOCHS)),
    },
    report=report(draw, judge),
    validate=True,
)
