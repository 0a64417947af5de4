import pytest
import torch

from gmlayers.diagnostics import NeuronMixture


@pytest.fixture
def mixture():
    """A maker of random mixtures; isotropic ones have one variance per component."""

    def make(K, d, r, *, isotropic=False, weight=None, dtype=torch.float64):
        var = torch.rand(K, 1 if isotropic else d, dtype=dtype).expand(K, d)
        weight = torch.full((K,), 1 / K, dtype=dtype) if weight is None else weight
        return NeuronMixture(weight, torch.randn(K, d, dtype=dtype), var, torch.randn(K, d, r, dtype=dtype))

    return make


@pytest.fixture
def covariance():
    """The dense covariances of a mixture."""
    return lambda m: torch.diag_embed(m.var) + m.factor @ m.factor.mT


@pytest.fixture
def sample():
    """Draws of a mixture, (n, d)."""

    def draw(m, n):
        k = torch.multinomial(m.weight, n, replacement=True)
        noise = m.var.sqrt()[k] * torch.randn(n, m.mean.shape[1], dtype=m.mean.dtype)
        w = torch.randn(n, m.factor.shape[2], 1, dtype=m.mean.dtype)
        return m.mean[k] + noise + (m.factor[k] @ w)[..., 0]

    return draw
