import math

import pytest
import torch

from gmlayers import solve
from gmlayers.solve import problems
from gmlayers.solve.engine.bump_sets import Bumps, Shape
from gmlayers.solve.engine.openness import CHECKING, gap, is_open
from gmlayers.solve.engine.placement import Assembly

F64 = torch.float64
UNIT, SQUARE, CUBE = solve.Box((0,), (1,)), solve.Box((0, 0), (1, 1)), solve.Box((0,) * 3, (1,) * 3)
v, u, w, t = solve.unknown(1), solve.unknown(2), solve.unknown(3), solve.unknown(1, time=True)
TIME = solve.SpaceTime(UNIT, 1.0)


def sine(x):
    return torch.sin(math.pi * x[:, 0])


def heat(diffusion, **conditions):
    return solve.Problem(TIME, solve.dt(t) - diffusion * solve.laplacian(t) == 1, conditions)


def square(equation, **conditions):
    return solve.Problem(SQUARE, equation, {name.replace("_", " "): c for name, c in conditions.items()})


OPEN = {
    "heat without a start": heat(1.0, boundary=t == 0),
    "slow heat without a start": heat(0.01, boundary=t == 0),
    "heat backwards": heat(1.0, boundary=t == 0, final=t == sine),
    "wave without a velocity": solve.Problem(
        TIME, solve.dt(solve.dt(t)) == solve.laplacian(t), {"initial": t == sine, "boundary": t == 0}
    ),
    "slopes alone": square(solve.laplacian(u) == 1, boundary=solve.normal_derivative(u) == 0.25),
    "slopes alone, disc": solve.Problem(
        solve.Ball((0, 0), 1), solve.laplacian(u) == 4, {"boundary": solve.normal_derivative(u) == 2}
    ),
    "slopes alone, cube": solve.Problem(CUBE, solve.laplacian(w) == 6, {"boundary": solve.normal_derivative(w) == 1}),
    "one side forgotten": square(solve.laplacian(u) == 1, low_0=u == 0, high_0=u == 0, low_1=u == 0),
    "no conditions": square(solve.laplacian(u) + u == 1),
    "eigenvalue": square(solve.laplacian(u) + 2 * math.pi**2 * u == 0, boundary=u == 0),
    "Cauchy": square(solve.laplacian(u) == 0, low_0=[u == 0, solve.normal_derivative(u) == 1]),
    "inflow on one of two sides": square(sum(solve.grad(u)) == 1, low_0=u == 0),
    "interval, one end": solve.Problem(UNIT, solve.laplacian(v) + v == 1, {"low 0": v == 0}),
    "interval, eigenvalue": solve.Problem(UNIT, solve.laplacian(v) + 9 * math.pi**2 * v == 0, {"boundary": v == 0}),
    "interval, first order": solve.Problem(UNIT, v.derivative(0) + 3 * v == 0),
}
CLOUD = solve.PointCloud(
    torch.rand(100, 2, generator=torch.Generator().manual_seed(0), dtype=F64), {"boundary": SQUARE.boundary(25)}
)
DETERMINED = {name: known().problem for name, known in problems.KNOWN.items()} | {
    "heat": heat(1.0, boundary=t == 0, initial=t == 0),
    "slow heat": heat(1e-3, boundary=t == 0, initial=t == 0),
    "insulated heat": heat(1.0, boundary=solve.normal_derivative(t) == 0, initial=t == 0),
    "near an eigenvalue": square(solve.laplacian(u) + (2 * math.pi**2 + 1e-3) * u == 1, boundary=u == 0),
    "waves": square(solve.laplacian(u) + 400 * u == 1, boundary=u == 0),
    "short waves": square(solve.laplacian(u) + 1e4 * u == 1, boundary=u == 0),
    "nearly slopes alone": square(solve.laplacian(u) == 1, boundary=solve.normal_derivative(u) + 1e-3 * u == 0),
    "one point": solve.Problem(
        SQUARE.marked({"p": torch.full((1, 2), 0.5, dtype=F64)}),
        solve.laplacian(u) == 1,
        {"boundary": solve.normal_derivative(u) == 0.25, "p": u == 0},
    ),
    "one side of value": square(
        solve.laplacian(u) == 1,
        low_0=u == 0,
        **{s: solve.normal_derivative(u) == 0 for s in ("high_0", "low_1", "high_1")},
    ),
    "thin layer": problems.advection_diffusion(1e-4).problem,
    "inflow": square(sum(solve.grad(u)) == 1, low_0=u == 0, low_1=u == 0),
    "no derivatives": square(u == sine),
    "thin": solve.Problem(solve.Box((0, 0), (1, 1e9)), solve.laplacian(u) == 1, {"boundary": u == 0}),
    "small": solve.Problem(solve.Box((0, 0), (1e-9, 1e-9)), solve.laplacian(u) + u == 1, {"boundary": u == 0}),
    "cloud of few points": solve.Problem(CLOUD, solve.laplacian(u) == 1, {"boundary": u == 0}),
    "interval": solve.Problem(UNIT, solve.laplacian(v) == 1, {"boundary": v == 0}),
    "interval, start": solve.Problem(
        solve.Box((0,), (10,)), solve.laplacian(v) + v == 0, {"low 0": [v == 0, v.derivative(0) == 1]}
    ),
    "interval, growth": solve.Problem(UNIT, v.derivative(0) - 10 * v == 0, {"low 0": v == 1}),
    "interval, layer": solve.Problem(UNIT, -1e-5 * solve.laplacian(v) + v.derivative(0) == 1, {"boundary": v == 0}),
}


@pytest.mark.parametrize("name", OPEN)
def test_what_leaves_its_unknown_open_is_seen(name):
    assert is_open(Assembly(OPEN[name]))


@pytest.mark.parametrize("name", DETERMINED)
def test_what_determines_its_unknown_is_not_taken_for_open(name):
    assert not is_open(Assembly(DETERMINED[name]))


def test_the_gap_is_the_least_of_the_misfits_of_a_function_relative_to_it():
    """By the generalised eigenvalues of the two matrices of squares, which see half of the digits."""
    problem = problems.heat().problem
    assembly, bumps = Assembly(problem), Bumps.over(problem.domain, 40, Shape(), None)
    blocks = assembly.at(40, bumps, held_out=False).by_name()
    size = len(bumps.mean)
    asked, values = torch.zeros(2, size, size, dtype=F64)
    for name, (block,) in blocks.items():
        of_u = block.values_of_u()
        rows = block.rows(bumps) * (of_u.row_size(bumps) / block.row_size(bumps))
        asked += rows.mT @ rows / len(rows)
        if name == "equation":
            values += of_u.rows(bumps).mT @ of_u.rows(bumps) / len(rows)
    eigenvalues, v = torch.linalg.eigh(asked + values)
    kept = eigenvalues > 1e-10 * eigenvalues[-1]
    basis = v[:, kept] / eigenvalues[kept].sqrt()
    least = torch.linalg.eigvalsh(basis.mT @ asked @ basis)[0].item()
    assert gap(assembly, 40) == pytest.approx(math.sqrt(least / (1 - least)), rel=0.05)


def test_where_u_is_open_the_gap_falls_and_else_it_stays():
    known, forgotten = (Assembly(p) for p in (problems.heat().problem, OPEN["slow heat without a start"]))
    assert gap(forgotten, 250) < gap(forgotten, 100) / 10
    assert gap(forgotten, 250) < CHECKING.least
    assert gap(known, 250) > gap(known, 100) / 3 > 0.1


@pytest.mark.parametrize("name", ["slow heat without a start", "slopes alone", "eigenvalue", "interval, one end"])
def test_a_solve_of_what_is_open_warns_and_is_not_converged(name):
    with pytest.warns(UserWarning, match="leave u open.* give the conditions that are missing") as caught:
        found = solve.solve(OPEN[name], tolerance=1e-5, max_components=700)
    assert caught[0].filename == __file__
    assert not found.converged
    assert found.reason in ("open", "limit", "bumps")
    assert found.u.weight.isfinite().all()


def test_of_what_is_0_alone_it_warns_however_little_time_there_is():
    problem = solve.Problem(TIME, solve.dt(t) - solve.laplacian(t) == 0, {"boundary": t == 0})
    with pytest.warns(UserWarning, match="all right-hand sides are 0"):
        assert not solve.solve(problem, max_seconds=1e-9).u.weight.any()
    with pytest.warns(UserWarning, match="leave u open"):
        found = solve.solve(problem)
    assert (found.reason, found.converged, found.error) == ("open", False, 0.0)
