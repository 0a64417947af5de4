"""What is written of a contest: a table, figures, and what the records say of its claim."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from gmlayers.experiments import display, plots
from gmlayers.experiments.records import environment_in_words, readable, write_whole
from gmlayers.experiments.reproduce import contest_picture
from gmlayers.experiments.reproduce.contest import Contest, Entry, Size
from gmlayers.experiments.reproduce.tables import LEVEL

TIMES = 10
"""As many times the error of the best peer is to be that of the module."""

LEAST = 1e-16
"""Smaller errors are rounding, and count as this."""

ROUNDING = 1e-9
"""Logarithms that differ by less do so by rounding: there is no spread to judge by."""

TICK = 1e-3
"""Seconds that are the least to be drawn, on a logarithmic axis."""

MARKERS = "osD^v<>PX*hp"


@dataclass(frozen=True)
class Outcome:
    """What the records say of one seed of an entry."""

    entry: Entry
    seed: int
    states: Sequence[Mapping[str, Any]]
    """At least one."""

    @property
    def over(self) -> bool:
        """Whether the trial came to its end."""
        return self.states[-1]["last"]

    @property
    def final(self) -> Mapping[str, Any]:
        """What it came to."""
        return self.states[-1]

    @property
    def seconds(self) -> np.ndarray:
        """When the states were reached."""
        return np.array([state["seconds"] for state in self.states])

    @property
    def errors(self) -> np.ndarray:
        """Of all states; what is no number is infinite."""
        return np.nan_to_num(np.array([state["error"] for state in self.states], float), nan=math.inf)


def finish(contest: Contest, entries: Mapping[Path, Entry], folder: Path) -> bool:
    """Write figures, table and page, and print what they say; return whether there were records."""
    outcomes = records(entries)
    ended = [outcome for outcome in outcomes if outcome.over]
    if not ended:
        return False
    table = pd.DataFrame.from_records([_row(outcome) for outcome in ended])
    write_whole(folder / f"{contest.name}.csv", table.to_csv(index=False).encode())
    figure = draw(contest, outcomes)
    for ending in ("png", "svg"):
        plots.save(figure, folder / f"{contest.name}.{ending}")
    picture = contest_picture.draw(contest, entries)
    if picture is not None:
        plots.save(picture, folder / f"{contest.name}-bumps.png")
    found = [*judge(contest, ended), *faster(contest, outcomes)]
    missing = left_out(entries, ended)
    text = page(contest, entries, ended, found, missing, drawn=picture is not None)
    write_whole(folder / f"{contest.name}.md", text.encode())
    rows = [
        [f"{entry.problem} {entry.method}", str(entry.size), str(len(own)), spread(final(own))]
        for entry, own in by_entry(ended)
    ]
    display.print_findings(
        f"{contest.name}: {contest.title}",
        ["method", "size", "seeds", "median error (least – largest)"],
        rows,
        f"Claim: {contest.claim}.",
        [*found, *missing],
        f"Figure: {folder / contest.name}.png  numbers: {folder / contest.name}.csv\n",
    )
    return True


def records(entries: Mapping[Path, Entry]) -> list[Outcome]:
    """Return what there are records of, judged on test points, entry by entry."""
    return [
        Outcome(entry, seed, states)
        for folder, entry in entries.items()
        for seed in entry.seeds
        if (states := readable(folder / f"seed-{seed}" / "metrics.jsonl"))
    ]


def by_entry(outcomes: Sequence[Outcome]) -> Iterator[tuple[Entry, list[Outcome]]]:
    """Yield the seeds of every entry."""
    for _, own in groupby(outcomes, lambda outcome: id(outcome.entry)):
        several = list(own)
        yield several[0].entry, several


def problems(outcomes: Sequence[Outcome]) -> list[str]:
    """Return the names of the problems, in their order."""
    return list(dict.fromkeys(outcome.entry.problem for outcome in outcomes))


def final(outcomes: Sequence[Outcome], what: str = "error") -> np.ndarray:
    """Return the last errors; those that are no numbers are infinite."""
    return np.nan_to_num(np.array([outcome.final[what] for outcome in outcomes], float), nan=math.inf)


def spread(errors: np.ndarray) -> str:
    """Return median, least and largest."""
    return f"{np.median(errors):.1e} ({errors.min():.1e} – {errors.max():.1e})"


def _row(outcome: Outcome) -> dict[str, Any]:
    entry, what = outcome.entry, ("setting", "parameters", "seconds", "error", "gradient_error")
    about = {"problem": entry.problem, "method": entry.method, "allowed": entry.parameters, "budget": entry.seconds}
    return {**about, "seed": outcome.seed, **{name: outcome.final[name] for name in what}}


class Ratio(NamedTuple):
    """How many times the errors of one are those of another: geometric mean, its interval of 95 %, Welch's p."""

    mean: float
    low: float
    high: float
    p: float


def ratio(ones: np.ndarray, others: np.ndarray) -> Ratio:
    """Return how many times the errors of the others are those of the ones, by Welch's test on logarithms."""
    logs = [np.log(np.maximum(errors, LEAST)) for errors in (others, ones)]
    if not np.isfinite(np.concatenate(logs)).all():
        return Ratio(math.nan, math.nan, math.nan, math.nan)
    difference = float(logs[0].mean() - logs[1].mean())
    mean = math.exp(difference)
    if min(map(len, logs)) < 2:
        return Ratio(mean, math.nan, math.nan, math.nan)
    parts = np.array([log.var(ddof=1) / len(log) for log in logs])
    size = math.sqrt(parts.sum())
    if size < ROUNDING:
        return Ratio(mean, math.nan, math.nan, math.nan)
    freedom = float(parts.sum() ** 2 / (parts**2 / [len(log) - 1 for log in logs]).sum())
    reach = float(stats.t.ppf(1 - LEVEL / 2, freedom)) * size
    with np.errstate(over="ignore"):  # with few and wild trials an interval has no end
        low, high = (float(np.exp(difference + side * reach)) for side in (-1, 1))
    return Ratio(mean, low, high, float(2 * stats.t.sf(abs(difference) / size, freedom)))


def judge(contest: Contest, ended: Sequence[Outcome]) -> list[str]:
    """Compare each reading of the module with the best of its peers, at equal numbers of parameters and seconds."""
    sentences = []
    for reading, method in contest.readings.items():
        counts: dict[str, int] = {}
        for problem, size in _sizes(ended):
            errors = {
                entry.method: final(own)
                for entry, own in by_entry(ended)
                if (entry.problem, entry.size) == (problem, size)
            }
            peers = {peer: errors[peer] for peer in contest.peers if peer in errors}
            if method not in errors or not peers:
                continue
            ours, best = errors[method], min(peers, key=lambda peer: _centre(peers[peer]))
            found = ratio(ours, peers[best])
            outcome = _outcome(found)
            counts[outcome] = counts.get(outcome, 0) + 1
            sentences.append(
                f"{problem}, {size}, {reading}: {method} {np.median(ours):.1e}, best peer {best} "
                f"{np.median(peers[best]):.1e} ({len(ours)} and {len(peers[best])} seeds): {found.mean:.3g} times the "
                f"error [{found.low:.2g}, {found.high:.2g}], p = {found.p:.2g}: {outcome}"
            )
        if counts:
            text = ", ".join(f"{outcome}: {count}" for outcome, count in counts.items())
            sentences.append(f"under {reading}, lower error than the best peer – {text}")
        sentences += fewer(contest, ended, reading, method)
    return sentences


def _centre(errors: np.ndarray) -> float:
    return float(np.log(np.maximum(errors, LEAST)).mean())


def _outcome(found: Ratio) -> str:
    if math.isnan(found.low):
        return "not judged yet"
    if found.low >= TIMES:
        return f"borne out, at least {TIMES} times"
    if found.low > 1:
        return "borne out"
    return "refuted" if found.high < 1 else "not decided by these trials"


def _sizes(outcomes: Sequence[Outcome]) -> list[tuple[str, Size]]:
    """Return all problems and sizes that are not a method's own."""
    found = dict.fromkeys((o.entry.problem, o.entry.size) for o in outcomes if o.entry.parameters is not None)
    order = problems(outcomes)
    return sorted(found, key=lambda key: (order.index(key[0]), key[1].seconds, key[1].parameters))


def fewer(contest: Contest, ended: Sequence[Outcome], reading: str, method: str) -> list[str]:
    """Say how few parameters reach the error that the best peer has with any number of them."""
    sentences = []
    for problem, seconds in dict.fromkeys((problem, size.seconds) for problem, size in _sizes(ended)):
        medians = {
            (entry.method, entry.parameters): float(np.median(final(own)))
            for entry, own in by_entry(ended)
            if (entry.problem, entry.seconds) == (problem, seconds) and entry.parameters is not None
        }
        ours = {allowed: error for (name, allowed), error in medians.items() if name == method}
        theirs = {key: error for key, error in medians.items() if key[0] in contest.peers}
        if len(ours) < 2 or not theirs:
            continue
        best = min(theirs, key=lambda key: theirs[key])
        enough = [allowed for allowed in sorted(ours) if ours[allowed] <= theirs[best]]
        what = f"{enough[0]:,} parameters are enough" if enough else "no size is enough"
        sentences.append(
            f"{problem}, {seconds:g} s, {reading}: {what} for the error of the best peer of any size "
            f"({best[0]}, {best[1]:,} parameters, {theirs[best]:.1e})"
        )
    return sentences


def faster(contest: Contest, outcomes: Sequence[Outcome]) -> list[str]:
    """Say after how many seconds the module is where the best peer ends, at the middle size and the longest time."""
    sentences = []
    for problem in problems(outcomes):
        size = _middle(outcomes, problem)
        runs = {
            entry.method: own
            for entry, own in by_entry(outcomes)
            if (entry.problem, entry.size) == (problem, size) and all(outcome.over for outcome in own)
        }
        peers = {peer: float(np.median(final(runs[peer]))) for peer in contest.peers if peer in runs}
        for reading, method in contest.readings.items():
            if method not in runs or not peers:
                continue
            best = min(peers, key=lambda peer: peers[peer])
            reached = [o.seconds[o.errors <= peers[best]].min(initial=math.inf) for o in runs[method]]
            middle = float(np.median(reached))
            when = "never" if math.isinf(middle) else f"after {middle:.2g} s"
            sentences.append(f"{problem}, {size}, {reading}: {method} is {when} where the best peer ({best}) ends")
    return sentences


def _middle(outcomes: Sequence[Outcome], problem: str) -> Size | None:
    """Return the middle number of parameters at the longest time; None if all have a size of their own."""
    sizes = [size for name, size in _sizes(outcomes) if name == problem]
    longest = [size for size in sizes if size.seconds == sizes[-1].seconds]
    return longest[len(longest) // 2] if longest else None


def left_out(entries: Mapping[Path, Entry], ended: Sequence[Outcome]) -> list[str]:
    """Return a sentence for every entry of which trials are not finished."""
    done = {(id(outcome.entry), outcome.seed) for outcome in ended}
    return [
        f"not finished: {entry.problem}, {entry.method}, {entry.size}: seeds {', '.join(map(str, missing))}"
        for entry in entries.values()
        if (missing := [seed for seed in entry.seeds if (id(entry), seed) not in done])
    ]


def draw(contest: Contest, outcomes: Sequence[Outcome]) -> Figure:
    """Draw error against parameters, at the longest time, and against seconds, at the middle number of parameters."""
    names = problems(outcomes)
    figure = Figure(figsize=(2.6 * len(names) + 2.4, 5.4), layout="constrained")
    axes = figure.subplots(2, len(names), squeeze=False)
    for column, problem in enumerate(names):
        own = [outcome for outcome in outcomes if outcome.entry.problem == problem]
        _by_parameters(contest, axes[0, column], own)
        _by_seconds(contest, axes[1, column], own)
        axes[0, column].set_title(contest.problems[problem].formula, fontsize="small")
    for row in axes:
        row[0].set_ylabel("test error (root mean square)")
    seen: dict[str, Any] = {}
    for panel in axes.flat:
        panel.grid(which="major", alpha=0.25)
        seen |= {label: handle for handle, label in zip(*panel.get_legend_handles_labels()) if label not in seen}
    ordered = [label for label in contest.methods if label in seen]
    handles = [seen[label] for label in ordered]
    figure.legend(handles, ordered, loc="outside right center", frameon=False, fontsize="small")
    return figure


def _look(contest: Contest, method: str) -> dict[str, Any]:
    """Return colour and style; where colours are used again markers are hollow."""
    index, ours = list(contest.methods).index(method), method.startswith("GMNM")
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


def _by_parameters(contest: Contest, axes: Axes, outcomes: Sequence[Outcome]) -> None:
    ended = [o for o in outcomes if o.over and o.entry.parameters is not None]
    longest = max((o.entry.seconds for o in ended), default=0.0)
    for method in contest.methods:
        own = [(e, o) for e, o in by_entry(ended) if e.method == method and e.seconds == longest]
        own.sort(key=lambda pair: pair[0].parameters or 0)
        if own:
            sizes = [float(np.median(final(o, "parameters"))) for _, o in own]
            errors = np.stack([np.quantile(final(o), (0, 0.5, 1)) for _, o in own], 1)
            bars = np.abs(errors[[0, 2]] - errors[1])
            axes.errorbar(sizes, errors[1], yerr=bars, capsize=2, **_look(contest, method))
    axes.set(xscale="log", yscale="log", xlabel="parameters")


def _by_seconds(contest: Contest, axes: Axes, outcomes: Sequence[Outcome]) -> None:
    middle = _middle(outcomes, outcomes[0].entry.problem)
    for entry, own in by_entry(outcomes):
        if entry.parameters is None or entry.size == middle:
            axes.plot(*_median_curve(own), markevery=0.2, **_look(contest, entry.method))
    axes.set(xscale="log", yscale="log", xlabel="seconds on one core")


def _median_curve(outcomes: Sequence[Outcome]) -> tuple[np.ndarray, np.ndarray]:
    """Return times and the median over seeds of the error that a trial has come to by then."""
    times = np.unique(np.concatenate([outcome.seconds for outcome in outcomes]))
    times = times[times >= max(outcome.seconds[0] for outcome in outcomes)]
    curves = [o.errors[np.searchsorted(o.seconds, times, side="right") - 1] for o in outcomes]
    return np.maximum(times, TICK), np.median(np.stack(curves), 0)


def page(
    contest: Contest,
    entries: Mapping[Path, Entry],
    ended: Sequence[Outcome],
    found: Sequence[str],
    missing: Sequence[str],
    *,
    drawn: bool,
) -> str:
    """Return what a contest claims and what was found, with its figure, command, protocol and machine."""
    header = "problem", "method", "parameters", "seconds", "used", "error", "error of the gradient", "seeds", "settings"
    lines = []
    for entry, own in by_entry(ended):
        settings = entry.settings[own[0].final["setting"]]
        chosen = ", ".join(f"{name} {value}" for name, value in settings.items() if value is not None)
        cells = [
            entry.problem,
            entry.method,
            f"{int(np.median(final(own, 'parameters'))):,}" + " (its own)" * (entry.parameters is None),
            f"{entry.seconds:g}",
            f"{np.median(final(own, 'seconds')):.2g}",
            spread(final(own)),
            spread(final(own, "gradient_error")),
            str(len(own)),
            f"{chosen} (of {len(entry.settings)})",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    machines = "; ".join(sorted({environment_in_words(folder) for folder in entries}))
    return "\n".join(
        [
            f"## {contest.name}: {contest.title}",
            "",
            f"![{contest.title}]({contest.name}.png)",
            "",
            f"**Claim.** {contest.claim[0].upper()}{contest.claim[1:]}.",
            "",
            *([contest.note, ""] if contest.note else []),
            *([f"![What was learned]({contest.name}-bumps.png)", ""] if drawn else []),
            *(f"- {sentence}" for sentence in (*found, *missing)),
            "",
            f"| {' | '.join(header)} |",
            "|---" * len(header) + "|",
            *lines,
            "",
            f"`gmlayers reproduce {contest.name} --profile {_profile(contest, entries)}`, a trial a core, seconds of "
            f"processor time, on {machines}. Errors are root mean squares, median (least – largest) over seeds, of the "
            "last state. Parameters are all numbers that are stored to evaluate: fixed centres, widths and knots too. "
            "Times an error is the ratio of geometric means, with an interval of 95 % and a p-value by Welch's test on "
            "logarithms, not corrected for their number.",
            "",
        ]
    )


def _profile(contest: Contest, entries: Mapping[Path, Entry]) -> str:
    """Return the profile that entries are of, as far as their problems, sizes and seeds tell."""
    used = {(entry.problem, entry.size) for entry in entries.values() if entry.seeds}
    for name, profile in contest.profiles.items():
        sizes = {*profile.sizes, *profile.free.values()}
        if used <= {(problem, size) for problem in profile.problems for size in sizes}:
            return name
    return "..."
