"""Records as a table, and what the figures have in common."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from gmlayers.experiments import plots
from gmlayers.experiments.display import shown
from gmlayers.experiments.records import environment_in_words
from gmlayers.experiments.training import build
from gmlayers_studies.records import Records
from gmlayers_studies.study import Arm, Experiment, Part, Results

LEVEL = 0.05
"""Below this p-value a difference counts as one."""

COLUMNS = ["dataset", "label", "seed", "epoch", "train_loss", "seconds", "error"]


def table_of(parts: Iterable[Part], records: Records) -> pd.DataFrame:
    """Return a row for every epoch of every trial: dataset, label, seed, and what stands in its line of metrics."""
    rows = []
    for part in parts:
        for seed in part.run.seeds:
            for row in records.rows(part.place, f"seed-{seed}"):
                values = {"dataset": part.dataset, "label": part.arm.label, "seed": seed, **row}
                rows.append({**values, "error": values.pop(part.run.metric)})
    return pd.DataFrame.from_records(rows, columns=None if rows else COLUMNS)


def summary(table: pd.DataFrame, epoch: int | None = None) -> pd.DataFrame:
    """Return a row per trial: its last epoch (up to one that is given) and what stood there, and all its seconds."""
    rows = table if epoch is None else pd.DataFrame(table[table["epoch"] <= epoch])
    trials = rows.sort_values("epoch", kind="stable").groupby(["dataset", "label", "seed"], sort=False)
    last = trials[["epoch", "error", "train_loss"]].last()
    return last.assign(seconds=trials["seconds"].sum().round(3)).reset_index()


def last_common_epoch(table: pd.DataFrame, dataset: str, labels: Sequence[str]) -> int:
    """Return the last epoch that trials of all labels have come to; 0 where one has none."""
    rows = table[table["dataset"] == dataset]
    reached = [rows.loc[rows["label"] == label, "epoch"].max() for label in labels]
    return 0 if any(pd.isna(epoch) for epoch in reached) else int(min(reached))


def errors(table: pd.DataFrame, dataset: str, label: str, epoch: int) -> np.ndarray:
    """Return the errors at an epoch, one per seed that has come to it, in percent."""
    wanted = (table["dataset"] == dataset) & (table["label"] == label) & (table["epoch"] == epoch)
    return 100 * table.loc[wanted, "error"].to_numpy(np.float64)


class Comparison(NamedTuple):
    """What the errors of two nets at one epoch say, in percent."""

    text: str
    low: float
    """Ends of the interval of the first's mean minus the second's; nan where nothing can be judged."""
    high: float
    other: float
    """Mean error of the second."""


def compare(results: Results, dataset: str, one: str, other: str) -> Comparison:
    """Compare two nets at the last epoch that both have come to, by Welch's test and its interval of 95 %."""
    table = results.table
    epoch = last_common_epoch(table, dataset, (one, other))
    if epoch == 0:
        return Comparison(f"{dataset}: no records of {one} and {other} to compare", math.nan, math.nan, math.nan)
    ours, theirs = errors(table, dataset, one, epoch), errors(table, dataset, other, epoch)
    text = (
        f"{dataset}, epoch {epoch}: {one} {shown((ours / 100).tolist(), percent=True)}, "
        f"{other} {shown((theirs / 100).tolist(), percent=True)} ({len(ours)} and {len(theirs)} seeds)"
    )
    unfinished = any(
        not len(of_run := rows_of(table, part)) or set(of_run[of_run["epoch"] >= epoch]["seed"]) != set(part.run.seeds)
        for part in results.parts
        if part.dataset == dataset and part.arm.label in (one, other)
    )
    # errors are shares of rows, and what lies below this is rounding
    if min(len(ours), len(theirs)) < 2 or not min(ours.max() - ours.min(), theirs.max() - theirs.min()) > 1e-9:
        return Comparison(f"{text}; too few seeds, or no spread, to judge", math.nan, math.nan, float(theirs.mean()))
    test: Any = stats.ttest_ind(ours, theirs, equal_var=False)
    low, high = test.confidence_interval(1 - LEVEL)
    text = f"{text}; difference in [{low:.2f}, {high:.2f}] points, Welch p = {test.pvalue:.2g}"
    if unfinished:
        return Comparison(f"{text}; trials are missing", math.nan, math.nan, float(theirs.mean()))
    return Comparison(text, float(low), float(high), float(theirs.mean()))


def against(*pairs: tuple[Arm, Arm], claim: str, within: float = 0.0) -> Callable[[Results], Sequence[str]]:
    """Return what judges a claim: that the first net of every pair has the lower error.

    Args:
        pairs: nets to compare.
        claim: in words.
        within: the share of the second's error by which the first may be higher and the claim yet hold: it holds if the
            whole interval lies below that, and does not if the whole interval lies above.
    """

    def judge(results: Results) -> Sequence[str]:
        sentences = []
        for dataset in results.table["dataset"].unique():
            found = [compare(results, dataset, one.label, other.label) for one, other in pairs]
            outcome = (
                "not judged yet"
                if any(math.isnan(c.low) for c in found)
                else "borne out"
                if all(c.high < within * c.other for c in found)
                else "refuted"
                if any(c.low > within * c.other for c in found)
                else "not decided by these trials"
            )
            margin = f" (to within {100 * within:.0f} % of its error)" if within else ""
            sentences += [*(comparison.text for comparison in found), f"{dataset}: {claim}{margin}: {outcome}"]
        return sentences

    return judge


def missing(results: Results) -> list[str]:
    """Return a sentence for every run of which trials are not finished."""
    sentences = []
    for part in results.parts:
        epochs, seeds = part.run.recipe.epochs, part.run.seeds
        rows = rows_of(results.table, part)
        left = [seed for seed in seeds if rows[rows["seed"] == seed]["epoch"].max() != epochs]
        if left:
            names = ", ".join(map(str, left))
            sentences.append(f"not finished: {part.dataset}, {part.arm.label}: seeds {names} of {len(seeds)}")
    return sentences


def rows_of(table: pd.DataFrame, part: Part) -> pd.DataFrame:
    """Return the rows of one run."""
    return pd.DataFrame(table[(table["dataset"] == part.dataset) & (table["label"] == part.arm.label)])


def finished(summaries: pd.DataFrame, part: Part) -> pd.DataFrame:
    """Return the rows of :func:`summary` of the finished trials of one run."""
    rows = rows_of(summaries, part)
    return pd.DataFrame(rows[rows["epoch"] == part.run.recipe.epochs])


def page(experiment: Experiment, results: Results, found: Sequence[str], missing: Sequence[str]) -> str:
    """Return what an experiment claims and what was found, with its figure, command, protocol and machine."""
    table = summary(results.table)
    rows = [
        f"| {part.dataset} | {part.arm.label} | {parameters(part):,} "
        f"| {len(ours)} × {part.run.recipe.epochs} | {protocol(part)} "
        f"| {shown(ours['error'].tolist(), percent=True)} | {ours['seconds'].mean():.3g} |"
        for part in results.parts
        if len(ours := finished(table, part))
    ]
    found_on = (results.records.environment(part.place) for part in results.parts)
    machines = "; ".join(sorted({environment_in_words(e) for e in found_on if e is not None}))
    command = f"gmlayers reproduce {experiment.name} --profile {profile(experiment, results)}"
    usual = {name for size in experiment.profiles.values() for name in size.datasets}
    command += "".join(f" --dataset {name}" for name in sorted({part.dataset for part in results.parts} - usual))
    header = ["data", "net", "parameters", "trials × epochs", "trained by", judged(experiment), "seconds a trial"]
    return "\n".join(
        [
            f"## {experiment.name}: {experiment.title}",
            "",
            f"![{experiment.title}]({experiment.name}.png)",
            "",
            f"**Claim.** {experiment.claim[0].upper()}{experiment.claim[1:]}.",
            "",
            *([experiment.note, ""] if experiment.note else []),
            *(f"- {sentence}" for sentence in (*found, *missing)),
            "",
            f"| {' | '.join(header)} |",
            "|---" * len(header) + "|",
            *rows,
            "",
            f"`{command}`, a trial a core, on {machines}. Errors are those of the last epoch, of finished trials. "
            "Bands and ± are one standard deviation over trials; tests are Welch's, intervals of 95 %, not "
            "corrected for their number.",
            "",
        ]
    )


def profile(experiment: Experiment, results: Results) -> str:
    """Return the profile that runs are of, as far as its number of epochs tells."""
    for name, size in experiment.profiles.items():
        if all(part.run.recipe.epochs == size.but.get(part.arm.label, size.size).epochs for part in results.parts):
            return name
    return "..."


def parameters(part: Part) -> int:
    """Return the number of parameters of a net."""
    return sum(p.numel() for p in build(part.run.trial(0), part.run.task).parameters())


def judged(experiment: Experiment) -> str:
    """Return what stands in the column of errors."""
    return "validation error" if experiment.validate else "test error"


def protocol(part: Part) -> str:
    """Return how a run is trained, in a few words."""
    recipe = part.run.recipe
    shape = part.run.shape
    words = [] if part.run.model == "paper" else [shape.activation]
    words += [] if shape.init_scale is None else [f"γ = {shape.init_scale:g}"]
    words += [recipe.optimizer, recipe.schedule, f"batch {recipe.batch_size}", f"rate {recipe.lr:g}"]
    words += [f"stds {recipe.std_lr:g}"] * (recipe.std_lr != recipe.lr and part.run.model != "fc_mean")
    for name in ("weight_decay", "input_dropout", "label_smoothing"):
        words += [f"{name.replace('_', ' ')} {getattr(recipe, name):g}"] * (getattr(recipe, name) != 0)
    words += ["standardised inputs"] * recipe.standardise + [f"{', '.join(recipe.frozen)} frozen"] * bool(recipe.frozen)
    return ", ".join(words)


def error_curves(results: Results) -> Figure:
    """Draw test error against epochs: mean and one standard deviation over seeds, a panel for each data set."""

    def panel(axes: Axes, rows: pd.DataFrame) -> None:
        band(axes, rows, "epoch", "error", 100)
        axes.set(xlabel="epoch", yscale="log")
        axes.xaxis.set_major_locator(plots.whole_numbers())
        plain_numbers(axes)

    return panels(results, panel, "test error (%)")


def panels(results: Results, draw: Any, ylabel: str) -> Figure:  # noqa: ANN401  (a function of axes and rows)
    """Return a figure with a panel for each data set, and one legend."""
    datasets = list(results.table["dataset"].unique())
    figure = Figure(figsize=(3.4 * max(1, len(datasets)) + 0.6, 3.2), layout="constrained")
    row = figure.subplots(1, max(1, len(datasets)), squeeze=False)[0]
    for axes, dataset in zip(row, datasets):
        draw(axes, results.table[results.table["dataset"] == dataset])
        axes.set_title(dataset)
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
    """Write numbers on a logarithmic axis of values as they are."""
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.tick_params(axis="y", which="minor", labelsize="x-small")
