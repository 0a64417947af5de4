"""A net that is trained on data sets: a trial is a seed of a run, as of `gmlayers train`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from gmlayers.experiments.data import NAMES, Data
from gmlayers.experiments.display import Live
from gmlayers.experiments.models import MODELS, Shape
from gmlayers.experiments.run_folder import FORMAT, fingerprint, run_of
from gmlayers.experiments.run_folder import Run as TrainingRun
from gmlayers.experiments.train_command import Changes
from gmlayers.experiments.trainer import Task, Trainer, use_threads
from gmlayers_studies.records import Records, Row
from gmlayers_studies.study import Epochs, Profile, Study, slug

LEFT_OUT = ("step", "lr")
"""An archive keeps none of these columns: they follow from the epoch and the configuration."""


class Watcher(Protocol):
    """What is made from a trainer that has not begun, and looks at it after every epoch."""

    def __init__(self, start: Trainer) -> None: ...

    def __call__(self, trainer: Trainer) -> Row:
        """Return what joins the line of metrics."""
        ...


@dataclass(frozen=True)
class Net:
    """A net that takes part, by its label in the figure.

    Runs are shared between studies: equal labels must mean equal configurations.
    """

    label: str
    model: str
    shape: Shape = field(default_factory=Shape)
    changes: Changes = field(default_factory=Changes)
    watch: type[Watcher] | None = None
    """This class makes what looks at the trainer after every epoch; None if nothing does."""
    on: Mapping[str, Net] = field(default_factory=dict)
    """The nets that stand for this label on some data sets, where it is configured otherwise."""

    def runs(self, study: Study, task: str, what: Data, profile: Profile) -> Iterator[NetRun]:
        """Yield its runs on a data set, one for each number of epochs."""
        if what.classes is None:
            raise ValueError(f"studies judge the share of wrong classes, and the target of {task} is a number")
        name = task.lower() if task.lower() in NAMES else Path(task).stem
        own = self.on.get(name, self)
        seeds, sizes = profile.of(self.label)
        for size in sizes:
            assert isinstance(size, Epochs)
            configured = TrainingRun(
                source=task.lower() if task.lower() in NAMES else str(Path(task).expanduser().resolve()),
                target=None,
                kind="auto",
                task=Task.of(what),
                fingerprint=fingerprint(what),
                model=own.model,
                shape=own.shape,
                recipe=Changes(epochs=size.epochs).apply(own.changes.apply(MODELS[own.model].recipe)),
                seeds=seeds,
                validate=study.validate,
                device="cpu",
                threads=1,  # a trial a core
                watch=None if own.watch is None else own.watch.__name__,
            )
            yield NetRun(self, name, configured)

    def read(self, study: Study, place: str, content: Row) -> NetRun | None:  # noqa: ARG002
        """Return the run that was configured at a place, or None if it is not one of this net."""
        dataset, _, own = place.partition("/")
        return NetRun(self, dataset, run_of(content, Path(place))) if own == self.folder else None

    @property
    def folder(self) -> str:
        """The name of its folder, below that of a data set."""
        return slug(self.label.replace("γ", "gamma"), ".-")


@dataclass(frozen=True)
class NetRun:
    """A net on a data set; a :class:`~gmlayers_studies.study.Run`."""

    net: Net = field(compare=False)
    dataset: str
    training: TrainingRun

    settings: Sequence[int] = field(default=(), init=False, compare=False)
    rank: tuple[float, ...] = field(default=(0.0,), init=False, compare=False)
    is_pictured: bool = field(default=False, init=False, compare=False)

    @property
    def place(self) -> str:
        """The folder of the run, below that of all records."""
        return f"{self.dataset}/{self.net.folder}"

    @property
    def label(self) -> str:
        """The label of the net."""
        return self.net.label

    @property
    def seeds(self) -> Sequence[int]:
        """The seeds of its trials."""
        return self.training.seeds

    @property
    def epochs(self) -> int:
        """How long it is trained."""
        return self.training.recipe.epochs

    @property
    def title(self) -> str:
        """What stands before the progress of its trials."""
        return f"{self.dataset} {self.label}"

    @property
    def about(self) -> Row:
        """What a reader of the table of trials wants to know of the run."""
        return {"dataset": self.dataset, "label": self.label}

    def config(self) -> Row:
        """Return what stands in its config.json, as of `gmlayers train`."""
        return {"format": FORMAT, **asdict(self.training)}

    def is_finished(self, rows: Sequence[Row]) -> bool:
        """Return whether the rows of a trial go to the last epoch; the checkpoint need not be there."""
        return bool(rows) and rows[-1]["epoch"] >= self.epochs

    def condense(self, rows: Sequence[Row]) -> list[Row]:
        """Return what an archive keeps of epochs: the loss, which is not judged, has five digits."""
        return [
            {
                name: float(f"{value:.5g}") if name == "train_loss" else value
                for name, value in row.items()
                if name not in LEFT_OUT
            }
            for row in rows
        ]

    def choice(self, records: Records) -> int:  # noqa: ARG002
        """Return the one setting that there is."""
        return 0

    def bar(self, live: Live, trial: str) -> Callable[[Row], None]:
        """Start the bar of a trial; return what shows a row of it."""
        return live.bar(f"{self.title} {trial.replace('-', ' ')}", self.training.metric, 0, self.epochs)

    def perform(self, own: Path, setting: int, seed: int) -> None:  # noqa: ARG002
        """Train a seed in this process, from its checkpoint if it has one."""
        use_threads(self.training.threads)
        trial, data = self.training.trial(seed), self.training.load()
        watch = self.net.on.get(self.dataset, self.net).watch
        watching: Callable[[Trainer], dict[str, Any]] | None = None if watch is None else watch(Trainer(trial, data))
        for _ in Trainer(trial, data, own, watch=watching).run():
            pass
