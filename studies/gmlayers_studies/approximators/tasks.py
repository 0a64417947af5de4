"""What a method is asked for, with how much time and how many numbers, and what it hands back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import Field, dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

from torch import Tensor

from gmlayers.solve import Equation
from gmlayers.solve.problems import Known


class Clock:
    """Count the seconds of a method's own work, from when it is made.

    Args:
        seconds: the time that a method has.
        now: a function that tells the time, in seconds.

    Raises:
        ValueError: if the seconds are not positive.

    Example:
        >>> clock = Clock(10.0)
        >>> with clock.stopped():
        ...     pass  # what is done here is not the method's work
        >>> clock.passed() < clock.seconds
        True
    """

    def __init__(self, seconds: float, now: Callable[[], float] = time.perf_counter) -> None:
        if not seconds > 0:
            raise ValueError(f"Clock: seconds must be positive, got {seconds}; give a method some time")
        self.seconds = seconds
        self._now = now
        self._start = now()
        self._since: float | None = None

    def passed(self) -> float:
        """Return the seconds that have passed while the clock was running."""
        return (self._now() if self._since is None else self._since) - self._start

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop the clock for as long as this lasts; it may be stopped already."""
        if self._since is not None:
            yield
            return
        self._since = self._now()
        try:
            yield
        finally:
            self._start += self._now() - self._since
            self._since = None


class State(NamedTuple):
    """What a method has come to. Going on with the method may change it."""

    predict: Callable[[Tensor], Tensor]
    """This takes points (n, d) in float64 to values (n, 1), and is differentiable in the points."""
    parameters: int
    """Every number that has to be stored to evaluate it: centres, widths, knots and scales of the data, too."""


@dataclass(frozen=True)
class Budget:
    """What a method may use."""

    parameters: int | None
    """It may store this many numbers; None for as many as it likes."""
    clock: Clock
    """Its time, and what counts it."""
    seed: int
    """The seed of all that is drawn."""


@dataclass(frozen=True, eq=False)
class FunctionTask:
    """Values of a function at points of a box."""

    x: Tensor
    """The points, (n, d), in float64."""
    y: Tensor
    """The values there, (n, 1), in float64."""
    low: tuple[float, ...]
    """The lowest coordinates of the box."""
    high: tuple[float, ...]
    """The highest coordinates of the box."""

    @property
    def points(self) -> Tensor:
        """All points, (n, d)."""
        return self.x


@dataclass(frozen=True, eq=False)
class EquationTask:
    r"""A differential equation and points at which it is asked for.

    .. math:: L = w\,\frac1n \sum_i \bigl(\mathcal D u(x_i) - f(x_i)\bigr)^2
        + \frac1b \sum_j \bigl(\mathcal B u(z_j) - g(z_j)\bigr)^2

    Raises:
        ValueError: if the problem has another condition than one on all of the boundary.
    """

    known: Known
    """The problem, and its solution, at which no method looks."""
    interior: Tensor
    """The points x at which the equation is asked for, (n, d), in float64."""
    boundary: Tensor
    """The points z at which the condition is asked for, (b, d), in float64."""
    weight: float
    """The weight w of the equation; that of the condition is 1."""

    def __post_init__(self) -> None:
        if not isinstance(self.known.problem.conditions.get("boundary"), Equation) or len(self.conditions) > 1:
            raise ValueError(
                "EquationTask: expected a problem with one condition, for 'boundary', got conditions for "
                f"{self.conditions}; pose it with one on all of the boundary"
            )

    @property
    def points(self) -> Tensor:
        """The points in the interior, (n, d)."""
        return self.interior

    @property
    def conditions(self) -> list[str]:
        """Names of the conditions of the problem."""
        return [name for name, part, _ in self.known.problem.asked() if part is not None]

    @property
    def condition(self) -> Equation:
        """What is asked for on the boundary."""
        *_, (_, _, equation) = self.known.problem.asked()
        return equation


Task = FunctionTask | EquationTask


class Approximator(Protocol):
    """A way to approximate: a frozen dataclass whose fields are its settings."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def fit(self, task: Task, budget: Budget) -> Iterator[State]:
        """Yield states to judge, some dozens of them, until the time is used up or nothing is left to gain."""
        ...
