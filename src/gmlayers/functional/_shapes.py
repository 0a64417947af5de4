"""One check of the shapes of arguments, so that an axis of size 1 by mistake is not broadcast into an answer."""

from __future__ import annotations

from torch import Tensor


def require_shapes(function: str, **arguments: tuple[Tensor | None, str]) -> None:
    """Raise unless every tensor has the axes that are named; axes of one name must be of one size.

    Only shapes are looked at, so that nothing waits for a device, and ``torch.compile`` and ``torch.func`` go through.

    Args:
        function: errors begin with this name.
        arguments: the tensors by name, each with its axes, like ``"... in"`` or ``"K in q"``; the dots are any number
            of axes in front. None is left out.

    Raises:
        ValueError: shapes that do not fit.
        TypeError: an argument that is no tensor.
    """
    given = {name: (tensor, axes.split()) for name, (tensor, axes) in arguments.items() if tensor is not None}
    sizes: dict[str, int] = {}
    for name, (tensor, axes) in given.items():
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{function}: {name} must be a tensor, got {type(tensor).__name__}")
        batched = axes[0] == "..."
        named = axes[1:] if batched else axes
        fits = tensor.ndim >= len(named) if batched else tensor.ndim == len(named)
        found = tensor.shape[tensor.ndim - len(named) :] if fits else ()
        if not fits or any(sizes.setdefault(axis, size) != size for axis, size in zip(named, found)):
            expected = ", ".join(f"{name} ({', '.join(axes.split())})" for name, (_, axes) in arguments.items())
            got = ", ".join(f"{name} {tuple(t.shape)}" for name, (t, _) in given.items() if isinstance(t, Tensor))
            raise ValueError(f"{function}: expected {expected}, got {got}")
