"""A run on disk: its configuration, what it was trained on, and one folder per seed."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from os.path import lexists
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from gmlayers.experiments._numbers import Decimal
from gmlayers.experiments.data import NAMES, Data, Kind, load
from gmlayers.experiments.display import note
from gmlayers.experiments.models import Recipe, Shape
from gmlayers.experiments.records import Metrics, make_folder, read_json, write_json
from gmlayers.experiments.schema import FOR_A_RUN, Count, Range, checked, table
from gmlayers.experiments.trainer import METRICS, Task, Trial, read_rows

FORMAT = 1
"""The layout of a run folder has this version, and a folder of another one is refused."""

LATER = {"decimal", "factors", "frozen", "hidden", "matched", "precision", "trunk", "watch"}
"""Fields that a configuration may lack: they came later, and their defaults are what was done before."""

SUMMARY = "summary.json"
"""A run that is finished has this file."""


@dataclass(frozen=True)
class Run:
    """The configuration of a run: the same model and recipe, trained once per seed."""

    source: str
    target: str | None
    kind: Kind
    task: Task
    fingerprint: str
    model: str
    shape: Shape
    recipe: Recipe
    seeds: tuple[int, ...]
    validate: bool
    device: str
    threads: Count
    decimal: Decimal = "auto"
    """How numbers of a table are written."""
    watch: str | None = None
    """What looks at the model after every epoch, if anything does (`gmlayers reproduce`)."""

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds must be different numbers, got {', '.join(map(str, self.seeds)) or 'none'}")
        for seed in self.seeds:
            self.trial(seed)  # which refuses what cannot be trained

    @property
    def metric(self) -> str:
        """Key of what the run is judged by in its records, such as ``test_error``."""
        return f"{'validation' if self.validate else 'test'}_{self.task.metric}"

    def trial(self, seed: int) -> Trial:
        """Return the trial of one seed."""
        return Trial(self.model, self.shape, self.recipe, seed, self.validate, self.device)

    def load(self, say: Callable[[str], object] | None = None) -> Data:
        """Load the data again; ``say`` is told how a table was understood.

        Raises:
            ValueError: if they are not those of the run any more.
        """
        # What was understood once is not asked again.
        kind: Kind = (
            self.kind if self.kind != "auto" else "regression" if self.task.classes is None else "classification"
        )
        data = load(self.source, target=self.target, task=kind, decimal=self.decimal, say=say)
        if fingerprint(data) != self.fingerprint:
            raise ValueError(
                f"{self.source} has changed since the run started (checksum {fingerprint(data)}, expected "
                f"{self.fingerprint}); restore the data or start a new run"
            )
        return data


def fingerprint(data: Data) -> str:
    """Return a checksum of all rows."""
    digest = hashlib.blake2b(digest_size=16)
    for tensor in (data.train_x, data.train_y, data.test_x, data.test_y):
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()


def create(run: Run, folder: Path) -> None:
    """Make the folder of a new run.

    Raises:
        FileExistsError: if something stands there already.
    """
    if lexists(folder):
        raise FileExistsError(
            f"{folder} exists; continue it with `gmlayers train --resume {folder}`, or choose another --out"
        )
    make_folder(folder, {"format": FORMAT, **asdict(run)})


def open_run(folder: Path) -> Run:
    """Read the configuration of a run.

    Raises:
        FileNotFoundError: if the folder is no run.
        ValueError: if its configuration is damaged or of another version.
    """
    path = folder / "config.json"
    return run_of(read_json(path), path)


def run_of(content: Mapping[str, Any], path: Path) -> Run:
    """Return the run that the content of a configuration describes; the path is named in errors.

    Raises:
        ValueError: if it is damaged or of another version.
    """
    content = dict(content)
    if content.pop("format", None) != FORMAT:
        raise ValueError(f"{path} is not of format {FORMAT}; it was made by another version of gmlayers")
    return checked(Run, content, path, may_lack=LATER)


def write_summary(folder: Path, trials: Sequence[Mapping[str, Any]]) -> None:
    """Write what the trials of a run have come to, as :func:`read_summary` reads it."""
    write_json(folder / SUMMARY, {"trials": trials})


def read_summary(run: Run, folder: Path) -> list[dict[str, Any]]:
    """Return what the trials of a run have come to: one mapping a seed, in the order of the seeds.

    Raises:
        FileNotFoundError: if the run is not finished.
        ValueError: if the summary is damaged, or of other seeds.
    """
    path = folder / SUMMARY
    fields = {"seed": int, "parameters": Count, run.metric: run.task.values, "seconds": Annotated[float, Range(0)]}
    trials = table(read_json(path), {"trials": tuple[Any, ...]}, path)["trials"]
    found = [table(trial, fields, path, f"trials[{index}]") for index, trial in enumerate(trials)]
    if (seeds := [trial["seed"] for trial in found]) != [*run.seeds]:
        raise ValueError(
            f"{path} has the seeds {', '.join(map(str, seeds)) or 'none'}, and config.json has "
            f"{', '.join(map(str, run.seeds))}; {FOR_A_RUN}"
        )
    return found


def read_curves(run: Run, folder: Path) -> NDArray[np.float64]:
    """Return what a finished run was judged by after every epoch, (seeds, epochs).

    Raises:
        FileNotFoundError: if the run is not finished.
        ValueError: if records are damaged, or not those that the summary was made from.
    """
    values = []
    for trial in read_summary(run, folder):
        own = seed_folder(folder, trial["seed"])
        rows = read_rows(own, "validation" if run.validate else "test", run.task)
        is_whole = [row["epoch"] for row in rows] == [*range(1, run.recipe.epochs + 1)]
        if not is_whole or trial.get("metrics", "") not in ("", Metrics(own / METRICS).written()[1]):
            raise ValueError(f"{own / METRICS} is not what {SUMMARY} was made from; {FOR_A_RUN}")
        values.append([row[run.metric] for row in rows])
    return np.array(values)


def load_named(run: Run, folder: Path) -> Data:
    """Load the data that the configuration in a folder names; say first what is opened, if it is a path.

    The folder may come from somebody else, who has chosen the path.

    Raises:
        ValueError: if there are no such data, or not those of the run any more.
    """
    if run.source.lower() not in NAMES:
        warnings.warn(f"reading {run.source}, as {folder / 'config.json'} says", stacklevel=2)
    return run.load(note)


def seed_folder(folder: Path, seed: int) -> Path:
    """Return where one seed keeps its metrics and checkpoint."""
    return folder / f"seed-{seed}"
