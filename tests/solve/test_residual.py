"""What a module leaves of an equation, beside the derivatives that the module has itself."""

import pytest
import torch

from gmlayers import GMNM, solve


def equation():
    u = solve.unknown(2)
    u_x, u_y = solve.grad(u)
    written = solve.laplacian(u) + (lambda x: x[:, 0]) * u_x - 2 * u_y.derivative(0) + 3 * u == (lambda x: x[:, 1])
    return solve.Problem(solve.Box((-1, -1), (1, 1)), written, {"boundary": u == 0})


@pytest.mark.parametrize("form", ["mahalanobis", "diagonal", "ridge"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_is_left_less_right(form, bias, dtype):
    torch.manual_seed(0)
    problem = equation()
    u = GMNM(2, 1, 5, form=form, domain=(-1, 1), bias=bias, dtype=dtype)
    if bias:
        torch.nn.init.constant_(u.bias, 0.7)
    x, wide = problem.domain.interior(3000), u.double()
    value, gradient, laplacian = wide.value_gradient_laplacian(x)
    mixed = wide.hessian(x)[:, 0, 0, 1]
    expected = laplacian[:, 0] + x[:, 0] * gradient[:, 0, 0] - 2 * mixed + 3 * value[:, 0] - x[:, 1]
    found = solve.residual(problem, u, x)
    assert not found.requires_grad
    torch.testing.assert_close(found, expected.detach(), rtol=1e-9, atol=1e-12)


def test_an_equation_without_the_value_does_not_see_the_bias():
    u = solve.unknown(1)
    problem = solve.Problem(solve.Box((0,), (1,)), solve.laplacian(u) == 2, {"boundary": u == 0})
    torch.manual_seed(0)
    module = GMNM(1, 1, 3, domain=(0, 1))
    x = problem.domain.interior(20)
    before = solve.residual(problem, module, x)
    torch.nn.init.constant_(module.bias, 5.0)
    torch.testing.assert_close(solve.residual(problem, module, x), before)


def test_it_is_small_where_the_equation_is_solved():
    problem = solve.problems.poisson_b().problem
    answer = solve.solve(problem, 1e-8)
    left = solve.residual(answer.problem, answer.u, problem.domain.interior(500))
    assert float(left.square().mean().sqrt()) < 10 * answer.residuals["equation"]


def test_no_points_leave_nothing():
    assert solve.residual(equation(), GMNM(2, 1, 3), torch.empty(0, 2)).shape == (0,)


def test_points_and_modules_of_other_sizes_are_refused():
    with pytest.raises(ValueError, match=r"expected points x \(n, 2\)"):
        solve.residual(equation(), GMNM(2, 1, 3), torch.rand(5, 3))
    with pytest.raises(ValueError, match="of 2 features and one output, got x .* and u of 2 and 2"):
        solve.residual(equation(), GMNM(2, 2, 3), torch.rand(5, 2))
