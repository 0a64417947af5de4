r"""Separable least squares: the residual of bumps whose weights are always the best ones.

For columns Φ(θ), bumps of means and shapes θ, the best weights are :math:`w = \Phi^+ y`, and what they leave,
:math:`r(\theta) = y - \Phi\Phi^+ y`, is a function of θ alone (Golub and Pereyra, *The differentiation of
pseudo-inverses and nonlinear least squares problems whose variables separate*, 1973). With
:math:`P^\perp = I - \Phi\Phi^+` its derivative is

.. math:: \partial r = -P^\perp\,\partial\Phi\,w - (\Phi^+)^\top\,\partial\Phi^\top r,

while the rank of Φ is constant. (Kaufman's approximation, 1975, leaves out the second term.) A bump has parameters of
its own, so :math:`\partial\Phi` has one column that is not 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import grad, vmap

from gmlayers.nn import GMNM
from gmlayers.solve._memory import check_memory
from gmlayers.solve.engine.following import FOLLOWING, least, spread_of
from gmlayers.solve.engine.interrupted import kept
from gmlayers.solve.engine.least_squares import condition_number, numerical_rank
from gmlayers.solve.engine.levenberg_marquardt import Descent, Limits
from gmlayers.solve.engine.modules import Sum, assign, float32_loss
from gmlayers.solve.engine.results import DescentReason, VariableProjection
from gmlayers.solve.engine.row_groups import RowGroup
from gmlayers.solve.engine.units import unit_of

ROUNDING = 8
"""A residual is taken for 0 if it is at most this many units of rounding of the targets."""

DERIVATIVES = 8
"""At least this many matrices, of targets times parameters, are held at once for a step."""


class Projected(NamedTuple):
    """Shapes, the factors of their columns Φ = U diag(σ) Vᵀ, the best weights, and what they leave."""

    parameters: Tensor
    """The parameters of every bump, (m, parameters of one)."""
    U: Tensor
    sigma: Tensor
    Vh: Tensor
    weight: Tensor
    left: Tensor
    cost: float


@dataclass(frozen=True)
class Separable:
    """Rows, with the roots of their weights multiplied in, and others that pull the weights to 0 below them.

    It is a :class:`~gmlayers.solve.engine.levenberg_marquardt.Residual` of the shapes of the bumps.
    """

    groups: Sequence[RowGroup]
    target: Tensor
    """The targets in units, as are all weights and what they leave until they are written or told."""
    unit: float
    regularisation: float
    """The λ of the weights."""
    spread: float | None
    """The size of the targets in terms of which λ follows what is left; None if λ is fixed."""
    rank_tolerance: float
    module: GMNM
    mass: float
    """The sum of the row weights."""

    @classmethod
    def of_data(
        cls,
        module: GMNM,
        x: Tensor,
        y: Tensor,
        row_weight: Tensor | None,
        regularisation: float | None,
        rank_tolerance: float,
    ) -> Separable:
        """Return the problem to be near data."""
        counts = y.new_ones(len(y), dtype=torch.float64) if row_weight is None else row_weight.double()
        groups = [RowGroup.of_data(x, y, counts)]
        return cls.of(module, groups, float(counts.sum()), regularisation, rank_tolerance)

    @classmethod
    def of(
        cls,
        module: GMNM,
        groups: Sequence[RowGroup],
        mass: float,
        regularisation: float | None,
        rank_tolerance: float,
    ) -> Separable:
        """Return the problem of these rows, whose weights sum up to the mass; λ that is None follows what is left."""
        target = torch.cat([group.root * group.target for group in groups])
        unit = unit_of(target)
        target = target / unit
        spread = None
        if regularisation is None:
            spread = spread_of(module, groups, target) / math.sqrt(mass)
            regularisation = least(module)
        below = target.new_zeros(module.num_components if regularisation else 0, target.shape[1])
        return cls(groups, torch.cat([target, below]), unit, regularisation, spread, rank_tolerance, module, mass)

    def descend(self, function: str, limits: Limits) -> VariableProjection:
        """Train the bumps of the module by Levenberg–Marquardt; the function is named in errors."""
        shapes = self.shapes(self.parameters(self.module))
        one = 8.0 * DERIVATIVES * self.rows * self.target.shape[1] * shapes.shape[1]
        check_memory(function, "bumps", len(shapes), lambda m: m * one, shapes.device)
        point = self.at(shapes)
        if not math.isfinite(point.cost):
            if not bool(self.target.isfinite().all()):
                raise ValueError(f"{function}: the targets times their weights are not finite in float64; scale them")
            raise ValueError(f"{function}: the bumps of the module are not finite on these inputs; draw them anew")
        descent = Descent.of(*self.raised(point), limits)
        with kept(lambda: _result("interrupted", descent) if descent.steps else None):
            return _result(descent.run(), descent)

    # --- what Levenberg–Marquardt asks for --------------------------------------------------------------------

    @property
    def rounding(self) -> float:
        """The residual that is nothing but rounding of the target."""
        return self.unit * ROUNDING * torch.finfo(torch.float64).eps * float(self.target.norm()) / math.sqrt(self.mass)

    def at(self, parameters: Tensor) -> Projected:
        """Return the best weights for shapes; shapes that overflow are infinitely bad."""
        columns = self.columns(parameters)
        if not bool(columns.isfinite().all()):
            return Projected(parameters, columns, columns, columns, columns, columns, math.inf)
        U, sigma, Vh = torch.linalg.svd(columns, full_matrices=False)
        rank = numerical_rank(sigma, self.rank_tolerance)
        U, sigma, Vh = U[:, :rank], sigma[:rank], Vh[:rank]
        weight = Vh.mT @ ((U.mT @ self.target) / sigma.unsqueeze(1))
        left = self.target - columns @ weight
        return Projected(parameters, U, sigma, Vh, weight, left, float(left.square().sum()))

    def jacobian(self, point: Projected) -> Tensor:
        """Return the derivative of what is left, (targets, parameters), by the formula of Golub and Pereyra."""
        m, each = point.parameters.shape
        n, out = self.rows, self.target.shape[1]
        slopes = self.slopes(point.parameters)
        across = -point.U @ (point.U[:n].mT @ slopes)
        across[:n] += slopes
        inverse = (point.U / point.sigma) @ point.Vh[:, :m]  # (Φ⁺)ᵀ
        along = (slopes.mT @ point.left[:n]).view(m, each, out)
        first = across.view(-1, 1, m, each) * point.weight[:m].mT.unsqueeze(-1)
        second = inverse.view(-1, 1, m, 1) * along.permute(2, 0, 1)
        return -(first + second).reshape(-1, m * each)

    def size(self, point: Projected) -> float:
        """Return the weighted root mean square of what is left of the rows, outputs summed."""
        return self.unit * self.share_left(point)

    def share_left(self, point: Projected) -> float:
        """Return the same in units."""
        return float(point.left[: self.rows].norm()) / math.sqrt(self.mass)

    def adapted(self, point: Projected) -> tuple[Separable, Projected]:
        """Return the problem with a λ that is near what it follows."""
        if 1 / FOLLOWING.near <= self.drift(point) <= FOLLOWING.near:
            return self, point
        return self.renewed(point)

    def write(self, point: Projected) -> None:
        """Write weights and shapes into the module: all of them, or none if its dtype cannot hold one."""
        shapes = self.split(point.parameters)
        for name, value in shapes.items():
            if not bool(value.to(self.module.mean.dtype).isfinite().all()):
                raise ValueError(f"{name} has numbers that are too large for {self.module.mean.dtype}; scale x")
        assign(self.module, self.unit * point.weight)  # it may refuse, too
        for name, value in shapes.items():
            getattr(self.module, name).copy_(value)

    # --- λ ----------------------------------------------------------------------------------------------------

    def drift(self, point: Projected) -> float:
        """Return the factor from λ to what it follows."""
        if self.spread is None:
            return 1.0
        share = min(self.share_left(point) / self.spread, 1.0) if self.spread else 1.0
        return max(FOLLOWING.share * share, least(self.module)) / self.regularisation

    def renewed(self, point: Projected) -> tuple[Separable, Projected]:
        """Return the problem with λ by what is left, and the best weights of the same shapes under it."""
        problem = replace(self, regularisation=self.drift(point) * self.regularisation)
        return problem, problem.at(point.parameters)

    def raised(self, point: Projected) -> tuple[Separable, Projected]:
        """Return the problem with the least λ, from the present one up, that is near what it leaves."""
        problem = self
        while problem.drift(point) > FOLLOWING.near:
            problem, point = problem.renewed(point)
        return problem, point

    # --- columns and their derivatives ------------------------------------------------------------------------

    @property
    def rows(self) -> int:
        """The number of rows, but for those that pull."""
        return len(self.target) - (self.module.num_components if self.regularisation else 0)

    @staticmethod
    def parameters(module: GMNM) -> dict[str, Tensor]:
        """Return the parameters of the bumps of a module by name."""
        return {"mean": module.mean, **module.form_parameters()}

    @staticmethod
    def shapes(parameters: Mapping[str, Tensor]) -> Tensor:
        """Return the parameters of every bump, (m, parameters of one)."""
        return torch.cat([p.double().flatten(1) for p in parameters.values()], 1)

    def split(self, shapes: Tensor) -> dict[str, Tensor]:
        """Return the parameters by name, (m, ...), or of a single bump, (1, ...)."""
        like = self.parameters(self.module)
        parts = shapes.split([p[0].numel() for p in like.values()], -1)
        return {name: part.view(-1, *p.shape[1:]) for part, (name, p) in zip(parts, like.items())}

    def bumps(self, group: RowGroup, x: Tensor, coefficients: Tensor, shapes: Tensor) -> Tensor:
        """Return what rows of a group make of bumps, (..., m)."""
        p = self.split(shapes)
        x, mean = self.module.centred(x, p["mean"])
        return group.feature(x, coefficients, mean, self.module.form.projection(p))

    def columns(self, shapes: Tensor) -> Tensor:
        """Return the bumps and the bias, and below them the rows that pull."""
        parts = []
        for group in self.groups:
            columns = self.bumps(group, group.x, group.coefficients, shapes)
            if self.module.bias is not None:
                columns = torch.cat([columns, group.constant], 1)
            parts.append(group.root * columns)
        pull = torch.eye(len(self.target) - self.rows, parts[0].shape[1], dtype=shapes.dtype, device=shapes.device)
        return torch.cat([*parts, self.regularisation * math.sqrt(self.mass) * pull])

    def slopes(self, shapes: Tensor) -> Tensor:
        """Return the one column of ∂Φ that is not 0, for every parameter, (n, parameters)."""
        parts = []
        for group in self.groups:

            def bump(shapes: Tensor, x: Tensor, coefficients: Tensor, group: RowGroup = group) -> Tensor:
                return self.bumps(group, x, coefficients, shapes)[0]

            of_bumps = vmap(vmap(grad(bump), in_dims=(0, None, None)), in_dims=(None, 0, 0))
            parts.append(group.root * of_bumps(shapes, group.x, group.coefficients).flatten(1))
        return torch.cat(parts)

    # --- what is to be known at the end -----------------------------------------------------------------------

    def determined(self, point: Projected) -> tuple[int, float]:
        """Return rank and condition of the columns, without the rows that pull."""
        columns = self.columns(point.parameters)[: self.rows]
        norm = torch.linalg.vector_norm(columns, dim=0)
        sigma = torch.linalg.svdvals(columns / torch.where(norm > 0, norm, 1.0))
        return numerical_rank(sigma, self.rank_tolerance), condition_number(sigma, columns.shape[1])

    def float32_error(self, point: Projected) -> Tensor:
        """Return what a module with these bumps and weights loses in float32."""
        p, form, every = self.split(point.parameters), self.module.form, self.unit * point.weight
        weight, bias = every[: len(p["mean"])], every[len(p["mean"]) :].sum(0)
        x = torch.cat([group.x[group.root[:, 0] > 0] for group in self.groups])
        return float32_loss(self.module, x, Sum(p["mean"], form.projection(p), weight, bias))


def _result(reason: DescentReason, descent: Descent[Separable, Projected]) -> VariableProjection:
    """Return what is to be known of a descent where it ended."""
    last, point = descent.residual, descent.point
    rank, condition = last.determined(point)
    largest, lost = float(last.unit * point.weight.abs().amax()), last.float32_error(point)
    return VariableProjection(reason, descent.history, rank, condition, largest, last.regularisation, lost)
