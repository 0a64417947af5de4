"""What a module takes, and in which precision it counts: in float64 where powers leave the range of float32."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from gmlayers._arguments import autocast_on, is_dense, no_tensor
from gmlayers.ops._fused import readable
from gmlayers.ops._neurons import LARGE, LARGEST_VARIANCE


def _fits(x: Tensor, in_features: int, like: Tensor) -> bool:
    """Return whether all is well, as it mostly is, in little time: this is asked at every call of every layer."""
    if not isinstance(x, Tensor) or x.layout is not torch.strided or x.is_nested or x.dtype != like.dtype:
        return False
    return x.shape[-1:] == (in_features,) and ((x.is_cpu and like.is_cpu) or x.device == like.device)


def check_input(module: str, x: Tensor, in_features: int, like: Tensor | None) -> None:
    """Raise if a module of those features cannot take the input.

    Args:
        module: errors begin with this name.
        x: the input.
        in_features: size of its last axis.
        like: a parameter, whose dtype and device the input must have; None if it may be of any.

    Raises:
        TypeError: for what is no dense tensor of floating-point numbers.
        ValueError: for another size, dtype or device.
    """
    if like is not None and _fits(x, in_features, like):
        return
    if not is_dense(x):
        raise no_tensor(f"{module}: the input x", x)
    if x.ndim == 0 or x.shape[-1] != in_features:
        raise ValueError(
            f"{module}: expected an input of shape (..., {in_features}), got {tuple(x.shape)}; "
            f"flatten images with x.flatten(1)"
        )
    if like is not None:
        check_place(module, x, like)


def check_place(module: str, x: Tensor, like: Tensor) -> None:
    """Raise ``ValueError`` if an input is not on the device of a parameter, or not of its dtype."""
    if x.device != like.device:
        raise ValueError(
            f"{module}: expected an input on {like.device}, where the parameters are, got one on {x.device}; "
            f"move one of them"
        )
    if x.dtype != like.dtype and not (autocast_on(x.device.type) and torch.float64 not in (x.dtype, like.dtype)):
        raise ValueError(
            f"{module}: expected {like.dtype}, the dtype of the parameters, got {x.dtype}; "
            f"convert one of them, for instance with layer.to({x.dtype})"
        )


def upcast(t: Tensor) -> Tensor:
    """Return half precision as float32, everything else as it is."""
    return t.float() if t.dtype in (torch.float16, torch.bfloat16) else t


def result_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype of matrix products of an input."""
    return torch.get_autocast_dtype(x.device.type) if autocast_on(x.device.type) else x.dtype


def autocast_off(device_type: str) -> AbstractContextManager[object]:
    """Hold the moments and expectations in full precision: in bfloat16 m/s is ruined, in float16 s² overflows."""
    return torch.autocast(device_type, enabled=False) if autocast_on(device_type) else nullcontext()


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
