import itertools

import pytest
import torch

from gmlayers.solve.problems import poisson_a
from gmlayers_studies.approximators.targets import FIT2D, _sides
from gmlayers_studies.approximators.tasks import Clock, EquationTask


@pytest.fixture
def ticking():
    """Make clocks of a second in which every look takes so long: all that goes by them is the same in every run."""

    def clock(tick=0.01):
        looks = itertools.count()
        return Clock(1.0, now=lambda: tick * next(looks))

    return clock


@pytest.fixture
def function_task():
    """A smooth function at 200 points."""
    return FIT2D["exponential"].data(0, 200)


@pytest.fixture
def equation_task():
    """A Poisson equation at few points."""
    line = torch.linspace(-1, 1, 12, dtype=torch.float64)
    return EquationTask(poisson_a(), torch.cartesian_prod(line, line), _sides(line.repeat(4, 1)), 0.01)


@pytest.fixture
def cox_de_boor():
    """Sum up B-splines by the recursion of Cox and de Boor, one number at a time."""

    def spline(x, knots, coefficients, k=3):
        def basis(i, k):
            if k == 0:
                return float(knots[i] <= x < knots[i + 1])
            left = (x - knots[i]) / (knots[i + k] - knots[i]) * basis(i, k - 1)
            return left + (knots[i + k + 1] - x) / (knots[i + k + 1] - knots[i + 1]) * basis(i + 1, k - 1)

        return sum(float(c) * basis(i, k) for i, c in enumerate(coefficients))

    return spline
