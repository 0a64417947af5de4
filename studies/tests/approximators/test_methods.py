import importlib.util
import json
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest
import torch

from gmlayers.nn import GMNM
from gmlayers.solve import Box, Problem, laplacian, unknown
from gmlayers.solve.problems import Known
from gmlayers_studies.approximators import gmnm
from gmlayers_studies.approximators.chebyshev import Polynomials
from gmlayers_studies.approximators.gaussians import RadialBasis
from gmlayers_studies.approximators.gmnm import GMNMByGradient, Solve, VariableProjection, gmnm_count
from gmlayers_studies.approximators.methods import POISSON, REGRESSION
from gmlayers_studies.approximators.mlp import FullyConnected, Thinned
from gmlayers_studies.approximators.nets import Scaled, stored
from gmlayers_studies.approximators.targets import FEYNMAN, FIT2D, poisson_a_task
from gmlayers_studies.approximators.tasks import Budget, Clock, EquationTask

F64 = torch.float64
WITHOUT_KAN = importlib.util.find_spec("kan") is None
SIZED = {label: settings for label, settings in POISSON.items() if label not in ("KAN [2,10,1]", "PINN 4 x 100")}


def named(table):
    skip = pytest.mark.skipif(WITHOUT_KAN, reason="pykan is not installed")
    return [pytest.param(label, marks=[skip] if "KAN" in label else []) for label in table]


def rms(values):
    return values.square().mean().sqrt().item()


def tick(label):
    """The clock is looked at before and after a step, and in those of L-BFGS after every loss."""
    return 0.03 if "projection" in label else 0.002


@pytest.mark.parametrize("label", named(REGRESSION))
def test_methods_for_functions_fit_better_than_a_constant_within_their_budget(label, function_task, ticking):
    test = FIT2D["exponential"].data(0, 300, held_out=True)
    errors = []
    for state in REGRESSION[label][0].fit(function_task, Budget(150, ticking(tick(label)), 0)):
        assert 0 < state.parameters <= 150
        found = state.predict(test.x)
        assert found.shape == (300, 1)
        assert found.dtype == F64
        assert found.isfinite().all()
        errors.append(rms(found - test.y))
    assert errors[-1] < 0.5 * rms(test.y - test.y.mean())
    assert errors[-1] <= errors[0]


@pytest.mark.parametrize("label", named(SIZED))
def test_methods_for_equations_solve_better_than_a_constant_within_their_budget(label, equation_task, ticking):
    x = torch.rand(300, 2, dtype=F64) * 2 - 1
    y = equation_task.known.exact(x).unsqueeze(1)
    errors = []
    for state in POISSON[label][0].fit(equation_task, Budget(150, ticking(tick(label)), 0)):
        assert 0 < state.parameters <= 150
        found = state.predict(x)
        assert found.shape == (300, 1)
        assert found.isfinite().all()
        errors.append(rms(found - y))
    assert errors[-1] < rms(y)


@pytest.mark.parametrize("label", named(["KAN [2,10,1]", "PINN 4 x 100"]))
def test_methods_of_a_given_size_have_it_whatever_the_budget(label, equation_task, ticking):
    states = POISSON[label][0].fit(equation_task, Budget(10, ticking(0.3), 0))
    sizes = [state.parameters for state in states]
    if label == "PINN 4 x 100":
        assert set(sizes) == {3 * 100 + 3 * 101 * 100 + 101}
    else:
        assert sizes[0] == 30 * (3 + 5) + 12 * 2


@pytest.mark.parametrize("label", named(REGRESSION))
def test_settings_are_written_as_they_are_and_each_is_a_method(label, function_task, ticking):
    settings = REGRESSION[label]
    assert 3 <= len(settings) <= 5
    assert len({json.dumps(asdict(method)) for method in settings}) == len(settings)
    for method in settings:
        state = next(iter(method.fit(function_task, Budget(150, ticking(0.1), 0))))
        assert state.predict(function_task.x).isfinite().all()


@pytest.mark.parametrize("label", named(POISSON))
def test_settings_for_equations_are_written_as_they_are(label):
    settings = POISSON[label]
    assert len(settings) <= (8 if label == "PINN" else 5)  # two ways to train
    assert len({json.dumps(asdict(method)) for method in settings}) == len(settings)


def counted(net):
    """Every number of the arrays of a net, independently of how sizes are computed."""
    total = 0
    for module in net.modules():
        for store in (module._parameters, module._buffers):
            total += sum(len(t.flatten().tolist()) for t in store.values() if t is not None)
    return total


def shapes(settings, task, budget):
    """Widths of the nets that settings for KANs make."""
    nets = [next(iter(method.fit(task, budget))).predict for method in settings]
    return [tuple((net.net if isinstance(net, Scaled) else net).widths) for net in nets]


@pytest.mark.skipif(WITHOUT_KAN, reason="pykan is not installed")
@pytest.mark.parametrize("parameters", [350, 1000])
def test_settings_of_kans_are_nets_of_their_own(parameters, equation_task, ticking):
    tasks = [target.data(0, 100) for target in (*FIT2D.values(), *FEYNMAN.values())]
    for table, task in [*((REGRESSION, task) for task in tasks), (POISSON, equation_task)]:
        found = shapes(table["KAN"], task, Budget(parameters, ticking(), 0))
        assert len(set(found)) == len(found)


@pytest.mark.parametrize("label", [label for label in REGRESSION if label != "KAN"])
@pytest.mark.parametrize("target", [FIT2D["square-root"], FEYNMAN["I.11.19"]], ids=["2", "6"])
def test_all_that_is_stored_is_counted(label, target, ticking):
    task = target.data(0, 200)
    state = next(iter(REGRESSION[label][0].fit(task, Budget(350, ticking(0.4), 0))))
    assert isinstance(state.predict, Scaled)
    assert state.parameters == counted(state.predict) <= 350


@pytest.mark.parametrize("label", named(REGRESSION))
def test_the_seed_decides_on_everything(label, function_task, ticking):
    def final(seed):
        *_, state = REGRESSION[label][0].fit(function_task, Budget(120, ticking(0.05), seed))
        return state.predict(function_task.x)

    torch.manual_seed(1)
    first = final(0)
    torch.manual_seed(2)
    rounding = 1e-6 if label == "KAN" else 0  # of pykan's least squares, which depends on where arrays lie in memory
    torch.testing.assert_close(first, final(0), rtol=rounding, atol=rounding)
    assert torch.allclose(first, final(1), rtol=1e-3, atol=1e-3) == (label == "Chebyshev")


@pytest.mark.parametrize("label", named(REGRESSION))
def test_the_streams_of_random_numbers_are_left_alone(label, function_task, ticking):
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    list(REGRESSION[label][0].fit(function_task, Budget(100, ticking(0.1), 0)))
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("label", named(["tanh MLP", "KAN", "splats", "RBF network", "Chebyshev"]))
def test_predictions_have_gradients_in_the_points(label, function_task, ticking):
    *_, state = REGRESSION[label][0].fit(function_task, Budget(150, ticking(0.1), 0))
    x = function_task.x[:5].clone().requires_grad_()
    (slope,) = torch.autograd.grad(state.predict(x).sum(), x)
    h = 1e-6
    for axis in range(2):
        shift = torch.zeros(2, dtype=F64).index_fill(0, torch.tensor(axis), h)
        difference = (state.predict(function_task.x[:5] + shift) - state.predict(function_task.x[:5] - shift)) / (2 * h)
        torch.testing.assert_close(slope[:, axis], difference[:, 0].detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", [VariableProjection(), Thinned(), Solve()])
def test_what_a_method_cannot_do_it_refuses(method, function_task, equation_task, ticking):
    task = equation_task if isinstance(method, VariableProjection) else function_task
    with pytest.raises(TypeError, match=f"{type(method).__name__}: it .*, got an? {type(task).__name__}"):
        next(iter(method.fit(task, Budget(100, ticking(), 0))))


@pytest.mark.parametrize("method", [RadialBasis(), Polynomials()])
def test_other_boxes_are_refused(method, ticking):
    u = unknown(1)
    known = Known(Problem(Box((0,), (1,)), laplacian(u) == 1, {"boundary": u == 0}), lambda x: x[:, 0])
    task = EquationTask(known, torch.rand(5, 1, dtype=F64), torch.tensor([[0.0], [1.0]], dtype=F64), 1.0)
    where = r"expected an equation on the box \[-1, 1\]\^d, got one on a Box from \[0.0\] to \[1.0\]; use Collocated"
    with pytest.raises(ValueError, match=where):
        next(iter(method.fit(task, Budget(100, ticking(), 0))))


@pytest.mark.parametrize("method", [FullyConnected(), GMNMByGradient(), RadialBasis()])
def test_budgets_without_room_are_refused(method, function_task, ticking):
    with pytest.raises(ValueError, match="parameters are too few"):
        next(iter(method.fit(function_task, Budget(8, ticking(), 0))))


@pytest.mark.parametrize("form", ["mahalanobis", "diagonal", "ridge"])
@pytest.mark.parametrize("d", [1, 2, 9])
def test_the_count_of_a_gmnm_is_that_of_the_module(form, d):
    assert gmnm_count(d, 5, form) == stored(GMNM(d, 1, 5, form=form))


def test_solve_goes_on_with_more_bumps_up_to_its_budget(ticking):
    task = poisson_a_task()
    x = torch.rand(1000, 2, dtype=F64) * 2 - 1
    states = list(Solve().fit(task, Budget(3000, ticking(1e-3), 0)))
    assert (states[-1].predict(x)[:, 0] - task.known.exact(x)).abs().max() < 1e-10
    assert states[0].parameters < states[-1].parameters <= 3000


def test_solve_is_given_its_time_in_seconds_of_the_wall(monkeypatch):
    own, wall, given = [0.0], [0.0], []

    def a_second_long(*_, max_seconds, **__):
        given.append(max_seconds)
        own[0] += 1
        wall[0] += 3  # something else is running
        return SimpleNamespace(u=torch.nn.Identity(), reason="bumps")

    monkeypatch.setattr(gmnm.solve, "solve", a_second_long)
    monkeypatch.setattr(gmnm, "time", SimpleNamespace(perf_counter=lambda: wall[0]))
    list(Solve().fit(poisson_a_task(), Budget(None, Clock(4.0, lambda: own[0]), 0)))
    assert given == [4, 9, 6, 3]


def test_variable_projection_ends_when_it_has_converged(ticking):
    task = replace(FIT2D["product"], function=lambda x, y: torch.exp(-(x**2) - 3 * y**2)).data(0, 100)
    clock = ticking(1e-6)
    *_, state = VariableProjection().fit(task, Budget(14, clock, 0))
    assert clock.passed() < 1
    assert (state.predict(task.x) - task.y).square().mean().sqrt() < 1e-10  # it is one bump
