from dataclasses import replace

import pytest
import torch

from gmlayers_studies.approximators.chebyshev import Chebyshev, Polynomials
from gmlayers_studies.approximators.nets import stored
from gmlayers_studies.approximators.targets import FEYNMAN, poisson_a_task
from gmlayers_studies.approximators.tasks import Budget

F64 = torch.float64


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("n", [2, 5])
def test_what_is_counted_is_what_is_stored(d, n):
    assert stored(Chebyshev(d, n, total=False)) == Chebyshev.count(d, n, total=False) == (n + 1) ** d
    assert stored(Chebyshev(d, n, total=True)) == Chebyshev.count(d, n, total=True)


@pytest.mark.parametrize("total", [True, False])
def test_chebyshev_polynomials_are_cosines_of_multiples(total):
    net = Chebyshev(2, 5, total=total)
    x = torch.rand(20, 2, dtype=F64) * 2 - 1
    pairs = [(i, j) for i in range(6) for j in range(6) if not total or i + j <= 5]
    columns = [torch.cos(i * x[:, 0].acos()) * torch.cos(j * x[:, 1].acos()) for i, j in pairs]
    torch.testing.assert_close(net.columns(x), torch.stack(columns, 1), rtol=0, atol=1e-12)
    assert net.exponents.tolist() == [list(pair) for pair in pairs]


@pytest.mark.parametrize("degree", [0, 1, 2, 6])
@pytest.mark.parametrize("axes", [(0,), (1,), (0, 0), (0, 1), (1, 1)])
def test_derivatives_of_chebyshev_polynomials_are_those_of_autograd(degree, axes):
    net = Chebyshev(2, degree, total=False)
    x = (torch.rand(5, 2, dtype=F64) * 2 - 1).requires_grad_()
    for k, column in enumerate(net.columns(x).unbind(1)):
        found = column
        for axis in axes:
            total = found.sum() + 0 * x.sum()
            (slopes,) = torch.autograd.grad(total, x, create_graph=True, materialize_grads=True)
            found = slopes[:, axis] + 0 * x.sum()
        torch.testing.assert_close(net.columns(x, axes)[:, k], found, rtol=1e-10, atol=1e-10)


def test_chebyshev_polynomials_solve_the_equation_to_rounding(ticking):
    task = poisson_a_task()
    *_, state = Polynomials().fit(task, Budget(400, ticking(1e-3), 0))
    x = torch.rand(1000, 2, dtype=F64) * 2 - 1
    assert (state.predict(x)[:, 0] - task.known.exact(x)).abs().max() < 1e-10


@pytest.mark.parametrize("total", [True, False])
def test_polynomials_find_a_polynomial_in_six_variables(total, ticking):
    target = replace(FEYNMAN["I.11.19"], function=lambda a, b, c, d, e, f: a * b + c - 2 * d * e * 0 + f)
    *_, state = Polynomials(total=total).fit(target.data(0, 1000), Budget(120, ticking(1e-3), 0))
    test = target.data(0, 100, held_out=True)
    torch.testing.assert_close(state.predict(test.x), test.y, rtol=1e-10, atol=1e-10)
