"""Kolmogorov–Arnold networks: those of pykan, trained as its authors do, at the pace of a clock.

B-splines on grids that are made finer again and again, L-BFGS with the settings of pykan's own ``fit``, grids that
follow the data during the first steps on each (Liu et al., *KAN: Kolmogorov–Arnold Networks*, arXiv 2404.19756).
"""

from __future__ import annotations

import itertools
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gmlayers.experiments.approximation.losses import Loss
from gmlayers.experiments.approximation.tasks import Clock
from gmlayers.experiments.approximation.training import quasi_newton
from gmlayers.solve import least_squares

ORDER = 3
"""Of the splines: cubic, as in all examples of pykan."""

GRIDS = (3, 5, 10, 20, 50, 100, 200)
"""Intervals, one after another: those of the KAN paper with 5 in between, as far as the parameters go."""

FOLLOWS = 50
"""Steps on a grid during which it follows the data, every fifth of them; half of its time, if that is less."""


def pykan() -> ModuleType:
    """Return the package.

    Raises:
        ImportError: if it is not installed, naming the extra that does.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of string escapes in pykan and of what it imports
        try:
            import kan
        except ImportError as error:
            raise ImportError("Kolmogorov–Arnold networks need pykan: pip install 'gmlayers[bench]'") from error
    return kan


def count(widths: list[int], grid: int) -> int:
    """Return how many numbers such a net needs to be evaluated.

    For every edge grid + 3 coefficients and the scales of spline and base function, and for every node that is an input
    of some the grid + 7 knots. (What pykan stores besides, masks and affine maps that are not trained, does nothing.)
    """
    edges = sum(a * b for a, b in itertools.pairwise(widths))
    return edges * (grid + ORDER + 2) + sum(widths[:-1]) * (grid + 2 * ORDER + 1)


def schedule(widths: list[int], parameters: int) -> list[int]:
    """Return the grids to go through; the last is the largest that the parameters allow.

    Raises:
        ValueError: if they do not allow one interval.
    """
    constant, slope = count(widths, 0), count(widths, 1) - count(widths, 0)
    last = (parameters - constant) // slope
    if last < 1:
        raise ValueError(f"KAN: {parameters} parameters are too few for widths {widths}: at least {constant + slope}")
    return [grid for grid in GRIDS if grid < last] + [last]


class KAN(nn.Module):
    """A net of pykan in float64, without all that pykan writes and prints.

    Args:
        widths: of the layers, inputs and outputs included.
        grid: intervals of every spline.
        uniform: whether grids stay uniform when they follow the data, else they follow the quantiles.
        seed: of what is drawn.
    """

    def __init__(self, widths: list[int], grid: int, *, uniform: bool, seed: int) -> None:
        super().__init__()
        self.widths = widths
        options: dict[str, Any] = {"grid_eps": 1.0} if uniform else {}
        kan = pykan()
        with _doubles(), _own_randomness():
            self.model = kan.KAN(
                width=list(widths),
                grid=grid,
                k=ORDER,
                symbolic_enabled=False,
                save_act=False,
                auto_save=False,
                seed=seed,
                **options,
            )
        self.grid = grid

    @property
    def stored(self) -> int:
        """Numbers that are needed to evaluate it."""
        return count(self.widths, self.grid)

    def forward(self, x: Tensor) -> Tensor:
        """Return the values (n, 1) at points (n, d)."""
        return self.model(x)

    @torch.no_grad()
    def follow(self, x: Tensor) -> None:
        """Move the grids to where the points, and what the layers make of them, are; the function stays, nearly."""
        for layer in self.model.act_fun:
            curves = _curves(layer, x)
            layer.update_grid_from_samples(x)
            _hold(layer, x, curves)
            x = layer(x)[0]

    @torch.no_grad()
    def refine(self, grid: int, x: Tensor) -> None:
        """Become the same function, nearly, on a finer grid; the points are those at which it is to be the same."""
        coarse = self.model.act_fun
        self.model.get_act(x)  # what refine goes by, and what any call overwrites
        self.model.save_act = True
        with _doubles(), _own_randomness():
            self.model = self.model.refine(grid)
        self.model.save_act = self.model.auto_save = False
        self.grid = grid
        for old, new in zip(coarse, self.model.act_fun):
            _hold(new, x, _curves(old, x))
            x = old(x)[0]

    def train_on(self, loss: Loss, x: Tensor, grids: list[int], clock: Clock) -> Iterator[None]:
        """Train on one grid after another, with equal times, and yield after every step."""
        start = clock.passed()
        for i, grid in enumerate(grids):
            if grid != self.grid:
                self.refine(grid, x)
            share = (clock.seconds - start) / len(grids)
            yield from self._train(loss, x, clock, start + i * share, start + (i + 1) * share)

    def _train(self, loss: Loss, x: Tensor, clock: Clock, begin: float, end: float) -> Iterator[None]:
        trained = [p for p in self.model.parameters() if p.requires_grad]
        steps = quasi_newton(self._optimizer, trained, lambda: loss(self))
        for step in itertools.count():
            if clock.passed() >= end:
                return
            if step < FOLLOWS and step % 5 == 0 and clock.passed() < (begin + end) / 2:
                self.follow(x)
            with _own_randomness():
                ended = next(steps, True)  # a step yields None
            if ended:
                return
            yield

    def _optimizer(self) -> torch.optim.Optimizer:
        return pykan().LBFGS(
            [p for p in self.model.parameters() if p.requires_grad],
            lr=1.0,
            history_size=10,
            line_search_fn="strong_wolfe",
            tolerance_grad=1e-32,
            tolerance_change=1e-32,
            tolerance_ys=1e-32,
        )


def _curves(layer: nn.Module, x: Tensor) -> Tensor:
    """Return the splines of all edges of a layer at its inputs, (n, in, out)."""
    return pykan().spline.coef2curve(x, layer.grid, layer.coef, layer.k)


def _hold(layer: nn.Module, x: Tensor, curves: Tensor) -> None:
    """Have a layer go through the curves at its inputs, by least squares.

    pykan does so too, by a routine that gives up, with all coefficients 0, where an interval is without points.
    """
    basis = pykan().spline.B_batch(x, layer.grid, layer.k)
    for i in range(x.shape[1]):
        layer.get_parameter("coef")[i] = least_squares([(basis[:, i], curves[:, i])]).weight.T


@contextmanager
def _doubles() -> Iterator[None]:
    """Have new tensors in float64: pykan makes its own in the default dtype and mixes them with the data."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(default)


@contextmanager
def _own_randomness() -> Iterator[None]:
    """Leave all streams of random numbers as they were: pykan seeds them anew."""
    state, numpy_state = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(state)
        np.random.set_state(numpy_state)
