"""The operation: checks, choice of an implementation, batch shapes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from gmlayers._arguments import check_tensors
from gmlayers.functional import ACTIVATIONS, Activation, get_activation
from gmlayers.ops._dispatch import RAISED, Implementation, Operation, cost, triton_cost, triton_refuses
from gmlayers.ops._fused import Tensors, recorded, run
from gmlayers.ops.gate import compiled, reference
from gmlayers.ops.gate.closed import Closed, Gelu, Relu


@dataclass(frozen=True)
class Arguments:
    """The choice of an implementation depends on these properties of the arguments."""

    activation: Activation
    elements: int
    reading: int
    dtype: torch.dtype
    device: str

    @classmethod
    def of(
        cls, m: Tensor, var: Tensor, activation: str | Activation = "relu", reading: Tensor | None = None
    ) -> Arguments:
        """Return the facts of a call of :func:`gate`."""
        _check(m, var, reading)
        columns = 0 if reading is None else reading.shape[-1]
        dtype = torch.promote_types(m.dtype, var.dtype)
        return cls(get_activation(activation), m.numel(), columns, dtype, m.device.type)

    def __str__(self) -> str:
        times = f" times {self.reading} readings" if self.reading else ""
        return f"{self.activation} at {self.elements} elements{times}, {self.dtype}, {self.device}"


def _not_blocked(a: Arguments, name: str) -> str | None:
    if a.activation is not get_activation(name):
        return f"it is for {name}, not for {a.activation}"
    if a.device != "cpu":
        return f"the tensors are on {a.device}, and it is written for the cache of a CPU"
    if a.dtype != torch.float32:
        return f"its polynomial is accurate to float32, not to {a.dtype}"
    return None


def _not_closed(a: Arguments) -> str | None:
    if a.activation.higher is None:
        return f"the activation {a.activation} gives no closed form of E f'' and E f''' (Activation.higher)"
    return None


WITHOUT_KERNEL = (
    *("silu", "softplus", "sigmoid", "tanh", "quick_gelu", "gelu_tanh"),
    *("gelu_integral", "silu_integral", "gelu_tanh_integral"),
)


def _not_triton(a: Arguments) -> str | None:
    if a.activation not in ACTIVATIONS.values() or a.activation.name in WITHOUT_KERNEL:
        return f"it has no kernel for the activation {a.activation}"
    if a.dtype != torch.float32:
        return f"it computes in float32, not in {a.dtype}"
    return triton_refuses(a.device)


class Triton(Closed):
    """The kernels of :mod:`gmlayers.ops.gate.triton`; the slope is computed anew in the backward."""

    finds_values = False

    def __init__(self, a: Arguments) -> None:
        super().__init__(a.activation)

    def forward(
        self, m: Tensor, var: Tensor, reading: Tensor | None
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, ...]]:
        from gmlayers.ops.gate import triton as kernels  # triton is there only where torch brings it

        rows = _rows(m), _rows(var), None if reading is None else reading.reshape(-1, *reading.shape[-2:]).contiguous()
        level, gated = kernels.forward(*rows, self.activation.name)
        return (level.view_as(m), gated.view_as(m if reading is None else reading)), ()

    def backward(
        self, tensors: Tensors, kept: tuple[Tensor, ...], grads: tuple[Tensor, ...], needs: tuple[bool, ...]
    ) -> Tensors:
        from gmlayers.ops.gate import triton as kernels

        m, var, reading = tensors
        assert m is not None and var is not None  # noqa: PT018
        flat = None if reading is None else reading.reshape(-1, *reading.shape[-2:]).contiguous()
        grad_gated = _rows(grads[1]) if flat is None else grads[1].reshape(flat.shape).contiguous()
        found = kernels.backward(_rows(m), _rows(var), flat, self.activation.name, _rows(grads[0]), grad_gated)
        return tuple(g.view_as(t) if g is not None and t is not None else None for g, t in zip(found, tensors))


def _rows(tensor: Tensor) -> Tensor:
    """Return (batch, K), contiguous."""
    return tensor.reshape(-1, tensor.shape[-1] if tensor.ndim else 1).contiguous()


GATE: Operation[Arguments] = Operation(
    "gate",
    (
        Implementation(
            "relu",
            partial(_not_blocked, name="relu"),
            lambda a: cost(passed=35.0 * a.elements, calls=35),
            lambda a: Relu(a.activation),
        ),
        Implementation(
            "gelu",
            partial(_not_blocked, name="gelu"),
            lambda a: cost(passed=52.0 * a.elements, calls=52),
            lambda a: Gelu(a.activation),
        ),
        Implementation(
            "closed", _not_closed, lambda a: cost(passed=300.0 * a.elements, calls=50), lambda a: Closed(a.activation)
        ),
        Implementation("reference", lambda _: None, lambda a: cost(passed=350.0 * a.elements, calls=80), None),
        Implementation(
            "triton", _not_triton, lambda a: triton_cost(a.device, cost(passed=6.0 * a.elements, calls=2)), Triton
        ),
    ),
)


def gate(
    m: Tensor,
    var: Tensor,
    activation: str | Activation = "relu",
    *,
    reading: Tensor | None = None,
    implementation: str | None = None,
) -> tuple[Tensor, Tensor]:
    r"""Gaussian expectations of an activation and of its slope.

    .. math:: \bigl(\mathbb E f(z),\ \mathbb E f'(z)\, a\bigr), \qquad z \sim N(m, v)

    These are the two numbers that a Gaussian mixture layer needs of every component
    (:func:`gmlayers.functional.gm_layer`); in the joint low-rank family the slope only ever meets the reading
    :math:`a = F^\top x`, so that the layer is two matrix products around this operation.

    Args:
        m: means, (..., K), float32 or float64.
        var: variances, the same shape and dtype, positive.
        activation: a name of :data:`gmlayers.functional.ACTIVATIONS` or an ``Activation``.
        reading: a, (..., K, r), or None for the slope itself.
        implementation: ``"relu"``, ``"gelu"``, ``"closed"``, ``"triton"`` or ``"reference"``; the cheapest by count if
            not given, see :func:`gmlayers.ops.explain`. Inside ``torch.compile`` it is the reference, or for ReLU and
            GELU in float32 a form of it that fuses.

    Returns:
        E f, (..., K), and E f', (..., K), or E f' a, (..., K, r).

    Raises:
        ValueError: shapes or dtypes that differ, a dtype of lower precision, an implementation that cannot be used
            (with its reason).

    Example:
        >>> import torch
        >>> level, slope = gate(torch.zeros(2), torch.ones(2))
        >>> slope
        tensor([0.5000, 0.5000])
    """
    activation = get_activation(activation)
    if recorded():
        _check_tensors(m, var, reading)
        _check(m, var, reading)
        form = compiled.FORMS.get(activation.name) if activation.in_table else None
        if form is not None and m.dtype == torch.float32:
            level, slope = form(m, var)
            return level, slope if reading is None else slope[..., None] * reading
        return reference.gate(activation, m, var, reading)
    try:
        arguments = Arguments.of(m, var, activation, reading)
        chosen = GATE.choose(arguments, implementation)
        if chosen.call is None:
            return reference.gate(activation, m, var, reading)
        level, gated = run(chosen.call(arguments), m, var, reading)
    except RAISED:
        _check_tensors(m, var, reading)
        raise
    return level, gated


def _check_tensors(m: Tensor, var: Tensor, reading: Tensor | None) -> None:
    check_tensors("gate", optional=("reading",), m=m, var=var, reading=reading)


def _check(m: Tensor, var: Tensor, reading: Tensor | None) -> None:
    read = reading is None or (
        reading.ndim == m.ndim + 1 and reading.shape[:-1] == m.shape and reading.dtype == m.dtype
    )
    one_place = m.is_meta == var.is_meta and (reading is None or reading.is_meta == m.is_meta)
    if m.shape != var.shape or m.dtype != var.dtype or not read or not one_place:
        _check_tensors(m, var, reading)
        given = "" if reading is None else f", reading {tuple(reading.shape)}"
        raise ValueError(
            f"gate: expected m and var of one shape (..., K) and dtype and reading (..., K, r), got m {tuple(m.shape)} "
            f"{m.dtype}, var {tuple(var.shape)} {var.dtype}{given}"
        )
    if m.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"gate: expected float32 or float64, got {m.dtype}; in lower precision m/s is ruined")
