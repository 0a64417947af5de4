"""Do GM layers behave otherwise than fully connected nets, even of mean-field widths? The paper's central claim.

Nets in mean-field scaling 1/m with m = 100, 1000, 10 000 neurons, and the paper's layers with K = 5, 20, 80 components
at γ = 1/2, by SGD at a rate of m/200 or K/200, stds at the rate of the rest: steps of equal Wasserstein time for β.
How fast β moves depends on the size of ω, which is large in the paper's layer (ω = Uβ + v); so the weights of the nets
are drawn with the second moments that the layer's neurons have, and one net from N(0, γ²) shows what that does. In the
mean-field regime the curves of the nets coincide. (In the layer's coordinates U and v, which the paper trains, ω
itself does not follow the flow.) Watched at some epochs: how far the law of β has moved (its W₂ distance from the
start, neuron by neuron, relative to its size), how much the tangent kernel has changed, how far the function has
moved, and how near the nearest neuron is in direction.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor, nn

from gmlayers import diagnostics
from gmlayers.experiments import plots
from gmlayers.experiments.models import PLAIN, Shape
from gmlayers.experiments.train_command import Changes
from gmlayers.experiments.trainer import Trainer
from gmlayers_studies.nets import drawing, judging
from gmlayers_studies.nets.judging import NetResults
from gmlayers_studies.nets.net import Net
from gmlayers_studies.nets.report import report
from gmlayers_studies.papers.fig4 import law
from gmlayers_studies.papers.nets import mean_field
from gmlayers_studies.statistics import welch
from gmlayers_studies.study import Profile, Study, epochs

RATE = PLAIN.lr / 20
"""The flow moves by this much in a step; a step of SGD is one of rate / K or rate / m."""
ROWS, KERNEL_ROWS = 1000, 24
"""Functions and kernels are compared on this many training rows."""
HELD = 200_000_000
"""The gradients of a block of rows hold at most this many numbers."""

QUANTITIES = {
    "displacement": "displacement of the law of β",
    "kernel": "relative change of the kernel",
    "function": "distance of the function",
    "clustering": "cosine to the nearest neuron, beyond chance",
}


class Dynamics:
    """Compares a model with its start."""

    def __init__(self, start: Trainer) -> None:
        self.start = copy.deepcopy(start.model).eval()
        self.law = law(self.start)
        self.size = (self.law.mean.square() + self.law.var).sum(1).mean().sqrt()
        self.x = start.seen.train_x[:ROWS]
        size = sum(p.numel() for p in self.start.parameters())
        self.block = max(1, min(KERNEL_ROWS, HELD // size))
        self.kernel = self._kernel(self.start)

    def _kernel(self, model: nn.Module) -> Tensor:
        return diagnostics.tangent_kernel(model, self.x[:KERNEL_ROWS], chunk_size=self.block)

    def __call__(self, trainer: Trainer) -> dict[str, Any]:
        """Return the quantities at epochs that are evenly spaced in their logarithm, and at the last."""
        if trainer.epoch not in EPOCHS and trainer.epoch != trainer.trial.recipe.epochs:
            return {}
        now = law(trainer.model)
        model = trainer.model.eval()
        near = diagnostics.clustering(now)
        return {
            "displacement": (diagnostics.displacement(self.law, now) / self.size).item(),
            "kernel": ((self._kernel(model) - self.kernel).norm() / self.kernel.norm()).item(),
            "function": diagnostics.function_distance(self.start, model, self.x).item(),
            "clustering": (near.nearest_cosine - near.at_random).item(),
        }


EPOCHS = {round(10 ** (i / 4)) for i in range(12)}


def gm(components: int) -> Net:
    """Return the paper's layer at the rate of equal time."""
    rate = RATE * components
    label = f"GM K = {components} (equal time)"
    return Net(label, "paper", Shape(components=components), Changes(lr=rate, std_lr=rate), watch=Dynamics)


def net(width: int, *, matched: bool = True) -> Net:
    """Return the net of that width at the rate of equal time."""
    label = f"FC m = {width} ({'equal time' if matched else 'weights of N(0, 1/4)'})"
    arm = mean_field(width, RATE * width, label)
    return Net(label, arm.model, Shape(width=width, matched=matched), arm.changes, watch=Dynamics)


WIDTHS, COMPONENTS = (100, 1000, 10_000), (5, 20, 80)


def draw(results: NetResults) -> Figure:
    """Draw every quantity against the epoch; two rows for each data set."""
    datasets = list(results.table["dataset"].unique())
    figure = Figure(figsize=(7.2, 5.0 * len(datasets) + 0.8), layout="constrained")
    grid = figure.subplots(2 * len(datasets), 2, squeeze=False)
    for i, dataset in enumerate(datasets):
        rows = results.table[results.table["dataset"] == dataset]
        for axes, (name, title) in zip(grid[2 * i : 2 * i + 2].flat, QUANTITIES.items()):
            if name in rows:
                drawing.band(axes, pd.DataFrame(rows).dropna(subset=[name]), "epoch", name)
            axes.set(title=title, xlabel="epoch", xscale="log", yscale="linear" if name == "clustering" else "log")
            axes.title.set_fontsize("small")
            if name in ("displacement", "function"):  # less than two decades
                drawing.plain_numbers(axes)
            axes.grid(which="both", alpha=0.25)
        for axes in grid[2 * i : 2 * i + 2, 0]:
            axes.set_ylabel(plots.words(dataset))
    figure.legend(
        *grid[0, 0].get_legend_handles_labels(), frameon=False, fontsize="x-small", loc="outside lower center", ncols=4
    )
    return figure


def judge(results: NetResults) -> Sequence[str]:
    """Say how near two nets and two layers are, and judge whether a layer is further from a net than that."""
    sentences = []
    for dataset in results.table["dataset"].unique():
        for one, other in ((net(WIDTHS[1]), net(WIDTHS[2])), (gm(COMPONENTS[1]), gm(COMPONENTS[2]))):
            sentences.append(_beside(results.table, dataset, one.label, other.label))
        sentences += _apart(results.table, dataset)
    return sentences


def _apart(table: pd.DataFrame, dataset: str) -> list[str]:
    """Judge in every quantity whether the layer and a net are further apart than nets of two widths are."""
    layer, narrow, wide = gm(COMPONENTS[2]).label, net(WIDTHS[1]).label, net(WIDTHS[2]).label
    epoch, before = (judging.last_common_epoch(table, dataset, pair) for pair in ((layer, narrow), (narrow, wide)))
    sentences, apart = [], []
    for name, title in QUANTITIES.items():
        by_ratio = name != "clustering"  # which may be negative
        values = [
            _watched(table, dataset, label, name, at)
            for label, at in ((layer, epoch), (narrow, epoch), (narrow, before), (wide, before))
        ]
        if any(len(several) < least for several, least in zip(values, (2, 2, 1, 1))):
            continue
        ours, theirs, one, other = (np.log(value) if by_ratio else value for value in values)
        _, low, high, _ = welch(ours, theirs)
        usual = abs(float(one.mean() - other.mean()))
        outcome = "further apart" if low > usual or high < -usual else "not shown to be further apart"
        apart += [name] * (outcome == "further apart")
        mean, low, high, usual = (
            f"{math.exp(v):.2f}" if by_ratio else f"{v:.3f}"
            for v in (float(ours.mean() - theirs.mean()), low, high, usual)
        )
        interval = f"{mean} [{low}, {high}]"
        words = f"has {interval} times that of {narrow}" if by_ratio else f"less {narrow} is {interval}"
        nets = f"a factor of {usual}" if by_ratio else usual
        sentences.append(
            f"{dataset}, epoch {epoch}: {title}: {layer} {words} ({len(ours)} and {len(theirs)} "
            f"seeds); the nets differ by {nets} at epoch {before}: {outcome}"
        )
    if sentences:
        outcome = f"borne out for {', '.join(apart)}" if apart else "not borne out"
        sentences.append(
            f"{dataset}: the layer is further from the net than nets of two widths from each other: {outcome}"
        )
    return sentences


def _watched(table: pd.DataFrame, dataset: str, label: str, name: str, epoch: int) -> np.ndarray:
    """Return a quantity at an epoch, one number for each seed that has it."""
    wanted = (table["dataset"] == dataset) & (table["label"] == label) & (table["epoch"] == epoch)
    rows = pd.DataFrame(table[wanted])
    return pd.Series(rows[name]).dropna().to_numpy(np.float64) if name in rows else np.array([])


def _beside(table: pd.DataFrame, dataset: str, one: str, other: str) -> str:
    epoch = judging.last_common_epoch(table, dataset, (one, other))
    watched = pd.DataFrame(table[(table["dataset"] == dataset) & (table["epoch"] <= epoch)])
    watched = watched.reindex(columns=[*watched.columns.union(list(QUANTITIES))]).dropna(subset=list(QUANTITIES))
    means = watched.groupby(["label", "epoch"])[list(QUANTITIES)].mean()
    seeds = watched.groupby("label")["seed"].nunique()
    known = epoch and one in seeds and other in seeds
    common = sorted(set(means.loc[one].index) & set(means.loc[other].index)) if known else []
    if not common:
        return f"{dataset}: no records of {one} and {other} to compare"
    a, b = means.loc[(one, common[-1])], means.loc[(other, common[-1])]
    parts = [f"{name} {a[name]:.3g} and {b[name]:.3g}" for name in QUANTITIES]
    return (
        f"{dataset}, epoch {common[-1]}: {one} and {other}: {', '.join(parts)} ({seeds[one]} and {seeds[other]} seeds)"
    )


STUDY = Study(
    name="dynamics",
    title="GM layers and nets of mean-field widths at equal Wasserstein time",
    claim="the dynamics of GM layers differ markedly from those of fully connected nets, even of mean-field widths",
    contestants=(*(net(m) for m in WIDTHS), *(gm(K) for K in COMPONENTS), net(WIDTHS[1], matched=False)),
    profiles={
        "smoke": Profile(("digits",), epochs((0,), 3), {net(WIDTHS[2]).label: epochs((0,), 1)}),
        "quick": Profile(("mnist",), epochs((0,), 10), {net(WIDTHS[2]).label: epochs((0,), 3)}),
        # a CPU takes half a minute for an epoch of the widest net
        "full": Profile(("mnist",), epochs((0, 1, 2), 100), {net(WIDTHS[2]).label: epochs((0,), 32)}),
    },
    report=report(draw, judge),
    note=(
        "Nets are drawn with the second moments of the layer's neurons, but for the last, which is drawn from "
        "N(0, 1/4). The layer is held against how far nets of two widths are apart, in the mean-field regime where "
        "curves coincide. It is judged by the interval of 95 % of Welch's test, of logarithms where a ratio is given."
    ),
)
