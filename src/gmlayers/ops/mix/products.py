r"""The trilinear form by matrix products.

With δ the gradient of :math:`y_b = \sum_k g_{bk} W_k (s_k \odot x_b)`, every derivative is a matrix product or a sum of
the same form. Written with :math:`V_k = W_k\,\mathrm{diag}\,s_k`,

.. math::
    \delta V_k = \sum_b g_{bk}\, \delta_b x_b^\top,\quad
    \delta W_k = \delta V_k\,\mathrm{diag}\,s_k,\quad
    \delta s_{ki} = \sum_o (\delta V_k \odot W_k)_{oi},\quad
    \delta x_b = \sum_k g_{bk}\, V_k^\top \delta_b,\quad
    \delta g_{bk} = \langle \delta_b, V_k x_b\rangle = \langle V_k^\top \delta_b, x_b\rangle.
"""

# Products are accumulated by `out=`, because torch's flop counter does not count `addmm_` and its like.

from __future__ import annotations

import torch
from torch import Tensor

from gmlayers.ops._fused import Tensors
from gmlayers.ops.mix import reference

CACHED = 2**18
"""A tensor of this many numbers is mostly still in the cache of a CPU's core when the next operation reads it."""


class ByOutputs:
    r"""Blocks of components, gated on the side of the output.

    A block of all components is the one-GEMM form: :math:`y = \sum_k g_k (x V^\top)_k`.

    Args:
        block: components at once.
        keep: whether the answers :math:`V_k x` are kept for the gate's gradient, as a tensor of shape
            (batch, K, out). If not, the gradient of x must be wanted as well: it needs :math:`V_k^\top\delta`, which
            gives the gate's gradient for one more pass.
    """

    def __init__(self, block: int, *, keep: bool) -> None:
        self.block, self.keep = block, keep

    outputs = 1
    finds_values = False
    elementwise = False

    def reference(self, gate: Tensor, weight: Tensor, scale: Tensor | None, x: Tensor) -> tuple[Tensor, ...]:
        return (reference.mix(gate, weight, scale, x),)

    def forward(
        self, gate: Tensor, weight: Tensor, scale: Tensor | None, x: Tensor
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        out, kept = weight.shape[1], []
        y = x.new_zeros(len(x), out)
        for block in self._blocks(weight):
            answers = torch.mm(x, _scaled(weight, scale, block).flatten(0, 1).t())
            if self.keep:
                kept.append(answers)
            if block.stop - block.start == 1:
                y.addcmul_(answers, gate[:, block])
            else:
                wide = y.unsqueeze(1)
                torch.baddbmm(wide, gate[:, block].unsqueeze(1), answers.unflatten(1, (-1, out)), out=wide)
        return (y,), tuple(kept)

    def backward(
        self, tensors: Tensors, kept: tuple[Tensor, ...], grads: tuple[Tensor, ...], needs: tuple[bool, ...]
    ) -> Tensors:
        gate, weight, scale, x = tensors
        assert gate is not None and weight is not None and x is not None  # noqa: PT018
        (grad,) = grads
        need_gate, need_weight, need_scale, need_x = needs
        grad_gate = torch.empty_like(gate) if need_gate else None
        grad_weight = weight.new_empty(weight.shape) if need_weight or need_scale else None
        grad_scale = torch.empty_like(scale) if need_scale and scale is not None else None
        grad_x = torch.zeros_like(x) if need_x else None
        for index, block in enumerate(self._blocks(weight)):
            g = gate[:, block]
            if grad_gate is not None and kept:
                answer = kept[index].unflatten(1, (-1, weight.shape[1]))
                grad_gate[:, block] = torch.bmm(answer, grad.unsqueeze(2)).squeeze(2)
            if grad_weight is not None or (grad_x is not None and kept):
                gated = torch.mul(g.unsqueeze(2), grad.unsqueeze(1)).flatten(1)
                if grad_x is not None and kept:
                    torch.addmm(grad_x, gated, _scaled(weight, scale, block).flatten(0, 1), out=grad_x)
                if grad_weight is not None:
                    _weight_gradient(gated, x, weight, scale, block, grad_weight, grad_scale)
            if not kept and (grad_x is not None or grad_gate is not None):
                for k in range(block.start, block.stop):
                    pulled = torch.mm(grad, _scaled(weight, scale, slice(k, k + 1))[0])
                    if grad_x is not None:
                        grad_x.addcmul_(pulled, gate[:, k : k + 1])
                    if grad_gate is not None:
                        torch.sum(pulled.mul_(x), 1, out=grad_gate[:, k])
        return grad_gate, grad_weight if need_weight else None, grad_scale, grad_x

    def _blocks(self, weight: Tensor) -> list[slice]:
        return _few(slice(0, len(weight)), self.block)


class ByInputs:
    r"""All components at once, gated on the side of the input: :math:`y = (g \otimes s \odot x)\, W'` in one product.

    It builds (batch, K, in) and is for layers that widen, where (batch, K, out) is larger.
    """

    outputs = 1
    finds_values = False
    elementwise = False

    def reference(self, gate: Tensor, weight: Tensor, scale: Tensor | None, x: Tensor) -> tuple[Tensor, ...]:
        return (reference.mix(gate, weight, scale, x),)

    def forward(
        self, gate: Tensor, weight: Tensor, scale: Tensor | None, x: Tensor
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        return (torch.mm(_gated(gate, scale, x).flatten(1), weight.transpose(1, 2).flatten(0, 1)),), ()

    def backward(
        self, tensors: Tensors, kept: tuple[Tensor, ...], grads: tuple[Tensor, ...], needs: tuple[bool, ...]
    ) -> Tensors:
        gate, weight, scale, x = tensors
        assert gate is not None and weight is not None and x is not None  # noqa: PT018
        (grad,) = grads
        need_gate, need_weight, need_scale, need_x = needs
        K, _, features = weight.shape
        grad_weight = grad_gate = grad_scale = grad_x = None
        if need_weight:
            product = torch.mm(grad.t(), _gated(gate, scale, x).flatten(1))
            grad_weight = product.unflatten(1, (K, features)).transpose(0, 1)
        if need_gate or need_scale or need_x:
            pulled = torch.mm(grad, weight.transpose(0, 1).flatten(1)).unflatten(1, (K, features))
            if need_scale:
                grad_scale = torch.einsum("bki,bk,bi->ki", pulled, gate, x)
            if scale is not None:
                pulled.mul_(scale)
            if need_x:
                grad_x = torch.bmm(gate.unsqueeze(1), pulled).squeeze(1)
            if need_gate:
                grad_gate = torch.bmm(pulled, x.unsqueeze(2)).squeeze(2)
        return grad_gate, grad_weight, grad_scale, grad_x


class ByRows:
    r"""One matrix for every row: :math:`y_b = P_b x_b` with :math:`P_b = \sum_k g_{bk} V_k` from one product.

    It builds (batch, out, in) and is for fewer inputs than components, as where all of them share a few factors.
    """

    outputs = 1
    finds_values = False
    elementwise = False

    def reference(self, gate: Tensor, weight: Tensor, scale: Tensor | None, x: Tensor) -> tuple[Tensor, ...]:
        return (reference.mix(gate, weight, scale, x),)

    def forward(
        self, gate: Tensor, weight: Tensor, scale: Tensor | None, x: Tensor
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        flat = scaled(weight, scale).flatten(1)
        matrices = torch.mm(gate, flat).unflatten(1, weight.shape[1:])
        return (torch.bmm(matrices, x.unsqueeze(2)).squeeze(2),), (flat, matrices)

    def backward(
        self, tensors: Tensors, kept: tuple[Tensor, ...], grads: tuple[Tensor, ...], needs: tuple[bool, ...]
    ) -> Tensors:
        gate, weight, scale, x = tensors
        assert gate is not None and weight is not None and x is not None  # noqa: PT018
        flat, matrices = kept
        (grad,) = grads
        need_gate, need_weight, need_scale, need_x = needs
        grad_weight = grad_gate = grad_scale = grad_x = None
        if need_gate or need_weight or need_scale:
            grad_matrices = torch.mul(grad.unsqueeze(2), x.unsqueeze(1)).flatten(1)
            if need_gate:
                grad_gate = torch.mm(grad_matrices, flat.t())
            if need_weight or need_scale:
                product = torch.mm(gate.t(), grad_matrices).unflatten(1, weight.shape[1:])
                if need_scale:
                    grad_scale = (product * weight).sum(1)
                if need_weight:
                    grad_weight = product if scale is None else product.mul_(scale.unsqueeze(1))
        if need_x:
            grad_x = torch.bmm(grad.unsqueeze(1), matrices).squeeze(1)
        return grad_gate, grad_weight, grad_scale, grad_x


def scaled(weight: Tensor, scale: Tensor | None) -> Tensor:
    """Return W_k diag(s_k)."""
    return weight if scale is None else weight * scale.unsqueeze(1)


def _scaled(weight: Tensor, scale: Tensor | None, block: slice) -> Tensor:
    return scaled(weight[block], None if scale is None else scale[block])


def _gated(gate: Tensor, scale: Tensor | None, x: Tensor) -> Tensor:
    gated = gate.unsqueeze(2) * x.unsqueeze(1)
    return gated if scale is None else gated.mul_(scale)


def _few(block: slice, step: int) -> list[slice]:
    return [slice(k, min(k + step, block.stop)) for k in range(block.start, block.stop, step)]


def _weight_gradient(
    gated: Tensor,
    x: Tensor,
    weight: Tensor,
    scale: Tensor | None,
    block: slice,
    grad_weight: Tensor,
    grad_scale: Tensor | None,
) -> None:
    """Fill a block of the gradients of weight and scale, in place: no other tensor of the weight's size is made.

    A few components at a time, so that what one pass has written is still in the cache for the next.
    """
    _, out, features = weight.shape
    if scale is None:
        torch.mm(gated.t(), x, out=grad_weight[block].view(-1, features))
        return
    count = block.stop - block.start
    step = min(max(1, CACHED // (out * features)), count) if x.device.type == "cpu" else count
    product = None if grad_scale is None else weight.new_empty(step, out, features)
    for few in _few(block, step):
        part, columns = grad_weight[few], slice((few.start - block.start) * out, (few.stop - block.start) * out)
        torch.mm(gated[:, columns].t(), x, out=part.view(-1, features))
        if grad_scale is not None and product is not None:
            torch.sum(torch.mul(part, weight[few], out=product[: len(part)]), 1, out=grad_scale[few])
        part.mul_(scale[few].unsqueeze(1))
