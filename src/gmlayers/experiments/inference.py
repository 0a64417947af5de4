"""``gmlayers evaluate``, ``gmlayers compare`` and ``gmlayers predict``."""

from __future__ import annotations

import statistics
import sys
import warnings
from collections.abc import Iterable, Sequence
from os.path import lexists
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tyro.conf import Positional, arg

from gmlayers.experiments import display, run_folder
from gmlayers.experiments.data import read_inputs
from gmlayers.experiments.files import write_whole
from gmlayers.experiments.text import as_csv
from gmlayers.experiments.trainer import Task, check_device, examples, judge, outputs, read_model


def evaluate(run: Annotated[Path, Positional, arg(metavar="RUN")], *, device: str = "cpu") -> None:
    """Judge the trained models of a run again, from their checkpoints.

    A run made with --validate is judged on its validation rows, every other run on the test rows.

    Args:
        run: A folder made by `gmlayers train`.
        device: Where to compute.
    """
    check_device(device)
    config = run_folder.open_run(run)
    data = run_folder.load_named(config, run)
    seen = examples(data, validate=config.validate, device=device)
    values, rows = [], []
    for seed in config.seeds:
        model = read_model(config.trial(seed), config.task, run_folder.seed_folder(run, seed)).to(device)
        values.append(judge(model, config.task, seen.judge_x, seen.judge_y))
        rows.append([str(seed), display.shown(values[-1:], percent=config.task.classes is not None)])
    if len(values) > 1:
        rows.append(["mean ± std", display.shown(values, percent=config.task.classes is not None)])
    title = f"{config.model} on {config.source}: {len(seen.judge_x):,} {seen.judge} rows"
    display.print_table(title, ["seed", f"{seen.judge} {config.task.metric}"], rows)


def compare(
    runs: Annotated[list[Path], Positional, arg(metavar="RUN...", help_behavior_hint="")],
    *,
    out: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")] = None,
    figure: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")] = None,
) -> None:
    """Print finished runs in one table, the best first; if you like, draw them.

    Args:
        runs: Folders made by `gmlayers train`.
        out: Write a line for every run and seed into this CSV file as well; must not exist.
        figure: Draw the curves over epochs into this PNG file as well; must not exist.
    """
    _refuse_existing(out)
    _refuse_existing(figure)
    lines, trials = [], [["run", "model", "parameters", "seed", "metric", "value", "seconds"]]
    runs = [folder for folder in runs if _is_finished(folder)]
    if not runs:
        raise ValueError("compare: give at least one finished run")
    for folder in runs:
        config = run_folder.open_run(folder)
        summary = run_folder.read_summary(config, folder)
        values = [trial[config.metric] for trial in summary]
        name, size = folder.resolve().name, summary[0]["parameters"]
        seconds = statistics.fmean(trial["seconds"] for trial in summary)
        row = [name, config.model, f"{size:,}", str(len(values)), config.metric.replace("_", " ")]
        row += [display.shown(values, percent=config.task.classes is not None), f"{seconds:.1f}"]
        lines.append((statistics.fmean(values), row))
        for trial, value in zip(summary, values):
            trials.append([name, config.model, size, trial["seed"], config.metric, value, trial["seconds"]])
    header = ["run", "model", "parameters", "seeds", "judged by", "mean ± std", "seconds"]
    rows = [row for _, row in sorted(lines)]
    display.print_table(f"{len(rows)} runs, the best first; seconds are per seed", header, rows, left=2)
    if out is not None:
        write_whole(out, as_csv(trials).encode())
    if figure is not None:
        _draw(runs, figure)


def _is_finished(folder: Path) -> bool:
    """Whether there is something to compare; say why not, so that ``runs/*/`` can be given."""
    if not (folder / "config.json").exists():
        warnings.warn(f"{folder} is no run of `gmlayers train`; left out", stacklevel=2)
    elif not (folder / run_folder.SUMMARY).exists():
        warnings.warn(f"{folder} is not finished (gmlayers train --resume {folder}); left out", stacklevel=2)
    else:
        return True
    return False


def _draw(runs: Sequence[Path], path: Path) -> None:
    """Draw what the runs were judged by against epochs; all must be judged alike."""
    from gmlayers.experiments import plots  # here, because matplotlib is slow to import and seldom wanted

    values: dict[str, NDArray[np.float64]] = {}
    metrics = set()
    for folder in runs:
        config = run_folder.open_run(folder)
        metrics.add(config.metric)
        values[folder.resolve().name] = run_folder.read_curves(config, folder)
    if len(metrics) > 1:
        raise ValueError(f"--figure needs runs that are judged alike, got {', '.join(sorted(metrics))}")
    (metric,) = metrics
    percent = metric.endswith("error")
    lengths = [value.shape[1] for value in values.values()]
    plots.curves(
        {name: (100 if percent else 1) * value for name, value in values.items()},
        path,
        title="mean ± std over seeds",
        ylabel=metric.replace("_", " ") + (" (%)" if percent else ""),
        logarithmic_epochs=max(lengths) > 3 * min(lengths),
    )


def predict(
    run: Annotated[Path, Positional, arg(metavar="RUN")],
    files: Annotated[list[Path], Positional, arg(metavar="FILE...", help_behavior_hint="")],
    *,
    seed: Annotated[int | None, arg(metavar="INT", help_behavior_hint="")] = None,
    out: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")] = None,
) -> None:
    """Predict for new files with a trained model, as CSV.

    A name with control characters is written with escapes, and one that a spreadsheet would run as a formula begins
    with an apostrophe.

    For a model of images each file is one image; one of another size is resized, with a warning. For a model
    of a table each file is a .csv or .npz with the columns it was trained on; others are ignored.

    Args:
        run: A folder made by `gmlayers train`.
        files: Images, or tables.
        seed: Which of the run's models; the first by default.
        out: File for the result; must not exist. Default: standard output.
    """
    _refuse_existing(out)
    if not files:
        raise ValueError("predict: give at least one file")
    config = run_folder.open_run(run)
    seed = config.seeds[0] if seed is None else seed
    if seed not in config.seeds:
        raise ValueError(f"seed {seed} is not in the run; it has {', '.join(map(str, config.seeds))}")
    model = read_model(config.trial(seed), config.task, run_folder.seed_folder(run, seed))
    names, x = _read(files, config.task)
    text = as_csv(_lines(names, outputs(model, x), config.task))
    if out is None:
        sys.stdout.write(text)
    else:
        write_whole(out, text.encode())


def _refuse_existing(out: Path | None) -> None:
    if out is not None and lexists(out):
        raise FileExistsError(f"{out} exists; choose another --out")


def _read(files: Sequence[Path], task: Task) -> tuple[list[str], Tensor]:
    inputs, names = [], []
    for file in files:
        x, labels = read_inputs(file, shape=task.shape, columns=task.columns)
        inputs.append(x)
        names += [str(file)] if labels == [file.name] else [f"{file}: {label}" for label in labels]
    return names, torch.cat(inputs)


def _lines(names: Sequence[str], output: Tensor, task: Task) -> Iterable[Sequence[str]]:
    if task.classes is None:
        yield "input", "prediction"
        yield from ((name, f"{value:.6g}") for name, value in zip(names, output.flatten().tolist()))
        return
    yield "input", "prediction", "probability"
    probability, label = output.softmax(1).max(1)
    for name, p, index in zip(names, probability.tolist(), label.tolist()):
        yield name, task.classes[index], f"{p:.4f}"
