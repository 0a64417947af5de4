import math

import pytest
import torch

from gmlayers_studies.approximators.targets import FEYNMAN, FIT2D, POISSON
from gmlayers_studies.approximators.tasks import EquationTask

VALUES = {  # at (2, 1.5, 3, 2.5, 1.2, 3.5), as far as there are variables, by hand
    "I.6.2": math.exp(-((1.5 / 2) ** 2) / 2) / math.sqrt(2 * math.pi * 4),
    "I.6.2b": math.exp(-(((1.5 - 3) / 2) ** 2) / 2) / math.sqrt(2 * math.pi * 4),
    "I.8.14": math.hypot(0.5, 0.5),
    "I.10.7": 2 / math.sqrt(1 - 0.25),
    "I.11.19": 2 * 2.5 + 1.5 * 1.2 + 3 * 3.5,
    "I.12.1": 3.0,
    "I.12.2": 2 * 1.5 / (4 * math.pi * 3 * 2.5**2),
    "I.12.11": 2 * (1.5 + 3 * 2.5 * math.sin(1.2)),
    "I.13.12": 1.2 * 2 * 1.5 * (1 / 2.5 - 1 / 3),
    "I.32.17": 2 * 1.5 * 9 / 2 * 8 * math.pi * 6.25 / 3 * 1.2**4 / (1.2**2 - 3.5**2) ** 2,
    "exponential": math.exp(math.sin(math.pi * 2) + 1.5**2),
    "product": 3.0,
    "sines": math.sin(math.pi * 2) * math.sin(math.pi * 2.25),
    "square-root": math.sin(3 * math.pi * math.sqrt(2)) * math.cos(4.5 * math.pi),
}


@pytest.mark.parametrize("target", [*FIT2D.values(), *FEYNMAN.values()], ids=lambda t: t.name)
def test_a_target_is_its_formula(target):
    x = torch.tensor([2, 1.5, 3, 2.5, 1.2, 3.5], dtype=torch.float64)[: len(target.low)]
    assert target(x.unsqueeze(0)).item() == pytest.approx(VALUES[target.name], abs=1e-14)


def test_there_are_two_formulas_of_each_number_of_variables():
    assert sorted(len(target.low) for target in FEYNMAN.values()) == [2, 2, 3, 3, 4, 4, 5, 5, 6, 6]


@pytest.mark.parametrize("target", [*FIT2D.values(), *FEYNMAN.values()], ids=lambda t: t.name)
def test_data_are_in_the_box_finite_and_their_own_for_every_seed(target):
    data = target.data(3, 500)
    low, high = torch.tensor(target.low), torch.tensor(target.high)
    assert ((data.x >= low) & (data.x <= high)).all()
    assert (data.x.amin(0) - low < 0.05 * (high - low)).all()
    assert (high - data.x.amax(0) < 0.05 * (high - low)).all()
    assert data.y.shape == (500, 1)
    assert data.y.isfinite().all()
    assert data.y.dtype == torch.float64
    assert torch.equal(data.x, target.data(3, 500).x)
    others = target.data(3, 500, held_out=True), target.data(4, 500), target.data(2, 500, held_out=True)
    assert not any(torch.isin(data.x, other.x).any() for other in others)


@pytest.mark.parametrize(("name", "inside", "edge"), [("poisson-a", 51 * 51, 4 * 51), ("poisson-b", 10_000, 800)])
def test_points_of_the_equations(name, inside, edge):
    task = POISSON[name](1)
    assert isinstance(task, EquationTask)
    assert task.weight == 0.01
    assert task.interior.shape == (inside, 2)
    assert task.boundary.shape == (edge, 2)
    assert (task.interior.abs() <= 1).all()
    assert (task.boundary.abs().amax(1) == 1).all()
    for axis in range(2):
        for side in (-1, 1):
            assert int((task.boundary[:, axis] == side).sum()) >= edge // 4
    assert torch.equal(task.interior, POISSON[name](1).interior)
    assert torch.equal(task.interior, POISSON[name](2).interior) == (name == "poisson-a")
