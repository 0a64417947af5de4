"""``gmlayers reproduce`` and ``gmlayers plot``: run experiments, draw their figures, judge their claims."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg

from gmlayers._names import look_up
from gmlayers.experiments import display
from gmlayers.experiments.data import load
from gmlayers.experiments.records import write_whole
from gmlayers_studies import cluster, workers
from gmlayers_studies.archive import write_archive
from gmlayers_studies.methods import claims as contest_claims
from gmlayers_studies.methods.contest import Contest
from gmlayers_studies.methods.plan import ContestPlan
from gmlayers_studies.nets.trained import TrainedPlan
from gmlayers_studies.papers import (
    cifar,
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
    tuning,
)
from gmlayers_studies.papers.contests import CONTESTS
from gmlayers_studies.plan import Plan
from gmlayers_studies.study import Experiment, ProfileName, parts

TRAINED: dict[str, Experiment] = {
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
EXPERIMENTS: dict[str, Experiment | Contest] = {**TRAINED, **CONTESTS}

RunAll = Callable[[Sequence[workers.Trial], int], list[workers.Failed]]
EXECUTORS: dict[str, RunAll] = {"processes": workers.run_all, "ray": cluster.run_all}


@dataclass(frozen=True)
class Group:
    """Experiments that have a name together, and a page."""

    experiments: Mapping[str, Experiment | Contest]
    heading: str


GROUPS = {
    "gm-paper": Group(
        TRAINED,
        """# The experiments of the paper on Gaussian mixture layers

Each figure of S. Chewi, P. Rigollet, Y. Yan, *Gaussian mixture layers for neural networks* (TMLR 2025), beside the
claim it is shown for and what our records say of it; then what goes beyond the paper. The paper gives curves, no
numbers. All of this page is made from the records in the folder of the figures by `gmlayers plot gm-paper`.
""",
    ),
    "gmnm": Group(
        CONTESTS,
        """# Gaussian mixture modules against other approximators

The claims of W. Lu, G. Yuan, H.-K. Zhang, S. Li, *Rethinking Nonlinearity: Trainable Gaussian Mixture Modules for
Modern Neural Architectures* (arXiv 2510.06660, 2025) on functions and Poisson's equation, beside what our records say
of them. We know of no numbers of the paper. How the projections of a bump are put together can be read in two ways:
`mahalanobis`, our default, and `ridge`; both stand here. All of this page is made from the records in the folder of the
figures by `gmlayers plot gmnm`.

- C1: on functions a lower error, and sooner, than KAN and MLP.
- C2: on Poisson's equation a lower error, and sooner, than KAN, MLP and PINN.
- C6: often fewer parameters, and no slower.

A part of a claim is marked as confirmed where each of its comparisons is borne out, with the best peer that is allowed
as many seconds and at most as many parameters, and what is claimed to be often so where more than half are; "in part"
says in how many it is. "No slower" is judged by whether the module is sooner: what is refuted is slower.
""",
    ),
}
"""By name: what it names, and how its page begins."""


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
    """Run an experiment of the papers, draw its figure and judge its claim.

    Every trial writes its records as it goes, so that an experiment that was stopped, at any moment, continues with
    --resume. Experiments that are written to one folder share their trials: what one has trained, another does not
    train again. Every net on every data set is a run as of `gmlayers train`, for evaluate, compare and predict (fit2d,
    feynman and poisson have functions instead of data sets, and methods that are given some seconds); beside them stand
    NAME.png, NAME.svg, NAME.csv (a line a trial) and NAME.md (what was claimed, and found).

    For example:

    gmlayers reproduce fig2

    gmlayers reproduce fig2 --profile full --jobs 2 --resume

    Args:
        name: fig2 to fig7, dynamics, tuning, practical, cifar, ladder-rates, ladder, rates, optimizers, or gm-paper for
            all of these; fit2d, feynman, poisson, or gmnm for all three. `gmlayers list` says what they show.
        profile: smoke: seconds; quick: minutes; full: for fig2 to fig7 as in the paper, 5 trials of 200 epochs (hours).
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
    plans = _plans(chosen, profile, dataset, folder)  # all of them first: what cannot be run is refused before all else
    for plan in plans:
        plan.make(resume=resume)
    failed: dict[Path, workers.Failed] = {}
    try:
        for plan in plans:
            _run(plan, failed, EXECUTORS[executor], jobs, folder)
            plan.finish()
    finally:
        for failure in failed.values():
            text = f"not finished: {failure.folder}: {failure.reason}"
            display.output().print(text, soft_wrap=True, markup=False)
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
        name: as for `gmlayers reproduce`; of gm-paper and gmnm, all of which there are records of at least two nets.
        records: Folder that `gmlayers reproduce` wrote to.
        page: Markdown file to write all claims and findings to, one after the other, such as docs/results/gm-paper.md.
    """
    chosen = _chosen(name)
    if not records.is_dir():
        raise FileNotFoundError(f"{records} is not there; give the folder that `gmlayers reproduce` wrote to")
    plans = [_recorded(experiment, records) for experiment in chosen]
    if name in GROUPS:  # one net alone may be there for the sake of another experiment
        plans = [plan for plan in plans if plan.compares]
    drawn = [plan.name for plan in plans if plan.finish()]
    if not drawn:
        raise ValueError(f"{records} holds no records of {name}; run gmlayers reproduce {name} --out {records}")
    if page is not None:
        prefix = os.path.relpath(records, page.parent)
        texts = [(records / f"{e}.md").read_text(encoding="utf-8") for e in drawn]
        texts = [text.replace(f"]({e}", f"]({prefix}/{e}") for e, text in zip(drawn, texts)]
        group = next(group for group in GROUPS.values() if drawn[0] in group.experiments)
        others = [experiment.name for experiment in chosen if experiment.name not in drawn]
        missing = [f"There are no records of {' and '.join(others)} here.\n"] if others else []
        summary = contest_claims.claims(
            [plan.judged for plan in plans if isinstance(plan, ContestPlan) and plan.name in drawn]
        )
        write_whole(page, "\n".join([group.heading, *missing, *summary, *texts]).encode())


def archive(
    runs: Annotated[Path, Positional, arg(metavar="RUNS", help_behavior_hint="")],
    file: Annotated[Path, Positional, arg(metavar="FILE", help_behavior_hint="")],
) -> None:
    """Put all records of a study into a handful of files, to commit or to share.

    Beside STUDY.json, with configurations, machines and checksums, stand STUDY.csv, the last row of every trial;
    STUDY-curves.csv.xz, the rows before it; and, where a picture needs them, STUDY.safetensors. `gmlayers plot` draws
    from the folder that these lie in, and `gmlayers reproduce --resume` goes on from there: trials that the archive has
    are not run again. A study need not be finished to be archived.

    For example:

    gmlayers archive runs/reproduce/full docs/results/fig2.json

    gmlayers archive runs/reproduce/full docs/results

    Args:
        runs: Folder that `gmlayers reproduce` wrote to; archives that lie there are read, too.
        file: STUDY.json, with the name of the study; or a folder, for all studies that there are records of.
    """
    if not runs.is_dir():
        raise FileNotFoundError(f"{runs} is not there; give the folder that `gmlayers reproduce` wrote to")
    if file.suffix != ".json":
        files = [file / f"{name}.json" for name, study in EXPERIMENTS.items() if _is_recorded(study, runs)]
        if not files:
            raise ValueError(f"{runs} holds no records; run gmlayers reproduce NAME --out {runs}")
    else:
        look_up("experiment", file.stem, EXPERIMENTS)
        files = [file]
    for path in files:
        plan = _recorded(EXPERIMENTS[path.stem], runs)
        written = write_archive(
            path,
            plan.records,
            plan.about(),
            condense=plan.condense,
            keeps=plan.keeps,
            facts={"caveats": plan.note},
        )
        for part in written:
            display.output().print(f"{part}  {part.stat().st_size / 1024:,.0f} KiB", soft_wrap=True, markup=False)


def _is_recorded(experiment: Experiment | Contest, folder: Path) -> bool:
    plan = _recorded(experiment, folder)
    return plan.compares and bool(plan.about())


def _chosen(name: str) -> list[Experiment | Contest]:
    if name in GROUPS:
        return list(GROUPS[name].experiments.values())
    look_up("experiment", name, {**EXPERIMENTS, **GROUPS})
    return [EXPERIMENTS[name]]


def _plans(
    chosen: Sequence[Experiment | Contest], profile: ProfileName, dataset: str | None, folder: Path
) -> list[Plan]:
    load_once = cache(load)
    plans: list[Plan] = []
    for experiment in chosen:
        if isinstance(experiment, Contest):
            if dataset is not None:
                raise ValueError(
                    f"--dataset {dataset}: {experiment.name} has functions and equations, no data; omit it"
                )
            plans.append(ContestPlan.of(experiment, profile, folder))
        else:
            size = experiment.profiles[profile]
            data = {source: load_once(source) for source in (size.datasets if dataset is None else (dataset,))}
            plans.append(TrainedPlan(experiment, parts(experiment, size, data), folder))
    return plans


def _recorded(experiment: Experiment | Contest, folder: Path) -> Plan:
    if isinstance(experiment, Contest):
        return ContestPlan.recorded(experiment, folder)
    return TrainedPlan.recorded(experiment, folder)


def _run(plan: Plan, failed: dict[Path, workers.Failed], run_all: RunAll, jobs: int, folder: Path) -> None:
    """Run what is not finished and has not failed; add what fails."""
    try:
        with display.live(lines=4, many=True) as live:
            for trials in plan.rounds(live, failed):
                failed |= {failure.folder: failure for failure in run_all(trials, jobs)}
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"continue with the same command and --resume; it writes to {folder}") from None
