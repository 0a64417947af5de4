"""What is written of a contest: what its records say of the claim, a table, and where the figures are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from gmlayers.experiments import display, plots
from gmlayers.experiments.records import environment_in_words, write_whole
from gmlayers_studies.archive import last_rows
from gmlayers_studies.methods import figure as contest_figure
from gmlayers_studies.methods import picture as contest_picture
from gmlayers_studies.methods.claims import PARTS, Judged, table
from gmlayers_studies.methods.contest import Contest, Entry, plain
from gmlayers_studies.methods.contest import entries as entries_of
from gmlayers_studies.methods.outcomes import Outcome, by_entry, centre, final, middle_size, problems
from gmlayers_studies.methods.verdicts import EARLY, NEAR, Match, Need
from gmlayers_studies.records import Row
from gmlayers_studies.study import ProfileName

COLUMNS = "problem", "method", "parameters", "seconds", "used", "error", "error of the gradient", "seeds", "settings"

BESIDE_COLUMNS = (
    *("problem", "parameters", "seconds", "reading", f"error after {EARLY:.0%}", "error", "best peer"),
    *("its parameters", "its error", "times ours", "p", PARTS[0]),
    *("reached after, s", "by the peer", PARTS[1]),
)

BESIDE = (
    f"Errors are geometric means over seeds, ours after {EARLY:.0%} of the seconds, too; how many times ours those of "
    "the peer are, with an interval of 95 %, and p are by Welch's test on logarithms. The best peer is that of the "
    f"least error with at most as many parameters in the same time. Reached is {NEAR} times the largest last error of "
    "its seeds: the median, of how many seeds; sooner is judged by the test of Mann and Whitney. Nothing is corrected "
    "for the number of tests."
)

NEEDS = (
    "The fewest of the numbers tried with which the geometric mean of the error is not above the least of a peer's. "
    "That is no test: where with as few as the peer's the error is not shown to be larger, it is not decided. Where "
    "the peer has the fewest that were tried, there are no fewer."
)

PICTURE = (
    "What was learned, where it is wrong, and the bumps, at the middle number of parameters and the first seed: an "
    "ellipse is where a bump has fallen to exp(-½), a ridge two parallel lines there; orange for positive weights, "
    "blue for negative ones, the fainter the smaller."
)


def finish(judged: Judged, folder: Path) -> bool:
    """Write figures, table and page, and print what they say; return whether there were records."""
    contest, entries, outcomes = judged.contest, judged.entries, judged.outcomes
    if not outcomes:
        return False
    if not (folder / f"{contest.name}.json").exists():  # an archive has the same table
        trials = [(place, trial) for place in entries for trial in judged.records.trials(place)]
        write_whole(folder / f"{contest.name}.csv", last_rows(judged.records, trials, about(entries)))
    figure = contest_figure.draw(contest, outcomes)
    for ending in ("png", "svg"):
        plots.save(figure, folder / f"{contest.name}.{ending}")
    middles = {name: middle_size(outcomes, name) for name in problems(outcomes)}
    picture = contest_picture.draw(contest, entries, middles, judged.records)
    if picture is not None:
        plots.save(picture, folder / f"{contest.name}-bumps.png")
    profile = _profile(contest, entries)
    wanted = {} if profile is None else entries_of(contest, contest.profiles[profile])
    missing = left_out({**wanted, **entries}, outcomes)
    text = page(judged, missing, drawn=picture is not None)
    write_whole(folder / f"{contest.name}.md", text.encode())
    rows = [
        [f"{entry.problem} {entry.method}", str(entry.size), str(len(own)), spread(final(own))]
        for entry, own in by_entry(outcomes)
    ]
    found = [
        f"{reading}: " + "; ".join(f"{part} {text}" for part, text in zip(PARTS, parts))
        for reading, *parts in judged.marks()
    ]
    display.print_findings(
        f"{contest.name}: {contest.title}",
        ["method", "size", "seeds", "median error (least – largest)"],
        rows,
        f"Claim: {contest.claim}.",
        [*found, *missing],
        f"Figure: {folder / contest.name}.png  numbers: {folder / contest.name}.csv  each comparison: "
        f"{folder / contest.name}.md\n",
    )
    return True


def spread(errors: np.ndarray) -> str:
    """Return median, least and largest; a dash where nothing is known."""
    if np.isnan(errors).any():
        return "–"
    return f"{np.median(errors):.1e} ({errors.min():.1e} – {errors.max():.1e})"


def left_out(entries: Mapping[str, Entry], outcomes: Sequence[Outcome]) -> list[str]:
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


def page(judged: Judged, missing: Sequence[str], *, drawn: bool) -> str:
    """Return what a contest claims and what was found, with its figure, command, protocol and machine."""
    contest, entries = judged.contest, judged.entries
    found_on = map(judged.records.environment, entries)
    machines = "; ".join(sorted({environment_in_words(e) for e in found_on if e is not None}))
    where = dict.fromkeys(str(e.size) for e in entries.values() if e.chooses)
    numbers = f" ({', '.join(contest.claims)})" if contest.claims else ""
    return "\n".join(
        [
            f"## {contest.name}: {contest.title}",
            "",
            f"![{contest.title}]({contest.name}.png)",
            "",
            f"**Claim{numbers}.** {contest.claim[0].upper()}{contest.claim[1:]}.",
            "",
            f"{contest.note} Peers of the claim: {', '.join(contest.peers)}; the other methods are there to compare.",
            "",
            *["From the trials that are finished:", ""] * bool(missing),
            *table(("reading", *PARTS), judged.marks()),
            *(f"- {sentence}" for sentence in missing),
            *[""] * bool(missing),
            *([f"![{contest.title}: bumps]({contest.name}-bumps.png)", "", PICTURE, ""] if drawn else []),
            f"### {contest.name}: beside the best peer",
            "",
            *table(BESIDE_COLUMNS, map(_beside, judged.matches)),
            BESIDE,
            "",
            *_needs(contest, judged.needs),
            f"### {contest.name}: all methods",
            "",
            *table(COLUMNS, (_cells(contest, entry, own) for entry, own in by_entry(judged.outcomes))),
            f"`gmlayers reproduce {contest.name} --profile {_profile(contest, entries) or '...'}`, a trial a core, "
            f"seconds of processor time, on {machines}. Errors are root mean squares over test points, median (least – "
            "largest) over seeds, of the state that is best on a tenth of the training points, which every method is "
            "denied: by its error there, or by its loss where it is an equation that is to be solved. Settings are "
            f"chosen by the same, in one trial of each at {' and '.join(where)}, and kept for other numbers and times. "
            "Parameters are all numbers that are stored to evaluate: fixed centres, widths and knots too; a method may "
            "take fewer than it is allowed.",
            "",
            f"### {contest.name}: settings that were tried",
            "",
            *table(("method", "settings"), _tried(contest, entries.values())),
        ]
    )


def _beside(match: Match) -> list[str]:
    ours, theirs = match.errors
    found = match.ratio
    return [
        match.problem,
        "its own" if match.size.parameters is None else f"{match.size.parameters:,}",
        f"{match.size.seconds:g}",
        match.reading,
        _error(centre(match.early)),
        f"{centre(ours):.1e}",
        match.peer,
        f"{match.peer_parameters:,}",
        f"{centre(theirs):.1e}",
        _known(found.mean, ".3g") + ("" if math.isnan(found.low) else f" [{found.low:.2g}, {found.high:.2g}]"),
        _known(found.p, ".2g"),
        match.lower,
        *map(_arrival, match.arrivals),
        match.sooner,
    ]


def _error(value: float) -> str:
    return f"{value:.1e}" if math.isfinite(value) else "–"


def _known(value: float, form: str) -> str:
    return "–" if math.isnan(value) else f"{value:{form}}"


def _arrival(times: np.ndarray) -> str:
    middle = float(np.median(times))
    when = f"{middle:.2g}" if math.isfinite(middle) else "–"
    return f"{when} ({int(np.isfinite(times).sum())} of {len(times)})"


def _needs(contest: Contest, needs: Sequence[Need]) -> list[str]:
    if not needs:
        return []
    rows: dict[tuple[str, float, str, float, int], dict[str, str]] = {}
    for need in needs:
        words = "more than tried" if need.ours is None else f"{need.ours:,}"
        rows.setdefault((need.problem, need.seconds, need.peer, need.error, need.theirs), {})[need.reading] = words
    cells = [
        [problem, f"{seconds:g}", f"{error:.1e}", peer, f"{theirs:,}", *(own.get(r, "–") for r in contest.readings)]
        for (problem, seconds, peer, error, theirs), own in rows.items()
    ]
    header = ("problem", "seconds", "least error of a peer", "peer", "parameters it is allowed", *contest.readings)
    return [f"### {contest.name}: parameters that are enough for it", "", *table(header, cells), NEEDS, ""]


def _cells(contest: Contest, entry: Entry, own: Sequence[Outcome]) -> list[str]:
    return [
        entry.problem,
        entry.method,
        f"{int(np.median(final(own, 'parameters'))):,}" + " (its own)" * (entry.parameters is None),
        f"{entry.seconds:g}",
        f"{np.median(final(own, 'used')):.2g}",
        spread(final(own)),
        spread(final(own, "gradient_error")),
        str(len(own)),
        f"{_setting(contest, entry, own[0].final['setting'])} (of {len(entry.settings)})",
    ]


def _tried(contest: Contest, entries: Iterable[Entry]) -> list[list[str]]:
    """Return a row for every method: its name, and its settings."""
    found = {entry.method: entry for entry in entries}
    return [
        [name, "; ".join(_setting(contest, found[name], i) for i in range(len(found[name].settings)))]
        for name in contest.methods
        if name in found
    ]


def _setting(contest: Contest, entry: Entry, i: int) -> str:
    """Return a setting in words: what kind of method it is, if it still is, and what is set."""
    known, settings = contest.methods[entry.method], entry.settings[i]
    kind = type(known[i]).__name__ if i < len(known) and plain(known[i]) == settings else ""
    return f"{kind}({', '.join(f'{name} {value}' for name, value in settings.items() if value is not None)})"


def about(entries: Mapping[str, Entry]) -> dict[str, Row]:
    """Return the entries, each with what a reader of the table of trials wants to know of it."""
    return {
        place: {
            "problem": entry.problem,
            "method": entry.method,
            "allowed": "" if entry.parameters is None else entry.parameters,
            "budget": entry.seconds,
        }
        for place, entry in entries.items()
    }


def _profile(contest: Contest, entries: Mapping[str, Entry]) -> ProfileName | None:
    """Return the profile that entries are of, as far as their problems and sizes tell; None for none."""
    used = {(entry.problem, entry.size) for entry in entries.values() if entry.seeds}
    for name, profile in contest.profiles.items():
        allowed = {*profile.sizes, *profile.free.values()}
        if used <= {(problem, size) for problem in profile.problems for size in allowed}:
            return name
    return None
