import math

import pytest
import torch

from gmlayers.functional import gm_layer, quadrature


@pytest.mark.parametrize("order", [1, 2, 7, 64, 128, 300])
def test_gauss_hermite_is_exact_for_polynomials(order):
    nodes, weights = quadrature.gauss_hermite(order)
    assert weights.sum().item() == pytest.approx(1, abs=1e-13)
    for power in range(min(2 * order, 101)):
        scale = float(math.prod(range(1, power + 1, 2)))  # of E |Z|^power, for the odd powers
        exact = 0.0 if power % 2 else float(math.prod(range(1, power, 2)))
        assert (weights * nodes**power).sum().item() == pytest.approx(exact, rel=1e-11, abs=1e-11 * scale)


@pytest.mark.parametrize("order", [0, 301])
def test_bad_orders_are_refused(order):
    with pytest.raises(ValueError, match=f"order must be a whole number from 1 to 300, got {order}"):
        quadrature.gauss_hermite(order)


@pytest.mark.parametrize("oracle", [quadrature.mean, quadrature.gate])
def test_variances_must_be_positive(oracle):
    with pytest.raises(ValueError, match=r"variances must be positive, got 0\.0"):
        oracle(torch.sin, torch.zeros(2), torch.tensor([1.0, 0.0]))


def test_standard_error_of_monte_carlo_is_honest():
    """The deviation from the closed form, in standard errors, has variance one."""
    x = torch.randn(3, 4, dtype=torch.float64)
    law = [torch.randn(*shape, dtype=torch.float64) for shape in ((5, 4), (5, 4, 2), (5, 2), (5, 2, 2))]
    exact = gm_layer(x, *law)
    deviations = []
    for _ in range(60):
        estimate, error = quadrature.gm_layer_monte_carlo(x, *law, samples=400)
        deviations.append((estimate - exact) / error)
    squares = torch.stack(deviations).square().mean().item()
    assert 0.7 < squares < 1.4


@pytest.mark.parametrize("order", [2.5, True, "8", None])
def test_an_order_that_is_no_whole_number_is_refused(order):
    with pytest.raises(TypeError, match=f"order must be a whole number, got {order!r}"):
        quadrature.gauss_hermite(order)
