"""``gmlayers evaluate``, ``gmlayers compare`` and ``gmlayers predict``."""

from __future__ import annotations

import statistics
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from os.path import lexists
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tyro.conf import Positional, arg

from gmlayers.experiments import display, run_folder
from gmlayers.experiments._numbers import Decimal
from gmlayers.experiments.data import read_inputs
from gmlayers.experiments.files import write_whole
from gmlayers.experiments.run_folder import Run
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
    """Print finished runs, the best first; if you like, draw them.

    Runs on other data, or judged by something else, stand in a table of their own: their numbers mean other things.

    Args:
        runs: Folders made by `gmlayers train`.
        out: Write a line for every run and seed into this CSV file as well; must not exist.
        figure: Draw the curves over epochs into this PNG file as well; must not exist. For runs of one table only.
    """
    _refuse_existing(out)
    _refuse_existing(figure)
    found = {folder: run_folder.open_run(folder) for folder in runs if _is_finished(folder)}
    if not found:
        raise ValueError("compare: give at least one finished run")
    names = _names(list(found))
    groups: dict[tuple[str, str], list[Path]] = {}
    for folder, config in found.items():
        groups.setdefault((config.fingerprint, config.metric), []).append(folder)
    titles = [_title(found[folders[0]], folders) for folders in groups.values()]
    if figure is not None and len(groups) > 1:
        each = "; ".join(
            f"{title}: {', '.join(names[f] for f in group)}" for title, group in zip(titles, groups.values())
        )
        raise ValueError(
            f"--figure draws runs on the same data that are judged alike, got {len(groups)} kinds ({each})"
        )
    header = ["run", "model", "parameters", "seeds", "judged by", "mean ± std", "seconds"]
    trials = [["run", "model", "parameters", "seed", "metric", "value", "seconds", "data", "checksum"]]
    for title, folders in zip(titles, groups.values()):
        lines = []
        for folder in folders:
            config = found[folder]
            summary = run_folder.read_summary(config, folder)
            values, size = [trial[config.metric] for trial in summary], summary[0]["parameters"]
            seconds = statistics.fmean(trial["seconds"] for trial in summary)
            row = [names[folder], config.model, f"{size:,}", str(len(values)), config.metric.replace("_", " ")]
            row += [display.shown(values, percent=config.task.classes is not None), f"{seconds:.1f}"]
            lines.append((statistics.fmean(values), row))
            for trial, value in zip(summary, values):
                line = [names[folder], config.model, size, trial["seed"], config.metric, value, trial["seconds"]]
                trials.append([*line, config.source, config.fingerprint])
        rows = [row for _, row in sorted(lines)]
        display.print_table(f"{title}; the best first, seconds are per seed", header, rows, left=2)
    if out is not None:
        write_whole(out, as_csv(trials).encode())
    if figure is not None:
        _draw(found, names, figure)


def _names(folders: Sequence[Path]) -> dict[Path, str]:
    """The name of each folder, with as many of the folders that it lies in as tell all of them apart."""
    paths = {folder: folder.resolve() for folder in folders}

    def names(parts: int) -> dict[Path, str]:
        return {folder: str(Path(*path.parts[-parts:])) for folder, path in paths.items()}

    return next(found for parts in count(1) if len(set((found := names(parts)).values())) == len(set(paths.values())))


def _title(run: Run, folders: Sequence[Path]) -> str:
    """What the runs of a table have in common."""
    target = f", target {run.target}" if run.target is not None else ""
    return f"{len(folders)} run{'s' * (len(folders) > 1)} on {run.source}{target} by {run.metric.replace('_', ' ')}"


def _is_finished(folder: Path) -> bool:
    """Whether there is something to compare; say why not, so that ``runs/*/`` can be given."""
    if not (folder / "config.json").exists():
        warnings.warn(f"{folder} is no run of `gmlayers train`; left out", stacklevel=2)
    elif not (folder / run_folder.SUMMARY).exists():
        warnings.warn(f"{folder} is not finished (gmlayers train --resume {folder}); left out", stacklevel=2)
    else:
        return True
    return False


def _draw(runs: Mapping[Path, Run], names: Mapping[Path, str], path: Path) -> None:
    """Draw what the runs were judged by against epochs; all are judged alike."""
    from gmlayers.experiments import plots  # here, because matplotlib is slow to import and seldom wanted

    values: dict[str, NDArray[np.float64]] = {}
    metric = next(iter(runs.values())).metric
    for folder, config in runs.items():
        values[names[folder]] = run_folder.read_curves(config, folder)
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
    decimal: Annotated[Decimal | None, arg(help_behavior_hint="(default: as in training)")] = None,
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
        decimal: What stands before the decimals in a table; auto finds out.
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
    names, x = _read(files, config.task, config.decimal if decimal is None else decimal)
    text = as_csv(_lines(names, outputs(model, x), config.task))
    if out is None:
        sys.stdout.write(text)
    else:
        write_whole(out, text.encode())


def _refuse_existing(out: Path | None) -> None:
    if out is not None and lexists(out):
        raise FileExistsError(f"{out} exists; choose another --out")


def _read(files: Sequence[Path], task: Task, decimal: Decimal) -> tuple[list[str], Tensor]:
    inputs, names = [], []
    for file in files:
        x, labels = read_inputs(file, shape=task.shape, columns=task.columns, decimal=decimal, say=display.note)
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
