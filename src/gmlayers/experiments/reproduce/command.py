"""``gmlayers reproduce`` and ``gmlayers plot``: run experiments, draw their figures, judge their claims."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Sequence
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg

from gmlayers._names import look_up
from gmlayers.experiments import display, plots
from gmlayers.experiments.data import load
from gmlayers.experiments.records import write_whole
from gmlayers.experiments.reproduce import (
    cifar,
    cluster,
    dynamics,
    fig2,
    fig3,
    fig4,
    fig5,
    fig6,
    fig7,
    ladder,
    ladder_rates,
    optimizers,
    practical,
    rates,
    tables,
    tuning,
    workers,
)
from gmlayers.experiments.reproduce.experiment import (
    Experiment,
    Part,
    ProfileName,
    Results,
    parts,
    parts_on_disk,
)
from gmlayers.experiments.run_folder import create, open_run

EXPERIMENTS: dict[str, Experiment] = {
    module.EXPERIMENT.name: module.EXPERIMENT
    for module in (
        fig2,
        fig3,
        fig4,
        fig5,
        fig6,
        fig7,
        dynamics,
        tuning,
        practical,
        cifar,
        ladder_rates,
        ladder,
        rates,
        optimizers,
    )
}

TrainAll = Callable[[Sequence[workers.Trial], int], list[workers.Failed]]
EXECUTORS: dict[str, TrainAll] = {"processes": workers.train_all, "ray": cluster.train_all}

ALL = "gm-paper"
"""Names all experiments."""

HEADING = """# The experiments of the paper on Gaussian mixture layers

Each figure of S. Chewi, P. Rigollet, Y. Yan, *Gaussian mixture layers for neural networks* (TMLR 2025), beside the
claim it is shown for and what our records say of it; then what goes beyond the paper. The paper gives curves, no
numbers. All of this page is made from the records in the folder of the figures by `gmlayers plot gm-paper`.
"""


def reproduce(
    name: Annotated[str, Positional, arg(metavar="NAME", help_behavior_hint="")],
    *,
    profile: ProfileName = "quick",
    dataset: Annotated[str | None, arg(metavar="DATA", help_behavior_hint="")] = None,
    jobs: Annotated[int | None, arg(metavar="INT", help_behavior_hint="")] = None,
    executor: Literal["processes", "ray"] = "processes",
    out: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="")] = None,
    resume: Annotated[bool, FlagCreatePairsOff] = False,
) -> None:
    """Run an experiment of the paper on GM layers, draw its figure and judge its claim.

    Every trial writes its records as it goes, so that an experiment that was stopped, at any moment, continues with
    --resume. Experiments that are written to one folder share their trials: what one has trained, another does not
    train again. Every net on every data set is a run as of `gmlayers train`, for evaluate, compare and predict; beside
    them stand NAME.png, NAME.svg, NAME.csv (a line a trial) and NAME.md (what was claimed, and found).

    For example:

    gmlayers reproduce fig2

    gmlayers reproduce fig2 --profile full --jobs 2 --resume

    Args:
        name: fig2 to fig7, dynamics, tuning, practical, cifar, ladder-rates, ladder, rates, optimizers (`gmlayers list`
            says what they show), or gm-paper for all.
        profile: smoke: seconds, on digits; quick: minutes; full: as in the paper, 5 trials of 200 epochs (hours).
        dataset: One data set instead of the profile's; as for `gmlayers train`, a name or a path.
        jobs: Trials at the same time, each on one core. Default: as many as there are cores.
        executor: processes of this machine, or a Ray cluster: the one of RAY_ADDRESS, else one on this machine.
        out: Folder. Default: runs/reproduce/PROFILE.
        resume: Continue what was begun in that folder.
    """
    chosen = _chosen(name)
    jobs = os.cpu_count() or 1 if jobs is None else jobs
    if jobs < 1:
        raise ValueError(f"--jobs must be at least 1, got {jobs}")
    folder = Path("runs") / "reproduce" / profile if out is None else out
    sources = {s for e in chosen for s in (e.profiles[profile].datasets if dataset is None else (dataset,))}
    data = {source: load(source) for source in sorted(sources)}
    plans: list[tuple[Experiment, list[Part]]] = []
    for experiment in chosen:  # all of them first: what cannot be run is refused before anything is trained
        size = experiment.profiles[profile]
        wanted = size.datasets if dataset is None else (dataset,)
        plans.append((experiment, parts(experiment, size, {source: data[source] for source in wanted}, folder)))
    for piece in {piece.folder: piece for _, pieces in plans for piece in pieces}.values():
        _make(piece, resume=resume)
    failed: dict[tuple[Path, int], workers.Failed] = {}
    try:
        for experiment, pieces in plans:
            found = _train(pieces, set(failed), EXECUTORS[executor], jobs, folder)
            failed |= {(failure.folder, failure.seed): failure for failure in found}
            if experiment.digest is not None:
                experiment.digest(pieces)
            _finish(experiment, pieces, folder)
    finally:
        for failure in failed.values():
            text = f"not finished: {failure.folder}, seed {failure.seed}: {failure.reason}"
            display.output().print(text, soft_wrap=True)
    if failed:
        raise ValueError(f"{len(failed)} trials were not finished; try again with --resume")


def plot(
    name: Annotated[str, Positional, arg(metavar="NAME", help_behavior_hint="")],
    *,
    records: Annotated[Path, arg(metavar="FOLDER", help_behavior_hint="")],
    page: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")] = None,
) -> None:
    """Draw the figure of an experiment again, and judge its claim, from the records alone.

    For example:

    gmlayers plot fig2 --records runs/reproduce/full

    Args:
        name: as for `gmlayers reproduce`; of gm-paper, all of which there are records of at least two nets.
        records: Folder that `gmlayers reproduce` wrote to.
        page: Markdown file to write all claims and findings to, one after the other, such as docs/results/gm-paper.md.
    """
    chosen = _chosen(name)
    if not records.is_dir():
        raise FileNotFoundError(f"{records} is not there; give the folder that `gmlayers reproduce` wrote to")
    found = {experiment.name: parts_on_disk(experiment, records) for experiment in chosen}
    if name == ALL:  # one net alone may be there for the sake of another experiment
        chosen = [e for e in chosen if len({part.arm.label for part in found[e.name]}) > 1]
    drawn = [e for e in chosen if _finish(e, found[e.name], records)]
    if not drawn:
        raise ValueError(f"{records} holds no records of {name}; run gmlayers reproduce {name} --out {records}")
    if page is not None:
        prefix = os.path.relpath(records, page.parent)
        texts = [(records / f"{e.name}.md").read_text(encoding="utf-8") for e in drawn]
        texts = [text.replace(f"]({e.name}.png)", f"]({prefix}/{e.name}.png)") for e, text in zip(drawn, texts)]
        write_whole(page, "\n".join([HEADING, *texts]).encode())


def _chosen(name: str) -> list[Experiment]:
    if name == ALL:
        return list(EXPERIMENTS.values())
    look_up("experiment", name, {**EXPERIMENTS, ALL: None})
    return [EXPERIMENTS[name]]


def _make(part: Part, *, resume: bool) -> None:
    """Make the folder of a run, or see that what is there is the same run, and finished if it is not to be resumed."""
    if not part.folder.exists():
        create(part.run, part.folder)
        return
    if open_run(part.folder) != part.run:
        there, wanted = asdict(open_run(part.folder)), asdict(part.run)
        names = ", ".join(name for name, value in wanted.items() if there[name] != value)
        raise ValueError(f"{part.folder} holds a run of another configuration ({names}); choose another --out")
    begun = [s for s in part.run.seeds if not workers.is_finished(part.folder, s, part.run.recipe.epochs)]
    if begun and not resume:
        raise FileExistsError(
            f"{part.folder} was begun and is not finished; continue it with --resume, or choose another --out"
        )


def _train(
    pieces: Sequence[Part], failed: Container[tuple[Path, int]], train_all: TrainAll, jobs: int, folder: Path
) -> list[workers.Failed]:
    """Train what is not finished and has not failed; return what fails."""
    trials = []
    try:
        with display.live(lines=4, many=True) as live:
            rounds = zip_longest(*(piece.run.seeds for piece in pieces))  # so that what is stopped can be compared
            for piece, seed in ((p, s) for seeds in rounds for p, s in zip(pieces, seeds) if s is not None):
                done = workers.is_finished(piece.folder, seed, piece.run.recipe.epochs)
                if done or (piece.folder, seed) in failed:
                    continue
                title = f"{piece.dataset} {piece.arm.label} seed {seed}"
                bar = live.bar(title, piece.run.metric, 0, piece.run.recipe.epochs)
                trials.append(workers.Trial(piece.folder, seed, piece.arm.watch, bar))
            return train_all(trials, jobs)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"continue with the same command and --resume; it writes to {folder}") from None


def _finish(experiment: Experiment, pieces: Sequence[Part], folder: Path) -> bool:
    """Write the figure and what it says, and print it; return whether there were records."""
    results = Results(pieces, tables.records(pieces))
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
    for piece in pieces:
        if len(done := tables.finished(summary, piece)):
            error = display.shown(done["error"].tolist(), percent=True)
            name = f"{piece.dataset} {piece.arm.label}"
            lines.append([name, str(len(done)), error, f"{done['seconds'].mean():.3g}"])
    header = ["net", "seeds", tables.judged(experiment), "seconds a trial"]
    display.print_table(f"{experiment.name}: {experiment.title}", header, lines)
    console = display.output()
    console.print(f"Claim: {experiment.claim}.", soft_wrap=True)
    for sentence in (*found, *missing):
        console.print(f"  {sentence}", soft_wrap=True, highlight=False)
    console.print(f"Figure: {folder / experiment.name}.png  numbers: {folder / experiment.name}.csv\n", soft_wrap=True)
    return True
