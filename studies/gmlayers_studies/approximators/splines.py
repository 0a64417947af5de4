r"""Kolmogorov–Arnold networks: those of pykan, trained as its authors do, at the pace of a clock.

B-splines on grids that are made finer again and again, L-BFGS with the settings of pykan's own ``fit``, grids that
follow the data during the first steps on each (Liu et al., *KAN: Kolmogorov–Arnold Networks*, arXiv 2404.19756).

pykan makes the nets, moves their grids and refines them. What they are at points is computed here, from the pieces of
the splines, as the same function several times faster; and their Laplacian without nested automatic differentiation.
With the functions of the edges, from input i to node j,

.. math:: \phi_{ji}(t) = m_{ji} \bigl(b_{ji}\,\mathrm{silu}(t) + s_{ji} \textstyle\sum_m c_{jim} B_{im}(t)\bigr),

a layer takes values, gradients and Laplacians of its inputs to those of its outputs, up to an affine map of each node:

.. math:: h_j = \sum_i \phi_{ji}(x_i), \qquad \nabla h_j = \sum_i \phi_{ji}'(x_i)\, \nabla x_i, \qquad
    \Delta h_j = \sum_i \phi_{ji}''(x_i)\, \|\nabla x_i\|^2 + \phi_{ji}'(x_i)\, \Delta x_i.
"""

from __future__ import annotations

import itertools
import random
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gmlayers._names import in_a_clone
from gmlayers.solve import least_squares
from gmlayers_studies.approximators.losses import Loss
from gmlayers_studies.approximators.tasks import Clock
from gmlayers_studies.approximators.training import ITERATIONS, quasi_newton

ORDER = 3
"""Of the splines: cubic, as in all examples of pykan."""

GRIDS = (3, 5, 10, 20, 50, 100, 200)
"""Intervals, one after another: those of the KAN paper with 5 in between, as far as the parameters go."""

FOLLOWS, EVERY = 1000, 100
"""Iterations on a grid during which it follows the data, and from one time to the next, as in pykan's ``fit``; half of
its time, if that is less."""


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
            raise ImportError(f"Kolmogorov–Arnold networks need pykan; install it {in_a_clone('bench')}") from error
    return kan


def count(widths: Sequence[int], grid: int, *, uniform: bool) -> int:
    """Return how many numbers such a net needs to be evaluated.

    For every edge grid + 3 coefficients and the scales of spline and base function; for every node that is an input of
    some the grid + 7 knots, or, where they are uniform, the two that say where all of them are. (What pykan stores
    besides, masks and affine maps that are not trained, does nothing.)

    Args:
        widths: of the layers, inputs and outputs included.
        grid: intervals of every spline.
        uniform: whether grids are.

    Example:
        >>> count([2, 2, 1], 3, uniform=False), count([2, 2, 1], 3, uniform=True)
        (88, 56)
    """
    edges = sum(a * b for a, b in itertools.pairwise(widths))
    knots = 2 if uniform else grid + 2 * ORDER + 1
    return edges * (grid + ORDER + 2) + sum(widths[:-1]) * knots


def narrowed(widths: Sequence[int], parameters: int, *, uniform: bool) -> list[int]:
    """Return the widths with as few nodes less as it takes for the first of the grids to be within the parameters.

    They are taken from the widest hidden layer, from the last one of several; one node is left in each.

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
    """Return the grids to go through; the last is the largest that the parameters allow, if not the finest.

    Raises:
        ValueError: if they do not allow one interval.
    """
    constant, one = (count(widths, grid, uniform=uniform) for grid in (0, 1))
    if one > parameters:
        raise ValueError(f"KAN: {parameters} parameters are too few for widths {list(widths)}: at least {one}")
    last = min((parameters - constant) // (one - constant), finest)
    return [grid for grid in GRIDS if grid < last] + [last]


def resolved(x: Tensor) -> int:
    """Return how fine a grid points (n, d) can tell apart: two of their values in an interval, of every coordinate.

    Where there are fewer, as on finer grids over a lattice of points, a differential equation holds at all points and
    nowhere else.

    Example:
        >>> line = torch.linspace(-1, 1, 51)
        >>> resolved(torch.cartesian_prod(line, line))
        25
    """
    return max(1, min(len(values.unique()) for values in x.unbind(1)) // 2)


class KAN(nn.Module):
    """A net of pykan in float64, without all that pykan writes and prints.

    Args:
        widths: of the layers, inputs and outputs included.
        grid: intervals of every spline.
        uniform: whether grids stay uniform when they follow the data, else they follow the quantiles.
        seed: of what is drawn.
    """

    def __init__(self, widths: Sequence[int], grid: int, *, uniform: bool, seed: int) -> None:
        super().__init__()
        self.widths, self.uniform = list(widths), uniform
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
        self._cut()

    @property
    def stored(self) -> int:
        """Numbers that are needed to evaluate it."""
        return count(self.widths, self.grid, uniform=self.uniform)

    def forward(self, x: Tensor) -> Tensor:
        """Return the values (n, 1) at points (n, d)."""
        h = x.mT
        for layer, pieces, scale, bias in self._layers():
            (values,) = _edges(layer, pieces, h, 0)
            h = scale * values.sum(0) + bias
        return h.mT

    def laplacian(self, x: Tensor) -> Tensor:
        """Return the Laplacian (n, 1) at points (n, d), carried through the layers as above."""
        h, curved = x.mT, torch.zeros_like(x.mT)
        slope = torch.eye(x.shape[1], dtype=x.dtype).unsqueeze(2)  # (d, in, n), of inputs by coordinates
        for layer, pieces, scale, bias in self._layers():
            values, first, second = _edges(layer, pieces, h, 2)
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
        self._pieces = [pieces(layer.get_parameter("grid"), ORDER) for layer in self.model.act_fun]

    @torch.no_grad()
    def follow(self, x: Tensor) -> None:
        """Move the grids to where the points, and what the layers make of them, are; the function stays, nearly."""
        for layer in self.model.act_fun:
            curves = _curves(layer, x)
            layer.update_grid_from_samples(x)
            _hold(layer, x, curves)
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
            _hold(new, x, _curves(old, x))
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
        return pykan().LBFGS(
            [p for p in self.model.parameters() if p.requires_grad],
            lr=1.0,
            max_iter=ITERATIONS,
            history_size=10,
            line_search_fn="strong_wolfe",
            tolerance_grad=1e-32,
            tolerance_change=1e-32,
            tolerance_ys=1e-32,
        )


@torch.no_grad()
def pieces(knots: Tensor, order: int) -> Tensor:
    r"""Return B-splines as polynomials in between knots.

    The derivative of B-splines of order k are differences of those of order k - 1,

    .. math:: \Bigl(\sum_m c_m B_{m,k}\Bigr)'
        = \sum_m k\,\frac{c_m - c_{m-1}}{t_{m+k} - t_m}\, B_{m,k-1}

    with no c beyond the first and the last (de Boor, *A Practical Guide to Splines*, chapter X). At knots they make up
    the Taylor polynomials.

    Args:
        knots: t, ascending, (in, K), those that extend the grid too.
        order: k.

    Returns:
        :math:`B_m^{(q)}(t_{j-1})` at [i, q, j, m], from the right, (in, k + 1, K + 1, K - k - 1): all that there is to
        know of B_m between :math:`t_{j-1}` and :math:`t_j`. It is 0 before the first knot and from the last.
    """
    splines = knots.shape[1] - order - 1
    combined = torch.eye(splines, dtype=knots.dtype).repeat(len(knots), 1, 1)  # of splines of order k - q, the B_m^(q)
    found = []
    for q in range(order + 1):
        k = order - q
        basis = pykan().spline.B_batch(knots[:, :-1].mT, knots, k)
        found.append(torch.einsum("jil,ilm->ijm", basis.to(knots), combined))
        if k > 0:
            width = (knots[:, k:] - knots[:, :-k]).unsqueeze(2)
            rise = k * nn.functional.pad(combined, (0, 0, 1, 1)).diff(dim=1)
            combined = torch.where(width > 0, rise / width, 0.0)  # a spline on no interval is 0
    return nn.functional.pad(torch.stack(found, 1), (0, 0, 1, 1))


def _edges(layer: nn.Module, pieces: Tensor, h: Tensor, highest: int) -> list[Tensor]:
    """Return the functions of all edges of a layer and their derivatives, as far as asked for, second ones at most.

    Each (in, out, n), for inputs (in, n).
    """
    mask, grid = layer.get_parameter("mask"), layer.get_parameter("grid")
    base = (mask * layer.get_parameter("scale_base")).unsqueeze(2)
    scale = (mask * layer.get_parameter("scale_sp")).unsqueeze(2)
    h = h.contiguous()
    index = torch.searchsorted(grid, h.detach(), right=True)
    beyond = (h - torch.cat([grid[:, :1], grid], 1).gather(1, index)).unsqueeze(1)
    table = torch.einsum("iqjm,iom->qioj", pieces, scale * layer.get_parameter("coef"))
    taylor = torch.take_along_dim(table, index[None, :, None], 3)
    found = []
    for p, silu in enumerate(_silu(h, highest)):
        spline = taylor[-1]
        for q in reversed(range(p, len(taylor) - 1)):
            spline = taylor[q] + beyond / (q - p + 1) * spline
        found.append(base * silu.unsqueeze(1) + spline)
    return found


def _silu(t: Tensor, highest: int) -> list[Tensor]:
    r"""Return :math:`t\,\sigma(t)` with the logistic σ, :math:`\sigma' = \sigma (1 - \sigma)`, and its derivatives."""
    σ = t.sigmoid()
    found = [t * σ]
    if highest >= 1:
        found.append(σ + t * σ * (1 - σ))
    if highest >= 2:
        found.append(σ * (1 - σ) * (2 + t * (1 - 2 * σ)))
    return found


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
