import math

import pytest
import torch

from gmlayers.functional import gm_layer, quadrature


@pytest.mark.parametrize("order", [1, 2, 7, 64, 200])
def test_gauss_hermite_is_exact_for_polynomials(order):
    nodes, weights = quadrature.gauss_hermite(order)
    assert weights.sum().item() == pytest.approx(1, abs=1e-13)
    for power in range(0, min(2 * order, 13)):
        exact = 0.0 if power % 2 else float(math.prod(range(1, power, 2)))
        assert (weights * nodes**power).sum().item() == pytest.approx(exact, rel=1e-11, abs=1e-11)


def test_order_below_one_is_refused():
    with pytest.raises(ValueError, match="order must be at least 1, got 0"):
        quadrature.gauss_hermite(0)


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
