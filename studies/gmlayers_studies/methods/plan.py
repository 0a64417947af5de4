"""The trials of a contest: each a method with a setting and a seed, in the seconds that it has."""

from __future__ import annotations

import math
import time
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from gmlayers.experiments import display
from gmlayers.experiments.records import Metrics, environment, readable, write_json
from gmlayers_studies.approximators.tasks import Budget, Clock
from gmlayers_studies.archive import records_in
from gmlayers_studies.methods import picture as contest_picture
from gmlayers_studies.methods import report as contest_report
from gmlayers_studies.methods.claims import Judged
from gmlayers_studies.methods.contest import (
    CHOICE_SEED,
    Contest,
    Entry,
    entries,
    entry_of,
    read_entry,
    write_entry,
)
from gmlayers_studies.methods.outcomes import condense
from gmlayers_studies.papers.contests import CONTESTS
from gmlayers_studies.records import MODULE, Records, Row
from gmlayers_studies.study import ProfileName
from gmlayers_studies.workers import Trial

LATE = 1.05
"""Times its seconds; a state that comes later does not count, but for the first."""

WARM_UP = 0.1
"""Seconds that a method has before its clock starts."""


@dataclass(frozen=True)
class ContestPlan:
    """The entries of a contest in a folder; a :class:`~gmlayers_studies.plan.Plan`."""

    contest: Contest
    entries: Mapping[str, Entry]
    folder: Path

    @classmethod
    def of(cls, contest: Contest, profile: ProfileName, folder: Path) -> ContestPlan:
        """Return what a profile asks for."""
        return cls(contest, entries(contest, contest.profiles[profile]), folder)

    @classmethod
    def recorded(cls, contest: Contest, folder: Path) -> ContestPlan:
        """Return what there are records of in a folder."""
        records = records_in(folder, contest.name)
        found = {
            place: entry_of(content, folder / place)
            for place in records.runs()
            if place.startswith(f"{contest.name}/") and (content := records.config(place)) is not None
        }
        for place, entry in found.items():
            if entry.problem not in contest.problems or entry.method not in contest.methods:
                raise ValueError(
                    f"{folder / place} has records of {entry.method} on {entry.problem}, which {contest.name} does not "
                    f"have; move them elsewhere"
                )
        order = [*contest.problems], [*contest.methods]

        def rank(item: tuple[str, Entry]) -> tuple[int, int, float, float]:
            entry = item[1]
            size = math.inf if entry.parameters is None else entry.parameters
            return order[0].index(entry.problem), order[1].index(entry.method), entry.seconds, size

        return cls(contest, dict(sorted(found.items(), key=rank)), folder)

    @property
    def name(self) -> str:
        """The name of the contest."""
        return self.contest.name

    @property
    def note(self) -> str:
        """What a reader of the records must know besides."""
        return self.contest.note

    @property
    def records(self) -> Records:
        """What is recorded in the folder by now."""
        return records_in(self.folder, self.name)

    def about(self) -> Mapping[str, Row]:
        """Return the entries, each with what a reader of the table of trials wants to know of it."""
        return contest_report.about(self.entries)

    def condense(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Return what an archive keeps of rows."""
        return condense(rows)

    def keeps(self, run: str) -> bool:
        """Return whether modules of an entry are drawn."""
        return contest_picture.is_drawn(self.contest, self.entries[run])

    @cached_property
    def judged(self) -> Judged:
        """What the records say, as they are when it is first asked."""
        return Judged.of(self.contest, self.entries, self.records)

    @property
    def compares(self) -> bool:
        """Whether it has at least two methods."""
        return len({entry.method for entry in self.entries.values()}) > 1

    def make(self, *, resume: bool) -> None:
        """Make the folder of every entry, or see that what is recorded is the same, and finished if not resumed."""
        records = self.records
        for place, entry in self.entries.items():
            folder, content = self.folder / place, records.config(place)
            if content is not None and entry_of(content, folder) != entry:
                raise ValueError(f"{folder} holds records of another configuration; choose another --out")
            done = all(is_finished(records.rows(place, trial, warn=False)) for trial in self._wanted(entry))
            if content is not None and records.trials(place) and not done and not resume:
                raise FileExistsError(
                    f"{folder} was begun and is not finished; continue it with --resume, or choose another --out"
                )
            if not (done and content is not None) and not (folder / "config.json").exists():
                folder.mkdir(parents=True, exist_ok=True)
                write_json(folder / "environment.json", environment())
                write_entry(entry, folder)

    def rounds(self, live: display.Live, failed: Container[Path]) -> Iterator[list[Trial]]:
        """Yield the trials by which settings are chosen, then those with the settings that were chosen."""
        choices = [
            (place, choice_name(setting), setting, CHOICE_SEED)
            for place, entry in self.entries.items()
            if entry.chooses
            for setting in range(len(entry.settings))
        ]
        yield self._trials(choices, live, failed)
        records = self.records
        trials = [
            (place, f"seed-{seed}", chosen, seed)
            for place, entry in self.entries.items()
            for seed in entry.seeds
            if (chosen := choice(place, entry, records)) is not None
        ]
        # the shortest first, and seed by seed, so that what is stopped can be compared
        trials.sort(key=lambda trial: (self.entries[trial[0]].seconds, trial[3]))
        yield self._trials(trials, live, failed)

    def finish(self) -> bool:
        """Write the figures and what they say, and print it; return whether there were records."""
        return contest_report.finish(self.judged, self.folder)

    def _trials(
        self, wanted: list[tuple[str, str, int, int]], live: display.Live, failed: Container[Path]
    ) -> list[Trial]:
        trials, records = [], self.records
        for place, name, setting, seed in wanted:
            own = self.folder / place / name
            if own not in failed and not is_finished(records.rows(place, name, warn=False)):
                entry = self.entries[place]
                show = live.clock(f"{entry.problem} {entry.method}, {entry.size}, {own.name}", entry.seconds)
                trials.append(Trial(own, partial(attempt, self.contest.name, own.resolve(), setting, seed), show))
        return trials

    def _wanted(self, entry: Entry) -> list[str]:
        chosen = range(len(entry.settings)) if entry.chooses else ()
        return [*map(choice_name, chosen), *(f"seed-{seed}" for seed in entry.seeds)]


def choice_name(setting: int) -> str:
    """Return the name of the trial of a setting that can be chosen."""
    return f"setting-{setting}"


def is_finished(rows: Sequence[Row]) -> bool:
    """Return whether the records of a trial go to its end."""
    return bool(rows) and rows[-1].get("last", False)


def choice(place: str, entry: Entry, records: Records) -> int | None:
    """Return the setting with the least error on the points held out; None if trials are missing."""
    if len(entry.settings) == 1:
        return 0
    chooser = place if entry.chosen_at is None else f"{place.rpartition('/')[0]}/{Path(entry.chosen_at).name}"
    tried = [records.rows(chooser, choice_name(i), warn=False) for i in range(len(entry.settings))]
    if not all(map(is_finished, tried)):
        return None
    errors = [_held_out(rows[-1]) for rows in tried]
    return errors.index(min(errors))


def attempt(contest: str, own: Path, setting: int, seed: int) -> str | None:
    """Run one trial in this process, from its beginning; return why it could not come to its end, or None."""
    try:
        own.mkdir(exist_ok=True)
        with FileLock(own / ".lock").acquire(blocking=False):
            if not is_finished(readable(own / "metrics.jsonl", warn=False)):  # by another process, in the meantime
                _attempt(CONTESTS[contest], read_entry(own.parent), own, setting, seed)
    except Timeout:
        return f"{own} is being written by another process; wait for it or stop it"
    except (ValueError, OSError, RuntimeError, MemoryError, ImportError) as error:
        return " ".join(str(error).split())
    return None


def _attempt(contest: Contest, entry: Entry, own: Path, setting: int, seed: int) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    task, held_out, judge = contest.problems[entry.problem].pose(seed)
    (own / "metrics.jsonl").unlink(missing_ok=True)  # a part of a trial cannot be continued
    metrics, number, best = Metrics(own / "metrics.jsonl"), 0, None
    fit = contest.methods[entry.method][setting].fit
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
                if seed == contest_picture.KEPT_SEED:
                    contest_picture.keep(state.predict, own / MODULE)
    if best is None:
        raise ValueError(f"{entry.method} came to nothing in {entry.seconds:g} s; give it more")
    used = round(min(clock.passed(), entry.seconds), 4)
    metrics.append({"epoch": number, "setting": setting, **best, "used": used, "last": True})


def _held_out(row: Mapping[str, Any]) -> float:
    error = float(row["held_out"])
    return error if math.isfinite(error) else math.inf
