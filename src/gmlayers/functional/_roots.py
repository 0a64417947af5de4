r"""Roots of positive semi-definite matrices and orthogonal factors, with derivatives that hold at repeated eigenvalues.

One equation carries all derivatives, HX + XH = Q for H that is positive semi-definite. In the basis of the eigenvectors
of H it is solved by :math:`X_{ij} = Q_{ij} / (\sigma_i + \sigma_j)`; torch's derivative of the eigenvectors divides by
differences instead. The equation is closed under differentiation, so that each Function below is differentiated by
Functions below.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import TransformType, get_interpreter_stack
from torch.autograd import Function


def psd(label: str, cov: Tensor, *, definite: bool = False) -> Tensor:
    """Return the symmetric part of matrices that are positive semi-definite; raise if they are not."""
    return _Spectrum.apply(cov, label, definite)[0]


def root(label: str, cov: Tensor, *, definite: bool = False) -> Tensor:
    """Return the symmetric square root; raise if a matrix is not positive semi-definite (definite)."""
    return _Sqrt.apply(*_Spectrum.apply(cov, label, definite))


def orthogonal_factor(matrix: Tensor) -> Tensor:
    """Return O of matrix = OH, where O is orthogonal and H positive semi-definite."""
    return _Polar.apply(matrix)[0]


def refuse_nested_forward_mode(function: str) -> None:
    """Raise where torch differentiates a custom Function wrongly, and without an error of its own."""
    if sum(transform.key() == TransformType.Jvp for transform in get_interpreter_stack() or []) > 1:
        raise NotImplementedError(
            f"{function}: torch cannot nest forward mode in forward mode here; take torch.func.hessian, or reverse "
            f"mode for all but one of the derivatives"
        )


def at(wrong: Tensor) -> str:
    """Return the index of the first entry that is True, as it is written behind a name."""
    return str(wrong.nonzero()[0].tolist()) if wrong.ndim else ""


class _Spectrum(Function):
    """(cov) -> its symmetric part, which alone is differentiated, eigenvalues and eigenvectors.

    What is no covariance is refused here and not by the callers, because under vmap this sees plain tensors.
    """

    @staticmethod
    def forward(cov: Tensor, label: str, definite: bool) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        symmetric = (cov + cov.mT) / 2
        _refuse(label, "is not finite", ~cov.isfinite().all(-1).all(-1))
        d, eps = cov.shape[-1], torch.finfo(cov.dtype).eps
        skew, size = (cov - cov.mT).abs().amax((-2, -1)), cov.abs().amax((-2, -1))
        _refuse(label, "is not symmetric: it differs from its transpose by up to", skew > eps**0.5 * size, skew)
        values, vectors = torch.linalg.eigh(symmetric)
        rounding = d * eps * values.abs().amax(-1)
        least = values[..., 0]
        if definite:
            singular = least <= rounding
            _refuse(label, "is not positive definite beyond rounding: the least eigenvalue is", singular, least)
        _refuse(label, "is not positive semi-definite: the least eigenvalue is", least < -10 * rounding, least)
        return symmetric, torch.where(values > rounding.unsqueeze(-1), values, 0.0), vectors

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:  # noqa: ANN401, ARG004
        ctx.mark_non_differentiable(*output[1:])

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:  # noqa: ANN401, ARG004
        return (grad_outputs[0] + grad_outputs[0].mT) / 2, None, None

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> Any:  # noqa: ANN401, ARG004
        return (grad_inputs[0] + grad_inputs[0].mT) / 2, None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> Any:  # noqa: ANN401
        cov, label, definite = inputs
        return _Spectrum.apply(_led(info, in_dims[0], cov), label, definite), (0, 0, 0)


class _Sqrt(Function):
    """(S, eigenvalues, eigenvectors) -> S^{1/2}."""

    @staticmethod
    def forward(cov: Tensor, values: Tensor, vectors: Tensor) -> Tensor:  # type: ignore[override]  # noqa: ARG004
        return (vectors * values.sqrt().unsqueeze(-2)) @ vectors.mT

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:  # noqa: ANN401
        ctx.save_for_backward(output, *inputs[1:])
        ctx.save_for_forward(output, *inputs[1:])

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:  # noqa: ANN401
        return _Sqrt._derivative(ctx.saved_tensors, grad_outputs[0]), None, None

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> Tensor:  # noqa: ANN401
        return _Sqrt._derivative(ctx.saved_tensors, grad_inputs[0])

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Tensor) -> Any:  # noqa: ANN401
        return _Sqrt.apply(*(_led(info, dim, tensor) for dim, tensor in zip(in_dims, inputs))), 0

    @staticmethod
    def _derivative(saved: tuple[Tensor, ...], direction: Tensor) -> Tensor:
        """Return the derivative; as a linear map it is its own transpose."""
        root, values, vectors = saved
        return _Lyapunov.apply(root, direction, values.sqrt(), vectors)


class _Polar(Function):
    """(M) -> O, σ, V of M = OH with O orthogonal and H = V diag(σ) Vᵀ positive semi-definite.

    As M changes, OᵀdO is the skew-symmetric solution X of HX + XH = OᵀdM - (OᵀdM)ᵀ.
    """

    @staticmethod
    def forward(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        U, values, Vh = torch.linalg.svd(matrix)
        rounding = matrix.shape[-1] * torch.finfo(matrix.dtype).eps * values[..., :1]
        return U @ Vh, torch.where(values > rounding, values, 0.0), Vh.mT.contiguous()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:  # noqa: ANN401
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(*inputs, *output)
        ctx.save_for_forward(*inputs, *output)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:  # noqa: ANN401
        return _Polar._derivative(ctx.saved_tensors, grad_outputs[0])

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Tensor) -> Any:  # noqa: ANN401
        return _Polar._derivative(ctx.saved_tensors, grad_inputs[0]), None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Tensor) -> Any:  # noqa: ANN401
        return _Polar.apply(_led(info, in_dims[0], inputs[0])), (0, 0, 0)

    @staticmethod
    def _derivative(saved: tuple[Tensor, ...], direction: Tensor) -> Tensor:
        """Return the derivative; as a linear map it is its own transpose."""
        matrix, O, values, vectors = saved  # noqa: E741
        within = O.mT @ direction
        return O @ _Lyapunov.apply(O.mT @ matrix, within - within.mT, values, vectors)


class _Lyapunov(Function):
    """(H, Q, σ, V) -> X with HX + XH = Q, where H = V diag(σ) Vᵀ; zero where H is zero on both sides."""

    @staticmethod
    def forward(H: Tensor, Q: Tensor, values: Tensor, vectors: Tensor) -> Tensor:  # type: ignore[override]  # noqa: ARG004
        sums = values.unsqueeze(-1) + values.unsqueeze(-2)
        inner = vectors.mT @ Q @ vectors
        return vectors @ torch.where(sums > 0, inner / torch.where(sums > 0, sums, 1.0), 0.0) @ vectors.mT

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:  # noqa: ANN401
        H, _, values, vectors = inputs
        ctx.save_for_backward(H, output, values, vectors)
        ctx.save_for_forward(H, output, values, vectors)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:  # noqa: ANN401
        H, X, values, vectors = ctx.saved_tensors
        Y = _Lyapunov.apply(H, grad_outputs[0], values, vectors)
        return -(Y @ X.mT + X.mT @ Y), Y, None, None

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> Tensor:  # noqa: ANN401
        H, X, values, vectors = ctx.saved_tensors
        H_tangent, Q_tangent, *_ = grad_inputs
        return _Lyapunov.apply(H, Q_tangent - H_tangent @ X - X @ H_tangent, values, vectors)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Tensor) -> Any:  # noqa: ANN401
        return _Lyapunov.apply(*(_led(info, dim, tensor) for dim, tensor in zip(in_dims, inputs))), 0


def _led(info: Any, dim: int | None, tensor: Tensor) -> Tensor:  # noqa: ANN401
    """Return the tensor with the axis that is mapped over in front, also where it has none."""
    return tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


def _refuse(label: str, what: str, wrong: Tensor, value: Tensor | None = None) -> None:
    """Raise if any one of a batch is wrong, for the first one that is."""
    if bool(wrong.any()):
        shown = "" if value is None else f" {float(value[wrong][0]):.3g}"
        raise ValueError(f"{label}{at(wrong)} {what}{shown}")
