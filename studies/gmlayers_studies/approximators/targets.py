r"""What is to be approximated: functions of two variables, formulas from physics, and two Poisson equations.

The formulas and their boxes are facts of the AI Feynman set (Udrescu and Tegmark, *AI Feynman: a physics-inspired
method for symbolic regression*, 2020). The first two of its list are taken for each number of variables from 2 to 6.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from gmlayers.solve.problems import poisson_a, poisson_b
from gmlayers_studies.approximators.tasks import EquationTask, FunctionTask

PI = math.pi

WEIGHT = 0.01
"""Both equations have this weight in the loss, and their conditions have 1."""


@dataclass(frozen=True)
class Target:
    """A function on a box.

    Example:
        >>> FIT2D["product"].data(seed=0, n=100).x.shape
        torch.Size([100, 2])
    """

    name: str
    """The name by which its table has it."""
    formula: str
    """The formula as it is read."""
    low: tuple[float, ...]
    """The lowest coordinates of the box."""
    high: tuple[float, ...]
    """The highest coordinates of the box."""
    function: Callable[..., Tensor]
    """This takes as many tensors of one shape as there are variables to the values, of that shape."""

    def __call__(self, x: Tensor) -> Tensor:
        """Return the values (n, 1) at points (n, d)."""
        return self.function(*x.unbind(1)).unsqueeze(1)

    def data(self, seed: int, n: int, *, held_out: bool = False) -> FunctionTask:
        """Return n points, uniform in the box, and the values there; those held out have a stream of their own."""
        generator = torch.Generator().manual_seed(2 * seed + held_out)
        low, high = (torch.tensor(bound, dtype=torch.float64) for bound in (self.low, self.high))
        x = low + (high - low) * torch.rand(n, len(low), dtype=torch.float64, generator=generator)
        return FunctionTask(x, self(x), self.low, self.high)


def _square(name: str, formula: str, function: Callable[..., Tensor]) -> Target:
    return Target(name, formula, (-1.0, -1.0), (1.0, 1.0), function)


def _by_name(*targets: Target) -> Mapping[str, Target]:
    return {target.name: target for target in targets}


FIT2D: Mapping[str, Target] = _by_name(
    _square("exponential", "exp(sin πx + y²)", lambda x, y: torch.exp(torch.sin(PI * x) + y**2)),
    _square("product", "xy", lambda x, y: x * y),
    _square("sines", "sin πx · sin πy²", lambda x, y: torch.sin(PI * x) * torch.sin(PI * y**2)),
    Target(
        "square-root",
        "sin(3π√x) cos(3πy)",
        (0.0, 0.0),
        (1.0, 1.0),
        lambda x, y: torch.sin(3 * PI * x.sqrt()) * torch.cos(3 * PI * y),
    ),
)
"""The table has four functions of two variables: two of the KAN paper (arXiv 2404.19756), the solution of its Poisson
equation, and one with an infinite derivative at the edge."""

FEYNMAN: Mapping[str, Target] = _by_name(
    Target(
        "I.6.2",
        "exp(-(θ/σ)²/2) / (√(2π) σ)",
        (1, 1),
        (3, 3),
        lambda σ, θ: torch.exp(-((θ / σ) ** 2) / 2) / (math.sqrt(2 * PI) * σ),
    ),
    Target(
        "I.6.2b",
        "exp(-((θ - θ₁)/σ)²/2) / (√(2π) σ)",
        (1, 1, 1),
        (3, 3, 3),
        lambda σ, θ, θ1: torch.exp(-(((θ - θ1) / σ) ** 2) / 2) / (math.sqrt(2 * PI) * σ),
    ),
    Target(
        "I.8.14",
        "√((x₂ - x₁)² + (y₂ - y₁)²)",
        (1, 1, 1, 1),
        (5, 5, 5, 5),
        lambda x1, x2, y1, y2: torch.sqrt((x2 - x1) ** 2 + (y2 - y1) ** 2),
    ),
    Target("I.10.7", "m₀ / √(1 - v²/c²)", (1, 1, 3), (5, 2, 10), lambda m, v, c: m / torch.sqrt(1 - v**2 / c**2)),
    Target(
        "I.11.19",
        "x₁y₁ + x₂y₂ + x₃y₃",
        (1,) * 6,
        (5,) * 6,
        lambda x1, x2, x3, y1, y2, y3: x1 * y1 + x2 * y2 + x3 * y3,
    ),
    Target("I.12.1", "μN", (1, 1), (5, 5), lambda μ, N: μ * N),
    Target(
        "I.12.2",
        "q₁q₂r / (4πεr³)",
        (1,) * 4,
        (5,) * 4,
        lambda q1, q2, ε, r: q1 * q2 * r / (4 * PI * ε * r**3),
    ),
    Target(
        "I.12.11",
        "q(E + Bv sin θ)",
        (1,) * 5,
        (5,) * 5,
        lambda q, E, B, v, θ: q * (E + B * v * torch.sin(θ)),
    ),
    Target(
        "I.13.12",
        "Gm₁m₂(1/r₂ - 1/r₁)",
        (1,) * 5,
        (5,) * 5,
        lambda m1, m2, r1, r2, G: G * m1 * m2 * (1 / r2 - 1 / r1),
    ),
    Target(
        "I.32.17",
        "(εcE²/2)(8πr²/3) ω⁴/(ω² - ω₀²)²",
        (1, 1, 1, 1, 1, 3),
        (2, 2, 2, 2, 2, 5),
        lambda ε, c, E, r, ω, ω0: (ε * c * E**2 / 2) * (8 * PI * r**2 / 3) * ω**4 / (ω**2 - ω0**2) ** 2,
    ),
)
"""The table has ten formulas by their numbers in the Feynman lectures."""


def poisson_a_task(seed: int = 0) -> EquationTask:  # noqa: ARG001
    """Return the equation of pykan's example at a grid of 51 × 51 points, and 51 on each side, whatever the seed."""
    line = torch.linspace(-1, 1, 51, dtype=torch.float64)
    return EquationTask(poisson_a(), torch.cartesian_prod(line, line), _sides(line.repeat(4, 1)), WEIGHT)


def poisson_b_task(seed: int = 0) -> EquationTask:
    """Return the equation of section 3.4 of the KAN paper at 10 000 random points, and 200 on each side."""
    generator = torch.Generator().manual_seed(seed)
    interior, sides = (
        2 * torch.rand(*n, dtype=torch.float64, generator=generator) - 1 for n in ((10_000, 2), (4, 200))
    )
    return EquationTask(poisson_b(), interior, _sides(sides), WEIGHT)


def _sides(along: Tensor) -> Tensor:
    """Return points on the sides of [-1, 1]², (4n, 2), given where they are along each, (4, n)."""
    edge = torch.ones_like(along[0])
    left, right, bottom, top = along
    pairs = (-edge, left), (edge, right), (bottom, -edge), (top, edge)
    return torch.cat([torch.stack(pair, 1) for pair in pairs])


POISSON: Mapping[str, Callable[[int], EquationTask]] = {"poisson-a": poisson_a_task, "poisson-b": poisson_b_task}
"""The table has two equations; each takes a seed for its points."""
