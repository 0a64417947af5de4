"""``gmlayers reproduce``: run an experiment of the paper, draw its figure, judge its claim."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import pandas as pd
from tyro.conf import FlagCreatePairsOff, Positional, arg

from gmlayers._names import look_up
from gmlayers.experiments import display, plots
from gmlayers.experiments.data import load
from gmlayers.experiments.records import write_whole
from gmlayers.experiments.reproduce import fig2, tables, workers
from gmlayers.experiments.reproduce.experiment import Experiment, Part, ProfileName, parts
from gmlayers.experiments.run_folder import create, open_run

EXPERIMENTS: dict[str, Experiment] = {module.EXPERIMENT.name: module.EXPERIMENT for module in (fig2,)}


def reproduce(
    name: Annotated[str, Positional, arg(metavar="NAME", help_behavior_hint="")],
    *,
    profile: ProfileName = "quick",
    dataset: Annotated[str | None, arg(metavar="DATA", help_behavior_hint="")] = None,
    jobs: Annotated[int | None, arg(metavar="INT", help_behavior_hint="")] = None,
    out: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="")] = None,
    resume: Annotated[bool, FlagCreatePairsOff] = False,
) -> None:
    """Run an experiment of the paper on GM layers, draw its figure and judge its claim.

    Every trial writes its records as it goes, so that an experiment that was stopped, at any moment, continues with
    --resume; trials that are finished are not trained again. The folder then holds a run for every net (as of
    `gmlayers train`, for evaluate, compare and predict), summary.csv, and the figure as .png and .svg.

    For example:

    gmlayers reproduce fig2

    gmlayers reproduce fig2 --profile full --jobs 2 --resume

    Args:
        name: fig2: test error for K = 5, 10, 20.
        profile: smoke: seconds, on digits; quick: minutes; full: as in the paper, 5 trials of 200 epochs (hours).
        dataset: One data set instead of the profile's.
        jobs: Trials at the same time, each on one core. Default: as many as there are cores.
        out: Folder. Default: runs/reproduce/NAME-PROFILE.
        resume: Continue in that folder.
    """
    experiment = look_up("experiment", name, EXPERIMENTS)
    jobs = os.cpu_count() or 1 if jobs is None else jobs
    if jobs < 1:
        raise ValueError(f"--jobs must be at least 1, got {jobs}")
    size = experiment.profiles[profile]
    folder = Path("runs") / "reproduce" / f"{name}-{profile}" if out is None else out
    data = {source: load(source) for source in (size.datasets if dataset is None else (dataset,))}
    pieces = parts(experiment, size, data, folder)
    if folder.exists() and not resume:
        raise FileExistsError(f"{folder} exists; continue it with --resume, or choose another --out")
    for piece in pieces:
        _make(piece)
    failed = _train(pieces, jobs, folder)
    table = tables.records(pieces)
    if len(table):
        _finish(experiment, table, folder)
    for failure in failed:
        display.output().print(f"not finished: {failure.folder}, seed {failure.seed}: {failure.reason}", soft_wrap=True)
    if failed:
        raise ValueError(f"{len(failed)} trials were not finished; try again with --resume")


def _make(part: Part) -> None:
    """Make the folder of a run, or see that the one that is there is the same run."""
    if not part.folder.exists():
        create(part.run, part.folder)
    elif open_run(part.folder) != part.run:
        raise ValueError(f"{part.folder} holds a run of another configuration; choose another --out")


def _train(pieces: Sequence[Part], jobs: int, folder: Path) -> list[workers.Failed]:
    trials = []
    try:
        with display.live(lines=4) as live:
            for piece in pieces:
                for seed in piece.run.seeds:
                    if workers.is_finished(piece.folder, seed, piece.run.recipe.epochs):
                        continue
                    title = f"{piece.dataset} {piece.arm.label} seed {seed}"
                    bar = live.bar(title, piece.run.metric, 0, piece.run.recipe.epochs)
                    trials.append(workers.Trial(piece.folder, seed, bar))
            return workers.train_all(trials, jobs)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"continue with the same command and --resume; it writes to {folder}") from None


def _finish(experiment: Experiment, table: pd.DataFrame, folder: Path) -> None:
    """Write the summary and the figure, and print what they say."""
    summary = tables.summary(table)
    write_whole(folder / "summary.csv", summary.to_csv(index=False).encode())
    figure = experiment.draw(table)
    for ending in ("png", "svg"):
        plots.save(figure, folder / f"{experiment.name}.{ending}")
    lines = []
    for label, part in summary.groupby(summary["dataset"] + " " + summary["label"], sort=False):
        error = display.shown(part["error"].tolist(), percent=True)
        lines.append([str(label), str(len(part)), error, f"{part['seconds'].mean():.0f}"])
    header = ["net", "seeds", "test error", "seconds a trial"]
    display.print_table(f"{experiment.name}: {experiment.title}", header, lines)
    console = display.output()
    console.print(f"Claim: {experiment.claim}.", soft_wrap=True)
    for sentence in experiment.judge(table):
        console.print(f"  {sentence}", soft_wrap=True, highlight=False)
    console.print(f"Figure: {folder / experiment.name}.png  numbers: {folder / 'summary.csv'}", soft_wrap=True)
