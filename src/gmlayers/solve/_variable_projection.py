r"""Variable projection: the shapes of bumps trained with their weights always at the best values.

For columns Φ(θ), bumps of means and shapes θ, the best weights are :math:`w = \Phi^+ y`, and what they leave,
:math:`r(\theta) = y - \Phi\Phi^+ y`, is a function of θ alone (Golub and Pereyra, 1973). With
:math:`P^\perp = I - \Phi\Phi^+` its derivative is

.. math:: \partial r = -P^\perp\,\partial\Phi\,w - (\Phi^+)^\top\,\partial\Phi^\top r,

while the rank of Φ is constant. (Kaufman's approximation, 1975, leaves out the second term.) A bump has parameters of
its own, so :math:`\partial\Phi` has one column that is not 0.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.func import grad, vmap

from gmlayers._names import positive
from gmlayers.functional import gmnm
from gmlayers.nn import GMNM
from gmlayers.solve._fit import Sum, assign, check_data, float32_allowed, float32_loss, warn_of_range
from gmlayers.solve._least_squares import RANK_TOLERANCE, Rows, Triangle, condition_number, numerical_rank
from gmlayers.solve._limits import (
    check_callback,
    check_float32,
    check_not_negative,
    check_rank_tolerance,
    check_seconds,
    warn_of_float32,
)

GRADIENT_TOLERANCE = 1e-10
"""Cosine of the angle between the residual and every column of its derivative at which the gradient counts as 0."""

ROUNDING = 8
"""Units of rounding of the targets at which a residual counts as 0."""

SHARE = 1e-3
"""λ that follows what is left, in terms of the share of the targets that it is."""

CAST = 0.1
"""The least λ that follows, in units of rounding of the module: what rounded weights add to what is left."""

NEAR = 2.0
"""Factor between λ and what it follows, up to which it stays as it is."""

DAMPING = 1e-2
"""At the start, relative to the columns of the derivative."""

SEEN = 1e-8
"""Share of the largest unit of a parameter, among all bumps, that the others have at least."""

PROBE = 0.1
"""Share of a step at which its curvature is measured."""

BEND = 0.375
"""Length of an acceleration, relative to its step, above which it is not taken."""

Reason = Literal["exact", "gradient", "reduction", "step", "iterations", "time"]


class Iteration(NamedTuple):
    """One iteration of :func:`variable_projection` or :func:`~gmlayers.solve.collocate`."""

    number: int
    """0 for the start."""
    residual: float
    """As in the history of :class:`VariableProjection`."""
    seconds: float
    """Since the start."""


class VariableProjection(NamedTuple):
    """How a fit by :func:`variable_projection` went."""

    reason: Reason
    """Why it ended. ``"exact"``: nothing is left but rounding; ``"gradient"``: the gradient is 0; ``"reduction"``: the
    last step gained less than the tolerance; ``"step"``: no step is small enough to gain anything, as happens at the
    limit of double precision; ``"iterations"`` and ``"time"``: there were as many, or as much, as
    allowed."""
    history: Tensor
    """Weighted root mean square of the residual, the outputs of a row summed, at the start and after every iteration.
    It falls, unless λ pays for the difference."""
    rank: int
    """Of the rows of the bumps and the bias, their columns at norm 1: number of singular values that are not taken for
    0. What weights the rest leaves open, λ decides; without λ, ``rank_tolerance`` of the columns as they are."""
    condition: float
    """Largest over smallest singular value of these; infinite if one is 0."""
    max_weight: float
    """Largest absolute weight."""
    regularisation: float
    """λ at the end."""
    float32_error: Tensor
    """What the module loses if all its numbers, and the inputs, are in float32: root mean square over the inputs,
    (out,), of what it answers beside what it would answer in float64. A module in float32 has lost it already, one in
    half precision more."""


@torch.no_grad()
def variable_projection(
    module: GMNM,
    x: Tensor,
    y: Tensor,
    *,
    weight: Tensor | None = None,
    iterations: int = 100,
    tolerance: float = 1e-6,
    regularisation: float | None = None,
    rank_tolerance: float = RANK_TOLERANCE,
    max_seconds: float = math.inf,
    float32_tolerance: float | None = None,
    callback: Callable[[Iteration], object] | None = None,
) -> VariableProjection:
    r"""Train the bumps of a module on data by Levenberg–Marquardt, the weights solved for at every step.

    .. math:: \min_\theta\;\min_w\; \sum_i \omega_i \|y_i - w^\top \phi(x_i; \theta)\|^2
        + \lambda^2 \sum_i \omega_i\, \|w\|^2

    The derivative is exact, the formula of Golub and Pereyra. Weights and steps come from orthogonal factorisations, no
    normal equations are formed, so it goes on to where double precision ends. All is computed in float64, whatever the
    dtype of the module, in which the result is then written. Damping is that of Nielsen (1999), with the scaling of
    Moré (1978); steps are bent along the curved valleys of such problems, by the geodesic acceleration of Transtrum and
    Sethna (2012).

    Without λ bumps drift to where only their difference counts, with huge weights of opposite sign; with too large a λ
    the error stops falling early. So it follows what is left, if it is not given: within a factor of 2

    .. math:: \lambda = \max\Big(c\,\frac{\varrho}{s}, \frac{\varepsilon}{10}\Big), \qquad
        \varrho^2 = \frac{\sum_i \omega_i \|r_i\|^2}{\sum_i \omega_i}, \qquad
        s^2 = \frac{\sum_i \omega_i \|y_i - \bar y\|^2}{\sum_i \omega_i}, \qquad c = 10^{-3},

    with r what is left, :math:`\bar y` the weighted mean of the targets, 0 if there is no bias, and ε the rounding of
    the module's dtype. Where λ is exactly the first, stationary points are those of
    :math:`\log\varrho^2 + c^2 \|w\|^2 / s^2`, too: weights a thousand times as large as the targets cost as much as a
    residual that is :math:`\sqrt e` times as large, however small it is. Where it is the second,
    :math:`\lambda^2 \|w\|^2` is about what rounded weights add to the mean square.

    An iteration takes about :math:`2 n P^2` operations and memory for several times :math:`n P` numbers, where n is the
    number of targets, rows times outputs, and P that of the parameters of ``mean`` and the form.

    Args:
        module: where it starts: its ``mean`` and form; its weights do not matter. All are written. Bumps that cover the
            data are needed, as ``domain`` and :meth:`~gmlayers.GMNM.from_data` give: one that no point sees stays.
        x: inputs, (n, in_features), of any floating dtype.
        y: targets, (n, out_features).
        weight: how much each row counts, ω, (n,), not negative.
        iterations: at most; each is a step that gains something.
        tolerance: it ends when a step reduces the sum of squares by less than this share.
        regularisation: λ, by which weights that cancel are held to about the size of what is left over λ; the bias is
            free. If not given, it follows what is left, as above.
        rank_tolerance: singular values of the columns below this times the largest are taken for 0.
        max_seconds: no iteration is begun that is expected to end later; of the first that is not known.
        float32_tolerance: warn if the module in float32 loses more. By default 10⁻³ of the root mean square of the
            targets for modules of less than float64, and infinity, for no warning, for others.
        callback: called with the start and every iteration, when it is written in the module, if its dtype can hold
            the weights; ``print`` shows them. If it raises, or the run is interrupted, the last one stays.

    Returns:
        Why it ended, the residual after each iteration, and what is to be known of the weights. (They are the best ones
        under λ; :func:`~gmlayers.solve.fit` would put others in their place, without it.)

    Raises:
        ValueError: shapes that are not those of the module, numbers that are not finite, options out of range.
        TypeError: what is no module of this kind; data that are no tensors, or complex; options that are no numbers.
        RuntimeError: if a parameter is parametrized; what is written here would be computed away.

    Warns:
        UserWarning: inputs out of the range of the module, and if float32 loses more than it may.

    Example:
        >>> import torch
        >>> from gmlayers import GMNM, solve
        >>> x = torch.linspace(-1, 1, 100, dtype=torch.float64)[:, None]
        >>> module = GMNM(1, 1, 8, domain=(-1, 1), dtype=torch.float64)
        >>> result = solve.variable_projection(module, x, torch.sin(6 * x))
        >>> bool(result.history[-1] < 1e-4)
        True
    """
    check_data("variable_projection", module, x, y, weight)
    warn_of_range("variable_projection", module, x, weight)
    if regularisation is not None:
        check_not_negative("variable_projection", {"regularisation": regularisation})
    limits = check_options(
        "variable_projection", iterations, tolerance, rank_tolerance, max_seconds, float32_tolerance, callback
    )
    data = _Problem.of(module, x, y, weight, regularisation, rank_tolerance)
    result = descend("variable_projection", data, limits)
    size = float(data.target.norm()) / math.sqrt(data.mass * module.out_features)
    allowed = float32_allowed(module, size, float32_tolerance)
    lost = float(result.float32_error.square().mean().sqrt())
    warn_of_float32("variable_projection", "the module", result.max_weight, lost, allowed)
    return result


class Limits(NamedTuple):
    """When a run ends, and who is told."""

    iterations: int
    tolerance: float
    max_seconds: float
    callback: Callable[[Iteration], object] | None
    start: float
    """When it began."""


def check_options(
    function: str,
    iterations: int,
    tolerance: float,
    rank_tolerance: float,
    max_seconds: float,
    float32_tolerance: float | None,
    callback: Callable[[Iteration], object] | None,
) -> Limits:
    """Return the limits of a run that begins; raise if an option is out of range."""
    start = time.perf_counter()
    check_not_negative(function, {"tolerance": tolerance})
    check_rank_tolerance(function, rank_tolerance)
    check_seconds(function, max_seconds)
    check_float32(function, float32_tolerance)
    check_callback(function, callback)
    return Limits(positive(f"{function}: iterations", iterations), tolerance, max_seconds, callback, start)


def descend(function: str, problem: _Problem, limits: Limits) -> VariableProjection:
    """Train the module of a problem, by Levenberg–Marquardt."""
    point = problem.at(problem.shapes(problem.parameters(problem.module)))
    if not math.isfinite(point.cost):
        if not math.isfinite(float(problem.target.square().sum())):
            raise ValueError(f"{function}: the squares of the targets are not finite in float64; scale them")
        raise ValueError(f"{function}: the bumps of the module are not finite on these inputs; draw them anew")
    problem, point = problem.raised(point)
    run = _Run(problem, limits, point, [problem.residual(point)], torch.zeros_like(point.shapes).flatten())
    try:
        run.tell()
        while (reason := run.advance()) is None:
            run.tell()
    except BaseException:
        with suppress(ValueError, RuntimeError):  # what ended the run is to be seen, not that this was refused
            run.problem.write(run.point)
        raise
    run.problem.write(run.point)
    return VariableProjection(
        reason,
        torch.tensor(run.history, dtype=torch.float64),
        *run.problem.determined(run.point),
        float(run.point.weight.abs().amax()),
        run.problem.regularisation,
        run.problem.float32_error(run.point),
    )


def _value(x: Tensor, coefficients: Tensor, mean: Tensor, projection: Tensor) -> Tensor:  # noqa: ARG001
    return gmnm.bumps(x, mean, projection)


class _Point(NamedTuple):
    """Shapes, the factors of their columns Φ = U diag(σ) Vᵀ, the best weights, and what they leave."""

    shapes: Tensor
    """Parameters of every bump, (m, parameters of one)."""
    U: Tensor
    sigma: Tensor
    Vh: Tensor
    weight: Tensor
    left: Tensor
    cost: float


class Group(NamedTuple):
    """Rows that are made of bumps in the same way."""

    feature: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    """From x (..., d), coefficients (..., c), mean (m, d) and projection (m, p, d) to (..., m)."""
    x: Tensor
    """(n, d)."""
    coefficients: Tensor
    """(n, c)."""
    constant: Tensor
    """What the bias adds, (n, 1)."""
    target: Tensor
    """(n, out)."""
    root: Tensor
    """Of how much each row counts, (n, 1)."""


@dataclass(frozen=True)
class _Problem:
    """Rows, with the roots of their weights multiplied in, and others that pull the weights to 0 below them."""

    groups: Sequence[Group]
    target: Tensor
    regularisation: float
    """λ."""
    spread: float | None
    """Of the targets, in terms of which λ follows what is left; None if λ is fixed."""
    rank_tolerance: float
    module: GMNM
    mass: float

    @classmethod
    def of(
        cls,
        module: GMNM,
        x: Tensor,
        y: Tensor,
        weight: Tensor | None,
        regularisation: float | None,
        rank_tolerance: float,
    ) -> _Problem:
        """Return the problem to be near data."""
        counts = y.new_ones(len(y), dtype=torch.float64) if weight is None else weight.double()
        ones, root = counts.new_ones(len(y), 1), counts.sqrt().unsqueeze(1)
        group = Group(_value, x.double(), ones[:, :0], ones, y.double(), root)
        return cls.of_groups(module, [group], float(counts.sum()), regularisation, rank_tolerance)

    @classmethod
    def of_groups(
        cls, module: GMNM, groups: Sequence[Group], mass: float, regularisation: float | None, rank_tolerance: float
    ) -> _Problem:
        """Return the problem of these rows, whose weights sum up to the mass; λ that is None follows what is left."""
        target = torch.cat([group.root * group.target for group in groups])
        spread = None
        if regularisation is None:
            spread = _spread(module, groups, target) / math.sqrt(mass)
            regularisation = _least(module)
        below = target.new_zeros(module.num_components if regularisation else 0, target.shape[1])
        return cls(groups, torch.cat([target, below]), regularisation, spread, rank_tolerance, module, mass)

    def drift(self, point: _Point) -> float:
        """Return the factor from λ to what it follows."""
        if self.spread is None:
            return 1.0
        share = min(self.residual(point) / self.spread, 1.0) if self.spread else 1.0
        return max(SHARE * share, _least(self.module)) / self.regularisation

    def renewed(self, point: _Point) -> tuple[_Problem, _Point]:
        """Return the problem with λ by what is left, and the best weights of the same shapes under it."""
        problem = replace(self, regularisation=self.drift(point) * self.regularisation)
        return problem, problem.at(point.shapes)

    def raised(self, point: _Point) -> tuple[_Problem, _Point]:
        """Return the problem with the least λ, from the present one up, that is near what it leaves."""
        problem = self
        while problem.drift(point) > NEAR:
            problem, point = problem.renewed(point)
        return problem, point

    @property
    def rows(self) -> int:
        """How many there are, but for those that pull."""
        return len(self.target) - (self.module.num_components if self.regularisation else 0)

    @property
    def rounding(self) -> float:
        """Residual that is nothing but rounding of the target."""
        return ROUNDING * torch.finfo(torch.float64).eps * float(self.target.norm()) / math.sqrt(self.mass)

    def residual(self, point: _Point) -> float:
        return float(point.left[: self.rows].norm()) / math.sqrt(self.mass)

    @staticmethod
    def parameters(module: GMNM) -> dict[str, Tensor]:
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

    def bumps(self, group: Group, x: Tensor, coefficients: Tensor, shapes: Tensor) -> Tensor:
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

            def bump(shapes: Tensor, x: Tensor, coefficients: Tensor, group: Group = group) -> Tensor:
                return self.bumps(group, x, coefficients, shapes)[0]

            of_bumps = vmap(grad(bump), in_dims=(0, None, None))
            parts.append(
                group.root * vmap(of_bumps, in_dims=(None, 0, 0))(shapes, group.x, group.coefficients).flatten(1)
            )
        return torch.cat(parts)

    def at(self, shapes: Tensor) -> _Point:
        """Return the best weights for shapes; shapes that overflow are infinitely bad."""
        columns = self.columns(shapes)
        if not bool(columns.isfinite().all()):
            return _Point(shapes, columns, columns, columns, columns, columns, math.inf)
        U, sigma, Vh = torch.linalg.svd(columns, full_matrices=False)
        rank = numerical_rank(sigma, self.rank_tolerance)
        U, sigma, Vh = U[:, :rank], sigma[:rank], Vh[:rank]
        weight = Vh.mT @ ((U.mT @ self.target) / sigma.unsqueeze(1))
        left = self.target - columns @ weight
        return _Point(shapes, U, sigma, Vh, weight, left, float(left.square().sum()))

    def determined(self, point: _Point) -> tuple[int, float]:
        """Return rank and condition of the columns, without the rows that pull."""
        columns = self.columns(point.shapes)[: self.rows]
        norm = torch.linalg.vector_norm(columns, dim=0)
        sigma = torch.linalg.svdvals(columns / torch.where(norm > 0, norm, 1.0))
        return numerical_rank(sigma, self.rank_tolerance), condition_number(sigma, columns.shape[1])

    def float32_error(self, point: _Point) -> Tensor:
        """Return what a module with these bumps and weights loses in float32."""
        p, form = self.split(point.shapes), self.module.form
        weight, bias = point.weight[: len(p["mean"])], point.weight[len(p["mean"]) :].sum(0)
        x = torch.cat([group.x[group.root[:, 0] > 0] for group in self.groups])
        return float32_loss(self.module, x, Sum(p["mean"], form.projection(p), weight, bias))

    def jacobian(self, point: _Point) -> Tensor:
        """Return the derivative of what is left, (targets, parameters), by the formula of Golub and Pereyra."""
        m, each = point.shapes.shape
        n, out = self.rows, self.target.shape[1]
        slopes = self.slopes(point.shapes)
        across = -point.U @ (point.U[:n].mT @ slopes)
        across[:n] += slopes
        inverse = (point.U / point.sigma) @ point.Vh[:, :m]  # (Φ⁺)ᵀ
        along = (slopes.mT @ point.left[:n]).view(m, each, out)
        first = across.view(-1, 1, m, each) * point.weight[:m].mT.unsqueeze(-1)
        second = inverse.view(-1, 1, m, 1) * along.permute(2, 0, 1)
        return -(first + second).reshape(-1, m * each)

    def write(self, point: _Point) -> None:
        assign(self.module, point.weight)  # first: it may refuse
        for name, value in self.split(point.shapes).items():
            getattr(self.module, name).copy_(value)


@dataclass(frozen=True)
class _Model:
    """The residual around a point as a linear function of the step, and the search for a step that it promises."""

    problem: _Problem
    point: _Point
    jacobian: Tensor
    R: Tensor
    """Of the QR factorisation of the derivative."""
    c: Tensor
    """-Qᵀr."""
    scale: Tensor
    """Units of the parameters: the largest norms that their columns have had, (P,), but not far below those of other
    bumps. A bump that the points hardly see would else be sent where nothing sees it, in a step as long as it likes."""

    @classmethod
    def at(cls, problem: _Problem, point: _Point, scale: Tensor) -> _Model:
        jacobian = problem.jacobian(point)
        R, c = _triangle((jacobian, -point.left.reshape(-1, 1)))
        size = torch.maximum(scale, torch.linalg.vector_norm(R, dim=0)).view_as(point.shapes)
        return cls(problem, point, jacobian, R, c, torch.maximum(size, SEEN * size.amax(0)).flatten())

    @property
    def stationary(self) -> bool:
        """Whether the residual is orthogonal to its derivative."""
        size = torch.linalg.vector_norm(self.R, dim=0) * math.sqrt(self.point.cost)
        return bool(((self.R.mT @ self.c)[:, 0].abs() <= GRADIENT_TOLERANCE * size).all())

    def descend(self, damping: float) -> tuple[_Point | None, float]:
        """Return a better point, None if no step gains anything, and the damping with which to go on."""
        growth = 2.0
        while damping < 1e20:
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

    def _moved(self, step: Tensor) -> _Point:
        return self.problem.at(self.point.shapes + step.view_as(self.point.shapes))

    def _bend(self, step: Tensor, T: Tensor) -> Tensor:
        r"""Return the geodesic acceleration of a step δ, by which it follows a curved valley.

        The least-squares solution of :math:`J a = -\tfrac12\,\partial^2 r(\delta, \delta)` under the same damping. The
        second derivative is a difference; it is a correction, so T, with :math:`T^\top T = J^\top J + D^2`, is accurate
        enough. Where it is not small beside the step, neither is to be trusted, and there is none.
        """
        ahead = self._moved(PROBE * step)
        if ahead.cost == math.inf:
            return torch.zeros_like(step)
        change = (ahead.left - self.point.left).reshape(-1, 1) / PROBE - self.jacobian @ step
        force = -(self.jacobian.mT @ change) / PROBE
        half = torch.linalg.solve_triangular(T.mT, force, upper=False)
        bend = torch.linalg.solve_triangular(T, half, upper=True)
        size = self.scale.unsqueeze(1)
        small = (size * bend).norm() <= BEND * (size * step).norm()
        return torch.where(small, bend, 0.0)


@dataclass
class _Run:
    """A descent on its way."""

    problem: _Problem
    limits: Limits
    point: _Point
    history: list[float]
    scale: Tensor
    damping: float = DAMPING
    reduction: float = math.inf
    """Share of the cost that the latest iteration gained."""
    latest: float = 0.0
    """Seconds that it took."""

    def advance(self) -> Reason | None:
        """Go to a better point; return why there is none, or none is wanted, else None."""
        if self.reduction < self.limits.tolerance:
            return "reduction"
        if len(self.history) > self.limits.iterations:
            return "iterations"
        if self.history[-1] <= self.problem.rounding:
            return "exact"
        begin = time.perf_counter()
        if begin - self.limits.start + self.latest > self.limits.max_seconds:
            return "time"
        model = _Model.at(self.problem, self.point, self.scale)
        if model.stationary:
            return "gradient"
        trial, self.damping = model.descend(self.damping)
        if trial is None:
            return "step"
        problem, reduction = self.problem, 1 - trial.cost / self.point.cost
        if not 1 / NEAR <= problem.drift(trial) <= NEAR:
            problem, trial = problem.renewed(trial)
            reduction = math.inf  # what was gained under the other λ is no measure
        self.problem, self.point, self.reduction, self.scale = problem, trial, reduction, model.scale
        self.latest = time.perf_counter() - begin
        self.history.append(problem.residual(trial))
        return None

    def tell(self) -> None:
        """Write the module as it is, and call whoever wants to know."""
        if self.limits.callback is not None:
            with suppress(ValueError):  # weights on the way may be too large for a narrow dtype
                self.problem.write(self.point)
            with torch.enable_grad():
                seconds = time.perf_counter() - self.limits.start
                self.limits.callback(Iteration(len(self.history) - 1, self.history[-1], seconds))


def _least(module: GMNM) -> float:
    """Return the least λ that follows what is left."""
    return CAST * torch.finfo(module.mean.dtype).eps


def _spread(module: GMNM, groups: Sequence[Group], target: Tensor) -> float:
    """Return the norm of what the bias alone cannot explain of the targets."""
    if module.bias is None:
        return float(target.norm())
    level = torch.cat([group.root * group.constant for group in groups])
    size = level.square().sum()
    return float((target - level @ ((level.mT @ target) / size.clamp(min=torch.finfo(size.dtype).tiny))).norm())


def _triangle(*blocks: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Return R and Qᵀy of the rows."""
    triangle = Triangle()
    for block in blocks:
        triangle.add(Rows(*block))
    return triangle.parts()[:2]
