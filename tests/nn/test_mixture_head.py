"""Mixtures of normal distributions as answers: likelihood, quantiles and score, by loops, quadrature and sampling."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from gmlayers import MixtureHead
from gmlayers.nn import NormalMixture

F64 = torch.float64


def mixtures(*shape: int, dtype: torch.dtype = F64) -> NormalMixture:
    logits, mean = torch.randn(*shape, dtype=dtype), 2 * torch.randn(*shape, dtype=dtype)
    return NormalMixture(logits, mean, torch.rand(*shape, dtype=dtype) + 0.2)


def test_likelihood_and_distribution_function_are_those_of_a_loop():
    of, y = mixtures(3, 4), torch.randn(3, dtype=F64)
    weights, mean, std = of._parts
    for i in range(3):
        density = sum(
            float(weights[i, r]) * math.exp(-0.5 * float((y[i] - mean[i, r]) / std[i, r]) ** 2) / float(std[i, r])
            for r in range(4)
        ) / math.sqrt(2 * math.pi)
        assert float(of.log_prob(y)[i]) == pytest.approx(math.log(density))
        below = sum(
            float(weights[i, r]) * 0.5 * (1 + math.erf(float((y[i] - mean[i, r]) / std[i, r]) / math.sqrt(2)))
            for r in range(4)
        )
        assert float(of.cdf(y)[i]) == pytest.approx(below)


@given(st.integers(1, 5), st.floats(1e-6, 1 - 1e-6))
def test_quantiles_are_where_the_distribution_function_says(R, p):
    torch.manual_seed(R)
    of = mixtures(7, R)
    q = of.icdf(torch.tensor(p, dtype=F64))
    torch.testing.assert_close(of.cdf(q), torch.full((7,), p, dtype=F64), atol=1e-12, rtol=1e-9)


def test_quantiles_in_a_gap_between_components_are_in_it():
    of = NormalMixture(torch.zeros(2), torch.tensor([-1e3, 1e3]), torch.ones(2))
    q = of.icdf(torch.tensor([0.25, 0.75]))
    torch.testing.assert_close(q, torch.tensor([-1e3, 1e3]), atol=1e-2, rtol=0)
    assert -1e3 < float(of.icdf(torch.tensor(0.5))) < 1e3


def test_one_component_is_a_normal_distribution():
    of = NormalMixture(*(torch.tensor([v], dtype=F64) for v in (0.3, 2.0, 3.0)))
    p = torch.tensor([1e-5, 0.1, 0.5, 0.99], dtype=F64)
    torch.testing.assert_close(of.icdf(p), 2 + 3 * torch.special.ndtri(p))
    y = torch.tensor([5.0], dtype=F64)
    t = (y - 2) / 3
    pdf = torch.exp(-0.5 * t**2) / math.sqrt(2 * math.pi)
    wanted = 3 * (t * (2 * torch.special.ndtr(t) - 1) + 2 * pdf - 1 / math.sqrt(math.pi))  # Gneiting and Raftery, 2007
    torch.testing.assert_close(of.crps(y), wanted)


def test_the_score_is_its_integral():
    of, y = mixtures(4, 3), torch.randn(4, dtype=F64)
    z = torch.linspace(-40, 40, 400_001, dtype=F64).unsqueeze(1)
    found = torch.trapezoid((of.cdf(z) - (y <= z).double()).square(), z[:, 0], dim=0)
    torch.testing.assert_close(of.crps(y), found, atol=3e-4, rtol=0)


def test_the_score_is_that_of_samples():
    torch.manual_seed(0)
    of, y = mixtures(3), torch.tensor(0.7, dtype=F64)
    one, other = of.sample((200_000,)), of.sample((200_000,))
    terms = (one - y).abs() - 0.5 * (one - other).abs()
    assert float((terms.mean() - of.crps(y)).abs()) < 5 * float(terms.std()) / math.sqrt(len(terms))
    assert float((one.mean() - of.mean).abs()) < 5 * float(one.std()) / math.sqrt(len(one))


def test_the_score_is_proper():
    """Who forecasts by the law that the numbers come from has the least score."""
    torch.manual_seed(0)
    true = mixtures(3)
    y = true.sample((20_000,))
    own = true.crps(y)
    for _ in range(5):
        other = mixtures(3).crps(y)
        assert float((other - own).mean()) > 3 * float((other - own).std()) / math.sqrt(len(y))


def test_derivatives():
    tensors = [torch.randn(2, 3, dtype=F64).requires_grad_() for _ in range(2)]
    tensors.append((torch.rand(2, 3, dtype=F64) + 0.3).requires_grad_())
    y, p = torch.randn(2, dtype=F64).requires_grad_(), torch.rand(2, dtype=F64).requires_grad_()
    for call in (NormalMixture.log_prob, NormalMixture.crps):
        assert torch.autograd.gradcheck(lambda y, *own, call=call: call(NormalMixture(*own), y), (y, *tensors))
        assert torch.autograd.gradgradcheck(lambda y, *own, call=call: call(NormalMixture(*own), y), (y, *tensors))
    assert torch.autograd.gradcheck(lambda p, *own: NormalMixture(*own).icdf(p), (p, *tensors), atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_extremes_are_finite(dtype, scale):
    logits, mean = torch.tensor([0.0, -200.0, 3.0], dtype=dtype), scale * torch.tensor([-1.0, 0.0, 1.0], dtype=dtype)
    of = NormalMixture(logits, mean, scale * torch.tensor([1e-3, 1.0, 100.0], dtype=dtype))
    y = scale * torch.tensor([-1e3, 0.0, 1e3], dtype=dtype)
    for found in (of.log_prob(y), of.cdf(y), of.crps(y), of.icdf(torch.tensor([1e-6, 0.5, 1 - 1e-6], dtype=dtype))):
        assert found.isfinite().all()
    assert (of.crps(y) >= 0).all()


def test_a_head_is_linear_maps():
    head, x = MixtureHead(3, 2, 4, dtype=F64), torch.randn(5, 3, dtype=F64)
    logits, mean, std = head.tensors(x)
    for n, j, r in itertools.product(range(5), range(2), range(4)):
        one, two, three = (float((head.weight[k, j, r] @ x[n] + head.bias[k, j, r]).detach()) for k in range(3))
        assert float(logits[n, j, r].detach()) == pytest.approx(one)
        assert float(mean[n, j, r].detach()) == pytest.approx(two)
        assert float(std[n, j, r].detach()) == pytest.approx(math.log1p(math.exp(three)) + 1e-3)
    assert head(x).log_prob(torch.zeros(5, 2, dtype=F64)).shape == (5, 2)


def test_at_the_start_it_is_about_a_standard_normal_distribution():
    torch.manual_seed(0)
    of = MixtureHead(32, 5)(torch.randn(200, 32))
    assert float(of.mean.detach().mean().abs()) < 0.1
    assert 0.8 < float(of.stddev.detach().mean()) < 1.6


@pytest.mark.parametrize("loss", ["likelihood", "score"])
def test_two_branches_are_learned(loss):
    """What comes is x or -x: a mixture covers both, and its quantiles are right."""
    torch.manual_seed(0)
    head = MixtureHead(1, 1, 2)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.02)
    for _ in range(600):
        x = torch.rand(256, 1) + 1
        y = x * torch.randint(2, (256, 1)).mul(2).sub(1) + 0.1 * torch.randn(256, 1)
        of = head(x)
        value = -of.log_prob(y).mean() if loss == "likelihood" else of.crps(y).mean()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    x = torch.full((4000, 1), 1.5)
    y = x * torch.randint(2, x.shape).mul(2).sub(1) + 0.1 * torch.randn(x.shape)
    for p in (0.1, 0.4, 0.9):
        covered = (y < head(x).icdf(torch.tensor(p))).double().mean()
        assert abs(float(covered) - p) < 0.06
    assert float(head(x[:1]).stddev.detach()) > 1


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_compile_and_export(dtype):
    head, x = MixtureHead(3, 2, dtype=dtype), torch.randn(4, 3, dtype=dtype)

    class Tensors(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = head

        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            return self.head.tensors(x)

    program = torch.export.export(Tensors(), (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    more = torch.randn(9, 3, dtype=dtype)
    torch.testing.assert_close(program.module()(more), head.tensors(more))

    def loss(x: Tensor) -> Tensor:
        return head(x).crps(torch.zeros(4, 2, dtype=dtype)).mean()

    torch._dynamo.reset()
    torch.testing.assert_close(torch.compile(loss, backend="aot_eager")(x), loss(x))
    with torch.autocast("cpu", torch.bfloat16):
        if dtype == torch.float32:
            assert head(x).mean.dtype == torch.float32


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: MixtureHead(0, 2), ValueError, "MixtureHead: in_features must be at least 1"),
        (lambda: MixtureHead(3, 2, 0), ValueError, "MixtureHead: components must be at least 1"),
        (lambda: MixtureHead(3, 2, least_std=0.0), ValueError, "MixtureHead: least_std"),
        (
            lambda: MixtureHead(3, 2)(torch.randn(4, 5)),
            ValueError,
            r"MixtureHead: expected an input of shape \(..., 3\)",
        ),
        (lambda: mixtures(3).icdf(torch.tensor(1.0, dtype=F64)), ValueError, r"probabilities must lie in \(0, 1\)"),
        (lambda: mixtures(3).icdf(0.5), TypeError, "NormalMixture.icdf: value must be a tensor"),
        (lambda: mixtures(3).crps("no"), TypeError, "NormalMixture.crps: y must be a tensor"),
        (lambda: NormalMixture(*(torch.ones(n) for n in (2, 3, 3))), ValueError, "of one shape"),
        (lambda: NormalMixture(*(torch.ones(2, 0) for _ in range(3))), ValueError, "of one shape"),
    ],
)
def test_bad_input(call, error, said):
    with pytest.raises(error, match=said):
        call()


def test_numpy_agrees_on_the_mean_of_scores():
    of, y = mixtures(50, 3), torch.randn(50, dtype=F64)
    weights, mean, std = (t.numpy() for t in of._parts)
    samples = np.random.default_rng(0).normal(mean[:, :, None], std[:, :, None], (50, 3, 4000))
    near = (weights[:, :, None] * np.abs(samples - y.numpy()[:, None, None])).mean(-1).sum(-1)
    torch.testing.assert_close(of.crps(y) + _half_spread(of), torch.from_numpy(near), atol=0.1, rtol=0.05)


def _half_spread(of: NormalMixture) -> Tensor:
    weights, mean, std = of._parts
    apart, spread = mean[..., None] - mean[..., None, :], torch.hypot(std[..., None], std[..., None, :])
    t = apart / spread
    size = 2 * spread * torch.exp(-0.5 * t**2) / math.sqrt(2 * math.pi) + apart * torch.erf(t / math.sqrt(2))
    return 0.5 * (weights[..., None] * weights[..., None, :] * size).sum((-2, -1))


def test_softplus_keeps_stds_positive():
    head = MixtureHead(1, 1, 1)
    with torch.no_grad():
        head.bias[2] = -1e4
    assert float(head(torch.zeros(1)).stddev.detach()) == pytest.approx(1e-3)
    assert float(F.softplus(torch.tensor(-1e4))) == 0


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_quantiles_are_right_in_the_tails_and_between_far_components(dtype):
    of = NormalMixture(*(torch.tensor(v, dtype=dtype) for v in ([0.0, 0.0], [-1.0, 1.0], [1.0, 1.0])))
    found = of.icdf(torch.tensor([1e-5, 1e-8, 1e-12], dtype=dtype))
    torch.testing.assert_close(found, torch.tensor([-5.10749, -6.49085, -7.93718], dtype=dtype), atol=1e-4, rtol=0)
    far = NormalMixture(*(torch.tensor(v, dtype=dtype) for v in ([0.0, 0.0], [0.0, 1e6], [1e-3, 1.0])))
    p = torch.tensor([0.1, 0.25, 0.4], dtype=dtype)
    torch.testing.assert_close(far.cdf(far.icdf(p)), p, atol=1e-4, rtol=0)


def test_half_precision_and_larger_shapes():
    of = NormalMixture(*(torch.tensor([v, v + 1]).half() for v in (0.0, 0.5, 1.0)))
    assert of.icdf(torch.tensor(0.3).half()).dtype == torch.float16
    assert of.expand((3,)).sample((5,)).shape == (5, 3)
