"""Every family gives its law in parts, and all that is made of layers follows from it."""

import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from gmlayers import GMLayer, LowRank, SharedFactor, convert
from gmlayers.diagnostics import marginal
from gmlayers.functional import VARIANCE_FLOOR
from gmlayers.nn import Covariance, Diagonal, Full, Law, Regression, Root, _covariance

FAMILIES = [
    LowRank(),
    LowRank(0),
    LowRank(2, "diagonal"),
    LowRank(3, "diagonal", coupling=True),
    LowRank(2, coupling=True),
    SharedFactor(3),
    Diagonal(),
    Full(),
    Regression(),
]


def shaken(layer):
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return layer


def by_loops(law):
    """Return (B, A) entry by entry, as the docstring of Law has it."""
    mean, diagonal, factor, output_mean, coupling, output_factor, factor_std = law
    K, d = mean.shape
    out, r = output_mean.shape[1], output_factor.shape[1]
    width = (0 if diagonal is None else d) + r
    A, B = torch.zeros(K, d, width, dtype=mean.dtype), torch.zeros(K, out, width, dtype=mean.dtype)
    for k in range(K):
        column = 0
        for i in range(0 if diagonal is None else d):
            A[k, i, column] = diagonal[k, i if diagonal.shape[1] > 1 else 0]
            for o in range(out):
                B[k, o, column] = 0 if coupling is None else coupling[k, o, i]
            column += 1
        for j in range(r):
            for i in range(d):
                std = 1 if factor_std is None else factor_std[k, j]
                A[k, i, column] = std * factor[k if len(factor) > 1 else 0, j, i]
            for o in range(out):
                B[k, o, column] = output_factor[k, j, o]
            column += 1
    return A, B


@pytest.mark.parametrize("family", FAMILIES, ids=str)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3))
def test_the_parts_are_those_of_the_root(family, inputs, outputs, K):
    layer = shaken(GMLayer(inputs, outputs, K, covariance=family, dtype=torch.float64))
    law = family.law(layer.family_parameters())
    root = layer.root()
    for ours, theirs in zip((root.root, root.output_root), by_loops(law)):
        assert torch.equal(ours, theirs)
    assert torch.equal(root.mean, law.mean)
    assert torch.equal(root.output_mean, law.output_mean)


class ByRoot(Covariance):
    """A family as one was written for version 0.2: it says its law by the dense root alone."""

    default_init_scale = 0.1

    def shapes(self, in_features, out_features, num_components):
        return LowRank(2).shapes(in_features, out_features, num_components)

    def init(self, p, init_scale, generator):
        LowRank(2).init(p, init_scale, generator)

    def moments(self, p, x):
        reading = torch.einsum("kri,...i->...kr", p["factor"], x)
        return F.linear(x, p["mean"]), reading.square().sum(-1) + VARIANCE_FLOOR, reading

    def readout(self, p, level, gate, x, reading):
        return level @ p["output_mean"] + torch.einsum("...k,...kr,kro->...o", gate, reading, p["output_factor"])

    def root(self, p):
        return Root(p["mean"], p["factor"].mT, p["output_mean"], p["output_factor"].mT)


class ByRootGated(ByRoot):
    """The same, with the product of gate and reading in the place of the gate."""

    gates_reading = True

    def readout(self, p, level, gate, x, reading):
        return level @ p["output_mean"] + torch.einsum("...kr,kro->...o", gate, p["output_factor"])


class ByLaw(ByRoot):
    """The same, which says its law in parts."""

    gates_reading = True
    root = Covariance.root

    def readout_gated(self, p, level, gated):
        return level @ p["output_mean"] + torch.einsum("...kr,kro->...o", gated, p["output_factor"])

    def law(self, p):
        return Law(p["mean"], None, p["factor"], p["output_mean"], None, p["output_factor"])


@pytest.mark.parametrize("family", [ByRoot(), ByRootGated(), ByLaw()], ids=lambda f: type(f).__name__)
def test_a_family_of_ones_own_is_taken_everywhere(family):
    layer = shaken(GMLayer(6, 3, 4, covariance=family, dtype=torch.float64))
    plain = GMLayer(6, 3, 4, covariance=LowRank(2), dtype=torch.float64)
    plain.load_state_dict(layer.state_dict())
    with torch.no_grad():
        plain.std.zero_()
    x = torch.randn(7, 6, dtype=torch.float64)
    y = plain(x)
    torch.testing.assert_close(layer(x), y)
    torch.testing.assert_close(convert.fold(layer)(x), y)
    torch.testing.assert_close(convert.to_full(layer)(x), y)
    torch.testing.assert_close(convert.sampling_variance(layer, x), convert.sampling_variance(plain, x))
    ours, theirs = marginal(layer), marginal(plain)
    torch.testing.assert_close(ours.factor, theirs.factor)
    assert convert.gm_to_mlp(layer, 8)(x).shape == y.shape


def test_a_family_without_a_law_is_told_so():
    class Nothing(ByRoot):
        root, readout = Covariance.root, Covariance.readout

    layer = GMLayer(6, 3, 4, covariance=Nothing())
    with pytest.raises(NotImplementedError, match="Nothing defines neither law nor root"):
        layer.root()
    with pytest.raises(NotImplementedError, match="Nothing has neither readout nor gates_reading with readout_gated"):
        layer(torch.randn(2, 6))


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_drawn_neurons_have_the_law(family):
    """All of it, the noise of ω included; its sum of squares is compared, which is a mean over many draws."""
    layer = shaken(GMLayer(3, 2, 1, covariance=family, dtype=torch.float64))
    n = 20_000
    net = convert.gm_to_mlp(layer, n, generator=torch.Generator().manual_seed(0))
    joint = torch.cat([net[2].weight.T * n / layer.component_weight(), net[0].weight], 1)
    mean, root, output_mean, output_root = layer.root()
    dense = torch.cat([output_root[0], root[0]])
    expected = dense @ dense.T
    centred = joint - torch.cat([output_mean[0], mean[0]])
    found = centred.T @ centred / n
    # the variance of a product of centred normal variables is c_ii c_jj + c_ij²
    size = expected.diagonal()
    error = ((size[:, None] * size + expected.square()) / n).sqrt()
    assert ((found - expected).abs() <= 5 * error + 1e-12).all()


def test_pickles_of_version_0_2_find_their_families():
    """They say gmlayers.nn._covariance.LowRank."""
    text = pickle.dumps(LowRank(3), protocol=0).replace(b"gmlayers.nn.covariance._low_rank", b"gmlayers.nn._covariance")
    assert pickle.loads(text) == LowRank(3)
    for name in ("Diagonal", "Full", "LowRank", "Regression", "SharedFactor"):
        assert getattr(_covariance, name).__name__ == name


@pytest.mark.parametrize(
    ("family", "names"),
    [
        ("low_rank", "mean std output_mean factor output_factor bias"),
        ("shared_factor", "mean std factor factor_std output_mean output_factor bias"),
        ("diagonal", "mean std output_mean coupling bias"),
        ("full", "mean scale_tril output_mean coupling bias"),
        ("regression", "mean std slope intercept bias"),
    ],
)
def test_the_names_in_a_state_dict_stay(family, names):
    assert sorted(GMLayer(4, 2, 3, covariance=family).state_dict()) == sorted(names.split())
