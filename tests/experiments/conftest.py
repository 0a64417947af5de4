import pytest
import torch

from gmlayers.experiments.data import Data


@pytest.fixture
def images():
    """A small learnable problem of 60 + 20 images of 3 classes."""
    g = torch.Generator().manual_seed(1)
    y = torch.arange(80) % 3
    x = torch.rand(80, 1, 4, 4, generator=g) * 0.3
    x[torch.arange(80), 0, y, y] += 0.7
    return Data("toy", x[:60], y[:60], x[60:], y[60:], ("a", "b", "c"), validation=10)


@pytest.fixture
def numbers():
    """A linear relation, 60 + 20 rows of 3 features on very different scales."""
    g = torch.Generator().manual_seed(1)
    x = torch.randn(80, 3, generator=g) * torch.tensor([1.0, 1e3, 1e-3]) + torch.tensor([0.0, 5e3, 1.0])
    y = (2 * x[:, :1] + x[:, 1:2] / 1e3 + 1e3 * x[:, 2:]) * 50 + 700
    return Data("line", x[:60], y[:60], x[60:], y[60:], None, validation=6, columns=("u", "v", "w"))
