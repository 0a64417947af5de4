"""Training by gradients for as long as a clock allows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn

from gmlayers.experiments.approximation.tasks import Clock

T = TypeVar("T")

JUDGED = 40
"""States of a method that are judged, about, in all of its time."""

ITERATIONS = 5
"""Of L-BFGS, between two looks at the clock."""


def paced(steps: Iterable[T], clock: Clock) -> Iterator[T]:
    """Yield the first step, some that are evenly spread in time, and the last; no step is begun after the end.

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
            last, due = None, clock.passed() + clock.seconds / JUDGED
    if last is not None:
        yield last


def descend(net: nn.Module, loss: Callable[[], Tensor], clock: Clock, *, rate: float, adam: float) -> Iterator[None]:
    """Train a net and yield after every step: first by Adam, then by L-BFGS until it is at its limit.

    Args:
        net: whose parameters are trained.
        loss: of the net as it is.
        clock: by which the rate is scheduled.
        rate: of Adam at the start; it falls to 0 by a cosine over the time that Adam has.
        adam: share of the time that Adam has, from 0 to 1.
    """
    parameters = [p for p in net.parameters() if p.requires_grad]
    yield from _adam(parameters, loss, clock, rate, adam * clock.seconds)
    yield from _lbfgs(parameters, loss)


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


def _lbfgs(parameters: list[nn.Parameter], loss: Callable[[], Tensor]) -> Iterator[None]:
    def fresh() -> torch.optim.Optimizer:
        return torch.optim.LBFGS(
            parameters,
            max_iter=ITERATIONS,
            history_size=100,
            line_search_fn="strong_wolfe",
            tolerance_grad=0.0,
            tolerance_change=0.0,
        )

    return quasi_newton(fresh, parameters, loss)


def quasi_newton(
    fresh: Callable[[], torch.optim.Optimizer], parameters: list[nn.Parameter], loss: Callable[[], Tensor]
) -> Iterator[None]:
    """Take steps, and yield after each, until none moves anything, not even one along the gradient.

    Args:
        fresh: makes the optimizer; it is called again where its memory of the curvature leads nowhere.
        parameters: what it moves. A step to numbers that are not finite, of a line search that ran away, is undone.
        loss: of the parameters as they are.
    """
    optimizer, new = fresh(), True

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    while True:
        before = [p.detach().clone() for p in parameters]
        optimizer.step(closure)  # type: ignore[arg-type]  (a Tensor is as good as the float it is declared to take)
        finite = all(bool(p.isfinite().all()) for p in parameters)
        if not finite:
            with torch.no_grad():
                for p, kept in zip(parameters, before):
                    p.copy_(kept)
        moved = finite and not all(torch.equal(p, kept) for p, kept in zip(parameters, before))
        if not moved:
            if new:
                return
            optimizer = fresh()
        new = not moved
        yield
