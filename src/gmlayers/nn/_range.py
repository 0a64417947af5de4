"""Powers leave the range of float32 long before the numbers do: where they would, modules count in float64."""

from __future__ import annotations

import torch
from torch import Tensor

from gmlayers.ops._fused import readable
from gmlayers.ops._neurons import LARGE, LARGEST_VARIANCE


def squares_fit(var: Tensor, *factors: Tensor) -> bool:
    """Return whether variances, and the squares of which they are sums, are in the range of float32.

    Numbers are looked at only where that is cheap. On a GPU, in a compiler and under ``torch.func`` the answer is yes.

    Args:
        var: variances; they decide where a look is cheap, because they depend on all the rest.
        factors: what was squared, of any shape.
    """
    if var.dtype == torch.float64 or not readable(var) or not var.numel():
        return True
    if not float(var.detach().amax()) <= LARGEST_VARIANCE:  # NaN is out of range, so that it hides nothing
        return False
    return all(_size(factor) <= LARGE for factor in factors)


def cubes_fit(*tensors: Tensor) -> bool:
    """Return whether third powers of numbers are in the range of float32, as far as that may be asked; see above."""
    if any(t.dtype == torch.float64 or not readable(t) or not t.numel() for t in tensors):
        return True
    return all(_size(t) <= LARGE for t in tensors)


def _size(t: Tensor) -> float:
    """Return the norm of all entries, which none exceeds, and which takes half as long as the largest of them."""
    return float(torch.linalg.vector_norm(t.detach()))
