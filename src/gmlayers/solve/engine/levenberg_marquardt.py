r"""Nonlinear least squares by Levenberg and Marquardt, for anything that has a residual and its derivative.

A step solves :math:`\min_\delta \|r + J\delta\|^2 + \mu \|D\delta\|^2` by an orthogonal factorisation; no normal
equations are formed. The damping μ is that of Nielsen (*Damping parameter in Marquardt's method*, 1999), the scaling D
that of Moré (*The Levenberg–Marquardt algorithm*, 1978), and steps are bent along curved valleys by the geodesic
acceleration of Transtrum and Sethna (*Improvements to the Levenberg–Marquardt algorithm*, arXiv 1201.5885, 2012).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from gmlayers._names import positive
from gmlayers.solve._checks import (
    check_callback,
    check_float32,
    check_not_negative,
    check_rank_tolerance,
    check_seconds,
)
from gmlayers.solve.engine.clock import Clock
from gmlayers.solve.engine.history import History, Iteration
from gmlayers.solve.engine.least_squares import Rows, Triangle
from gmlayers.solve.engine.results import DescentReason

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True)
class Stepping:
    """How steps are chosen, and when there are no more."""

    gradient: float = 1e-10
    """The gradient counts as 0 if the cosine of the angle between the residual and every column of its derivative is
    at most this."""
    damping: float = 1e-2
    """The first step is damped by this, relative to the squared norms of the columns of the derivative."""
    hopeless: float = 1e20
    """The damping at which the search ends: if no step gains anything with it, no step does."""
    seen: float = 1e-8
    """The unit of a parameter is at least this share of the largest one of its kind: a bump that the points hardly see
    would else be sent where nothing sees it, in a step as long as it likes."""
    probe: float = 0.1
    """The curvature along a step is measured at this share of it."""
    bend: float = 0.375
    """An acceleration that is longer than this, relative to its step, is not taken."""


STEPPING = Stepping()


class Point(Protocol):
    """Parameters, and what they leave."""

    @property
    def parameters(self) -> Tensor:
        """The parameters, (k, p): p kinds of them for k things that are alike."""
        ...

    @property
    def left(self) -> Tensor:
        """The residual; all its entries count alike."""
        ...

    @property
    def cost(self) -> float:
        """The sum of the squares of the residual; infinite where it cannot be computed."""
        ...


P = TypeVar("P", bound=Point)


class Residual(Protocol[P]):
    """What is to be made small: a residual as a function of parameters, and whatever else it depends on."""

    @property
    def rounding(self) -> float:
        """The size at which a residual is nothing but rounding."""
        ...

    def at(self, parameters: Tensor) -> P:
        """Return the residual at parameters."""
        ...

    def jacobian(self, point: P) -> Tensor:
        """Return the derivative of the residual at a point, (entries, parameters)."""
        ...

    def size(self, point: P) -> float:
        """Return the size of the residual as it is reported."""
        ...

    def adapted(self, point: P) -> tuple[Self, P]:
        """Return the residual to go on with, and the point under it: the same ones unless something has to change."""
        ...

    def write(self, point: P) -> None:
        """Write a point to where it is wanted; raise ``ValueError`` if that cannot hold it."""
        ...


class Limits(NamedTuple):
    """When a descent ends, and who is told."""

    iterations: int
    least_reduction: float
    clock: Clock
    callback: Callable[[Iteration], object] | None

    @classmethod
    def of(
        cls,
        function: str,
        iterations: int,
        least_reduction: float,
        rank_tolerance: float,
        max_seconds: float,
        float32_tolerance: float | None,
        callback: Callable[[Iteration], object] | None,
    ) -> Limits:
        """Return the limits of a run that begins now; raise if an option is out of range."""
        clock = Clock(max_seconds)
        check_not_negative(f"{function}: least_reduction", least_reduction)
        check_rank_tolerance(function, rank_tolerance)
        check_seconds(function, max_seconds)
        check_float32(function, float32_tolerance)
        check_callback(function, callback)
        return cls(positive(f"{function}: iterations", iterations), least_reduction, clock, callback)


@dataclass(frozen=True)
class Model(Generic[P]):
    """The residual around a point as a linear function of the step, and the search for a step that it promises."""

    residual: Residual[P]
    point: P
    jacobian: Tensor
    R: Tensor
    """The triangle of the QR factorisation of the derivative."""
    c: Tensor
    """-Qᵀr."""
    scale: Tensor
    """Units of the parameters: the largest norms that their columns have had, (P,), but not far below those of others
    of their kind."""

    @classmethod
    def at(cls, residual: Residual[P], point: P, scale: Tensor) -> Model[P]:
        """Return the model at a point; scale are the units so far."""
        jacobian = residual.jacobian(point)
        R, c = _triangle((jacobian, -point.left.reshape(-1, 1)))
        size = torch.maximum(scale, torch.linalg.vector_norm(R, dim=0)).view_as(point.parameters)
        return cls(residual, point, jacobian, R, c, torch.maximum(size, STEPPING.seen * size.amax(0)).flatten())

    @property
    def stationary(self) -> bool:
        """Whether the residual is orthogonal to its derivative."""
        size = torch.linalg.vector_norm(self.R, dim=0) * math.sqrt(self.point.cost)
        return bool(((self.R.mT @ self.c)[:, 0].abs() <= STEPPING.gradient * size).all())

    def descend(self, damping: float, clock: Clock) -> tuple[P | None, float]:
        """Return a better point, and the damping with which to go on; None if no step gains anything, or time is up."""
        growth = 2.0
        while damping < STEPPING.hopeless and clock.allows(0):
            diagonal = torch.diag(math.sqrt(damping) * torch.where(self.scale > 0, self.scale, 1.0))
            T, d = _triangle((self.R, self.c), (diagonal, torch.zeros_like(self.scale).unsqueeze(1)))
            step = torch.linalg.solve_triangular(T, d, upper=True)
            promised = float(self.c.square().sum() - (self.R @ step - self.c).square().sum())
            trial = self._moved(step + self._bend(step, T))
            gain = (self.point.cost - trial.cost) / promised if promised > 0 else -1.0
            if gain > 0:
                return trial, damping * max(1 / 3, 1 - (2 * gain - 1) ** 3)
            damping, growth = damping * growth, 2 * growth
        return None, damping

    def _moved(self, step: Tensor) -> P:
        return self.residual.at(self.point.parameters + step.view_as(self.point.parameters))

    def _bend(self, step: Tensor, T: Tensor) -> Tensor:
        r"""Return the geodesic acceleration of a step δ, by which it follows a curved valley.

        It is the least-squares solution of :math:`J a = -\tfrac12\,\partial^2 r(\delta, \delta)` under the same
        damping. The second derivative is a difference; it is a correction, so T, with
        :math:`T^\top T = J^\top J + D^2`, is accurate enough. Where the acceleration is not small beside the step,
        neither is to be trusted, and there is none.
        """
        ahead = self._moved(STEPPING.probe * step)
        if ahead.cost == math.inf:
            return torch.zeros_like(step)
        change = (ahead.left - self.point.left).reshape(-1, 1) / STEPPING.probe - self.jacobian @ step
        force = -(self.jacobian.mT @ change) / STEPPING.probe
        half = torch.linalg.solve_triangular(T.mT, force, upper=False)
        bend = torch.linalg.solve_triangular(T, half, upper=True)
        size = self.scale.unsqueeze(1)
        small = (size * bend).norm() <= STEPPING.bend * (size * step).norm()
        return torch.where(small, bend, 0.0)


R = TypeVar("R", bound="Residual[Any]")


@dataclass
class Descent(Generic[R, P]):
    """A descent on its way."""

    residual: R
    limits: Limits
    point: P
    steps: list[Iteration]
    scale: Tensor
    damping: float = STEPPING.damping
    reduction: float = math.inf
    """The share of the cost that the latest iteration gained."""
    latest: float = 0.0
    """The seconds that it took."""

    @classmethod
    def of(cls, residual: R, point: P, limits: Limits) -> Descent[R, P]:
        """Return the descent from a point, which is still to run."""
        return cls(residual, limits, point, [], torch.zeros_like(point.parameters).flatten())

    def run(self) -> DescentReason:
        """Go down until there is a reason to end; whatever happens, write the last point."""
        try:
            self._tell()
            while (reason := self._advance()) is None:
                self._tell()
        except BaseException:
            with suppress(ValueError, RuntimeError):  # what ended the run is to be seen, not that this was refused
                self.residual.write(self.point)
            raise
        self.residual.write(self.point)
        return reason

    @property
    def history(self) -> History[Iteration]:
        """The start and all iterations."""
        return History(self.steps)

    def _advance(self) -> DescentReason | None:
        """Go to a better point; return why there is none, or none is wanted, else None."""
        if self.reduction < self.limits.least_reduction:
            return "reduction"
        if len(self.steps) > self.limits.iterations:
            return "iterations"
        if self.steps[-1].residual <= self.residual.rounding:
            return "exact"
        clock = self.limits.clock
        if not clock.allows(self.latest):
            return "time"
        begin = clock.seconds
        model = Model.at(self.residual, self.point, self.scale)
        if model.stationary:
            return "gradient"
        trial, self.damping = model.descend(self.damping, clock)
        if trial is None:
            return "time" if clock.refused else "step"
        reduction = 1 - trial.cost / self.point.cost
        residual, trial = self.residual.adapted(trial)
        if residual is not self.residual:
            reduction = math.inf  # what was gained under the other one is no measure
        self.residual, self.point, self.reduction, self.scale = residual, trial, reduction, model.scale
        self.latest = clock.seconds - begin
        return None

    def _tell(self) -> None:
        """Note the point, write it, and call whoever wants to know."""
        size = self.residual.size(self.point)
        self.steps.append(Iteration(len(self.steps), size, self.limits.clock.seconds))
        if self.limits.callback is not None:
            with suppress(ValueError):  # weights on the way may be too large for a narrow dtype
                self.residual.write(self.point)
            with torch.enable_grad():
                self.limits.callback(self.steps[-1])


def _triangle(*blocks: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Return R and Qᵀy of the rows."""
    triangle = Triangle()
    for block in blocks:
        triangle.add(Rows(*block))
    return triangle.parts()[:2]
