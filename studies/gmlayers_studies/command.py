"""``gmlayers reproduce``, ``plot`` and ``archive``: run studies, draw their figures, judge their claims."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg

from gmlayers._names import look_up
from gmlayers.experiments import display
from gmlayers.experiments.files import write_whole
from gmlayers.experiments.interrupts import interrupts_say
from gmlayers_studies import cluster, papers, runner
from gmlayers_studies.archive import ENDING
from gmlayers_studies.catalogue import TITLES
from gmlayers_studies.pages import PAGES
from gmlayers_studies.plan import Plan
from gmlayers_studies.report import as_page, overview
from gmlayers_studies.study import Finding, ProfileName, Study

RunAll = Callable[[Sequence[runner.Job], int], list[runner.Failed]]
EXECUTORS: dict[str, RunAll] = {"processes": runner.run_all, "ray": cluster.run_all}


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
    """Run a study, draw its figure and judge its claim.

    Every trial writes its records as it goes, so that a study that was stopped, at any moment, continues with --resume.
    Studies that are written to one folder share their trials: what one has trained, another does not train again. Every
    net on every data set is a run as of `gmlayers train`, for evaluate, compare and predict (fit2d, feynman and poisson
    have functions instead of data sets, and methods that are given some seconds); beside them stand NAME.png, NAME.svg,
    NAME.csv (a line a trial) and NAME.md (what was claimed, and found).

    For example:

    gmlayers reproduce fig2

    gmlayers reproduce fig2 --profile full --jobs 2 --resume

    Args:
        name: fig2 to fig7, dynamics, tuning, finalists, practical, cifar, ladder-rates, ladder, rates, optimizers, or
            gm-paper for all of these; fit2d, feynman, poisson, or gmnm for all three; blocks. `gmlayers list` says what
            they show.
        profile: smoke: seconds; quick: minutes; full: for fig2 to fig7 as in the paper, 5 trials of 200 epochs (hours).
        dataset: One data set instead of the profile's; as for `gmlayers train`, a name or a path.
        jobs: Trials at the same time, each on one core. Default, and at most: as many as there are cores.
        executor: processes of this machine, or a Ray cluster: the one of RAY_ADDRESS, else one on this machine.
        out: Folder. Default: runs/reproduce/PROFILE.
        resume: Continue what was begun in that folder.
    """
    chosen = _chosen(name)
    cores = os.cpu_count() or 1
    jobs = cores if jobs is None else jobs
    if jobs < 1:
        raise ValueError(f"--jobs must be at least 1, got {jobs}")
    jobs = min(jobs, cores)  # more would only take turns, and each has a process with all that is imported
    folder = Path("runs") / "reproduce" / profile if out is None else out
    # all of them first: what cannot be run is refused before all else
    plans = [Plan.of(study, profile, folder, dataset) for study in chosen]
    for plan in plans:
        plan.make(resume=resume)
    failed: dict[Path, runner.Failed] = {}
    try:
        for plan in plans:
            _run(plan, failed, EXECUTORS[executor], jobs)
            plan.finish()
    finally:
        for failure in failed.values():
            display.say(f"not finished: {failure.folder}: {failure.reason}")
    if failed:
        raise ValueError(f"{len(failed)} trials were not finished; try again with --resume")


def plot(
    name: Annotated[str, Positional, arg(metavar="NAME", help_behavior_hint="")],
    *,
    records: Annotated[Path, arg(metavar="FOLDER", help_behavior_hint="")],
    page: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")] = None,
) -> None:
    """Draw the figure of a study again, and judge its claim, from the records alone.

    For example:

    gmlayers plot fig2 --records runs/reproduce/full

    gmlayers plot fit2d --records docs/results/gmnm

    Args:
        name: as for `gmlayers reproduce`; of gm-paper and gmnm, every study with records of two contestants or more.
        records: Folder that `gmlayers reproduce` wrote to, or that holds archives.
        page: Markdown file to write all claims and findings to, one after the other, such as docs/results/gm-paper.md.
    """
    chosen = _chosen(name)
    if not records.is_dir():
        raise FileNotFoundError(f"{records} is not there; give the folder that `gmlayers reproduce` wrote to")
    plans = [Plan.recorded(study, records) for study in chosen]
    if name in PAGES:  # one net alone may be there for the sake of another study
        plans = [plan for plan in plans if plan.compares]
    found = {plan.study.name: finding for plan in plans if (finding := plan.finish()) is not None}
    if not found:
        raise ValueError(f"{records} holds no records of {name}; run gmlayers reproduce {name} --out {records}")
    if page is not None:
        _write_page(page, chosen, found, records)


def archive(
    runs: Annotated[Path, Positional, arg(metavar="RUNS", help_behavior_hint="")],
    file: Annotated[Path, Positional, arg(metavar="FILE", help_behavior_hint="")],
) -> None:
    """Put all records of a study into one file, to commit or to share.

    STUDY.zip holds STUDY.json, with configurations, machines and checksums; STUDY.csv, the last row of every trial;
    STUDY-curves.csv.xz, the rows before it; and, where a picture needs them, STUDY.safetensors. `gmlayers plot` draws
    from the folder that it lies in, and `gmlayers reproduce --resume` goes on from there: trials that the archive has
    are not run again. A study need not be finished to be archived.

    For example:

    gmlayers archive runs/reproduce/full docs/results/fig2.zip

    gmlayers archive runs/reproduce/full docs/results

    Args:
        runs: Folder that `gmlayers reproduce` wrote to; archives that lie there are read, too.
        file: STUDY.zip, with the name of the study; or a folder, for all studies that there are records of.
    """
    if not runs.is_dir():
        raise FileNotFoundError(f"{runs} is not there; give the folder that `gmlayers reproduce` wrote to")
    if file.suffix == ".json":
        raise ValueError(f"{file}: an archive is one file; name it {file.with_suffix(ENDING).name}")
    if file.suffix == ENDING:
        look_up("study", file.stem, TITLES)
        plans = {file: Plan.recorded(papers.study(file.stem), runs)}
    else:
        every = {file / f"{name}{ENDING}": Plan.recorded(papers.study(name), runs) for name in TITLES}
        plans = {path: plan for path, plan in every.items() if plan.compares and plan.has_begun}
        if not plans:
            raise ValueError(f"{runs} holds no records; run gmlayers reproduce NAME --out {runs}")
    for path, plan in plans.items():
        plan.archive(path)
        display.say(f"{path}  {path.stat().st_size / 1024:,.0f} KiB")


def _chosen(name: str) -> list[Study]:
    if name in PAGES:
        return [papers.study(study) for study in PAGES[name].studies]
    look_up("study", name, {**TITLES, **PAGES})
    return [papers.study(name)]


def _run(plan: Plan, failed: dict[Path, runner.Failed], run_all: RunAll, jobs: int) -> None:
    """Run what is not finished and has not failed; add what fails."""
    hint = f"continue with the same command and --resume; it writes to {plan.folder}"
    with interrupts_say(hint), display.live(lines=4, many=True) as live:
        for todo in filter(None, plan.rounds(live, failed)):  # a round of nothing must not start a cluster
            failed |= {failure.folder: failure for failure in run_all(todo, jobs)}


def _write_page(path: Path, chosen: Sequence[Study], found: dict[str, Finding], records: Path) -> None:
    """Write what was found in studies, one after the other, under the heading that they have together."""
    folder = os.path.relpath(records, path.parent)
    page = next(page for page in PAGES.values() if {*found} & {*page.studies})
    missing = [study.name for study in chosen if study.name not in found]
    left = [f"There are no records of {' and '.join(missing)} here.\n"] if missing else []
    parts = [line for study in chosen if study.name in found for line in overview(study, found[study.name], folder)]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, as_page([page.heading, *left, *page.summary([*found.values()]), *parts]))
