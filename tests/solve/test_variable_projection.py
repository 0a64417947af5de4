import copy
import math
import threading
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gmlayers import GMNM, solve
from gmlayers.functional import gmnm
from gmlayers.solve.engine.levenberg_marquardt import Model
from gmlayers.solve.engine.separable import Separable

F64 = torch.float64
FORMS = ["mahalanobis", "diagonal", "ridge"]


def data(n=300, seed=0, noise=0.0):
    g = torch.Generator().manual_seed(seed)
    x = torch.rand(n, 2, dtype=F64, generator=g) * 2 - 1
    y = torch.exp(torch.sin(math.pi * x[:, :1]) + x[:, 1:].square())
    return x, y + noise * torch.randn(n, 1, dtype=F64, generator=g)


def module(m=8, out=1, **options):
    return GMNM(2, out, m, domain=(-1, 1), dtype=F64, **options)


def rms(net, x, y):
    return (net(x) - y).square().sum(1).mean().sqrt().item()


# --- the derivative ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("regularisation", [0.0, 0.1])
def test_derivative_equals_autograd_through_the_projection(form, bias, regularisation):
    """r(θ) = y - Φ Φ⁺ y, by a pseudo-inverse that torch differentiates, with weights and two outputs."""
    net, (x, y) = module(5, 2, form=form, bias=bias), data(20)
    y, weight = torch.cat([y, y.sin()], 1), torch.rand(20, dtype=F64)
    problem = Separable.of_data(net, x, y, weight, regularisation, 1e-14)
    start = torch.cat([p.detach().flatten(1) for p in problem.parameters(net).values()], 1)

    def left(shapes):
        mean, rest = shapes[:, :2], shapes[:, 2:]
        A = torch.diag_embed(rest) if form == "diagonal" else rest.view(5, -1, 2)
        columns = gmnm.bumps(x, mean, A)
        if bias:
            columns = torch.cat([columns, torch.ones(20, 1, dtype=F64)], 1)
        columns = weight.sqrt()[:, None] * columns
        target = weight.sqrt()[:, None] * y
        if regularisation:
            pull = regularisation * weight.sum().sqrt() * torch.eye(5, columns.shape[1], dtype=F64)
            columns, target = torch.cat([columns, pull]), torch.cat([target, torch.zeros(5, 2, dtype=F64)])
        return target - columns @ (torch.linalg.pinv(columns) @ target)

    point = problem.at(start)
    torch.testing.assert_close(point.left, left(start), rtol=1e-9, atol=1e-10)
    want = torch.autograd.functional.jacobian(left, start).reshape(point.left.numel(), -1)
    torch.testing.assert_close(problem.jacobian(point), want, rtol=1e-7, atol=1e-8)


# --- the fit -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_finds_the_module_that_made_the_data(form):
    truth, x = module(3, form=form), data(200)[0]
    with torch.no_grad():
        truth.mean.copy_(torch.tensor([[-0.6, -0.5], [0.6, -0.4], [0.0, 0.6]]))
        for p in truth.form_parameters().values():
            p.mul_(1 if form == "ridge" else 4)
        truth.weight.normal_()
    y = truth(x).detach()
    net = copy.deepcopy(truth)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.05 * torch.randn_like(p))
    result = solve.variable_projection(net, x, y, regularisation=0.0, least_reduction=0.0)
    assert result.reason == "exact"
    assert len(result.history) < 40
    fresh = torch.rand(100, 2, dtype=F64) * 2 - 1
    torch.testing.assert_close(net(fresh), truth(fresh), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bias", [True, False])
def test_the_residual_falls_to_what_is_reported(form, bias):
    net, (x, y) = module(form=form, bias=bias, out=2), data()
    y = torch.cat([y, y.sin()], 1)
    result = solve.variable_projection(net, x, y, iterations=15, regularisation=1e-8)
    assert (result.history.column("residual").diff() < 0).all()
    assert result.history[-1].residual < result.history[0].residual / 2
    assert rms(net, x, y) == pytest.approx(result.history[-1].residual, rel=1e-9)
    weights = net.weight.clone()
    solve.fit(net, x, y)
    torch.testing.assert_close(net.weight, weights, rtol=1e-6, atol=1e-8)
    assert weights.abs().max().item() <= result.max_weight


def test_is_ten_times_below_adam():
    """At 351 parameters; Adam has 40 times the steps. At equal time see ``benchmarks/fitting.py``."""
    (x, y), net = data(1000), module(50)
    adam = copy.deepcopy(net)
    optimizer = torch.optim.Adam(adam.parameters(), lr=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 1600)
    for _ in range(1600):
        optimizer.zero_grad()
        (adam(x) - y).square().mean().backward()
        optimizer.step()
        schedule.step()
    solve.variable_projection(net, x, y, iterations=40)
    fresh = data(1000, seed=1)
    assert rms(net, *fresh) < rms(adam, *fresh) / 10


def test_row_weights_are_repetitions():
    (x, y), net = data(60, noise=0.1), module(4)
    counts = torch.randint(0, 3, (60,))
    other = copy.deepcopy(net)
    one = solve.variable_projection(net, x, y, row_weight=counts.double(), iterations=5)
    two = solve.variable_projection(other, x.repeat_interleave(counts, 0), y.repeat_interleave(counts, 0), iterations=5)
    torch.testing.assert_close(one.history.column("residual"), two.history.column("residual"), rtol=1e-8, atol=0)


@given(st.integers(0, 10**6), st.integers(-20, 20))
@settings(max_examples=10)
def test_other_units_of_the_targets(seed, power):
    """Powers of 2 are exact, so all that is compared is compared alike."""
    torch.manual_seed(seed)
    (x, y), net = data(60, seed), module(4)
    other = copy.deepcopy(net)
    one = solve.variable_projection(net, x, y, iterations=5)
    two = solve.variable_projection(other, x, y * 2.0**power, iterations=5)
    torch.testing.assert_close(
        two.history.column("residual"), one.history.column("residual") * 2.0**power, rtol=1e-9, atol=0
    )
    torch.testing.assert_close(other.mean, net.mean, rtol=1e-9, atol=1e-9)


def test_regularisation_holds_the_weights():
    (x, y), net = data(noise=0.01), module(20)
    with torch.no_grad():
        net.projection.div_(4)
    free, held = copy.deepcopy(net), copy.deepcopy(net)
    results = [
        solve.variable_projection(n, x, y, iterations=10, regularisation=lam) for n, lam in ((free, 0.0), (held, 1e-2))
    ]
    assert results[1].max_weight < results[0].max_weight / 10
    assert held.weight.abs().max() <= results[0].history[0].residual / 1e-2 + y.std() / 1e-2
    assert results[1].history[-1].residual < 0.3 * y.std()


def test_rank_and_condition_are_those_of_the_rows_without_those_of_lambda():
    """As `fit` has them, which scales columns to norm 1, too."""
    (x, y), net = data(), module()
    result = solve.variable_projection(net, x, y, iterations=5, regularisation=1e-2)
    fitted = solve.fit(copy.deepcopy(net), x, y)
    assert result.rank == fitted.rank == 9
    assert result.condition == pytest.approx(fitted.condition, rel=1e-6)


def test_without_lambda_weights_are_those_of_the_columns_as_they_are():
    """A bump that points hardly see: at norm 1 its column counts, as it is it does not."""
    (x, y), net = data(), module()
    with torch.no_grad():
        net.mean[0] = 15.0
    result = solve.variable_projection(net, x, y, iterations=1, regularisation=0.0)
    assert result.rank == 9
    assert net.weight[0].abs() < 1e-6


@pytest.mark.parametrize("kept", [lambda net: threading.Lock(), lambda net: net.weight * 2], ids=["lock", "tensor"])
def test_modules_that_cannot_be_copied(kept):
    (x, y), net = data(), module()
    net.kept = kept(net)
    assert solve.variable_projection(net, x, y, iterations=2).float32_error.isfinite().all()


def test_rows_that_do_not_count_are_not_looked_at():
    (x, y), net = data(), module()
    x[0], weight = 50.0, torch.ones(300)
    weight[0] = 0
    for solver in (solve.fit, solve.widen, solve.variable_projection):
        solver(net, x, y, row_weight=weight)  # without a warning
    far = solve.variable_projection(net, x, y, row_weight=weight, iterations=1)
    near = solve.variable_projection(net, x[1:], y[1:], iterations=1)
    assert 0.1 < far.float32_error / near.float32_error < 10


def test_of_wide_bumps_lambda_holds_what_the_rows_leave_open():
    x = torch.linspace(-1, 1, 300, dtype=F64)[:, None]
    y = torch.sin(6 * x) + 0.05 * torch.randn(300, 1, dtype=F64, generator=torch.Generator().manual_seed(0))
    net = GMNM(1, 1, 40, domain=(-1, 1), dtype=F64)
    solve.widen(net, x, y, factors=[8.0])
    result = solve.variable_projection(net, x, y, iterations=5)
    assert result.condition > 1e14
    assert result.rank < 41
    assert result.max_weight < 1e3
    assert rms(net, x, y) == pytest.approx(result.history[-1].residual, rel=1e-6)


@pytest.mark.parametrize("bias", [True, False])
def test_what_float32_loses_is_measured(bias):
    (x, y), net = data(), module(m=40, bias=bias)
    y = torch.cat([y, 100 * y.sin()], 1)
    net = module(m=40, out=2, bias=bias)
    with torch.no_grad():
        net.projection.div_(4)
    narrow = copy.deepcopy(net).float()
    result = solve.variable_projection(net, x, y, iterations=3, regularisation=0.0)
    lost = (copy.deepcopy(net).float()(x.float()).double() - net(x.float().double())).square().mean(0).sqrt()
    torch.testing.assert_close(result.float32_error, lost, rtol=0.3, atol=0)  # sums are in another order
    assert (result.float32_error > result.history[-1].residual / 100).any()
    with pytest.warns(UserWarning, match="variable_projection: the module in float32 is off by"):
        rounded = solve.variable_projection(narrow, x, y, iterations=3, regularisation=0.0)
    assert (rounded.float32_error / result.float32_error).min() > 0.1
    assert (rounded.float32_error / result.float32_error).max() < 10
    off = rms(narrow, x.float(), y) ** 2 - rounded.history[-1].residual ** 2
    assert off == pytest.approx(float(rounded.float32_error.square().sum()), rel=0.5)


def test_weights_that_float32_loses_warn_if_asked():
    (x, y), net = data(), module(m=40)
    with torch.no_grad():
        net.projection.div_(4)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = solve.variable_projection(net, x, y, iterations=1)
        assert not caught
        solve.variable_projection(net, x, y, iterations=1, float32_tolerance=float(result.float32_error) / 10)
    (warning,) = caught
    assert warning.filename == __file__


@pytest.mark.parametrize("solver", [solve.fit, solve.variable_projection, solve.widen])
def test_inputs_out_of_range_warn(solver):
    (x, y), net = data(), GMNM(2, 1, 8, domain=((-1, 0), (1, 1)), dtype=F64)
    away = int((x[:, 1] < 0).sum())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        solver(net, x, y)
    (warning,) = caught
    assert f"{solver.__name__}: {away} of 300 inputs are out of the range of the module; scale" in str(warning.message)
    assert warning.filename == __file__


def test_float32_modules_are_trained_in_float64():
    (x, y), net = data(), module()
    half = copy.deepcopy(net).float()
    wide = copy.deepcopy(half).double()
    results = [solve.variable_projection(n, x, y, iterations=10, regularisation=1e-8) for n in (half, wide)]
    torch.testing.assert_close(results[0].history.column("residual"), results[1].history.column("residual"))
    assert half.mean.dtype == torch.float32
    torch.testing.assert_close(half.mean, wide.mean.float())


# --- λ that follows what is left -----------------------------------------------------------------------------


def following(result, y, bias, weight, dtype=F64):
    """λ by its formula, in loops."""
    rows, total = range(len(y)), sum(weight.tolist())
    mean = [sum(float(weight[i] * y[i, o]) for i in rows) / total * bias for o in range(y.shape[1])]
    spread = sum(float(weight[i]) * (float(y[i, o]) - mean[o]) ** 2 for i in rows for o in range(y.shape[1]))
    share = result.history[-1].residual / math.sqrt(spread / total)
    return max(1e-3 * share, 0.1 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, F64])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("iterations", [1, 4, 40])
def test_lambda_is_within_a_factor_of_two_of_its_formula(dtype, bias, iterations):
    net, (x, y) = module(bias=bias, out=2).to(dtype), data()
    y, weight = 100 + torch.cat([y, y.sin()], 1), torch.rand(len(x), dtype=F64)
    result = solve.variable_projection(net, x, y, row_weight=weight, iterations=iterations)
    assert 0.5 <= result.regularisation / following(result, y, bias, weight, dtype) <= 2
    assert solve.variable_projection(net, x, y, iterations=1, regularisation=1e-5).regularisation == 1e-5


def test_what_bumps_come_to_only_in_the_limit_has_no_floor():
    """A product is a combination of ever wider ridges with ever larger weights."""
    x, _ = data(500)
    y, seen = x[:, :1] * x[:, 1:], []
    for lam in (None, 1e-8):
        net = module(40, form="ridge")
        solve.widen(net, x, y)
        seen.append(solve.variable_projection(net, x, y, iterations=60, regularisation=lam, least_reduction=0.0))
    assert seen[0].history[-1].residual < 1e-9
    assert seen[0].max_weight < 1e4
    assert seen[1].history[-1].residual > 1e-8


def test_lambda_rises_from_below_before_the_first_iteration():
    (x, y), net = data(), module(20, form="ridge")
    result = solve.variable_projection(net, x, y, max_seconds=1e-9)
    assert len(result.history) == 1
    assert 0.5 <= result.regularisation / following(result, y, True, torch.ones(len(x))) <= 2


def test_a_run_goes_on_from_where_one_was():
    (x, y), net = data(), module(20, form="ridge")
    result = solve.variable_projection(net, x, y, iterations=30)
    after = solve.variable_projection(net, x, y, iterations=1)
    assert after.history[0].residual <= 1.01 * result.history[-1].residual


@pytest.mark.parametrize("power", [-800, 0, 800])
def test_lambda_that_follows_does_not_depend_on_how_rows_are_weighted(power):
    (x, y), net = data(60), module(4)
    weight = torch.full((60,), 2.0**power, dtype=F64)
    result = solve.variable_projection(net, x, y, row_weight=weight, iterations=3)
    assert 0.5 <= result.regularisation / following(result, y, True, torch.ones(60)) <= 2


def test_an_interrupt_while_lambda_is_renewed_keeps_the_iteration_that_was_told(monkeypatch):
    (x, y), net, told = data(), module(20, form="ridge"), []

    def interrupted(self, point):
        raise KeyboardInterrupt

    def watch(step):
        told.append(step.residual)
        monkeypatch.setattr(Separable, "renewed", interrupted)

    with pytest.raises(KeyboardInterrupt):
        solve.variable_projection(net, x, y, callback=watch, iterations=100)
    assert rms(net, x, y) == pytest.approx(told[-1], rel=1e-6)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_lambda_that_follows_hardly_biases_noisy_data(scale):
    """The best penalised sum of squares is below that at the weights w of least squares: 4c²|w|²/s² more, at most."""
    torch.manual_seed(1)
    (x, y), net = data(noise=0.5), module(10)
    y = scale * y
    result = solve.variable_projection(net, x, y, iterations=5)
    solve.fit(net, x, y)
    size = float(net.weight.detach().norm() / y.std(correction=0))
    assert rms(net, x, y) <= result.history[-1].residual <= rms(net, x, y) * math.sqrt(1 + 4e-6 * size**2)
    assert size < 100


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_weights_that_float32_rounds_do_not_spoil_what_was_found(seed):
    """λ stops falling where rounded weights would add more than is gained."""
    torch.manual_seed(seed)
    x, _ = data(500, seed)
    y = x[:, :1] * x[:, 1:]
    found = []
    for lam in (None, 1e-11):
        net = module(20, form="ridge").float()
        solve.widen(net, x, y)
        solve.variable_projection(
            net, x, y, iterations=60, regularisation=lam, least_reduction=0.0, float32_tolerance=math.inf
        )
        found.append(rms(copy.deepcopy(net).double(), x, y))
    assert found[0] < 2e-6
    assert found[0] < found[1] / 3


# --- how it ends ---------------------------------------------------------------------------------------------


def test_ends_by_iterations_and_goes_on_from_there():
    (x, y), net = data(), module()
    result = solve.variable_projection(net, x, y, iterations=1, regularisation=1e-8)
    assert result.reason == "iterations"
    assert result.history.column("residual").shape == (2,)
    after = solve.variable_projection(net, x, y, iterations=1, regularisation=1e-8)
    assert after.history[0].residual == pytest.approx(result.history[-1].residual, rel=1e-9)


def test_the_callback_sees_every_iteration_in_the_module():
    (x, y), net = data(), module()
    seen = []
    result = solve.variable_projection(
        net, x, y, iterations=5, callback=lambda step: seen.append((step, rms(net, x, y)))
    )
    steps = [step for step, _ in seen]
    assert [step.number for step in steps] == list(range(6))
    assert [step.residual for step in steps] == result.history.column("residual").tolist()
    assert [error for _, error in seen] == pytest.approx(result.history.column("residual").tolist(), rel=1e-6)
    times = [step.seconds for step in steps]
    assert times[0] > 0
    assert times == sorted(times)


def test_a_callback_does_not_change_the_result():
    (x, y), net = data(), module()
    other = copy.deepcopy(net)
    solve.variable_projection(net, x, y, iterations=5)
    solve.variable_projection(other, x, y, iterations=5, callback=lambda _: None)
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), other.parameters()))


@pytest.mark.parametrize("watched", [True, False])
def test_what_is_interrupted_keeps_its_last_iteration(watched, monkeypatch):
    (x, y), net = data(), module()
    whole = copy.deepcopy(net)
    history = solve.variable_projection(whole, x, y, iterations=3).history
    count = 0
    jacobian = Separable.jacobian

    def interrupted(*args):
        nonlocal count
        count += 1
        if count == 4:  # in the fourth iteration
            raise KeyboardInterrupt
        return jacobian(*args)

    monkeypatch.setattr(Separable, "jacobian", interrupted)
    with pytest.raises(KeyboardInterrupt):
        solve.variable_projection(net, x, y, callback=(lambda _: None) if watched else None)
    assert rms(net, x, y) == pytest.approx(history[3].residual, rel=1e-6)
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), whole.parameters()))


def test_a_callback_that_raises_ends_the_run_with_its_iteration_in_the_module():
    (x, y), net = data(), module()
    other = copy.deepcopy(net)
    solve.variable_projection(other, x, y, iterations=2)

    def enough(step):
        if step.number == 2:
            raise StopIteration("enough")

    with pytest.raises(StopIteration, match="enough"):
        solve.variable_projection(net, x, y, callback=enough)
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), other.parameters()))


def test_in_a_callback_there_are_gradients():
    (x, y), net, found = data(), module(), []
    solve.variable_projection(
        net, x, y, iterations=1, callback=lambda _: found.append(torch.autograd.grad(net(x).sum(), net.mean))
    )
    assert len(found) == 2


def too_large_at_first():
    """Weights of 1e5 and more for wide bumps, which float16 cannot hold."""
    x = torch.linspace(-1, 1, 200, dtype=F64)[:, None]
    net = GMNM(1, 1, 6, domain=(-1, 1), dtype=torch.float16)
    with torch.no_grad():
        net.projection.mul_(0.2)
    return net, x, 1e3 * torch.sin(8 * x)


def test_lambda_that_follows_keeps_weights_that_the_dtype_can_hold():
    net, x, y = too_large_at_first()
    result = solve.variable_projection(net, x, y, iterations=1)
    assert result.max_weight < torch.finfo(torch.float16).max


def test_weights_that_the_dtype_cannot_hold_on_the_way_do_not_end_a_run_that_is_watched():
    net, x, y = too_large_at_first()
    first = [p.clone() for p in net.parameters()]
    seen = []

    def watch(step):
        seen.append(all(torch.equal(p, q) for p, q in zip(net.parameters(), first)))
        if step.number == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):  # not the error that the weights are too large
        solve.variable_projection(net, x, y, callback=watch, regularisation=1e-8)
    assert seen == [True, True]
    with pytest.raises(ValueError, match="assign: weights up to .* are too large for torch.float16"):
        solve.variable_projection(net, x, y, iterations=1, regularisation=1e-8)


def test_ends_by_time(monkeypatch):
    """Each of these iterations takes a second of a clock that is set by hand."""
    (x, y), net = data(), module()
    now = 0.0
    at = Model.at.__func__

    def a_second(cls, *args):
        nonlocal now
        now += 1.0
        return at(cls, *args)

    monkeypatch.setattr("gmlayers.solve.engine.clock.time.perf_counter", lambda: now)
    monkeypatch.setattr(Model, "at", classmethod(a_second))
    result = solve.variable_projection(net, x, y, max_seconds=3.5)
    assert (result.reason, len(result.history)) == ("time", 4)
    assert rms(net, x, y) == pytest.approx(result.history[-1].residual, rel=1e-6)


def test_ends_by_reduction():
    (x, y), net = data(noise=0.3), module(3)
    result = solve.variable_projection(net, x, y, least_reduction=1e-2, iterations=200)
    assert result.reason == "reduction"
    assert 1 - (result.history[-1].residual / result.history[-2].residual) ** 2 < 1e-2


def test_ends_at_a_stationary_point():
    (x, y), net = data(noise=0.3), module(2)
    result = solve.variable_projection(net, x, y, least_reduction=0.0, iterations=1000, regularisation=1e-8)
    assert result.reason in ("gradient", "step")
    net.zero_grad()
    left = net(x) - y
    left.square().mean().backward()
    for p in net.parameters():
        assert p.grad is not None
        assert p.grad.abs().max() <= 1e-6


@pytest.mark.parametrize("level", [0.0, 3.0])
def test_constants_are_exact(level):
    net, (x, y) = module(), data()
    result = solve.variable_projection(net, x, torch.full_like(y, level))
    assert result.reason == "exact"
    assert len(result.history) == 1
    torch.testing.assert_close(net(x), torch.full_like(y, level), rtol=1e-12, atol=1e-13)


def test_bumps_that_no_point_sees():
    net, (x, y) = module(bias=False), data()
    with torch.no_grad():
        net.mean.add_(1e6)
    result = solve.variable_projection(net, x, y, regularisation=0.0)
    assert (result.reason, result.rank, result.max_weight) == ("gradient", 0, 0.0)
    assert all(p.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("far", [15.0, 25.0])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_bumps_that_points_hardly_see_stay_within_reach(form, far, dtype):
    """Nothing tells how far such a step may be: it was 10¹⁰⁰, which no other dtype can hold."""
    x = torch.linspace(-1, 1, 200, dtype=F64)[:, None]
    y = torch.sin(6 * x) + 0.3 * torch.cos(17 * x)
    net = GMNM(1, 1, 6, form=form, domain=(-1, 1), dtype=dtype)
    with torch.no_grad():
        net.mean[0] = far
        for shape in net.form_parameters().values():
            shape[0] = 1.0
    solve.variable_projection(net, x, y, iterations=20)
    assert net.mean.abs().max() < 1e3
    assert net.projection_matrix().abs().max() < 1e3
    assert net(x.to(dtype)).isfinite().all()


def test_more_bumps_than_points():
    (x, y), net = data(5), module(20)
    result = solve.variable_projection(net, x, y, regularisation=0.0)
    assert rms(net, x, y) <= 1e-9
    assert result.rank <= 5


def test_errors():
    net, (x, y) = module(), data()
    with pytest.raises(ValueError, match=r"variable_projection: expected x \(n, 2\) and y \(n, 1\), n > 0, got"):
        solve.variable_projection(net, x[:, :1], y)
    with pytest.raises(ValueError, match=r"n > 0, got \(0, 2\)"):
        solve.variable_projection(net, x[:0], y[:0])
    with pytest.raises(ValueError, match="variable_projection: x has numbers that are not finite"):
        solve.variable_projection(net, math.nan * x, y)
    with pytest.raises(ValueError, match="variable_projection: expected a row_weight .* not negative"):
        solve.variable_projection(net, x, y, row_weight=-torch.ones(300))
    with pytest.raises(
        ValueError, match="variable_projection: least_reduction must be finite and not negative, got -1"
    ):
        solve.variable_projection(net, x, y, least_reduction=-1)
    with pytest.raises(ValueError, match="variable_projection: iterations must be at least 1, got 0"):
        solve.variable_projection(net, x, y, iterations=0)
    with pytest.raises(ValueError, match="variable_projection: max_seconds must be positive, got 0"):
        solve.variable_projection(net, x, y, max_seconds=0)
    with pytest.raises(TypeError, match="variable_projection: regularisation must be a number, got 'gcv'"):
        solve.variable_projection(net, x, y, regularisation="gcv")
    with pytest.raises(TypeError, match="variable_projection: least_reduction must be a number, got None"):
        solve.variable_projection(net, x, y, least_reduction=None)
    with pytest.raises(ValueError, match="variable_projection: rank_tolerance must be from 0 to below 1, got 1"):
        solve.variable_projection(net, x, y, rank_tolerance=1)
    with pytest.raises(ValueError, match="variable_projection: float32_tolerance must not be negative, got -1.0"):
        solve.variable_projection(net, x, y, float32_tolerance=-1.0)
    with pytest.raises(TypeError, match="variable_projection: expected a GMNM, got Linear"):
        solve.variable_projection(nn.Linear(2, 1), x, y)
    with pytest.raises(TypeError, match="variable_projection: callback must be a function or None, got 3"):
        solve.variable_projection(net, x, y, callback=3)
    with pytest.raises(TypeError, match="variable_projection: max_seconds must be a number, got '1 min'"):
        solve.variable_projection(net, x, y, max_seconds="1 min")
    with pytest.raises(ValueError, match="variable_projection: the targets times their weights are not finite"):
        solve.variable_projection(net, x, 1e300 * y, row_weight=torch.full_like(y[:, 0], 1e20))
    with torch.no_grad():
        net.mean[0] = math.nan
    with pytest.raises(ValueError, match="variable_projection: the bumps of the module are not finite"):
        solve.variable_projection(net, x, y)
    nn.utils.parametrize.register_parametrization(net, "projection", nn.Softplus())
    with pytest.raises(RuntimeError, match="variable_projection: remove the parametrizations"):
        solve.variable_projection(net, x, y)
