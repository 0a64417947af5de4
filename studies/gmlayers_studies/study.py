"""What an experiment is: nets, data, sizes; a figure drawn from its records; a claim judged by them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import pandas as pd
from matplotlib.figure import Figure

from gmlayers.experiments.data import NAMES, Data
from gmlayers.experiments.models import MODELS, Shape
from gmlayers.experiments.run_folder import Run, fingerprint, run_of
from gmlayers.experiments.train import Changes
from gmlayers.experiments.training import Task, Trainer
from gmlayers_studies.records import Records, Row

ProfileName = Literal["smoke", "quick", "full"]
PROFILES: tuple[ProfileName, ...] = ("smoke", "quick", "full")

Watch = Callable[[Trainer], dict[str, Any]]


class Watcher(Protocol):
    """Is made from a trainer that has not begun, and looks at it after every epoch."""

    def __init__(self, start: Trainer) -> None: ...

    def __call__(self, trainer: Trainer) -> dict[str, Any]:
        """Return what joins the line of metrics."""
        ...


@dataclass(frozen=True)
class Arm:
    """A net that takes part, by its label in the figure.

    Runs are shared between experiments: equal labels must mean equal configurations.
    """

    label: str
    model: str
    shape: Shape = field(default_factory=Shape)
    changes: Changes = field(default_factory=Changes)
    watch: type[Watcher] | None = None
    """Makes, from a trainer that has not begun, what looks at it after every epoch."""
    on: Mapping[str, Arm] = field(default_factory=dict)
    """What goes by this label on some data sets, where it is configured otherwise."""


@dataclass(frozen=True)
class Size:
    """How long a net is trained, and how often."""

    seeds: tuple[int, ...]
    epochs: int


@dataclass(frozen=True)
class Profile:
    """How much is computed."""

    datasets: tuple[str, ...]
    size: Size
    but: Mapping[str, Size] = field(default_factory=dict)
    """Sizes of nets that are trained otherwise, by label."""


@dataclass(frozen=True)
class Part:
    """A run that an experiment is made of: one net on one data set, with all its seeds."""

    arm: Arm
    dataset: str
    place: str
    """The folder of the run, below that of all records."""
    run: Run


@dataclass(frozen=True)
class Results:
    """What has been recorded."""

    parts: Sequence[Part]
    table: pd.DataFrame
    """A row for every epoch of every trial, by :func:`tables.table_of`."""
    records: Records = field(default_factory=lambda: Records([]))
    """Where the rows were read, and what else was recorded."""


@dataclass(frozen=True)
class Experiment:
    """A figure of the paper."""

    name: str
    title: str
    claim: str
    """What the figure is shown for."""
    arms: tuple[Arm, ...]
    profiles: Mapping[ProfileName, Profile]
    draw: Callable[[Results], Figure]
    judge: Callable[[Results], Sequence[str]]
    """Sentences: whether the records confirm the claim, with the test used."""
    digest: Callable[[Sequence[Part], Path], None] | None = None
    """Makes of what was watched the records that the figure is drawn from, in a folder, after training."""
    note: str = ""
    """What a reader of the page must know besides."""
    validate: bool = False
    """Whether the last training rows are held out and judged: for what chooses."""
    more: Callable[[Results], Mapping[str, bytes]] | None = None
    """Other files to write beside the figure, such as an animation."""


def profiles(
    smoke: Size = Size((0, 1), 3),
    quick: Size = Size((0, 1), 5),
    full: Size = Size((0, 1, 2, 3, 4), 200),
    but: Mapping[ProfileName, Mapping[str, Size]] | None = None,
) -> Mapping[ProfileName, Profile]:
    """Return the usual profiles: smoke on digits, quick on MNIST, full as in the paper."""
    but = but or {}
    return {
        "smoke": Profile(("digits",), smoke, but.get("smoke", {})),
        "quick": Profile(("mnist",), quick, but.get("quick", {})),
        "full": Profile(("mnist", "fashion-mnist"), full, but.get("full", {})),
    }


def parts(experiment: Experiment, profile: Profile, data: Mapping[str, Data]) -> list[Part]:
    """Return the runs of an experiment, data set by data set."""
    return [
        Part(
            arm,
            name,
            place(name, arm),
            _run(arm, source, rows, profile.but.get(arm.label, profile.size), validate=experiment.validate),
        )
        for source, rows in data.items()
        for name in (source.lower() if source.lower() in NAMES else Path(source).stem,)
        for arm in experiment.arms
    ]


def parts_recorded(experiment: Experiment, records: Records) -> list[Part]:
    """Return those runs of an experiment that there are records of; no data are needed."""
    datasets = {run.partition("/")[0] for run in records.runs()}
    return [
        Part(arm, dataset, place(dataset, arm), run_of(content, Path(place(dataset, arm))))
        for dataset in sorted(datasets, key=lambda name: (name != "mnist", name))
        for arm in experiment.arms
        if (content := records.config(place(dataset, arm))) is not None
    ]


def place(dataset: str, arm: Arm) -> str:
    """Return the folder of a run, below that of all records."""
    kept = "".join(c if c.isalnum() or c in ".-" else " " for c in arm.label.lower().replace("γ", "gamma"))
    return f"{dataset}/{'-'.join(kept.split())}"


def condense(rows: Sequence[Row]) -> list[Row]:
    """Return what an archive keeps of epochs: no steps and rates, and the loss, which is not judged, in five digits."""
    return [
        {
            name: float(f"{value:.5g}") if name == "train_loss" else value
            for name, value in row.items()
            if name not in ("step", "lr")
        }
        for row in rows
    ]


def _run(arm: Arm, source: str, data: Data, size: Size, *, validate: bool) -> Run:
    if data.classes is None:
        raise ValueError(f"experiments judge the share of wrong classes, and the target of {source} is a number")
    arm = arm.on.get(source.lower(), arm)
    recipe = arm.changes.apply(MODELS[arm.model].recipe)
    return Run(
        source=source.lower() if source.lower() in NAMES else str(Path(source).expanduser().resolve()),
        target=None,
        kind="auto",
        task=Task.of(data),
        fingerprint=fingerprint(data),
        model=arm.model,
        shape=arm.shape,
        recipe=Changes(epochs=size.epochs).apply(recipe),
        seeds=size.seeds,
        validate=validate,
        device="cpu",
        threads=1,  # a trial a core
        watch=None if arm.watch is None else arm.watch.__name__,
    )
