"""Attacks on `gmlayers.solve`: what was answered wrongly without a word must be an error."""

import copy
import pickle

import pytest
import torch

from gmlayers import solve

F64 = torch.float64
SQUARE = solve.Box((0, 0), (1, 1))


def zero(x):
    return 0 * x[:, 0]


# --- unknowns ------------------------------------------------------------------------------------------------

SEVERAL = {
    "a sum": lambda u, v: solve.laplacian(u) + 10 * v == 1,
    "a difference": lambda u, v: u - v == 1,
    "two sides": lambda u, v: solve.laplacian(u) == v,
    "the builtin sum": lambda u, v: sum([u, v]) == 1,
    "dot": lambda u, v: solve.dot((1.0, 2.0), (u, v)) == 1,
    "a term of 0": lambda u, v: u + 0 * v == 1,
    "derivatives": lambda u, v: solve.grad(u)[0] + solve.grad(v)[0] == 1,
    "normals": lambda u, v: solve.normal_derivative(u) - solve.normal_derivative(v) == 1,
    "a condition": lambda u, v: solve.Problem(SQUARE, solve.laplacian(u) == 1, {"boundary": v == 0}),
    "one of several conditions": lambda u, v: solve.Problem(SQUARE, u == 1, {"boundary": [u == 0, 2 * v == 0]}),
    "conditions of another": lambda u, v: solve.Problem(SQUARE, v == 1, {"low 0": u == 0, "high 0": u == 0}),
}


@pytest.mark.parametrize("attack", SEVERAL)
def test_two_unknowns_are_not_taken_for_one(attack):
    u, v = solve.unknown(2), solve.unknown(2, name="v")
    with pytest.raises(ValueError, match="systems of equations are not supported yet") as caught:
        SEVERAL[attack](u, v)
    message = str(caught.value)
    assert "unknown(2)" in message
    assert "unknown(2, name='v')" in message
    assert "\n" not in message


def test_unknowns_of_time_and_space_are_told_apart():
    with pytest.raises(ValueError, match=r"terms of unknown\(2\) and of another unknown, unknown\(1, time=True\)"):
        solve.unknown(2) + solve.unknown(1, time=True)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
def test_a_copy_of_a_problem_has_one_unknown(copied):
    u = solve.unknown(2)
    problem = solve.Problem(SQUARE, solve.laplacian(u) == 1, {"boundary": u == 0})
    same = copied(problem)
    assert same.conditions["boundary"].expression.unknown is same.equation.expression.unknown
    again = solve.Problem(
        same.domain, same.equation, {**same.conditions, "low 0": solve.dot((1.0,), [same.unknown]) == 0}
    )
    assert [name for name, _, _ in again.asked()] == ["equation", "boundary", "low 0"]


def test_an_equation_may_be_taken_from_a_problem_and_conditions_be_added():
    u = solve.unknown(2)
    problem = solve.Problem(SQUARE, solve.laplacian(u) == 1)
    assert solve.Problem(SQUARE, problem.equation, {"boundary": problem.unknown == 0}).unknown.terms == u.terms


# --- gradients that would be lost ----------------------------------------------------------------------------


def learned(*values):
    return torch.tensor(values, dtype=F64, requires_grad=True)


def cloud(**given):
    points = {"interior": torch.rand(9, 2, dtype=F64), "edge": torch.rand(9, 2, dtype=F64), "normal": None} | given
    return solve.PointCloud(points["interior"], {"edge": solve.domains.Points(points["edge"], points["normal"])})


LOST = {
    "coefficient": lambda: learned(2.0) * solve.unknown(2),
    "coefficient without a dimension": lambda: solve.unknown(2) * learned(2.0)[0],
    "divisor": lambda: solve.unknown(2) / learned(2.0),
    "right-hand side": lambda: solve.unknown(2) == learned(2.0),
    "factor of dot": lambda: solve.dot((learned(2.0), 1.0), solve.grad(solve.unknown(2))),
    "tolerance": lambda: solve.solve(solve.Problem(SQUARE, solve.unknown(2) == 0), tolerance=learned(1e-3)),
    "bounds": lambda: solve.Box(learned(0.0, 0.0), (1, 1)),
    "one bound": lambda: solve.Box((0, 0), (1, learned(1.0))),
    "box of an implicit domain": lambda: solve.Implicit(lambda x: x.norm(dim=1) - 1, (-2, -2), learned(2.0, 2.0)),
    "centre": lambda: solve.Ball(learned(0.0, 0.0), 1),
    "radius": lambda: solve.Ball((0, 0), learned(1.0)),
    "vertices": lambda: solve.Polygon([[0, 0], [1, 0], [0, learned(1.0)]]),
    "all vertices": lambda: solve.Polygon(torch.tensor([[0.0, 0], [1, 0], [0, 1]], requires_grad=True)),
    "end": lambda: solve.SpaceTime(solve.Box((0,), (1,)), learned(1.0)),
    "start": lambda: solve.SpaceTime(solve.Box((0,), (1,)), 1.0, start=learned(0.5)),
    "marked points": lambda: SQUARE.marked({"middle": torch.full((1, 2), 0.5, requires_grad=True)}),
    "interior": lambda: cloud(interior=torch.rand(9, 2, requires_grad=True)),
    "edge": lambda: cloud(edge=torch.rand(9, 2, requires_grad=True)),
    "normals": lambda: cloud(normal=torch.rand(9, 2, requires_grad=True)),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("attack", LOST)
def test_gradients_are_not_lost_without_a_word(attack):
    with pytest.raises(
        TypeError, match=r"requires a gradient, and none goes through a solve; .* \.detach\(\)"
    ) as caught:
        LOST[attack]()
    assert "\n" not in str(caught.value)


def test_numbers_without_gradients_are_taken_as_before():
    number = torch.tensor(2.0)
    assert (number * solve.unknown(2)).terms == (2.0 * solve.unknown(2)).terms
    assert (solve.unknown(2) == learned(2.0).detach()).right == 2.0
