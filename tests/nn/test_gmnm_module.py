import copy
import math
import warnings

import pytest
import torch
from torch import nn

from gmlayers import GMNM, functional, ops
from gmlayers.nn import _placement

FORMS = [
    {"form": "mahalanobis"},
    {"form": "mahalanobis", "rank": 1},
    {"form": "mahalanobis", "rank": 5},
    {"form": "diagonal"},
    {"form": "ridge"},
]
forms = pytest.mark.parametrize("form", FORMS, ids=lambda f: "-".join(map(str, f.values())))
DERIVATIVES = ("gradient", "laplacian", "hessian")


def make(form, d=3, out=2, m=4, **options):
    """A module with every parameter moved, so that no zero of the initialisation hides a mistake."""
    module = GMNM(d, out, m, **form, **options)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return module


def call(module, method, x, values=None):
    """A method as a function of the parameters by name."""

    class Method(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = module

        def forward(self, x):
            return getattr(self.inner, method)(x)

    given = {} if values is None else {f"inner.{name}": value for name, value in values.items()}
    return torch.func.functional_call(Method(), given, (x,))


# --- the formula ---------------------------------------------------------------------------------------------


def loops(module, x):
    """The definition, number by number, from the parameters of each form."""
    p = {name: value.tolist() for name, value in module.named_parameters()}
    rows = []
    for row in x.tolist():
        y = list(p.get("bias", [0.0] * module.out_features))
        for k, mean in enumerate(p["mean"]):
            z = [a - b for a, b in zip(row, mean)]
            if "scale" in p:
                q = sum((s * a) ** 2 for s, a in zip(p["scale"][k], z))
            else:
                q = sum(sum(a * b for a, b in zip(line, z)) ** 2 for line in p["projection"][k])
            y = [a + math.exp(-q / 2) * w for a, w in zip(y, p["weight"][k])]
        rows.append(y)
    return torch.tensor(rows, dtype=x.dtype)


@forms
@pytest.mark.parametrize("bias", [True, False])
def test_value_is_the_definition(form, bias, dtype):
    module = make(form, bias=bias, dtype=dtype)
    x = torch.randn(7, 3, dtype=dtype)
    torch.testing.assert_close(module(x), loops(module, x))


@forms
def test_closed_forms_equal_nested_autograd(form):
    module = make(form, dtype=torch.float64)
    x = torch.randn(6, 3, dtype=torch.float64)
    exact = {"rtol": 1e-12, "atol": 1e-12}
    jacobian = torch.stack([torch.autograd.functional.jacobian(module, row) for row in x])
    hessian = torch.stack(
        [
            torch.stack([torch.autograd.functional.hessian(lambda v, o=o: module(v)[o], row) for o in range(2)])
            for row in x
        ]
    )
    laplacian = hessian.diagonal(dim1=-2, dim2=-1).sum(-1)
    torch.testing.assert_close(module.gradient(x), jacobian, **exact)
    torch.testing.assert_close(module.hessian(x), hessian, **exact)
    torch.testing.assert_close(module.laplacian(x), laplacian, **exact)
    for got, want in zip(module.value_gradient_laplacian(x), (module(x), jacobian, laplacian)):
        torch.testing.assert_close(got, want, **exact)


@forms
@pytest.mark.parametrize("method", ["forward", *DERIVATIVES])
def test_gradcheck_and_gradgradcheck(form, method):
    module = make(form, d=2, out=2, m=2, dtype=torch.float64)
    names = [name for name, _ in module.named_parameters()]

    def function(x, *values):
        return call(module, method, x, dict(zip(names, values)))

    inputs = (torch.randn(2, 2, dtype=torch.float64, requires_grad=True), *module.parameters())
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


def test_a_loss_of_second_order_trains_all_parameters():
    module = make({"form": "mahalanobis"}, dtype=torch.float64)
    value, gradient, laplacian = module.value_gradient_laplacian(torch.randn(9, 3, dtype=torch.float64))
    (value.square().sum() + gradient.square().sum() + laplacian.square().sum()).backward()
    assert all(p.grad is not None and (p.grad != 0).all() for p in module.parameters())


def test_forms_nest():
    """A diagonal is a Mahalanobis form, and a ridge one of rank 1."""
    x = torch.randn(6, 3, dtype=torch.float64)
    for form in ({"form": "diagonal"}, {"form": "ridge"}):
        module = make(form, dtype=torch.float64)
        rank = module.projection_matrix().shape[1]
        general = GMNM(3, 2, 4, rank=rank, dtype=torch.float64)
        shared = {name: value for name, value in module.state_dict().items() if name != "scale"}
        general.load_state_dict({**shared, "projection": module.projection_matrix()})
        torch.testing.assert_close(general(x), module(x), rtol=1e-13, atol=1e-14)


# --- initialisation ------------------------------------------------------------------------------------------

INITS = [
    ({"form": "mahalanobis"}, 2, 40),
    ({"form": "mahalanobis"}, 20, 10),
    ({"form": "mahalanobis", "rank": 5}, 2, 10),
    ({"form": "diagonal"}, 30, 20),
    ({"form": "ridge"}, 4, 20),
    ({"form": "mahalanobis"}, 1, 1),
]


@pytest.mark.parametrize(("form", "d", "m"), INITS)
@pytest.mark.parametrize("domain", [None, (-2.0, 5.0)])
def test_output_starts_at_a_tenth(form, d, m, domain):
    """Over draws and inputs the mean square is 0.01, to five standard errors of the draws."""
    module = GMNM(d, 1, m, **form, domain=domain, dtype=torch.float64)
    squares = []
    for _ in range(300):
        module.reset_parameters()
        x = torch.randn(64, d, dtype=torch.float64) if domain is None else 7 * torch.rand(64, d).double() - 2
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one draw in a million of a single normal feature is beyond 5
            squares.append(module(x).square().mean())
    squares = torch.stack(squares)
    assert (squares.mean() - 0.01).abs() <= 5 * squares.std() / math.sqrt(len(squares)) + 1e-4


@forms
@pytest.mark.parametrize("d", [2, 12])
def test_exponent_on_features_starts_at_one(form, d):
    module = GMNM(d, 1, 4000, **form, dtype=torch.float64)
    x = torch.randn(d, dtype=torch.float64)
    z = torch.randn(4000, d, dtype=torch.float64) - module.mean
    q = torch.einsum("kpd,kd->kp", module.projection_matrix(), z).square().sum(1)
    assert (q.mean() - 1).abs() <= 5 * q.std() / math.sqrt(len(q))
    assert module(x).isfinite().all()


@pytest.mark.parametrize(("d", "m"), [(1, 30), (2, 16), (2, 400), (6, 100)])
def test_about_four_bumps_answer_in_the_domain(d, m):
    module = GMNM(d, 1, m, domain=(3.0, 4.0), dtype=torch.float64)
    x = 3 + torch.rand(4000, d, dtype=torch.float64)
    answers = ops.bumps(x, module.mean, module.projection_matrix()).sum(-1).mean().item()
    assert 2.5 < answers < 5.5


def test_bumps_are_isotropic_in_the_coordinates_of_their_domain():
    low, high = [-1.0, 0.0, 10.0], [1.0, 10.0, 10.5]
    module = GMNM(3, 1, 50, domain=(low, high), dtype=torch.float64)
    half = torch.tensor([1.0, 5.0, 0.25], dtype=torch.float64)
    A = module.projection_matrix() * half
    gram = A.mT @ A
    torch.testing.assert_close(gram, gram[:, :1, :1] * torch.eye(3, dtype=torch.float64), rtol=1e-12, atol=1e-12)
    assert not module.outside(module.mean).any()
    spread = (module.mean - module.mean.mean(0)).square().mean(0).sqrt() / half
    assert ((spread - 3**-0.5).abs() < 0.15).all()


@forms
def test_reset_parameters_follows_its_generator(form):
    a, b = (GMNM(3, 2, 4, **form) for _ in range(2))
    for module in (a, b):
        module.reset_parameters(torch.Generator().manual_seed(7))
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters()))
    a.reset_parameters(torch.Generator().manual_seed(8))
    assert not torch.equal(a.mean, b.mean)


# --- from data -----------------------------------------------------------------------------------------------


def test_spacing():
    centres = torch.tensor([[0.0], [1.0], [1.0], [4.0]])
    torch.testing.assert_close(_placement.spacing(centres, centres), torch.tensor([1.0, 2.0, 2.0, 3.0]))
    torch.testing.assert_close(
        _placement.spacing(torch.zeros(2, 1), torch.tensor([[-3.0], [3.0]])), torch.full((2,), 3.0)
    )
    assert torch.equal(_placement.spacing(torch.zeros(1, 1), torch.zeros(4, 1)), torch.ones(1))


@pytest.mark.parametrize(("d", "m"), [(1, 400), (2, 200), (50, 400)])
def test_spacing_of_many(d, m, dtype):
    """By a matrix product, which torch takes for more than 25 points, they would be some rounding from themselves."""
    centres = torch.randn(m, d, dtype=dtype, generator=torch.Generator().manual_seed(0))
    apart = (centres[:, None] - centres).square().sum(2).sqrt()
    want = apart.fill_diagonal_(math.inf).sort(1).values[:, :2].mean(1)
    torch.testing.assert_close(_placement.spacing(centres, centres), want, rtol=1e-5, atol=1e-30)


@forms
@pytest.mark.parametrize("with_y", [False, True])
def test_from_data(form, with_y, dtype):
    x = torch.randn(300, 3, dtype=dtype) * torch.tensor([1.0, 1e-3, 50.0], dtype=dtype) + torch.tensor([5.0, 0, 0])
    y = x[:, :1].sin() if with_y else None
    module, same = (GMNM.from_data(x, 2, 30, y=y, **form, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), same.parameters()))
    assert module.mean.dtype == dtype
    assert not module.outside(x).any()
    assert not module.outside(module.mean).any()
    f = ops.bumps(x, module.mean, module.projection_matrix())
    assert (f.amax(1) > 1e-3).all()
    assert module(x).square().mean().sqrt().item() == pytest.approx(0.1, rel=0.6)


def test_from_data_in_other_units_is_the_same_function():
    x, unit = torch.randn(100, 3, dtype=torch.float64), torch.tensor([1.0, 1e-4, 1e5], dtype=torch.float64)
    one, other = (GMNM.from_data(v, 1, 20, generator=torch.Generator().manual_seed(1)) for v in (x, x * unit))
    torch.testing.assert_close(one(x), other(x * unit), rtol=1e-9, atol=1e-10)


def test_targets_draw_bumps_to_the_residual():
    """A narrow peak in a corner gets a quarter of the bumps, where its area of 5 % accounts for 2 of them."""
    x = torch.rand(3000, 2, dtype=torch.float64) * 2 - 1
    y = torch.exp(-200 * (x - 0.7).square().sum(1, keepdim=True))
    near = {}
    for targets in (None, y):
        module = GMNM.from_data(x, 1, 40, y=targets, generator=torch.Generator().manual_seed(0))
        near[targets is None] = int(((module.mean - 0.7).norm(dim=1) < 0.25).sum())
    assert near[False] >= 10
    assert near[True] <= 5


@pytest.mark.parametrize(("level", "size"), [(1e6, 1.0), (0.0, 1e200), (-1e300, 1e290)])
def test_targets_in_other_units_draw_the_same_bumps(level, size):
    """As far as the level leaves digits."""
    x = torch.rand(1000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    y = torch.exp(-200 * (x - 0.3).square().sum(1, keepdim=True))
    near = []
    for targets in (y, level + size * y):
        module = GMNM.from_data(x, 1, 40, y=targets, generator=torch.Generator().manual_seed(0))
        near.append(int(((module.mean - 0.3).norm(dim=1) < 0.2).sum()))
    assert near[0] >= 10
    assert abs(near[0] - near[1]) <= 2


@pytest.mark.parametrize("of_x", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("of_y", [torch.float16, torch.float32, torch.float64])
def test_targets_may_have_a_dtype_of_their_own(of_x, of_y):
    x = torch.rand(50, 2)
    module = GMNM.from_data(x.to(of_x), 1, 8, y=x[:, :1].to(of_y))
    assert module.mean.dtype == of_x
    assert module.mean.isfinite().all()


@pytest.mark.parametrize("value", [0.0, 1.7e9, -1e30])
def test_a_constant_feature(value, dtype):
    """Such as a time stamp."""
    x = torch.cat([torch.rand(300, 2, dtype=dtype), torch.full((300, 1), value, dtype=dtype)], 1)
    module = GMNM.from_data(x, 1, 20)
    assert module(x).isfinite().all()
    assert not module.outside(x).any()


def test_a_generator_is_all_the_randomness_of_from_data():
    state = torch.get_rng_state()
    GMNM.from_data(torch.linspace(0, 1, 20).unsqueeze(1), 1, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("points", [torch.zeros(1, 2), torch.zeros(9, 2), torch.tensor([[0.0, 1.0], [2.0, 1.0]])])
def test_from_data_with_fewer_points_than_bumps(points):
    module = GMNM.from_data(points, 1, 5, y=points[:, :1])
    assert all(p.isfinite().all() for p in module.parameters())
    assert module(points).isfinite().all()


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (torch.zeros(0, 2), None, r"expected inputs x \(n, d\), n > 0 and d > 0, got \(0, 2\)"),
        (torch.zeros(2), None, r"got \(2,\)"),
        (torch.zeros(2, 2), torch.zeros(3, 1), r"expected targets y \(2, out\), got \(3, 1\)"),
        (torch.full((2, 2), math.nan), None, "x has numbers that are not finite"),
        (torch.zeros(2, 2), torch.full((2, 1), math.inf), "y has numbers that are not finite"),
    ],
)
def test_bad_data(x, y, message):
    with pytest.raises(ValueError, match="GMNM.from_data: .*" + message):
        GMNM.from_data(x, 1, 2, y=y)


@pytest.mark.parametrize(
    ("of", "size"),
    [
        (torch.float64, 1e200),
        (torch.float64, 1e-200),
        (torch.float64, 1e308),
        (torch.float32, 1e38),
        (torch.float32, 1e-40),
        (torch.float16, 1e-7),
    ],
)
@pytest.mark.parametrize("with_y", [False, True])
def test_data_whose_squares_or_widths_the_dtype_cannot_hold(of, size, with_y):
    unit = torch.rand(50, 2, dtype=torch.float64)
    x, y = (size * unit).to(of), unit[:, :1] if with_y else None
    with pytest.raises(ValueError, match=f"GMNM.from_data: x, .* too .* for {of}; scale its features"):
        GMNM.from_data(x, 1, 4, y=y)
    with pytest.raises(ValueError, match=f"GMNM.from_data: x, .* too .* for {of}; scale its features"):
        GMNM.from_data(torch.stack([x[:, 0], unit[:, 1].to(of)], 1), 1, 4, y=y)


@pytest.mark.parametrize("size", [1e-140, 1e140])
def test_data_of_a_size_whose_squares_the_dtype_holds(size):
    x = size * torch.rand(50, 2, dtype=torch.float64)
    assert GMNM.from_data(x, 1, 4)(x).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_from_data_of_arrays_keeps_their_dtype(dtype):
    x, y = torch.rand(9, 2).to(dtype), torch.rand(9).to(dtype)
    one, other = (
        GMNM.from_data(a, 1, 4, y=b, generator=torch.Generator().manual_seed(0))
        for a, b in ((x, y[:, None]), (x.numpy(), y.numpy()))
    )
    assert one.mean.dtype == other.mean.dtype == dtype
    torch.manual_seed(0)
    for p, q in zip(one.parameters(), other.parameters()):
        assert torch.equal(p, q)


def test_from_data_of_whole_numbers_is_in_float64():
    for x in ([[0, 1], [2, 3]], torch.tensor([[0, 1], [2, 3]])):
        assert GMNM.from_data(x, 1, 2).mean.dtype == torch.float64


# --- the range of the inputs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("dtype", "offset"), [(torch.float32, 1e4), (torch.float64, 1e9)])
def test_a_domain_far_from_0_is_as_good_as_one_at_0(form, dtype, offset):
    near, far = (GMNM(2, 1, 30, **form, domain=(at, at + 1), dtype=dtype) for at in (0.0, offset))
    with torch.no_grad():
        near.mean.copy_((near.mean * 1024).round() / 1024)  # exact at both places
        far.load_state_dict({**dict(near.named_parameters()), "mean": near.mean + offset})
    x = torch.randint(0, 1025, (50, 2)).to(dtype) / 1024
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype is torch.float32 else {"rtol": 1e-10, "atol": 1e-10}
    for name in ("forward", "gradient", "laplacian", "hessian"):
        want, got = getattr(near, name)(x), getattr(far, name)(x + offset)
        torch.testing.assert_close(got / want.abs().max(), want / want.abs().max(), **tolerance)
        by_mean = [torch.autograd.grad(value.sum(), module.mean)[0] for value, module in ((want, near), (got, far))]
        torch.testing.assert_close(*(g / by_mean[0].abs().max() for g in by_mean), **tolerance)


def test_outside_a_domain():
    module = GMNM(2, 1, 3, domain=(0, [1.0, 2.0]))
    x = torch.tensor([[0.0, 0.0], [1.0, 2.0], [1.1, 1.0], [0.5, -0.1]])
    assert module.outside(x).tolist() == [False, False, True, True]
    assert module.outside(x.view(2, 2, 2)).shape == (2, 2)
    with pytest.warns(UserWarning, match="GMNM: an input is outside the domain"):
        module(x)
    for method in (*DERIVATIVES, "value_gradient_laplacian"):
        with pytest.warns(UserWarning, match="outside the domain"):
            getattr(module, method)(x)
    module(x[:2])


def test_outside_of_features():
    module = GMNM(4, 1, 3)
    x = torch.tensor([[4.9] * 4, [0.0, 0.0, 0.0, 9.9], [0.0, 0.0, 0.0, 10.1], [255.0] * 4])
    assert module.outside(x).tolist() == [False, False, True, True]
    with pytest.warns(UserWarning, match="of a root mean square over 5"):
        module(x)


@pytest.mark.parametrize("domain", [None, (-1, 1)])
def test_what_is_not_finite_is_outside(domain, dtype):
    module = GMNM(2, 1, 3, domain=domain, dtype=dtype)
    x = torch.tensor([[math.nan, 0], [0, math.inf], [-math.inf, 0], [0, 0]], dtype=dtype)
    assert module.outside(x).tolist() == [True, True, True, False]
    for row in x[:3]:
        with pytest.warns(UserWarning, match="GMNM: an input is .* or not finite"):
            module(row)


def test_infinity_is_outside_a_domain_that_half_precision_cannot_hold():
    module = GMNM(1, 1, 3, domain=(-1e6, 1e6))
    with torch.autocast("cpu", torch.float16):
        x = torch.tensor([[65504.0], [math.inf], [-math.inf]]).half()
        assert module.outside(x).tolist() == [False, True, True]


def test_the_warning_stays_out_of_transforms():
    torch._dynamo.reset()
    module = GMNM(2, 1, 3, domain=(-1, 1))
    x = torch.full((3, 2), 7.0)
    torch.func.vmap(module)(x)
    torch.func.jacrev(module)(x[0])
    torch.func.jvp(module, (x,), (x,))
    torch.compile(module, fullgraph=True)(x)
    torch.export.export(module, (x,))
    module.to("meta")(x.to("meta"))


@pytest.mark.parametrize("domain", [(1, 0), (0, math.inf), (0, math.nan), ([0.0, 1.0], 3.0), (0, 0)])
def test_bad_domain(domain):
    with pytest.raises(ValueError, match="GMNM: domain must be .* 3 of them each, got"):
        GMNM(3, 1, 2, domain=domain)


@pytest.mark.parametrize("domain", [3, (1, 2, 3), "ab", ("a", "b")])
def test_a_domain_that_is_no_pair_of_numbers(domain):
    with pytest.raises(TypeError, match=r"GMNM: domain must be \(low, high\), .* got"):
        GMNM(3, 1, 2, domain=domain)


def test_a_domain_that_the_dtype_does_not_resolve():
    domain = (1.7e9, 1.7e9 + 60)
    GMNM(1, 1, 2, domain=domain, dtype=torch.float64)
    with pytest.raises(ValueError, match="GMNM: in torch.float32 the domain .* is a point; .* torch.float64"):
        GMNM(1, 1, 2, domain=domain)


# --- numbers at the edge -------------------------------------------------------------------------------------


@forms
@pytest.mark.parametrize("shape", [(0, 3), (2, 0, 3), (3,), (1, 3), (2, 3, 4, 3)])
def test_any_batch_shape(form, shape):
    module = make(form)
    x = torch.randn(shape)
    rows, flat = shape[:-1], x.reshape(-1, 3)
    shapes = {"forward": (2,), "gradient": (2, 3), "laplacian": (2,), "hessian": (2, 3, 3)}
    for method, rest in shapes.items():
        y = getattr(module, method)(x)
        assert y.shape == (*rows, *rest)
        torch.testing.assert_close(y.reshape(-1, *rest), getattr(module, method)(flat))
    module(x).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


@pytest.mark.parametrize("size", [1e3, 1e10, 1e18])
def test_far_away_is_the_bias_with_finite_gradients(size, dtype):
    module = make({"form": "mahalanobis"}, dtype=dtype)
    x = size * nn.functional.normalize(torch.randn(5, 3, dtype=dtype), dim=-1)
    x.requires_grad_()
    with pytest.warns(UserWarning, match="no extrapolation"):
        value, gradient, laplacian = module.value_gradient_laplacian(x)
    assert torch.equal(value, module.bias.expand(5, 2))
    assert (gradient == 0).all()
    assert (laplacian == 0).all()
    value.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in (x, *module.parameters()))


@forms
@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_autocast_keeps_the_exponent(form, half):
    """Narrow bumps off the origin: in half precision v would be off by its own size."""
    module = GMNM(2, 3, 50, **{**form, "rank": None}, domain=(3.0, 4.0))
    x = 3 + torch.rand(64, 2)
    exact = module(x)
    with torch.autocast("cpu", half):
        y = module(x)
        gradient, laplacian = module.gradient(x), module.laplacian(x)
    assert y.dtype == half
    assert ((y - exact).norm() / exact.norm()).item() <= 1e-2
    assert torch.equal(gradient, module.gradient(x))
    assert torch.equal(laplacian, module.laplacian(x))
    y.float().square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


@forms
def test_half_precision_parameters(form):
    module = GMNM(3, 2, 4, **form, dtype=torch.bfloat16)
    x = torch.randn(32, 3).bfloat16()
    exact = copy.deepcopy(module).float()(x.float())
    y = module(x)
    assert y.dtype == torch.bfloat16
    assert ((y - exact).norm() / exact.norm()).item() <= 1e-2


# --- torch's ecosystem ---------------------------------------------------------------------------------------


@forms
def test_compile_fullgraph_forward_and_backward(form):
    torch._dynamo.reset()
    module = make(form)
    x = torch.randn(5, 3)

    def loss(module, x):
        value, gradient, laplacian = module.value_gradient_laplacian(x)
        return (module(x) + value + laplacian).square().sum() + gradient.square().sum()

    want = torch.autograd.grad(loss(module, x), list(module.parameters()))
    got = torch.autograd.grad(torch.compile(loss, fullgraph=True)(module, x), list(module.parameters()))
    for a, b in zip(got, want):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


@forms
def test_func_transforms(form):
    module = make(form, dtype=torch.float64)
    x = torch.randn(5, 3, dtype=torch.float64)
    torch.testing.assert_close(torch.func.vmap(module)(x), module(x))
    torch.testing.assert_close(torch.func.vmap(module.laplacian)(x), module.laplacian(x))
    torch.testing.assert_close(torch.func.vmap(torch.func.jacrev(module))(x), module.gradient(x))
    torch.testing.assert_close(torch.func.vmap(torch.func.jacfwd(module))(x), module.gradient(x))


def test_export():
    module = GMNM(3, 2, 4).eval()
    batch = torch.export.Dim("batch", min=2)
    program = torch.export.export(module, (torch.randn(5, 3),), dynamic_shapes=({0: batch},))
    x = torch.randn(9, 3)
    torch.testing.assert_close(program.module()(x), module(x))


@forms
def test_deepcopy_state_dict_and_dtype(form, tmp_path):
    module = make(form, domain=(-9, 9))
    x = torch.randn(5, 3)
    assert torch.equal(copy.deepcopy(module)(x), module(x))
    torch.save(module.state_dict(), tmp_path / "weights.pt")
    other = GMNM(3, 2, 4, **form)
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert torch.equal(other(x), module(x))
    wide = copy.deepcopy(module).to(torch.float64)
    torch.testing.assert_close(wide(x.double()).float(), module(x), rtol=1e-5, atol=1e-5)


@forms
@pytest.mark.parametrize("nested", [False, True])
def test_a_state_dict_carries_the_domain(form, nested, tmp_path):
    """Far from 0 the parameters alone are no function in float32: what is computed depends on the domain."""
    exact = GMNM(2, 1, 30, **form, domain=(1e4, 1e4 + 1))
    x = 1e4 + torch.randint(0, 1025, (50, 2)) / 1024
    other = GMNM(2, 1, 30, **form)
    source, target = (nn.Sequential(nn.Identity(), m) if nested else m for m in (exact, other))
    torch.save(source.state_dict(), tmp_path / "weights.pt")
    given = torch.load(tmp_path / "weights.pt", weights_only=True)
    names = list(given)
    assert target.load_state_dict(given).missing_keys == []
    assert list(given) == names
    assert other.domain == exact.domain
    assert torch.equal(other(x), exact(x))
    want = copy.deepcopy(exact).double()(x.double())
    assert (other(x) - want).abs().max() / want.abs().max() < 1e-6
    called = torch.func.functional_call(target, source.state_dict(), (x,))
    assert torch.equal(called, exact(x))
    assert set(other.state_dict()) == set(exact.state_dict())


@pytest.mark.parametrize("strict", [True, False])
def test_a_state_dict_without_a_domain_leaves_that_of_the_module(strict):
    """As those of older versions are, and those of modules for standardised features."""
    module = GMNM(2, 1, 3, domain=(0, 5))
    old = dict(GMNM(2, 1, 3, domain=(0, 1)).named_parameters())
    found = module.load_state_dict(old, strict=strict)
    assert (found.missing_keys, found.unexpected_keys) == ([], [])
    assert module.domain == ((0.0, 0.0), (5.0, 5.0))
    assert "domain_box" not in GMNM(2, 1, 3).state_dict()
    module.load_state_dict(GMNM(2, 1, 3).state_dict(), strict=strict)
    assert module.domain == ((0.0, 0.0), (5.0, 5.0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_the_domain_in_a_state_dict_is_exact_whatever_the_dtype(dtype):
    domain = ((1e5 + 1e-7, -1 / 3), (1e5 + 1, 1 / 3))
    module = GMNM(2, 1, 3, domain=domain, dtype=torch.float64).to(dtype)
    assert module.state_dict()["domain_box"].dtype == torch.float64
    other = copy.deepcopy(GMNM(2, 1, 3, dtype=dtype))
    other.load_state_dict(copy.deepcopy(module.state_dict()))
    assert other.domain == domain
    assert copy.deepcopy(other).to(torch.float32).domain == domain


def test_a_domain_is_loaded_into_modules_on_the_meta_device_and_compiled_ones():
    module = GMNM(2, 1, 3, domain=(0, 1))
    empty = GMNM(2, 1, 3, device="meta")
    empty.load_state_dict(module.state_dict(), assign=True)
    x = torch.rand(5, 2)
    assert empty.domain == module.domain
    assert torch.equal(empty(x), module(x))
    assert GMNM(2, 1, 3, domain=(0, 1), device="meta").state_dict()["domain_box"].tolist() == [[0, 0], [1, 1]]
    nothing = {name: value.to("meta") for name, value in module.state_dict().items()}
    kept = GMNM(2, 1, 3, domain=(0, 2))
    kept.load_state_dict(nothing, assign=True)
    assert kept.domain == ((0.0, 0.0), (2.0, 2.0))
    compiled = torch.compile(GMNM(2, 1, 3), backend="eager")
    compiled.load_state_dict({f"_orig_mod.{name}": value for name, value in module.state_dict().items()})
    assert torch.equal(compiled(x), module(x))
    assert list(compiled.state_dict()) == [f"_orig_mod.{name}" for name in module.state_dict()]
    assert compiled.domain == module.domain


@pytest.mark.parametrize(
    ("domain", "message"),
    [
        (torch.zeros(2, 3), r"domain_box: expected \(2, 2\), got \(2, 3\)"),
        (
            torch.tensor([[0.0, 0.0], [1.0, torch.inf]]),
            r"domain_box: GMNM: domain must be \(low, high\) with low < high",
        ),
    ],
)
def test_a_state_dict_with_a_domain_that_is_no_box_is_refused(domain, message):
    module = GMNM(2, 1, 3, domain=(0, 5))
    with pytest.raises(RuntimeError, match=message):
        module.load_state_dict({**dict(module.named_parameters()), "domain_box": domain})
    assert module.domain == ((0.0, 0.0), (5.0, 5.0))


def test_names_in_the_state_dict_are_stable():
    sizes = {name: tuple(p.shape) for name, p in GMNM(6, 3, 4, rank=2).state_dict().items()}
    assert sizes == {"mean": (4, 6), "projection": (4, 2, 6), "weight": (4, 3), "bias": (3,)}
    sizes = {name: tuple(p.shape) for name, p in GMNM(6, 3, 4, form="diagonal", bias=False).state_dict().items()}
    assert sizes == {"mean": (4, 6), "scale": (4, 6), "weight": (4, 3)}
    sizes = {name: tuple(p.shape) for name, p in GMNM(6, 3, 4, form="ridge", domain=(0, 1)).state_dict().items()}
    assert sizes == {"mean": (4, 6), "projection": (4, 1, 6), "weight": (4, 3), "bias": (3,), "domain_box": (2, 6)}
    assert GMNM(20, 1, 4).projection.shape == (4, 8, 20)
    assert GMNM(3, 1, 4).projection.shape == (4, 3, 3)
    assert GMNM(3, 1, 4, form="ridge").projection.shape == (4, 1, 3)


@forms
@pytest.mark.parametrize("domain", [None, (-1, 1)])
def test_meta_device(form, domain):
    with torch.device("meta"):
        module = GMNM(3, 2, 4, **form, domain=domain)
    assert module(torch.empty(5, 3, device="meta")).shape == (5, 2)
    real = module.to_empty(device="cpu")
    real.reset_parameters()
    assert real(torch.rand(5, 3)).isfinite().all()


def test_parametrizations_apply_and_refuse_a_reset():
    module = GMNM(3, 2, 4)
    nn.utils.parametrize.register_parametrization(module, "projection", nn.Softplus())
    x = torch.randn(5, 3)
    want = functional.gmnm.gmnm(x, module.mean, module.projection, module.weight, module.bias)
    torch.testing.assert_close(module(x), want)
    with pytest.raises(RuntimeError, match="remove the parametrizations of the module first"):
        module.reset_parameters()


# --- what users see ------------------------------------------------------------------------------------------


def test_repr():
    assert repr(GMNM(2, 1, 50, domain=(-1, 1))) == (
        "GMNM(2, 1, 50, form=Mahalanobis(rank=2), domain=(-1, 1), bias=True)"
    )
    assert "form=AxisAligned(), domain=None, bias=False" in repr(GMNM(2, 1, 5, form="diagonal", bias=False))
    assert "domain=((0, 1), (2, 2))" in repr(GMNM(2, 1, 5, domain=([0.0, 1.0], 2.0)))
    wide = GMNM(9, 1, 5, domain=([0.0] * 8 + [1.0], 2.0))
    assert "domain=((0, 0, 0, 0, 0, 0, 0, 0, ...), (2, 2, 2, 2, 2, 2, 2, 2, ...))" in repr(wide)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((0, 1, 1), {}, "GMNM: in_features must be at least 1, got 0"),
        ((1, -2, 1), {}, "GMNM: out_features must be at least 1, got -2"),
        ((1, 1, 0), {}, "GMNM: num_components must be at least 1, got 0"),
        ((1, 1, 1), {"rank": 0}, "GMNM: rank must be at least 1, got 0"),
        ((1, 1, 1), {"form": "mahalonobis"}, "unknown form 'mahalonobis'; did you mean 'mahalanobis'"),
        ((1, 1, 1), {"form": "ridge", "rank": 2}, "GMNM: rank is for form='mahalanobis', got rank=2"),
    ],
)
def test_bad_arguments(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        GMNM(*arguments, **options)


def test_sizes_are_whole_numbers():
    with pytest.raises(TypeError, match="GMNM: num_components must be a whole number, got 4.0"):
        GMNM(2, 1, 4.0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="GMNM: rank must be a whole number, got '2'"):
        GMNM(2, 1, 4, rank="2")  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["forward", "value_gradient_laplacian", "outside", *DERIVATIVES])
def test_bad_inputs(method):
    module = GMNM(6, 3, 4)
    with pytest.raises(ValueError, match=r"GMNM: expected an input of shape \(..., 6\), got \(2, 5\)"):
        getattr(module, method)(torch.randn(2, 5))
    with pytest.raises(
        TypeError, match="GMNM: the input x must be a tensor of real floating-point numbers, got .* of torch.int64"
    ):
        getattr(module, method)(torch.ones(2, 6, dtype=torch.int64))
    if method != "outside":  # which needs no parameters
        with pytest.raises(ValueError, match="GMNM: expected torch.float32, the dtype of the parameters"):
            getattr(module, method)(torch.randn(2, 6, dtype=torch.float64))


@pytest.mark.parametrize("form", ["mahalanobis", "diagonal", "ridge"])
def test_a_bump_out_of_sight_takes_nothing_from_the_others(form):
    """Not even where inputs are far from 0 and taken less a middle, which must not be that of the means."""
    module = GMNM(2, 1, 4, form=form, domain=(10, 12), dtype=torch.float64)
    x = 10 + 2 * torch.rand(50, 2, dtype=torch.float64)
    with torch.no_grad():
        module.weight[-1] = 0
        expected = module(x)
        module.mean[-1] = 1e30
        torch.testing.assert_close(module(x), expected, rtol=1e-12, atol=1e-12)
