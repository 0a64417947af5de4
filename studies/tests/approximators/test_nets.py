import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gmlayers_studies.approximators.nets import Scaled, largest, product, stored
from gmlayers_studies.approximators.tasks import FunctionTask

F64 = torch.float64


@given(st.integers(1, 500), st.integers(1, 7), st.integers(0, 5))
def test_the_largest_size_is_within_the_budget_and_the_next_is_not(parameters, slope, constant):
    if slope + constant > parameters:
        with pytest.raises(ValueError, match=f"{parameters} parameters are too few, the smallest net has"):
            largest(lambda n: slope * n + constant, parameters)
        return
    size = largest(lambda n: slope * n + constant, parameters)
    assert slope * size + constant <= parameters < slope * (size + 1) + constant


def test_a_product_has_all_points_and_its_last_coordinate_runs_fastest():
    first, second = torch.tensor([0.0, 1.0]), torch.tensor([5.0, 6.0, 7.0])
    assert product([first, second]).tolist() == [[a, b] for a in (0, 1) for b in (5, 6, 7)]
    assert product([second]).tolist() == [[5], [6], [7]]


def test_a_scaled_net_sees_a_unit_box_and_standardised_values_and_answers_in_units_of_the_data():
    x = torch.tensor([[1.0, -10.0], [3.0, 10.0], [2.0, 0.0]], dtype=F64)
    y = torch.tensor([[1.0], [3.0], [5.0]], dtype=F64)
    scaled = Scaled(FunctionTask(x, y, (1.0, -10.0), (3.0, 10.0)))
    assert torch.equal(scaled.unit.x, torch.tensor([[-1.0, -1.0], [1.0, 1.0], [0.0, 0.0]], dtype=F64))
    assert scaled.unit.y.mean().item() == pytest.approx(0, abs=1e-15)
    assert scaled.unit.y.square().mean().item() == pytest.approx(1)
    torch.testing.assert_close(scaled(x), 3 + math.sqrt(8 / 3) * scaled.unit.x)  # its net is the identity
    assert stored(scaled) == 6


def test_scaled_constants_stay_finite():
    x = torch.rand(4, 1, dtype=F64)
    scaled = Scaled(FunctionTask(x, torch.full((4, 1), 7.0, dtype=F64), (0.0,), (1.0,)))
    assert torch.equal(scaled.unit.y, torch.zeros(4, 1, dtype=F64))
