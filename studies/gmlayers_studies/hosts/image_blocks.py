"""What stands in the places of image classifiers: two-layer networks over the channels of a pixel, or over patches.

All blocks of a width are of one size: that of a GELU block whose hidden layer is :data:`EXPANSION` times as wide.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gmlayers import GMNM, GMConv2d, GMFeedForward, GMNMConv2d, GMNMFeedForward

EXPANSION, PATCH_EXPANSION = 4, 2
"""The hidden layer of a GELU block is so many times as wide, over pixels and over patches."""

KERNEL = 3
CENTRES, REACH = 8, 2.0
"""FastKAN has so many bumps for every input, from -2 to 2, as wide as they are apart."""


def sized(make: Callable[[int], nn.Module], size: int) -> nn.Module:
    """Return the module whose number of parameters, which grows evenly with its hidden size, is closest to a size."""
    with torch.random.fork_rng([]):  # so that the draws of the module do not depend on these two
        one, two = (sum(p.numel() for p in make(hidden).parameters()) for hidden in (8, 16))
    each = (two - one) / 8
    return make(max(1, round((size - one) / each) + 8))


class Gated(nn.Module):
    """A gated block, down(silu(gate(x)) * up(x))."""

    def __init__(self, gate: nn.Module, up: nn.Module, down: nn.Module) -> None:
        super().__init__()
        self.gate, self.up, self.down = gate, up, down

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the block."""
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Bumps(nn.Module):
    """The values of fixed bumps at every input, (..., features) to (..., features * :data:`CENTRES`)."""

    centres: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("centres", torch.linspace(-REACH, REACH, CENTRES))

    def forward(self, x: Tensor) -> Tensor:
        """Return exp(-((x - c) / h)²), h being the distance between centres c."""
        apart = 2 * REACH / (CENTRES - 1)
        return torch.exp(-(((x.unsqueeze(-1) - self.centres) / apart) ** 2)).flatten(-2)


class FastKANLayer(nn.Module):
    """A layer of FastKAN (Z. Li, arXiv 2405.06721): bumps of every normed input, weighed, and a base of SiLU."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.norm, self.bumps = nn.LayerNorm(in_features), Bumps()
        self.spline = nn.Linear(in_features * CENTRES, out_features, bias=False)
        nn.init.trunc_normal_(self.spline.weight, std=0.1)
        self.base = nn.Linear(in_features, out_features)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the layer, (..., out_features)."""
        return self.spline(self.bumps(self.norm(x))) + self.base(F.silu(x))


class QuadraticForms(nn.Module):
    r"""Bumps of quadratic forms, which is a third reading of Lu et al. (2025), and ours.

    .. math:: G(x) = c + \sum_k \pi_k \exp\bigl(-\tfrac12 y_k^2\bigr), \qquad
        y_k = \sum_{j \le r} (a_{kj} x - s_{kj}) (b_{kj} x - t_{kj})

    A bump lies in (0, 1] whatever its form is. In the reading, :math:`y = z^\top M z` with a free M; here M = AᵀB is
    of rank r, as a free one has the square of the width in parameters.
    """

    def __init__(self, width: int, components: int, rank: int = 2) -> None:
        super().__init__()
        self.rank = rank
        shape, size = (components * rank, width), (4 * rank) ** -0.25  # so that y is about 1 for inputs of variance 1
        self.one, self.other = (nn.Parameter(torch.randn(shape) * size / math.sqrt(width)) for _ in range(2))
        self.offsets = nn.Parameter(torch.randn(2, components * rank) * size)
        self.out = nn.Linear(components, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sums of bumps, (..., width)."""
        one, other = (F.linear(x, w, -t) for w, t in zip((self.one, self.other), self.offsets))
        return self.out(torch.exp(-0.5 * (one * other).unflatten(-1, (-1, self.rank)).sum(-1).square()))


def mlp(width: int, activation: type[nn.Module]) -> nn.Module:
    """Return Linear - activation - Linear."""
    hidden = EXPANSION * width
    return nn.Sequential(nn.Linear(width, hidden), activation(), nn.Linear(hidden, width))


def _size(width: int) -> int:
    return EXPANSION * width * (2 * width + 1) + width


def _gated(width: int) -> nn.Module:
    def make(hidden: int) -> nn.Module:
        return Gated(nn.Linear(width, hidden), nn.Linear(width, hidden), nn.Linear(hidden, width))

    return sized(make, _size(width))


def _fast_kan(width: int) -> nn.Module:
    def make(hidden: int) -> nn.Module:
        return nn.Sequential(FastKANLayer(width, hidden), FastKANLayer(hidden, width))

    return sized(make, _size(width))


def _fixed_centres(width: int) -> nn.Module:
    def make(hidden: int) -> nn.Module:
        return nn.Sequential(nn.Linear(width, hidden), Bumps(), nn.Linear(CENTRES * hidden, width))

    return sized(make, _size(width))


PIXEL_BLOCKS: dict[str, Callable[[int], nn.Module]] = {
    "ReLU": lambda width: mlp(width, nn.ReLU),
    "GELU": lambda width: mlp(width, nn.GELU),
    "SwiGLU": _gated,
    "FastKAN": _fast_kan,
    "GM": GMFeedForward,
    "GM, gate": lambda width: GMFeedForward(width, level=False, activation="gelu_integral"),
    "GMNM, ridges": GMNMFeedForward,
    "GMNM, distances": lambda width: sized(lambda m: GMNM(width, width, m), _size(width)),
    "GMNM, quadratic forms": lambda width: sized(lambda m: QuadraticForms(width, m), _size(width)),
    "GMNM, fixed centres": _fixed_centres,
}
"""The table has blocks from (..., width) to (..., width), by name."""

FEWER_BLOCKS = {name: PIXEL_BLOCKS[name] for name in ("ReLU", "GELU", "SwiGLU", "GM", "GM, gate", "GMNM, ridges")}
"""Other hosts are tried with these."""


def _patch(width: int, hidden: int) -> nn.Module:
    return nn.Conv2d(width, hidden, KERNEL, padding=KERNEL // 2)


def _patches(width: int, activation: type[nn.Module]) -> nn.Module:
    hidden = PATCH_EXPANSION * width
    return nn.Sequential(_patch(width, hidden), activation(), nn.Conv2d(hidden, width, 1))


def _patches_size(width: int) -> int:
    return PATCH_EXPANSION * width * (KERNEL**2 * width + 1) + width * (PATCH_EXPANSION * width + 1)


def _gated_patches(width: int) -> nn.Module:
    def make(hidden: int) -> nn.Module:
        return Gated(_patch(width, hidden), _patch(width, hidden), nn.Conv2d(hidden, width, 1))

    return sized(make, _patches_size(width))


def _gm_patches(width: int) -> nn.Module:
    def make(components: int) -> nn.Module:
        return GMConv2d(width, width, KERNEL, padding=KERNEL // 2, activation="gelu", num_components=components)

    return sized(make, _patches_size(width))


def _gmnm_patches(width: int) -> nn.Module:
    def make(components: int) -> nn.Module:
        return GMNMConv2d(width, width, KERNEL, padding=KERNEL // 2, num_components=components)

    return sized(make, _patches_size(width))


PATCH_BLOCKS: dict[str, Callable[[int], nn.Module]] = {
    "ReLU": lambda width: _patches(width, nn.ReLU),
    "GELU": lambda width: _patches(width, nn.GELU),
    "SwiGLU": _gated_patches,
    "GM": _gm_patches,
    "GMNM, ridges": _gmnm_patches,
}
"""The table has blocks from (batch, width, height, width') to the same, by name."""
