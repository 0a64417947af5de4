"""Attacks on `gmlayers.solve`: what was answered wrongly without a word must be an error."""

import copy
import pickle
import subprocess
import sys

import pytest
import torch

from gmlayers import solve
from gmlayers.solve import _memory

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


# --- too little memory: what was needed and what would fit is said, and no answer is made up ---------------------

LIMITED = """
import resource, warnings
import torch
torch.set_num_threads(1)
warnings.simplefilter("ignore")
from gmlayers import GMNM, solve
F64 = torch.float64
x = torch.rand(8000, 2, generator=torch.Generator().manual_seed(0), dtype=F64)
y = torch.sin(5 * x.sum(1, keepdim=True))
def module(n):
    return GMNM(2, 1, n, domain=(0, 1), dtype=F64)
u = solve.unknown(2)
problem = solve.Problem(solve.Box((0, 0), (1, 1)), solve.laplacian(u) == 1, {"boundary": u == 0})
many, some = module(2000), module(300)
solve.variable_projection(module(3), x[:50], y[:50], iterations=1)  # what is loaded once
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MIB * 2**20,) * 2)
try:
    print("found", CALL)
except MemoryError as error:
    print(error)
    print(getattr(error, "best_so_far", None) is not None)
"""
CALLS = {
    "fit": ("solve.fit(many, x, y)", 200),
    "widen": ("solve.widen(many, x, y)", 200),
    "variable_projection": ("solve.variable_projection(some, x, y)", 200),
    "collocate": ("solve.collocate(some, problem)", 200),
    "least_squares": ("solve.least_squares([(torch.rand(9, 3000), torch.rand(9, 1))])", 200),
    "solve": ("solve.solve(problem, 1e-13)", 90),
    "approximate": ("solve.approximate(x, y, 1e-14)", 60),
}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of memory are those of Linux")
@pytest.mark.parametrize("name", CALLS)
def test_what_was_needed_and_what_would_fit_is_said(name):
    call, limit = CALLS[name]
    code = LIMITED.replace("MIB", str(limit)).replace("CALL", call)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    said, best = run.stdout.strip().splitlines()[-2:]
    assert "allocat" not in said.lower()
    if name != "approximate":  # there it may be a smaller piece that is not to be had
        assert "of memory at once, and about" in said
        assert "which is enough for" in said
    assert ": " in said
    assert best == str(name == "solve") or name == "approximate"


@pytest.mark.parametrize("room", [0, 80, 999, 1000, 10**6])
def test_the_number_that_fits_is_the_largest_that_does(monkeypatch, room):
    monkeypatch.setattr(_memory, "_can_be_had", lambda size: size <= room)
    monkeypatch.setattr(_memory, "HALVINGS", 60)
    fits = next(k for k in range(100, -1, -1) if k**2 <= room)
    if fits < 100:
        with pytest.raises(MemoryError, match=rf"f: 101 things need about .* which is enough for {fits}; take fewer"):
            _memory.check_memory("f", "things", 101, lambda k: k**2, torch.device("cpu"))
    _memory.check_memory("f", "things", fits, lambda k: k**2, torch.device("cpu"))


RAW = [
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to "
        "allocate 8000 bytes. Error code 12"
    ),
    RuntimeError("std::bad_alloc"),
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has"),
]


@pytest.mark.parametrize("raw", RAW, ids=str)
def test_words_of_allocators_become_ours_and_the_best_so_far_stays(raw):
    def callback(step):
        raise raw

    with pytest.raises(
        MemoryError, match=r"solve: there is not enough memory, .* could not be had; take fewer"
    ) as caught:
        solve.solve(solve.problems.heat().problem, callback=callback)
    assert caught.value.best_so_far.reason == "interrupted"
    assert caught.value.__cause__ is raw


@pytest.mark.parametrize("other", [RuntimeError("no"), MemoryError("mine")])
def test_other_errors_stay_as_they_are(other):
    def callback(step):
        raise other

    with pytest.raises(type(other)) as caught:
        solve.solve(solve.problems.heat().problem, callback=callback)
    assert caught.value is other
