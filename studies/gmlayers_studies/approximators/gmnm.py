"""Gaussian mixture modules: trained by gradients, by variable projection, and grown by ``gmlayers.solve.solve``."""

from __future__ import annotations

import copy
import math
import time
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from gmlayers import GMNM, solve
from gmlayers.nn._gmnm import FormName
from gmlayers_studies.approximators.fitting import Descended, Fitted, drawing, equation_only, function_only
from gmlayers_studies.approximators.nets import largest
from gmlayers_studies.approximators.tasks import Clock, FunctionTask, Task

LIMIT = 1e-15
"""``Solve`` asks for this error, which is less than double precision has, so that it goes on to where that ends."""

ROUNDING = 1e-12
"""What is left of values is rounding if it is below this share of their size."""

CALL_SHARE = 0.02
"""Variable projection doubles its iterations from one state to the next until they take this share of the time. Each
call begins with a damping of its own, so few long ones are better than many short ones."""


@dataclass(frozen=True)
class GMNMByGradient(Descended):
    """A GMNM that is trained like the other nets; for a function its bumps start where data and residual are."""

    form: FormName = "mahalanobis"
    """The form of the bumps."""
    rate: float = 1e-2
    adam: float = 1.0

    def net(self, task: Task, parameters: int, generator: torch.Generator) -> nn.Module:
        """Return a module from the data, or drawn in the box of the equation."""
        d = task.points.shape[1]
        bumps = largest(lambda m: gmnm_count(d, m, self.form), parameters)
        if isinstance(task, FunctionTask):
            return GMNM.from_data(task.x, 1, bumps, y=task.y, form=self.form, generator=generator)
        domain = task.known.problem.domain
        module = GMNM(d, 1, bumps, form=self.form, domain=(domain.low, domain.high), dtype=torch.float64)
        module.reset_parameters(generator)
        return module


class Projected(Fitted):
    """A GMNM whose weights are always the best ones.

    Where nothing is left to gain, it begins anew with other bumps, for as long as time is left.
    """

    form: FormName
    """The form of the bumps."""
    widened: float
    """The factor by which bumps are wider at the start."""

    def nets(self, task: Task, parameters: int, clock: Clock, generator: torch.Generator) -> Iterator[nn.Module]:
        """Yield, after every few iterations, the module that leaves least."""
        bumps = largest(lambda m: gmnm_count(task.points.shape[1], m, self.form), parameters)
        least, best, enough = math.inf, None, self.enough(task)
        while least > enough:
            module = self.start(task, bumps, generator)
            if best is None:
                yield module
            with torch.no_grad():
                for parameter in module.form_parameters().values():
                    parameter.div_(self.widened)
            iterations, reason = 2, "iterations"
            while reason == "iterations":
                begin = clock.passed()
                result = self.descend(module, task, iterations)
                reason, left = result.reason, float(result.history[-1])
                if best is None or left < least:
                    least, best = left, copy.deepcopy(module)
                yield best
                share = (clock.passed() - begin) / clock.seconds
                if share < CALL_SHARE:
                    iterations *= 2

    @abstractmethod
    def start(self, task: Task, bumps: int, generator: torch.Generator) -> GMNM:
        """Return a module to start from, with other bumps at every call."""

    @abstractmethod
    def descend(self, module: GMNM, task: Task, iterations: int) -> solve.VariableProjection:
        """Train a module for some iterations."""

    def enough(self, task: Task) -> float:  # noqa: ARG002
        """Return how much may be left for nothing more to be gained."""
        return 0.0


@dataclass(frozen=True)
class VariableProjection(Projected):
    """A GMNM for a function, trained by :func:`gmlayers.solve.variable_projection`."""

    form: FormName = "mahalanobis"
    """The form of the bumps."""
    widened: float = 1.0
    """The factor by which bumps are wider at the start than is best before they are trained, as rows left out tell."""

    def start(self, task: Task, bumps: int, generator: torch.Generator) -> GMNM:
        """Return bumps where data and residual are."""
        task = function_only("VariableProjection", task)
        with drawing(generator):
            module = GMNM.from_data(task.x, 1, bumps, y=task.y, form=self.form, generator=generator)
        solve.widen(module, task.x, task.y)
        return module

    def descend(self, module: GMNM, task: Task, iterations: int) -> solve.VariableProjection:
        """Train a module on the data."""
        task = function_only("VariableProjection", task)
        return solve.variable_projection(module, task.x, task.y, iterations=iterations)

    def enough(self, task: Task) -> float:
        """Return the rounding of the data."""
        return ROUNDING * float(function_only("VariableProjection", task).y.square().mean().sqrt())


@dataclass(frozen=True)
class Collocated(Projected):
    """A GMNM for an equation, trained by :func:`gmlayers.solve.collocate` with points of its own."""

    form: FormName = "mahalanobis"
    """The form of the bumps."""
    share: float = 1.0
    """The factor of the weight that the equation has in the loss."""
    widened: float = 1.0
    """The factor by which bumps are wider at the start than they are drawn."""

    def start(self, task: Task, bumps: int, generator: torch.Generator) -> GMNM:
        """Return bumps all over the domain."""
        domain = equation_only("Collocated", task).known.problem.domain
        with drawing(generator):
            box = domain.low, domain.high
            module = GMNM(domain.dim, 1, bumps, form=self.form, domain=box, dtype=torch.float64)
        module.reset_parameters(generator)
        return module

    def descend(self, module: GMNM, task: Task, iterations: int) -> solve.VariableProjection:
        """Train a module on the equation."""
        task = equation_only("Collocated", task)
        weight = {"equation": self.share * task.weight, "boundary": 1.0}
        return solve.collocate(module, task.known.problem, importance=weight, iterations=iterations)


@dataclass(frozen=True)
class Solve(Fitted):
    """:func:`gmlayers.solve.solve` with more and more bumps, and with points of its own from equation and domain."""

    default: ClassVar[int] = 10_000

    def nets(self, task: Task, parameters: int, clock: Clock, generator: torch.Generator) -> Iterator[nn.Module]:  # noqa: ARG002
        """Yield solutions by larger and larger sets; each begins with the smaller ones again, which costs little."""
        problem = equation_only("Solve", task).known.problem
        most = parameters // (2 * problem.domain.dim + 1)
        count, rate = min(100, most), 1.0  # seconds of a solve, which goes by those of the wall, in one of the clock
        while (left := clock.seconds - clock.passed()) > 0:
            begin, wall = clock.passed(), time.perf_counter()
            answer = solve.solve(problem, LIMIT, max_components=count, max_seconds=rate * left)
            rate = (time.perf_counter() - wall) / (clock.passed() - begin)
            yield answer.u
            if answer.reason != "bumps" or count == most:
                return
            count = min(math.ceil(1.6 * count), most)


def gmnm_count(inputs: int, bumps: int, form: FormName) -> int:
    """Return how many numbers a GMNM with one output and a bias stores."""
    shape = inputs * min(inputs, 8) if form == "mahalanobis" else inputs
    return bumps * (inputs + shape + 1) + 1
