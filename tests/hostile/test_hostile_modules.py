"""Attacks on modules: what is written into them (nothing frozen, not finite, by halves), and how they travel."""

import copy
import io
import math
import pickle

import pytest
import torch
from torch import nn

from gmlayers import GMNM, GMLayer, solve
from gmlayers.diagnostics import kernel_drift
from gmlayers.functional import ACTIVATIONS, Activation, get_activation
from gmlayers.solve.engine.separable import Separable

F64 = torch.float64
X = torch.linspace(-1, 1, 60, dtype=F64)[:, None]
Y = torch.sin(3 * X)


def module(**options):
    return GMNM(1, 1, 5, domain=(-1, 1), dtype=F64, **options)


def collocate(net):
    u = solve.unknown(1)
    problem = solve.Problem(solve.Box((-1,), (1,)), solve.laplacian(u) == 1, {"boundary": u == 0})
    return solve.collocate(net, problem, points=40, iterations=2)


# --- frozen parameters ---------------------------------------------------------------------------------------

TRAINERS = {
    "variable_projection": (
        lambda net: solve.variable_projection(net, X, Y, iterations=2),
        ["mean", "projection", "weight", "bias"],
    ),
    "collocate": (collocate, ["mean", "projection", "weight", "bias"]),
    "fit": (lambda net: solve.fit(net, X, Y), ["weight", "bias"]),
    "widen": (lambda net: solve.widen(net, X, Y), ["projection", "weight", "bias"]),
}
"""Every solver that writes into a module, and what it writes."""


@pytest.mark.parametrize(("solver", "name"), [(s, n) for s, (_, names) in TRAINERS.items() for n in names])
def test_a_frozen_parameter_is_not_moved(solver, name):
    net = module()
    net.get_parameter(name).requires_grad_(False)
    before = {n: p.clone() for n, p in net.named_parameters()}
    with pytest.raises(ValueError, match=rf"{solver}: {name} would be written, and it is frozen") as caught:
        TRAINERS[solver][0](net)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(p, before[n]) for n, p in net.named_parameters())


@pytest.mark.parametrize("solver", TRAINERS)
def test_what_is_not_written_may_be_frozen(solver):
    net = module()
    train, names = TRAINERS[solver]
    frozen = {n: p.requires_grad_(False).clone() for n, p in net.named_parameters() if n not in names}
    train(net)
    assert all(torch.equal(net.get_parameter(n), p) for n, p in frozen.items())


# --- numbers that are not finite -----------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_not_assigned(value):
    net = module()
    weight, before = torch.ones(6, 1, dtype=F64), net.weight.clone()
    for i in (0, 5):
        wrong = weight.clone()
        wrong[i] = value
        with pytest.raises(ValueError, match="assign: the weight has numbers that are not finite"):
            solve.assign(net, wrong)
    assert torch.equal(net.weight, before)


@pytest.mark.parametrize("form", ["mahalanobis", "diagonal", "ridge"])
@pytest.mark.parametrize(
    ("dtype", "domain"),
    [
        (torch.float32, (0, 1e300)),
        (torch.float32, (-3e38, 3e38)),
        (torch.float32, (0, 1e-39)),
        (torch.float64, (-1.7e308, 1.7e308)),
        (torch.float64, (0, 1e-310)),
        (torch.float16, (0, 1e5)),
        (torch.float16, (0, 1e-5)),
        (torch.bfloat16, (0, 1e300)),
    ],
)
def test_a_domain_whose_bumps_would_not_be_finite_is_refused(form, dtype, domain):
    with pytest.raises(ValueError, match="GMNM: .*domain") as caught:
        GMNM(1, 1, 5, form=form, domain=domain, dtype=dtype)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("dtype", "domain"),
    [(torch.float32, (0, 1e15)), (torch.float32, (0, 1e-15)), (torch.float64, (0, 1e150)), (torch.float16, (-1, 1e4))],
)
def test_large_and_small_domains_that_can_be_held_have_finite_parameters(dtype, domain):
    assert all(bool(p.isfinite().all()) for p in GMNM(2, 1, 5, domain=domain, dtype=dtype).parameters())


def test_a_domain_needs_no_numbers_on_the_meta_device():
    assert GMNM(2, 1, 5, domain=(-1, 1), device="meta").mean.is_meta


# --- all or nothing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, F64])
@pytest.mark.parametrize("number", [0, 1, 3])
def test_a_callback_that_raises_leaves_one_whole_state(dtype, number):
    net = GMNM(1, 1, 5, domain=(-1, 1), dtype=dtype)
    states = []

    def attack(step):
        states.append({n: p.detach().clone() for n, p in net.named_parameters()})
        if step.number == number:
            with torch.no_grad():  # and it leaves a mess
                net.mean.fill_(math.nan)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        solve.variable_projection(net, X, Y, callback=attack)
    assert all(torch.equal(p, states[-1][n]) for n, p in net.named_parameters())


def test_shapes_that_the_dtype_cannot_hold_leave_the_module_as_it_was():
    net = GMNM(1, 1, 5, domain=(-1, 1), dtype=torch.float16)
    before = {n: p.clone() for n, p in net.named_parameters()}
    with torch.no_grad():
        problem = Separable.of_data(net, X, Y, None, 0.1, 1e-14)
        point = problem.at(problem.shapes(problem.parameters(net)))
        with pytest.raises(ValueError, match="too large for torch.float16"):
            problem.write(point._replace(parameters=point.parameters + 1e6))
    assert all(torch.equal(p, before[n]) for n, p in net.named_parameters())


# --- diagnostics ---------------------------------------------------------------------------------------------


def test_tangent_kernels_of_models_with_other_outputs_are_not_compared():
    with pytest.raises(ValueError, match=r"outputs of one shape for an input, got \(3,\) and \(4,\)"):
        kernel_drift(nn.Linear(2, 3), nn.Linear(2, 4), torch.randn(5, 2))
    flat = nn.Sequential(nn.Linear(2, 4))
    folded = nn.Sequential(nn.Linear(2, 4), nn.Unflatten(1, (2, 2)))
    with pytest.raises(ValueError, match=r"got \(4,\) and \(2, 2\)"):
        kernel_drift(flat, folded, torch.randn(5, 2))


# --- dtypes, and pickling ------------------------------------------------------------------------------------

FAMILIES = ("low_rank", "shared_factor", "diagonal", "regression", "full")


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128, torch.int64, torch.bool, "float32"])
@pytest.mark.parametrize(
    "make",
    [
        lambda dtype: GMLayer(3, 2, 4, dtype=dtype),
        lambda dtype: GMLayer.paper(3, 2, 4, dtype=dtype),
        lambda dtype: GMNM(3, 2, 4, dtype=dtype),
    ],
)
def test_a_dtype_that_no_layer_can_compute_in_is_refused_at_once(make, dtype):
    with pytest.raises(TypeError, match=r"dtype must be of real floating-point numbers, such as torch.float32, got "):
        make(dtype)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_layer_with_any_activation_travels(name, dtype):
    layer = GMLayer(8, 3, 5, activation=name, dtype=dtype)
    x = torch.randn(4, 8, dtype=dtype)
    buffer = io.BytesIO()
    torch.save(layer, buffer)
    buffer.seek(0)
    for twin in (pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer), torch.load(buffer, weights_only=False)):
        assert torch.equal(twin(x), layer(x))
        assert twin.activation is layer.activation is get_activation(name)


def _shifted(z):
    return z - 1


def _mean(m, var):
    return m - 1


def _gate(m, var):
    return torch.ones_like(m)


def test_an_activation_of_your_own_travels_by_its_functions():
    """Also one that has the name of another."""
    own = Activation(_shifted, _mean, _gate, name="relu")
    twin = pickle.loads(pickle.dumps(own))
    assert twin == own
    assert twin is not get_activation("relu")
    assert copy.deepcopy(own) == own
    with pytest.raises((AttributeError, pickle.PicklingError)):
        pickle.dumps(Activation(lambda z: z, _mean, _gate))


MODULES = {
    **{family: lambda f=family: GMLayer(6, 3, 5, covariance=f) for family in FAMILIES},
    **{
        f"GMNM {form}": lambda f=form: GMNM(6, 3, 5, form=f, domain=(-9, 9))
        for form in ("mahalanobis", "diagonal", "ridge")
    },
}


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # checks of shapes, which stay as they are
@pytest.mark.filterwarnings("ignore:.torch.jit.trace(_method)?. is deprecated:DeprecationWarning")
@pytest.mark.parametrize("name", MODULES)
def test_what_is_traced_takes_batches_of_any_size(name):
    module = MODULES[name]()
    traced = torch.jit.trace(module, torch.randn(4, 6), check_trace=False)
    for rows in (1, 4, 9, 0):
        x = torch.randn(rows, 6)
        torch.testing.assert_close(traced(x), module(x))
