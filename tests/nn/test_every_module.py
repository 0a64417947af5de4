"""What torch's ecosystem asks of a module, of all of them, and what they say of themselves."""

import copy
import io
import pickle

import pytest
import torch

import gmlayers
from gmlayers import (
    GMNM,
    AxisAligned,
    Diagonal,
    Full,
    GMConv1d,
    GMConv2d,
    GMFeedForward,
    GMLayer,
    GMNMAttention,
    GMNMConv2d,
    GMNMFeedForward,
    LowRank,
    Mahalanobis,
    Regression,
    Ridge,
    SharedFactor,
)
from gmlayers.functional import ACTIVATIONS, Activation


class Images(torch.nn.Module):
    """A convolution of rows of 6 numbers, (..., 6) -> (..., 3): there is one patch in each."""

    def __init__(self, conv, shape=(1, 2, 3)):
        super().__init__()
        self.conv, self.shape = conv, shape

    def forward(self, x):
        y = self.conv(x.reshape(-1, *self.shape))
        return y.reshape(*x.shape[:-1], 3)


class Tokens(torch.nn.Module):
    """Attention over rows of 6 numbers as two tokens of three, (..., 6) -> (..., 3)."""

    def __init__(self, **options):
        super().__init__()
        self.attention = GMNMAttention(3, 1, batch_first=True, **options)

    def forward(self, x):
        y, _ = self.attention(x.reshape(-1, 2, 3), is_causal=True)
        return y.sum(1).reshape(*x.shape[:-1], 3)


MODULES = {
    "low rank": lambda: GMLayer(6, 3, 4),
    "low rank, coupled": lambda: GMLayer(6, 3, 4, covariance=LowRank(2, "diagonal", coupling=True)),
    "shared factor": lambda: GMLayer(6, 3, 4, covariance="shared_factor", activation="gelu"),
    "diagonal": lambda: GMLayer(6, 3, 4, covariance="diagonal"),
    "full": lambda: GMLayer(6, 3, 4, covariance=Full()),
    "paper": lambda: GMLayer.paper(6, 3, 4),
    "bumps": lambda: GMNM(6, 3, 4),
    "feed-forward": lambda: GMFeedForward(6, 12, 3),
    "feed-forward, rank 2": lambda: GMFeedForward(6, 12, 3, rank=2, activation="silu"),
    "gate": lambda: GMFeedForward(6, 12, 3, level=False, activation="silu_integral"),
    "level": lambda: GMFeedForward(6, 12, 3, gate=False),
    "bumps, feed-forward": lambda: GMNMFeedForward(6, 12, 3, rank=2),
    "images": lambda: Images(GMConv2d(1, 3, (2, 3), num_components=4, activation="gelu")),
    "images, shared": lambda: Images(GMConv2d(1, 3, (2, 3), num_components=4, covariance="shared_factor")),
    "images, coupled": lambda: Images(GMConv2d(1, 3, (2, 3), num_components=4, covariance="diagonal")),
    "images of bumps": lambda: Images(GMNMConv2d(1, 3, (2, 3), num_components=4)),
    "attention": Tokens,
    "attention, mixture": lambda: Tokens(components=2),
    "attention, full": lambda: Tokens(components=2, keys="full"),
    "sequences": lambda: Images(GMConv1d(2, 3, 3, num_components=4), (2, 3)),
}


@pytest.fixture(params=MODULES.values(), ids=MODULES.keys())
def module(request):
    module = request.param()
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return module.eval()


@pytest.fixture
def x():
    return torch.randn(5, 6)


def test_compile(module, x):
    torch.testing.assert_close(torch.compile(module, fullgraph=True)(x), module(x), rtol=1e-4, atol=1e-5)


def test_export(module, x):
    batch = torch.export.Dim("batch")
    program = torch.export.export(module, (x,), dynamic_shapes=({0: batch},))
    more = torch.randn(9, 6)
    torch.testing.assert_close(program.module()(more), module(more))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_onnx(module, x):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    program = torch.onnx.export(module, (x,), dynamo=True, verbose=False)
    assert program is not None
    file = io.BytesIO()
    program.save(file)
    session = runtime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(y), module(x).detach(), rtol=1e-4, atol=1e-5)


def test_autocast(module, x):
    exact = module(x)
    with torch.autocast("cpu", torch.bfloat16):
        y = module(x)
    assert y.dtype == torch.bfloat16
    assert (y - exact).norm() <= 2e-2 * exact.norm()
    y.float().square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


def test_half_precision_parameters(module, x):
    low = copy.deepcopy(module).bfloat16()
    exact = copy.deepcopy(low).float()(x.bfloat16().float())
    y = low(x.bfloat16())
    assert y.dtype == torch.bfloat16
    assert (y - exact).norm() <= 3e-2 * exact.norm()


def test_pickle_and_copies(module, x):
    y = module(x)
    assert torch.equal(copy.deepcopy(module)(x), y)
    assert torch.equal(pickle.loads(pickle.dumps(module))(x), y)
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    with torch.no_grad():
        for p in module.parameters():
            p.zero_()
    module.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(module(x), y)


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # torch's attention on a CPU has no vmap
def test_per_sample_gradients_and_batches(module, x):
    names = dict(module.named_parameters())

    def loss(parameters, row):
        return torch.func.functional_call(module, parameters, (row,)).square().sum()

    found = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(names, x)
    for i, row in enumerate(x):
        expected = torch.autograd.grad(loss(names, row), list(names.values()))
        for name, gradient in zip(names, expected):
            torch.testing.assert_close(found[name][i], gradient, rtol=1e-3, atol=1e-5)


def test_empty_batches_and_more_axes(module, x):
    assert module(x[:0]).shape == (0, 3)
    torch.testing.assert_close(module(x.expand(2, 7, 5, 6)), module(x).expand(2, 7, 5, 3))
    torch.testing.assert_close(module(x[0]), module(x)[0])


def test_meta(x):
    for make in MODULES.values():
        module = copy.deepcopy(make()).to("meta")
        assert module(x.to("meta")).shape == (5, 3)


PUBLIC = {name: getattr(gmlayers, name) for name in gmlayers.__all__}

SHOWN = [
    *(
        GMLayer(4, 2, 3, covariance=family)
        for family in (
            LowRank(),
            LowRank(0),
            LowRank(2, "diagonal", coupling=True),
            SharedFactor(3),
            Diagonal(),
            Full(),
            Regression(),
        )
    ),
    *(GMLayer(4, 2, 3, activation=name) for name in ACTIVATIONS),
    GMLayer(4, 2, 3, scaling="mean", learn_weights=True, bias=False, init_scale=1 / 3),
    GMLayer.paper(4, 2, 3),
    *(GMNM(4, 2, 3, form=form) for form in ("mahalanobis", "diagonal", "ridge")),
    *(GMNM(4, 2, 3, form=form) for form in (Mahalanobis(6), AxisAligned(), Ridge())),
    GMNM(4, 2, 3, domain=(-1 / 3, 1e8 + 1), bias=False),
    GMNM(2, 1, 3, domain=([0.1, 1 / 3], [1.0, 2.0])),
    GMNM(1, 1, 3, domain=(0, 1)),
    GMNM.from_data(torch.rand(20, 8, generator=torch.Generator().manual_seed(0)), 1, 5),
]


@pytest.mark.filterwarnings("ignore:GMNM. an input is outside")
@pytest.mark.parametrize("module", SHOWN, ids=lambda module: repr(module)[:60])
def test_what_is_shown_makes_a_module_of_the_same_kind(module):
    twin = eval(repr(module), PUBLIC)
    assert repr(twin) == repr(module)
    assert {k: v.shape for k, v in twin.state_dict().items()} == {k: v.shape for k, v in module.state_dict().items()}
    for name in ("covariance", "activation", "scaling", "init_scale", "form", "domain"):
        assert getattr(twin, name, None) == getattr(module, name, None)
    assert twin.load_state_dict(module.state_dict())
    x = torch.rand(5, module.in_features)
    assert torch.equal(twin(x), module(x))


def test_a_domain_of_many_features_is_shown_in_part_and_does_not_pass_for_another():
    text = repr(GMNM.from_data(torch.rand(20, 9), 1, 5))
    assert len(text) < 500
    with pytest.raises(TypeError, match="domain must be"):
        eval(text, PUBLIC)


def test_an_activation_of_your_own_is_shown_by_its_name():
    own = Activation(torch.relu, lambda m, var: m, lambda m, var: m, "relu")
    layer = GMLayer(4, 2, 3, activation=own)
    assert "activation=relu," in repr(layer)
    assert eval(repr(layer), {**PUBLIC, "relu": own}).activation is own


@pytest.mark.parametrize("form", ["mahalanobis", "diagonal", "ridge"])
def test_a_form_and_its_name_make_the_same_module(form):
    descriptor = {"mahalanobis": Mahalanobis(3), "diagonal": AxisAligned(), "ridge": Ridge()}[form]
    torch.manual_seed(0)
    named = GMNM(3, 2, 4, form=form)
    torch.manual_seed(0)
    made = GMNM(3, 2, 4, form=descriptor)
    assert made.form == named.form
    for a, b in zip(named.parameters(), made.parameters()):
        assert torch.equal(a, b)


def test_what_forms_refuse():
    with pytest.raises(ValueError, match="Mahalanobis: rank must be at least 1, got 0"):
        Mahalanobis(0)
    with pytest.raises(TypeError, match="Mahalanobis: rank must be a whole number, got 1.5"):
        Mahalanobis(1.5)
    with pytest.raises(ValueError, match=r"rank is for form='mahalanobis', got rank=2 with form=Mahalanobis\(rank=3\)"):
        GMNM(3, 1, 4, form=Mahalanobis(3), rank=2)
    with pytest.raises(TypeError):
        Ridge(rank=2)
