"""One check of the shapes of arguments, so that an axis of size 1 by mistake is not broadcast into an answer."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from gmlayers._arguments import check_tensors


def require_shapes(function: str, *, optional: Collection[str] = (), **arguments: tuple[Tensor | None, str]) -> None:
    """Raise unless every argument is a tensor with the axes that are named; axes of one name must be of one size.

    Only shapes are looked at, so that nothing waits for a device, and ``torch.compile`` and ``torch.func`` go through.

    Args:
        function: errors begin with this name.
        optional: None may be given for these.
        arguments: the tensors by name, each with its axes, like ``"... in"`` or ``"K in q"``; the dots are any number
            of axes in front.

    Raises:
        ValueError: shapes that do not fit, several devices or dtypes.
        TypeError: an argument that is no dense tensor of floating-point numbers.
    """
    first: Tensor | None = None
    sizes: dict[str, int] = {}
    for name, (tensor, text) in arguments.items():
        if tensor is None and name in optional:
            continue
        first = tensor if first is None else first
        if not _alike(tensor, first):  # where autocast is on, dtypes may differ
            tensors: dict[str, Any] = {name: value for name, (value, _) in arguments.items()}
            check_tensors(function, optional=optional, **tensors)
        assert tensor is not None
        named = text.split()
        batched = named[0] == "..."
        named = named[1:] if batched else named
        shape = tensor.shape
        front = len(shape) - len(named)
        fits = front >= 0 if batched else front == 0
        if not fits or any(sizes.setdefault(axis, size) != size for axis, size in zip(named, shape[front:])):
            raise _misfit(function, arguments)


def _alike(tensor: Tensor | None, first: Tensor | None) -> bool:
    """Return whether that is a dense tensor like another one: asked first, because it takes little time."""
    if not isinstance(tensor, Tensor) or tensor.layout is not torch.strided or tensor.is_nested:
        return False
    if tensor is first or first is None:
        return tensor.is_floating_point()
    return tensor.dtype == first.dtype and tensor.device == first.device


def _misfit(function: str, arguments: Mapping[str, tuple[Tensor | None, str]]) -> ValueError:
    expected = ", ".join(f"{name} ({', '.join(axes.split())})" for name, (_, axes) in arguments.items())
    got = ", ".join(f"{name} {tuple(t.shape)}" for name, (t, _) in arguments.items() if isinstance(t, Tensor))
    return ValueError(f"{function}: expected {expected}, got {got}")
