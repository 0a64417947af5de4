"""What the methods share: they count and scale alike, show their states at one pace, and descend in one way.

Whatever is drawn is drawn from the seed of the budget.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ClassVar

import torch
from torch import Tensor, nn

from gmlayers_studies.approximators.losses import loss
from gmlayers_studies.approximators.nets import Scaled, stored
from gmlayers_studies.approximators.tasks import Budget, Clock, EquationTask, FunctionTask, State, Task
from gmlayers_studies.approximators.training import descend, paced


class Fitted(ABC):
    """A method whose nets see the values of a function on [-1, 1]^d, standardised; an equation they see as it is."""

    default: ClassVar[int] = 1000
    """A method may store this many numbers where the budget does not say how many."""

    def fit(self, task: Task, budget: Budget) -> Iterator[State]:
        """Yield states until the time is used up, or nothing is left to gain."""
        parameters = self.default if budget.parameters is None else budget.parameters
        clock, generator = budget.clock, torch.Generator().manual_seed(budget.seed)
        if isinstance(task, EquationTask):
            for net in paced(self.nets(task, parameters, clock, generator), clock):
                yield State(net, self.size(net))
            return
        scaled = Scaled(task)
        own = stored(scaled)
        for net in paced(self.nets(scaled.unit, parameters - own, clock, generator), clock):
            scaled.net = net
            yield State(scaled, own + self.size(net))

    def size(self, net: nn.Module) -> int:
        """Return how many numbers are needed to evaluate a net of this method."""
        return stored(net)

    @abstractmethod
    def nets(self, task: Task, parameters: int, clock: Clock, generator: torch.Generator) -> Iterator[nn.Module]:
        """Yield the net after every step, or a larger net after every solve."""


class Descended(Fitted):
    """A method that trains a net by :func:`~gmlayers_studies.approximators.training.descend`: Adam, and then L-BFGS."""

    rate: float
    """The rate of Adam at the start."""
    adam: float
    """The share of the time that Adam has."""

    def nets(self, task: Task, parameters: int, clock: Clock, generator: torch.Generator) -> Iterator[nn.Module]:
        """Yield the same net after every step."""
        with drawing(generator):
            net = self.net(task, parameters, generator)
        value = loss(task)
        yield net
        sampled = self.sampled(task, net, generator)
        for _ in descend(net, lambda: value(net), clock, rate=self.rate, adam=self.adam, sampled=sampled):
            yield net

    def sampled(self, task: Task, net: nn.Module, generator: torch.Generator) -> Callable[[], Tensor] | None:  # noqa: ARG002
        """Return the loss at points that are drawn anew at every call, if Adam is to see that instead of the whole."""
        return None

    @abstractmethod
    def net(self, task: Task, parameters: int, generator: torch.Generator) -> nn.Module:
        """Return the largest net within so many parameters."""


def function_only(name: str, task: Task) -> FunctionTask:
    """Return the task of a method that fits values.

    Raises:
        TypeError: if it is an equation.
    """
    if not isinstance(task, FunctionTask):
        raise TypeError(
            f"{name}: it fits the values of a function, got an {type(task).__name__}; use Collocated or Solve"
        )
    return task


def equation_only(name: str, task: Task) -> EquationTask:
    """Return the task of a method that solves equations.

    Raises:
        TypeError: if it is the values of a function.
    """
    if not isinstance(task, EquationTask):
        raise TypeError(f"{name}: it solves equations, got a {type(task).__name__}; use one of methods.REGRESSION")
    return task


def some_points(task: Task, n: int, generator: torch.Generator) -> Tensor:
    """Return n points of a task in random order, (n, d); where it has fewer, they come again."""
    x = task.points
    return x[torch.randperm(len(x), generator=generator)[torch.arange(n) % len(x)]]


@contextmanager
def drawing(generator: torch.Generator) -> Iterator[None]:
    """Have torch's global generator draw what the seed of another says, and leave it as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator.initial_seed())
        yield
