"""Methods that approximate the same functions or solutions, with as many numbers and as much time.

An entry is a method on a problem that may use so many parameters and so many seconds of processor time on one core.
Every trial holds out a tenth of its training points, and what it has come to is the state with the least error on them:
that decides when a method should have stopped, and how many of its parameters it should have used. Settings are chosen
in the same way, by a trial of each with other points, at one size.
"""

from __future__ import annotations

import math
import posixpath
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from gmlayers.experiments.display import Live
from gmlayers.experiments.records import Metrics
from gmlayers.experiments.schema import checked
from gmlayers_studies.approximators.problems import Challenge
from gmlayers_studies.approximators.tasks import Approximator, Budget, Clock
from gmlayers_studies.methods import keeping
from gmlayers_studies.plan import CHOICE_SEED
from gmlayers_studies.records import METRICS, MODULE, Records, Row, as_read, setting_name
from gmlayers_studies.study import Allowance, Profile, Study, slug

LATE = 1.05
"""A state that comes after more than this many times the seconds does not count, but for the first."""

WARM_UP = 0.1
"""A method has this many seconds before its clock starts."""


@dataclass(frozen=True)
class Entry:
    """A method on a problem at a size; what stands in the config.json of its folder."""

    contest: str
    """The name of the study; it has this name in records."""
    problem: str
    method: str
    parameters: int | None
    seconds: float
    settings: tuple[dict[str, Any], ...]
    """One of these is chosen."""
    seeds: tuple[int, ...]
    chosen_at: str | None
    """The folder of the entry where settings are chosen, relative to this one; None for this one."""

    @property
    def chooses(self) -> bool:
        """Whether settings are chosen here."""
        return self.chosen_at is None and len(self.settings) > 1

    @property
    def size(self) -> Allowance:
        """What it may use."""
        return Allowance(self.parameters, self.seconds)

    @property
    def place(self) -> str:
        """The folder of the entry, below that of all records."""
        return posixpath.join(
            self.contest, self.problem, slug(self.method.replace(",", ""), "."), _size_name(self.size)
        )


@dataclass(frozen=True)
class Entrant:
    """A method that takes part, by its label, with the settings among which is chosen."""

    label: str
    settings: tuple[Approximator, ...]
    pictured: bool = False
    """If this is true, modules that it has trained on functions of two variables are kept to be drawn."""

    def runs(self, study: Study, task: str, what: Challenge, profile: Profile) -> Iterator[MethodRun]:
        """Yield its runs on a problem, and also that by which a setting is only chosen."""
        seeds, sizes = profile.of(self.label)
        chooser = self._chooser(profile)
        for size in dict.fromkeys(sizes if chooser is None else (chooser, *sizes)):
            assert isinstance(size, Allowance)
            entry = Entry(
                study.name,
                task,
                self.label,
                *size,
                tuple(map(plain, self.settings)),
                seeds if size in sizes else (),
                None if chooser is None or size == chooser else f"../{_size_name(chooser)}",
            )
            yield MethodRun(entry, self, what)

    def read(self, study: Study, place: str, content: Row) -> MethodRun | None:
        """Return the run that was configured at a place, or None if it is not one of this method in this study."""
        if not place.startswith(f"{study.name}/"):
            return None
        entry = entry_of(content, Path(place))
        if entry.method != self.label or study.tasks is None or entry.problem not in study.tasks:
            return None
        if entry.place != place:  # a copy, or a folder that was renamed
            return None
        return MethodRun(entry, self, study.tasks[entry.problem])

    def _chooser(self, profile: Profile) -> Allowance | None:
        """Return the size at which a setting is chosen; None where there is but one."""
        if len(self.settings) == 1:
            return None
        if profile.chosen_at is None:
            raise ValueError(
                f"{self.label} has {len(self.settings)} settings; give the profile a size to choose them at"
            )
        return profile.chosen_at._replace(parameters=None) if self.label in profile.but else profile.chosen_at


@dataclass(frozen=True)
class Contest:
    """How the module is read, and what it is held against."""

    readings: Mapping[str, tuple[str, ...]]
    """The methods that stand for each reading of the module; at any size at most one of them stands."""
    peers: tuple[str, ...]
    """The claim compares the module with these methods."""
    pictured: tuple[str, ...] = ()
    """The page shows what these readings have learned."""

    def entrants(self, methods: Mapping[str, tuple[Approximator, ...]]) -> tuple[Entrant, ...]:
        """Return the methods, given the settings of each, as contestants."""
        drawn = {label for reading in self.pictured for label in self.readings[reading]}
        return tuple(Entrant(label, settings, label in drawn) for label, settings in methods.items())


@dataclass(frozen=True)
class MethodRun:
    """A method on a problem at a size; a :class:`~gmlayers_studies.study.Run`."""

    entry: Entry
    entrant: Entrant = field(compare=False, repr=False)
    """The method as it is in the code now."""
    problem: Challenge = field(compare=False, repr=False)

    @property
    def place(self) -> str:
        """The folder of the run, below that of all records."""
        return self.entry.place

    @property
    def label(self) -> str:
        """The label of the method."""
        return self.entry.method

    @property
    def seeds(self) -> Sequence[int]:
        """The seeds of the trials that count."""
        return self.entry.seeds

    @property
    def settings(self) -> Sequence[int]:
        """The numbers of the settings that are tried here."""
        return range(len(self.entry.settings)) if self.entry.chooses else ()

    @property
    def title(self) -> str:
        """What stands before the progress of its trials."""
        return f"{self.entry.problem} {self.label}, {self.entry.size}"

    @property
    def rank(self) -> tuple[float, ...]:
        """The seconds, and then the parameters; a size of its own comes last."""
        return self.entry.seconds, math.inf if self.entry.parameters is None else self.entry.parameters

    @property
    def about(self) -> Row:
        """What a reader of the table of trials wants to know of the run."""
        allowed = "" if self.entry.parameters is None else self.entry.parameters
        return {
            "problem": self.entry.problem,
            "method": self.label,
            "allowed": allowed,
            "budget": self.entry.seconds,
        }

    @property
    def is_pictured(self) -> bool:
        """Whether its trials keep modules that are drawn."""
        return self.entrant.pictured and len(self.problem.box[0]) == 2

    def config(self) -> Row:
        """Return what stands in its config.json."""
        return asdict(self.entry)

    def is_finished(self, rows: Sequence[Row]) -> bool:
        """Return whether the rows of a trial go to its end."""
        return bool(rows) and rows[-1].get("last", False)

    def condense(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Return what is read of states."""
        return condense(rows)

    def choice(self, records: Records) -> int | None:
        """Return the setting with the least error on the points held out; None if trials are missing."""
        if len(self.entry.settings) == 1:
            return 0
        chooser = posixpath.normpath(posixpath.join(self.place, self.entry.chosen_at or "."))
        tried = [records.rows(chooser, setting_name(i), warn=False) for i in range(len(self.entry.settings))]
        if not all(map(self.is_finished, tried)):
            return None
        errors = [_held_out(rows[-1]) for rows in tried]
        return errors.index(min(errors))

    def bar(self, live: Live, trial: str) -> Callable[[Row], None]:
        """Start the bar of a trial; return what shows a row of it."""
        return live.clock(f"{self.title}, {trial}", self.entry.seconds)

    def perform(self, own: Path, setting: int, seed: int) -> None:
        """Run a trial from its beginning: a part of a trial cannot be continued."""
        torch.set_num_threads(1)
        torch.manual_seed(seed)
        task, held_out, judge = self.problem.pose(seed)
        path, entry = own / f"{METRICS}.jsonl", self.entry
        path.unlink(missing_ok=True)
        metrics, number, best = Metrics(path), 0, None
        fit = self.entrant.settings[setting].fit
        for _ in islice(fit(task, Budget(entry.parameters, Clock(WARM_UP), seed)), 2):
            pass  # what a process does but once, such as imports, is nobody's work
        clock = Clock(entry.seconds, time.process_time)  # and what else this machine does is not counted
        for state in fit(task, Budget(entry.parameters, clock, seed)):
            if best is not None and clock.passed() > LATE * entry.seconds:
                break
            with clock.stopped():
                row = {"seconds": round(clock.passed(), 4), "held_out": held_out(state), "parameters": state.parameters}
                row |= {} if seed == CHOICE_SEED else judge(state)
                metrics.append({"epoch": number, "setting": setting, **row, "last": False})
                number += 1
                if best is None or _held_out(row) < _held_out(best):
                    best = row
                    if seed == keeping.SEED and self.is_pictured:
                        keeping.keep(state.predict, own / MODULE)
        if best is None:
            raise ValueError(f"{entry.method} came to nothing in {entry.seconds:g} s; give it more")
        used = round(min(clock.passed(), entry.seconds), 4)
        metrics.append({"epoch": number, "setting": setting, **best, "used": used, "last": True})


def entry_of(content: Row, path: Path) -> Entry:
    """Return the entry that the content of a configuration describes; errors name the path.

    Raises:
        ValueError: if it is damaged or of another version.
    """
    advice = "its config.json is damaged or of another version; start anew in another --out"
    return checked(Entry, content, path, advice=advice)


def plain(setting: Approximator) -> dict[str, Any]:
    """Return the fields of a setting as they come back from a file."""
    return as_read(asdict(setting))


def condense(rows: Sequence[Row]) -> Sequence[Row]:
    """Return what is read of states: when they came, and the errors of those that were the best so far.

    The best is that of the least error on the points held out, and the first of several. Of a trial by which a setting
    is chosen nothing is read but its last row.
    """
    if not any("held_out" in row for row in rows):
        return rows  # condensed before
    found, least = [], math.inf
    for row in rows if "error" in rows[0] else ():
        held_out = _held_out(row)
        better, least = not found or held_out < least, min(held_out, least)
        found.append({name: row[name] for name in ("epoch", "seconds", *["error"] * better)})
    return found


def finite(error: float) -> float:
    """Return an error; one that is no number is infinite."""
    return error if math.isfinite(error) else math.inf


def _held_out(row: Mapping[str, Any]) -> float:
    return finite(float(row["held_out"]))


def _size_name(size: Allowance) -> str:
    return f"{'own' if size.parameters is None else size.parameters}-{size.seconds:g}s"
