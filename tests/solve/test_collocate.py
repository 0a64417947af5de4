import copy
import math
import warnings

import pytest
import torch
from torch import nn
from torch.func import hessian, jacrev, vmap

from gmlayers import GMNM, solve
from gmlayers.solve._collocate import weighted
from gmlayers.solve.domains import Points
from gmlayers.solve.engine.collocation import Collocation
from gmlayers.solve.engine.separable import Separable

F64 = torch.float64
FORMS = ["mahalanobis", "diagonal", "ridge"]
SQUARE = solve.Box((-1, -1), (1, 1))


def module(m=6, form="mahalanobis", **options):
    return GMNM(2, 1, m, form=form, domain=(-1, 1), dtype=F64, **options)


def groups_of(net, problem, n, importance):
    """The rows of a problem at n points inside and of each part of the boundary."""

    def place(part):
        domain = problem.domain
        return [(Points(domain.interior(n)) if part is None else domain.boundary(n, part), 1.0)]

    return weighted(Collocation.of(problem, place), net, importance)


def everything():
    """All derivatives up to the second, with numbers and functions, and normals."""
    u = solve.unknown(2)
    u_x, u_y = solve.grad(u)
    inside = (
        2 * u_x.derivative(1)
        + solve.laplacian(u) * (lambda x: x[:, 0].cos())
        - u_y * (lambda x: x[:, 1] ** 2)
        + u_x
        + u * (lambda x: x.sum(1))
    )
    conditions = {"low 0": solve.normal_derivative(u) + 3 * u == 1, "high 1": u == (lambda x: x[:, 0])}
    return solve.Problem(SQUARE, inside == (lambda x: x[:, 0].exp()), conditions)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bias", [True, False])
def test_rows_are_the_expressions_of_the_module(form, bias):
    """By automatic differentiation of the module, with the coefficients written out again."""
    net, problem = module(form=form, bias=bias), everything()
    inside, low, high = groups = groups_of(net, problem, 50, {"equation": 1.0, "low 0": 1.0, "high 1": 1.0})
    core = Separable.of(net, groups, 1.0, 0.0, 1e-14)
    columns = core.columns(core.shapes(core.parameters(net)))
    weight = torch.cat([net.weight, net.bias.unsqueeze(0)]) if bias else net.weight
    found = (columns @ weight / torch.cat([group.root for group in groups])).split([len(group.x) for group in groups])

    def u(x):
        return net(x)[0]

    value, slope, curved = (vmap(f)(inside.x) for f in (u, jacrev(u), hessian(u)))
    x, y = inside.x.T
    want = 2 * curved[:, 0, 1] + (curved[:, 0, 0] + curved[:, 1, 1]) * x.cos()
    want += -slope[:, 1] * y**2 + slope[:, 0] + value * (x + y)
    torch.testing.assert_close(found[0][:, 0], want, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(
        found[1][:, 0], -vmap(jacrev(u))(low.x)[:, 0] + 3 * vmap(u)(low.x), rtol=1e-10, atol=1e-10
    )
    torch.testing.assert_close(found[2][:, 0], vmap(u)(high.x), rtol=1e-10, atol=1e-10)
    assert torch.equal(inside.target[:, 0], x.exp())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bias", [True, False])
def test_derivative_equals_differences(form, bias):
    net = module(5, form, bias=bias)
    with torch.no_grad():
        groups = groups_of(net, everything(), 30, None)
    core = Separable.of(net, groups, 1.0, 1e-3, 1e-14)
    start = core.shapes(core.parameters(net)).detach()
    found = core.jacobian(core.at(start))
    step = 1e-6
    for i in range(start.numel()):
        change = torch.zeros(start.numel(), dtype=F64)
        change[i] = step
        change = change.view_as(start)
        want = (core.at(start + change).left - core.at(start - change).left).flatten() / (2 * step)
        torch.testing.assert_close(found[:, i], want, rtol=1e-5, atol=1e-6)


def test_values_as_an_equation_are_variable_projection():
    """u = f inside, with no conditions, is a fit to f at the points."""
    u, net = solve.unknown(2), module()
    other = copy.deepcopy(net)
    problem = solve.Problem(SQUARE, u == (lambda x: x[:, 0].sin() * x[:, 1]))
    found = solve.collocate(net, problem, points=200, importance={"equation": 1.0}, iterations=5)
    x = SQUARE.interior(200)
    y = (x[:, 0].sin() * x[:, 1]).unsqueeze(1)
    want = solve.variable_projection(other, x, y, iterations=5, regularisation=1e-8)
    torch.testing.assert_close(found.history.column("residual"), want.history.column("residual"), rtol=1e-6, atol=0)
    torch.testing.assert_close(net(x), other(x), rtol=1e-6, atol=1e-6)


def test_it_ends_by_time_and_tells_of_its_iterations():
    u, net, steps = solve.unknown(2), module(), []
    problem = solve.Problem(SQUARE, solve.laplacian(u) == 1, {"boundary": u == 0})
    result = solve.collocate(net, problem, points=100, max_seconds=1e-9, callback=steps.append)
    assert result.reason == "time"
    assert [(step.number, step.residual) for step in steps] == [(0, result.history[0].residual)]
    result = solve.collocate(net, problem, points=100, iterations=2, callback=steps.append)
    assert [step.residual for step in steps[1:]] == result.history.column("residual").tolist()


@pytest.mark.parametrize("form", FORMS)
def test_few_bumps_solve_poissons_equation(form):
    known = solve.problems.poisson_a()
    net = module(20, form)
    found = solve.collocate(net, known.problem, points=500, iterations=60)
    x = SQUARE.interior(2000, held_out=True)
    error = (net(x)[:, 0] - known.exact(x).flatten()).square().mean().sqrt()
    assert error < 2e-3
    assert found.history[-1].residual < found.history[0].residual / 20
    assert all(after <= before for before, after in zip(found.history, found.history[1:]))
    start = module(20, form)
    one = solve.collocate(start, known.problem, points=500, iterations=1)
    assert one.reason == "iterations"
    assert (start(x)[:, 0] - known.exact(x).flatten()).square().mean().sqrt() > 5 * error


def test_time_and_several_conditions():
    known = solve.problems.wave()
    domain = known.problem.domain
    net = GMNM(2, 1, 25, domain=(domain.low, domain.high), dtype=F64)
    solve.collocate(net, known.problem, points=500, iterations=60)
    x = domain.interior(500, held_out=True)
    assert (net(x)[:, 0] - known.exact(x).flatten()).square().mean().sqrt() < 5e-3


def test_float32_modules_and_default_devices():
    u = solve.unknown(1)
    problem = solve.Problem(solve.Box((0,), (1,)), solve.laplacian(u) == -2, {"boundary": u == 0})
    net = GMNM(1, 1, 4, domain=(0, 1))
    with torch.device("meta"):
        solve.collocate(net, problem, points=50)
    x = torch.linspace(0, 1, 20).unsqueeze(1)
    torch.testing.assert_close(net(x), x * (1 - x), rtol=0, atol=1e-3)


def test_far_from_0():
    u, at = solve.unknown(1), 1.7e9
    problem = solve.Problem(solve.Box((at,), (at + 1,)), solve.laplacian(u) == -2, {"low 0": u == 0, "high 0": u == 0})
    net = GMNM(1, 1, 4, domain=(at, at + 1), dtype=F64)
    solve.collocate(net, problem, points=50)
    x = torch.linspace(0, 1, 20, dtype=F64).unsqueeze(1)
    torch.testing.assert_close(net(at + x), x * (1 - x), rtol=0, atol=1e-3)


def test_a_problem_beyond_the_domain_of_the_module_warns():
    u = solve.unknown(2)
    problem = solve.Problem(solve.Ball((0.2, 0.2), 0.1), solve.laplacian(u) == 1, {"boundary": u == 0})
    for low, high in [((0.1, 0.1), (0.3, 0.3)), ((0.1, 0.1), (0.3, 0.29))]:  # 0.2 + 0.1 is more than 0.3
        net = GMNM(2, 1, 4, domain=(low, high), dtype=F64)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            solve.collocate(net, problem, points=50, iterations=2)
        assert bool(caught) == (high[1] == 0.29)
        for warning in caught:
            assert "inputs are out of the range of the module" in str(warning.message)
            assert warning.filename == __file__


def test_what_float32_loses_is_reported():
    u = solve.unknown(1)
    problem = solve.Problem(solve.Box((0,), (1,)), solve.laplacian(u) == -2, {"boundary": u == 0})
    net = GMNM(1, 1, 30, domain=(0, 1), dtype=F64)
    with torch.no_grad():
        net.projection.div_(8)
    with pytest.warns(UserWarning, match="collocate: the module in float32 is off by"):
        result = solve.collocate(net, problem, points=200, iterations=1, regularisation=0.0, float32_tolerance=1e-6)
    assert result.max_weight > 1e3
    assert result.condition > 1e12
    x = torch.linspace(0, 1, 201).unsqueeze(1)
    lost = (copy.deepcopy(net).float()(x).double() - net(x.double())).square().mean(0).sqrt()
    torch.testing.assert_close(result.float32_error, lost, rtol=0.5, atol=0)


def test_errors():
    u, net = solve.unknown(2), module()
    problem = solve.Problem(SQUARE, solve.laplacian(u) == 1, {"boundary": u == 0})
    with pytest.raises(TypeError, match="collocate: expected a Problem.*, got Known"):
        solve.collocate(net, solve.problems.poisson_a())
    with pytest.raises(ValueError, match="expected a module with 2 inputs and 1 output on the CPU, got 1 and 1 on cpu"):
        solve.collocate(GMNM(1, 1, 3), problem)
    with pytest.raises(ValueError, match="got 2 and 1 on meta"):
        solve.collocate(GMNM(2, 1, 3, device="meta"), problem)
    with pytest.raises(ValueError, match="collocate: points must be at least 1, got 0"):
        solve.collocate(net, problem, points=0)
    with pytest.raises(ValueError, match="collocate: iterations must be at least 1, got 0"):
        solve.collocate(net, problem, iterations=0)
    with pytest.raises(ValueError, match="collocate: max_seconds must be positive, got nan"):
        solve.collocate(net, problem, max_seconds=math.nan)
    with pytest.raises(ValueError, match="collocate: least_reduction must be finite and not negative, got nan"):
        solve.collocate(net, problem, least_reduction=math.nan)
    for weight in ({"equation": 1.0}, {"equation": 1.0, "edge": 1.0}, [1.0, 1.0]):
        with pytest.raises(
            ValueError, match="collocate: expected the importance by name, of 'equation', 'boundary', got"
        ):
            solve.collocate(net, problem, importance=weight)
    with pytest.raises(
        ValueError, match="collocate: the importance of 'boundary' must be positive and finite, got 0.0"
    ):
        solve.collocate(net, problem, importance={"equation": 1.0, "boundary": 0.0})
    with pytest.raises(TypeError, match="collocate: the importance of 'boundary' must be a number, got 'a'"):
        solve.collocate(net, problem, importance={"equation": 1.0, "boundary": "a"})
    with pytest.raises(TypeError, match="collocate: regularisation must be a number, got None"):
        solve.collocate(net, problem, regularisation=None)
    with pytest.raises(TypeError, match="collocate: expected a GMNM, got Linear"):
        solve.collocate(nn.Linear(2, 1), problem)
    wild = solve.Problem(SQUARE, solve.laplacian(u) == (lambda x: x[:, 0] / 0), {"boundary": u == 0})
    with pytest.raises(ValueError, match="the right-hand side of the equation is not finite"):
        solve.collocate(net, wild)
    large = solve.Problem(SQUARE, solve.laplacian(u) == 1e300, {"boundary": u == 0})
    with pytest.raises(ValueError, match="collocate: the targets times their weights are not finite"):
        solve.collocate(net, large, importance={"equation": 1e30, "boundary": 1.0})
    nn.utils.parametrize.register_parametrization(net, "weight", nn.Softplus())
    with pytest.raises(RuntimeError, match="collocate: remove the parametrizations"):
        solve.collocate(net, problem)
