r"""Kolmogorov–Arnold networks: those of pykan, trained as its authors do, at the pace of a clock.

They have B-splines on grids that are made finer again and again. L-BFGS trains them with the settings of pykan's own
``fit``, and during the first steps on each grid the grid follows the data (Liu et al., *KAN: Kolmogorov–Arnold
Networks*, arXiv 2404.19756).

pykan makes the nets, moves their grids and refines them. What they are at points is computed here, from the
:mod:`~gmlayers_studies.approximators.splines` of the edges; and so is their Laplacian, without nested automatic
differentiation. A layer takes values, gradients and Laplacians of its inputs to those of its outputs, up to an affine
map of each node:

.. math:: h_j = \sum_i \phi_{ji}(x_i), \qquad \nabla h_j = \sum_i \phi_{ji}'(x_i)\, \nabla x_i, \qquad
    \Delta h_j = \sum_i \phi_{ji}''(x_i)\, \|\nabla x_i\|^2 + \phi_{ji}'(x_i)\, \Delta x_i.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gmlayers_studies.approximators import splines
from gmlayers_studies.approximators.fitting import Fitted
from gmlayers_studies.approximators.losses import Loss, loss
from gmlayers_studies.approximators.tasks import Clock, Task
from gmlayers_studies.approximators.training import ITERATIONS, quasi_newton

ORDER = 3
"""The splines are cubic, as in all examples of pykan."""

GRIDS = (3, 5, 10, 20, 50, 100, 200)
"""Training goes through grids with these numbers of intervals, as far as the parameters allow. They are those of the
KAN paper, with 5 in between."""

FOLLOWS = 1000
"""A grid follows the data for this many iterations, as in pykan's ``fit``, but for half of its time at most."""

EVERY = 100
"""As long as a grid follows the data, it moves once in this many iterations, as in pykan's ``fit``."""


def count(widths: Sequence[int], grid: int, *, uniform: bool) -> int:
    """Return how many numbers such a net needs to be evaluated.

    Every edge needs grid + 3 coefficients, and the scales of its spline and its base function. Every node that is an
    input of some edge needs grid + 7 knots or, where they are uniform, the two numbers that say where all of them are.
    (What pykan stores besides, masks and affine maps that are not trained, does nothing.)

    Args:
        widths: the widths of the layers, inputs and outputs included.
        grid: the number of intervals of every spline.
        uniform: whether grids are uniform.

    Example:
        >>> count([2, 2, 1], 3, uniform=False), count([2, 2, 1], 3, uniform=True)
        (88, 56)
    """
    edges = sum(a * b for a, b in itertools.pairwise(widths))
    knots = 2 if uniform else grid + 2 * ORDER + 1
    return edges * (grid + ORDER + 2) + sum(widths[:-1]) * knots


def narrowed(widths: Sequence[int], parameters: int, *, uniform: bool) -> list[int]:
    """Return the widths without as many nodes as have to go for the first of the grids to be within the parameters.

    A node goes from the widest hidden layer, and from the last of several; one is left in each.

    Example:
        >>> narrowed([6, 5, 5, 1], 336, uniform=False)
        [6, 3, 2, 1]
    """
    first, *hidden, last = widths
    while max(hidden, default=1) > 1 and count([first, *hidden, last], GRIDS[0], uniform=uniform) > parameters:
        widest = max(range(len(hidden)), key=lambda i: (hidden[i], i))
        hidden[widest] -= 1
    return [first, *hidden, last]


def schedule(widths: Sequence[int], parameters: int, *, uniform: bool, finest: int) -> list[int]:
    """Return the grids to go through; the last is the largest that the parameters allow, or the finest if it is less.

    Raises:
        ValueError: if the parameters do not allow one interval.
    """
    constant, one = (count(widths, grid, uniform=uniform) for grid in (0, 1))
    if one > parameters:
        raise ValueError(
            f"KAN: {parameters} parameters are too few for widths {list(widths)}; allow at least {one}, or narrow them"
        )
    last = min((parameters - constant) // (one - constant), finest)
    return [grid for grid in GRIDS if grid < last] + [last]


def resolved(x: Tensor) -> int:
    """Return how many intervals points (n, d) can tell apart: each has two of their values, of every coordinate.

    On a finer grid over a lattice of points a net can solve a differential equation at all points and nowhere else.

    Example:
        >>> line = torch.linspace(-1, 1, 51)
        >>> resolved(torch.cartesian_prod(line, line))
        25
    """
    return max(1, min(len(values.unique()) for values in x.unbind(1)) // 2)


class KAN(nn.Module):
    """A net of pykan in float64, without all that pykan writes and prints.

    Args:
        widths: the widths of the layers, inputs and outputs included.
        grid: the number of intervals of every spline.
        uniform: whether grids stay uniform when they follow the data; otherwise they follow the quantiles.
        seed: the seed of all that is drawn.
    """

    def __init__(self, widths: Sequence[int], grid: int, *, uniform: bool, seed: int) -> None:
        super().__init__()
        self.widths, self.uniform = list(widths), uniform
        options: dict[str, Any] = {"grid_eps": 1.0} if uniform else {}
        kan = splines.pykan()
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
        self._cut()

    @property
    def stored(self) -> int:
        """How many numbers are needed to evaluate the net."""
        return count(self.widths, self.grid, uniform=self.uniform)

    def forward(self, x: Tensor) -> Tensor:
        """Return the values (n, 1) at points (n, d)."""
        h = x.mT
        for layer, pieces, scale, bias in self._layers():
            (values,) = splines.edges(layer, pieces, h, 0)
            h = scale * values.sum(0) + bias
        return h.mT

    def laplacian(self, x: Tensor) -> Tensor:
        """Return the Laplacian (n, 1) at points (n, d), carried through the layers as above."""
        h, curved = x.mT, torch.zeros_like(x.mT)
        slope = torch.eye(x.shape[1], dtype=x.dtype).unsqueeze(2)  # (d, in, n), of inputs by coordinates
        for layer, pieces, scale, bias in self._layers():
            values, first, second = splines.edges(layer, pieces, h, 2)
            bent = second * slope.square().sum(0).unsqueeze(1) + first * curved.unsqueeze(1)
            h, curved = scale * values.sum(0) + bias, scale * bent.sum(0)
            slope = scale * (first * slope.unsqueeze(2)).sum(1)
        return curved.mT

    def _layers(self) -> Iterator[tuple[nn.Module, Tensor, Tensor, Tensor]]:
        """Yield every layer, the pieces of its splines, and scale and bias (out, 1) of the affine map behind it."""
        model = self.model
        affine = zip(model.node_scale, model.node_bias, model.subnode_scale, model.subnode_bias)
        for layer, pieces, (scale, bias, inner_scale, inner_bias) in zip(model.act_fun, self._pieces, affine):
            yield layer, pieces, (scale * inner_scale).unsqueeze(1), (scale * inner_bias + bias).unsqueeze(1)

    def _cut(self) -> None:
        """Compute the pieces of the splines, which change with the grids alone."""
        self._pieces = [splines.pieces(layer.get_parameter("grid"), ORDER) for layer in self.model.act_fun]

    @torch.no_grad()
    def follow(self, x: Tensor) -> None:
        """Move the grids to where the points, and what the layers make of them, are; the function stays, nearly."""
        for layer in self.model.act_fun:
            curves = splines.curves(layer, x)
            layer.update_grid_from_samples(x)
            splines.hold(layer, x, curves)
            x = layer(x)[0]
        self._cut()

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
            splines.hold(new, x, splines.curves(old, x))
            x = old(x)[0]
        self._cut()

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
        steps = quasi_newton(self._optimizer, trained, lambda: loss(self), lambda: clock.passed() >= end)
        for iteration in itertools.count(step=ITERATIONS):
            if clock.passed() >= end:
                return
            if iteration < FOLLOWS and iteration % EVERY == 0 and clock.passed() < (begin + end) / 2:
                self.follow(x)
            with _own_randomness():
                ended = next(steps, True)  # a step yields None
            if ended:
                return
            yield

    def _optimizer(self) -> torch.optim.Optimizer:
        return splines.pykan().LBFGS(
            [p for p in self.model.parameters() if p.requires_grad],
            lr=1.0,
            max_iter=ITERATIONS,
            history_size=10,
            line_search_fn="strong_wolfe",
            tolerance_grad=1e-32,
            tolerance_change=1e-32,
            tolerance_ys=1e-32,
        )


@dataclass(frozen=True)
class KolmogorovArnold(Fitted):
    """A KAN [d, *hidden, 1] of pykan, on grids that become finer up to what budget and data allow, or to ``grid``."""

    hidden: tuple[int, ...] = (2,)
    """The widths of the hidden layers. They are narrowed where there is no room for them on three intervals."""
    grid: int | None = None
    """The last grid. If it is given, it and ``hidden`` are taken whatever the budget."""
    uniform: bool = False
    """If true, knots have equal distances, otherwise they are at quantiles of the data."""

    def size(self, net: nn.Module) -> int:
        """Return how many numbers are needed to evaluate a net, which are fewer than pykan stores."""
        assert isinstance(net, KAN)
        return net.stored

    def nets(self, task: Task, parameters: int, clock: Clock, generator: torch.Generator) -> Iterator[nn.Module]:
        """Yield the same net after every step, on finer and finer grids."""
        with clock.stopped():
            splines.pykan()  # the first import takes seconds
        x = task.points
        widths, finest = [x.shape[1], *self.hidden, 1], self.grid or resolved(x)
        if self.grid is None:
            widths = narrowed(widths, parameters, uniform=self.uniform)
        else:
            parameters = count(widths, self.grid, uniform=self.uniform)
        grids = schedule(widths, parameters, uniform=self.uniform, finest=finest)
        net = KAN(widths, grids[0], uniform=self.uniform, seed=generator.initial_seed())
        yield net
        for _ in net.train_on(loss(task), x, grids, clock):
            yield net


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
