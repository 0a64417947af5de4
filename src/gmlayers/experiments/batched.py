"""Train many seeds, initial sizes and rates of one architecture at once, as one model with batched parameters."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state
from torch.nn import functional as F

from gmlayers.experiments.data import Data
from gmlayers.experiments.trainer import (
    Diverged,
    Trainer,
    Trial,
    compile_steps,
    own_randomness,
    precision,
    random_state,
    set_random_state,
    split,
)


class BatchedTrainer:
    """Trials that are trained together; the outcome is that of a :class:`Trainer` each, up to rounding.

    Every trial keeps its Trainer, and with it its own stream of random numbers, its metrics and its checkpoints:
    what was begun together can be continued apart, and the other way round. Trials that are behind the others are
    trained first, by themselves.

    Args:
        trials: what to train; they may differ in seed, ``init_scale``, ``lr`` and ``std_lr``, in nothing else.
        data: on what.
        folders: where metrics and checkpoints go, one folder per trial; ``None`` keeps nothing.
        compiled: whether training steps are compiled; see :func:`gmlayers.experiments.trainer.compile_steps`.

    Raises:
        ValueError: for no trials, for trials that differ in anything else, for folders that are not one per trial.
    """

    def __init__(
        self, trials: Sequence[Trial], data: Data, folders: Sequence[Path] | None = None, *, compiled: bool = False
    ) -> None:
        _refuse(trials, folders)
        self.compiled = compiled
        self.trainers: list[Trainer] = []
        for trial, folder in zip(trials, [None] * len(trials) if folders is None else folders):
            trainer = Trainer(trial, data, folder)
            if self.trainers:
                trainer.seen = self.trainers[0].seen  # one copy of the data on the device
            # Without gradients this step moves nothing; it tells the schedule that the optimizer comes before it.
            trainer.optimizer.step()
            self.trainers.append(trainer)
        self.stopped: dict[int, Diverged] = {}
        """The trials that met a number that is not finite, by their place."""

    def run(self) -> Iterator[list[dict[str, Any] | None]]:
        """Train the epochs that are left; after each, save and yield the lines of metrics.

        A line stands at the place of its trial; ``None`` stands for a trial that was stopped, or that had been
        trained further than the others. Its seconds are the trial's share of the time that all took together.

        Raises:
            Diverged: at the end, if a trial met a loss that is not finite; its last checkpoint stays, and the other
                trials are not touched.
        """
        group = None
        while places := self._behind():
            if group is None or group.places != places:
                group = _Group(places, [self.trainers[place] for place in places], compiled=self.compiled)
            rows, stopped = group.train_epoch()
            self.stopped |= stopped
            yield [rows.get(place) for place in range(len(self.trainers))]
        for trainer in self.trainers:
            for parameter in trainer.model.parameters():
                parameter.data = parameter.data.clone()  # no longer a part of what is stacked: one may be kept alone
        if self.stopped:
            raise Diverged("; ".join(str(self.stopped[place]) for place in sorted(self.stopped)))

    def _behind(self) -> list[int]:
        """Return the places of the trials to train next: those of the lowest epoch that is not the last."""
        left = {
            place: trainer.epoch
            for place, trainer in enumerate(self.trainers)
            if place not in self.stopped and trainer.epoch < trainer.trial.recipe.epochs
        }
        return [place for place, epoch in left.items() if epoch == min(left.values())]


class _Group:
    """Trials at the same epoch, their parameters stacked along a new first axis.

    The Trainers are given views of what is stacked, so that their models are trained as well. Schedules stay with
    them: they are asked for their rates before every step.
    """

    def __init__(self, places: list[int], trainers: list[Trainer], *, compiled: bool) -> None:
        self.places, self.trainers = places, trainers
        first = trainers[0]
        self.device, self.recipe, self.train_y = first.device, first.trial.recipe, first.seen.train_y
        nets = [split(trainer.model)[1] for trainer in trainers]
        self.train_x = split(first.model)[0][:-1](first.seen.train_x)  # before dropout it is fixed, the same for all
        self.parameters, self.buffers = stack_module_state(nets)  # type: ignore[arg-type]  (it wants a list of Module)
        self.optimizer = self._stacked_optimizer()
        self._share()

        def loss(parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
            with precision(self.recipe, self.device):
                return first.loss(functional_call(nets[0], (parameters, buffers), (x,)), y)

        self.losses = torch.vmap(loss)
        if compiled:
            self.losses = compile_steps(self.losses, self.device)

    def train_epoch(self) -> tuple[dict[int, dict[str, Any]], dict[int, Diverged]]:
        """Return the lines of metrics of the trials that finished the epoch, and the errors of the others."""
        start = time.perf_counter()
        stopped: dict[int, Diverged] = {}
        steps, last, rates = 0, [], []
        total = torch.zeros(len(self.trainers), device=self.device)
        with own_randomness(self.device):
            for rows in self._orders().split(self.recipe.batch_size, dim=1):
                losses = self.losses(self.parameters, self.buffers, self._inputs(rows), self.train_y[rows])
                self.optimizer.zero_grad()
                losses.sum().backward()  # a trial has no part in the loss of another
                steps, last = steps + 1, losses.tolist()
                self._stop(stopped, steps, last, [math.isfinite(loss) for loss in last])
                rates = [trainer.optimizer.param_groups[0]["lr"] for trainer in self.trainers]
                self._step()
                total += losses.detach() * rows.shape[1]
        finite = torch.stack([p.isfinite().flatten(1).all(1) for p in self.parameters.values()]).all(0)
        self._stop(stopped, steps, last, finite.tolist())  # the last step may have spoilt them
        self._share()
        seconds = (time.perf_counter() - start) / len(self.trainers)
        return {
            place: trainer.finish_epoch(loss / len(self.train_x), rate, seconds)
            for place, trainer, loss, rate in zip(self.places, self.trainers, total.tolist(), rates)
            if place not in stopped
        }, stopped

    def _orders(self) -> Tensor:
        """Return an order of the rows for every trial, (trials, rows)."""
        orders = []
        for trainer in self.trainers:
            set_random_state(trainer.random_state, self.device)
            orders.append(torch.randperm(len(self.train_x)))
            trainer.random_state = random_state(self.device)
        return torch.stack(orders).to(self.device)

    def _inputs(self, rows: Tensor) -> Tensor:
        """Return those rows of every trial, each with the dropout of its own stream."""
        if not self.recipe.input_dropout:
            return self.train_x[rows]
        parts = []
        for trainer, own in zip(self.trainers, rows):
            set_random_state(trainer.random_state, self.device)
            parts.append(F.dropout(self.train_x[own], self.recipe.input_dropout))
            trainer.random_state = random_state(self.device)
        return torch.stack(parts)

    def _step(self) -> None:
        """Move the parameters of every trial at its own rate.

        One optimizer has one rate. It runs at a common one, and every trial goes its share of the way: those of
        torch all move in proportion to the rate, weight decay included.
        """
        ways = []
        for stacked, *own in zip(self.optimizer.param_groups, *(t.optimizer.param_groups for t in self.trainers)):
            stacked.update({name: value for name, value in own[0].items() if name != "params"})
            rates = [group["lr"] for group in own]
            if min(rates) < max(rates):
                stacked["lr"] = min(1.0, max(rates))  # a greater one might throw a trial of a small rate out of range
                share = torch.tensor([rate / stacked["lr"] for rate in rates], device=self.device)
                ways += [(p, p.detach().clone(), share.view(-1, *[1] * (p.ndim - 1))) for p in stacked["params"]]
        self.optimizer.step()
        for parameter, before, share in ways:
            parameter.data.copy_(torch.lerp(before, parameter.data, share))
        for trainer in self.trainers:
            trainer.scheduler.step()

    def _stop(self, stopped: dict[int, Diverged], step: int, losses: list[float], finite: list[bool]) -> None:
        """Add the errors of trials that have just met a number that is not finite."""
        for index, (place, trainer) in enumerate(zip(self.places, self.trainers)):
            if finite[index] or place in stopped:
                continue
            for name, parameter in trainer.model.named_parameters():
                grad = self.parameters[name].grad
                parameter.grad = None if grad is None else grad[index]  # for the message
            stopped[place] = trainer.diverged(step, losses[index])

    def _stacked_optimizer(self) -> torch.optim.Optimizer:
        """Return one optimizer for all, in the state that those of the trials are in."""
        first = self.trainers[0]
        names = {id(parameter): name for name, parameter in first.model.named_parameters()}
        groups = [
            {**group, "params": [self.parameters[names[id(parameter)]] for parameter in group["params"]]}
            for group in first.optimizer.param_groups
        ]
        optimizer = type(first.optimizer)(groups)  # type: ignore[call-arg]
        for name, stacked in self.parameters.items():
            states = [t.optimizer.state.get(t.model.get_parameter(name), {}) for t in self.trainers]
            for key, value in states[0].items():
                per_trial = value.shape == stacked.shape[1:]  # unlike the number of steps
                optimizer.state[stacked][key] = (
                    torch.stack([state[key] for state in states]) if per_trial else value.clone()
                )
        return optimizer

    def _share(self) -> None:
        """Give every Trainer its part of the parameters and of the state of the optimizer."""
        for index, trainer in enumerate(self.trainers):
            for name, parameter in trainer.model.named_parameters():
                stacked = self.parameters[name]
                parameter.data = stacked.data[index]
                for key, value in self.optimizer.state.get(stacked, {}).items():
                    trainer.optimizer.state[parameter][key] = value[index] if value.shape == stacked.shape else value


def _refuse(trials: Sequence[Trial], folders: Sequence[Path] | None) -> None:
    """Raise ``ValueError`` for trials that cannot be trained together, or folders that are not one per trial."""
    if not trials:
        raise ValueError("no trials to train; give at least one")
    if folders is not None and not len(trials) == len(folders) == len(set(folders)):
        names = ", ".join(map(str, folders))
        raise ValueError(f"give every trial a folder of its own; got {len(trials)} trials and the folders {names}")
    if trials[0].recipe.optimizer.startswith("wasserstein"):
        raise ValueError(
            f"{trials[0].recipe.optimizer} looks into layers and trains one model at a time; train those apart"
        )
    first = _in_common(trials[0])
    for trial in trials[1:]:
        for name, value in _in_common(trial).items():
            if value != first[name]:
                raise ValueError(
                    f"trials that are trained together may differ in seed, init_scale, lr and std_lr only, got {name} "
                    f"{first[name]!r} and {value!r}; train those apart"
                )


def _in_common(trial: Trial) -> dict[str, Any]:
    """Return by name what trials must share to be trained together."""
    settings = asdict(trial)
    settings |= settings.pop("shape") | settings.pop("recipe")
    return {name: value for name, value in settings.items() if name not in ("seed", "init_scale", "lr", "std_lr")}
