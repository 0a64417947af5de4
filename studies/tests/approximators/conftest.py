import itertools

import pytest
import torch

from gmlayers.solve.problems import poisson_a
from gmlayers_studies.approximators.targets import FIT2D, _sides
from gmlayers_studies.approximators.tasks import Clock, Collocation


@pytest.fixture
def ticking():
    """Make clocks of a second in which every look takes so long: all that goes by them is the same in every run."""

    def clock(tick=0.01):
        looks = itertools.count()
        return Clock(1.0, now=lambda: tick * next(looks))

    return clock


@pytest.fixture
def regression():
    """A smooth function at 200 points."""
    return FIT2D["exponential"].data(0, 200)


@pytest.fixture
def collocation():
    """A Poisson equation at few points."""
    line = torch.linspace(-1, 1, 12, dtype=torch.float64)
    return Collocation(poisson_a(), torch.cartesian_prod(line, line), _sides(line.repeat(4, 1)), 0.01)
