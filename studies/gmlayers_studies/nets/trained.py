"""Experiments on nets that are trained: a trial is a seed of a run, as of `gmlayers train`."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from gmlayers.experiments import display, plots
from gmlayers.experiments.records import readable, write_whole
from gmlayers.experiments.run_folder import create, open_run, run_of, seed_folder
from gmlayers.experiments.training import Trainer
from gmlayers_studies.archive import last_rows, records_in
from gmlayers_studies.nets import tables
from gmlayers_studies.records import Records, Row
from gmlayers_studies.study import Experiment, Part, Results, Watch, condense, parts_recorded
from gmlayers_studies.workers import Trial


@dataclass(frozen=True)
class TrainedPlan:
    """The runs of an experiment in a folder; a :class:`~gmlayers_studies.plan.Plan`."""

    experiment: Experiment
    parts: Sequence[Part]
    folder: Path

    @classmethod
    def recorded(cls, experiment: Experiment, folder: Path) -> TrainedPlan:
        """Return what there are records of in a folder."""
        return cls(experiment, parts_recorded(experiment, records_in(folder, experiment.name)), folder)

    @property
    def name(self) -> str:
        """The name of the experiment."""
        return self.experiment.name

    @property
    def note(self) -> str:
        """What a reader of the records must know besides."""
        return self.experiment.note

    @property
    def compares(self) -> bool:
        """Whether it has at least two nets."""
        return len({part.arm.label for part in self.parts}) > 1

    @property
    def records(self) -> Records:
        """What is recorded in the folder by now."""
        return records_in(self.folder, self.name)

    def about(self) -> Mapping[str, Row]:
        """Return the runs, each with what a reader of the table of trials wants to know of it."""
        return {part.place: {"dataset": part.dataset, "label": part.arm.label} for part in self.parts}

    def condense(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Return what an archive keeps of rows."""
        return condense(rows)

    def keeps(self, run: str) -> bool:  # noqa: ARG002
        """Return whether modules of a run are drawn."""
        return False

    def make(self, *, resume: bool) -> None:
        """Make the folder of every run, or see that what is recorded is the same run, and finished if not resumed."""
        records = self.records
        for part in self.parts:
            folder, content = self.folder / part.place, records.config(part.place)
            if content is not None and (there := run_of(content, folder)) != part.run:
                found, wanted = asdict(there), asdict(part.run)
                names = ", ".join(name for name, value in wanted.items() if found[name] != value)
                raise ValueError(f"{folder} holds a run of another configuration ({names}); choose another --out")
            done = [is_finished(records, part.place, seed, part.run.recipe.epochs) for seed in part.run.seeds]
            if content is not None and records.trials(part.place) and not all(done) and not resume:
                raise FileExistsError(
                    f"{folder} was begun and is not finished; continue it with --resume, or choose another --out"
                )
            if not (all(done) or folder.exists()):  # what an archive has needs no folder
                create(part.run, folder)

    def rounds(self, live: display.Live, failed: Container[Path]) -> Iterator[list[Trial]]:
        """Yield all trials at once, seed by seed, so that what is stopped can be compared."""
        trials, records = [], self.records
        for part, seed in (
            (part, seed)
            for seeds in zip_longest(*(part.run.seeds for part in self.parts))
            for part, seed in zip(self.parts, seeds)
            if seed is not None
        ):
            folder, epochs = self.folder / part.place, part.run.recipe.epochs
            own = seed_folder(folder, seed)
            if not (own in failed or is_finished(records, part.place, seed, epochs)):
                show = live.bar(f"{part.dataset} {part.arm.label} seed {seed}", part.run.metric, 0, epochs)
                trials.append(Trial(own, partial(train, folder.resolve(), seed, part.arm.watch), show))
        yield trials
        if self.experiment.digest is not None:
            self.experiment.digest(self.parts, self.folder)

    def finish(self) -> bool:
        """Write the figure and what it says, and print it; return whether there were records."""
        experiment, parts, folder, records = self.experiment, self.parts, self.folder, self.records
        results = Results(parts, tables.table_of(parts, records), records)
        if results.table.empty:
            return False
        summary = tables.summary(results.table)
        if not (folder / f"{experiment.name}.json").exists():  # an archive has the same table
            trials = [(part.place, f"seed-{seed}") for part in parts for seed in part.run.seeds]
            write_whole(folder / f"{experiment.name}.csv", last_rows(records, trials, self.about()))
        figure = experiment.draw(results)
        for ending in ("png", "svg"):
            plots.save(figure, folder / f"{experiment.name}.{ending}")
        for file, content in experiment.more(results).items() if experiment.more is not None else ():
            write_whole(folder / file, content)
        found = list(experiment.judge(results))
        missing = tables.missing(results)
        text = tables.page(experiment, results, found, missing)
        write_whole(folder / f"{experiment.name}.md", text.encode())
        lines = []
        for part in parts:
            if len(done := tables.finished(summary, part)):
                error = display.shown(done["error"].tolist(), percent=True)
                name = f"{part.dataset} {part.arm.label}"
                lines.append([name, str(len(done)), error, f"{done['seconds'].mean():.3g}"])
        header = ["net", "seeds", tables.judged(experiment), "seconds a trial"]
        display.print_findings(
            f"{experiment.name}: {experiment.title}",
            header,
            lines,
            f"Claim: {experiment.claim}.",
            [*found, *missing],
            f"Figure: {folder / experiment.name}.png  numbers: {folder / experiment.name}.csv\n",
        )
        return True


def is_finished(records: Records, run: str, seed: int, epochs: int) -> bool:
    """Return whether the records of a trial go to its last epoch; the checkpoint need not be there."""
    return _goes_to(records.rows(run, f"seed-{seed}", warn=False), epochs)


def _goes_to(rows: Sequence[Row], epochs: int) -> bool:
    return bool(rows) and rows[-1]["epoch"] >= epochs


def train(folder: Path, seed: int, watch: Callable[[Trainer], Watch] | None) -> str | None:
    """Train one trial in this process; return why it could not come to its end, or None."""
    own = seed_folder(folder, seed)
    try:
        run = open_run(folder)
        own.mkdir(exist_ok=True)
        with FileLock(own / ".lock").acquire(blocking=False):
            torch.set_num_threads(run.threads)
            trial, data = run.trial(seed), run.load()
            watching = None if watch is None else watch(Trainer(trial, data))
            for _ in Trainer(trial, data, own, watch=watching).run():
                pass
    except Timeout:
        return f"{own} is being trained by another process; wait for it or stop it"
    except (ValueError, OSError, RuntimeError, MemoryError) as error:
        return " ".join(str(error).split())
    if not _goes_to(readable(own / "metrics.jsonl", warn=False), run.recipe.epochs):
        return f"{own / 'metrics.jsonl'} cannot be read to its end; delete {own} to train this seed anew"
    return None
