r"""Soft mixture of linear maps, :math:`y_n = \sum_k g_{nk} W_k x_n`, without a tensor of size (N, K, out).

A program owns a tile of the result and goes through the components one after another: the tile of :math:`W_k x` is
accumulated in float32, multiplied with the column of the gate, and added. With δ the gradient of y,

.. math::
    \delta x_n = \sum_k g_{nk}\, W_k^\top \delta_n,\qquad
    \delta g_{nk} = \langle W_k^\top \delta_n, x_n\rangle = \langle \delta_n, W_k x_n\rangle,\qquad
    \delta W_k = \sum_n g_{nk}\, \delta_n x_n^\top.

The first is the forward with :math:`W^\top`, and its tiles of :math:`W_k^\top\delta` give the gate's gradient as well;
where x needs none, tiles as in the forward do. The products are of the dtype of x, the gate stays in float32.
"""

# ruff: noqa: ANN001, ANN202  (kernels have pointers and tiles for arguments)

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from gmlayers.ops import _triton
from gmlayers.ops._triton import TILE, Precision

_GROUP = tl.constexpr(8)
"""This many tiles of rows are taken together: programs that run side by side then read the same weights from the L2
cache."""


def forward(gate: Tensor, weight: Tensor, x: Tensor, *, input_precision: Precision = "ieee") -> Tensor:
    """Return y_n = Σ_k gate_nk W_k x_n.

    Args:
        gate: g, float32 (N, K), contiguous.
        weight: W, (K, out, in), contiguous.
        x: (N, in), contiguous.
        input_precision: how products of float32 matrices are computed.

    Returns:
        (N, out), in the dtype of x, in which the products are computed; they are summed in float32.
    """
    y, _ = _products(gate, weight, x, None, summed=True, precision=input_precision)
    assert y is not None
    return y


def backward(
    gate: Tensor,
    weight: Tensor,
    x: Tensor,
    grad: Tensor,
    needs: tuple[bool, bool, bool],
    *,
    input_precision: Precision = "ieee",
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return the gradients of gate, weight and x, each None if it is not needed.

    Args:
        gate: what :func:`forward` was given, like weight and x.
        weight: W.
        x: the inputs.
        grad: gradient of y, (N, out), contiguous, in the dtype of x.
        needs: which gradients to compute.
        input_precision: how products of float32 matrices are computed.

    Returns:
        float32 (N, K); (K, out, in), in the dtype of the weight; (N, in), in the dtype of x.
    """
    need_gate, need_weight, need_x = needs
    grad_gate = grad_x = None
    if need_x:
        partner = x if need_gate else None
        grad_x, grad_gate = _products(gate, weight.mT, grad, partner, summed=True, precision=input_precision)
    elif need_gate:
        _, grad_gate = _products(gate, weight, x, grad, summed=False, precision=input_precision)
    grad_weight = _weight_gradient(gate, weight, x, grad, input_precision) if need_weight else None
    return grad_gate, grad_weight, grad_x


def _products(
    gate: Tensor, weight: Tensor, x: Tensor, partner: Tensor | None, *, summed: bool, precision: Precision
) -> tuple[Tensor | None, Tensor | None]:
    """Return Σ_k gate_nk W_k x_n if ``summed``, and, with a partner p of that shape, all ⟨p_n, W_k x_n⟩.

    Args:
        gate: (N, K).
        weight: (K, out, in), of any strides.
        x: (N, in).
        partner: (N, out).
        summed: whether the sum is wanted.
        precision: how the products are computed.
    """
    (N, K), out, features = gate.shape, weight.shape[1], x.shape[1]
    # The width of a tile is not tuned, because the products with the partner come as one part for each tile. A wider
    # one does not fit into the registers in float32.
    width = TILE if out <= TILE or x.element_size() > 2 else 2 * TILE
    tiles = triton.cdiv(out, width)
    shares = _triton.shares(triton.cdiv(N, TILE) * tiles, K, x.device)
    each = triton.cdiv(K, shares) if K else 1
    shares = max(1, triton.cdiv(K, each))
    y = _triton.buffer(shares, (N, out), x.dtype, x.device) if summed else None
    pairs = None if partner is None else _triton.buffer(max(1, tiles), (N, K), torch.float32, x.device)
    if N and out:
        with torch.cuda.device_of(x):
            _products_kernel[lambda meta: (triton.cdiv(N, meta["BN"]) * tiles, shares)](
                gate,
                weight,
                x,
                partner,
                y,
                pairs,
                N,
                K,
                out,
                features,
                each,
                *weight.stride(),
                _triton.bucket(N),
                BO=width,
                PRECISION=precision,
            )
    elif pairs is not None:
        pairs.zero_()
    return (
        None if y is None else _triton.summed(y, x.dtype),
        None if pairs is None else _triton.summed(pairs, torch.float32),
    )


def _weight_gradient(gate: Tensor, weight: Tensor, x: Tensor, grad: Tensor, precision: Precision) -> Tensor:
    """Return Σ_n gate_nk grad_n x_nᵀ, (K, out, in)."""
    N, (K, out, features) = len(x), weight.shape
    tiles = triton.cdiv(out, TILE) * triton.cdiv(features, TILE)
    shares = _triton.shares(K * tiles, triton.cdiv(N, TILE), x.device)
    each = triton.cdiv(N, shares) if N else 1
    shares = max(1, triton.cdiv(N, each))
    parts = _triton.buffer(shares, weight.shape, weight.dtype, x.device)
    if weight.numel():
        with torch.cuda.device_of(x):
            _weight_kernel[lambda meta: (triton.cdiv(out, meta["BO"]) * triton.cdiv(features, meta["BI"]), K, shares)](
                gate, grad, x, parts, N, K, out, features, each, _triton.bucket(N), PRECISION=precision
            )
    return _triton.summed(parts, weight.dtype)


@_triton.autotune(
    [
        triton.Config({"BN": 64, "BI": 64}, num_warps=4, num_stages=3),
        triton.Config({"BN": 128, "BI": 64}, num_warps=8, num_stages=3),
        triton.Config({"BN": 128, "BI": 32}, num_warps=8, num_stages=3),
        triton.Config({"BN": 64, "BI": 32}, num_warps=8, num_stages=3),
        triton.Config({"BN": 32, "BI": 32}, num_warps=4, num_stages=3),
    ],
    key=["size", "K", "out_features", "in_features", "BO", "PRECISION"],
)
@triton.jit
def _products_kernel(
    gate,
    weight,
    x,
    partner,
    y,
    pairs,
    N,
    K,
    out_features,
    in_features,
    each,  # components of a share
    stride_k,
    stride_o,
    stride_i,
    size,  # the tuner's bucket of N  # noqa: ARG001
    BN: tl.constexpr,
    BO: tl.constexpr,
    BI: tl.constexpr,
    PRECISION: tl.constexpr,
):
    row_tiles, out_tiles = tl.cdiv(N, BN), tl.cdiv(out_features, BO)
    program = tl.program_id(0)
    first = program // (_GROUP * out_tiles) * _GROUP
    group = tl.minimum(row_tiles - first, _GROUP)
    row_tile = first + program % (_GROUP * out_tiles) % group
    out_tile = program % (_GROUP * out_tiles) // group
    share = tl.program_id(1)

    n = row_tile.to(tl.int64) * BN + tl.arange(0, BN)
    o = out_tile * BO + tl.arange(0, BO)
    i = tl.arange(0, BI)
    is_row, is_out = n < N, o < out_features
    there = is_row[:, None] & is_out[None, :]
    place = n[:, None] * out_features + o[None, :]
    x_tile = x + n[:, None] * in_features + i[None, :]
    weight_tile = weight + share.to(tl.int64) * each * stride_k + i[:, None] * stride_i + o[None, :] * stride_o
    if pairs is not None:
        other = tl.load(partner + place, there, other=0.0).to(tl.float32)

    total = tl.zeros((BN, BO), tl.float32)
    for k in range(share * each, tl.minimum(share * each + each, K)):
        answer = tl.zeros((BN, BO), tl.float32)
        for start in range(0, in_features, BI):
            is_in = start + i < in_features
            a = tl.load(x_tile + start, is_row[:, None] & is_in[None, :], other=0.0)
            w = tl.load(weight_tile + start * stride_i, is_in[:, None] & is_out[None, :], other=0.0)
            answer = _triton.dot(a, w.to(a.dtype), answer, PRECISION)
        if y is not None:
            total += tl.load(gate + n * K + k, is_row, other=0.0).to(tl.float32)[:, None] * answer
        if pairs is not None:
            tl.store(pairs + (out_tile.to(tl.int64) * N + n) * K + k, tl.sum(answer * other, 1), is_row)  # type: ignore[reportPossiblyUnbound]
        weight_tile += stride_k
    if y is not None:
        tl.store(y + share.to(tl.int64) * N * out_features + place, total.to(y.dtype.element_ty), there)


@_triton.autotune(
    [
        triton.Config({"BN": 64, "BO": 64, "BI": 64}, num_warps=4, num_stages=3),
        triton.Config({"BN": 32, "BO": 64, "BI": 64}, num_warps=4, num_stages=4),
        triton.Config({"BN": 32, "BO": 64, "BI": 128}, num_warps=4, num_stages=3),
        triton.Config({"BN": 64, "BO": 128, "BI": 128}, num_warps=8, num_stages=3),
    ],
    key=["size", "K", "out_features", "in_features", "PRECISION"],
)
@triton.jit
def _weight_kernel(
    gate,
    grad,
    x,
    parts,
    N,
    K,
    out_features,
    in_features,
    each,  # rows of a share
    size,  # the tuner's bucket of N  # noqa: ARG001
    BN: tl.constexpr,
    BO: tl.constexpr,
    BI: tl.constexpr,
    PRECISION: tl.constexpr,
):
    in_tiles = tl.cdiv(in_features, BI)
    o = tl.program_id(0) // in_tiles * BO + tl.arange(0, BO)
    i = tl.program_id(0) % in_tiles * BI + tl.arange(0, BI)
    k, share = tl.program_id(1).to(tl.int64), tl.program_id(2).to(tl.int64)
    is_out, is_in = o < out_features, i < in_features

    total = tl.zeros((BO, BI), tl.float32)
    end = tl.minimum(share * each + each, N)
    for start in range(share * each, end, BN):
        n = start + tl.arange(0, BN).to(tl.int64)
        is_row = n < end
        a = tl.load(x + n[:, None] * in_features + i[None, :], is_row[:, None] & is_in[None, :], other=0.0)
        g = tl.load(gate + n * K + k, is_row, other=0.0).to(tl.float32)
        # loaded transposed: a dot of its tile with x sums over the rows
        place = n[None, :] * out_features + o[:, None]
        d = tl.load(grad + place, is_out[:, None] & is_row[None, :], other=0.0).to(tl.float32)
        total = _triton.dot((d * g[None, :]).to(a.dtype), a, total, PRECISION)
    place = ((share * K + k) * out_features + o[:, None]) * in_features + i[None, :]
    tl.store(parts + place, total.to(parts.dtype.element_ty), is_out[:, None] & is_in[None, :])
