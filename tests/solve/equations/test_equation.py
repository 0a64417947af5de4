import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gmlayers import GMNM, solve
from gmlayers.solve import equations, problems
from gmlayers.solve.domains import Points
from gmlayers.solve.engine import rows
from gmlayers.solve.equations import values

F64 = torch.float64


def derivative(function, x, axes):
    """A derivative of a function (n, d) -> (n,) by autograd, once per axis."""
    x = x.detach().requires_grad_()
    y = function(x)
    for i in axes:
        # the second summand keeps the graph where a derivative is constant
        (g,) = torch.autograd.grad((y + 0 * x.square().sum(1)).sum(), x, create_graph=True)
        y = g[:, i]
    return y.detach()


def apply(expression, function, x, normal=None):
    """The expression of a function, term by term by autograd: what rows are held against."""
    total = torch.zeros(len(x), dtype=F64)
    for term in expression.terms:
        value = term.number * derivative(function, x, term.axes)
        for f in term.functions:
            value = value * (f(x).reshape(-1) if callable(f) else normal[:, f.axis])
        total += value
    return total


def module(d, m=6):
    found = GMNM(d, 1, m, form="diagonal", bias=False, dtype=F64)
    with torch.no_grad():
        found.mean.normal_()
        found.scale.uniform_(0.3, 1.5)
        found.weight.normal_()
    return found.requires_grad_(False)


def bend(x):
    return 1 + x[:, 0] ** 2


OPERATORS = {
    "value": lambda u: u,
    "u_x": lambda u: solve.grad(u)[0],
    "u_y": lambda u: solve.grad(u)[1],
    "u_t": solve.dt,
    "u_tt": lambda u: solve.dt(solve.dt(u)),
    "u_xy": lambda u: solve.grad(solve.grad(u)[0])[1],
    "u_tx": lambda u: solve.grad(solve.dt(u))[0],
    "laplacian": solve.laplacian,
    "normal": solve.normal_derivative,
    "heat": lambda u: solve.dt(u) - bend * solve.laplacian(u) + 3 * u,
    "advection": lambda u: solve.dot((bend, lambda x: torch.sin(x[:, 1:2])), solve.grad(u)),
    "products": lambda u: 2 * (bend * (bend * u)) - -u / 2,
}


@pytest.mark.parametrize("name", OPERATORS)
def test_rows_equal_autograd_of_the_module(name):
    expression, net = OPERATORS[name](solve.unknown(2, time=True)), module(3)
    x = torch.randn(20, 3, dtype=F64)
    normal = torch.nn.functional.normalize(torch.randn(20, 3, dtype=F64), dim=1)
    found = rows(expression, Points(x, normal), net.mean, net.scale, "the equation") @ net.weight
    want = apply(expression, lambda p: net(p)[:, 0], x, normal)
    torch.testing.assert_close(found[:, 0], want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", OPERATORS)
def test_an_expression_applied_by_its_derivatives_equals_its_terms_by_autograd(name):
    u = solve.unknown(2, time=True)
    x, normal = torch.randn(7, 3, dtype=F64), torch.randn(7, 3, dtype=F64)

    def function(x):
        return torch.sin(x[:, 0]) * torch.exp(x[:, 1]) * (1 + x[:, 2] ** 2)

    expression = OPERATORS[name](u)
    found = equations.apply(expression, Points(x, normal), lambda axes: derivative(function, x, axes)[:, None], name)
    torch.testing.assert_close(found[:, 0], apply(expression, function, x, normal))


def test_the_laplacian_is_that_of_the_module_and_leaves_time_out():
    net, x = module(2), torch.randn(9, 2, dtype=F64)
    args = Points(x), net.mean, net.scale, ""
    torch.testing.assert_close(rows(solve.laplacian(solve.unknown(2)), *args) @ net.weight, net.laplacian(x))
    u = solve.unknown(1, time=True)
    torch.testing.assert_close(rows(solve.laplacian(u), *args) @ net.weight, net.hessian(x)[..., 0, 0])


@given(a=st.floats(-3, 3), b=st.floats(-3, 3), seed=st.integers(0, 1000))
@settings(max_examples=20)
def test_rows_are_linear_in_the_expression(a, b, seed):
    torch.manual_seed(seed)
    u, net, x = solve.unknown(2), module(2), torch.randn(7, 2, dtype=F64)

    def of(expression):
        return rows(expression, Points(x), net.mean, net.scale, "")

    first, second = solve.laplacian(u), bend * solve.grad(u)[1]
    torch.testing.assert_close(of(a * first + b * second), a * of(first) + b * of(second), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(of(first - first * 2), -of(first), rtol=1e-12, atol=1e-12)


def test_no_points_and_no_bumps():
    u, net = solve.unknown(2), module(2)
    assert rows(solve.laplacian(u), Points(torch.empty(0, 2, dtype=F64)), net.mean, net.scale, "").shape == (0, 6)
    none = torch.empty(0, 2, dtype=F64)
    assert rows(u, Points(torch.zeros(3, 2, dtype=F64)), none, none, "").shape == (3, 0)


def test_a_side_with_the_unknown_moves_to_the_left():
    u, net, x = solve.unknown(2), module(2), torch.randn(5, 2, dtype=F64)
    equation = solve.laplacian(u) == 2 * u
    assert equation.right == 0
    found = rows(equation.expression, Points(x), net.mean, net.scale, "") @ net.weight
    torch.testing.assert_close(found, net.laplacian(x) - 2 * net(x))


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda u: u + 1, TypeError, "the other side of =="),
        (lambda u: u - bend, TypeError, "the other side of =="),
        (lambda u: 1 + u, TypeError, "the other side of =="),
        (lambda u: 1 - u, TypeError, "the other side of =="),
        (lambda u: u / bend, TypeError, "multiply by a function 1/c"),
        (lambda u: u / u, TypeError, "divided by numbers only"),
        (lambda u: u / 0, ValueError, "a divisor must be finite and not 0, got 0"),
        (lambda u: u / math.inf, ValueError, "a divisor must be finite"),
        (lambda u: u * u, TypeError, "not linear"),
        (lambda u: math.nan * u, ValueError, "must be finite"),
        (lambda u: u + solve.unknown(3), ValueError, r"terms of unknown\(2\) and of another unknown, unknown\(3\)"),
        (lambda u: solve.laplacian(bend * u), ValueError, "product rule"),
        (lambda u: solve.grad(solve.laplacian(u)), ValueError, "third"),
        (solve.dt, ValueError, "time=True"),
        (lambda u: solve.grad(5), TypeError, "grad: expected an expression in u = unknown.*, got 5"),
        (lambda u: solve.laplacian(solve.grad(u)), TypeError, "laplacian: .* got tuple"),
        (lambda u: solve.dt(u == 0), TypeError, "dt: .* got Equation"),
        (lambda u: solve.normal_derivative(bend), TypeError, "normal_derivative: .* got function"),
        (lambda u: solve.dot((1.0, 2.0), (u, 5)), TypeError, "dot: .* got one with 5 at 1"),
        (lambda u: solve.dot((1.0,), solve.grad(u)), ValueError, "as many factors"),
        (lambda u: bool(u == 0), TypeError, "neither true nor false"),
        (lambda u: solve.unknown(0), ValueError, "at least 1"),
        (lambda u: u == "1", TypeError, "a right-hand side must be a number or a function of points .* got '1'"),
        (lambda u: u == None, TypeError, "got None"),  # noqa: E711
        (lambda u: u == torch.ones(3), TypeError, "a right-hand side must be a number"),
        (lambda u: u == 1j, TypeError, "got 1j"),
        (lambda u: "2" * u, TypeError, "a coefficient must be a number"),
        (lambda u: u / "2", TypeError, "a divisor must be a number"),
    ],
)
def test_expressions_that_mean_nothing(make, error, match):
    with pytest.raises(error, match=match):
        make(solve.unknown(2))


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (lambda x: x, r"must have values \(4,\)"),
        (lambda x: 1.0, "float"),
        (lambda x: x[:2, 0], r"got \(2,\)"),
        (lambda x: x[:, 0] / 0, "the load is not finite, first at x = "),
    ],
)
def test_functions_of_a_wrong_shape_or_not_finite(function, match):
    with pytest.raises(ValueError, match=match):
        values(function, Points(torch.ones(4, 2, dtype=F64)), "the load")


def test_functions_with_complex_values():
    with pytest.raises(TypeError, match="the load must have real values, got torch.complex128"):
        values(lambda x: x[:, 0] * 1j, Points(torch.ones(4, 2, dtype=F64)), "the load")


@pytest.mark.parametrize("two", [2, 2.0, np.int64(2), np.float32(2), torch.tensor(2), torch.tensor([2.0])])
def test_numbers_of_all_kinds(two):
    u = solve.unknown(2)
    assert (u * two).terms == (u * 2.0).terms
    assert (u / two).terms == (u * 0.5).terms
    assert (u == two).right == 2.0


# --- the problems with known solutions -----------------------------------------------------------------------


@pytest.mark.parametrize("name", problems.KNOWN)
def test_the_stated_solution_satisfies_equation_and_conditions(name):
    """By autograd of the solution: nothing of the solver has a part in it."""
    problem, exact = problems.KNOWN[name]()
    for what, part, equation in problem.asked():
        points = Points(problem.domain.interior(200)) if part is None else problem.domain.boundary(200, part)
        x = points.x
        if name == "poisson-l":  # the gradient is infinite at the corner
            x = x[x.norm(dim=1) > 0.05]
        left = apply(equation.expression, exact, x)
        right = values(equation.right, Points(x), what)[:, 0]
        scale = max(1.0, right.abs().max().item(), exact(x).abs().max().item())
        assert len(x) > 50
        torch.testing.assert_close(left, right, rtol=0, atol=2e-11 * scale)


def test_the_solution_on_the_l_is_zero_on_the_sides_of_its_corner_and_continuous():
    exact = problems.poisson_l().exact
    t = torch.linspace(0, 1, 11, dtype=F64)
    sides = torch.cat([torch.stack([t, 0 * t], 1), torch.stack([0 * t, -t], 1)])
    assert exact(sides).abs().max() < 1e-15
    angle = torch.linspace(0, 1.5 * math.pi, 1001, dtype=F64)
    circle = exact(torch.stack([angle.cos(), angle.sin()], 1))
    assert circle.diff().abs().max() < 0.005


class Bend(list):
    """A function that cannot be hashed."""

    def __call__(self, x):
        return bend(x)


def test_coefficients_that_cannot_be_hashed():
    u, square, c, other = solve.unknown(2), solve.Box((0, 0), (1, 1)), Bend(), Bend()
    problem = solve.Problem(square, c * solve.laplacian(u) == 0, {"boundary": c * u == 1})
    x, net = torch.randn(9, 2, dtype=F64), module(2)
    found = rows(problem.equation.expression, Points(x), net.mean, net.scale, "") @ net.weight
    torch.testing.assert_close(found, bend(x)[:, None] * net.laplacian(x))
    solve.Problem(square, c * u - other * u == 0)  # equal, but not the same
    with pytest.raises(ValueError, match="the equation does not have the unknown in it"):
        solve.Problem(square, c * u - c * u == 0)


def test_derivatives_can_be_summed():
    u_x, u_y = solve.grad(solve.unknown(2))
    assert sum([u_x, u_y]).terms == (u_x + u_y).terms
