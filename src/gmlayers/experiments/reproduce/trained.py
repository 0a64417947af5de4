"""Experiments on nets that are trained: a trial is a seed of a run, as of `gmlayers train`."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from gmlayers.experiments import display, plots
from gmlayers.experiments.records import readable, write_whole
from gmlayers.experiments.reproduce import tables
from gmlayers.experiments.reproduce.experiment import Experiment, Part, Results, Watch
from gmlayers.experiments.reproduce.workers import Trial
from gmlayers.experiments.run_folder import create, open_run, seed_folder
from gmlayers.experiments.training import Trainer


@dataclass(frozen=True)
class TrainedPlan:
    """The runs of an experiment in a folder; a :class:`~gmlayers.experiments.reproduce.plan.Plan`."""

    experiment: Experiment
    parts: Sequence[Part]
    folder: Path

    @property
    def name(self) -> str:
        """Of the experiment."""
        return self.experiment.name

    @property
    def compares(self) -> bool:
        """Whether it has at least two nets."""
        return len({part.arm.label for part in self.parts}) > 1

    def make(self, *, resume: bool) -> None:
        """Make the folder of every run, or see that what is there is the same run, and finished if not resumed."""
        for part in self.parts:
            if not part.folder.exists():
                create(part.run, part.folder)
                continue
            if open_run(part.folder) != part.run:
                there, wanted = asdict(open_run(part.folder)), asdict(part.run)
                names = ", ".join(name for name, value in wanted.items() if there[name] != value)
                raise ValueError(f"{part.folder} holds a run of another configuration ({names}); choose another --out")
            begun = any(part.folder.glob("seed-*/metrics.jsonl"))
            done = all(is_finished(part.folder, seed, part.run.recipe.epochs) for seed in part.run.seeds)
            if begun and not done and not resume:
                raise FileExistsError(
                    f"{part.folder} was begun and is not finished; continue it with --resume, or choose another --out"
                )

    def rounds(self, live: display.Live, failed: Container[Path]) -> Iterator[list[Trial]]:
        """Yield all trials at once, seed by seed, so that what is stopped can be compared."""
        trials = []
        for part, seed in (
            (part, seed)
            for seeds in zip_longest(*(part.run.seeds for part in self.parts))
            for part, seed in zip(self.parts, seeds)
            if seed is not None
        ):
            folder, epochs = seed_folder(part.folder, seed), part.run.recipe.epochs
            if not (folder in failed or is_finished(part.folder, seed, epochs)):
                show = live.bar(f"{part.dataset} {part.arm.label} seed {seed}", part.run.metric, 0, epochs)
                trials.append(Trial(folder, partial(train, part.folder.resolve(), seed, part.arm.watch), show))
        yield trials
        if self.experiment.digest is not None:
            self.experiment.digest(self.parts)

    def finish(self) -> bool:
        """Write the figure and what it says, and print it; return whether there were records."""
        experiment, parts, folder = self.experiment, self.parts, self.folder
        results = Results(parts, tables.records(parts))
        if results.table.empty:
            return False
        summary = tables.summary(results.table)
        write_whole(folder / f"{experiment.name}.csv", summary.to_csv(index=False).encode())
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


def is_finished(folder: Path, seed: int, epochs: int) -> bool:
    """Return whether the records of a trial go to its last epoch; the checkpoint need not be there."""
    rows = readable(seed_folder(folder, seed) / "metrics.jsonl", warn=False)
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
    if not is_finished(folder, seed, run.recipe.epochs):
        return f"{own / 'metrics.jsonl'} cannot be read to its end; delete {own} to train this seed anew"
    return None
