"""What the records of a study of methods say of its claim: how the module stands beside the best of its peers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gmlayers_studies.methods.method import Contest
from gmlayers_studies.methods.outcomes import Outcome, at, final, problems, sizes
from gmlayers_studies.statistics import Interval, are_ordered, centre, ratio
from gmlayers_studies.study import Allowance

TIMES = 10
"""A module is called better by a factor if the whole interval of the ratio of errors lies above this."""

NEAR = 1.1
"""Every seed of a method arrives at this many times the largest of its last errors, and times are taken there."""

EARLY = 0.01
"""Our error is looked at after this share of the time, too."""


@dataclass(frozen=True)
class Match:
    """A reading of the module at a size, on a problem, beside the best peer of that size or less in the same time."""

    reading: str
    problem: str
    size: Allowance
    ours: Sequence[Outcome]
    theirs: Sequence[Outcome]

    @property
    def peer(self) -> str:
        """Name of the peer."""
        return self.theirs[0].entry.method

    @property
    def peer_parameters(self) -> int:
        """How many numbers it stores."""
        return int(np.median(final(self.theirs, "parameters")))

    @cached_property
    def errors(self) -> tuple[np.ndarray, np.ndarray]:
        """The last errors of ours and of theirs, a number a seed."""
        return final(self.ours), final(self.theirs)

    @cached_property
    def ratio(self) -> Interval:
        """Their errors are this many times ours."""
        return ratio(*self.errors)

    @property
    def early(self) -> np.ndarray:
        """Errors of ours after a hundredth of the time, a number a seed; infinite where there is no state yet."""
        until = EARLY * self.size.seconds
        return np.array(
            [o.errors[o.seconds <= until][-1] if (o.seconds <= until).any() else math.inf for o in self.ours]
        )

    @property
    def lower(self) -> str:
        """What the errors say of the claim that ours are lower."""
        ours, theirs = self.errors
        wild = int(np.isinf(ours).sum())
        if wild:
            return f"refuted, {wild} of our seeds have no finite error"
        if np.isinf(theirs).all():
            return "borne out, the peer has no finite error"
        if np.isinf(theirs).any():
            return "not tested, some seeds of the peer have no finite error"
        if min(len(ours), len(theirs)) < 2:
            return "not tested, one seed"
        if math.isnan(self.ratio.low):
            return "not tested, no spread"
        if self.ratio.low >= TIMES:
            return f"borne out, at least {TIMES} times"
        if self.ratio.low > 1:
            return "borne out"
        return "refuted" if self.ratio.high < 1 else "not decided"

    @cached_property
    def arrivals(self) -> tuple[np.ndarray, np.ndarray]:
        """After how many seconds each seed of ours, and of theirs, has about the error that all of theirs reach."""
        goal = NEAR * float(self.errors[1].max())
        ours, theirs = (
            np.array([o.seconds[o.errors <= goal].min(initial=math.inf) for o in several])
            for several in (self.ours, self.theirs)
        )
        return ours, theirs

    @property
    def sooner(self) -> str:
        """What the arrivals say of the claim that ours are earlier, by the test of Mann and Whitney."""
        if np.isinf(self.errors[1]).any():
            return "not tested, some seeds of the peer have no finite error"
        ours, theirs = self.arrivals
        if not are_ordered(ours, theirs):
            return "not decided"
        return "borne out" if np.median(ours) < np.median(theirs) else "refuted"


@dataclass(frozen=True)
class Need:
    """How many parameters a reading needs for the least error that a peer reaches with any number of them."""

    reading: str
    problem: str
    seconds: float
    peer: str
    error: float
    theirs: int
    """The parameters of the peer."""
    ours: int | None
    """The fewest that are enough; None if no number that was tried is."""
    perhaps: int | None
    """The fewest with which the error is not shown to be larger; None if it always is."""

    @property
    def fewer(self) -> str:
        """What the numbers say of the claim that ours are fewer."""
        if self.ours is not None and self.ours <= self.theirs:
            return "borne out" if self.ours < self.theirs else "as many"
        return "refuted" if self.perhaps is None or self.perhaps > self.theirs else "not decided"


def matches_of(contest: Contest, outcomes: Sequence[Outcome]) -> list[Match]:
    """Return what can be compared: problem by problem, size by size, all readings."""
    found = []
    for problem in problems(outcomes):
        tried = sizes(outcomes, problem)
        for size in tried:
            methods = at(outcomes, problem, size)
            within = [at(outcomes, problem, other) for other in tried if _is_within(other, size)]
            peers = [others[name] for name in contest.peers for others in within if name in others]
            for reading, names in contest.readings.items():
                ours = [methods[name] for name in names if name in methods]
                if ours and peers:
                    best = min(peers, key=lambda own: centre(final(own)))
                    found.append(Match(reading, problem, size, ours[0], best))
    return found


def _is_within(size: Allowance, other: Allowance) -> bool:
    """Return whether a size asks for the same time as another and for no more numbers."""
    most = math.inf if other.parameters is None else other.parameters
    return size.seconds == other.seconds and (math.inf if size.parameters is None else size.parameters) <= most


def needs_of(matches: Sequence[Match]) -> list[Need]:
    """Return how few parameters are enough, wherever there is more than one number of them."""
    groups: dict[tuple[str, float, str], list[Match]] = {}
    for match in matches:
        if match.size.parameters is not None:
            groups.setdefault((match.problem, match.size.seconds, match.reading), []).append(match)
    found = []
    for (problem, seconds, reading), several in groups.items():
        if len(several) < 2:
            continue
        best = min(several, key=lambda match: centre(match.errors[1]))
        least = centre(best.errors[1])
        enough = [match.size.parameters or 0 for match in several if centre(match.errors[0]) <= least]
        perhaps = [m.size.parameters or 0 for m in several if not _are_larger(m.errors[0], best.errors[1])]
        theirs = best.theirs[0].entry.parameters or 0
        fewest = min(enough, default=None), min(perhaps, default=None)
        found.append(Need(reading, problem, seconds, best.peer, least, theirs, *fewest))
    return found


def _are_larger(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Return whether our errors are shown to be larger: one seed, or seeds without spread, show nothing."""
    return bool(np.isinf(ours).any()) or ratio(ours, theirs).high < 1


def mark(verdicts: Iterable[str], *, often: bool = False) -> str:
    """Sum up verdicts: confirmed is what is borne out in all, or, if often is enough, in more than half."""
    short = [verdict.partition(",")[0] for verdict in verdicts]
    if not short:
        return "no records"
    counts = {verdict: short.count(verdict) for verdict in sorted(set(short))}
    borne_out = counts.pop("borne out", 0)
    enough = 2 * borne_out > len(short) if often else not counts
    word = "confirmed" if enough else "in part" if borne_out else "not confirmed"
    others = "".join(f", {count} {verdict}" for verdict, count in counts.items())
    return f"**{word}**: {borne_out} of {len(short)} borne out{others}"
