"""Training by derivatives for as long as a clock allows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from gmlayers_studies.approximators.losses import Misfit
from gmlayers_studies.approximators.tasks import Clock

T = TypeVar("T")

JUDGED = 40
"""About this many states of a method are judged in its time, after a denser beginning."""

DENSER = 0.1
"""At the beginning states are judged more densely: the next one comes after this share of the time so far."""

SHORTEST = 1e-3
"""No state is judged sooner after the last than after this share of all time."""

ITERATIONS = 5
"""A step of L-BFGS has this many iterations."""

DAMPING = 1e-2
"""Levenberg–Marquardt begins with this damping, relative to the squared norms of the columns of the derivative."""

HOPELESS = 1e20
"""Levenberg–Marquardt stops at this damping: it has grown so far because no step gains anything."""


def paced(steps: Iterable[T], clock: Clock) -> Iterator[T]:
    """Yield the first step, some that are spread in time, and the last; no step is begun after the end.

    They are spread evenly in the logarithm of time at first, and then evenly in time.

    Example:
        >>> list(paced(range(3), Clock(60.0)))  # they take no time
        [0, 2]
    """
    last, due = None, 0.0
    for step in steps:
        last = step
        passed = clock.passed()
        if passed >= clock.seconds:
            break
        if passed >= due:
            yield step
            passed = clock.passed()
            last = None
            due = passed + min(clock.seconds / JUDGED, max(DENSER * passed, SHORTEST * clock.seconds))
    if last is not None:
        yield last


def descend(
    net: nn.Module,
    loss: Callable[[], Tensor],
    clock: Clock,
    *,
    rate: float,
    adam: float,
    sampled: Callable[[], Tensor] | None = None,
) -> Iterator[None]:
    """Train a net and yield after every step: first by Adam, then by L-BFGS until it is at its limit.

    Args:
        net: the net whose parameters are trained.
        loss: a function that returns the loss of the net as it is.
        clock: the clock by which the rate falls and the training ends.
        rate: the rate of Adam at the start; it falls to 0 by a cosine over the time that Adam has.
        adam: the share of the time that Adam has, from 0 to 1.
        sampled: a function that returns the loss at some points, others at every call, for Adam; ``loss`` if not given.
    """
    parameters = [p for p in net.parameters() if p.requires_grad]
    yield from _adam(parameters, sampled or loss, clock, rate, adam * clock.seconds)
    yield from _lbfgs(parameters, loss, clock)


def _adam(
    parameters: list[nn.Parameter], loss: Callable[[], Tensor], clock: Clock, rate: float, seconds: float
) -> Iterator[None]:
    optimizer = torch.optim.Adam(parameters, lr=rate)
    while (passed := clock.passed()) < seconds:
        optimizer.param_groups[0]["lr"] = rate * (1 + math.cos(math.pi * passed / seconds)) / 2
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        yield


def _lbfgs(parameters: list[nn.Parameter], loss: Callable[[], Tensor], clock: Clock) -> Iterator[None]:
    def fresh() -> torch.optim.Optimizer:
        return torch.optim.LBFGS(
            parameters,
            max_iter=ITERATIONS,
            history_size=100,
            line_search_fn="strong_wolfe",
            tolerance_grad=0.0,
            tolerance_change=0.0,
        )

    return quasi_newton(fresh, parameters, loss, lambda: clock.passed() >= clock.seconds)


class _Late(Exception):
    """No time is left for the rest of a step."""


def quasi_newton(
    fresh: Callable[[], torch.optim.Optimizer],
    parameters: list[nn.Parameter],
    loss: Callable[[], Tensor],
    late: Callable[[], bool],
) -> Iterator[None]:
    """Take steps, and yield after each, until none moves anything, not even one along the gradient.

    Args:
        fresh: a function that makes the optimizer. It is called again where the memory of the curvature leads nowhere.
        parameters: what the optimizer moves. A step to numbers that are not finite, as a line search takes that runs
            away, is undone.
        loss: a function that returns the loss of the parameters as they are.
        late: a function that says whether time is up. It is asked after every loss, for a step may be a hundred of
            them. A step that is broken off ends at the lowest loss it met, and is the last.
    """
    optimizer, new = fresh(), True
    least, best = math.inf, _copies(parameters)

    def closure() -> Tensor:
        nonlocal least, best
        optimizer.zero_grad()
        value = loss()
        value.backward()
        if (found := float(value.detach())) < least:
            least, best = found, _copies(parameters)
        if late():
            raise _Late
        return value

    while True:
        before = _copies(parameters)
        least, best = math.inf, before
        try:
            optimizer.step(closure)  # type: ignore[arg-type]  (a Tensor is as good as the float it is declared to take)
        except _Late:
            _write(parameters, best)
            yield
            return
        finite = all(bool(p.isfinite().all()) for p in parameters)
        if not finite:
            _write(parameters, before)
        moved = finite and not all(torch.equal(p, kept) for p, kept in zip(parameters, before))
        if not moved:
            if new:
                return
            optimizer = fresh()
        new = not moved
        yield


class _Evaluated(nn.Module):
    """What is compared of a net, as a module of its own."""

    def __init__(self, net: nn.Module, found: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.net, self.found = net, found

    def forward(self, x: Tensor) -> Tensor:
        return self.found(self.net, x)


@torch.no_grad()
def levenberg_marquardt(net: nn.Module, terms: Sequence[Misfit]) -> Iterator[None]:
    r"""Train a net on what is asked of it and yield after every step that is tried, until none gains anything.

    The squares of the residuals r sum up to the loss, and J is their derivative by all parameters. The step to try is
    the δ of

    .. math:: (J^\top J + \mu D^2)\,\delta = -J^\top r,

    where D has the largest norms that the columns of J have had (Moré, 1978), and μ follows the ratio of what is gained
    and what is promised (Nielsen, 1999), as in :func:`gmlayers.solve.variable_projection`. The equations are solved by
    Cholesky factors: more steps in the same time are worth more than the digits that a QR factorisation of J saves.

    Args:
        net: a net whose parameters are all trained, and which takes a single point, too.
        terms: misfits of values, or of Laplacians that the net has a way of its own to.
    """
    evaluated = [_Evaluated(net, term.found) for term in terms]
    names, parameters = zip(*evaluated[0].named_parameters())
    sizes = [p.numel() for p in parameters]

    def parts(point: Tensor) -> list[Tensor]:
        return [part.view_as(p) for part, p in zip(point.split(sizes), parameters)]

    def values(point: Tensor, module: nn.Module, x: Tensor) -> Tensor:
        return functional_call(module, dict(zip(names, parts(point))), x)

    def residuals(point: Tensor) -> Tensor:
        return torch.cat(
            [_scale(term) * (values(point, module, term.x) - term.y) for module, term in zip(evaluated, terms)]
        )

    def value(point: Tensor, row: Tensor, module: nn.Module) -> Tensor:
        return values(point, module, row.unsqueeze(0))[0, 0]

    def derivative(point: Tensor) -> Tensor:
        slopes = vmap(grad(value), (None, 0, None))
        return torch.cat([_scale(term) * slopes(point, term.x, module) for module, term in zip(evaluated, terms)])

    def around(point: Tensor, left: Tensor, size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return D, its last one given, and the equations in its units: the matrix, without μ, and the right side."""
        jacobian = derivative(point)
        size = torch.maximum(size, torch.linalg.vector_norm(jacobian, dim=0))
        jacobian = jacobian / torch.where(size > 0, size, 1.0)
        return size, jacobian.mT @ jacobian, -(jacobian.mT @ left)

    point = torch.cat([p.flatten() for p in parameters])
    left = residuals(point)
    size, normal, force = around(point, left, torch.zeros_like(point))
    identity, damping, growth = torch.eye(len(point), dtype=point.dtype), DAMPING, 2.0
    while damping < HOPELESS:
        factor, failed = torch.linalg.cholesky_ex(normal + damping * identity)
        step = torch.cholesky_solve(force, factor)
        promised = -1.0 if failed else float((step * (force + damping * step)).sum())
        trial = point + step[:, 0] / torch.where(size > 0, size, 1.0)
        ahead = residuals(trial)
        gain = float(left.square().sum() - ahead.square().sum()) / promised if promised > 0 else -1.0
        if gain > 0:
            point, left = trial, ahead
            _write(parameters, parts(point))
            size, normal, force = around(point, left, size)
            damping, growth = damping * max(1 / 3, 1 - (2 * gain - 1) ** 3), 2.0
        else:
            damping, growth = damping * growth, 2 * growth
        yield


def _scale(term: Misfit) -> float:
    """Return the factor by which the squares of the residuals sum up to their part of the loss."""
    return math.sqrt(term.weight / len(term.x))


def _copies(parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    return [p.detach().clone() for p in parameters]


@torch.no_grad()
def _write(parameters: Sequence[nn.Parameter], values: Sequence[Tensor]) -> None:
    for p, value in zip(parameters, values):
        p.copy_(value)
