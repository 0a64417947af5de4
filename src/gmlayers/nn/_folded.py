"""A Gaussian mixture layer for inference: plain weights, as few operations as there can be."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gmlayers import ops
from gmlayers.functional import VARIANCE_FLOOR, Activation, get_activation
from gmlayers.functional._shapes import require_shapes
from gmlayers.nn._precision import autocast_off, check_input, result_dtype, squares_fit, upcast


class FoldedGMLayer(nn.Module):
    r"""A :class:`GMLayer` whose parameters are multiplied out; made by :func:`gmlayers.convert.fold`.

    .. math:: (m, a) = W_1 x + b_1, \quad s^2 = V x^2 + \|a\|^2, \quad
        y = (\mathbb E f,\ \mathbb E f'\, a)\, W_2 + \sum_k \mathbb E f'(z_k)\, C_k x

    Means and factors stand in one matrix, biases in its offset, V are squared stds (one column if the base is
    isotropic, for ‖x‖²), and the weights of the components are multiplied into W₂ and C. The tensors are buffers: it is
    not for training.

    Args:
        first: W₁, (K (1 + r), in): the means, then the r factors of all components, factor by factor.
        offset: b₁, (K (1 + r),).
        std: roots of V, (K, 1) or (K, in); squared at every call, because in half precision their squares may vanish.
        second: W₂, (K (1 + r), out), in the order of W₁.
        coupling: C, (K, out, in), or None.
        activation: f.
        factor_std: ρ, (K, r), if the r factors are shared by all components; there are no others then: W₁ is
            (K + r, in), W₂ is (K, out), and C, (K, out, r), takes what the factors read.

    Shape:
        As :class:`GMLayer`.

    Raises:
        ValueError: shapes that do not fit, several devices or dtypes.
        TypeError: an argument that is no dense tensor of floating-point numbers.
    """

    first: Tensor
    offset: Tensor
    std: Tensor
    second: Tensor
    coupling: Tensor | None
    factor_std: Tensor | None

    def __init__(
        self,
        first: Tensor,
        offset: Tensor,
        std: Tensor,
        second: Tensor,
        coupling: Tensor | None,
        activation: Activation,
        factor_std: Tensor | None = None,
    ) -> None:
        super().__init__()
        shared = factor_std is not None
        require_shapes(
            "FoldedGMLayer",
            optional=("coupling", "factor_std"),
            first=(first, "n in"),
            offset=(offset, "n"),
            std=(std, "K base"),
            second=(second, "K out" if shared else "n out"),
            coupling=(coupling, "K out r" if shared else "K out in"),
            factor_std=(factor_std, "K r"),
        )
        K, base = std.shape
        fits = K > 0 and base in (1, first.shape[1])
        if not fits or (len(first) - K != factor_std.shape[1] if factor_std is not None else len(first) % K):
            rows = "K + r" if shared else "K (1 + r)"
            raise ValueError(
                f"FoldedGMLayer: expected {rows} rows of first and std (K, 1) or (K, in), got first "
                f"{tuple(first.shape)} and std {tuple(std.shape)}"
            )
        self.activation = get_activation(activation)
        self.in_features, self.out_features = first.shape[1], second.shape[1]
        self.num_components = len(std)
        self.rank = len(first) // len(std) - 1 if factor_std is None else len(first) - len(std)
        tensors = {"first": first, "offset": offset, "std": std, "second": second, "coupling": coupling}
        for name, tensor in {**tensors, "factor_std": factor_std}.items():
            self.register_buffer(name, tensor)

    def forward(self, x: Tensor) -> Tensor:
        """Return what the layer returns, (..., out_features), for x of shape (..., in_features)."""
        check_input("FoldedGMLayer", x, self.in_features, self.first)
        with autocast_off(x.device.type):
            wide = upcast(x)
            m, var, reading = self._moments(wide, upcast)
        shared = () if self.factor_std is None else (self.factor_std, reading)
        if not squares_fit(var, wide, self.std, *shared):
            return self._in_float64(x)
        with autocast_off(x.device.type):
            level, gate, reading = (part.to(x.dtype) for part in self._expectations(m, var, reading))
        return self._readout(x, level, gate, reading, lambda tensor: tensor)

    def _in_float64(self, x: Tensor) -> Tensor:
        """Return the output for numbers of which float32 has no squares, in the dtype that it has for others."""
        dtype, x = result_dtype(x), x.double()
        with autocast_off(x.device.type):
            return self._readout(x, *self._expectations(*self._moments(x, Tensor.double)), Tensor.double).to(dtype)

    def _moments(self, x: Tensor, cast: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return mean and variance of z, (..., K), and what the factors read, (..., r, K), or (..., r) if shared."""
        K = self.num_components
        projected = F.linear(x, cast(self.first), cast(self.offset))
        m, reading = projected[..., :K], projected[..., K:]
        squares = cast(self.std).square()
        if self._isotropic:
            var = torch.linalg.vecdot(x, x).unsqueeze(-1) * squares[:, 0] + VARIANCE_FLOOR
        else:
            var = F.linear(x.square(), squares, m.new_full((K,), VARIANCE_FLOOR))
        if self.factor_std is not None:
            return m, var + F.linear(reading.square(), cast(self.factor_std).square()), reading
        if self.rank == 1:
            return m, torch.addcmul(var, reading, reading), reading.unsqueeze(-2)
        reading = reading.unflatten(-1, (self.rank, K))
        return m, var + reading.square().sum(-2), reading

    def _expectations(self, m: Tensor, var: Tensor, reading: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what the second matrix is given, the gate of the coupling, and the reading."""
        level, gate = ops.gate(m, var, self.activation)
        if self.factor_std is None:
            level = torch.cat([level, (gate.unsqueeze(-2) * reading).flatten(-2)], -1)
        return level, gate, reading

    def _readout(
        self, x: Tensor, level: Tensor, gate: Tensor, reading: Tensor, cast: Callable[[Tensor], Tensor]
    ) -> Tensor:
        y = level @ cast(self.second)
        if self.coupling is None:
            return y
        return y + ops.mix(gate, cast(self.coupling), x if self.factor_std is None else reading)

    @property
    def _isotropic(self) -> bool:
        return self.std.shape[1] == 1

    def extra_repr(self) -> str:
        """Return sizes and form."""
        return (
            f"{self.in_features}, {self.out_features}, {self.num_components}, rank={self.rank}, "
            f"base={'isotropic' if self._isotropic else 'diagonal'!r}, "
            f"coupling={self.coupling is not None}, activation={self.activation}"
        )
