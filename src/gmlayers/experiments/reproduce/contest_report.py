"""What is written of a contest: what its records say of the claim, a table, and where the figures are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gmlayers.experiments import display, plots
from gmlayers.experiments.records import environment_in_words, write_whole
from gmlayers.experiments.reproduce import contest_figure, contest_picture
from gmlayers.experiments.reproduce.contest import Contest, Entry, Size
from gmlayers.experiments.reproduce.contest_outcomes import (
    Outcome,
    Ratio,
    at,
    by_entry,
    centre,
    final,
    middle_size,
    outcomes_of,
    problems,
    ratio,
    sizes,
)

TIMES = 10
"""As many times the error of the best peer is to be that of the module."""

NEAR = 1.1
"""Times its last error: where a method has as good as arrived."""

PICTURE = (
    "What was learned, where it is wrong, and the bumps, at the middle number of parameters and the first seed: an "
    "ellipse is where a bump has fallen to exp(-½), a ridge two parallel lines there; orange for positive weights, "
    "blue for negative ones, the fainter the smaller."
)


def finish(contest: Contest, entries: Mapping[Path, Entry], folder: Path) -> bool:
    """Write figures, table and page, and print what they say; return whether there were records."""
    outcomes = outcomes_of(entries)
    if not outcomes:
        return False
    table = pd.DataFrame.from_records([_row(outcome) for outcome in outcomes])
    write_whole(folder / f"{contest.name}.csv", table.to_csv(index=False).encode())
    figure = contest_figure.draw(contest, outcomes)
    for ending in ("png", "svg"):
        plots.save(figure, folder / f"{contest.name}.{ending}")
    picture = contest_picture.draw(contest, entries, {name: middle_size(outcomes, name) for name in problems(outcomes)})
    if picture is not None:
        plots.save(picture, folder / f"{contest.name}-bumps.png")
    found = [*judge(contest, outcomes), *fewer(contest, outcomes), *faster(contest, outcomes)]
    missing = left_out(entries, outcomes)
    text = page(contest, entries, outcomes, [*found, *missing], drawn=picture is not None)
    write_whole(folder / f"{contest.name}.md", text.encode())
    rows = [
        [f"{entry.problem} {entry.method}", str(entry.size), str(len(own)), spread(final(own))]
        for entry, own in by_entry(outcomes)
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


def spread(errors: np.ndarray) -> str:
    """Return median, least and largest; a dash where nothing is known."""
    if np.isnan(errors).any():
        return "–"
    return f"{np.median(errors):.1e} ({errors.min():.1e} – {errors.max():.1e})"


def judge(contest: Contest, outcomes: Sequence[Outcome]) -> list[str]:
    """Compare each reading of the module with the best of its peers, at equal numbers of parameters and seconds."""
    sentences = []
    for reading in contest.readings:
        counts: dict[str, int] = {}
        for problem, size, ours, theirs in _matches(contest, outcomes, reading):
            errors, others = final(ours), final(theirs)
            found = ratio(errors, others)
            outcome = outcome_of(found, errors, others)
            counts[outcome] = counts.get(outcome, 0) + 1
            sentences.append(
                f"{problem}, {size}, {reading}: {_name(ours)} {centre(errors):.1e}, best peer {_name(theirs)} "
                f"{centre(others):.1e} ({len(errors)} and {len(others)} seeds); the error of the peer is "
                f"{found.mean:.3g} times ours [{found.low:.2g}, {found.high:.2g}], p = {found.p:.2g}: {outcome}"
            )
        if counts:
            text = ", ".join(f"{count} × {outcome}" for outcome, count in sorted(counts.items()))
            sentences.append(f"**{reading} against the best peer: {text}**")
    return sentences


def outcome_of(found: Ratio, ours: np.ndarray, theirs: np.ndarray) -> str:
    """Return what a comparison says of the claim that the errors of ours are lower."""
    wild = int(np.isinf(ours).sum())
    if wild:
        return f"refuted, {wild} of our seeds have no finite error"
    if np.isinf(theirs).all():
        return "borne out, the peer has no finite error"
    if np.isinf(theirs).any():
        return "not tested, some seeds of the peer have no finite error"
    if min(len(ours), len(theirs)) < 2:
        return "not tested, one seed"
    if math.isnan(found.low):
        return "not tested, no spread"
    if found.low >= TIMES:
        return f"borne out, at least {TIMES} times"
    if found.low > 1:
        return "borne out"
    return "refuted" if found.high < 1 else "not decided"


def _matches(
    contest: Contest, outcomes: Sequence[Outcome], reading: str
) -> Iterator[tuple[str, Size, list[Outcome], list[Outcome]]]:
    """Yield problem, size, the outcomes of a reading and those of its best peer, wherever there are both."""
    for problem in problems(outcomes):
        for size in sizes(outcomes, problem):
            methods = at(outcomes, problem, size)
            ours = [methods[name] for name in contest.readings[reading] if name in methods]
            peers = [methods[name] for name in contest.peers if name in methods]
            if ours and peers:
                yield problem, size, ours[0], min(peers, key=lambda own: centre(final(own)))


def _name(outcomes: Sequence[Outcome]) -> str:
    return outcomes[0].entry.method


def fewer(contest: Contest, outcomes: Sequence[Outcome]) -> list[str]:
    """Say how few parameters reach the error that the best peer has with any number of them."""
    sentences = []
    for reading in contest.readings:
        found: dict[tuple[str, float], list[tuple[Size, list[Outcome], list[Outcome]]]] = {}
        for problem, size, ours, theirs in _matches(contest, outcomes, reading):
            if size.parameters is not None:
                found.setdefault((problem, size.seconds), []).append((size, ours, theirs))
        for (problem, seconds), matches in found.items():
            if len(matches) < 2:
                continue
            best_size, _, best = min(matches, key=lambda match: centre(final(match[2])))
            least = centre(final(best))
            enough = [size.parameters or 0 for size, ours, _ in matches if centre(final(ours)) <= least]
            what = f"{min(enough):,} parameters are enough" if enough else "no number of parameters tried is enough"
            sentences.append(
                f"{problem}, {seconds:g} s, {reading}: {what} for the least error of a peer "
                f"({_name(best)}, {best_size.parameters:,} parameters, {least:.1e})"
            )
    return sentences


def faster(contest: Contest, outcomes: Sequence[Outcome]) -> list[str]:
    """Say after how many seconds the module and the best peer reach the error that the peer ends with."""
    sentences = []
    for reading in contest.readings:
        for problem, size, ours, theirs in _matches(contest, outcomes, reading):
            if size not in (middle_size(outcomes, problem), Size(None, size.seconds)):
                continue
            goal = NEAR * centre(final(theirs))
            own, other = (_reached(several, goal) for several in (ours, theirs))
            sentences.append(
                f"{problem}, {size}, {reading}: {_name(ours)} has an error of {goal:.1e} {own}, {_name(theirs)} {other}"
            )
    return sentences


def _reached(outcomes: Sequence[Outcome], goal: float) -> str:
    times = [o.seconds[o.errors <= goal].min(initial=math.inf) for o in outcomes]
    count = int(np.isfinite(times).sum())
    middle = float(np.median(times))
    when = f"after {middle:.2g} s" if math.isfinite(middle) else "not in most seeds"
    return f"{when} ({count} of {len(times)} seeds reach it)"


def left_out(entries: Mapping[Path, Entry], outcomes: Sequence[Outcome]) -> list[str]:
    """Return a sentence for every problem and time at which trials are not finished."""
    done = {(id(outcome.entry), outcome.seed) for outcome in outcomes}
    counts: dict[tuple[str, float], list[bool]] = {}
    for entry in entries.values():
        finished = [(id(entry), seed) in done for seed in entry.seeds]
        counts.setdefault((entry.problem, entry.seconds), []).extend(finished)
    return [
        f"not finished: {problem}, {seconds:g} s: {len(found) - sum(found)} of {len(found)} trials"
        for (problem, seconds), found in counts.items()
        if not all(found)
    ]


def page(
    contest: Contest, entries: Mapping[Path, Entry], outcomes: Sequence[Outcome], found: Sequence[str], *, drawn: bool
) -> str:
    """Return what a contest claims and what was found, with its figure, command, protocol and machine."""
    header = "problem", "method", "parameters", "seconds", "used", "error", "error of the gradient", "seeds", "settings"
    lines = [f"| {' | '.join(_cells(entry, own))} |" for entry, own in by_entry(outcomes)]
    machines = "; ".join(sorted({environment_in_words(o) for o in entries if (o / "environment.json").exists()}))
    where = dict.fromkeys(str(e.size) for e in entries.values() if e.chosen_at is None and len(e.settings) > 1)
    return "\n".join(
        [
            f"## {contest.name}: {contest.title}",
            "",
            f"![{contest.title}]({contest.name}.png)",
            "",
            f"**Claim.** {contest.claim[0].upper()}{contest.claim[1:]}.",
            "",
            f"{contest.note} Peers of the claim: {', '.join(contest.peers)}; the other methods are there to compare.",
            "",
            *([f"![{contest.title}: bumps]({contest.name}-bumps.png)", "", PICTURE, ""] if drawn else []),
            *(f"- {sentence}" for sentence in found),
            "",
            f"| {' | '.join(header)} |",
            "|---" * len(header) + "|",
            *lines,
            "",
            f"`gmlayers reproduce {contest.name} --profile {_profile(contest, entries)}`, a trial a core, seconds of "
            f"processor time, on {machines}. Errors are root mean squares over test points, median (least – largest) "
            "over seeds, of the state with the least error on a tenth of the training points, which every method is "
            f"denied; settings are chosen by the same error, in one trial of each, at {' and '.join(where)}. "
            "Parameters are all numbers that are stored to evaluate: fixed centres, widths and knots too. In sentences "
            "errors are geometric means, with an interval of 95 % and a p-value of their ratio by Welch's test on "
            "logarithms, not corrected for their number.",
            "",
        ]
    )


def _cells(entry: Entry, own: Sequence[Outcome]) -> list[str]:
    settings = entry.settings[own[0].final["setting"]]
    chosen = ", ".join(f"{name} {value}" for name, value in settings.items() if value is not None)
    return [
        entry.problem,
        entry.method,
        f"{int(np.median(final(own, 'parameters'))):,}" + " (its own)" * (entry.parameters is None),
        f"{entry.seconds:g}",
        f"{np.median(final(own, 'used')):.2g}",
        spread(final(own)),
        spread(final(own, "gradient_error")),
        str(len(own)),
        f"{chosen} (of {len(entry.settings)})",
    ]


def _row(outcome: Outcome) -> dict[str, Any]:
    entry = outcome.entry
    what = ("setting", "parameters", "seconds", "used", "held_out", "error", "gradient_error")
    about = {"problem": entry.problem, "method": entry.method, "allowed": entry.parameters, "budget": entry.seconds}
    return {**about, "seed": outcome.seed, **{name: outcome.final.get(name) for name in what}}


def _profile(contest: Contest, entries: Mapping[Path, Entry]) -> str:
    """Return the profile that entries are of, as far as their problems and sizes tell."""
    used = {(entry.problem, entry.size) for entry in entries.values() if entry.seeds}
    for name, profile in contest.profiles.items():
        allowed = {*profile.sizes, *profile.free.values()}
        if used <= {(problem, size) for problem in profile.problems for size in allowed}:
            return name
    return "..."
