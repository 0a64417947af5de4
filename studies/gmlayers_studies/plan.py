"""The trials of a study in a folder: what is to be run, in which order, and what is written when all are over."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gmlayers.experiments.display import Live
from gmlayers.experiments.files import refuse_links
from gmlayers.experiments.records import make_folder
from gmlayers_studies import papers, report, runner
from gmlayers_studies.archive import records_in, write_archive
from gmlayers_studies.records import Records, Row, as_read, seed_name, setting_name
from gmlayers_studies.runner import Job
from gmlayers_studies.study import Finding, ProfileName, Results, Run, Study

CHOICE_SEED = 1000
"""A setting is tried with this seed. No trial that counts has it."""


@dataclass(frozen=True)
class Plan:
    """The runs of a study in a folder."""

    study: Study
    runs: Mapping[str, Run]
    folder: Path

    @classmethod
    def of(cls, study: Study, profile: ProfileName, folder: Path, dataset: str | None = None) -> Plan:
        """Return what a profile asks for."""
        return cls(study, study.runs(profile, dataset), folder)

    @classmethod
    def recorded(cls, study: Study, folder: Path) -> Plan:
        """Return what there are records of in a folder."""
        return cls(study, study.recorded(records_in(folder, study.name)), folder)

    @property
    def compares(self) -> bool:
        """Whether it has at least two contestants."""
        return len({run.label for run in self.runs.values()}) > 1

    @property
    def has_begun(self) -> bool:
        """Whether a trial of it has records."""
        records = self.records
        return any(records.trials(place) for place in self.runs)

    @property
    def records(self) -> Records:
        """What is recorded in the folder by now."""
        return records_in(self.folder, self.study.name)

    def make(self, *, resume: bool) -> None:
        """Make the folder of every run that is not finished, and refuse those that are in the way.

        Raises:
            ValueError: if a run of another configuration is recorded in its place, or there is a link in its folder.
            FileExistsError: if a run was begun, is not finished, and is not to be resumed.
        """
        records = self.records
        for place, run in self.runs.items():
            refuse_links(self.folder, place)
            folder, content = self.folder / place, records.config(place)
            if content is not None and (there := self.study.read(place, content)) != run:
                found, wanted = as_read(content if there is None else there.config()), as_read(run.config())
                names = ", ".join(sorted(name for name in wanted if wanted[name] != found.get(name)))
                raise ValueError(f"{folder} holds a run of another configuration ({names}); choose another --out")
            trials = [*map(setting_name, run.settings), *map(seed_name, run.seeds)]
            done = all(run.is_finished(records.rows(place, trial, warn=False)) for trial in trials)
            if content is not None and records.trials(place) and not done and not resume:
                raise FileExistsError(
                    f"{folder} was begun and is not finished; continue it with --resume, or choose another --out"
                )
            if content is None or not done:  # what an archive has needs no folder
                _make_folder(folder, run.config())

    def rounds(self, live: Live, failed: Container[Path]) -> Iterator[list[Job]]:
        """Yield what is not finished and has not failed: trials that choose settings, and then those that count.

        The shortest runs go first, and seed by seed, so that a study that is stopped early can be judged.
        """
        choices = [(run, setting_name(i), i, CHOICE_SEED) for run in self._all for i in run.settings]
        yield self._jobs(choices, live, failed)
        records = self.records
        trials = [
            (run, seed_name(seed), chosen, seed)
            for run in self._all
            if (chosen := run.choice(records)) is not None
            for seed in run.seeds
        ]
        trials.sort(key=lambda trial: (trial[0].rank[0], [*trial[0].seeds].index(trial[3])))
        yield self._jobs(trials, live, failed)
        if self.study.digest is not None:
            self.study.digest([*self._all], self.folder)

    def finish(self) -> Finding | None:
        """Write and print what the records say, and return it; without records do nothing and return None."""
        results = Results(self.study, self.runs, self.records)
        found = self.study.report(results)
        if found is not None:
            report.write(results, found, self.folder)
        return found

    def archive(self, path: Path) -> None:
        """Write all records to an archive.

        Raises:
            ValueError: if there are none.
        """
        write_archive(path, self.records, self.runs, caveats=self.study.note)

    @property
    def _all(self) -> list[Run]:
        return [*self.runs.values()]

    def _jobs(self, wanted: list[tuple[Run, str, int, int]], live: Live, failed: Container[Path]) -> list[Job]:
        jobs, records = [], self.records
        for run, name, setting, seed in wanted:
            own = self.folder / run.place / name
            if own not in failed and not run.is_finished(records.rows(run.place, name, warn=False)):
                work = partial(runner.attempt, self.study.name, self.folder.resolve(), run.place, name, setting, seed)
                jobs.append(Job(own, work, run.bar(live, name), (papers.module(self.study.name),)))
        return jobs


def _make_folder(folder: Path, config: Row) -> None:
    """Make the folder of a run, with its configuration or not at all; leave one that is there as it is."""
    if (folder / "config.json").exists():
        return
    try:
        make_folder(folder, config)
    except OSError:
        if not (folder / "config.json").exists():  # which another process may have made in the meantime
            raise
