"""Attacks on the limits that solvers are given: bumps, time, and what is left of a run that is interrupted."""

import math

import pytest
import torch

from gmlayers import GMNM, solve
from gmlayers.solve.engine.bump_sets import Bumps, Shape
from gmlayers.solve.engine.interrupted import ATTRIBUTE, NOTE
from gmlayers.solve.engine.levenberg_marquardt import Model

F64 = torch.float64
SQUARE = solve.Box((0, 0), (1, 1))


def poisson(domain):
    u = solve.unknown(domain.dim)
    return solve.Problem(domain, solve.laplacian(u) == 1, {"boundary": u == 0})


def bumps(n=8):
    torch.manual_seed(0)
    return GMNM(2, 1, n, domain=(0, 1), dtype=F64)


def data(n=60):
    x = torch.rand(n, 2, generator=torch.Generator().manual_seed(0), dtype=F64)
    return x, torch.sin(5 * x.sum(1, keepdim=True))


# --- bumps ---------------------------------------------------------------------------------------------------

WIDTHS = [1e-12, 1e-9, 1e-6, 1e-3, 1e3, 1e6, 1e9, 1e12]
THIN = {f"plane {w:g}": solve.Box((0, 0), (1, w)) for w in WIDTHS}
THIN |= {f"rod {w:g}": solve.Box((0, 0, 0), (1, 1, w)) for w in WIDTHS}
THIN |= {f"plate {w:g}": solve.Box((0, 0, 0), (1, w, w)) for w in WIDTHS}
THIN |= {f"space and time {w:g}": solve.SpaceTime(solve.Box((0,), (w,)), 1.0) for w in WIDTHS}
THIN |= {f"hole {w:g}": solve.Box((-1, -w), (1, w)) - solve.Ball((0, 0), min(1, w) / 2) for w in WIDTHS}
THIN |= {
    "1e-6 times 1e6": solve.Box((0, 0), (1e-6, 1e6)),
    "cube": solve.Box((0, 0, 0), (1, 1, 1)),
    "four": solve.Box((0,) * 4, (1, 1e6, 1, 1e-6)),
    "ring": solve.Ball((0, 0), 1) - solve.Ball((0, 0), 0.999),
    "angle": solve.Polygon([(0, 0), (1, 0), (1, 1e-3), (1e-3, 1e-3), (1e-3, 1), (0, 1)]),
    "cross": solve.Box((0, 0), (1e3, 1)) | solve.Box((0, 0), (1, 1e3)),
}


@pytest.mark.parametrize("domain", THIN.values(), ids=THIN)
def test_no_set_has_more_bumps_than_there_may_be_and_none_is_empty(domain):
    for count in (16, 17, 25, 26, 27, 63, 100, 333):
        for shape in (Shape(), Shape(margin=0.35), Shape(margin=0.06), Shape(3.0, 0.01)):
            assert 1 <= len(Bumps.over(domain, count, shape, None).mean) <= count


@pytest.mark.parametrize(
    "domain",
    [solve.Box((0, 0), (1, 1e9)), solve.Box((0, 0), (1e-6, 1e6)), solve.Box((0, 0, 0), (1, 1e6, 1e-6)), THIN["ring"]],
)
@pytest.mark.parametrize("most", [16, 26, 150])
def test_a_thin_domain_keeps_to_the_bumps_and_ends(domain, most):
    found = solve.solve(poisson(domain), max_components=most)
    assert found.reason in ("bumps", "limit")
    assert not found.converged
    assert max(step.num_components for step in found.history) <= most


TOO_FAR = {
    "tiny box": lambda: solve.Box((0, 0), (1e-200, 1e-200)),
    "huge box": lambda: solve.Box((0, 0), (1e200, 1e200)),
    "a side that overflows": lambda: solve.Box((-1e308,), (1e308,)),
    "ball": lambda: solve.Ball((0, 0), 1e-80),
    "polygon": lambda: solve.Polygon([(0, 0), (1e-90, 0), (0, 1e-90)]),
    "time": lambda: solve.SpaceTime(solve.Box((0,), (1,)), 1e-99),
    "implicit": lambda: solve.Implicit(lambda x: x[:, 0], (0, 0), (1e-99, 1)),
    "cloud": lambda: solve.PointCloud(1e-99 * torch.rand(9, 2, dtype=F64), {}),
}


@pytest.mark.parametrize("attack", TOO_FAR)
def test_sides_whose_derivatives_float64_does_not_hold_are_refused(attack):
    with pytest.raises(ValueError, match=r"sides from 1e-60 to 1e\+60 between the bounds.*; measure coordinates"):
        TOO_FAR[attack]()


@pytest.mark.parametrize("size", [1e-60, 1e-59, 1e59])
@pytest.mark.parametrize("dim", [1, 2, 3])
def test_what_is_not_refused_is_solved_as_in_other_units(size, dim):
    found, same = (
        solve.solve(poisson(solve.Box((0,) * dim, (s,) * dim)), tolerance=1e-6, max_components=120) for s in (size, 1.0)
    )
    assert found.reason == same.reason
    assert found.error == pytest.approx(same.error, rel=1e-3, abs=1e-10)
    middle = [u(torch.full((1, dim), s / 2, dtype=F64)).item() / s**2 for u, s in ((found.u, size), (same.u, 1.0))]
    assert middle[0] == pytest.approx(middle[1], rel=1e-3)


@pytest.mark.parametrize("size", [1e-60, 1e-31, 1e60])
def test_the_faces_of_a_box_of_many_coordinates_have_points(size):
    """The product of all sides is not to be had in float64."""
    points = solve.Box((0,) * 10, (size,) * 10).boundary(200)
    assert 200 <= len(points.x) <= 220  # of twenty faces, each with at most one more than its share


# --- time ----------------------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still unless something is made to take time."""
    now = [0.0]
    monkeypatch.setattr("gmlayers.solve.engine.clock.time.perf_counter", lambda: now[0])
    return now


def taking(clock, seconds, method):
    def slow(*arguments):
        found = method(*arguments)
        clock[0] += seconds(found) if callable(seconds) else seconds
        return found

    return slow


@pytest.mark.parametrize("seconds", [1e-3, 1, 6, 9, 50, 200])
@pytest.mark.parametrize("name", ["poisson-a", "poisson-peak", "poisson-l"])
def test_solve_keeps_to_the_time(monkeypatch, clock, seconds, name):
    """On a clock on which a set takes a second for a hundred bumps, and eight times as long for twice as many."""
    sets = []

    def cube(found):
        sets.append((len(found.weight) / 100) ** 3)
        return sets[-1]

    monkeypatch.setattr("gmlayers.solve.engine.growth.least_squares", taking(clock, cube, solve.least_squares))
    problem = solve.problems.KNOWN[name]().problem
    found = solve.solve(problem, max_seconds=seconds, max_components=700)
    over = sets[-1] if problem.domain.corners else 0.2 * seconds  # around corners, how many bumps there are varies
    assert clock[0] <= max(seconds + over, sets[0])
    if seconds >= 6:
        assert found.error < math.inf  # the search for the first shape leaves time for a second set


@pytest.mark.parametrize("seconds", [0.5, 3, 10.5])
def test_the_search_for_a_step_of_a_descent_ends_with_the_time(monkeypatch, clock, seconds):
    """However often a step is tried anew with more damping: here none is ever accepted."""
    monkeypatch.setattr(Model, "_moved", taking(clock, 1, lambda model, step: model.point))
    net, (x, y) = bumps(), data()
    found = solve.variable_projection(net, x, y, max_seconds=seconds)
    assert found.reason == "time"
    assert clock[0] <= seconds + 2  # one trial: a step and where it bends
    net = bumps()
    assert solve.variable_projection(net, x, y).reason == "step"


def test_approximate_gives_the_training_of_shapes_the_time_that_is_left(monkeypatch, clock):
    monkeypatch.setattr(Model, "at", classmethod(taking(clock, 1, Model.at.__func__)))
    x, y = data(400)
    found = solve.approximate(x, y, 1e-12, max_seconds=7)
    assert clock[0] <= 8
    assert found.f(x).isfinite().all()


# --- interruptions -------------------------------------------------------------------------------------------


class Stopped(Exception):
    pass


class Bare(BaseException):
    """An exception that takes no attributes but its traceback."""

    def __setattr__(self, name, value):
        if not name.startswith("__"):
            raise RuntimeError("no")
        super().__setattr__(name, value)


def after(calls, stop):
    """A callback that raises at that call."""
    seen = []

    def callback(step):
        seen.append(step)
        if len(seen) == calls:
            raise stop

    return callback, seen


INTERRUPTED = {
    "solve": lambda callback: solve.solve(solve.problems.poisson_a().problem, callback=callback),
    "approximate": lambda callback: solve.approximate(*data(200), 1e-12, callback=callback),
    "variable_projection": lambda callback: solve.variable_projection(bumps(), *data(), callback=callback),
    "collocate": lambda callback: solve.collocate(bumps(), poisson(SQUARE), points=50, callback=callback),
}


@pytest.mark.parametrize("name", INTERRUPTED)
@pytest.mark.parametrize("stop", [KeyboardInterrupt, Stopped, StopIteration, MemoryError, GeneratorExit, SystemExit])
@pytest.mark.parametrize("calls", [1, 2])
def test_the_best_so_far_is_attached_to_what_ends_a_run(name, stop, calls):
    stop = stop("enough")
    callback, seen = after(calls, stop)
    with pytest.raises(type(stop), match="enough") as caught:
        INTERRUPTED[name](callback)
    assert caught.value is stop
    found = getattr(stop, ATTRIBUTE)
    assert type(found).__name__.lower() == {"solve": "solution", "approximate": "approximation"}.get(
        name, "variableprojection"
    )
    assert found.reason == "interrupted"
    assert tuple(found.history) == tuple(seen)
    assert found.error >= min(step.error if hasattr(step, "error") else step.residual for step in seen)
    assert getattr(stop, "__notes__", [NOTE]) == [NOTE]  # once, though solvers call each other


@pytest.mark.parametrize("name", INTERRUPTED)
def test_an_exception_that_takes_nothing_is_raised_as_it_is(name):
    with pytest.raises(Bare):
        INTERRUPTED[name](after(1, Bare())[0])


def test_what_interrupts_a_solver_inside_of_another_has_the_result_of_the_outer_one(monkeypatch):
    """Ctrl-C comes while the shapes of the second set are trained."""
    calls = []
    at = Model.at.__func__

    def interrupted(cls, *arguments):
        calls.append(1)
        if len(calls) > 30:
            raise KeyboardInterrupt
        return at(cls, *arguments)

    monkeypatch.setattr(Model, "at", classmethod(interrupted))
    with pytest.raises(KeyboardInterrupt) as caught:
        solve.approximate(*data(400), 1e-12)
    assert isinstance(caught.value.best_so_far, solve.Approximation)
    assert len(caught.value.best_so_far.history) == 1


def test_a_function_that_fails_later_leaves_the_best_set_before():
    calls = []

    def right(x):
        calls.append(1)
        if len(calls) > 4:
            raise Stopped
        return torch.exp(x[:, 0])

    u = solve.unknown(2)
    with pytest.raises(Stopped) as caught:
        solve.solve(solve.Problem(SQUARE, solve.laplacian(u) == right, {"boundary": u == 0}))
    found = caught.value.best_so_far
    assert len(found.history) >= 1
    assert found.u(torch.full((1, 2), 0.5, dtype=F64)).isfinite().all()


def test_nothing_is_attached_where_nothing_was_found():
    u = solve.unknown(2)

    def right(x):
        raise Stopped

    with pytest.raises(Stopped) as caught:
        solve.solve(solve.Problem(SQUARE, solve.laplacian(u) == right, {"boundary": u == 0}))
    assert not hasattr(caught.value, ATTRIBUTE)
    assert not hasattr(caught.value, "__notes__")


@pytest.mark.parametrize("calls", [1, 3])
def test_the_module_of_an_interrupted_descent_is_the_one_that_was_told_of(calls):
    net, (x, y) = bumps(), data()
    with pytest.raises(Stopped) as caught:
        solve.variable_projection(net, x, y, callback=after(calls, Stopped())[0])
    found = caught.value.best_so_far
    assert net.weight.abs().amax().item() <= found.max_weight
    assert (net(x) - y).square().mean().sqrt().item() == pytest.approx(found.error, rel=1e-9)
