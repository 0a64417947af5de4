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
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor, nn

from gmlayers import diagnostics
from gmlayers.experiments.models import PLAIN, Shape
from gmlayers.experiments.reproduce import tables
from gmlayers.experiments.reproduce.experiment import Arm, Experiment, Profile, Results, Size
from gmlayers.experiments.reproduce.fig4 import law
from gmlayers.experiments.reproduce.nets import mean_field
from gmlayers.experiments.train import Changes
from gmlayers.experiments.training import Trainer

RATE = PLAIN.lr / 20
"""Of the flow, in an epoch's steps; a step of SGD is one of rate / K or rate / m."""
ROWS, KERNEL_ROWS = 1000, 24
"""Training rows on which functions and kernels are compared."""
HELD = 200_000_000
"""Numbers that the gradients of a block of rows may hold."""

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


def gm(components: int) -> Arm:
    """Return the paper's layer at the rate of equal time."""
    rate = RATE * components
    label = f"GM K = {components} (equal time)"
    return Arm(label, "paper", Shape(components=components), Changes(lr=rate, std_lr=rate), watch=Dynamics)


def net(width: int, *, matched: bool = True) -> Arm:
    """Return the net of that width at the rate of equal time."""
    label = f"FC m = {width} ({'equal time' if matched else 'weights of N(0, 1/4)'})"
    arm = mean_field(width, RATE * width, label)
    return Arm(label, arm.model, Shape(width=width, matched=matched), arm.changes, watch=Dynamics)


WIDTHS, COMPONENTS = (100, 1000, 10_000), (5, 20, 80)


def draw(results: Results) -> Figure:
    """Draw every quantity against the epoch; a row for each data set."""
    datasets = list(results.table["dataset"].unique())
    figure = Figure(figsize=(3.2 * len(QUANTITIES) + 1.6, 3.0 * len(datasets) + 0.2), layout="constrained")
    grid = figure.subplots(len(datasets), len(QUANTITIES), squeeze=False)
    for row, dataset in zip(grid, datasets):
        rows = results.table[results.table["dataset"] == dataset]
        for axes, (name, title) in zip(row, QUANTITIES.items()):
            if name in rows:
                tables.band(axes, pd.DataFrame(rows).dropna(subset=[name]), "epoch", name)
            axes.set(title=title, xlabel="epoch", xscale="log", yscale="linear" if name == "clustering" else "log")
            axes.title.set_fontsize("small")
            axes.grid(which="both", alpha=0.25)
        row[0].set_ylabel(dataset)
        row[-1].legend(frameon=False, fontsize="x-small", loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def judge(results: Results) -> Sequence[str]:
    """Say how near the largest nets are to each other, and GM layers to the largest net, in every quantity."""
    sentences = []
    for dataset in results.table["dataset"].unique():
        for one, other in (
            (net(WIDTHS[1]), net(WIDTHS[2])),
            (gm(COMPONENTS[1]), gm(COMPONENTS[2])),
            (gm(COMPONENTS[2]), net(WIDTHS[2])),
        ):
            sentences.append(_beside(results.table, dataset, one.label, other.label))
    return sentences


def _beside(table: pd.DataFrame, dataset: str, one: str, other: str) -> str:
    epoch = tables.last_common_epoch(table, dataset, (one, other))
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


EXPERIMENT = Experiment(
    name="dynamics",
    title="GM layers and nets of mean-field widths at equal Wasserstein time",
    claim="the dynamics of GM layers differ markedly from those of fully connected nets, even of mean-field widths",
    arms=(*(net(m) for m in WIDTHS), *(gm(K) for K in COMPONENTS), net(WIDTHS[1], matched=False)),
    profiles={
        "smoke": Profile(("digits",), Size((0,), 3), {net(WIDTHS[2]).label: Size((0,), 1)}),
        "quick": Profile(("mnist",), Size((0,), 10), {net(WIDTHS[2]).label: Size((0,), 3)}),
        # a CPU takes half a minute for an epoch of the widest net
        "full": Profile(("mnist",), Size((0, 1, 2), 100), {net(WIDTHS[2]).label: Size((0,), 32)}),
    },
    draw=draw,
    judge=judge,
    note=(
        "Nets are drawn with the second moments of the layer's neurons, but for the last, from N(0, 1/4). How far "
        "apart curves must lie to differ markedly is left to the reader; the numbers at the last common epoch are "
        "given."
    ),
)
