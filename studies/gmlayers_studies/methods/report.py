"""What is written of a study of methods: its verdicts beside the best peer, a table, and what was tried."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import cast

import numpy as np

from gmlayers_studies.methods.claims import PARTS, Judged
from gmlayers_studies.methods.figure import draw as draw_figure
from gmlayers_studies.methods.method import Contest, Entry, MethodRun, plain
from gmlayers_studies.methods.outcomes import Outcome, by_entry, final
from gmlayers_studies.methods.picture import draw as draw_picture
from gmlayers_studies.methods.verdicts import EARLY, NEAR, Match
from gmlayers_studies.report import machines, table
from gmlayers_studies.statistics import centre
from gmlayers_studies.study import Finding, ProfileName, Results, Run, Table

COLUMNS = "problem", "method", "parameters", "seconds", "used", "error", "error of the gradient", "seeds", "settings"

BESIDE_COLUMNS = (
    *("problem", "parameters", "seconds", "reading", f"error after {EARLY:.0%}", "error", "best peer"),
    *("its parameters", "its error", "times ours", "p", PARTS[0]),
    *("reached after, s", "by the peer", PARTS[1]),
)

BESIDE = (
    f"Errors are geometric means over seeds, and so is ours after {EARLY:.0%} of the seconds. The errors of the peer "
    "are so many times ours, with an interval of 95 %; this and p are by Welch's test on logarithms. The best peer is "
    "the one with the least error among those with at most as many parameters in the same time. What is to be reached "
    f"is {NEAR} times the largest last error of its seeds: the columns have the median of the seconds, and how many "
    "seeds reach it. What is sooner is judged by the test of Mann and Whitney. Nothing is corrected for the number of "
    "tests."
)

NEEDS = (
    "The table has the fewest parameters, of the numbers that were tried, with which the geometric mean of the error "
    "is not above the least of a peer's. That is no test: where the error is not shown to be larger with as few as the "
    "peer's, nothing is decided. Where the peer has the fewest that were tried, there are no fewer."
)

PICTURE = (
    "The pictures show what was learned, where it is wrong, and the bumps, at the middle number of parameters and the "
    "first seed. An ellipse is where a bump has fallen to exp(-½); a ridge is two parallel lines there. Positive "
    "weights are orange and negative ones blue, the fainter the smaller."
)


def report(contest: Contest) -> Callable[[Results], Finding | None]:
    """Return the report of a study of methods."""

    def found(results: Results) -> Finding | None:
        judged = Judged.of(contest, results)
        if not judged.outcomes:
            return None
        picture = draw_picture(judged)
        profile = _profile(judged)
        wanted = {} if profile is None else results.study.runs(profile)
        missing = left_out({**wanted, **results.runs}, judged.outcomes)
        rows = [
            [f"{entry.problem} {entry.method}", str(entry.size), str(len(own)), spread(final(own))]
            for entry, own in by_entry(judged.outcomes)
        ]
        sentences = [
            f"{reading}: " + "; ".join(f"{part} {text}" for part, text in zip(PARTS, parts))
            for reading, *parts in judged.marks()
        ]
        return Finding(
            {"": draw_figure(judged), **({} if picture is None else {"-bumps": picture})},
            page(judged, results, missing, drawn=picture is not None),
            ["method", "size", "seeds", "median error (least – largest)"],
            rows,
            [*sentences, *missing],
            judged=judged,
        )

    return found


def spread(errors: np.ndarray) -> str:
    """Return median, least and largest; a dash where nothing is known."""
    if np.isnan(errors).any():
        return "–"
    return f"{np.median(errors):.1e} ({errors.min():.1e} – {errors.max():.1e})"


def left_out(runs: Mapping[str, Run], outcomes: Sequence[Outcome]) -> list[str]:
    """Return a sentence for every problem and time at which trials are not finished."""
    done = {(id(outcome.entry), outcome.seed) for outcome in outcomes}
    counts: dict[tuple[str, float], list[bool]] = {}
    for run in cast(Iterable[MethodRun], runs.values()):
        entry = run.entry
        finished = [(id(entry), seed) in done for seed in entry.seeds]
        counts.setdefault((entry.problem, entry.seconds), []).extend(finished)
    return [
        f"not finished: {problem}, {seconds:g} s: {len(found) - sum(found)} of {len(found)} trials"
        for (problem, seconds), found in counts.items()
        if not all(found)
    ]


def page(judged: Judged, results: Results, missing: Sequence[str], *, drawn: bool) -> list[str | Table]:
    """Return the lines of the page: what was found, and the command, the protocol and the machine."""
    study, contest = judged.study, judged.contest
    entries = [run.entry for run in judged.runs]
    where = dict.fromkeys(str(entry.size) for entry in entries if entry.chooses)
    bumps = f"![{study.title}: bumps]({study.name}-bumps.png)"
    return [
        f"{study.note} The claim is judged beside these peers: {', '.join(contest.peers)}. The other methods are "
        "there to compare.",
        "",
        *["From the trials that are finished:", ""] * bool(missing),
        *table(("reading", *PARTS), judged.marks()),
        *(f"- {sentence}" for sentence in missing),
        *[""] * bool(missing),
        *([bumps, "", PICTURE, ""] if drawn else []),
        f"### {study.name}: beside the best peer",
        "",
        Table("beside", BESIDE_COLUMNS, [*map(_beside, judged.matches)]),
        BESIDE,
        "",
        *_needs(judged),
        f"### {study.name}: all methods",
        "",
        Table("methods", COLUMNS, [_cells(judged, entry, own) for entry, own in by_entry(judged.outcomes)]),
        f"`gmlayers reproduce {study.name} --profile {_profile(judged) or '...'}` ran one trial a core on "
        f"{machines(results)}; seconds are of processor time. Errors are root mean squares over test points, with the "
        "median (least – largest) over seeds. They are those of the state that is best on a tenth of the training "
        "points, which every method is denied: by its error there, or by its loss where it is an equation that is to "
        f"be solved. Settings are chosen in the same way, by one trial of each at {' and '.join(where)}, and kept for "
        "other numbers and times. Parameters are all numbers that are stored to evaluate, fixed centres, widths and "
        "knots too; a method may take fewer than it is allowed.",
        "",
        f"### {study.name}: settings that were tried",
        "",
        *table(("method", "settings"), _tried(judged)),
    ]


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


def _needs(judged: Judged) -> list[str]:
    needs, readings = judged.needs, judged.contest.readings
    if not needs:
        return []
    rows: dict[tuple[str, float, str, float, int], dict[str, str]] = {}
    for need in needs:
        words = "more than tried" if need.ours is None else f"{need.ours:,}"
        rows.setdefault((need.problem, need.seconds, need.peer, need.error, need.theirs), {})[need.reading] = words
    cells = [
        [problem, f"{seconds:g}", f"{error:.1e}", peer, f"{theirs:,}", *(own.get(r, "–") for r in readings)]
        for (problem, seconds, peer, error, theirs), own in rows.items()
    ]
    header = ("problem", "seconds", "least error of a peer", "peer", "parameters it is allowed", *readings)
    return [f"### {judged.study.name}: parameters that are enough for it", "", *table(header, cells), NEEDS, ""]


def _cells(judged: Judged, entry: Entry, own: Sequence[Outcome]) -> list[str]:
    return [
        entry.problem,
        entry.method,
        f"{int(np.median(final(own, 'parameters'))):,}" + " (its own)" * (entry.parameters is None),
        f"{entry.seconds:g}",
        f"{np.median(final(own, 'used')):.2g}",
        spread(final(own)),
        spread(final(own, "gradient_error")),
        str(len(own)),
        f"{_setting(judged, entry, own[0].final['setting'])} (of {len(entry.settings)})",
    ]


def _tried(judged: Judged) -> list[list[str]]:
    """Return a row for every method: its name, and its settings."""
    found = {run.label: run.entry for run in judged.runs}
    return [
        [name, "; ".join(_setting(judged, found[name], i) for i in range(len(found[name].settings)))]
        for name in judged.labels
        if name in found
    ]


def _setting(judged: Judged, entry: Entry, i: int) -> str:
    """Return a setting in words: what kind of method it is, if it still is, and what is set."""
    known = next(run.entrant.settings for run in judged.runs if run.label == entry.method)
    settings = entry.settings[i]
    kind = type(known[i]).__name__ if i < len(known) and plain(known[i]) == settings else ""
    return f"{kind}({', '.join(f'{name} {value}' for name, value in settings.items() if value is not None)})"


def _profile(judged: Judged) -> ProfileName | None:
    """Return the profile that runs are of, as far as their problems and sizes tell; None for none."""
    used = {(run.entry.problem, run.entry.size) for run in judged.runs if run.seeds}
    for name, profile in judged.study.profiles.items():
        allowed = {size for extent in (profile.extent, *profile.but.values()) for size in extent.sizes}
        if used <= {(problem, size) for problem in profile.tasks for size in allowed}:
            return name
    return None
