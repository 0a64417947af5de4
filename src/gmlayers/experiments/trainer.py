"""Train one model with one seed; killed at any moment, it continues to the same bits."""

from __future__ import annotations

import copy
import math
import os
import shutil
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from os.path import lexists
from pathlib import Path
from typing import Annotated, Any, ParamSpec, Protocol, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gmlayers import GMLayer, parameter_groups
from gmlayers._names import look_up
from gmlayers.experiments import checkpoints
from gmlayers.experiments.data import Data
from gmlayers.experiments.files import refuse_links, sweep
from gmlayers.experiments.models import MODELS, Affine, Precision, Recipe, Shape, trunk, trunk_features
from gmlayers.experiments.processes import ALONE, Part, Processes, parts
from gmlayers.experiments.records import DELETE, Metrics, readable
from gmlayers.experiments.schema import Count, Number, Range
from gmlayers.flows import optim as flow

P = ParamSpec("P")

METRICS = "metrics.jsonl"
"""The records of a trial have this name in its folder: a line for every epoch."""


class MakeOptimizer(Protocol):
    """Makes an optimizer as a recipe says."""

    def __call__(self, model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
        """Return the optimizer of a model."""
        ...


def _of_torch(kind: Callable[..., torch.optim.Optimizer]) -> MakeOptimizer:
    def make(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
        return kind(parameter_groups(model, recipe.lr, recipe.std_lr, weight_decay=recipe.weight_decay))

    return make


def _along_the_flow(kind: Callable[..., torch.optim.Optimizer]) -> MakeOptimizer:
    def make(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
        if recipe.std_lr != recipe.lr or recipe.weight_decay:
            raise ValueError(
                f"{recipe.optimizer} follows a flow: stds have the rate of the rest and nothing decays, got lr "
                f"{recipe.lr:g}, std_lr {recipe.std_lr:g}, weight_decay {recipe.weight_decay:g}; give --std-lr "
                f"{recipe.lr:g} --weight-decay 0"
            )
        return kind(flow.layer_groups(model, recipe.lr))

    return make


OPTIMIZERS: dict[str, MakeOptimizer] = {
    "adam": _of_torch(torch.optim.Adam),
    "adamw": _of_torch(torch.optim.AdamW),
    "sgd": _of_torch(torch.optim.SGD),
    "wasserstein-sgd": _along_the_flow(flow.WassersteinSGD),
    "wasserstein-adam": _along_the_flow(flow.WassersteinAdam),
}

SCHEDULES: dict[str, Callable[[torch.optim.Optimizer, int], torch.optim.lr_scheduler.LRScheduler]] = {
    "one-cycle": lambda optimizer, steps: torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        [group["lr"] for group in optimizer.param_groups],
        steps,
        cycle_momentum=_has_momentum(optimizer),
    ),
    "cosine": torch.optim.lr_scheduler.CosineAnnealingLR,
    "constant": lambda optimizer, steps: torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0, steps),
}


def _has_momentum(optimizer: torch.optim.Optimizer) -> bool:
    return "betas" in optimizer.defaults or bool(optimizer.defaults.get("momentum"))


class Diverged(ValueError):
    """Training met a number that is not finite."""


@dataclass(frozen=True)
class Trial:
    """Everything that decides the outcome of a training run."""

    model: str
    shape: Shape = field(default_factory=Shape)
    recipe: Recipe = field(default_factory=Recipe)
    seed: int = 0
    validate: bool = False
    device: str = "cpu"

    def __post_init__(self) -> None:
        model = look_up("model", self.model, MODELS)
        for name in sorted(self.shape.changed() - model.options):
            raise ValueError(f"{name} has no effect on {self.model}, which takes {', '.join(sorted(model.options))}")
        look_up("optimizer", self.recipe.optimizer, OPTIMIZERS)
        look_up("schedule", self.recipe.schedule, SCHEDULES)
        look_up("precision", self.recipe.precision, dict.fromkeys(get_args(Precision)))
        for name in ("epochs", "batch_size"):
            if getattr(self.recipe, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self.recipe, name)}")
        for name in ("lr", "std_lr", "weight_decay"):
            if not 0 <= getattr(self.recipe, name) <= torch.finfo(torch.float32).max:
                raise ValueError(f"{name} must be finite and not negative, got {getattr(self.recipe, name)}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"a seed must lie in [0, 2^63), got {self.seed}")
        if {"width", "components"} <= self.shape.changed():
            raise ValueError("width and components both set the size; give one of them")
        for name in ("input_dropout", "label_smoothing"):
            if not 0 <= getattr(self.recipe, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self.recipe, name)}")


@dataclass(frozen=True)
class Examples:
    """What one run sees: rows to train on, rows to be judged on."""

    train_x: Tensor
    train_y: Tensor
    judge_x: Tensor
    judge_y: Tensor
    judge: str
    """``"validation"`` or ``"test"``."""


def examples(data: Data, *, validate: bool, device: str = "cpu") -> Examples:
    """Return the split of a run: with ``validate`` the test rows are not among what comes back."""
    train_x, train_y, judge_x, judge_y = data.train_x, data.train_y, data.test_x, data.test_y
    if validate:
        cut = len(train_x) - data.validation
        train_x, train_y, judge_x, judge_y = train_x[:cut], train_y[:cut], train_x[cut:], train_y[cut:]
    parts = [t.to(device) for t in (train_x, train_y, judge_x, judge_y)]
    return Examples(*parts, judge="validation" if validate else "test")


@dataclass(frozen=True)
class Task:
    """What a model must know of its data: enough to rebuild it and predict without them."""

    shape: tuple[Count, ...]
    classes: tuple[str, ...] | None
    columns: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if len(self.shape) not in (1, 3):
            raise ValueError(f"the shape of an input must have 1 or 3 numbers, got {self.shape}")

    @classmethod
    def of(cls, data: Data) -> Task:
        """Return the task that the data pose."""
        return cls(data.shape, data.classes, data.columns)

    @property
    def metric(self) -> str:
        """Name of what is judged: share of wrong classes, or root of the mean squared error."""
        return "rmse" if self.classes is None else "error"

    @property
    def values(self) -> Any:  # noqa: ANN401  (an annotation)
        """Where what is judged lies; an rmse need not be a number even if all parameters are finite."""
        return Number if self.classes is None else Annotated[float, Range(0, 1)]


def build(trial: Trial, task: Task, seen: Examples | None = None) -> nn.Module:
    """Return the whole model, from raw inputs to outputs.

    The net itself is the module ``net``; around it stand fixed affine maps, fitted to the rows that may be
    trained on, or identities (to be loaded) when no rows are given.
    """
    model = nn.Sequential(nn.Flatten())
    if trial.recipe.standardise:
        inputs = Affine(None if len(task.shape) == 3 else math.prod(task.shape))
        model.add_module("inputs", inputs)
        if seen is not None:
            inputs.standardise(seen.train_x.flatten(1))
    model.add_module("dropout", nn.Dropout(trial.recipe.input_dropout))
    out_features = 1 if task.classes is None else len(task.classes)
    in_features = math.prod(task.shape)
    if trial.shape.trunk is not None:
        model.add_module("trunk", trunk(task.shape, trial.shape.trunk))
        in_features = trunk_features(task.shape, trial.shape.trunk)
    model.add_module("net", MODELS[trial.model].build(in_features, out_features, trial.shape))
    if task.classes is None:
        outputs = Affine(1)
        model.add_module("outputs", outputs)
        if seen is not None:
            outputs.unstandardise(seen.train_y)
    return model


def _freeze(model: nn.Module, names: Sequence[str]) -> None:
    """Stop the training of parameters of GM layers, by their names."""
    layers = [module for module in model.modules() if isinstance(module, GMLayer)]
    there = {name: None for layer in layers for name, _ in layer.named_parameters()}
    for name in names:
        look_up("parameter of GM layers", name, there)
        for layer in layers:
            layer.get_parameter(name).requires_grad_(False)


def split(model: nn.Module) -> tuple[nn.Sequential, nn.Sequential]:
    """Return the parts of a model of :func:`build`: all that draws random numbers, and the net that learns."""
    names, modules = zip(*model.named_children())
    first = names.index("dropout") + 1
    before, after = OrderedDict(zip(names[:first], modules)), OrderedDict(zip(names[first:], modules[first:]))
    return nn.Sequential(before), nn.Sequential(after)


def compile_steps(function: Callable[P, Tensor], device: str) -> Callable[P, Tensor]:
    """Return a function compiled for training; on a GPU its steps are recorded as CUDA graphs.

    A small step is over sooner than the GPU is told of it; a graph is started as a whole. The first steps take longer:
    there is one compilation for every size of batch.

    Raises:
        ValueError: if there is no C++ compiler, which the CPU needs.
    """
    check_compiler()
    mode = "reduce-overhead" if device.startswith("cuda") else "default"
    return torch.compile(function, dynamic=False, mode=mode)


def check_compiler() -> None:
    """Raise ``ValueError`` if there is no C++ compiler, which compiled steps need."""
    if not any(map(shutil.which, filter(None, (os.environ.get("CXX"), "c++", "g++", "clang++", "cl")))):
        raise ValueError("compiling needs a C++ compiler, and none was found; install one (such as g++) or do without")


def loss_function(task: Task, recipe: Recipe, y: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """Return cross-entropy for classes; for numbers the squared error in units of the target's variance."""
    if task.classes is not None:
        return lambda output, target: F.cross_entropy(output, target, label_smoothing=recipe.label_smoothing)
    if recipe.label_smoothing:
        raise ValueError(f"label_smoothing is for classes, and the target is a number; got {recipe.label_smoothing}")
    variance = y.var(correction=0)
    if not variance > 0:
        raise ValueError(f"all training targets are {y[0].item()}; there is nothing to learn")
    return lambda output, target: F.mse_loss(output, target) / variance


@torch.no_grad()
def outputs(model: nn.Module, x: Tensor, batch_size: int = 2000) -> Tensor:
    """Return the model's outputs in evaluation mode, batch by batch; the mode is left as it was.

    It warns if some are not finite: what is judged by them is worth nothing.
    """
    was_training = model.training
    result = torch.cat([model.eval()(part) for part in x.split(batch_size)])
    model.train(was_training)
    finite = result.isfinite().flatten(1).all(1)
    if not finite.all():
        warnings.warn(
            f"the model's outputs are not finite for {int((~finite).sum()):,} of {len(x):,} inputs, and what is said "
            f"of them is worth nothing; its numbers or the inputs are too large",
            stacklevel=2,
        )
    return result


def judge(model: nn.Module, task: Task, x: Tensor, y: Tensor, processes: Processes = ALONE) -> float:
    """Return the share of wrong classes, or the root mean squared error; every process answers for its share."""
    shares = x.tensor_split(processes.count)
    output = processes.joined(outputs(model, shares[processes.rank]), [*map(len, shares)])
    if task.classes is None:
        return (output - y).square().mean().sqrt().item()
    return (output.argmax(1) != y).double().mean().item()


class Trainer:
    """The state of one trial, and the loop over its epochs.

    All randomness (initialisation, order of the rows, dropout) comes from torch's global generator, which is
    seeded at the start, saved in every checkpoint, and left as it was found.

    Args:
        trial: what to train.
        data: on what.
        folder: where metrics and checkpoints go; ``None`` keeps nothing. A checkpoint that is there is taken up. There
            must be no link in it.
        compiled: whether training steps are compiled; see :func:`compile_steps`.
        watch: is called after every epoch, before anything of it is saved; what it returns joins the line of metrics.
        processes: who trains together; the first of them writes.
        accumulate: a step takes its rows through the net in so many parts, to the same gradients up to rounding.
    """

    def __init__(
        self,
        trial: Trial,
        data: Data,
        folder: Path | None = None,
        *,
        compiled: bool = False,
        watch: Callable[[Trainer], dict[str, Any]] | None = None,
        processes: Processes = ALONE,
        accumulate: int = 1,
    ) -> None:
        self.device = processes.device(trial.device)
        check_device(self.device)
        self.trial, self.task, self.folder, self.watch = trial, Task.of(data), folder, watch
        self.processes, self.accumulate = processes, accumulate
        self.seen = examples(data, validate=trial.validate, device=self.device)
        recipe = trial.recipe
        with own_randomness(self.device):
            torch.manual_seed(trial.seed)
            self.model = build(trial, self.task, self.seen).to(self.device)
            self.random_state = random_state(self.device)
        _freeze(self.model, recipe.frozen)
        self._before, net = split(self.model)
        self._wrapped = processes.wrap(net)
        self._net = compile_steps(net, self.device) if compiled else self._wrapped
        self.optimizer = OPTIMIZERS[recipe.optimizer](self.model, recipe)
        self.steps_per_epoch = math.ceil(len(self.seen.train_x) / recipe.batch_size)
        self.scheduler = SCHEDULES[recipe.schedule](self.optimizer, recipe.epochs * self.steps_per_epoch)
        self.loss = loss_function(self.task, recipe, self.seen.train_y)
        self.epoch = 0
        writes = folder is not None and processes.rank == 0
        self.metrics = Metrics(folder / METRICS) if folder is not None and writes else None
        with processes.main_first():
            if folder is not None and writes:
                folder.mkdir(parents=True, exist_ok=True)
                refuse_links(folder)
                sweep(folder)
            if folder is not None:
                self._take_up()

    @property
    def metric(self) -> str:
        """Key of what is judged in a line of metrics, such as ``test_error``."""
        return f"{self.seen.judge}_{self.task.metric}"

    def rows(self) -> list[dict[str, Any]]:
        """Return the lines of metrics in the folder.

        Raises:
            ValueError: if one of them is not as it was written.
        """
        assert self.folder is not None
        return read_rows(self.folder, self.seen.judge, self.task)

    def run(self) -> Iterator[dict[str, Any]]:
        """Train the epochs that are left; after each, save and yield its line of metrics.

        Raises:
            Diverged: at the first loss that is not finite; the last checkpoint stays.
        """
        while self.epoch < self.trial.recipe.epochs:
            start = time.perf_counter()
            with own_randomness(self.device):
                set_random_state(self.random_state, self.device)
                train_loss, lr = self._train_epoch()
                self.random_state = random_state(self.device)
            yield self.finish_epoch(train_loss, lr, time.perf_counter() - start)

    def finish_epoch(self, train_loss: float, lr: float, seconds: float) -> dict[str, Any]:
        """Judge the model after an epoch of training; save and return the line of metrics."""
        self.epoch += 1
        row = {
            "epoch": self.epoch,
            "step": self.epoch * self.steps_per_epoch,
            "train_loss": train_loss,
            self.metric: judge(self.model, self.task, self.seen.judge_x, self.seen.judge_y, self.processes),
            "lr": lr,
            "seconds": round(seconds, 4),
        }
        if self.watch is not None:
            row |= self.watch(self)
        if self.metrics is not None:
            self.metrics.append(row)
            self._save()
        return row

    def _train_epoch(self) -> tuple[float, float]:
        """Return the mean loss, and the rate of the last step."""
        total, last, lr = torch.zeros((), device=self.device), math.nan, math.nan
        order = torch.randperm(len(self.seen.train_x)).to(self.device)
        self.model.train()
        for step, rows in enumerate(order.split(self.trial.recipe.batch_size)):
            self.optimizer.zero_grad()
            loss = self._gradients(self._before(self.seen.train_x[rows]), self.seen.train_y[rows])
            last = loss.item()
            if not math.isfinite(last):
                raise self.diverged(step + 1, last)
            lr = self.optimizer.param_groups[0]["lr"]
            self.optimizer.step()
            self.scheduler.step()
            total += loss * len(rows)
        if not all(p.isfinite().all() for p in self.model.parameters()):  # the last step may have spoilt them
            raise self.diverged(self.steps_per_epoch, last)
        return total.item() / len(order), lr

    def _gradients(self, x: Tensor, y: Tensor) -> Tensor:
        """Leave the gradients of a batch at the parameters, those of all processes; return its mean loss."""
        total = torch.zeros((), device=self.device)
        *some, last = parts(len(y), self.processes, self.accumulate)
        for part in some:
            with self.processes.alone(self._wrapped):
                total += self._backward(x, y, part)
        total += self._backward(x, y, last)
        return self.processes.total(total)

    def _backward(self, x: Tensor, y: Tensor, part: Part) -> Tensor:
        """Add the gradients of a part of a batch, and return what it is in the mean loss."""
        with precision(self.trial.recipe, self.device):
            loss = self.loss(self._net(x[part.rows]), y[part.rows])
        (loss * (part.share * self.processes.count)).backward()  # means over processes are taken of them
        return loss.detach() * part.share

    def diverged(self, step: int, loss: float) -> Diverged:
        """Return the error for a number that is not finite, met at a step of this epoch, counted from 1."""
        step += self.epoch * self.steps_per_epoch
        kept = "" if not self.epoch or self.folder is None else f"; the checkpoint of epoch {self.epoch} is kept"
        return Diverged(
            f"training {self.trial.model} (seed {self.trial.seed}) stopped at step {step}: the loss is {loss}; "
            f"{_first_not_finite(self.model)}; try a smaller --lr than {self.trial.recipe.lr:g}{kept}"
        )

    def _save(self) -> None:
        assert self.folder is not None
        assert self.metrics is not None
        optimizer = self.optimizer.state_dict()
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"random.{name}": value for name, value in self.random_state.items()}
        tensors |= checkpoints.optimizer_tensors(optimizer["state"])
        size, checksum = self.metrics.written()
        groups, schedule = optimizer["param_groups"], self.scheduler.state_dict()
        header = checkpoints.Header(self.epoch, size, groups, schedule, asdict(self.trial), checksum)
        checkpoints.write(self.folder / checkpoints.FILE, tensors, header)

    def _take_up(self) -> None:
        """Continue from the checkpoint, if there is one, else from the start."""
        assert self.folder is not None
        path = self.folder / checkpoints.FILE
        if not lexists(path):
            if self.metrics is not None:
                self._begin_anew(self.metrics)
            return
        tensors, header = checkpoints.read(path, asdict(self.trial), self.trial.recipe.epochs)
        weights = checkpoints.weights(tensors, self.model, path)
        optimizer, schedule = self._after_a_step()
        optimizer = checkpoints.optimizer_state(tensors, header, optimizer, path)
        schedule = checkpoints.scheduler_state(header, schedule, header.epoch * self.steps_per_epoch, path)
        random = checkpoints.under("random.", tensors)
        checkpoints.refuse_others(self.random_state, random, path)
        check_random_state(random, self.device, path)
        if self.metrics is not None:
            self.metrics.cut(header.metrics_size, header.metrics)
        if [row["epoch"] for row in self.rows()] != [*range(1, header.epoch + 1)]:
            raise ValueError(
                f"{self.folder / METRICS} does not have a line for each of the {header.epoch} epochs of its "
                f"checkpoint; restore it, or delete {self.folder} to train this seed anew"
            )
        self.model.load_state_dict(weights)
        self.optimizer.load_state_dict(optimizer)
        self.scheduler.load_state_dict(schedule)
        self.random_state, self.epoch = random, header.epoch

    def _after_a_step(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the states that optimizer and schedule have after a step: that of a copy, by gradients of 0."""
        model = copy.deepcopy(self.model)
        optimizer = OPTIMIZERS[self.trial.recipe.optimizer](model, self.trial.recipe)
        scheduler = SCHEDULES[self.trial.recipe.schedule](optimizer, self.trial.recipe.epochs * self.steps_per_epoch)
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
        optimizer.step()
        scheduler.step()
        return optimizer.state_dict(), scheduler.state_dict()

    def _begin_anew(self, metrics: Metrics) -> None:
        """See that no record is lost that no checkpoint continues."""
        assert self.folder is not None
        rows = readable(metrics.path, warn=False)
        if rows and rows[-1]["epoch"] >= self.trial.recipe.epochs:
            raise ValueError(
                f"{self.folder} is finished and its checkpoint is not there; delete the folder to train this seed anew"
            )
        if len(rows) > 1:  # a single line may have been written by a run that died before its first checkpoint
            numbers = [_number(path) for path in self.folder.glob("metrics.lost-*.jsonl")]
            kept = metrics.path.rename(self.folder / f"metrics.lost-{1 + max(numbers, default=0)}.jsonl")
            warnings.warn(f"{self.folder} has records and no checkpoint to continue; see {kept.name}", stacklevel=2)
        metrics.cut(0)


def read_rows(folder: Path, judged: str, task: Task) -> list[dict[str, Any]]:
    """Return the lines of metrics in the folder of a trial.

    Args:
        folder: of the trial.
        judged: ``"validation"`` or ``"test"``.
        task: that the trial learns.

    Raises:
        ValueError: if one of them is not as a trainer writes it.
    """
    fields = {"epoch": Count, "step": Count, "train_loss": Number, "lr": Number, "seconds": Number}
    return Metrics(folder / METRICS).rows({**fields, f"{judged}_{task.metric}": task.values})


def _number(path: Path) -> int:
    """Return the number of records that were lost, by the name of their file; 0 if it is no name of ours."""
    number = path.stem.rpartition("-")[2]
    return int(number) if number.isdecimal() and len(number) < 10 else 0


def read_model(trial: Trial, task: Task, folder: Path) -> nn.Module:
    """Return the trained model of a trial's folder, in evaluation mode.

    Raises:
        ValueError: if its checkpoint is damaged, or that of another trial.
        FileNotFoundError: if there is none.
    """
    path = folder / checkpoints.FILE
    try:
        tensors, header = checkpoints.read(path, asdict(trial), trial.recipe.epochs)
    except FileNotFoundError:
        advice = "train this seed first (gmlayers train --resume RUN)"
        if readable(folder / METRICS, warn=False):
            advice = f"only records are; delete {folder} to train this seed anew"
        raise FileNotFoundError(f"{path} is not there; {advice}") from None
    with torch.device("meta"):  # numbers of any size cost nothing before they are compared with the file
        model = build(trial, task)
    model.load_state_dict(checkpoints.weights(tensors, model, path), assign=True)
    if header.epoch < trial.recipe.epochs:
        warnings.warn(f"{folder} is not finished: epoch {header.epoch} of {trial.recipe.epochs}", stacklevel=2)
    return model.eval()


def _first_not_finite(model: nn.Module) -> str:
    for name, parameter in model.named_parameters():
        if not parameter.isfinite().all():
            return f"the first parameter that is not finite is {name!r}"
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and not parameter.grad.isfinite().all():
            return f"the first parameter whose gradient is not finite is {name!r}"
    return "all parameters and gradients are finite"


def check_device(device: str) -> None:
    """Raise ``ValueError`` for a device that torch does not know or that is not here."""
    try:
        kind, index = torch.device(device).type, torch.device(device).index or 0
    except RuntimeError:
        raise ValueError(f"unknown device {device!r}; give cpu, cuda, or cuda:N") from None
    if kind not in ("cpu", "cuda") or (kind == "cuda" and index >= torch.cuda.device_count()):
        raise ValueError(f"device {device!r} is not available here; give cpu")


def use_threads(number: int) -> None:
    """Compute with so many threads from now on, and with no more than there are cores, which it says.

    More than that take turns on the cores: thousands make an epoch take minutes, and a million end the process.
    """
    cores = os.cpu_count() or 1
    if number > cores:
        warnings.warn(
            f"{number:,} threads are asked for, and there are {cores} cores: computing with {cores}, to the same "
            f"result up to rounding",
            stacklevel=2,
        )
    torch.set_num_threads(min(number, cores))


def precision(recipe: Recipe, device: str) -> AbstractContextManager[object]:
    """Return what a step is computed in."""
    if recipe.precision == "float32":
        return nullcontext()
    return torch.autocast(torch.device(device).type, torch.bfloat16)


def own_randomness(device: str) -> Any:  # noqa: ANN401  (torch does not name the type)
    """Leave the generators of the CPU and of the device as they were before the block."""
    return torch.random.fork_rng([device] if device.startswith("cuda") else [])


def random_state(device: str) -> dict[str, Tensor]:
    """Return the states of the generators by kind of device."""
    state = {"cpu": torch.get_rng_state()}
    return state | {"cuda": torch.cuda.get_rng_state(device)} if device.startswith("cuda") else state


def set_random_state(state: Mapping[str, Tensor], device: str) -> None:
    """Set the generators to what :func:`random_state` returned."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


def check_random_state(state: Mapping[str, Tensor], device: str, path: Path) -> None:
    """Raise ``ValueError``, which names the file that it is from, if a state is none of a generator."""
    with own_randomness(device):
        try:
            set_random_state(state, device)
        except RuntimeError as error:
            raise ValueError(f"{path}: the state of random numbers is none ({error}); {DELETE}") from None
