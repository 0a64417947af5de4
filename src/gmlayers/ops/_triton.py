"""The Triton kernels share this: tuning, one dot, sums to which several programs add.

Under ``TRITON_INTERPRET=1``, set before triton is imported, the kernels run on the CPU in NumPy, for tests.
"""

# ruff: noqa: ANN001, ANN202  (functions of kernels have tiles for arguments)

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton import knobs

Precision = Literal["ieee", "tf32", "tf32x3"]
"""This says how a product of float32 matrices is computed; lower precisions are exact in any case."""

INTERPRETED = tl.constexpr(bool(knobs.runtime.interpret))
"""The kernels are run by Triton's interpreter if this is true."""

TILE = 64
"""A grid is counted by tiles of this side before tuning has chosen its own."""


def autotune(configs: Sequence[triton.Config], key: Sequence[str]) -> Callable[[Any], Any]:
    """Return ``triton.autotune``; in the interpreter, where there is nothing to time, the first config alone."""
    if not INTERPRETED.value:
        return triton.autotune(list(configs), list(key))
    return triton.heuristics({name: lambda _, value=value: value for name, value in configs[0].kwargs.items()})


def bucket(rows: int) -> int:
    """Return the next power of two: batches of about one size share their tuning."""
    return triton.next_power_of_2(max(1, rows))


def shares(programs: int, steps: int, device: torch.device) -> int:
    """Return among how many programs to divide each sum of ``steps`` terms, so that ``programs`` sums fill a GPU.

    Each share goes to its own part of a buffer, which is summed afterwards: the result does not depend on the order in
    which programs run, as it would with atomic additions.
    """
    if device.type != "cuda":
        return 1
    processors = torch.cuda.get_device_properties(device).multi_processor_count
    return max(1, min(steps, 2 * processors // max(1, programs)))


def buffer(count: int, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return (count, *shape) to be filled by a kernel; float32 if its ``count`` shares are still to be summed."""
    return torch.empty((count, *shape), dtype=dtype if count == 1 else torch.float32, device=device)


def summed(parts: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the sum of the shares, (count, ...) -> (...)."""
    return parts[0] if len(parts) == 1 else parts.sum(0).to(dtype)


@triton.jit
def dot(a, b, total, PRECISION: tl.constexpr):
    """Return total + a b, accumulated in float32: a (I, J), b (J, L), total (I, L)."""
    if INTERPRETED:  # NumPy has no bfloat16; in float32 the products are as exact
        return tl.dot(a.to(tl.float32), b.to(tl.float32), total, input_precision="ieee")
    else:  # noqa: RET505  (the compiler takes one branch of an if on constants, but not one before a return)
        return tl.dot(a, b, total, input_precision=PRECISION)
