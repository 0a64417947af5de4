"""The claims of the GMNM paper, part by part, beside what the records of all contests say of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gmlayers_studies.methods.contest import Contest, Entry
from gmlayers_studies.methods.outcomes import Outcome, outcomes_of
from gmlayers_studies.methods.verdicts import Match, Need, mark, matches_of, needs_of
from gmlayers_studies.records import Records

PARTS = "lower error", "sooner", "fewer parameters"
"""Of claims."""

CLAIMS: Mapping[str, Mapping[str, str]] = {
    "C1": {"on functions a lower error": "lower error", "and sooner": "sooner"},
    "C2": {"on Poisson's equation a lower error": "lower error", "and sooner": "sooner"},
    "C6": {"often fewer parameters": "fewer parameters", "and no slower": "sooner"},
}
"""What each says, and by which part it is judged."""


@dataclass(frozen=True)
class Judged:
    """The records of a contest, and what they say."""

    contest: Contest
    entries: Mapping[str, Entry]
    records: Records
    outcomes: Sequence[Outcome]
    matches: Sequence[Match]
    needs: Sequence[Need]

    @classmethod
    def of(cls, contest: Contest, entries: Mapping[str, Entry], records: Records) -> Judged:
        """Read the records."""
        outcomes = outcomes_of(entries, records)
        matches = matches_of(contest, outcomes)
        return cls(contest, entries, records, outcomes, matches, needs_of(matches))

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
    """Return the lines of a table of the claims that these contests are for, by readings; none if there are none."""
    readings = list(dict.fromkeys(reading for judged in found for reading in judged.contest.readings))
    rows = []
    for claim, parts in CLAIMS.items():
        of_it = [judged for judged in found if claim in judged.contest.claims]
        for words, part in parts.items() if of_it else ():
            every = ([v for judged in of_it for v in judged.verdicts(reading, part)] for reading in readings)
            where = ", ".join(judged.contest.name for judged in of_it)
            rows.append([claim, words, where, *(_mark(verdicts, part) if verdicts else "–" for verdicts in every)])
    return table(("claim", "", "from", *readings), rows) if found else []


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table in Markdown, and an empty one."""
    lines = [header, ["---"] * len(header), *rows]
    return [*(f"| {' | '.join(cells)} |" for cells in lines), ""]


def _mark(verdicts: Sequence[str], part: str) -> str:
    return mark(verdicts, often=part == "fewer parameters")
