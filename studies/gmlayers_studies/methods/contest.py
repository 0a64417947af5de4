"""What a contest is: methods that approximate the same functions or solutions, with as many numbers and as much time.

An entry is a method on a problem, allowed so many parameters and so many seconds of processor time on one core. Every
trial holds out a tenth of its training points, and what it has come to is the state with the least error on them: that
decides when a method should have stopped, and how many of its parameters it should have used. Settings are chosen in
the same way, by a trial of each with other points, at one size.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from gmlayers.experiments.records import read_json, write_json
from gmlayers_studies.approximators.problems import Problem
from gmlayers_studies.approximators.tasks import Method
from gmlayers_studies.study import ProfileName

CHOICE_SEED = 1000
"""Of the trials by which settings are chosen."""


class Size(NamedTuple):
    """What an entry may use."""

    parameters: int | None
    """None: as many as it likes."""
    seconds: float

    def __str__(self) -> str:
        """Return it in words."""
        numbers = "its own size" if self.parameters is None else f"{self.parameters:,} parameters"
        return f"{numbers}, {self.seconds:g} s"


@dataclass(frozen=True)
class ContestProfile:
    """How much is computed."""

    problems: tuple[str, ...]
    sizes: tuple[Size, ...]
    chosen_at: Size
    """Where settings are chosen, for all sizes; of methods that have a size of their own the seconds."""
    seeds: tuple[int, ...]
    free: Mapping[str, Size]
    """Methods whose size is their own, with a size of no number of parameters."""


@dataclass(frozen=True)
class Contest:
    """A comparison of methods."""

    name: str
    title: str
    claim: str
    problems: Mapping[str, Problem]
    methods: Mapping[str, tuple[Method, ...]]
    """Label to the settings among which is chosen."""
    readings: Mapping[str, tuple[str, ...]]
    """How the module is read, and the methods that stand for it: at any size at most one of them."""
    peers: tuple[str, ...]
    """Methods that the claim compares it with."""
    profiles: Mapping[ProfileName, ContestProfile]
    note: str = ""
    pictured: tuple[str, ...] = ()
    """Readings of which it is drawn what was learned."""
    claims: tuple[str, ...] = ()
    """Of the paper, by the numbers that the documentation gives them."""


@dataclass(frozen=True)
class Entry:
    """A method on a problem at a size; what stands in the config.json of its folder."""

    contest: str
    problem: str
    method: str
    parameters: int | None
    seconds: float
    settings: tuple[dict[str, Any], ...]
    """What can be chosen."""
    seeds: tuple[int, ...]
    chosen_at: str | None
    """Folder of the entry where settings are chosen, relative to this one; None for this one."""

    @property
    def chooses(self) -> bool:
        """Whether settings are chosen here."""
        return self.chosen_at is None and len(self.settings) > 1

    @property
    def size(self) -> Size:
        """What it may use."""
        return Size(self.parameters, self.seconds)


def entries(contest: Contest, profile: ContestProfile) -> dict[str, Entry]:
    """Return all entries by their places, those too where something is only chosen."""
    found: dict[str, Entry] = {}
    for name in profile.problems:
        for label, settings in contest.methods.items():
            sizes = (profile.free[label],) if label in profile.free else profile.sizes
            chooser = Size(None, profile.chosen_at.seconds) if label in profile.free else profile.chosen_at
            choosing = len(settings) > 1
            for size in dict.fromkeys((chooser, *sizes) if choosing else sizes):
                place = entry_place(contest.name, name, label, size)
                found[place] = Entry(
                    contest.name,
                    name,
                    label,
                    *size,
                    tuple(plain(setting) for setting in settings),
                    profile.seeds if size in sizes else (),
                    f"../{_size_name(chooser)}" if choosing and size != chooser else None,
                )
    return found


def entry_place(contest: str, problem: str, label: str, size: Size) -> str:
    """Return the folder of an entry, below that of all records."""
    return f"{contest}/{problem}/{_slug(label)}/{_size_name(size)}"


def _size_name(size: Size) -> str:
    return f"{'own' if size.parameters is None else size.parameters}-{size.seconds:g}s"


def write_entry(entry: Entry, folder: Path) -> None:
    """Write the configuration of an entry."""
    write_json(folder / "config.json", asdict(entry))


def read_entry(folder: Path) -> Entry:
    """Read the configuration of an entry.

    Raises:
        FileNotFoundError: if the folder is none.
        ValueError: if it is damaged or of another version.
    """
    return entry_of(read_json(folder / "config.json"), folder / "config.json")


def entry_of(content: Mapping[str, Any], path: Path) -> Entry:
    """Return the entry that the content of a configuration describes; the path is named in errors.

    Raises:
        ValueError: if it is damaged or of another version.
    """
    if set(content) != {f.name for f in fields(Entry)}:
        raise ValueError(f"{path} is damaged or of another version; start anew in another --out")
    return Entry(**{**content, **{name: tuple(content[name]) for name in ("settings", "seeds")}})


def plain(setting: Method) -> dict[str, Any]:
    """Return the fields of a setting as they come back from a file."""
    return json.loads(json.dumps(asdict(setting)))  # type: ignore[call-overload]  (a protocol cannot ask for dataclasses)


def _slug(text: str) -> str:
    kept = "".join(c if c.isalnum() or c == "." else " " for c in text.lower().replace(",", ""))
    return "-".join(kept.split())
