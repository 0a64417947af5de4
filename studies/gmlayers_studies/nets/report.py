"""What is written of a study of nets: its verdict, a table, and how they were trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

from matplotlib.figure import Figure

from gmlayers.experiments.display import shown
from gmlayers_studies.nets.judging import NetResults, finished, missing, parameters, summary, table_of
from gmlayers_studies.nets.net import NetRun
from gmlayers_studies.report import machines
from gmlayers_studies.study import Epochs, Finding, Results, Study, Table

Judge = Callable[[NetResults], Sequence[str]]


def report(
    draw: Callable[[NetResults], Figure],
    judge: Judge,
    more: Callable[[NetResults], Mapping[str, bytes]] | None = None,
) -> Callable[[Results], Finding | None]:
    """Return the report of a study of nets.

    Args:
        draw: makes the figure.
        judge: says in sentences whether the records bear the claim out, and by which test.
        more: makes other files to write beside the figure, such as an animation.
    """

    def found(results: Results) -> Finding | None:
        study, runs = results.study, cast(Sequence[NetRun], [*results.runs.values()])
        own = NetResults(runs, table_of(runs, results.records), results.records)
        if own.table.empty:
            return None
        sentences = [*judge(own), *missing(own)]
        return Finding(
            {"": draw(own)},
            _page(results, own, sentences),
            ["net", "seeds", _judged(study), "seconds a trial"],
            [[run.title, str(len(done)), error, seconds] for run, done, error, seconds in _trials(own)],
            sentences,
            {} if more is None else more(own),
        )

    return found


def _trials(results: NetResults) -> list[tuple[NetRun, Sequence[float], str, str]]:
    """Return the runs of which trials are finished, with their errors, these in words, and the seconds of a trial."""
    trials = summary(results.table)
    return [
        (run, errors, shown(errors, percent=True), f"{done['seconds'].mean():.3g}")
        for run in results.runs
        if len(done := finished(trials, run))
        for errors in (done["error"].tolist(),)
    ]


def _page(results: Results, own: NetResults, sentences: Sequence[str]) -> list[str | Table]:
    study = results.study
    rows = [
        [run.dataset, run.label, f"{parameters(run):,}", f"{len(done)} × {run.epochs}", protocol(run), error, seconds]
        for run, done, error, seconds in _trials(own)
    ]
    command = f"gmlayers reproduce {study.name} --profile {_profile(study, own.runs)}"
    header = ["data", "net", "parameters", "trials × epochs", "trained by", _judged(study), "seconds a trial"]
    usual = {name for size in study.profiles.values() for name in size.tasks}
    command += "".join(f" --dataset {name}" for name in sorted({run.dataset for run in own.runs} - usual))
    return [
        *([study.note, ""] if study.note else []),
        *(f"- {sentence}" for sentence in sentences),
        "",
        Table("nets", header, rows),
        f"`{command}` ran one trial a core on {machines(results)}. Errors are those of the last epoch, of finished "
        "trials. Bands and ± are one standard deviation over trials. Tests are Welch's and intervals are of 95 %; they "
        "are not corrected for their number.",
        "",
    ]


def _profile(study: Study, runs: Sequence[NetRun]) -> str:
    """Return the profile that runs are of, as far as its number of epochs tells."""
    for name, size in study.profiles.items():
        if all((Epochs(run.epochs),) == size.of(run.label).sizes for run in runs):
            return name
    return "..."


def _judged(study: Study) -> str:
    """Return what stands in the column of errors."""
    return "validation error" if study.validate else "test error"


def protocol(run: NetRun) -> str:
    """Return how a run is trained, in a few words."""
    recipe = run.training.recipe
    shape = run.training.shape
    words = [] if run.training.model == "paper" else [shape.activation]
    words += [] if shape.init_scale is None else [f"γ = {shape.init_scale:g}"]
    words += [recipe.optimizer, recipe.schedule, f"batch {recipe.batch_size}", f"rate {recipe.lr:g}"]
    words += [f"stds {recipe.std_lr:g}"] * (recipe.std_lr != recipe.lr and run.training.model != "fc_mean")
    for name in ("weight_decay", "input_dropout", "label_smoothing"):
        words += [f"{name.replace('_', ' ')} {getattr(recipe, name):g}"] * (getattr(recipe, name) != 0)
    words += ["standardised inputs"] * recipe.standardise + [f"{', '.join(recipe.frozen)} frozen"] * bool(recipe.frozen)
    return ", ".join(words)
