"""Why an operation runs the way it does."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from gmlayers._arguments import check_tensors
from gmlayers._names import look_up
from gmlayers.functional import Activation
from gmlayers.ops._dispatch import RAISED
from gmlayers.ops.bumps._op import BUMPS, BUMPS_LAPLACIAN
from gmlayers.ops.bumps._op import Arguments as BumpsArguments
from gmlayers.ops.gate._op import GATE
from gmlayers.ops.gate._op import Arguments as GateArguments
from gmlayers.ops.mix._op import MIX
from gmlayers.ops.mix._op import Arguments as MixArguments


def _gate(m: Tensor, var: Tensor, activation: str | Activation = "relu", reading: Tensor | None = None) -> str:
    return GATE.explain(GateArguments.of(m, var, activation, reading))


def _mix(weights: Tensor, weight: Tensor, x: Tensor, scale: Tensor | None = None) -> str:
    return MIX.explain(MixArguments.of(weights, weight, x, scale))


def _bumps(x: Tensor, mean: Tensor, projection: Tensor) -> str:
    return BUMPS.explain(BumpsArguments.of(x, mean, projection))


def _bumps_laplacian(x: Tensor, mean: Tensor, projection: Tensor) -> str:
    return BUMPS_LAPLACIAN.explain(BumpsArguments.of(x, mean, projection))


_OPERATIONS: Mapping[str, Callable[..., str]] = {
    "gate": _gate,
    "mix": _mix,
    "bumps": _bumps,
    "bumps_laplacian": _bumps_laplacian,
}


def explain(operation: str, *arguments: Tensor | str | Activation | None) -> str:
    """Return which implementation of an operation would run on such arguments, and why not the others.

    Args:
        operation: ``"gate"``, ``"mix"``, ``"bumps"`` or ``"bumps_laplacian"``.
        arguments: what the operation takes, in its order: m, var, activation, reading; gate, weight, x, scale; or x,
            mean, projection.

    Returns:
        A line per implementation: its counted cost, in operations that take as long, or why it refuses.

    Example:
        >>> import torch
        >>> gate, weight, x = torch.rand(64, 20), torch.rand(20, 10, 784), torch.rand(64, 784)
        >>> print(explain("mix", gate, weight, x))  # doctest: +ELLIPSIS
        mix of gate (64, 20), weight (20, 10, 784), x (64, 784) without a gradient, cpu
          one_gemm    ...  <- chosen
          blocked     no: one block holds all components: it would be one_gemm
          gated_input ...
          reference   ...
          triton      ...
    """
    say = look_up("operation", operation, _OPERATIONS)
    try:
        return say(*arguments)
    except RAISED:
        check_tensors(f"explain {operation}", mixed=True, **_named(say, arguments))
        raise


def _named(say: Callable[..., str], arguments: Sequence[object]) -> dict[str, Any]:
    """Return the tensors among the arguments by their names; what may be left out is no matter."""
    names = inspect.signature(say).parameters.values()
    return {p.name: a for p, a in zip(names, arguments) if p.default is inspect.Parameter.empty}
