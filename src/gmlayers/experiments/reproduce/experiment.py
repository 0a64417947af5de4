"""What an experiment is: nets, data, sizes; a figure drawn from its records; a claim judged by them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
from matplotlib.figure import Figure

from gmlayers.experiments.data import Data
from gmlayers.experiments.models import MODELS, Shape
from gmlayers.experiments.run_folder import Run, fingerprint
from gmlayers.experiments.training import Task

ProfileName = Literal["smoke", "quick", "full"]


@dataclass(frozen=True)
class Arm:
    """A net that takes part, by its label in the figure."""

    label: str
    model: str
    shape: Shape


@dataclass(frozen=True)
class Profile:
    """How much is computed."""

    datasets: tuple[str, ...]
    seeds: tuple[int, ...]
    epochs: int


@dataclass(frozen=True)
class Experiment:
    """A figure of the paper."""

    name: str
    title: str
    claim: str
    """What the figure is shown for."""
    arms: tuple[Arm, ...]
    profiles: Mapping[ProfileName, Profile]
    draw: Callable[[pd.DataFrame], Figure]
    """From the table of records."""
    judge: Callable[[pd.DataFrame], Sequence[str]]
    """Sentences: whether the records confirm the claim, with the test used."""


@dataclass(frozen=True)
class Part:
    """A run that an experiment is made of: one arm on one data set, with all its seeds."""

    arm: Arm
    dataset: str
    folder: Path
    run: Run


def parts(experiment: Experiment, profile: Profile, data: Mapping[str, Data], folder: Path) -> list[Part]:
    """Return the runs of an experiment, data set by data set."""
    return [
        Part(arm, name, folder / name / slug(arm.label), _run(arm, name, rows, profile))
        for name, rows in data.items()
        for arm in experiment.arms
    ]


def slug(label: str) -> str:
    """Return a label as the name of a folder."""
    kept = "".join(c if c.isalnum() or c in ".-" else " " for c in label.lower())
    return "-".join(kept.split())


def _run(arm: Arm, dataset: str, data: Data, profile: Profile) -> Run:
    recipe = dataclasses.replace(MODELS[arm.model].recipe, epochs=profile.epochs)
    return Run(
        source=dataset,
        target=None,
        kind="auto",
        task=Task.of(data),
        fingerprint=fingerprint(data),
        model=arm.model,
        shape=arm.shape,
        recipe=recipe,
        seeds=profile.seeds,
        validate=False,
        device="cpu",
        threads=1,  # a trial a core
    )
