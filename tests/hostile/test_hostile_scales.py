"""Attacks by size: a linear problem in other units has the same answer in those units."""

import math

import pytest
import torch

from gmlayers import GMNM, solve
from gmlayers.solve.engine.quality import Mean
from gmlayers.solve.engine.units import REACH, unit_of

F64 = torch.float64
SCALES = [2.0**-800, 2.0**-700, 2.0**-560, 2.0**-420, 2.0**700]
"""Powers of two, so that weights are the same to the bit."""

X = torch.linspace(-1, 1, 80, dtype=F64)[:, None]
Y = torch.sin(5 * X)


def module(seed=0):
    torch.manual_seed(seed)
    return GMNM(1, 1, 6, domain=(-1, 1), dtype=F64)


@pytest.mark.parametrize("scale", SCALES)
def test_solve_is_as_good_in_any_units_of_u(scale):
    def problem(scale):
        u = solve.unknown(2)
        exact = lambda x: scale * torch.sin(x[:, 0]) * torch.exp(x[:, 1])  # noqa: E731
        return solve.Problem(solve.Box((0, 0), (1, 1)), solve.laplacian(u) == 0, {"boundary": u == exact})

    one, other = (solve.solve(problem(s), tolerance=1e-6, max_components=300) for s in (1.0, scale))
    assert torch.equal(other.u.weight / scale, one.u.weight)
    assert (other.reason, other.error, other.misfits) == (one.reason, one.error, one.misfits)
    assert 0 < other.error < 1e-6
    assert {k: v / scale for k, v in other.residuals.items()} == one.residuals
    assert [step.error for step in other.history] == [step.error for step in one.history]


@pytest.mark.parametrize("scale", [*SCALES, 2.0**1000])
@pytest.mark.parametrize("part", ["equation", "boundary"])
def test_an_equation_may_be_multiplied_by_a_number(scale, part):
    def problem(scale):
        u, s = solve.unknown(2), {"equation": 1.0, "boundary": 1.0} | {part: scale}
        equation = s["equation"] * solve.laplacian(u) == s["equation"]
        return solve.Problem(solve.Box((0, 0), (1, 1)), equation, {"boundary": s["boundary"] * u == 0})

    one, other = (solve.solve(problem(s), tolerance=1e-3, max_components=150) for s in (1.0, scale))
    assert torch.equal(other.u.weight, one.u.weight)
    assert other.error == one.error
    assert other.misfits == one.misfits
    assert other.residuals[part] / scale == one.residuals[part]
    nets = [GMNM(2, 1, 4, domain=(0, 1), dtype=F64) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    for net, s in zip(nets, (1.0, scale)):
        solve.collocate(net, problem(s), points=30, iterations=2)
    assert torch.equal(nets[0].weight, nets[1].weight)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("options", [{}, {"regularisation": 1e-3}], ids=["following", "fixed"])
def test_variable_projection_is_as_good_in_any_units_of_y(scale, options):
    nets = [module(), module()]
    one, other = (
        solve.variable_projection(net, X, s * Y, iterations=5, **options) for net, s in zip(nets, (1.0, scale))
    )
    assert other.reason == one.reason != "exact"
    assert torch.equal(nets[0].mean, nets[1].mean)
    assert torch.equal(nets[0].weight, nets[1].weight / scale)
    assert [step.residual / scale for step in other.history] == [step.residual for step in one.history]
    assert other.max_weight / scale == one.max_weight
    assert other.regularisation == one.regularisation


@pytest.mark.parametrize("scale", SCALES)
def test_fit_least_squares_and_widen_are_as_good_in_any_units_of_y(scale):
    for call in (
        lambda net, s: solve.fit(net, X, s * Y),
        lambda net, s: solve.fit(net, X, s * Y, regularisation="gcv"),
        lambda net, s: solve.least_squares([(torch.cat([torch.sin(X), X**2], 1), s * Y)]),
    ):
        one, other = call(module(), 1.0), call(module(), scale)
        assert torch.equal(other.weight / scale, one.weight)
        # the norms of the factorisation are scaled by another rule
        torch.testing.assert_close(other.relative, one.relative, rtol=1e-12, atol=0)
        torch.testing.assert_close(other.residual / scale, one.residual, rtol=1e-12, atol=0)
        assert bool(other.relative > 0)
        assert other.regularisation == one.regularisation
    nets = [module(), module()]
    one, other = (solve.widen(net, X, s * Y) for net, s in zip(nets, (1.0, scale)))
    assert torch.equal(other.errors / scale, one.errors)
    assert other.factor == one.factor
    assert torch.equal(nets[1].weight / scale, nets[0].weight)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("regularisation", [0.0, 1e-3, "gcv"])
def test_columns_may_be_in_any_units(scale, regularisation):
    y, matrix, units = (
        Y + torch.cos(X) / 2,
        torch.cat([torch.sin(X), X**2, X**3], 1),
        torch.tensor([1.0, scale, 1.0], dtype=F64),
    )
    one, other = (
        solve.least_squares([(matrix * u, y)], regularisation=regularisation) for u in (torch.ones_like(units), units)
    )
    torch.testing.assert_close(other.weight * units[:, None], one.weight, rtol=1e-11, atol=0)
    torch.testing.assert_close(other.relative, one.relative, rtol=1e-11, atol=0)
    assert other.rank == one.rank == 3
    assert other.condition == pytest.approx(one.condition, rel=1e-11)


@pytest.mark.parametrize("scale", SCALES)
def test_collocate_is_as_good_in_any_units_of_u(scale):
    def problem(scale):
        u = solve.unknown(1)
        return solve.Problem(solve.Box((-1,), (1,)), solve.laplacian(u) + u == scale, {"boundary": u == 0})

    nets = [module(), module()]
    for net, s in zip(nets, (1.0, scale)):
        result = solve.collocate(net, problem(s), points=50, iterations=3)
        assert result.reason != "exact"
    assert torch.equal(nets[0].weight, nets[1].weight / scale)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_approximate_is_as_good_in_any_units_of_y(scale):
    x = torch.rand(200, 1, dtype=F64, generator=torch.Generator().manual_seed(0))
    found = solve.approximate(x, scale * torch.sin(3 * x), tolerance=1e-3)
    assert found.converged
    assert (found.f(x) / scale - torch.sin(3 * x)).abs().max() < 1e-2


def test_what_a_narrow_module_loses_of_tiny_targets_is_told():
    net = GMNM(1, 1, 6, domain=(-1, 1))
    with pytest.warns(UserWarning, match="variable_projection: the module in float32"):
        solve.variable_projection(net, X, 1e-200 * Y, iterations=1)


def test_units_are_1_for_all_numbers_whose_squares_can_be_had():
    for number in (1.0, -1e100, 1e-100, 0.0, math.nan, math.inf, 2.0**REACH, 2.0**-REACH):
        assert unit_of(number if number >= 0 or math.isnan(number) else torch.tensor([number], dtype=F64)) == 1
    assert unit_of(2.0**-1074) == 2.0**-1074
    assert unit_of(1.7e308) == 2.0**1023
    assert unit_of(torch.empty(0)) == 1


def test_a_mean_of_tiny_and_large_numbers_does_not_depend_on_their_order():
    parts = [torch.full((3,), v, dtype=F64) for v in (1e-200, 2.0, 1e200)]
    for order in (parts, parts[::-1], [parts[1], parts[0], parts[2]]):
        mean = Mean()
        for part in order:
            mean.add(part, 1.0)
        assert mean.root == pytest.approx(1e200 / math.sqrt(3))
    mean = Mean()
    mean.add(parts[0], 1.0)
    assert mean.root == pytest.approx(1e-200)


def test_no_numbers_add_nothing_to_a_mean():
    mean = Mean()
    for part in (torch.empty(0, dtype=F64), torch.tensor([3.0], dtype=F64), torch.empty(0, dtype=F64)):
        mean.add(part, 2.0)
    assert mean.root == 3
