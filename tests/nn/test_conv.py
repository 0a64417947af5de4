import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from gmlayers import (
    Diagonal,
    Full,
    GMConv1d,
    GMConv2d,
    GMLayer,
    GMNMConv2d,
    LowRank,
    Regression,
    SharedFactor,
    convert,
    parameter_groups,
)
from gmlayers.diagnostics import marginal
from gmlayers.nn import Covariance
from gmlayers.nn._reading import Patches

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")  # of torch's own convolutions

FAMILIES = [
    LowRank(),
    LowRank(0),
    LowRank(2, "diagonal"),
    LowRank(2, "diagonal", coupling=True),
    SharedFactor(3),
    Diagonal(),
    Full(),
    Regression(),
]
families = pytest.mark.parametrize("family", FAMILIES, ids=str)
GEOMETRIES = [
    {"kernel_size": 3},
    {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 0)},
    {"kernel_size": 3, "padding": 2, "dilation": 2},
    {"kernel_size": (2, 4), "padding": "same"},
    {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
    {"kernel_size": 3, "padding": (1, 2), "padding_mode": "circular"},
    {"kernel_size": 3, "padding": "same", "padding_mode": "replicate"},
    {"kernel_size": 1},
    {"kernel_size": 3, "padding": "valid"},
]
geometries = pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)


def shaken(module):
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return module


def windows(x, geometry, kernel):
    """The patches of a padded image, cut out one by one, (batch, height', width', channels · kernel)."""
    plain = nn.Conv2d(1, 1, **{"bias": False, **geometry})
    if plain.padding_mode != "zeros" or isinstance(plain.padding, str):
        mode = "constant" if plain.padding_mode == "zeros" else plain.padding_mode
        x = F.pad(x, plain._reversed_padding_repeated_twice, mode)
    else:
        x = F.pad(x, (plain.padding[1],) * 2 + (plain.padding[0],) * 2)
    (s0, s1), (d0, d1), (k0, k1) = plain.stride, plain.dilation, kernel
    high, wide = (x.shape[2] - d0 * (k0 - 1) - 1) // s0 + 1, (x.shape[3] - d1 * (k1 - 1) - 1) // s1 + 1
    rows = []
    for i in range(high):
        row = []
        for j in range(wide):
            patch = x[:, :, i * s0 : i * s0 + d0 * (k0 - 1) + 1 : d0, j * s1 : j * s1 + d1 * (k1 - 1) + 1 : d1]
            row.append(patch.flatten(1))
        rows.append(torch.stack(row, 1))
    return torch.stack(rows, 1)


def dense(conv, dtype, group=0):
    """The layer that a convolution is to one group of patches."""
    K = conv.num_components // conv.geometry.groups
    layer = GMLayer(
        conv.in_features,
        conv.out_features,
        K,
        covariance=conv.covariance,
        activation=conv.activation,
        scaling=conv.scaling,
        bias=conv.bias is not None,
        dtype=dtype,
    )
    shapes = {name: p.shape for name, p in layer.named_parameters()}
    with torch.no_grad():
        for name, p in layer.named_parameters():
            value = conv.get_parameter(name)
            p.copy_(value if value.shape == shapes[name] else value[group * K : (group + 1) * K])
    return layer


@families
@geometries
def test_every_patch_goes_through_the_layer(family, geometry):
    conv = shaken(GMConv2d(2, 3, **geometry, num_components=4, covariance=family, dtype=torch.float64))
    x = torch.randn(2, 2, 6, 7, dtype=torch.float64)
    patches = windows(x, geometry, conv.geometry.kernel)
    expected = dense(conv, torch.float64)(patches).movedim(-1, 1)
    found = conv(x)
    assert found.shape == nn.Conv2d(2, 3, **geometry)(x.float()).shape
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(conv(x[0]), found[0], rtol=1e-11, atol=1e-11)


@families
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", [0, 2, "same"])
def test_sequences(family, stride, padding):
    if padding == "same" and stride > 1:
        return
    conv = shaken(GMConv1d(2, 3, 4, stride, padding, covariance=family, num_components=3, dtype=torch.float64))
    x = torch.randn(2, 2, 11, dtype=torch.float64)
    before, after = (1, 2) if padding == "same" else (padding, padding)
    patches = F.pad(x, (before, after)).unfold(2, 4, stride).movedim(1, 2).flatten(2)
    expected = dense(conv, torch.float64)(patches).mT
    assert conv(x).shape == nn.Conv1d(2, 3, 4, stride, padding)(x.float()).shape
    torch.testing.assert_close(conv(x), expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("family", [f for f in FAMILIES if f != SharedFactor(3)], ids=str)
@pytest.mark.parametrize("groups", [2, 4])
def test_groups_are_layers_of_their_own(family, groups):
    conv = GMConv2d(4, 8, 3, padding=1, groups=groups, num_components=8, covariance=family, dtype=torch.float64)
    conv = shaken(conv)
    x = torch.randn(2, 4, 5, 5, dtype=torch.float64)
    parts = []
    for group, part in enumerate(x.chunk(groups, 1)):
        patches = windows(part, {"kernel_size": 3, "padding": 1}, (3, 3))
        parts.append(dense(conv, torch.float64, group)(patches).movedim(-1, 1))
    torch.testing.assert_close(conv(x), torch.cat(parts, 1), rtol=1e-11, atol=1e-11)
    conv(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in conv.parameters())


@settings(max_examples=30)
@given(
    size=st.integers(1, 9),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    padding=st.integers(0, 3),
    dilation=st.integers(1, 3),
)
def test_sizes_are_torchs(size, kernel, stride, padding, dilation):
    plain = nn.Conv2d(1, 2, kernel, stride, padding, dilation)
    conv = GMConv2d(1, 2, kernel, stride, padding, dilation)
    x = torch.randn(1, 1, size, size + 2)
    try:
        shape = plain(x).shape
    except RuntimeError:
        with pytest.raises(ValueError, match="is smaller than a patch"):
            conv(x)
    else:
        assert conv(x).shape == shape


@pytest.mark.parametrize("kernel", [(3,), (2, 3)])
def test_patches_are_what_is_projected(kernel):
    axes = len(kernel)
    read = Patches(kernel, (2,) * axes, (1,) * axes, (1,) * axes)
    x = torch.randn(2, 3, *(7, 8)[:axes], dtype=torch.float64)
    u = read.patches(x)
    rows = torch.randn(5, u.shape[-1], dtype=torch.float64)
    torch.testing.assert_close(read.project(x, rows), u @ rows.T)
    torch.testing.assert_close(read.power(x, rows.square()), u.square() @ rows.square().T)
    torch.testing.assert_close(read.power(x), u.square().sum(-1, keepdim=True))


@pytest.mark.parametrize("family", [LowRank(), SharedFactor(2), Diagonal()], ids=str)
@pytest.mark.parametrize("groups", [1, 2])
def test_derivatives(family, groups):
    if groups > 1 and family == SharedFactor(2):
        return
    conv = shaken(
        GMConv2d(2, 2, 2, groups=groups, num_components=2, covariance=family, activation="gelu", dtype=torch.float64)
    )
    names, values = zip(*conv.named_parameters())
    x = torch.randn(1, 2, 3, 3, dtype=torch.float64, requires_grad=True)

    def call(x, *values):
        return torch.func.functional_call(conv, dict(zip(names, values)), (x,))

    assert torch.autograd.gradcheck(call, (x, *values))
    assert torch.autograd.gradgradcheck(call, (x, *values))


@pytest.mark.parametrize("groups", [1, 2])
def test_without_variance_it_is_two_convolutions(groups):
    """Parity with torch's: a component without noise is a ReLU neuron."""
    conv = shaken(GMConv2d(4, 6, 3, padding=1, groups=groups, num_components=8, covariance=LowRank(0)))
    with torch.no_grad():
        conv.std.zero_()
    first = nn.Conv2d(4, 8, 3, padding=1, groups=groups)
    second = nn.Conv2d(8, 6, 1, groups=groups, bias=False)
    with torch.no_grad():
        first.weight.copy_(conv.mean.view_as(first.weight))
        first.bias.copy_(conv.bias)
        output = conv.get_parameter("output_mean").unflatten(0, (groups, -1)).mT.flatten(0, 1)
        second.weight.copy_(output[..., None, None] * (8 / groups) ** -0.5)
    x = torch.randn(2, 4, 5, 5)
    torch.testing.assert_close(conv(x), second(F.relu(first(x))), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [GMConv2d, GMNMConv2d])
@pytest.mark.parametrize("geometry", [{}, {"groups": 4}, {"bias": False}], ids=str)
def test_it_is_as_large_as_the_convolution(make, geometry):
    module, plain = make(16, 64, 3, **geometry), nn.Conv2d(16, 64, 3, **geometry)
    count, wanted = (sum(p.numel() for p in net.parameters()) for net in (module, plain))
    assert abs(count - wanted) <= count / module.num_components * geometry.get("groups", 1)


def test_large_numbers_are_counted_in_float64():
    conv = shaken(GMConv2d(2, 3, 3, num_components=4))
    x = torch.randn(1, 2, 4, 4) * 1e20
    exact = copy.deepcopy(conv).double()(x.double())
    assert ((conv(x).double() - exact).norm() / exact.norm()).item() <= 1e-5


def test_stds_have_a_group():
    groups = parameter_groups(GMConv2d(2, 3, 3), 1e-3, 1e-2, weight_decay=0.1)
    assert [group["lr"] for group in groups] == [1e-3, 1e-3, 1e-2]


# --- bumps ---------------------------------------------------------------------------------------------------


@geometries
@pytest.mark.parametrize("rank", [1, 2])
def test_bumps_across_patches(geometry, rank):
    conv = shaken(GMNMConv2d(2, 3, **geometry, num_components=4, rank=rank, dtype=torch.float64))
    x = torch.randn(2, 2, 6, 7, dtype=torch.float64)
    u = windows(x, geometry, conv.geometry.kernel)
    expected = conv.bias.detach().expand(*u.shape[:-1], 3).clone()
    with torch.no_grad():
        for k in range(4):
            q = sum((u @ conv.projection[k, j] - conv.offset[k, j]).square() for j in range(rank))
            expected += torch.exp(-0.5 * q)[..., None] * conv.weight[k]
        torch.testing.assert_close(conv(x), expected.movedim(-1, 1))
        torch.testing.assert_close(conv(x[0]), conv(x)[0])


def test_groups_of_bumps():
    conv = shaken(GMNMConv2d(4, 6, 3, groups=2, num_components=6, dtype=torch.float64))
    x = torch.randn(2, 4, 5, 5, dtype=torch.float64)
    parts = []
    for g in range(2):
        one = GMNMConv2d(2, 3, 3, num_components=3, dtype=torch.float64)
        half = slice(3 * g, 3 * g + 3)
        with torch.no_grad():
            for name in ("projection", "offset", "weight", "bias"):
                one.get_parameter(name).copy_(conv.get_parameter(name)[half])
        parts.append(one(x[:, 2 * g : 2 * g + 2]))
    torch.testing.assert_close(conv(x), torch.cat(parts, 1))


def test_derivatives_of_bumps():
    conv = shaken(GMNMConv2d(2, 2, 2, num_components=2, dtype=torch.float64))
    names, values = zip(*conv.named_parameters())
    x = torch.randn(1, 2, 3, 3, dtype=torch.float64, requires_grad=True)

    def call(x, *values):
        return torch.func.functional_call(conv, dict(zip(names, values)), (x,))

    assert torch.autograd.gradcheck(call, (x, *values))
    assert torch.autograd.gradgradcheck(call, (x, *values))


# --- refusals ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((0, 3, 3), "in_channels must be at least 1, got 0"),
        ((2, 0, 3), "out_channels must be at least 1, got 0"),
        ((2, 3, 0), "kernel_size must be at least 1, got 0"),
        ((2, 3, (3, 3, 3)), "kernel_size must be a number or 2 of them, got 3"),
        ((2, 3, 3, 0), "stride must be at least 1, got 0"),
        ((2, 3, 3, 1, -1), "padding must be at least 0, got -1"),
        ((2, 3, 3, 1, "some"), "unknown padding 'some'"),
        ((2, 3, 3, 2, "same"), r"padding='same' is for a stride of 1, got \(2, 2\)"),
        ((2, 3, 3, 1, 0, 0), "dilation must be at least 1, got 0"),
        ((2, 3, 3, 1, 0, 1, 0), "groups must be at least 1, got 0"),
        ((2, 3, 3, 1, 0, 1, 2), "out_channels must be a multiple of groups, got 3 and 2"),
        ((3, 4, 3, 1, 0, 1, 2), "in_channels must be a multiple of groups, got 3 and 2"),
        ((2, 3, 3, 1, 0, 1, 1, True, "mirror"), "unknown padding_mode 'mirror'"),
    ],
)
@pytest.mark.parametrize("make", [GMConv2d, GMNMConv2d])
def test_refusals(make, arguments, match):
    with pytest.raises(ValueError, match=f"{make.__name__}: {match}|{match}"):
        make(*arguments)


def test_refusals_of_groups():
    with pytest.raises(ValueError, match="num_components must be a multiple of groups, got 3 and 2"):
        GMConv2d(2, 4, 3, groups=2, num_components=3)
    with pytest.raises(ValueError, match="num_components must be a multiple of groups, got 3 and 2"):
        GMNMConv2d(2, 4, 3, groups=2, num_components=3)
    with pytest.raises(ValueError, match=r"components of SharedFactor\(rank=16\) share factor, which groups cannot"):
        GMConv2d(2, 4, 3, groups=2, covariance="shared_factor")


@pytest.mark.parametrize("make", [GMConv2d, GMNMConv2d])
@pytest.mark.parametrize(
    ("x", "error", "match"),
    [
        (torch.randn(2, 3, 5, 5), ValueError, r"expected an input of shape \(batch, 2, height, width\) or \(2, height"),
        (torch.randn(5, 5), ValueError, "expected an input of shape"),
        (torch.randn(2, 2, 5, 5).double(), ValueError, "expected torch.float32, the dtype of the parameters"),
        (torch.randn(2, 2, 2, 5), ValueError, r"an input of height, width \(2, 5\) with its padding is smaller"),
        (torch.zeros(2, 2, 5, 5, dtype=torch.long), TypeError, "the input x"),
        ([[1.0]], TypeError, "the input x"),
    ],
)
def test_refused_inputs(make, x, error, match):
    with pytest.raises(error, match=f"{make.__name__}: {match}"):
        make(2, 3, 3)(x)


@pytest.mark.parametrize("groups", [1, 2])
def test_per_sample_gradients(groups):
    conv = GMConv2d(2, 4, 3, padding=1, groups=groups)
    names = dict(conv.named_parameters())
    x = torch.randn(3, 2, 4, 4)

    def loss(p, row):
        return torch.func.functional_call(conv, p, (row,)).square().sum()

    found = torch.func.vmap(torch.func.grad(loss), (None, 0))(names, x)
    expected = torch.autograd.grad(loss(names, x[1]), list(names.values()))
    for one, other in zip(found.values(), expected):
        torch.testing.assert_close(one[1], other, rtol=1e-3, atol=1e-5)


def test_groups_are_exported_with_any_batch():
    conv = GMConv2d(4, 6, 3, groups=2).eval()
    program = torch.export.export(conv, (torch.randn(3, 4, 5, 5),), dynamic_shapes=({0: torch.export.Dim("b")},))
    x = torch.randn(7, 4, 5, 5)
    torch.testing.assert_close(program.module()(x), conv(x))


@pytest.mark.parametrize("make", [GMConv2d, GMNMConv2d])
def test_attributes_are_those_of_torchs(make):
    arguments = {"kernel_size": (3, 2), "stride": 2, "padding": 1, "dilation": (1, 2), "groups": 2}
    module, plain = make(4, 6, **arguments), nn.Conv2d(4, 6, **arguments)
    for name in ("in_channels", "out_channels", "kernel_size", "stride", "dilation", "groups", "padding_mode"):
        assert getattr(module, name) == getattr(plain, name), name


@pytest.mark.parametrize("function", [convert.to_full, convert.gm_to_mlp, marginal])
def test_what_is_for_layers_alone_refuses_convolutions(function):
    with pytest.raises(TypeError, match="layer must be a GMLayer, got "):
        function(GMConv2d(2, 3, 3), *([8] if function is convert.gm_to_mlp else []))


def test_empty_batches():
    for module in (GMConv2d(2, 3, 3), GMNMConv2d(2, 3, 3), GMConv2d(2, 4, 3, groups=2)):
        assert module(torch.randn(0, 2, 5, 5)).shape == (0, module.geometry.out_channels, 3, 3)


def test_a_family_that_knows_of_no_patches_says_so():
    class Old(Covariance):
        shapes, default_init_scale, init = LowRank(0).shapes, 0.1, LowRank(0).init

        def moments(self, p, x):
            return LowRank(0).moments(p, x)

    with pytest.raises(TypeError, match="moments"):
        GMConv2d(2, 3, 3, covariance=Old())(torch.randn(1, 2, 5, 5))


def test_repr():
    text = repr(GMConv2d(2, 4, (3, 1), padding="same", groups=2, activation="gelu"))
    assert text.startswith(
        "GMConv2d(2, 4, kernel_size=(3, 1), stride=(1, 1), padding='same', groups=2, num_components="
    )
    assert "activation='gelu'" in text
    assert "padding_mode='reflect'" in repr(GMNMConv2d(2, 4, 3, padding=1, padding_mode="reflect", dilation=2))
