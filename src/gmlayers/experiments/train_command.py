"""``gmlayers train``: one model, one recipe, any number of seeds, on any data."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from filelock import BaseFileLock, Timeout
from tyro.conf import FlagCreatePairsOff, Positional, arg

from gmlayers._names import look_up
from gmlayers.experiments import display, run_folder
from gmlayers.experiments._numbers import Decimal
from gmlayers.experiments.batched import BatchedTrainer
from gmlayers.experiments.data import NAMES, Data, Kind, load
from gmlayers.experiments.files import lock, refuse_links, sweep
from gmlayers.experiments.interrupts import interrupts_say
from gmlayers.experiments.models import MODELS, Precision, Recipe, Shape
from gmlayers.experiments.processes import ALONE, Processes, together, wanted_precision
from gmlayers.experiments.run_folder import Run, fingerprint, seed_folder
from gmlayers.experiments.trainer import Task, Trainer, check_compiler, use_threads

MODELS_OWN = "(default: the model's)"


@dataclass(frozen=True)
class Changes:
    """What to change in the model's own recipe; ``None`` keeps it."""

    optimizer: Annotated[str | None, arg(metavar="NAME", help_behavior_hint=MODELS_OWN)] = None
    """One of adam, adamw, sgd, wasserstein-sgd and wasserstein-adam."""
    schedule: Annotated[str | None, arg(metavar="NAME", help_behavior_hint=MODELS_OWN)] = None
    """One of one-cycle, cosine and constant."""
    epochs: Annotated[int | None, arg(metavar="INT", help_behavior_hint="")] = None
    """Passes over the training rows. Default: 30, or more where the rows are few; 200 for paper."""
    batch_size: Annotated[int | None, arg(metavar="INT", help_behavior_hint=MODELS_OWN)] = None
    """Rows per step."""
    lr: Annotated[float | None, arg(metavar="FLOAT", help_behavior_hint=MODELS_OWN)] = None
    """Rate of all parameters but the stds."""
    std_lr: Annotated[float | None, arg(metavar="FLOAT", help_behavior_hint=MODELS_OWN)] = None
    """Rate of the stds; where only --lr is given it moves in proportion."""
    weight_decay: Annotated[float | None, arg(metavar="FLOAT", help_behavior_hint=MODELS_OWN)] = None
    """Weight decay of weights and means, never of stds and biases."""
    input_dropout: Annotated[float | None, arg(metavar="FLOAT", help_behavior_hint=MODELS_OWN)] = None
    """Share of inputs set to zero in training."""
    label_smoothing: Annotated[float | None, arg(metavar="FLOAT", help_behavior_hint=MODELS_OWN)] = None
    """Share of the label spread over all classes."""
    standardise: Annotated[bool | None, arg(metavar="{True,False}", help_behavior_hint=MODELS_OWN)] = None
    """Give the inputs mean 0 and variance 1 (images as a whole, tables per column)."""
    frozen: Annotated[tuple[str, ...] | None, arg(metavar="NAME", help_behavior_hint="(default: none)")] = None
    """Parameters of the GM layers that stay as they were drawn, such as mean std."""
    precision: Annotated[
        Precision | None,
        arg(metavar="{float32,bfloat16}", help_behavior_hint="(default: float32, or that of accelerate)"),
    ] = None
    """Matrix products of a step are in this dtype, by autocast; parameters, expectations and judgement are not."""

    def apply(self, recipe: Recipe) -> Recipe:
        """Return the recipe with the changes."""
        given = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
        if "lr" in given and "std_lr" not in given:
            given["std_lr"] = recipe.std_lr * given["lr"] / recipe.lr
        return dataclasses.replace(recipe, **given)


def new_run(
    source: str,
    *,
    model: str,
    shape: Shape,
    changes: Changes,
    seeds: tuple[int, ...],
    target: str | None,
    task: Kind,
    decimal: Decimal,
    validate: bool,
    device: str,
    threads: int | None,
) -> tuple[Run, Data]:
    """Return a run and its data, checked as far as can be before anything is written."""
    recipe = look_up("model", model, MODELS).recipe
    data = load(source, target=target, task=task, decimal=decimal, say=display.note)
    rows = len(data.train_x) - (data.validation if validate else 0)
    if changes.batch_size is not None:
        recipe = dataclasses.replace(recipe, batch_size=max(1, changes.batch_size))  # decides the steps an epoch
    recipe = changes.apply(recipe.fitted(rows, images=data.is_image))
    run = Run(
        source=source if source.lower() in NAMES else str(Path(source).expanduser().resolve()),
        target=target,
        kind=task,
        decimal=decimal,
        task=Task.of(data),
        fingerprint=fingerprint(data),
        model=model,
        shape=shape,
        recipe=recipe,
        seeds=seeds,
        validate=validate,
        device=device,
        threads=min(torch.get_num_threads(), os.cpu_count() or 1) if threads is None else threads,
    )
    Trainer(run.trial(seeds[0]), data)  # what cannot be trained is refused before the folder is made
    return run, data


@dataclass(frozen=True)
class How:
    """How a run is trained: what changes its outcome by rounding at most."""

    processes: Processes = ALONE
    tensorboard: bool = False
    batched: bool = False
    compiled: bool = False
    accumulate: int = 1

    def __post_init__(self) -> None:
        if self.accumulate < 1:
            raise ValueError(f"--accumulate must be at least 1, got {self.accumulate}")
        several = self.processes.count > 1
        for given, name in ((self.batched, "--batched"), (self.compiled, "--compiled")):
            if given and several:
                raise ValueError(f"{name} is for one process, and {self.processes.count} were launched; omit it")
        if self.batched and self.accumulate > 1:
            raise ValueError("--batched takes a step in one part; omit --accumulate")

    @property
    def options(self) -> str:
        """The options of the command that say so."""
        accumulate = f" --accumulate {self.accumulate}" if self.accumulate > 1 else ""
        return " --batched" * self.batched + " --compiled" * self.compiled + accumulate


def train_run(run: Run, data: Data, folder: Path, how: How = How()) -> list[dict[str, Any]]:
    """Train every seed of a run that is not finished; return one summary per seed.

    Raises:
        KeyboardInterrupt: with the command that continues the run.
        ValueError: if there is a link in the folder, which may lead anywhere.
    """
    refuse_links(folder)
    use_threads(run.threads)
    train_seeds, first = _together if how.batched else _one_by_one, how.processes.rank == 0
    hint = f"continue with: gmlayers train --resume {folder}{how.options}"
    with interrupts_say(hint), _alone(folder) if first else nullcontext(), display.live() as live:
        if first:
            sweep(folder)
        summaries = train_seeds(run, data, folder, live, how)
    if first:
        run_folder.write_summary(folder, summaries)
    return summaries


def _one_by_one(run: Run, data: Data, folder: Path, live: display.Live, how: How) -> list[dict[str, Any]]:
    summaries = []
    for seed in run.seeds:
        place, processes = seed_folder(folder, seed), how.processes
        trial = run.trial(seed)
        trainer = Trainer(trial, data, place, compiled=how.compiled, processes=processes, accumulate=how.accumulate)
        with _shown(trainer, live, tensorboard=how.tensorboard and processes.rank == 0) as show:
            for row in trainer.run():
                show(row)
        if processes.rank == 0:
            summaries.append(_summary(trainer))
    return summaries


def _together(run: Run, data: Data, folder: Path, live: display.Live, how: How) -> list[dict[str, Any]]:
    folders = [seed_folder(folder, seed) for seed in run.seeds]
    batched = BatchedTrainer([run.trial(seed) for seed in run.seeds], data, folders, compiled=how.compiled)
    with ExitStack() as stack:
        shows = [stack.enter_context(_shown(t, live, tensorboard=how.tensorboard)) for t in batched.trainers]
        for rows in batched.run():
            for show, row in zip(shows, rows):
                if row is not None:
                    show(row)
    return [_summary(trainer) for trainer in batched.trainers]


@contextmanager
def _shown(trainer: Trainer, live: display.Live, *, tensorboard: bool) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Give what shows a line of metrics of a trial, and writes it to TensorBoard if wanted."""
    trial = trainer.trial
    bar = live.bar(f"{trial.model} seed {trial.seed}", trainer.metric, trainer.epoch, trial.recipe.epochs)
    if not tensorboard:
        yield bar
        return
    from torch.utils.tensorboard import SummaryWriter  # slow to import, and only wanted here

    assert trainer.folder is not None
    purge_step = trainer.epoch * trainer.steps_per_epoch + 1
    with SummaryWriter(str(trainer.folder / "tensorboard"), purge_step=purge_step) as writer:

        def show(row: dict[str, Any]) -> None:
            for name in ("train_loss", trainer.metric, "lr"):
                writer.add_scalar(name, row[name], row["step"])
            bar(row)

        yield show


def _alone(folder: Path) -> AbstractContextManager[BaseFileLock]:
    """Hold the run, so that no other process appends to its metrics; raise if one holds it already."""
    try:
        return lock(folder / ".lock").acquire(blocking=False)
    except Timeout:
        raise BlockingIOError(f"{folder} is being trained by another process; wait for it or stop it") from None


def report(run: Run, folder: Path, summaries: list[dict[str, Any]]) -> None:
    """Print the outcome as a table."""
    percent = run.task.classes is not None
    values = [s[run.metric] for s in summaries]
    seconds = [s["seconds"] for s in summaries]
    rows = [[str(s["seed"]), display.shown([s[run.metric]], percent=percent), f"{s['seconds']:.1f}"] for s in summaries]
    if len(values) > 1:
        rows.append(["mean ± std", display.shown(values, percent=percent), display.shown(seconds, percent=False)])
    title = f"{run.model} on {run.source}: {summaries[0]['parameters']:,} parameters, {run.recipe.epochs} epochs"
    display.print_table(title, ["seed", run.metric.replace("_", " "), "seconds"], rows)
    display.say(f"Everything stands in {folder}. Next: gmlayers evaluate {folder}")


def train(
    source: Annotated[str | None, Positional, arg(metavar="DATA", help_behavior_hint="")] = None,
    *,
    model: str = "low_rank",
    net: Shape = Shape(),  # noqa: B008  (frozen)
    recipe: Changes = Changes(),
    seeds: tuple[int, ...] = (0,),
    target: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")] = None,
    task: Kind = "auto",
    decimal: Decimal = "auto",
    kind: Annotated[Kind | None, arg(metavar="TASK", help_behavior_hint="")] = None,
    validate: Annotated[bool, FlagCreatePairsOff] = False,
    out: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="")] = None,
    resume: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="")] = None,
    batched: Annotated[bool, FlagCreatePairsOff] = False,
    compiled: Annotated[bool, FlagCreatePairsOff] = False,
    accumulate: Annotated[int, arg(metavar="INT")] = 1,
    tensorboard: Annotated[bool, FlagCreatePairsOff] = False,
    device: str = "cpu",
    threads: Annotated[int | None, arg(metavar="INT", help_behavior_hint="")] = None,
) -> None:
    """Train a model on a data set, a folder of images or a table.

    Every model has a recipe of its own, so that `gmlayers train mnist` is a complete command; any part of it
    can be changed. The test set is judged after every epoch for the record and decides nothing. To choose
    settings, use --validate: the last training rows are held out (10 000 for MNIST and Fashion-MNIST, a tenth
    elsewhere) and judged instead; the test rows play no part.

    The run folder holds config.json, environment.json, summary.json, and for every seed metrics.jsonl and
    checkpoint.safetensors. A run that was stopped, at any moment, continues with the option --resume to the
    same bits on the same machine. Started by `accelerate launch` or `torchrun` it trains on many processes, which
    share the rows of every step, and gives what one gives up to rounding; their number may change with --resume. A
    run folder may come from somebody else: nothing in it is unpickled, nothing is
    written through a link in it, and the path that it says its data have is printed before it is read.

    For example:

    gmlayers train mnist

    gmlayers train mnist --model diagonal --seeds 0 1 2 3 4

    gmlayers train fashion-mnist --model paper --epochs 20 --out runs/paper

    gmlayers train measurements.csv --target price --task regression

    gmlayers train mnist --seeds 0 1 2 3 4 5 6 7 --batched --device cuda

    gmlayers train --resume runs/mnist-low_rank

    accelerate launch --num_processes 2 -m gmlayers train mnist --device cuda

    torchrun --nproc-per-node 2 -m gmlayers train mnist

    Args:
        source: A data set's name (`gmlayers list`), a folder of class folders of images, a .csv or .npz file.
        model: low_rank, shared_factor, diagonal, paper, fc or fc_mean; `gmlayers list` says what they are.
        net: Its size and form.
        recipe: How it is trained.
        seeds: One independent training run each.
        target: Column to predict, for tables; the last one by default.
        task: What the target is; auto takes text and few whole numbers as classes, says so, and asks where it may be
            either.
        decimal: What stands before the decimals in a table; auto finds out, and asks where 1,234 may be 1234 or 1.234.
        kind: Deprecated; its name is now --task.
        validate: Hold out the last training rows and judge on them instead of the test rows.
        out: Run folder; must not exist. Default: runs/DATA-MODEL.
        resume: Continue the run in this folder; everything else is taken from it.
        batched: Train all seeds at once, as one model with batched parameters; to the same result up to rounding,
            not to the same bits. Meant for many seeds on a GPU, which one small net leaves idle; on a CPU it helps
            where the inputs are few. The seconds of a seed are then its share. May be given or left out anew with
            --resume.
        compiled: Compile the training steps, on a GPU into CUDA graphs: to the same result up to rounding. It costs
            some seconds at the start, and pays on long runs of small batches. As --batched with --resume.
        accumulate: Take the rows of a step through the net in so many parts, which needs less memory: to the same
            result up to rounding. As --batched with --resume.
        tensorboard: Write TensorBoard logs beside the metrics.
        device: cpu, cuda, cuda:1, ...
        threads: CPU threads, at most as many as there are cores; bits are reproduced for equal numbers only. Default:
            torch's.
    """
    if kind is not None:
        warnings.warn("--kind is deprecated; its name is now --task", stacklevel=2)
        task = kind
    if compiled:
        check_compiler()
    cores = os.cpu_count() or 1
    if threads is not None and not 1 <= threads <= cores:
        raise ValueError(f"--threads must be at least 1, and at most {cores} as there are cores, got {threads}")
    precision, known = wanted_precision(), None
    if resume is not None:
        others = source, model, net, recipe, seeds, target, task, decimal, validate, out, device, threads
        if others != (None, "low_rank", Shape(), Changes(), (0,), None, "auto", "auto", False, None, "cpu", None):
            raise ValueError(
                "--resume takes everything from the folder; give no more than --tensorboard, --batched, --compiled, "
                "--accumulate"
            )
        known = run_folder.open_run(resume)
        if known.watch is not None:
            raise ValueError(f"{resume} is watched by `gmlayers reproduce`; continue it by that command")
    elif source is None:
        raise ValueError("what to train on? give a data set such as mnist, a path, or --resume FOLDER")
    stated = recipe.precision if known is None else known.recipe.precision
    if precision is not None and stated not in (None, precision):
        raise ValueError(f"accelerate was told to compute in {precision}, and the run is in {stated}; launch it so")
    with together(device if known is None else known.device) as processes:
        how = How(processes, tensorboard, batched, compiled, accumulate)
        if known is not None and resume is not None:
            run, folder, data = known, resume, run_folder.load_named(known, resume)
        else:
            assert source is not None
            folder = Path("runs") / f"{Path(source).stem}-{model}" if out is None else out
            run, data = new_run(
                source,
                model=model,
                shape=net,
                changes=recipe if precision is None else dataclasses.replace(recipe, precision=precision),
                seeds=seeds,
                target=target,
                task=task,
                decimal=decimal,
                validate=validate,
                device=device,
                threads=threads,
            )
            with processes.main_first():
                if processes.rank == 0:
                    run_folder.create(run, folder)
        summaries = train_run(run, data, folder, how)
        if processes.rank == 0:
            report(run, folder, summaries)


def _summary(trainer: Trainer) -> dict[str, Any]:
    assert trainer.metrics is not None
    rows = trainer.rows()
    return {
        "seed": trainer.trial.seed,
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        trainer.metric: rows[-1][trainer.metric],
        "seconds": round(sum(row["seconds"] for row in rows), 2),
        "metrics": trainer.metrics.written()[1],  # by which read_curves knows them again
    }
