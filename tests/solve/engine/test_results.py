"""Results in one vocabulary, one type of history, and representations that fit on a screen."""

import copy
import inspect
import pickle
import warnings

import pytest
import torch

from gmlayers import GMNM, solve
from gmlayers.solve.engine import results

F64 = torch.float64


def data():
    x = torch.linspace(-1, 1, 60, dtype=F64)[:, None]
    return x, torch.cat([torch.sin(3 * x + k) for k in range(8)], 1)


def problem(parts=12):
    """An equation with many conditions, each with a residual of its own."""
    u = solve.unknown(2)
    return solve.Problem(solve.Box((-1, -1), (1, 1)), solve.laplacian(u) == 1, {"boundary": [u == 0] * parts})


def module(out=8):
    return GMNM(1, out, 6, domain=(-1, 1), dtype=F64)


def small(function, **options):
    net = GMNM(2, 1, 5, domain=(-1, 1), dtype=F64)
    return function(net, problem(), points=40, iterations=2, **options)


MADE = {
    "LeastSquares": lambda: solve.fit(module(), *data()),
    "Widened": lambda: solve.widen(module(), *data()),
    "VariableProjection": lambda: solve.variable_projection(module(), *data(), iterations=3),
    "Iteration": lambda: small(solve.collocate).history[-1],
    "Solution": lambda: solve.solve(problem(), 1e-30, max_components=200),
    "Step": lambda: solve.solve(problem(), 1e-1, max_components=100).history[0],
    "Approximation": lambda: solve.approximate(*data(), 1e-2, max_components=20),
    "Refinement": lambda: solve.approximate(*data(), 1e-2, max_components=20).history[0],
    "History": lambda: solve.solve(problem(), 1e-1, max_components=200).history,
    "Rows": lambda: solve.Rows(torch.rand(5000, 300), torch.rand(5000, 200)),
    "Points": lambda: solve.Ball((0, 0), 1).boundary(500),
}


def test_every_result_is_looked_at():
    """What the module of results has, and what it is made of: whoever adds one has to show it here."""
    have = {
        name
        for name, thing in vars(results).items()
        if inspect.isclass(thing) and thing.__module__.startswith("gmlayers.solve.engine") and name != "GMNM"
    }
    assert have <= set(MADE)
    assert all(hasattr(solve, name) for name in MADE)


@pytest.mark.parametrize("name", MADE)
def test_the_representation_of_a_result_fits_in_ten_lines(name):
    found = MADE[name]()
    assert type(found).__name__ == name
    for text in (repr(found), str(found)):
        lines = text.splitlines()
        assert len(lines) <= 10
        assert max(map(len, lines)) <= 120
        assert text.startswith(name)
    fields = getattr(found, "__dataclass_fields__", {})
    for field in getattr(found, "_fields", [name for name, field in fields.items() if field.repr]):
        assert f"{field}=" in repr(found)


@pytest.mark.parametrize("name", ["VariableProjection", "Solution", "Approximation"])
def test_results_of_runs_have_the_same_words(name):
    found = MADE[name]()
    assert isinstance(found.reason, str)
    assert isinstance(found.error, float)
    assert isinstance(found.rank, int)
    assert isinstance(found.condition, float)
    assert isinstance(found.max_weight, float)
    assert (torch.as_tensor(found.float32_error) >= 0).all()
    assert type(found.history) is solve.History
    assert (found.history.column("seconds").diff() >= 0).all()
    assert type(found.history[-1]).__name__ in ("Iteration", "Step", "Refinement")


@torch.no_grad()
def test_the_error_of_a_result_is_what_was_made_small():
    x, y = data()
    found = solve.fit(net := module(), x, y)
    assert found.error == pytest.approx(float((net(x) - y).square().sum(1).mean().sqrt()), rel=1e-6)
    descended = solve.variable_projection(net, x, y, iterations=3)
    assert descended.error == descended.history[-1].residual
    assert descended.error == pytest.approx(float((net(x) - y).square().sum(1).mean().sqrt()), rel=1e-6)
    widened = solve.widen(net, x, y)
    assert widened.error == float(widened.errors.min())


# --- the history ---------------------------------------------------------------------------------------------


def iterations():
    return solve.History([solve.Iteration(0, 0.5, 0.1), solve.Iteration(1, 0.25, 0.2), solve.Iteration(2, 0.25, 0.4)])


def test_a_history_is_a_tuple_with_columns():
    history = iterations()
    assert history == tuple(history)
    assert history.column("residual").tolist() == [0.5, 0.25, 0.25]
    assert history.column("number").dtype == F64
    assert solve.History().column("error").shape == (0,)
    assert repr(solve.History()) == "History of no steps"
    for again in (pickle.loads(pickle.dumps(history)), copy.deepcopy(history)):
        assert again == history
        assert type(again) is solve.History
    with pytest.raises(AttributeError, match="'History' object has no attribute 'residual'"):
        history.residual  # noqa: B018


def test_iterations_are_ordered_by_their_residuals():
    first, second, third = iterations()
    assert second < first
    assert first > second
    assert second <= third <= second
    assert second >= third
    assert second < 0.3 < first
    assert second <= torch.tensor(0.25) <= third
    assert float(first) == 0.5


def test_the_history_of_a_descent_still_does_what_a_tensor_did():
    history = iterations()
    with pytest.warns(FutureWarning, match=r"history.column\('residual'\).diff"):
        assert history.diff().tolist() == [-0.25, 0.0]
    with pytest.warns(FutureWarning, match="no tensor") as caught:
        assert history.shape == (3,)
    assert caught[0].filename == __file__
    with pytest.raises(AttributeError):
        history.nothing  # noqa: B018
    sets = solve.History([solve.Refinement(6, 6, 0.1, 0.1, 0.1)])
    with pytest.raises(AttributeError):
        sets.diff  # noqa: B018


# --- names that are old --------------------------------------------------------------------------------------


def results_of(function, new, old):
    """What comes out with the new name of an option, and with the old one, and the warning."""
    torch.manual_seed(1)
    want = function(**new)
    torch.manual_seed(1)
    with pytest.warns(FutureWarning, match="is deprecated") as caught:
        found = function(**old)
    assert caught[0].filename == __file__
    return want, found, str(caught[0].message)


def test_old_names_of_options_do_what_the_new_ones_do():
    (x, y), w = data(), torch.linspace(0.1, 1, 60, dtype=F64)
    for solver in (solve.fit, solve.widen, solve.variable_projection):

        def solved(solver=solver, **options):
            return solver(module(), x, y, **options)

        want, found, message = results_of(solved, {"row_weight": w}, {"weight": w})
        assert want.error == found.error
        assert message == f"{solver.__name__}: 'weight' is deprecated; its name is now 'row_weight'"
    want, found, message = results_of(
        lambda **o: solve.variable_projection(module(), x, y, **o), {"least_reduction": 0.5}, {"tolerance": 0.5}
    )
    assert want.error == found.error
    assert found.reason == "reduction"
    assert message == "variable_projection: 'tolerance' is deprecated; its name is now 'least_reduction'"
    importance = {"equation": 1.0, "boundary (1)": 2.0, "boundary (2)": 3.0}

    def collocated(**options):
        net = GMNM(2, 1, 5, domain=(-1, 1), dtype=F64)
        return solve.collocate(net, problem(2), points=40, iterations=3, **options)

    want, found, _ = results_of(collocated, {"importance": importance}, {"weight": importance})
    assert want.error == found.error
    want, found, _ = results_of(collocated, {"least_reduction": 0.9}, {"tolerance": 0.9})
    assert want.error == found.error
    want, found, _ = results_of(lambda **o: solve.solve(problem(1), **o), {"tolerance": 1e-2}, {"tol": 1e-2})
    assert want.error == found.error
    want, found, _ = results_of(lambda **o: solve.approximate(x, y, **o), {"tolerance": 1e-1}, {"tol": 1e-1})
    assert want.error == found.error


def test_new_names_do_not_warn_and_both_are_refused():
    (x, y), w = data(), torch.ones(60, dtype=F64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solve.fit(module(), x, y, row_weight=w)
    with pytest.raises(TypeError, match="fit: 'weight' is the old name of 'row_weight'; give 'row_weight' alone"):
        solve.fit(module(), x, y, row_weight=w, weight=w)


def test_the_solvers_show_their_new_signature():
    assert "row_weight" in inspect.signature(solve.fit).parameters
    assert "tol" not in inspect.signature(solve.solve).parameters
