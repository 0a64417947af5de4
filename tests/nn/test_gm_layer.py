import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gmlayers import Diagonal, Full, GMLayer, LowRank, Regression, SharedFactor, functional
from gmlayers.functional import ACTIVATIONS, Activation, quadrature

FAMILIES = [
    LowRank(),
    LowRank(rank=0),
    LowRank(rank=3),
    LowRank(rank=2, base="diagonal"),
    LowRank(rank=2, base="diagonal", coupling=True),
    LowRank(rank=1, base="isotropic", coupling=True),
    Diagonal(),
    Regression(),
    SharedFactor(),
    SharedFactor(rank=1),
    Full(),
]
families = pytest.mark.parametrize("covariance", FAMILIES, ids=repr)
one_of_each = pytest.mark.parametrize(  # compiling takes seconds each
    "covariance",
    [LowRank(), LowRank(rank=2, base="diagonal", coupling=True), Diagonal(), Regression(), SharedFactor(), Full()],
    ids=repr,
)


def reference(layer, x):
    """The layer by the one plain formula."""
    return functional.gm_layer(x, *layer.root(), layer.activation, bias=layer.bias, weight=layer.component_weight())


def shaken(layer):
    """The layer with every parameter moved, so that no zero of the initialisation hides a mistake."""
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return layer


# --- the formula ---------------------------------------------------------------------------------------------


@families
@pytest.mark.parametrize("scaling", ["sqrt", "mean"])
@pytest.mark.parametrize("activation", ["relu", "gelu", "sin"])
def test_family_equals_the_reference(covariance, scaling, activation, dtype):
    layer = GMLayer(
        7,
        3,
        5,
        covariance=covariance,
        activation=activation,
        scaling=scaling,
        learn_weights=True,
        dtype=dtype,
    )
    x = torch.randn(2, 11, 7, dtype=dtype)
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(shaken(layer)(x), reference(layer, x), rtol=50 * eps, atol=50 * eps)


@families
@pytest.mark.parametrize("sizes", [(1, 1, 1), (63, 1, 1), (1, 100, 3), (100, 63, 20)])
def test_family_equals_the_reference_at_awkward_sizes_with_gradients(covariance, sizes):
    layer = shaken(GMLayer(*sizes, covariance=covariance, dtype=torch.float64))
    x = torch.randn(9, sizes[0], dtype=torch.float64, requires_grad=True)
    inputs = [x, *layer.parameters()]
    direction = torch.randn(9, sizes[1], dtype=torch.float64)
    for got, want in zip(
        torch.autograd.grad((layer(x) * direction).sum(), inputs),
        torch.autograd.grad((reference(layer, x) * direction).sum(), inputs),
    ):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-11)


@families
def test_equals_monte_carlo_over_its_neurons(covariance):
    layer = shaken(GMLayer(4, 2, 3, covariance=covariance, dtype=torch.float64))
    x = torch.randn(6, 4, dtype=torch.float64)
    with torch.no_grad():
        estimate, error = quadrature.gm_layer_monte_carlo(
            x,
            *layer.root(),
            layer.activation,
            bias=layer.bias,
            weight=layer.component_weight(),
            samples=40_000,
        )
        assert ((layer(x) - estimate).abs() <= 5 * error).all()


@families
def test_gradcheck_and_gradgradcheck(covariance):
    layer = shaken(GMLayer(3, 2, 2, covariance=covariance, learn_weights=True, dtype=torch.float64))
    names = [name for name, _ in layer.named_parameters()]

    def function(x, *values):
        return torch.func.functional_call(layer, dict(zip(names, values)), (x,))

    inputs = (torch.randn(2, 3, dtype=torch.float64, requires_grad=True), *layer.parameters())
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


@families
def test_the_sign_of_every_std_is_free(covariance):
    """With the sign of a std the coupled noise changes its name too; alone it matters only through B z."""
    layer = shaken(GMLayer(5, 3, 4, covariance=covariance, dtype=torch.float64))
    x = torch.randn(6, 5, dtype=torch.float64)
    before = layer(x)
    with torch.no_grad():
        sign = torch.randn_like(layer.std if hasattr(layer, "std") else layer.mean).sign()
        if hasattr(layer, "std"):
            layer.std.mul_(sign)
        else:
            layer.scale_tril.mul_(sign[:, None, :])
        if hasattr(layer, "coupling"):
            layer.coupling.mul_(sign[:, None, :] if sign.ndim == 2 else sign[:, None, None])
    torch.testing.assert_close(layer(x), before, rtol=1e-12, atol=1e-13)


def test_sign_of_the_papers_std_is_free():
    layer = GMLayer.paper(5, 3, 4, dtype=torch.float64)
    x = torch.randn(6, 5, dtype=torch.float64)
    before = layer(x)
    with torch.no_grad():
        layer.std.neg_()
    torch.testing.assert_close(layer(x), before, rtol=1e-13, atol=0)


@given(c=st.floats(1e-2, 1e3))
@settings(max_examples=25)
@families
def test_homogeneity_without_bias(covariance, c):
    torch.manual_seed(0)
    layer = GMLayer(5, 3, 4, covariance=covariance, bias=False, dtype=torch.float64)
    x = torch.randn(6, 5, dtype=torch.float64)
    h = layer(x)
    torch.testing.assert_close(layer(c * x), c * h, rtol=0, atol=1e-6 * c * h.abs().max().item())


def test_diagonal_is_low_rank_zero_with_coupling():
    plain, general = (
        GMLayer(5, 3, 4, covariance=c, dtype=torch.float64)
        for c in (Diagonal(), LowRank(rank=0, base="diagonal", coupling=True))
    )
    general.load_state_dict(plain.state_dict())
    x = torch.randn(6, 5, dtype=torch.float64)
    assert torch.equal(plain(x), general(x))


def test_full_starts_as_diagonal():
    full, diagonal = (GMLayer(5, 3, 4, covariance=c, dtype=torch.float64) for c in (Full(), Diagonal()))
    for layer in (full, diagonal):
        layer.reset_parameters(torch.Generator().manual_seed(7))
    x = torch.randn(6, 5, dtype=torch.float64)
    torch.testing.assert_close(full(x), diagonal(x), rtol=1e-13, atol=1e-14)
    assert torch.equal(full.scale_tril, torch.diag_embed(diagonal.std))


def test_what_is_above_the_diagonal_of_a_triangular_root_does_not_matter():
    layer = shaken(GMLayer(5, 3, 4, covariance="full"))
    x = torch.randn(6, 5)
    before, law = layer(x), layer.root()
    before.square().sum().backward()
    assert (layer.scale_tril.grad.triu(1) == 0).all()
    with torch.no_grad():
        layer.scale_tril.add_(torch.full((5, 5), torch.inf).triu(1))
    assert torch.equal(layer(x), before)
    assert torch.equal(layer.root().root, law.root)


def test_learned_weights_start_uniform_and_sum_to_the_scale():
    fixed, learned = GMLayer(5, 3, 4), GMLayer(5, 3, 4, learn_weights=True)
    learned.load_state_dict({**fixed.state_dict(), "weight_logits": torch.zeros(4)})
    x = torch.randn(6, 5)
    torch.testing.assert_close(fixed(x), learned(x))
    shaken(learned)
    assert learned.component_weight().sum().item() == pytest.approx(4 / math.sqrt(4), rel=1e-6)


def test_the_papers_layer_equals_a_transcription_of_equation_6():
    """h(x) = 1/K Σ_k E_{β ~ N(μ_k, diag σ_k²)} [(U_k β + v_k) ReLU(⟨β, x⟩)], loop by loop, by Monte Carlo."""
    n, layer = 60_000, shaken(GMLayer.paper(4, 2, 3, dtype=torch.float64))
    p = {name: value.detach() for name, value in layer.named_parameters()}
    x = torch.randn(5, 4, dtype=torch.float64)
    for b in range(len(x)):
        total, variance = torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
        for k in range(3):
            beta = p["mean"][k] + p["std"][k] * torch.randn(n, 4, dtype=torch.float64)
            sample = (beta @ p["slope"][k].T + p["intercept"][k]) * torch.relu(beta @ x[b])[:, None]
            total += sample.mean(0) / 3
            variance += sample.var(0) / n / 3**2
        assert ((layer(x[b]) - total).abs() <= 5 * variance.sqrt()).all()


# --- initialisation ------------------------------------------------------------------------------------------


def test_paper_constructor():
    layer = GMLayer.paper(784, 10, 20, init_scale=0.25)
    assert sum(p.numel() for p in layer.parameters()) == 188_360
    assert {name: tuple(p.shape) for name, p in layer.named_parameters()} == {
        "mean": (20, 784),
        "std": (20, 784),
        "slope": (20, 10, 784),
        "intercept": (20, 10),
    }
    assert (layer.std == 0.25).all()
    for p in (layer.mean, layer.slope):
        assert p.std().item() == pytest.approx(0.25, rel=0.05)
    assert layer.scaling == "mean"


def outputs_over_draws(layer, x, draws=3000):
    values = []
    for _ in range(draws):
        layer.reset_parameters()
        values.append(layer(x).detach())
    return torch.stack(values)


def within_chance(sample, variance):
    """Whether the sample variance agrees with the given one to 5 standard errors."""
    squares = sample.flatten().square()
    return abs(squares.mean().item() - variance) <= 5 * squares.std().item() / math.sqrt(squares.numel())


@pytest.mark.parametrize(
    ("covariance", "kappa"),
    [
        (LowRank(rank=0), 0.609),
        (LowRank(rank=1), 1.047),
        (LowRank(rank=2, base="isotropic"), 1.475),
        (LowRank(rank=1, base="isotropic", coupling=True), 1.047 + 0.312),
        (Diagonal(), 0.942),
        (SharedFactor(), 1.057),
        (SharedFactor(rank=1), 1.048),
        (Full(), 0.942),
    ],
    ids=repr,
)
@pytest.mark.parametrize("scaling", ["sqrt", "mean"])
def test_init_scale_sets_the_output_variance(covariance, kappa, scaling):
    """Var h = κ init_scale² ‖x‖²/d, divided by K for the mean scaling, whatever K and d."""
    d, K = 12, 6
    layer = GMLayer(d, 1, K, covariance=covariance, scaling=scaling, init_scale=0.3, dtype=torch.float64)
    x = 2 * torch.randn(d, dtype=torch.float64)
    variance = kappa * 0.3**2 * x.square().sum().item() / d / (K if scaling == "mean" else 1)
    assert within_chance(outputs_over_draws(layer, x), variance)


def test_init_scale_of_the_paper():
    """Var h, exactly: γ⁴‖x‖²/K · [E ρ² ((d-1)γ² + 1) + γ² E (tρ + Φ)²] with t ~ N(0, 1)."""
    d, K, gamma = 16, 5, 0.3
    x = torch.randn(d, dtype=torch.float64)
    t, weights = quadrature.gauss_hermite(200)
    ramp, Phi = functional.normal.ramp(t), functional.normal.cdf(t)
    square = (weights * ramp**2).sum().item()
    assert square == pytest.approx((math.sqrt(3) / 2 + math.pi / 3) / math.pi, rel=1e-12)
    rest = (weights * (t * ramp + Phi) ** 2).sum().item()
    norm = gamma**4 * x.square().sum().item() / K
    layer = GMLayer.paper(d, 1, K, gamma, dtype=torch.float64)
    sample = outputs_over_draws(layer, x)
    assert within_chance(sample, norm * (square * ((d - 1) * gamma**2 + 1) + gamma**2 * rest))


@families
def test_reset_parameters_follows_its_generator(covariance):
    a, b = (GMLayer(5, 3, 4, covariance=covariance) for _ in range(2))
    for layer in (a, b):
        layer.reset_parameters(torch.Generator().manual_seed(7))
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters()))
    a.reset_parameters(torch.Generator().manual_seed(8))
    assert not torch.equal(a.mean, b.mean)


# --- matching ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
@families
def test_matching_is_the_nearest_size(covariance, bias):
    first, second = nn.Linear(30, 50, bias=bias), nn.Linear(50, 7, bias=bias)
    layer = GMLayer.matching(first, second, covariance=covariance)
    size = sum(p.numel() for m in (first, second) for p in m.parameters())
    mine = sum(p.numel() for p in layer.parameters())
    assert abs(mine - size) <= mine / layer.num_components / 2 + 1e-9 or layer.num_components == 1
    assert (layer.in_features, layer.out_features) == (30, 7)


def test_matching_takes_device_and_dtype_and_refuses_strangers():
    first, second = (nn.Linear(*s, dtype=torch.float64, device="meta") for s in ((3, 4), (4, 2)))
    layer = GMLayer.matching(first, second)
    assert (layer.mean.dtype, layer.mean.device.type) == (torch.float64, "meta")
    with pytest.raises(ValueError, match="first gives 4 features, second takes 3"):
        GMLayer.matching(first, first)


# --- numbers at the edge -------------------------------------------------------------------------------------


@families
def test_float32_at_the_scale_of_mnist(covariance):
    layer = GMLayer(784, 10, 20, covariance=covariance)
    x = torch.rand(64, 784)
    y = layer(x)
    exact = copy.deepcopy(layer).double()(x.double())
    assert ((y - exact).norm() / exact.norm()).item() <= 2e-6


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("size", [1e-2, 1.0])
def test_float32_of_every_activation(activation, size):
    layer = GMLayer(784, 10, 20, activation=activation)
    x = size * torch.rand(64, 784)
    exact = copy.deepcopy(layer).double()(x.double())
    assert ((layer(x) - exact).norm() / exact.norm()).item() <= 2e-6


@families
@pytest.mark.parametrize("gradients", [False, True])
def test_float32_is_close_to_float64_at_condition_number_1e6(covariance, gradients):
    """Of the covariance of β: stds from 1e-3 to 1, or factors a thousand times as large as the base."""
    layer = shaken(GMLayer(64, 5, 6, covariance=covariance))
    small, spread = 1e-3, torch.logspace(-3, 0, 64)
    with torch.no_grad():
        if covariance == Full():
            Q = torch.linalg.qr(torch.randn(6, 64, 64)).Q
            layer.scale_tril.copy_(torch.linalg.qr(spread[:, None] * Q).R.mT)
        elif layer.std.ndim == 2:
            layer.std.copy_(spread)
        else:
            layer.std.fill_(small / 8)
    assert torch.linalg.cond(layer.double().root().root[0]) > 900 or covariance == LowRank(rank=0)
    exact, layer = layer, copy.deepcopy(layer).float()
    x = torch.rand(32, 64)
    pairs = [(layer(x), exact(x.double()))]
    if gradients:
        grads = [
            torch.autograd.grad(y.square().sum(), list(net.parameters())) for y, net in zip(pairs[0], (layer, exact))
        ]
        pairs = list(zip(*grads))
    for found, expected in pairs:
        assert (found - expected).norm() <= 1e-5 * expected.norm()


@families
def test_finite_where_plain_autograd_gives_nan(covariance, dtype):
    """An all-zero image in the batch, std = 0, and |mean|/std of 1e6: finite values and gradients."""
    for std in (0.0, 1e-6, 1.0):
        layer = GMLayer(6, 3, 4, covariance=covariance, dtype=dtype)
        with torch.no_grad():
            if covariance == Full():
                layer.scale_tril.copy_(std * torch.eye(6))
            else:
                layer.std.fill_(std)
            layer.mean.copy_(torch.randn(4, 6).sign())
        x = torch.randn(5, 6, dtype=dtype)
        x[2] = 0
        x.requires_grad_()
        y = layer(x)
        y.square().sum().backward()
        assert y.isfinite().all()
        assert x.grad is not None
        assert x.grad.isfinite().all()
        for name, p in layer.named_parameters():
            assert p.grad is not None
            assert p.grad.isfinite().all(), name


@families
@pytest.mark.parametrize("shape", [(0, 6), (3, 0, 6), (6,), (1, 6), (2, 3, 4, 6)])
def test_any_batch_shape(covariance, shape):
    layer = GMLayer(6, 3, 4, covariance=covariance)
    x = torch.randn(shape)
    y = layer(x)
    assert y.shape == (*shape[:-1], 3)
    y.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())
    flat = layer(x.reshape(-1, 6))
    torch.testing.assert_close(y.reshape(-1, 3), flat)


@families
@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_autocast(covariance, half):
    layer = GMLayer(784, 10, 20, covariance=covariance)
    x = torch.rand(32, 784)
    exact = layer(x)
    with torch.autocast("cpu", half):
        y = layer(x)
        y_half = layer(x.to(half))
    assert y.dtype == half
    assert ((y - exact).norm() / exact.norm()).item() <= 1e-2
    assert ((y_half - exact).norm() / exact.norm()).item() <= 1e-2
    y.float().square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())


@families
def test_half_precision_parameters(covariance):
    layer = GMLayer(784, 10, 20, covariance=covariance).bfloat16()
    x = torch.rand(32, 784).bfloat16()
    exact = copy.deepcopy(layer).float()(x.float())
    y = layer(x)
    assert y.dtype == torch.bfloat16
    assert ((y - exact).norm() / exact.norm()).item() <= 1e-2


# --- torch's ecosystem ---------------------------------------------------------------------------------------


@one_of_each
def test_compile_fullgraph_forward_and_backward(covariance):
    torch._dynamo.reset()
    layer = shaken(GMLayer(6, 3, 4, covariance=covariance, learn_weights=True))
    x = torch.randn(5, 6)
    fast = torch.compile(layer, fullgraph=True)
    want = torch.autograd.grad(layer(x).square().sum(), list(layer.parameters()))
    got = torch.autograd.grad(fast(x).square().sum(), list(layer.parameters()))
    torch.testing.assert_close(fast(x), layer(x), rtol=1e-4, atol=1e-5)
    for a, b in zip(got, want):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_compile_fullgraph_under_autocast():
    torch._dynamo.reset()
    layer = GMLayer(6, 3, 4, covariance=LowRank(coupling=True))
    x = torch.randn(5, 6)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(torch.compile(layer, fullgraph=True)(x), layer(x), rtol=2e-2, atol=2e-2)


@families
def test_func_transforms(covariance):
    layer = shaken(GMLayer(4, 2, 3, covariance=covariance, dtype=torch.float64))
    x = torch.randn(5, 4, dtype=torch.float64)
    torch.testing.assert_close(torch.func.vmap(layer)(x), layer(x))
    jacobian = torch.func.jacrev(layer)(x[0])
    torch.testing.assert_close(jacobian, torch.func.jacfwd(layer)(x[0]))
    torch.testing.assert_close(jacobian, torch.autograd.functional.jacobian(layer, x[0]))

    def first(v):
        return layer(v)[0]

    hessian = torch.func.hessian(first)(x[0])
    torch.testing.assert_close(hessian, torch.func.jacfwd(torch.func.jacfwd(first))(x[0]))
    torch.testing.assert_close(hessian, torch.autograd.functional.hessian(first, x[0]))
    h = 1e-4
    for i in range(4):
        e = h * torch.eye(4, dtype=torch.float64)[i]
        difference = (torch.func.grad(first)(x[0] + e) - torch.func.grad(first)(x[0] - e)) / (2 * h)
        torch.testing.assert_close(hessian[i], difference, rtol=1e-6, atol=1e-6)


@families
def test_export(covariance):
    layer = GMLayer(6, 3, 4, covariance=covariance).eval()
    batch = torch.export.Dim("batch", min=2)
    program = torch.export.export(layer, (torch.randn(5, 6),), dynamic_shapes=({0: batch},))
    x = torch.randn(9, 6)
    torch.testing.assert_close(program.module()(x), layer(x))


@families
def test_deepcopy_state_dict_and_dtype(covariance, tmp_path):
    layer = shaken(GMLayer(6, 3, 4, covariance=covariance, learn_weights=True))
    x = torch.randn(5, 6)
    assert torch.equal(copy.deepcopy(layer)(x), layer(x))
    other = GMLayer(6, 3, 4, covariance=covariance, learn_weights=True)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(x), layer(x))
    torch.save(layer.state_dict(), tmp_path / "weights.pt")
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    wide = copy.deepcopy(layer).to(torch.float64)
    assert wide(x.double()).dtype == torch.float64
    torch.testing.assert_close(wide(x.double()).float(), layer(x), rtol=1e-5, atol=1e-5)


def test_names_in_the_state_dict_are_stable():
    layer = GMLayer(6, 3, 4, covariance=LowRank(rank=2, base="diagonal", coupling=True), learn_weights=True)
    assert {name: tuple(p.shape) for name, p in layer.state_dict().items()} == {
        "mean": (4, 6),
        "std": (4, 6),
        "factor": (4, 2, 6),
        "output_mean": (4, 3),
        "output_factor": (4, 2, 3),
        "coupling": (4, 3, 6),
        "bias": (4,),
        "weight_logits": (4,),
    }


@families
def test_meta_device(covariance):
    layer = GMLayer(6, 3, 4, covariance=covariance, device="meta")
    assert layer(torch.randn(5, 6, device="meta")).shape == (5, 3)
    real = layer.to_empty(device="cpu")
    real.reset_parameters()
    assert real(torch.randn(5, 6)).isfinite().all()


def test_parametrizations_apply():
    layer = GMLayer(6, 3, 4)
    nn.utils.parametrize.register_parametrization(layer, "std", nn.Softplus())
    x = torch.randn(5, 6)
    torch.testing.assert_close(layer(x), reference(layer, x))


def test_reset_of_a_parametrized_layer_is_refused():
    layer = GMLayer(6, 3, 4)
    nn.utils.parametrize.register_parametrization(layer, "std", nn.Softplus())
    with pytest.raises(RuntimeError, match="remove the parametrizations of the module first"):
        layer.reset_parameters()


def test_star_import_does_not_hide_torch():
    space = {"nn": nn}
    exec("from gmlayers import *", space)
    assert space["nn"] is nn
    assert space["GMLayer"] is GMLayer


def test_frozen_parameters_get_no_gradient():
    layer = GMLayer(6, 3, 4)
    layer.mean.requires_grad_(False)
    layer(torch.randn(5, 6)).sum().backward()
    assert layer.mean.grad is None
    assert layer.output_mean.grad is not None


# --- what users see ------------------------------------------------------------------------------------------


def test_own_activation():
    table = ACTIVATIONS["square"]
    layer = GMLayer(6, 3, 4, activation=Activation(table.f, table.mean, table.gate, "mine"))
    twin = GMLayer(6, 3, 4, activation="square")
    twin.load_state_dict(layer.state_dict())
    x = torch.randn(5, 6)
    assert torch.equal(layer(x), twin(x))
    assert "activation=mine" in repr(layer)


def test_repr():
    assert repr(GMLayer(784, 10, 120)) == (
        "GMLayer(784, 10, 120, covariance=LowRank(rank=1, base='isotropic', coupling=False), activation='relu', "
        "scaling='sqrt', learn_weights=False, bias=True, init_scale=0.1)"
    )
    assert "covariance=Diagonal()" in repr(GMLayer(4, 2, 3, covariance="diagonal"))
    assert "covariance=Regression()" in repr(GMLayer.paper(4, 2, 3))


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((0, 1, 1), {}, "in_features must be at least 1, got 0"),
        ((1, -2, 1), {}, "out_features must be at least 1, got -2"),
        ((1, 1, 0), {}, "num_components must be at least 1, got 0"),
        ((1, 1, 1), {"covariance": "lowrank"}, "unknown covariance 'lowrank'; did you mean 'low_rank'"),
        ((1, 1, 1), {"activation": "rlu"}, "unknown activation 'rlu'; did you mean 'relu'"),
        ((1, 1, 1), {"scaling": "sqr"}, "unknown scaling 'sqr'; did you mean 'sqrt'"),
        ((1, 1, 1), {"init_scale": -1.0}, "init_scale must be finite and not negative, got -1.0"),
    ],
)
def test_bad_arguments(arguments, options, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        GMLayer(*arguments, **options)


@pytest.mark.parametrize("size", [4.0, "4", None])
def test_sizes_are_whole_numbers(size):
    with pytest.raises(TypeError, match=f"GMLayer: in_features must be a whole number, got {size!r}"):
        GMLayer(size, 2, 3)
    with pytest.raises(TypeError, match="LowRank: rank must be a whole number"):
        LowRank(rank=size)


def test_bad_families():
    with pytest.raises(ValueError, match="rank must be at least 0, got -1"):
        LowRank(rank=-1)
    with pytest.raises(ValueError, match="unknown base 'diag'; did you mean 'diagonal'"):
        LowRank(base="diag")  # type: ignore[arg-type]


def test_bad_inputs():
    layer = GMLayer(6, 3, 4)
    with pytest.raises(ValueError, match=r"expected an input of shape \(..., 6\), got \(2, 5\)"):
        layer(torch.randn(2, 5))
    with pytest.raises(ValueError, match=r"expected an input of shape \(..., 6\), got \(\)"):
        layer(torch.tensor(1.0))
    with (
        torch.autocast("cpu", torch.bfloat16),
        pytest.raises(ValueError, match="the dtype of the parameters, got torch.float64"),
    ):
        layer(torch.randn(2, 6, dtype=torch.float64))
    with pytest.raises(
        TypeError, match="input x must be a tensor of real floating-point numbers, got .* of torch.int64"
    ):
        layer(torch.ones(2, 6, dtype=torch.int64))
    with pytest.raises(ValueError, match="expected torch.float32, the dtype of the parameters, got torch.float64"):
        layer(torch.randn(2, 6, dtype=torch.float64))
