r"""Gaussian bumps, :math:`f_{nk} = \exp(-\tfrac12 \|A_k x_n - c_k\|^2)`, without a tensor of size (N, m, p).

A program owns a tile of the result and recomputes the tiles of :math:`v = Ax - c` that it needs. With
:math:`\delta v_{nkp} = -\delta f_{nk} f_{nk} v_{nkp}`, and f at hand from the forward,

.. math::
    \delta x_n = \sum_{kp} \delta v_{nkp} A_{kp},\qquad
    \delta A_{kp} = \sum_n \delta v_{nkp}\, x_n^\top,\qquad
    \delta c_{kp} = -\sum_n \delta v_{nkp}.

The products are of the dtype of x; v, the squares and the exponential are float32.
"""

# ruff: noqa: ANN001, ANN202  (kernels have pointers and tiles for arguments)

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from gmlayers.functional.normal import FAR
from gmlayers.ops import _triton
from gmlayers.ops._triton import TILE, Precision

_FAR = tl.constexpr(FAR)


def forward(x: Tensor, projection: Tensor, offset: Tensor, *, input_precision: Precision = "ieee") -> Tensor:
    """Return f_nk = exp(-½ ‖A_k x_n - c_k‖²), float32 (N, m).

    Args:
        x: (N, d), contiguous.
        projection: A, (m, p, d), contiguous.
        offset: c, float32 (m, p), contiguous.
        input_precision: how products of float32 matrices are computed.
    """
    (N, d), (m, p, _) = x.shape, projection.shape
    f = torch.empty((N, m), dtype=torch.float32, device=x.device)
    if f.numel():
        with torch.cuda.device_of(x):
            _forward_kernel[lambda meta: (triton.cdiv(N, meta["BN"]) * triton.cdiv(m, meta["BM"]),)](
                x, projection, offset, f, N, m, p, d, _triton.bucket(N), PRECISION=input_precision
            )
    return f


def backward(
    x: Tensor,
    projection: Tensor,
    offset: Tensor,
    f: Tensor,
    grad_f: Tensor,
    needs: tuple[bool, bool, bool],
    *,
    input_precision: Precision = "ieee",
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return the gradients of x, projection and offset, each None if it is not needed and like its tensor otherwise.

    Args:
        x: what :func:`forward` was given, like projection and offset.
        projection: A.
        offset: c.
        f: the forward's result, float32 (N, m), contiguous.
        grad_f: its gradient, likewise.
        needs: which gradients to compute.
        input_precision: how products of float32 matrices are computed.
    """
    need_x, need_projection, need_offset = needs
    grad_x = grad_projection = grad_offset = None
    if need_x:
        grad_x = _input_gradient(x, projection, offset, f, grad_f, input_precision)
    if need_projection or need_offset:
        grad_projection, grad_offset = _parameter_gradients(
            x, projection, offset, f, grad_f, (need_projection, need_offset), input_precision
        )
    return grad_x, grad_projection, grad_offset


def _input_gradient(
    x: Tensor, projection: Tensor, offset: Tensor, f: Tensor, grad_f: Tensor, precision: Precision
) -> Tensor:
    (N, d), (m, p, _) = x.shape, projection.shape
    programs = triton.cdiv(N, TILE) * triton.cdiv(d, TILE)
    shares = _triton.shares(programs, triton.cdiv(m * p, TILE), x.device)
    each = triton.cdiv(m * p, shares) if m * p else 1
    shares = max(1, triton.cdiv(m * p, each))
    parts = _triton.buffer(shares, (N, d), x.dtype, x.device)
    if parts.numel():
        with torch.cuda.device_of(x):
            _input_kernel[lambda meta: (triton.cdiv(N, meta["BN"]) * triton.cdiv(d, meta["BD"]), shares)](
                x, projection, offset, f, grad_f, parts, N, m, p, d, each, _triton.bucket(N), PRECISION=precision
            )
    return _triton.summed(parts, x.dtype)


def _parameter_gradients(
    x: Tensor,
    projection: Tensor,
    offset: Tensor,
    f: Tensor,
    grad_f: Tensor,
    needs: tuple[bool, bool],
    precision: Precision,
) -> tuple[Tensor | None, Tensor | None]:
    (N, d), (m, p, _) = x.shape, projection.shape
    # The offset's gradient alone takes one tile of d: nothing of the projection's is computed.
    columns = d if needs[0] else 1
    programs = triton.cdiv(m * p, TILE) * triton.cdiv(columns, TILE)
    shares = _triton.shares(programs, triton.cdiv(N, TILE), x.device)
    each = triton.cdiv(N, shares) if N else 1
    shares = max(1, triton.cdiv(N, each))
    of_projection = _triton.buffer(shares, (m, p, d), projection.dtype, x.device) if needs[0] else None
    of_offset = _triton.buffer(shares, (m, p), offset.dtype, x.device) if needs[1] else None
    if m * p:
        with torch.cuda.device_of(x):
            _parameter_kernel[
                lambda meta: (triton.cdiv(m * p, meta["BM"]) * max(1, triton.cdiv(columns, meta["BD"])), shares)
            ](
                x,
                projection,
                offset,
                f,
                grad_f,
                of_projection,
                of_offset,
                N,
                m,
                p,
                d,
                max(1, columns),
                each,
                _triton.bucket(N),
                PRECISION=precision,
            )
    return (
        None if of_projection is None else _triton.summed(of_projection, projection.dtype),
        None if of_offset is None else _triton.summed(of_offset, offset.dtype),
    )


# The first suits 16-bit matrices; the tiles of addresses and of float32 take more registers, hence the others.
_CONFIGS = [
    triton.Config({"BN": 64, "BM": 64, "BD": 64}, num_warps=4, num_stages=3),
    triton.Config({"BN": 64, "BM": 64, "BD": 32}, num_warps=4, num_stages=3),
    triton.Config({"BN": 128, "BM": 64, "BD": 32}, num_warps=8, num_stages=3),
    triton.Config({"BN": 64, "BM": 64, "BD": 32}, num_warps=8, num_stages=3),
    triton.Config({"BN": 64, "BM": 32, "BD": 32}, num_warps=4, num_stages=3),
]
_KEY = ["size", "m", "p", "d", "PRECISION"]


@triton.jit
def _cut(v):
    """Return v, cut off where the bump is 0; NaN stays NaN."""
    return tl.where(v < -_FAR, -_FAR, tl.where(v > _FAR, _FAR, v))


@triton.jit
def _projected(
    x, projection, n, q, is_row, is_q, d, BN: tl.constexpr, BM: tl.constexpr, BD: tl.constexpr, PRECISION: tl.constexpr
):
    """Return the tile ⟨A_q, x_n⟩, (BN, BM), of rows q of the projection seen as a matrix (m p, d)."""
    i = tl.arange(0, BD)
    x_tile = x + n[:, None] * d + i[None, :]
    projection_tile = projection + q[None, :] * d + i[:, None]
    total = tl.zeros((BN, BM), tl.float32)
    for start in range(0, d, BD):
        is_in = start + i < d
        a = tl.load(x_tile + start, is_row[:, None] & is_in[None, :], other=0.0)
        w = tl.load(projection_tile + start, is_in[:, None] & is_q[None, :], other=0.0)
        total = _triton.dot(a, w.to(a.dtype), total, PRECISION)
    return total


@_triton.autotune(_CONFIGS, key=_KEY)
@triton.jit
def _forward_kernel(
    x,
    projection,
    offset,
    f,
    N,
    m,
    p,
    d,
    size,  # the tuner's bucket of N  # noqa: ARG001
    BN: tl.constexpr,
    BM: tl.constexpr,
    BD: tl.constexpr,
    PRECISION: tl.constexpr,
):
    tiles = tl.cdiv(m, BM)
    n = (tl.program_id(0) // tiles).to(tl.int64) * BN + tl.arange(0, BN)
    k = (tl.program_id(0) % tiles).to(tl.int64) * BM + tl.arange(0, BM)
    is_row, is_component = n < N, k < m
    square = tl.zeros((BN, BM), tl.float32)
    for j in range(p):
        q = k * p + j
        c = tl.load(offset + q, is_component, other=0.0).to(tl.float32)
        v = _cut(_projected(x, projection, n, q, is_row, is_component, d, BN, BM, BD, PRECISION) - c[None, :])
        square += v * v
    tl.store(f + n[:, None] * m + k[None, :], tl.exp(-0.5 * square), is_row[:, None] & is_component[None, :])


@triton.jit
def _pulled(
    x,
    projection,
    offset,
    f,
    grad_f,
    n,
    q,
    is_row,
    is_q,
    m,
    p,
    d,
    BN: tl.constexpr,
    BM: tl.constexpr,
    BD: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Return the tile δv of rows n and rows q of the projection seen as a matrix (m p, d): (BN, BM)."""
    c = tl.load(offset + q, is_q, other=0.0).to(tl.float32)
    v = _cut(_projected(x, projection, n, q, is_row, is_q, d, BN, BM, BD, PRECISION) - c[None, :])
    place = n[:, None] * m + (q // p)[None, :]
    there = is_row[:, None] & is_q[None, :]
    return -v * tl.load(f + place, there, other=0.0) * tl.load(grad_f + place, there, other=0.0)


@_triton.autotune(_CONFIGS, key=_KEY)
@triton.jit
def _input_kernel(
    x,
    projection,
    offset,
    f,
    grad_f,
    parts,
    N,
    m,
    p,
    d,
    each,  # rows of the projection of a share
    size,  # the tuner's bucket of N  # noqa: ARG001
    BN: tl.constexpr,
    BM: tl.constexpr,
    BD: tl.constexpr,
    PRECISION: tl.constexpr,
):
    tiles = tl.cdiv(d, BD)
    n = (tl.program_id(0) // tiles).to(tl.int64) * BN + tl.arange(0, BN)
    i = tl.program_id(0) % tiles * BD + tl.arange(0, BD)
    share = tl.program_id(1).to(tl.int64)
    is_row, is_in = n < N, i < d
    total = tl.zeros((BN, BD), tl.float32)
    end = tl.minimum(share * each + each, m * p)
    for start in range(share * each, end, BM):
        q = start + tl.arange(0, BM).to(tl.int64)
        is_q = q < end
        pulled = _pulled(x, projection, offset, f, grad_f, n, q, is_row, is_q, m, p, d, BN, BM, BD, PRECISION)
        w = tl.load(projection + q[:, None] * d + i[None, :], is_q[:, None] & is_in[None, :], other=0.0)
        total = _triton.dot(pulled.to(x.dtype.element_ty), w.to(x.dtype.element_ty), total, PRECISION)
    place = (share * N + n[:, None]) * d + i[None, :]
    tl.store(parts + place, total.to(parts.dtype.element_ty), is_row[:, None] & is_in[None, :])


@_triton.autotune(_CONFIGS, key=_KEY)
@triton.jit
def _parameter_kernel(
    x,
    projection,
    offset,
    f,
    grad_f,
    of_projection,
    of_offset,
    N,
    m,
    p,
    d,
    columns,
    each,  # rows of x of a share
    size,  # the tuner's bucket of N  # noqa: ARG001
    BN: tl.constexpr,
    BM: tl.constexpr,
    BD: tl.constexpr,
    PRECISION: tl.constexpr,
):
    tiles = tl.cdiv(columns, BD)
    tile = tl.program_id(0) % tiles
    q = (tl.program_id(0) // tiles).to(tl.int64) * BM + tl.arange(0, BM)
    i = tile * BD + tl.arange(0, BD)
    share = tl.program_id(1).to(tl.int64)
    is_q, is_in = q < m * p, i < d
    total = tl.zeros((BM, BD), tl.float32)
    moved = tl.zeros((BM,), tl.float32)
    end = tl.minimum(share * each + each, N)
    for start in range(share * each, end, BN):
        n = start + tl.arange(0, BN).to(tl.int64)
        is_row = n < end
        pulled = _pulled(x, projection, offset, f, grad_f, n, q, is_row, is_q, m, p, d, BN, BM, BD, PRECISION)
        moved -= tl.sum(pulled, 0)
        if of_projection is not None:
            a = tl.load(x + n[:, None] * d + i[None, :], is_row[:, None] & is_in[None, :], other=0.0)
            total = _triton.dot(tl.trans(pulled).to(a.dtype), a, total, PRECISION)
    if of_projection is not None:
        place = (share * m * p + q[:, None]) * d + i[None, :]
        tl.store(of_projection + place, total.to(of_projection.dtype.element_ty), is_q[:, None] & is_in[None, :])
    if of_offset is not None:  # noqa: SIM102  (a constant for the compiler, unlike the next)
        if tile == 0:  # every tile of d has it, and one writes it
            tl.store(of_offset + share * m * p + q, moved.to(of_offset.dtype.element_ty), is_q)
