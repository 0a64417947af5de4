import copy
import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gmlayers import GMNM, solve
from gmlayers.solve.engine.pruning import needed

F64 = torch.float64


def rows(n, d=2, seed=0):
    return 2 * torch.rand(n, d, dtype=F64, generator=torch.Generator().manual_seed(seed)) - 1


def smooth(x):
    return torch.exp(torch.sin(math.pi * x[:, :1]) + x[:, 1:2].square())


def peak(x):
    """A peak of a fiftieth of the box, on something smooth."""
    away = (x[:, :2] - x.new_tensor([0.3, -0.2])).square().sum(1, keepdim=True)
    return torch.sin(2 * x[:, :1]) * torch.cos(x[:, 1:2]) + torch.exp(-away / (2 * 0.04**2))


def error(f, exact, n=2000):
    x = 0.999 * rows(n, f.in_features, seed=1)
    return ((f(x) - exact(x)).norm() / exact(x).norm()).item()


def test_a_smooth_function_to_the_tolerance():
    x = rows(1000)
    found = solve.approximate(x, smooth(x), tolerance=1e-4)
    assert found.converged
    assert found.error <= 1e-4
    assert error(found.f, smooth) < 1e-4


def test_many_rows_give_many_digits():
    x = rows(1500)
    found = solve.approximate(x, smooth(x), tolerance=1e-6)
    assert found.converged
    assert error(found.f, smooth) < 1e-6


def test_a_narrow_peak_is_found():
    """Against as many bumps that are placed by the inputs alone."""
    x = rows(2500)
    found = solve.approximate(x, peak(x), tolerance=1e-3)
    assert found.converged
    assert found.f.num_components < 40
    uniform = GMNM.from_data(x, 1, found.f.num_components, generator=torch.Generator().manual_seed(0))
    solve.fit(uniform, x, peak(x))
    assert error(found.f, peak) < error(uniform, peak) / 10


def test_noise_ends_at_the_limit_with_few_bumps():
    x = rows(2000)
    noise = 0.1 * torch.randn(2000, 1, dtype=F64, generator=torch.Generator().manual_seed(2))
    found = solve.approximate(x, smooth(x) + noise)
    held = (found.f(x) - smooth(x) - noise)[found.held_out].square().mean().sqrt().item()
    assert found.reason == "limit"
    assert held < 1.1 * noise[found.held_out].square().mean().sqrt().item()
    assert error(found.f, smooth) < 0.02
    assert found.f.num_components <= 30


def test_nothing_but_noise_has_a_smooth_answer():
    y = torch.randn(500, 1, dtype=F64, generator=torch.Generator().manual_seed(0))
    found = solve.approximate(rows(500), y)
    assert found.reason == "limit"
    assert found.f(rows(500)).square().mean().sqrt() < 0.3


@pytest.mark.parametrize("d", [1, 3, 7])
def test_other_dimensions(d):
    """The number of features decides the form: beyond five bumps are not turned."""
    x = rows(1200, d)

    def exact(x):
        return torch.exp(-x.square().sum(1, keepdim=True)) + 0.5 * x[:, :1]

    found = solve.approximate(x, exact(x), tolerance=1e-2)
    assert found.converged
    assert error(found.f, exact) < 3e-2


# --- what is said about it -----------------------------------------------------------------------------------


def test_the_numbers_are_those_of_the_module():
    x = 5 + 3 * rows(600)
    y = torch.cat([1e3 * smooth(rows(600)), 7 - 1e-2 * peak(rows(600))], 1)
    found = solve.approximate(x, y, tolerance=1e-3, max_components=40)
    left = (found.f(x) - y) / y.std(0, correction=0)
    assert found.error == pytest.approx(left[found.held_out].square().mean().sqrt().item(), rel=1e-6)
    assert found.residual == pytest.approx(left[~found.held_out].square().mean().sqrt().item(), rel=1e-6)
    assert found.max_weight == found.f.weight.abs().max()
    assert found.held_out.shape == (600,)
    assert found.held_out.sum() == 90
    assert found.f.mean.dtype == F64


def test_what_float32_loses():
    x = rows(1000)
    found = solve.approximate(x, smooth(x), tolerance=1e-5)
    lost = (found.f.float()(x.float()).double() - smooth(x)).square().mean().sqrt().item() / smooth(x).std().item()
    assert found.float32_error / 5 < lost < found.float32_error * 5
    with pytest.warns(UserWarning, match="approximate: f in float32 is off by .* stay in float64"):
        solve.approximate(x, smooth(x), tolerance=1e-2, float32_tolerance=1e-12)


@pytest.mark.parametrize(("of_x", "of_y"), [(0, 1e6), (1e5, 0)])
def test_what_float32_loses_far_from_0(of_x, of_y):
    """In a bias and in centres that are large beside what varies; at inputs that float32 can hold."""
    x = of_x + torch.linspace(-1, 1, 400, dtype=F64).unsqueeze(1)
    y = torch.sin(3 * (x - of_x)) + of_y
    with pytest.warns(UserWarning, match="approximate: f in float32 is off by"):
        found = solve.approximate(x, y, tolerance=1e-4, float32_tolerance=1e-3)
    x = x.float()
    lost = copy.deepcopy(found.f).float()(x).double() - found.f(x.double())
    assert found.float32_error == pytest.approx(lost.square().mean().sqrt().item() / y.std().item(), rel=0.3)


def test_what_float32_cannot_hold_is_lost():
    x = rows(60)
    assert solve.approximate(x, 1e300 * smooth(x), max_components=6).float32_error == math.inf


def test_every_set_is_reported_and_the_best_is_returned():
    x, seen = rows(400), []
    found = solve.approximate(x, smooth(x), tolerance=1e-12, callback=seen.append)
    assert tuple(seen) == found.history
    assert not found.converged
    least = min(step.error for step in seen)
    assert least <= found.error <= 1.02 * least
    good = (step for step in seen if step.error <= 1.02 * least)
    number, error, trained = min((step.num_components, step.error, step.trained) for step in good)
    assert (number, error, trained) == (found.f.num_components, found.error, found.trained)
    assert all(a.seconds <= b.seconds for a, b in itertools.pairwise(seen))
    assert all(0 <= step.trained <= step.num_components for step in seen)


def test_it_can_be_repeated_to_the_bit_and_takes_nothing_from_the_global_generator():
    x = rows(400)
    state = torch.get_rng_state()
    first, second = (solve.approximate(x, smooth(x), tolerance=1e-3) for _ in range(2))
    assert torch.equal(state, torch.get_rng_state())
    for a, b in zip(first.f.parameters(), second.f.parameters()):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("options", "reason"), [({"max_components": 8}, "bumps"), ({"max_seconds": 1e-9}, "time"), ({}, "rows")]
)
def test_a_budget_that_is_too_small_gives_the_best_so_far(options, reason):
    x = rows(100)
    found = solve.approximate(x, smooth(x), tolerance=1e-12, **options)
    assert found.reason == reason
    assert found.f.num_components <= options.get("max_components", 42)
    assert found.error < 1


def test_copies_of_a_row_are_on_the_same_side():
    x = rows(50).repeat(4, 1)
    found = solve.approximate(x, smooth(x), tolerance=1e-2)
    sides = found.held_out.view(4, 50)
    assert (sides == sides[0]).all()
    assert sides[0].sum() == 8


@pytest.mark.parametrize("copies", [5, 20])
def test_copies_of_rows_are_no_more_data(copies):
    """There are no more bumps than for one of each, and it is said that rows are missing."""
    x = rows(40).repeat(copies, 1)
    found = solve.approximate(x, smooth(x), tolerance=1e-6)
    assert found.reason == "rows"
    assert max(step.num_components for step in found.history) == 17


@pytest.mark.parametrize("seconds", [1, 3, 8, 15, 30])
def test_no_set_and_no_search_goes_on_after_the_time(monkeypatch, seconds):
    """On a clock on which solving for weights takes a second, and nothing else takes any."""
    now = [0.0]

    def slow(*arguments, **options):
        now[0] += 1
        return solve.fit(*arguments, **options)

    monkeypatch.setattr("gmlayers.solve._fitted_sets.fit", slow)
    monkeypatch.setattr("gmlayers.solve.engine.clock.time.perf_counter", lambda: now[0])
    x = rows(1000)
    found = solve.approximate(x, smooth(x), tolerance=1e-9, max_seconds=seconds)
    assert found.reason == "time"
    assert found.history[-1].seconds <= seconds


@pytest.mark.parametrize("name", ["approximate", "solve"])
def test_a_default_device_does_not_matter(name):
    """All is on the CPU."""
    x, u = rows(60), solve.unknown(1)
    problem = solve.Problem(solve.Box((0,), (1,)), solve.laplacian(u) == 1, {"boundary": u == 0})
    with torch.device("meta"):
        f = (
            solve.approximate(x, smooth(x), tolerance=0.1).f
            if name == "approximate"
            else solve.solve(problem, tolerance=1e-3).u
        )
    assert f.mean.device.type == "cpu"


# --- laws ----------------------------------------------------------------------------------------------------


@given(power=st.integers(-300, 300), of_x=st.integers(-300, 300))
@settings(max_examples=5)
def test_units_do_not_matter(power, of_x):
    """To the bit, for powers of 2."""
    x = rows(200)
    first = solve.approximate(x, smooth(x), max_components=20)
    other = solve.approximate(2.0**of_x * x, 2.0**power * smooth(x), max_components=20)
    assert other.error == first.error
    assert torch.equal(other.f(2.0**of_x * x), 2.0**power * first.f(x))


def test_a_level_does_not_matter():
    """As far as it leaves digits to the targets. One set: training makes more and more of the difference."""
    x = rows(300)
    first, other = (solve.approximate(x, smooth(x) + level, max_components=6) for level in (0.0, 1e4))
    torch.testing.assert_close(other.f(x) - 1e4, first.f(x), rtol=0, atol=1e-6)


def test_near_copies_of_a_row_are_on_the_same_side():
    """Or noise would be fitted on one side and found again on the other."""
    g = torch.Generator().manual_seed(0)
    x = torch.rand(100, 2, generator=g, dtype=F64).repeat_interleave(4, 0)
    y = torch.randn(100, 1, generator=g, dtype=F64).repeat_interleave(4, 0)
    found = solve.approximate(x + 1e-9 * torch.randn(400, 2, generator=g, dtype=F64), y, tolerance=1e-3)
    assert found.error > 0.5
    assert (found.held_out.view(100, 4).sum(1) % 4 == 0).all()


def test_the_function_needs_no_gradients():
    x = torch.linspace(0, 1, 50, dtype=F64).unsqueeze(1)
    assert solve.approximate(x, x**2, tolerance=1e-3).f(x).numpy().shape == (50, 1)


@pytest.mark.parametrize("offset", [1e6, 1e9])
def test_inputs_far_from_0(offset):
    """Such as dates in seconds: rows are rounded, and the function must not be worse than that."""
    x = offset + torch.linspace(-1, 1, 400, dtype=F64).unsqueeze(1)

    def exact(x):
        return torch.sin(3 * (x - offset))

    found = solve.approximate(x, exact(x), tolerance=1e-8)
    between = offset + torch.linspace(-0.99, 0.99, 777, dtype=F64).unsqueeze(1)
    assert found.converged
    assert (found.f(between) - exact(between)).square().mean().sqrt() < 3e-8


@pytest.mark.parametrize("value", [0.0, 0.1, -1e30])
def test_constants_are_exact(value):
    x = rows(60)
    found = solve.approximate(x, torch.full((60, 2), value, dtype=F64))
    assert found.converged
    assert (found.f.weight == 0).all()
    assert torch.equal(found.f(x), torch.full((60, 2), value, dtype=F64))


def test_a_feature_that_is_constant():
    x = torch.cat([rows(300, 1), torch.full((300, 1), 0.1, dtype=F64)], 1)
    found = solve.approximate(x, torch.sin(4 * x[:, :1]), tolerance=1e-3)
    assert found.converged
    assert not found.f.outside(x).any()


def test_float32_and_gradients_are_taken():
    x = rows(200).float().requires_grad_()
    found = solve.approximate(x, (3 * x[:, :1]).sin(), tolerance=1e-3)
    assert found.converged
    assert not found.error > 1e-3


# --- bumps that are needed -----------------------------------------------------------------------------------


def left(columns, y):
    return float((y - columns @ torch.linalg.lstsq(columns, y, driver="gelsd").solution).square().sum())


@given(seed=st.integers(0, 10**6), m=st.integers(2, 6), out=st.integers(1, 2), spared=st.floats(0.01, 1))
@settings(max_examples=30)
def test_columns_are_dropped_like_in_a_loop_that_tries_all(seed, m, out, spared):
    g = torch.Generator().manual_seed(seed)
    columns = torch.cat([torch.rand(20, m, generator=g, dtype=F64), torch.ones(20, 1, dtype=F64)], 1)
    y = torch.randn(20, out, generator=g, dtype=F64)
    kept, room, before = list(range(m)), y.numel() * spared**2, left(columns, y)
    while len(kept) > 1:
        tried = {k: left(columns[:, [j for j in kept if j != k] + [m]], y) for k in kept}
        least = min(tried, key=tried.__getitem__)
        room -= tried[least] - before
        if room < 0:
            break
        kept.remove(least)
        before = tried[least]
    assert needed(columns, y, spared).nonzero().flatten().tolist() == kept


def test_one_of_two_that_coincide_and_one_that_no_row_sees_are_dropped():
    g = torch.Generator().manual_seed(0)
    a, b = torch.rand(30, 1, generator=g, dtype=F64), torch.rand(30, 1, generator=g, dtype=F64)
    columns = torch.cat([a, b, a, 0 * a, 1e-200 * b, 0 * a + 1], 1)
    kept = needed(columns, a + 2 * b, 1e-6).tolist()
    assert sum(kept) == 2
    assert kept[0] != kept[2]
    assert kept[1] != kept[4]
    assert not kept[3]


# --- what is wrong -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "y", "options", "kind", "match"),
    [
        (rows(50)[:, 0], rows(50), {}, ValueError, r"expected x \(n, features\) .* got \(50,\) and \(50, 2\)"),
        (rows(50), rows(49), {}, ValueError, r"got \(50, 2\) and \(49, 2\)"),
        (rows(50)[:, :0], rows(50), {}, ValueError, r"got \(50, 0\)"),
        (rows(0), rows(0), {}, ValueError, "0 different rows of x are too few"),
        (rows(19), rows(19), {}, ValueError, "19 different rows of x are too few .* at least 20"),
        (rows(5).repeat(9, 1), rows(45), {}, ValueError, "5 different rows"),
        (math.nan * rows(50), rows(50), {}, ValueError, "x has numbers that are not finite; leave those rows out"),
        (rows(50), rows(50) / 0, {}, ValueError, "y has numbers that are not finite"),
        (torch.ones(50, 2, dtype=torch.cfloat), rows(50), {}, TypeError, "x must be .* of floating-point"),
        (rows(50), rows(50).numpy().astype(str), {}, TypeError, "y must be an array of real numbers"),
        (rows(50), rows(50), {"tolerance": 0}, ValueError, "tolerance must be positive and finite, got 0"),
        (rows(50), rows(50), {"tolerance": math.nan}, ValueError, "tolerance must be positive"),
        (rows(50), rows(50), {"max_components": 5}, ValueError, "max_components must be at least 6, got 5"),
        (rows(50), rows(50), {"max_components": 9.5}, TypeError, "whole number"),
        (rows(50), rows(50), {"max_seconds": 0}, ValueError, "max_seconds must be positive"),
        (rows(50), rows(50), {"tolerance": "a"}, TypeError, "tolerance must be a number, got 'a'"),
        (rows(50), rows(50), {"tolerance": None}, TypeError, "tolerance must be a number, got None"),
        (rows(50), rows(50), {"callback": 5}, TypeError, "callback must be a function or None, got 5"),
        (
            rows(50),
            rows(50),
            {"float32_tolerance": math.nan},
            ValueError,
            "float32_tolerance must not be negative, got nan",
        ),
        (rows(5).repeat(9, 1) + 1e-9 * rows(45), rows(45), {}, ValueError, "5 different rows"),
    ],
)
def test_data_that_are_none(x, y, options, kind, match):
    with pytest.raises(kind, match=match):
        solve.approximate(x, y, **options)
