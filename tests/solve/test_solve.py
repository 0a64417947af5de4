import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gmlayers import GMNM, solve
from gmlayers.solve import problems

F64 = torch.float64
SQUARE = solve.Box((-1, -1), (1, 1))

ACCURACY = {  # relative in the root mean square: of sets of at most 700 bumps, and what is estimated there
    "poisson-a": (1e-11, 1e-8),
    "poisson-b": (1e-7, 1e-6),
    "poisson-l": (2e-3, 1e-2),
    "poisson-peak": (2e-2, 5e-1),
    "layer-50": (3e-4, 1e-2),
    "layer-100": (3e-2, 5e-1),
    "poisson-3d": (1e-4, 1e-2),
    "poisson-10d": (2e-3, 2e-3),
    "helmholtz": (1e-6, 1e-3),
    "advection-diffusion": (1e-9, 1e-7),
    "heat": (1e-11, 1e-9),
    "wave": (1e-11, 1e-9),
}


def error(u, exact, domain):
    x = domain.interior(2000, held_out=True)
    return ((u(x)[:, 0] - exact(x)).norm() / exact(x).norm()).item()


def poisson(u, **conditions):
    return solve.Problem(SQUARE, solve.laplacian(u) == 1, conditions)


@pytest.mark.parametrize("name", problems.KNOWN)
def test_known_solutions_are_found_and_the_estimate_is_not_below_the_error(name):
    problem, exact = problems.KNOWN[name]()
    found = solve.solve(problem, tolerance=1e-9, max_components=700)
    true = error(found.u, exact, problem.domain)
    most, estimated = ACCURACY[name]
    assert true < most
    assert true <= found.error < estimated
    assert found.error == max(found.change, *found.misfits.values())
    assert found.converged == (found.error <= 1e-9) == (found.reason == "tolerance")
    assert list(found.residuals) == [what for what, _, _ in problem.asked()]
    assert found.u.num_components <= 700
    assert found.u.mean.dtype == F64


@pytest.mark.parametrize(
    ("name", "tolerance", "most", "bumps"),
    [
        ("poisson-a", 1e-6, 1e-6, 150),
        ("poisson-a", 1e-10, 1e-10, 400),
        ("poisson-b", 1e-6, 1e-6, 650),
        ("poisson-b", 1e-10, 1e-10, 1600),
        ("helmholtz", 1e-10, 1e-9, 1600),
        ("heat", 1e-10, 1e-9, 400),
        ("wave", 1e-10, 1e-9, 650),
        ("poisson-l", 1e-4, 1e-4, 2000),
        ("poisson-3d", 1e-6, 1e-6, 2000),
    ],
)
def test_errors_and_numbers_of_bumps_are_as_the_documentation_has_them(name, tolerance, most, bumps):
    """Bumps in place of seconds, which a test cannot hold."""
    problem, exact = problems.KNOWN[name]()
    found = solve.solve(problem, tolerance=tolerance)
    assert found.u.num_components <= bumps
    assert error(found.u, exact, problem.domain) < most
    if name.startswith("poisson") and isinstance(problem.domain, solve.Box) and problem.domain.dim == 2:
        low, high = (bound.tolist() for bound in (problem.domain.low, problem.domain.high))
        x = torch.cartesian_prod(*(torch.linspace(a, b, 101, dtype=F64) for a, b in zip(low, high)))
        assert (found.u(x)[:, 0] - exact(x)).square().mean() < most**2


def test_the_residuals_are_those_of_the_module():
    problem, _ = problems.poisson_b()
    found = solve.solve(problem, max_components=150)
    x, edge = problem.domain.interior(5000), problem.domain.boundary(4000).x
    inside = found.u.laplacian(x)[:, 0] - problem.equation.right(x)
    assert inside.square().mean().sqrt().item() == pytest.approx(found.residuals["equation"], rel=0.2)
    assert found.u(edge).square().mean().sqrt().item() == pytest.approx(found.residuals["boundary"], rel=0.2)
    assert found.max_weight == found.u.weight.abs().max()


@given(
    powers=st.lists(st.integers(0, 3), min_size=2, max_size=2),
    waves=st.lists(st.floats(0.5, 4), min_size=2, max_size=2),
    shift=st.floats(-1, 1),
)
@settings(max_examples=4)
def test_a_polynomial_times_a_sine_is_found(powers, waves, shift):
    """u = x^a y^b sin(px + qy + c), the right-hand side by autograd."""

    def exact(x):
        return x[:, 0] ** powers[0] * x[:, 1] ** powers[1] * torch.sin(x @ x.new_tensor(waves) + shift)

    def right(x):
        with torch.enable_grad():
            x = x.requires_grad_()
            (g,) = torch.autograd.grad(exact(x).sum(), x, create_graph=True)
            second = [torch.autograd.grad(g[:, i].sum(), x, retain_graph=True)[0][:, i] for i in range(2)]
        return sum(second) + x[:, 1] * g[:, 0] + 2 * exact(x)

    u = solve.unknown(2)
    equation = solve.laplacian(u) + (lambda x: x[:, 1]) * solve.grad(u)[0] + 2 * u == right
    found = solve.solve(solve.Problem(SQUARE, equation, {"boundary": u == exact}), tolerance=1e-8)
    assert found.converged
    assert error(found.u, exact, SQUARE) < 1e-8


@pytest.mark.parametrize(
    "domain",
    [
        solve.Ball((0.2, 0), 1),
        solve.Polygon([(0, 0), (2, 0), (1, 1.5)]),
        solve.Box((-1, -1), (1, 1)) - solve.Ball((0, 0), 0.4),
        solve.Box((0, 0), (1, 1)) | solve.Ball((1, 0.5), 0.5),
        solve.Implicit(lambda x: (x[:, 0] / 2) ** 2 + x[:, 1] ** 2 - 1, (-2, -1), (2, 1)),
        solve.PointCloud(solve.Ball((0, 0), 1).interior(3000), {"boundary": solve.Ball((0, 0), 1).boundary(600)}),
    ],
    ids=lambda d: type(d).__name__,
)
def test_all_domains(domain):
    """A harmonic function from its values on the boundary."""

    def exact(x):
        return torch.exp(x[:, 0]) * torch.cos(x[:, 1])

    u = solve.unknown(2)
    found = solve.solve(solve.Problem(domain, solve.laplacian(u) == 0, {"boundary": u == exact}), tolerance=1e-7)
    assert found.converged
    assert error(found.u, exact, domain) < 1e-7


def test_mixed_conditions():
    """u = sin x e^y with its normal derivative on three sides and its values on one."""

    def exact(x):
        return torch.sin(x[:, 0]) * torch.exp(x[:, 1])

    def slope(x):
        return torch.cos(x[:, 0]) * torch.exp(x[:, 1])

    u = solve.unknown(2)
    conditions = {
        "low 0": u == exact,
        "high 0": solve.normal_derivative(u) == slope,
        "low 1": -solve.normal_derivative(u) == exact,
        "high 1": solve.normal_derivative(u) + u == (lambda x: 2 * exact(x)),
    }
    found = solve.solve(solve.Problem(SQUARE, solve.laplacian(u) == 0, conditions), tolerance=1e-8)
    assert found.converged
    assert error(found.u, exact, SQUARE) < 1e-8


def test_other_lengths_of_space_and_time():
    """Heat in a rod of length 1000 over a time of a millionth: nothing depends on units."""

    def exact(x):
        return torch.exp(-(math.pi**2) * x[:, 1] * 1e6 / 10) * torch.sin(math.pi * x[:, 0] / 1000)

    u = solve.unknown(1, time=True)
    domain = solve.SpaceTime(solve.Box((0,), (1000,)), 2e-6)
    equation = solve.dt(u) == 1e11 * solve.laplacian(u)
    found = solve.solve(solve.Problem(domain, equation, {"initial": u == exact, "boundary": u == 0}), tolerance=1e-8)
    assert found.converged
    assert error(found.u, exact, domain) < 1e-8


def test_heat_in_a_disc():
    """u = J₀(kr) e^{-k² t}: space-time of a domain that is no box."""
    k = 2.404825557695773

    def exact(x):
        return torch.special.bessel_j0(k * x[:, :2].norm(dim=1)) * torch.exp(-(k**2) * x[:, 2])

    u = solve.unknown(2, time=True)
    domain = solve.SpaceTime(solve.Ball((0, 0), 1), 0.2)
    problem = solve.Problem(domain, solve.dt(u) == solve.laplacian(u), {"initial": u == exact, "boundary": u == 0})
    found = solve.solve(problem, max_components=700)
    assert error(found.u, exact, domain) < 1e-3


def test_a_cross_has_four_corners_and_a_singularity_at_one():
    vertices = [(1, 0), (2, 0), (2, 1), (3, 1), (3, 2), (2, 2), (2, 3), (1, 3), (1, 2), (0, 2), (0, 1), (1, 1)]
    domain = solve.Polygon(vertices)

    def exact(x):
        z = x - 1
        angle = torch.atan2(z[:, 1], z[:, 0])
        angle = torch.where(angle < -3 * math.pi / 4, angle + 2 * math.pi, angle) + math.pi / 2
        return z.square().sum(1) ** (1 / 3) * torch.sin(2 / 3 * angle)

    u = solve.unknown(2)
    problem = solve.Problem(domain, solve.laplacian(u) == 0, {"boundary": u == exact})
    found = solve.solve(problem, max_components=1100)
    assert error(found.u, exact, domain) < 2e-3
    assert found.u.num_components <= 1100


def test_without_conditions_it_is_an_approximation():
    def exact(x):
        return torch.cos(3 * x[:, 0]) * torch.exp(x[:, 1])

    u = solve.unknown(2)
    found = solve.solve(solve.Problem(SQUARE, u == exact))
    assert found.converged
    assert error(found.u, exact, SQUARE) < 1e-10


def test_the_solution_scales_with_the_right_hand_side():
    u = solve.unknown(2)
    results = []
    for size in (1.0, 2.0**-300, 2.0**300):
        problem = solve.Problem(SQUARE, solve.laplacian(u) == size, {"boundary": u == 0})
        found = solve.solve(problem, max_components=150)
        results.append((found.u(torch.zeros(1, 2, dtype=F64)).item() / size, found.error))
    assert results[0] == results[1] == results[2]


def test_nothing_gives_nothing():
    u = solve.unknown(2)
    with pytest.warns(UserWarning, match="all right-hand sides are 0, and so u = 0 is what is returned"):
        found = solve.solve(solve.Problem(SQUARE, solve.laplacian(u) == 0, {"boundary": u == 0}))
    assert found.converged
    assert (found.u.weight == 0).all()


# --- how it goes ---------------------------------------------------------------------------------------------


def test_every_set_is_reported_and_the_numbers_grow():
    problem, seen = problems.poisson_a().problem, []
    found = solve.solve(problem, tolerance=1e-7, callback=seen.append)
    assert tuple(seen) == found.history
    numbers = [step.num_components for step in seen]
    assert numbers == sorted(set(numbers))
    assert found.history[-1].error == found.error <= 1e-7 < found.history[-2].error
    assert found.history[0].change == math.inf


def test_a_solve_can_be_repeated_to_the_bit_and_takes_nothing_from_the_global_generator():
    problem = problems.poisson_a().problem
    state = torch.get_rng_state()
    first, second = (solve.solve(problem, max_components=150) for _ in range(2))
    assert torch.equal(first.u.weight, second.u.weight)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(("options", "reason"), [({"max_components": 120}, "bumps"), ({"max_seconds": 1e-9}, "time")])
def test_a_budget_that_is_too_small_gives_the_best_so_far(options, reason):
    found = solve.solve(problems.helmholtz().problem, **options)
    assert found.reason == reason
    assert not found.converged
    assert found.error > 1e-10
    assert found.u(torch.zeros(3, 2, dtype=F64)).isfinite().all()


def test_contradicting_conditions_end_at_the_limit_and_the_residuals_tell():
    u = solve.unknown(2)
    found = solve.solve(poisson(u, boundary=[u == 0, u == 1]))
    assert found.reason == "limit"
    assert found.residuals["boundary (1)"] == pytest.approx(0.5, rel=0.02)
    assert found.residuals["boundary (2)"] == pytest.approx(0.5, rel=0.02)
    assert found.error > 0.1


def test_a_tolerance_below_rounding_ends_at_the_limit():
    u = solve.unknown(1)
    string = solve.Problem(solve.Box((0,), (1,)), solve.laplacian(u) + u == 0, {"low 0": u == 0, "high 0": u == 1})
    found = solve.solve(string, tolerance=1e-18)
    assert found.reason == "limit"
    assert found.error < 1e-12


def test_what_float32_loses():
    problem, exact = problems.poisson_a()
    found = solve.solve(problem, max_components=300)
    lost = error(found.u.float().double(), exact, problem.domain)
    assert found.float32_error / 5 < lost < found.float32_error * 5
    with pytest.warns(UserWarning, match="u in float32 is off by"):
        solve.solve(problem, max_components=100, float32_tolerance=1e-12)


def test_points_outside_of_the_box_are_flagged():
    u = solve.solve(problems.poisson_a().problem, max_components=100).u
    x = torch.tensor([[0.0, 0.0], [1.0, 1.0], [1.5, 0.0]], dtype=F64)
    assert u.outside(x).tolist() == [False, False, True]
    with pytest.warns(UserWarning, match="outside the domain"):
        u(x)


# --- what is wrong -------------------------------------------------------------------------------------------


def not_a_number(x):
    return torch.where(x[:, 0] > 0.5, math.nan, 1.0)


@pytest.mark.parametrize(
    ("equation", "condition", "match"),
    [
        (
            lambda u: solve.laplacian(u) == not_a_number,
            lambda u: u == 0,
            "right-hand side of the equation is not finite",
        ),
        (lambda u: not_a_number * u == 0, lambda u: u == 0, "coefficient of the equation is not finite, first at x"),
        (lambda u: u == 0, lambda u: u == not_a_number, "right-hand side of the boundary is not finite"),
        (lambda u: u == (lambda x: x), lambda u: u == 0, "right-hand side of the equation must have values"),
        (lambda u: solve.normal_derivative(u) == 0, lambda u: u == 0, "the equation needs normals"),
    ],
)
def test_functions_that_fail_are_named(equation, condition, match):
    u = solve.unknown(2)
    with pytest.raises(ValueError, match=match):
        solve.solve(solve.Problem(SQUARE, equation(u), {"boundary": condition(u)}))


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda u: solve.Problem(SQUARE, u - u == 1), ValueError, "equation does not have the unknown"),
        (lambda u: solve.Problem(SQUARE, 0 * u == 1), ValueError, "equation does not have the unknown"),
        (lambda u: solve.Problem(SQUARE, u == 1, {"boundary": u == u}), ValueError, "boundary does not have"),
        (lambda u: solve.Problem(SQUARE, solve.laplacian(u)), TypeError, "like laplacian"),
        (lambda u: solve.Problem(SQUARE, u == 0, {"top": u == 0}), ValueError, "no part 'top'; there are: boundary"),
        (lambda u: solve.Problem(solve.Ball((0,), 1), u == 0), ValueError, "has 2 coordinates, the domain 1"),
        (lambda u: solve.solve(poisson(u, boundary=u == 0), tolerance=0), ValueError, "tolerance must be positive"),
        (lambda u: solve.solve(poisson(u, boundary=u == 0), max_components=15), ValueError, "at least 16"),
        (lambda u: solve.solve(poisson(u, boundary=u == 0), max_components=1e3), TypeError, "whole number"),
        (lambda u: solve.solve(poisson(u, boundary=u == 0), max_seconds=0), ValueError, "max_seconds"),
        (
            lambda u: solve.solve(poisson(u, boundary=u == 0), tolerance="a"),
            TypeError,
            "tolerance must be a number, got 'a'",
        ),
        (lambda u: solve.solve(poisson(u, boundary=u == 0), float32_tolerance=-1), ValueError, "float32_tolerance"),
        (lambda u: solve.solve(solve.laplacian(u) == 1), TypeError, "expected a Problem.* got Equation"),
        (lambda u: solve.Problem(((0, 0), (1, 1)), u == 0), TypeError, "domain must be one of .* got tuple"),
        (lambda u: solve.Problem(SQUARE, u == 0, u == 1), TypeError, "by the part .* got Equation"),
        (lambda u: solve.Problem(SQUARE, u == 0, [u == 1]), TypeError, "by the part .* got list"),
    ],
)
def test_problems_that_are_none(make, error, match):
    with pytest.raises(error, match=match):
        make(solve.unknown(2))


def test_a_source_between_the_points_is_not_missed():
    """So narrow that no set of the first ones has a point on it."""
    centre, width = torch.tensor([0.37, 0.37], dtype=F64), 0.002

    def peak(x):
        return torch.exp(-(x - centre).square().sum(1) / (2 * width**2))

    def exact(x):
        return torch.sin(3 * x[:, 0]) * torch.exp(x[:, 1]) + peak(x)

    def source(x):
        r2 = (x - centre).square().sum(1)
        return -8 * torch.sin(3 * x[:, 0]) * torch.exp(x[:, 1]) + peak(x) * (r2 / width**4 - 2 / width**2)

    u = solve.unknown(2)
    problem = solve.Problem(solve.Box((0, 0), (1, 1)), solve.laplacian(u) == source, {"boundary": u == exact})
    found = solve.solve(problem, tolerance=1e-4, max_components=500)
    assert found.error > 1e-2
    assert max(step.depth for step in found.history) >= 2  # it goes to where the source is


@pytest.mark.parametrize("domain", ["touching boxes", "difference"])
def test_edges_that_two_domains_share_are_no_boundary(domain):
    domain = {
        "touching boxes": solve.Box((-1, -1), (0.3, 1)) | solve.Box((0.3, -1), (1, 1)),
        "difference": solve.Box((-1, -1), (2, 1)) - solve.Box((1, -1), (2, 1)),
    }[domain]
    u, (plain, exact) = solve.unknown(2), problems.poisson_a()
    zero_where_it_is_asked = {"boundary": u == (lambda x: (x[:, 0] > 1).double())}
    problem = solve.Problem(domain, solve.laplacian(u) == plain.equation.right, zero_where_it_is_asked)
    found = solve.solve(problem, tolerance=1e-6)
    assert found.converged
    assert error(found.u, exact, domain) < 1e-6


def test_a_difference_of_boxes_is_as_good_as_the_polygon():
    problem, exact = problems.poisson_l()
    domain = solve.Box((-1, -1), (1, 1)) - solve.Box((0, -1), (1, 0))
    same = solve.Problem(domain, problem.equation, problem.conditions)
    found = solve.solve(same, tolerance=1e-9, max_components=700)
    assert error(found.u, exact, domain) < ACCURACY["poisson-l"][0]


def test_a_corner_that_is_not_known_is_not_taken_for_solved():
    """A larger grid around the same boxes changes little, where they are too coarse."""
    problem, exact = problems.poisson_l()

    def distance(x):
        return torch.maximum(x.abs().amax(1) - 1, torch.minimum(x[:, 0], -x[:, 1]))

    domain = solve.Implicit(distance, (-1, -1), (1, 1))
    found = solve.solve(
        solve.Problem(domain, problem.equation, problem.conditions), tolerance=1e-3, max_components=1400
    )
    assert error(found.u, exact, domain) <= found.error


def test_a_point_says_which_of_the_solutions_of_neumann_is_meant():
    u = solve.unknown(2)

    def exact(x):
        return torch.cos(2 * x[:, 0]) * torch.exp(x[:, 1])

    slopes = {
        "low 0": lambda x: 2 * torch.sin(2 * x[:, 0]) * torch.exp(x[:, 1]),
        "high 0": lambda x: -2 * torch.sin(2 * x[:, 0]) * torch.exp(x[:, 1]),
        "low 1": lambda x: -exact(x),
        "high 1": exact,
    }
    conditions = {face: solve.normal_derivative(u) == slope for face, slope in slopes.items()}
    domain = SQUARE.marked({"sensor": torch.tensor([[0.3, 0.2]])})
    problem = solve.Problem(
        domain, solve.laplacian(u) == (lambda x: -3 * exact(x)), {**conditions, "sensor": u == exact}
    )
    found = solve.solve(problem, tolerance=1e-8)
    assert found.converged
    assert error(found.u, exact, domain) < 1e-8
    assert found.residuals["sensor"] < 1e-8


def test_marked_points_stay_where_they_are_near_a_corner():
    """Points of the boundary are shrunk towards re-entrant corners; those that were given must not be."""
    problem, exact = problems.poisson_l()
    x = -0.1 * torch.rand(30, 2, dtype=F64)
    domain = problem.domain.marked({"sensors": x})
    conditions = {**problem.conditions, "sensors": problem.unknown == exact}
    found = solve.solve(solve.Problem(domain, problem.equation, conditions), tolerance=1e-9, max_components=700)
    assert error(found.u, exact, domain) < ACCURACY["poisson-l"][0]
    assert found.residuals["sensors"] < 1e-3


def test_functions_may_write_to_their_points():
    def careless(x):
        return x.mul_(2)[:, 0]

    problems_ = [
        solve.Problem(SQUARE, solve.laplacian(u) == source, {"boundary": u == source})
        for u, source in ((solve.unknown(2), careless), (solve.unknown(2), lambda x: 2 * x[:, 0]))
    ]
    one, other = (solve.solve(problem, tolerance=1e-6, max_components=200) for problem in problems_)
    assert torch.equal(one.u.weight, other.u.weight)


def test_the_solution_needs_no_gradients():
    u = solve.unknown(2)
    found = solve.solve(poisson(u, boundary=u == 0), tolerance=1e-2, max_components=300)
    assert found.u(SQUARE.interior(5)).numpy().shape == (5, 1)


@pytest.mark.parametrize("offset", [1e6, 1e9])
def test_domains_far_from_0(offset):
    u = solve.unknown(1)
    problem = solve.Problem(
        solve.Box((offset,), (offset + 1,)),
        solve.laplacian(u) == (lambda x: -9 * torch.sin(3 * (x - offset))),
        {"low 0": u == 0, "high 0": u == math.sin(3)},
    )
    found = solve.solve(problem, tolerance=1e-8)
    x = offset + torch.linspace(0, 1, 300, dtype=F64).unsqueeze(1)
    assert found.converged
    assert (found.u(x) - torch.sin(3 * (x - offset))).abs().max() < 1e-8


def test_a_cloud_of_points_in_the_order_of_a_sequence():
    problem, exact = problems.poisson_a()
    cloud = solve.PointCloud(SQUARE.interior(1500), {"boundary": SQUARE.boundary(240)})
    found = solve.solve(solve.Problem(cloud, problem.equation, problem.conditions), tolerance=1e-6)
    assert found.converged
    assert error(found.u, exact, SQUARE) < 1e-6
    assert {step.depth for step in found.history} == {0}  # there are no points for narrower bumps


def test_a_set_from_which_a_better_one_differs_is_not_taken_for_better():
    """Without the velocity at the start a wave is not determined: sets with small residuals differ from each other."""
    u = solve.unknown(1, time=True)
    problem = solve.Problem(
        solve.SpaceTime(solve.Box((0,), (1,)), 1.0),
        solve.dt(solve.dt(u)) - solve.laplacian(u) == 0,
        {"boundary": u == 0, "initial": u == (lambda x: torch.sin(math.pi * x[:, 0]))},
    )
    with pytest.warns(UserWarning, match="leave u open"):
        found = solve.solve(problem, tolerance=1e-3, max_components=400)
    assert found.error > 0.5
    assert min(step.error for step in found.history) < 0.2


def equation():
    u = solve.unknown(2)
    u_x, u_y = solve.grad(u)
    written = solve.laplacian(u) + (lambda x: x[:, 0]) * u_x - 2 * u_y.derivative(0) + 3 * u == (lambda x: x[:, 1])
    return solve.Problem(solve.Box((-1, -1), (1, 1)), written, {"boundary": u == 0})


@pytest.mark.parametrize("form", ["mahalanobis", "diagonal", "ridge"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_is_left_less_right(form, bias, dtype):
    torch.manual_seed(0)
    problem = equation()
    u = GMNM(2, 1, 5, form=form, domain=(-1, 1), bias=bias, dtype=dtype)
    if bias:
        torch.nn.init.constant_(u.bias, 0.7)
    x, wide = problem.domain.interior(3000), u.double()
    value, gradient, laplacian = wide.value_gradient_laplacian(x)
    mixed = wide.hessian(x)[:, 0, 0, 1]
    expected = laplacian[:, 0] + x[:, 0] * gradient[:, 0, 0] - 2 * mixed + 3 * value[:, 0] - x[:, 1]
    found = solve.residual(problem, u, x)
    assert not found.requires_grad
    torch.testing.assert_close(found, expected.detach(), rtol=1e-9, atol=1e-12)


def test_an_equation_without_the_value_does_not_see_the_bias():
    u = solve.unknown(1)
    problem = solve.Problem(solve.Box((0,), (1,)), solve.laplacian(u) == 2, {"boundary": u == 0})
    torch.manual_seed(0)
    module = GMNM(1, 1, 3, domain=(0, 1))
    x = problem.domain.interior(20)
    before = solve.residual(problem, module, x)
    torch.nn.init.constant_(module.bias, 5.0)
    torch.testing.assert_close(solve.residual(problem, module, x), before)


def test_it_is_small_where_the_equation_is_solved():
    problem = solve.problems.poisson_b().problem
    answer = solve.solve(problem, 1e-8)
    left = solve.residual(answer.problem, answer.u, problem.domain.interior(500))
    assert float(left.square().mean().sqrt()) < 10 * answer.residuals["equation"]


def test_no_points_leave_nothing():
    assert solve.residual(equation(), GMNM(2, 1, 3), torch.empty(0, 2)).shape == (0,)


def test_points_and_modules_of_other_sizes_are_refused():
    with pytest.raises(ValueError, match=r"expected points x \(n, 2\)"):
        solve.residual(equation(), GMNM(2, 1, 3), torch.rand(5, 3))
    with pytest.raises(ValueError, match="of 2 features and one output, got x .* and u of 2 and 2"):
        solve.residual(equation(), GMNM(2, 2, 3), torch.rand(5, 2))
