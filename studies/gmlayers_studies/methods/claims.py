"""The claims of the GMNM paper, part by part, beside what the records of all studies of methods say of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from gmlayers_studies.approximators.problems import Challenge
from gmlayers_studies.methods.method import Contest, MethodRun
from gmlayers_studies.methods.outcomes import Outcome, outcomes_of
from gmlayers_studies.methods.verdicts import Match, Need, mark, matches_of, needs_of
from gmlayers_studies.records import Records
from gmlayers_studies.report import table
from gmlayers_studies.study import Results, Study

PARTS = "lower error", "sooner", "fewer parameters"
"""A claim is judged by these parts."""

CLAIMS: Mapping[str, Mapping[str, str]] = {
    "C1": {"on functions a lower error": "lower error", "and sooner": "sooner"},
    "C2": {"on Poisson's equation a lower error": "lower error", "and sooner": "sooner"},
    "C6": {"often fewer parameters": "fewer parameters", "and no slower": "sooner"},
}
"""The table has what each claim says, in words, and the part by which it is judged."""


@dataclass(frozen=True)
class Judged:
    """The records of methods, and what they say."""

    study: Study
    contest: Contest
    runs: Sequence[MethodRun]
    records: Records
    outcomes: Sequence[Outcome]
    matches: Sequence[Match]
    needs: Sequence[Need]

    @classmethod
    def of(cls, contest: Contest, results: Results) -> Judged:
        """Read the records."""
        runs = cast(Sequence[MethodRun], [*results.runs.values()])
        outcomes = outcomes_of(runs, results.records)
        matches = matches_of(contest, outcomes)
        return cls(results.study, contest, runs, results.records, outcomes, matches, needs_of(matches))

    @property
    def labels(self) -> list[str]:
        """The labels of all methods, also of those without records."""
        return [contestant.label for contestant in self.study.contestants]

    @property
    def problems(self) -> Mapping[str, Challenge]:
        """All problems by their names."""
        return self.study.tasks or {}

    def verdicts(self, reading: str, part: str) -> list[str]:
        """Return what each comparison says of a part."""
        if part == "fewer parameters":
            return [need.fewer for need in self.needs if need.reading == reading]
        matches = [match for match in self.matches if match.reading == reading]
        return [match.lower if part == "lower error" else match.sooner for match in matches]

    def marks(self) -> list[list[str]]:
        """Return a row for every reading: its name, and the marks of the parts."""
        return [
            [reading, *(_mark(self.verdicts(reading, part), part) for part in PARTS)]
            for reading in self.contest.readings
        ]


def claims(found: Sequence[Judged]) -> list[str]:
    """Return the lines of a table of the claims that these studies are for, by readings; none if there are none."""
    readings = list(dict.fromkeys(reading for judged in found for reading in judged.contest.readings))
    rows = []
    for claim, parts in CLAIMS.items():
        of_it = [judged for judged in found if claim in judged.study.claims]
        for words, part in parts.items() if of_it else ():
            every = ([v for judged in of_it for v in judged.verdicts(reading, part)] for reading in readings)
            where = ", ".join(judged.study.name for judged in of_it)
            rows.append([claim, words, where, *(_mark(verdicts, part) if verdicts else "–" for verdicts in every)])
    return table(("claim", "", "from", *readings), rows) if found else []


def _mark(verdicts: Sequence[str], part: str) -> str:
    return mark(verdicts, often=part == "fewer parameters")
