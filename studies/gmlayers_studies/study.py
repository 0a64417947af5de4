"""A study: contestants are given the same tasks, at the same sizes, with several seeds, and a claim is judged by it.

Nets that are trained on data sets and methods that approximate functions are studied by the same means. What differs
between them is how one trial goes, which a :class:`Run` knows, and how the records are judged and drawn, which is the
business of the study's ``report``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from matplotlib.figure import Figure

from gmlayers.experiments.data import load
from gmlayers.experiments.display import Live
from gmlayers_studies.records import Records, Row

ProfileName = Literal["smoke", "quick", "full"]


class Epochs(NamedTuple):
    """A size of nets: how long they are trained."""

    epochs: int


class Steps(NamedTuple):
    """A size of language models: how many steps they are trained."""

    steps: int


class Allowance(NamedTuple):
    """A size of methods: how many numbers they may store, and how many seconds they have."""

    parameters: int | None
    """A method with None may store as many numbers as it likes."""
    seconds: float

    def __str__(self) -> str:
        """Return it in words."""
        numbers = "its own size" if self.parameters is None else f"{self.parameters:,} parameters"
        return f"{numbers}, {self.seconds:g} s"


class Extent(NamedTuple):
    """How much of a contestant is run on every task."""

    seeds: tuple[int, ...]
    sizes: tuple[Epochs | Steps | Allowance, ...]


def epochs(seeds: Iterable[int], number: int) -> Extent:
    """Return the extent of nets that are trained for so many epochs."""
    return Extent(tuple(seeds), (Epochs(number),))


@dataclass(frozen=True)
class Profile:
    """How much of a study is run."""

    tasks: tuple[str, ...]
    extent: Extent
    but: Mapping[str, Extent] = field(default_factory=dict)
    """These contestants, by their labels, have an extent of their own."""
    chosen_at: Allowance | None = None
    """Settings of methods are chosen at this size for all sizes; a method of its own size takes the seconds alone."""

    def of(self, label: str) -> Extent:
        """Return the extent of a contestant."""
        return self.but.get(label, self.extent)


class Run(Protocol):
    """One contestant on one task at one size, with all its trials. Runs are equal if their configurations are."""

    @property
    def place(self) -> str:
        """The folder of the run, below that of all records; its name in archives, too."""
        ...

    @property
    def label(self) -> str:
        """The label of the contestant."""
        ...

    @property
    def seeds(self) -> Sequence[int]:
        """The seeds of the trials that count."""
        ...

    @property
    def settings(self) -> Sequence[int]:
        """The numbers of the settings that are tried here, before the trials that count, to choose one of them."""
        ...

    @property
    def title(self) -> str:
        """What stands before the progress of its trials."""
        ...

    @property
    def rank(self) -> tuple[float, ...]:
        """Where the run comes among those of its contestant on its task; runs of the least first element go first."""
        ...

    @property
    def about(self) -> Row:
        """What a reader of the table of trials wants to know of the run."""
        ...

    @property
    def is_pictured(self) -> bool:
        """Whether modules that its trials keep are drawn."""
        ...

    def config(self) -> Row:
        """Return what stands in its config.json."""
        ...

    def is_finished(self, rows: Sequence[Row]) -> bool:
        """Return whether the rows of a trial go to its end."""
        ...

    def condense(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Return what an archive keeps of the rows of a trial before the last; condensed rows as they are."""
        ...

    def choice(self, records: Records) -> int | None:
        """Return the setting that the trials of seeds are run with, or None while it cannot be known."""
        ...

    def bar(self, live: Live, trial: str) -> Callable[[Row], None]:
        """Start the bar of a trial, and return what shows a row of it."""
        ...

    def perform(self, own: Path, setting: int, seed: int) -> None:
        """Run a trial of a seed in this process, and write its records to a folder of its own.

        Raises:
            ValueError, OSError, RuntimeError, MemoryError, ImportError: if it cannot come to its end.
        """
        ...


class Contestant(Protocol):
    """A net, or a method with its settings."""

    @property
    def label(self) -> str:
        """What it is called in figures."""
        ...

    def runs(self, study: Study, task: str, what: Any, profile: Profile) -> Iterable[Run]:  # noqa: ANN401
        """Return its runs on a task.

        Args:
            study: the study it takes part in.
            task: the name of a data set or of a problem.
            what: the data or the problem.
            profile: says with which seeds and at which sizes.

        Raises:
            ValueError: if the data do not suit, or the profile has no size at which to choose a setting.
        """
        ...

    def read(self, study: Study, place: str, content: Row) -> Run | None:
        """Return the run that was configured at a place, or None if it is not one of this contestant in this study.

        Raises:
            ValueError: if the configuration is damaged.
        """
        ...


class Table(NamedTuple):
    """A table of a page."""

    name: str
    """What its file is called after the study, where it is too long for the page."""
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


class Finding(NamedTuple):
    """What the records of a study say."""

    figures: Mapping[str, Figure]
    """The figures by the endings that their names have after that of the study; the main one has none, ""."""
    page: Sequence[str | Table]
    """The lines and tables of the page, after those that say what is claimed."""
    header: Sequence[str]
    """The columns of the table that is printed."""
    rows: Sequence[Sequence[str]]
    sentences: Sequence[str]
    """Sentences that say what is borne out, by which test, and what is missing."""
    files: Mapping[str, bytes] = {}
    """Other files to write beside the figures, by their names."""
    judged: Any = None
    """What a summary of several studies is made from."""


class Results(NamedTuple):
    """What has been recorded of a study."""

    study: Study
    runs: Mapping[str, Run]
    records: Records


@dataclass(frozen=True)
class Study:
    """A comparison of contestants on tasks, with the claim that it is made to judge."""

    name: str
    title: str
    claim: str
    contestants: tuple[Contestant, ...]
    profiles: Mapping[ProfileName, Profile]
    report: Callable[[Results], Finding | None]
    """Judges and draws the records; returns None if there are none."""
    tasks: Mapping[str, Any] | None = None
    """The problems by their names; None means that a profile names data sets."""
    on: Callable[[str], Mapping[str, Any]] | None = None
    """Returns the problems on another data set by their names, where problems are about data."""
    claims: tuple[str, ...] = ()
    """The claims of the paper that it is for, by the numbers that the documentation gives them."""
    note: str = ""
    """What else a reader of the page must know."""
    validate: bool = False
    """If this is true, the last training rows are held out and judged, as they are where something is chosen."""
    digest: Callable[[Sequence[Any], Path], None] | None = None
    """A function that makes, of what was watched in all trials, the records that the figure is drawn from."""

    def runs(self, profile: ProfileName, dataset: str | None = None) -> dict[str, Run]:
        """Return the runs of a profile by their places, on another data set if one is given.

        Raises:
            ValueError: if a data set is given and the study has none, or its contestants refuse the task.
        """
        size = self.profiles[profile]
        tasks = self.tasks
        if dataset is not None:
            if self.on is not None:
                tasks = self.on(dataset)
            elif tasks is not None:
                raise ValueError(f"--dataset {dataset}: {self.name} has no data that others could stand for; omit it")
            size = dataclasses.replace(size, tasks=(dataset,) if tasks is None else tuple(tasks))
        found: dict[str, Run] = {}
        for name in size.tasks:
            what = _load(name) if tasks is None else tasks[name]
            for contestant in self.contestants:
                found |= {run.place: run for run in contestant.runs(self, name, what, size)}
        return found

    def read(self, place: str, content: Row) -> Run | None:
        """Return the run of this study that was configured at a place, or None if it is not one.

        Raises:
            ValueError: if the configuration is damaged.
        """
        every = (contestant.read(self, place, content) for contestant in self.contestants)
        return next((run for run in every if run is not None), None)

    def recorded(self, records: Records) -> dict[str, Run]:
        """Return the runs that there are records of, by their places; no data are needed.

        Raises:
            ValueError: if there are records of a contestant or a task that the study does not have.
        """
        found: dict[str, Run] = {}
        for place in records.runs():
            content = records.config(place)
            run = None if content is None else self.read(place, content)
            if run is not None:
                found[place] = run
            elif place.startswith(f"{self.name}/"):
                raise ValueError(
                    f"{place} has records of what {self.name} does not have among its methods and problems; "
                    f"move them elsewhere"
                )
        labels = [contestant.label for contestant in self.contestants]
        tasks = [slug(name, "-") for name in (self.tasks if self.tasks is not None else ("mnist",))]

        def order(item: tuple[str, Run]) -> tuple[int, str, int, tuple[float, ...]]:
            task = slug(item[0].split("/")[0 if self.tasks is None else 1], "-")
            known = tasks.index(task) if task in tasks else len(tasks)
            return known, task, labels.index(item[1].label), item[1].rank

        return dict(sorted(found.items(), key=order))


_load = cache(load)


def slug(text: str, kept: str) -> str:
    """Return a text as the name of a folder: letters, digits and what is kept, in lower case."""
    return "-".join("".join(c if c.isalnum() or c in kept else " " for c in text.lower()).split())
