r"""Methods to approximate functions and to solve Poisson equations, and the settings of each that are tried.

Regressions are scaled to the box [-1, 1]^d and to standardised values for all of them. Whatever is drawn is drawn from
the seed of the budget.
"""

from __future__ import annotations

import copy
import itertools
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from gmlayers import GMNM, solve
from gmlayers.experiments.approximation import splines
from gmlayers.experiments.approximation.losses import loss, misfits
from gmlayers.experiments.approximation.nets import (
    MLP,
    PIG,
    RBF,
    Activation,
    Chebyshev,
    Scaled,
    Splats,
    largest,
    stored,
)
from gmlayers.experiments.approximation.tasks import Budget, Clock, Collocation, Method, Regression, State
from gmlayers.experiments.approximation.training import descend, levenberg_marquardt, paced
from gmlayers.nn._gmnm import FormName
from gmlayers.solve import Expression, Points
from gmlayers.solve.engine import rows
from gmlayers.solve.equations import apply, values

CONDITION = 10.0
"""How much residuals of the condition count, against those of the equation, in terms of the size of their rows, where
both are solved for by least squares."""

LIMIT = 1e-15
"""Tolerance of a solve that is to go on to where double precision ends."""

ROUNDING = 1e-12
"""Share of the targets below which what is left of them is rounding."""

Task = Regression | Collocation


class Fitted(ABC):
    """What the methods have in common: regressions are scaled, numbers counted, and states yielded at a pace."""

    default: ClassVar[int] = 1000
    """Numbers that may be stored where the budget does not say."""

    def fit(self, task: Task, budget: Budget) -> Iterator[State]:
        """Yield states until the time is used up, or nothing is left to gain."""
        parameters = self.default if budget.parameters is None else budget.parameters
        clock, generator = budget.clock, torch.Generator().manual_seed(budget.seed)
        if isinstance(task, Collocation):
            for net in paced(self.nets(task, parameters, clock, generator), clock):
                yield State(net, numbers(net))
            return
        scaled = Scaled(task)
        own = stored(scaled)
        for net in paced(self.nets(scaled.unit, parameters - own, clock, generator), clock):
            scaled.net = net
            yield State(scaled, own + numbers(net))

    @abstractmethod
    def nets(self, task: Task, parameters: int, clock: Clock, generator: torch.Generator) -> Iterator[nn.Module]:
        """Yield the net after every step, or a larger net after every solve."""


class Descended(Fitted):
    """A net that is trained by Adam and then by L-BFGS; ``rate`` and ``adam`` are those of ``training.descend``."""

    rate: float
    adam: float

    def nets(self, task: Task, parameters: int, clock: Clock, generator: torch.Generator) -> Iterator[nn.Module]:
        """Yield the same net after every step."""
        with _drawing(generator):
            net = self.net(task, parameters, generator)
        value = loss(task)
        yield net
        sampled = self.sampled(task, net, generator)
        for _ in descend(net, lambda: value(net), clock, rate=self.rate, adam=self.adam, sampled=sampled):
            yield net

    def sampled(self, task: Task, net: nn.Module, generator: torch.Generator) -> Callable[[], Tensor] | None:  # noqa: ARG002
        """Return the loss of a net at points that are drawn anew at every call, if Adam is to have that."""
        return None

    @abstractmethod
    def net(self, task: Task, parameters: int, generator: torch.Generator) -> nn.Module:
        """Return the largest net within so many parameters."""


@dataclass(frozen=True)
class FullyConnected(Descended):
    """An MLP, or for an equation a physics-informed neural network. A given width is taken whatever the budget."""

    activation: Activation = "tanh"
    depth: int = 2
    width: int | None = None
    rate: float = 1e-2
    adam: float = 0.2

    def net(self, task: Task, parameters: int, generator: torch.Generator) -> nn.Module:  # noqa: ARG002
        """Return a net that torch's global generator draws."""
        d = dimension(task)
        width = self.width or largest(lambda n: MLP.count(d, n, self.depth), parameters)
        return MLP(d, width, self.depth, self.activation)


@dataclass(frozen=True)
class Batched(FullyConnected):
    """The same for an equation, where Adam sees some of the points at a time."""

    batch: int = 1000

    def sampled(self, task: Task, net: nn.Module, generator: torch.Generator) -> Callable[[], Tensor]:
        """Return the loss at a batch of points inside, and at as large a share of those on the boundary."""
        task = _equation("Batched", task)
        share = min(1.0, self.batch / len(task.interior))

        def some(x: Tensor) -> Tensor:
            return x[torch.randint(len(x), (math.ceil(share * len(x)),), generator=generator)]

        return lambda: loss(replace(task, interior=some(task.interior), boundary=some(task.boundary)))(net)


@dataclass(frozen=True)
class LevenbergMarquardt(Fitted):
    """A tanh MLP by :func:`~gmlayers.experiments.approximation.training.levenberg_marquardt`."""

    depth: int = 2

    def nets(self, task: Task, parameters: int, clock: Clock, generator: torch.Generator) -> Iterator[nn.Module]:  # noqa: ARG002
        """Yield the same net after every step."""
        with _drawing(generator):
            net = FullyConnected("tanh", self.depth).net(task, parameters, generator)
        terms = misfits(self.seen(task, net, generator))
        yield net
        for _ in levenberg_marquardt(net, terms):
            yield net

    def seen(self, task: Task, net: nn.Module, generator: torch.Generator) -> Task:  # noqa: ARG002
        """Return what the net is trained on."""
        return task


@dataclass(frozen=True)
class Thinned(LevenbergMarquardt):
    """The same for an equation at some of the points inside, always the same ones: more steps in the same time."""

    points: float = 4.0
    """For each parameter."""

    def seen(self, task: Task, net: nn.Module, generator: torch.Generator) -> Task:
        """Return the task with points that are drawn, or all if there are no more."""
        task = _equation("Thinned", task)
        order = torch.randperm(len(task.interior), generator=generator)
        return replace(task, interior=task.interior[order[: math.ceil(self.points * stored(net))]])


@dataclass(frozen=True)
class Splatted(Descended):
    """Gaussian splats that start at points of the data."""

    rate: float = 1e-2
    adam: float = 1.0

    def net(self, task: Task, parameters: int, generator: torch.Generator) -> nn.Module:
        """Return splats at random points."""
        d = dimension(task)
        return Splats(_some_points(task, largest(lambda m: Splats.count(d, m), parameters, 2), generator))


@dataclass(frozen=True)
class PhysicsInformedGaussians(Descended):
    """PIG; the sizes of the net on top are those of the settings, the budget decides on the number of bumps."""

    features: int = 4
    hidden: int = 8
    rate: float = 1e-2
    adam: float = 0.2

    def net(self, task: Task, parameters: int, generator: torch.Generator) -> nn.Module:
        """Return a net whose bumps are at random points."""
        d = dimension(task)
        bumps = largest(lambda m: PIG.count(d, m, self.features, self.hidden), parameters)
        return PIG(_some_points(task, bumps, generator), self.features, self.hidden)


@dataclass(frozen=True)
class GMNMByGradient(Descended):
    """A GMNM trained like the others; for a regression it starts where data and residual are."""

    form: FormName = "mahalanobis"
    rate: float = 1e-2
    adam: float = 1.0

    def net(self, task: Task, parameters: int, generator: torch.Generator) -> nn.Module:
        """Return a module from the data, or drawn in the box of the equation."""
        d = dimension(task)
        bumps = largest(lambda m: gmnm_count(d, m, self.form), parameters)
        if isinstance(task, Regression):
            return GMNM.from_data(task.x, 1, bumps, y=task.y, form=self.form, generator=generator)
        domain = task.known.problem.domain
        module = GMNM(d, 1, bumps, form=self.form, domain=(domain.low, domain.high), dtype=torch.float64)
        module.reset_parameters(generator)
        return module


class Projected(Fitted):
    """A GMNM whose weights are always the best ones.

    Where nothing is left to gain it begins anew with other bumps, for as long as there is time.
    """

    form: FormName
    widened: float

    def nets(self, task: Task, parameters: int, clock: Clock, generator: torch.Generator) -> Iterator[nn.Module]:
        """Yield the module that leaves least, after some iterations each."""
        bumps = largest(lambda m: gmnm_count(dimension(task), m, self.form), parameters)
        least, best, enough = math.inf, None, self.enough(task)
        while least > enough:
            module = self.start(task, bumps, generator)
            if best is None:
                yield module
            with torch.no_grad():
                for parameter in module.form_parameters().values():
                    parameter.div_(self.widened)
            iterations, reason = 2, "iterations"
            while reason == "iterations":
                begin = clock.passed()
                result = self.descend(module, task, iterations)
                reason, left = result.reason, float(result.history[-1])
                if best is None or left < least:
                    least, best = left, copy.deepcopy(module)
                yield best
                share = (clock.passed() - begin) / clock.seconds
                if share < 0.02:  # few long calls: each begins with a damping of its own
                    iterations *= 2

    @abstractmethod
    def start(self, task: Task, bumps: int, generator: torch.Generator) -> GMNM:
        """Return a module from which to start, other ones every time."""

    @abstractmethod
    def descend(self, module: GMNM, task: Task, iterations: int) -> solve.VariableProjection:
        """Train it."""

    def enough(self, task: Task) -> float:  # noqa: ARG002
        """Return what may be left where nothing more is to be gained."""
        return 0.0


@dataclass(frozen=True)
class VariableProjection(Projected):
    """By :func:`gmlayers.solve.variable_projection`, for regressions."""

    form: FormName = "mahalanobis"
    widened: float = 1.0
    """By which the bumps are wider at the start than is best before they are trained, as rows left out tell."""

    def start(self, task: Task, bumps: int, generator: torch.Generator) -> GMNM:
        """Return bumps where data and residual are."""
        task = _regression("VariableProjection", task)
        with _drawing(generator):
            module = GMNM.from_data(task.x, 1, bumps, y=task.y, form=self.form, generator=generator)
        solve.widen(module, task.x, task.y)
        return module

    def descend(self, module: GMNM, task: Task, iterations: int) -> solve.VariableProjection:
        """Train it on the data."""
        task = _regression("VariableProjection", task)
        return solve.variable_projection(module, task.x, task.y, iterations=iterations)

    def enough(self, task: Task) -> float:
        """Return the rounding of the data."""
        return ROUNDING * float(_regression("VariableProjection", task).y.square().mean().sqrt())


@dataclass(frozen=True)
class Collocated(Projected):
    """By :func:`gmlayers.solve.collocate`, for equations, with points of its own."""

    form: FormName = "mahalanobis"
    share: float = 1.0
    """Of the weight that the equation has in the loss."""
    widened: float = 1.0
    """By which the bumps are wider at the start."""

    def start(self, task: Task, bumps: int, generator: torch.Generator) -> GMNM:
        """Return bumps all over the domain."""
        domain = _equation("Collocated", task).known.problem.domain
        with _drawing(generator):
            box = domain.low, domain.high
            module = GMNM(domain.dim, 1, bumps, form=self.form, domain=box, dtype=torch.float64)
        module.reset_parameters(generator)
        return module

    def descend(self, module: GMNM, task: Task, iterations: int) -> solve.VariableProjection:
        """Train it on the equation."""
        task = _equation("Collocated", task)
        weight = {"equation": self.share * task.weight, "boundary": 1.0}
        return solve.collocate(module, task.known.problem, importance=weight, iterations=iterations)


@dataclass(frozen=True)
class Solve(Fitted):
    """:func:`gmlayers.solve.solve` with more and more bumps. It has points of its own, from equation and domain."""

    default: ClassVar[int] = 10_000

    def nets(self, task: Task, parameters: int, clock: Clock, generator: torch.Generator) -> Iterator[nn.Module]:  # noqa: ARG002
        """Yield solutions by larger and larger sets; the smaller ones are solved for again, which costs little."""
        problem = _equation("Solve", task).known.problem
        most = parameters // (2 * problem.domain.dim + 1)
        count, rate = min(100, most), 1.0  # seconds of a solve, which goes by those of the wall, in one of the clock
        while (left := clock.seconds - clock.passed()) > 0:
            begin, wall = clock.passed(), time.perf_counter()
            answer = solve.solve(problem, LIMIT, max_components=count, max_seconds=rate * left)
            rate = (time.perf_counter() - wall) / (clock.passed() - begin)
            yield answer.u
            if answer.reason != "bumps" or count == most:
                return
            count = min(math.ceil(1.6 * count), most)


@dataclass(frozen=True)
class RadialBasis(Fitted):
    """Round bumps at fixed centres with the best weights: of k-means of the data, or on a grid over a wider box."""

    width: float = 2.0
    """In terms of the distance between centres."""

    def nets(self, task: Task, parameters: int, clock: Clock, generator: torch.Generator) -> Iterator[nn.Module]:  # noqa: ARG002
        """Yield the one net that there is."""
        d, values_given = dimension(task), isinstance(task, Regression)
        bumps = largest(lambda m: RBF.count(d, m, bias=values_given), parameters)
        if isinstance(task, Regression):
            with _drawing(generator):
                centre = GMNM.from_data(task.x, 1, bumps, generator=generator).mean.detach()
                net = RBF(centre, self.width * 2 / bumps ** (1 / d), bias=True)
            columns = torch.cat([net.bumps(task.x), torch.ones_like(task.y)], 1)
            weight = solve.least_squares([(columns, task.y)]).weight
        else:
            each = math.floor(bumps ** (1 / d) + 1e-9)
            line = torch.linspace(-1.2, 1.2, each, dtype=torch.float64)
            _check_box("RadialBasis", task)
            with _drawing(generator):
                net = RBF(_product([line] * d), self.width * 2.4 / each, bias=False)
            scale = (1 / net.width).expand_as(net.centre)
            inside, edge = Points(task.interior), Points(task.boundary)
            weight = _collocated(task, inside, edge, lambda e, p: rows(e, p, net.centre, scale, "the equation"))
        with torch.no_grad():
            net.linear.weight.copy_(weight[: len(net.centre)].T)
            if values_given:
                net.linear.bias.copy_(weight[-1])
        yield net


@dataclass(frozen=True)
class Polynomials(Fitted):
    """Chebyshev polynomials of higher and higher degree: least squares, for an equation at Chebyshev's points."""

    default: ClassVar[int] = 2000

    total: bool = False
    """Whether the degrees of a product are bounded in sum, or each."""
    oversampling: float = 2.0
    """Data that there are for each coefficient, at least."""

    def nets(self, task: Task, parameters: int, clock: Clock, generator: torch.Generator) -> Iterator[nn.Module]:  # noqa: ARG002
        """Yield a sum for every degree."""
        d = dimension(task)
        if isinstance(task, Regression):
            parameters = min(parameters, int(len(task.x) / self.oversampling))
        highest = largest(lambda n: Chebyshev.count(d, n, total=self.total), parameters, 0)
        for degree in range(min(2, highest), highest + 1):
            net = Chebyshev(d, degree, total=self.total)
            with torch.no_grad():
                net.coefficient.copy_(self._coefficients(net, task))
            yield net

    def _coefficients(self, net: Chebyshev, task: Task) -> Tensor:
        if isinstance(task, Regression):
            return solve.least_squares([(net.columns(task.x), task.y)]).weight
        _check_box("Polynomials", task)
        d = dimension(task)
        n = math.ceil(self.oversampling * (net.degree + 1))
        nodes = torch.cos(math.pi * (torch.arange(n, dtype=torch.float64) + 0.5) / n)
        sides = torch.tensor([-1.0, 1.0], dtype=torch.float64)
        edge = torch.cat([_product([sides if i == j else nodes for j in range(d)]) for i in range(d)])

        def system(expression: Expression, points: Points) -> Tensor:
            return apply(expression, points, lambda axes: net.columns(points.x, axes), "the equation")

        return _collocated(task, Points(_product([nodes] * d)), Points(edge), system)


@dataclass(frozen=True)
class KolmogorovArnold(Fitted):
    """A KAN [d, *hidden, 1] of pykan, on grids that become finer: up to what budget and data allow, or to ``grid``."""

    hidden: tuple[int, ...] = (2,)
    """Widths of the layers in between; narrower where there is no room for them on three intervals."""
    grid: int | None = None
    """The last one; given, that and ``hidden`` are taken whatever the budget."""
    uniform: bool = False

    def nets(self, task: Task, parameters: int, clock: Clock, generator: torch.Generator) -> Iterator[nn.Module]:
        """Yield the same net after every step, on finer and finer grids."""
        with clock.stopped():
            splines.pykan()  # the first import takes seconds
        x = task.x if isinstance(task, Regression) else task.interior
        widths, finest = [dimension(task), *self.hidden, 1], self.grid or splines.resolved(x)
        if self.grid is None:
            widths = splines.narrowed(widths, parameters, uniform=self.uniform)
        else:
            parameters = splines.count(widths, self.grid, uniform=self.uniform)
        grids = splines.schedule(widths, parameters, uniform=self.uniform, finest=finest)
        net = splines.KAN(widths, grids[0], uniform=self.uniform, seed=generator.initial_seed())
        yield net
        for _ in net.train_on(loss(task), x, grids, clock):
            yield net


def dimension(task: Task) -> int:
    """Return the number of variables."""
    return (task.x if isinstance(task, Regression) else task.interior).shape[1]


def numbers(net: nn.Module) -> int:
    """Return how many numbers a net needs to be evaluated."""
    return net.stored if isinstance(net, splines.KAN) else stored(net)


def gmnm_count(inputs: int, bumps: int, form: FormName) -> int:
    """Return how many numbers a GMNM with one output and a bias stores."""
    shape = inputs * min(inputs, 8) if form == "mahalanobis" else inputs
    return bumps * (inputs + shape + 1) + 1


def _collocated(
    task: Collocation, inside: Points, edge: Points, system: Callable[[Expression, Points], Tensor]
) -> Tensor:
    """Return the best weights for equation and condition at points, (columns, 1).

    Rows of each are divided by their size, so that neither is lost beside the other.
    """
    blocks = []
    for equation, points, importance in (
        (task.known.problem.equation, inside, 1.0),
        (task.condition, edge, CONDITION),
    ):
        matrix = system(equation.expression, points)
        size = float(matrix.square().sum(1).mean().sqrt())
        target = values(equation.right, points, "a right-hand side")
        blocks.append((matrix, target, target.new_full((len(target),), (importance / size) ** 2)))
    return solve.least_squares(blocks).weight


def _regression(name: str, task: Task) -> Regression:
    if not isinstance(task, Regression):
        raise TypeError(f"{name}: it fits values, got a {type(task).__name__}; for those there is Solve")
    return task


def _equation(name: str, task: Task) -> Collocation:
    if not isinstance(task, Collocation):
        raise TypeError(f"{name}: it solves equations, got a {type(task).__name__}")
    return task


def _check_box(name: str, task: Collocation) -> None:
    domain = task.known.problem.domain
    if not isinstance(domain, solve.Box) or bool((domain.low != -1).any() | (domain.high != 1).any()):
        raise ValueError(f"{name}: expected an equation on the box [-1, 1]^d, got one on {type(domain).__name__}")


def _product(axes: list[Tensor]) -> Tensor:
    """Return all points of a grid, (n, d)."""
    return torch.cartesian_prod(*axes).reshape(-1, len(axes))


def _some_points(task: Task, n: int, generator: torch.Generator) -> Tensor:
    """Return n points of the data, one or the other again if there are fewer."""
    x = task.x if isinstance(task, Regression) else task.interior
    return x[torch.randperm(len(x), generator=generator)[torch.arange(n) % len(x)]]


@contextmanager
def _drawing(generator: torch.Generator) -> Iterator[None]:
    """Have torch's global generator draw what the seed of another says, and leave it as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator.initial_seed())
        yield


def _rates(method: Splatted | GMNMByGradient) -> tuple[Method, ...]:
    """Return the method with three rates of Adam."""
    return tuple(replace(method, rate=rate) for rate in (1e-2, 3e-3, 3e-2))


def _mlps(activation: Activation) -> tuple[Method, ...]:
    """Return two depths, trained by L-BFGS after some Adam, and by Adam alone, which is first where there are kinks."""
    pairs = itertools.product((0.2, 1.0) if activation == "tanh" else (1.0, 0.2), (2, 1))
    return tuple(FullyConnected(activation, depth, adam=adam) for adam, depth in pairs)


_KANS = tuple(KolmogorovArnold(hidden) for hidden in ((2,), (5,), (2, 2), (5, 5)))
_RBFS = tuple(RadialBasis(width) for width in (2.0, 1.0, 3.0, 5.0))
_WIDENED = (0.5, 1.0, 2.0, 4.0)
_SHARES = (1.0, 0.1, 0.01)

REGRESSION: Mapping[str, tuple[Method, ...]] = {
    "GMNM mahalanobis, variable projection": tuple(VariableProjection("mahalanobis", w) for w in _WIDENED),
    "GMNM ridge, variable projection": tuple(VariableProjection("ridge", w) for w in _WIDENED),
    "GMNM mahalanobis, gradients": (
        *_rates(GMNMByGradient("mahalanobis")),
        GMNMByGradient("mahalanobis", adam=0.2),
    ),
    "GMNM ridge, gradients": (*_rates(GMNMByGradient("ridge")), GMNMByGradient("ridge", adam=0.2)),
    "tanh MLP": (*_mlps("tanh"), LevenbergMarquardt()),
    "ReLU MLP": _mlps("relu"),
    "KAN": _KANS,
    "RBF network": _RBFS,
    "splats": (*_rates(Splatted()), Splatted(adam=0.2)),
    "Chebyshev": tuple(Polynomials(total, ratio) for ratio, total in itertools.product((2.0, 8.0), (True, False))),
}
"""Methods for functions, each with the settings among which the best is looked for."""

POISSON: Mapping[str, tuple[Method, ...]] = {
    "GMNM, solve": (Solve(),),
    "GMNM mahalanobis, variable projection": tuple(Collocated("mahalanobis", share) for share in _SHARES),
    "GMNM ridge, variable projection": tuple(Collocated("ridge", share) for share in _SHARES),
    "GMNM mahalanobis, L-BFGS": _rates(GMNMByGradient("mahalanobis", adam=0.1)),
    "GMNM ridge, L-BFGS": _rates(GMNMByGradient("ridge", adam=0.1)),
    "PINN": (
        *(FullyConnected(depth=depth, rate=rate, adam=0.1) for depth, rate in itertools.product((2, 3), (1e-2, 1e-3))),
        *(Thinned(depth, points) for depth, points in itertools.product((2, 3), (4.0, 2.0))),
    ),
    "KAN": tuple(replace(kan, uniform=True) for kan in _KANS),
    "RBF network": _RBFS,
    "splats": (*_rates(Splatted()), Splatted(adam=0.1)),
    "physics-informed Gaussians": tuple(PhysicsInformedGaussians(features) for features in (4, 2, 8)),
    "Chebyshev": (Polynomials(),),
    "KAN [2,10,1]": tuple(KolmogorovArnold((10,), grid=grid, uniform=True) for grid in (20, 5)),
    "PINN 4 x 100": (
        *(
            FullyConnected(depth=4, width=100, rate=rate, adam=adam)
            for rate, adam in ((1e-3, 0.2), (1e-3, 1.0), (1e-2, 0.2))
        ),
        *(Batched(depth=4, width=100, rate=3e-3, adam=adam) for adam in (1.0, 0.8)),
    ),
}
"""Methods for equations; the last two are of their authors' size whatever the budget."""
