"""Attacks on shapes in `gmlayers.functional` and `gmlayers.ops`: no axis of size 1 is broadcast into an answer."""

import inspect
import math

import pytest
import torch

from gmlayers import functional, ops
from gmlayers.functional import bures, gmnm, quadrature

SIZES = {"b": 5, "in": 3, "K": 4, "q": 2, "out": 6}
LAYER = {
    "x": "b in",
    "mean": "K in",
    "root": "K in q",
    "output_mean": "K out",
    "output_root": "K out q",
    "bias": "K",
    "weight": "K",
}
BUMPS = {"x": "b in", "mean": "K in", "projection": "K q in"}
WEIGHTED = BUMPS | {"weight": "K out"}
BIASED = WEIGHTED | {"bias": "out"}

CALLS = {
    "gm_layer": (functional.gm_layer, LAYER),
    "gm_layer_monte_carlo": (lambda **given: quadrature.gm_layer_monte_carlo(**given, samples=2), LAYER),
    "quadrature.mean": (lambda m, var: quadrature.mean(torch.sin, m, var.exp(), order=3), {"m": "b K", "var": "b K"}),
    "quadrature.gate": (lambda m, var: quadrature.gate(torch.sin, m, var.exp(), order=3), {"m": "b K", "var": "b K"}),
    "gmnm.bumps": (gmnm.bumps, BUMPS),
    "gmnm.bumps_laplacian": (gmnm.bumps_laplacian, BUMPS),
    "gmnm.derivative": (lambda **given: gmnm.derivative(**given, axes=(0,)), BUMPS),
    "gmnm.gmnm": (gmnm.gmnm, BIASED),
    "gmnm.gradient": (gmnm.gradient, WEIGHTED),
    "gmnm.laplacian": (gmnm.laplacian, WEIGHTED),
    "gmnm.hessian": (gmnm.hessian, WEIGHTED),
    "gmnm.value_gradient_laplacian": (gmnm.value_gradient_laplacian, BIASED),
    "ops.bumps": (ops.bumps, BUMPS),
    "ops.bumps_laplacian": (ops.bumps_laplacian, BUMPS),
    "ops.gate": (lambda m, var: ops.gate(m, var.exp()), {"m": "b K", "var": "b K"}),
    "ops.gate of readings": (
        lambda m, var, reading: ops.gate(m, var.exp(), reading=reading),
        {"m": "b K", "var": "b K", "reading": "b K q"},
    ),
    "ops.mix": (ops.mix, {"gate": "b K", "weight": "K out in", "x": "b in", "scale": "K in"}),
}
"""Every function that takes tensors whose axes belong together, with the axes of its tensors."""


def made(axes):
    return {name: torch.randn([SIZES[axis] for axis in text.split()]) for name, text in axes.items()}


def shared(axes):
    """Yield tensor and axis wherever the same axis is one of another tensor."""
    for name, text in axes.items():
        for i, axis in enumerate(text.split()):
            if any(axis in other.split() for other_name, other in axes.items() if other_name != name):
                yield name, i, axis


ATTACKS = [(call, name, i, axis) for call, (_, axes) in CALLS.items() for name, i, axis in shared(axes)]


@pytest.mark.parametrize(("call", "name", "i", "axis"), ATTACKS)
def test_an_axis_of_another_size_is_an_error(call, name, i, axis):
    function, axes = CALLS[call]
    assert function(**made(axes)) is not None
    for size in (0, 1, SIZES[axis] + 1):
        given = made(axes)
        shape = list(given[name].shape)
        shape[i] = size
        with pytest.raises(ValueError, match=f"expected .*{name}") as caught:
            function(**given | {name: torch.randn(shape)})
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("call", "name"), [(c, n) for c, (_, axes) in CALLS.items() for n in axes])
def test_an_axis_too_few_or_too_many_is_an_error(call, name):
    function, axes = CALLS[call]
    given = made(axes)
    tensor = given[name]
    in_batch = [n for n, text in axes.items() if text.startswith("b ")]
    wrong = [tensor.sum()]
    if in_batch != [name]:  # one tensor alone may have any axes in front
        wrong.append(tensor[0])
    if name not in in_batch:
        wrong += [tensor[None], tensor.unsqueeze(-1)]
    for other in wrong:
        with pytest.raises(ValueError, match=f"expected .*{name}"):
            function(**given | {name: other})


def test_a_scalar_reading_is_none():
    with pytest.raises(ValueError, match=r"reading \(\.\.\., K, r\)"):
        ops.gate(torch.tensor(0.0), torch.tensor(1.0), reading=torch.tensor(2.0))


@pytest.mark.parametrize("call", ["gm_layer", "gm_layer_monte_carlo", "quadrature.mean", "quadrature.gate"])
def test_what_is_no_tensor_is_told(call):
    function, axes = CALLS[call]
    for name in axes:
        if name in ("bias", "weight") or (call.startswith("quad") and name == "var"):
            continue
        with pytest.raises(TypeError, match=f"{name} must be a tensor, got list"):
            function(**made(axes) | {name: [1.0]})


def test_a_function_that_is_not_elementwise_is_no_integrand():
    for oracle in (quadrature.mean, quadrature.gate):
        with pytest.raises(ValueError, match=r"f must be elementwise, and made \(\) of a tensor \(2, 3\)"):
            oracle(torch.sum, torch.zeros(2), torch.ones(2), order=3)


@pytest.mark.parametrize("samples", [0, 1, -3])
def test_one_sample_has_no_standard_error(samples):
    with pytest.raises(ValueError, match=f"samples must be at least 2, for a standard error, got {samples}"):
        quadrature.gm_layer_monte_carlo(**made(LAYER), samples=samples)


def test_every_callable_of_functional_is_attacked():
    """A new one must be put in the table, or here, where axes do not belong together or another test has them."""
    elsewhere = {"ridge", "gauss_hermite", "get_activation", "cdf", "pdf", "ramp", "Activation", "Derivatives"}
    attacked = {call.split(".")[-1] for call in CALLS}
    public = {name for module in (gmnm, quadrature, functional.normal) for name in module.__all__}
    public |= {name for name, value in vars(functional).items() if inspect.isfunction(value)}
    assert public - attacked <= elsewhere


# --- transforms ----------------------------------------------------------------------------------------------


def test_checks_go_through_compile_vmap_and_jacobians():
    given = made(LAYER)
    x = given.pop("x")
    want = functional.gm_layer(x, **given)
    found = torch.compile(functional.gm_layer, backend="eager", fullgraph=True)(x, **given)
    torch.testing.assert_close(found, want)
    torch.testing.assert_close(torch.vmap(lambda row: functional.gm_layer(row, **given))(x), want)
    assert torch.func.jacfwd(lambda row: functional.gm_layer(row, **given))(x[0]).shape == (6, 3)


# --- NaN -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_mean_that_is_not_finite_is_not_at_distance_0(dtype, value):
    mean, cov = torch.zeros(3, 2, dtype=dtype), torch.eye(2, dtype=dtype).expand(3, 2, 2)
    wrong = mean.clone()
    wrong[1, 0] = value
    for distance in (bures.distance, bures.distance_squared):
        found = distance(mean, cov, wrong, cov)
        assert found[[0, 2]].tolist() == [0, 0]
        assert found[1].isnan() if math.isnan(value) else found[1].isinf()
        assert distance(wrong, cov, wrong, cov)[1].isnan()
    assert bures.geodesic(mean, cov, wrong, cov, 0.5).mean[1, 0].isnan() or math.isinf(value)


def test_the_gradient_at_distance_0_stays_0():
    mean, cov = torch.zeros(2, requires_grad=True), torch.eye(2)
    bures.distance(mean, cov, torch.zeros(2), cov).backward()
    assert mean.grad is not None
    assert mean.grad.tolist() == [0, 0]
