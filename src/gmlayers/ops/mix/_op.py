"""The operation: checks, choice of an implementation, batch shapes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gmlayers._arguments import autocast_on, check_tensors
from gmlayers.ops._dispatch import AUTOCAST, RAISED, Implementation, Operation, cost, triton_cost, triton_refuses
from gmlayers.ops._fused import Tensors, recorded, run
from gmlayers.ops.mix import operators, reference
from gmlayers.ops.mix.products import ByInputs, ByOutputs, ByRows, scaled


@dataclass(frozen=True)
class Arguments:
    """The choice of an implementation depends on these properties of the arguments."""

    rows: int
    components: int
    out_features: int
    in_features: int
    scaled: bool
    needs_x: bool
    dtypes: tuple[torch.dtype, ...]
    device: str
    autocast: bool

    @classmethod
    def of(cls, gate: Tensor, weight: Tensor, x: Tensor, scale: Tensor | None = None) -> Arguments:
        """Return the facts of a call of :func:`mix`."""
        _check(gate, weight, x, scale)
        K, out_features, in_features = weight.shape
        return cls(
            x.shape[:-1].numel(),
            K,
            out_features,
            in_features,
            scale is not None,
            torch.is_grad_enabled() and x.requires_grad,
            (gate.dtype, weight.dtype, x.dtype, weight.dtype if scale is None else scale.dtype),
            x.device.type,
            autocast_on(x.device.type),
        )

    def __str__(self) -> str:
        gradient = "with" if self.needs_x else "without"
        return (
            f"gate ({self.rows}, {self.components}), weight {self.components, self.out_features, self.in_features}, "
            f"x ({self.rows}, {self.in_features}) {gradient} a gradient, "
            f"{'scaled, ' if self.scaled else ''}{self.device}"
        )

    @property
    def products(self) -> float:
        """Operations of the matrix products that no implementation avoids, forward and backward."""
        return 2.0 * (2 + self.needs_x) * self.rows * self.components * self.out_features * self.in_features

    @property
    def block(self) -> int:
        """Components whose products are large enough together to run at full speed."""
        return max(1, 1024 // max(1, self.out_features))


def _not_plain(a: Arguments) -> str | None:
    if a.autocast:
        return AUTOCAST
    if not a.dtypes[0].is_floating_point:
        return f"gate is of {a.dtypes[0]}"
    if len(set(a.dtypes)) > 1:
        return f"gate, weight, x and scale are of different dtypes: {', '.join(str(d) for d in a.dtypes)}"
    if not (a.components and a.out_features and a.in_features):
        return "there are no components or no features"
    return None


def _not_blocked(a: Arguments) -> str | None:
    if a.block >= a.components:
        return "one block holds all components: it would be one_gemm"
    return _not_plain(a)


def _parameter_passes(a: Arguments) -> float:
    return 6.0 * a.components * a.out_features * a.in_features * a.scaled


def _cost_one_gemm(a: Arguments) -> float:
    answers = a.rows * a.components * a.out_features
    return cost(flops=a.products, passed=3 * answers + _parameter_passes(a), made=2 * answers, calls=15)


def _cost_blocked(a: Arguments) -> float:
    answers = a.rows * a.components * a.out_features
    pulled = a.rows * a.components * a.in_features * a.needs_x
    kept = answers * (not a.needs_x)
    blocks = -(-a.components // a.block)
    passed = 4 * answers + 4 * pulled + _parameter_passes(a)
    return cost(flops=a.products, passed=passed, made=kept, calls=5 + 12 * blocks)


def _cost_by_inputs(a: Arguments) -> float:
    gated = a.rows * a.components * a.in_features
    copies = 4.0 * a.components * a.out_features * a.in_features  # the weight is transposed, forward and backward
    flops = 2.0 * 3 * a.rows * a.components * a.out_features * a.in_features
    return cost(flops=flops, passed=6 * gated + copies, made=3 * gated + copies / 2, calls=15)


def _cost_by_rows(a: Arguments) -> float:
    matrices = a.rows * a.out_features * a.in_features
    passed = (4 + 2 * a.needs_x) * matrices + _parameter_passes(a)
    flops = 2.0 * 3 * a.rows * a.components * a.out_features * a.in_features
    return cost(flops=flops, passed=passed, made=2 * matrices, calls=12)


def _cost_reference(a: Arguments) -> float:
    return 1.2 * _cost_one_gemm(a) + cost(made=_parameter_passes(a), calls=10)


def _not_triton(a: Arguments) -> str | None:
    gate, *rest = a.dtypes
    if len(set(rest)) > 1 or rest[0] not in (torch.float32, torch.bfloat16, torch.float16):
        return f"it takes weight, x and scale of one dtype of at most float32, not {', '.join(map(str, rest))}"
    if gate not in (torch.float32, rest[0]):
        return f"it takes a gate of float32 or of the dtype of x, not {gate}"
    return AUTOCAST if a.autocast else triton_refuses(a.device)


class Triton:
    """The kernels of :mod:`gmlayers.ops.mix.triton`: nothing of the size (batch, K, out) is made."""

    outputs = 1
    finds_values = False
    elementwise = False

    def reference(self, gate: Tensor, weight: Tensor, scale: Tensor | None, x: Tensor) -> tuple[Tensor, ...]:
        return (reference.mix(gate.to(x.dtype), weight, scale, x),)

    def forward(
        self, gate: Tensor, weight: Tensor, scale: Tensor | None, x: Tensor
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        return (operators.forward(gate.float(), scaled(weight, scale), x),), ()

    def backward(
        self, tensors: Tensors, kept: tuple[Tensor, ...], grads: tuple[Tensor, ...], needs: tuple[bool, ...]
    ) -> Tensors:
        gate, weight, scale, x = tensors
        assert gate is not None and weight is not None and x is not None  # noqa: PT018
        need_gate, need_weight, need_scale, need_x = needs
        wanted = [need_gate, need_weight or need_scale, need_x]
        found = operators.backward(gate.float(), scaled(weight, scale), x, grads[0], wanted)
        grad_gate, grad_weight, grad_x = (grad if want else None for grad, want in zip(found, wanted))
        grad_scale = None
        if grad_weight is not None and scale is not None:
            if need_scale:
                grad_scale = (grad_weight * weight).sum(1)
            grad_weight = grad_weight.mul_(scale.unsqueeze(1))
        grad_gate = None if grad_gate is None else grad_gate.to(gate.dtype)
        return grad_gate, grad_weight if need_weight else None, grad_scale, grad_x


MIX: Operation[Arguments] = Operation(
    "mix",
    (
        Implementation("one_gemm", _not_plain, _cost_one_gemm, lambda a: ByOutputs(a.components, keep=True)),
        Implementation("blocked", _not_blocked, _cost_blocked, lambda a: ByOutputs(a.block, keep=not a.needs_x)),
        Implementation("gated_input", _not_plain, _cost_by_inputs, lambda _: ByInputs()),
        Implementation("by_rows", _not_plain, _cost_by_rows, lambda _: ByRows()),
        Implementation("reference", lambda _: None, _cost_reference, None),
        Implementation("triton", _not_triton, lambda a: triton_cost(a.device, a.products), lambda _: Triton()),
    ),
)


def mix(
    gate: Tensor, weight: Tensor, x: Tensor, *, scale: Tensor | None = None, implementation: str | None = None
) -> Tensor:
    r"""A soft mixture of linear maps.

    .. math:: y_b = \sum_k g_{bk}\, W_k\, (s_k \odot x_b)

    It is the part of a Gaussian mixture layer that couples outputs to every direction of the covariance: g is the gate
    :math:`\mathbb E f'(z_k)`, W the coupling B, s the standard deviations
    (:func:`gmlayers.functional.gm_layer` with :math:`B_k A_k^\top = B_k\,\mathrm{diag}\,\sigma_k`).

    Args:
        gate: g, (..., K).
        weight: W, (K, out, in).
        x: (..., in), batch shape as that of ``gate``.
        scale: s, (K, in); ones if not given.
        implementation: ``"one_gemm"``, ``"blocked"``, ``"gated_input"``, ``"by_rows"``, ``"triton"`` or
            ``"reference"``; the cheapest by count if not given, see :func:`gmlayers.ops.explain`. Inside
            ``torch.compile`` and ``torch.jit.trace`` it is always the reference, which a compiler fuses.

    Returns:
        (..., out), in the dtype of x. All derivatives of any order, forward and reverse, ``vmap``.

    Raises:
        ValueError: shapes that do not fit, an implementation that is unknown or cannot be used (with its reason).

    Example:
        >>> import torch
        >>> mix(torch.rand(5, 3), torch.randn(3, 2, 4), torch.randn(5, 4)).shape
        torch.Size([5, 2])
    """
    if recorded():
        _check_tensors(gate, weight, x, scale)
        _check(gate, weight, x, scale)
        return reference.mix(gate, weight, scale, x)
    try:
        arguments = Arguments.of(gate, weight, x, scale)
        chosen = MIX.choose(arguments, implementation)
        if chosen.call is None:
            if len(set(arguments.dtypes)) > 1 or not x.is_floating_point():
                _check_tensors(gate, weight, x, scale)
            return reference.mix(gate, weight, scale, x)
        rows, K, features = arguments.rows, arguments.components, arguments.in_features
        flat = gate.reshape(rows, K), weight, scale, x.reshape(rows, features)
        return run(chosen.call(arguments), *flat)[0].view(*x.shape[:-1], weight.shape[1])
    except RAISED:
        _check_tensors(gate, weight, x, scale)
        raise


def _check_tensors(gate: Tensor, weight: Tensor, x: Tensor, scale: Tensor | None) -> None:
    check_tensors("mix", optional=("scale",), gate=gate, weight=weight, x=x, scale=scale)


def _check(gate: Tensor, weight: Tensor, x: Tensor, scale: Tensor | None) -> None:
    K, _, features = weight.shape if weight.ndim == 3 else (0, 0, 0)
    fits = gate.shape == (*x.shape[:-1], K) and x.shape[-1:] == (features,)
    one_place = x.is_meta == gate.is_meta == weight.is_meta and (scale is None or scale.is_meta == x.is_meta)
    if weight.ndim != 3 or not fits or not one_place or (scale is not None and scale.shape != (K, features)):
        check_tensors("mix", mixed=True, optional=("scale",), gate=gate, weight=weight, x=x, scale=scale)
        given = "" if scale is None else f", scale {tuple(scale.shape)}"
        raise ValueError(
            f"mix: expected gate (..., K), weight (K, out, in), x (..., in) and scale (K, in), got "
            f"gate {tuple(gate.shape)}, weight {tuple(weight.shape)}, x {tuple(x.shape)}{given}"
        )
