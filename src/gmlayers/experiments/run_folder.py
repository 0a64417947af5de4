"""A run on disk: its configuration, what it was trained on, and one folder per seed."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from gmlayers.experiments._numbers import Decimal
from gmlayers.experiments.data import NAMES, Data, Kind, load
from gmlayers.experiments.display import note
from gmlayers.experiments.models import Recipe, Shape
from gmlayers.experiments.records import make_folder, read_json
from gmlayers.experiments.trainer import Task, Trial

FORMAT = 1
"""The layout of a run folder has this version, and a folder of another one is refused."""

LATER = {"decimal", "frozen", "hidden", "matched", "trunk", "watch"}
"""Fields that a configuration may lack: they came later, and their defaults are what was done before."""

C = TypeVar("C")


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
    threads: int
    decimal: Decimal = "auto"
    """How numbers of a table are written."""
    watch: str | None = None
    """What looks at the model after every epoch, if anything does (`gmlayers reproduce`)."""

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
    if folder.exists() or folder.is_symlink():  # a link to nothing as well
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
    content["task"] = _dataclass(Task, content.get("task"), path)
    content["shape"] = _dataclass(Shape, content.get("shape"), path)
    content["recipe"] = _dataclass(Recipe, content.get("recipe"), path)
    return _dataclass(Run, content, path)


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


def _dataclass(kind: type[C], content: Any, path: Path) -> C:  # noqa: ANN401  (anything may stand in a JSON file)
    names = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    if not isinstance(content, dict) or not names - LATER <= content.keys() <= names:
        raise ValueError(
            f"{path}: expected the fields {', '.join(sorted(names))}; it is damaged or of another version, "
            f"start a new run"
        )
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in content.items()})
