"""Which implementation of an operation runs, and why the others do not."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from types import MappingProxyType
from typing import Generic, TypeVar

from gmlayers._names import brief_value, look_up
from gmlayers.ops._fused import Call

A = TypeVar("A")

_NAMES: dict[str, tuple[str, ...]] = {}
"""Every operation has an entry, which holds its implementations."""

_FORCED: ContextVar[Mapping[str, str]] = ContextVar(
    "gmlayers implementations forced by `use`",
    default=MappingProxyType({}),
)


@dataclass(frozen=True)
class Implementation(Generic[A]):
    """One way to compute an operation.

    Args:
        name: the name by which it is forced.
        why_not: the reason why it cannot take such arguments, or None if it can.
        cost: counted cost of forward and backward together; see :func:`cost`.
    """

    name: str
    why_not: Callable[[A], str | None]
    cost: Callable[[A], float]
    call: Callable[[A], Call] | None
    """Function that makes one call of it; None for the plain reference, which torch differentiates itself."""


@dataclass(frozen=True)
class Operation(Generic[A]):
    """An operation and its implementations, in order of preference where costs are equal."""

    name: str
    implementations: tuple[Implementation[A], ...]

    def __post_init__(self) -> None:
        _NAMES[self.name] = tuple(i.name for i in self.implementations)

    def choose(self, arguments: A, forced: str | None = None) -> Implementation[A]:
        """Return the cheapest implementation that can take the arguments, or the forced one.

        Raises:
            ValueError: if the forced one is unknown or refuses; with its reason.
        """
        if forced is not None and not isinstance(forced, str):
            raise TypeError(f"{self.name}: implementation must be a name or None, got {brief_value(forced)}")
        return _choose(self, arguments, forced or _FORCED.get().get(self.name))

    def explain(self, arguments: A) -> str:
        """Return one line per implementation: chosen, possible at what cost, or why not."""
        chosen = self.choose(arguments)
        lines = [f"{self.name} of {arguments}"]
        for i in self.implementations:
            reason = i.why_not(arguments)
            verdict = f"no: {reason}" if reason else f"{i.cost(arguments) / 1e6:.4g} M"
            lines.append(f"  {i.name:<12}{verdict}{'  <- chosen' if i is chosen else ''}")
        return "\n".join(lines)


@lru_cache(maxsize=4096)
def _choose(operation: Operation[A], arguments: A, forced: str | None) -> Implementation[A]:
    if forced is None:
        able = [i for i in operation.implementations if i.why_not(arguments) is None]
        return min(able, key=lambda i: i.cost(arguments))
    chosen = look_up(f"implementation of {operation.name}", forced, {i.name: i for i in operation.implementations})
    reason = chosen.why_not(arguments)
    if reason is not None:
        raise ValueError(f"{operation.name}: the implementation {forced!r} cannot be used here: {reason}")
    return chosen


def forced(operation: str) -> bool:
    """Return whether an implementation of an operation is forced by :func:`use`."""
    return operation in _FORCED.get()


def cost(*, flops: float = 0.0, passed: float = 0.0, made: float = 0.0, calls: float = 0.0) -> float:
    """Return a count in units of one floating-point operation of a matrix product.

    Args:
        flops: operations of matrix products.
        passed: elements that passes over tensors write.
        made: elements of new tensors, which the allocator may have to map and clear.
        calls: operations started.

    The prices were measured on a core with vector units, on which a matrix product does 100 operations in a
    nanosecond, an element takes 0.12 ns to pass and 0.4 ns to make, and an operation 3 µs to start. They decide
    between implementations only, so that a factor of 2 does little harm.
    """
    return flops + 12.0 * passed + 40.0 * made + 300_000.0 * calls


def triton_refuses(device_type: str) -> str | None:
    """Return why Triton's kernels cannot run on that kind of device, or None.

    On a CPU they run in Triton's interpreter only, for tests: with ``TRITON_INTERPRET=1`` before Triton is imported.
    """
    if find_spec("triton") is None:
        return "triton is not installed; on Linux torch's CUDA builds bring it"
    if device_type == "cuda" or (device_type == "cpu" and _interpreted()):
        return None
    return f"the tensors are on {device_type}, and it is for cuda"


def triton_cost(device_type: str, cost: float) -> float:
    """Return the cost on a GPU; the interpreter is never chosen, only forced."""
    return cost if device_type == "cuda" else float("inf")


@lru_cache(maxsize=1)
def _interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET") == "1"


RAISED = (RuntimeError, TypeError, AttributeError, IndexError)
"""Arguments that are no tensors, or do not fit each other, raise one of these somewhere inside of an operation.

Operations look at their arguments closely when one of these was raised, and not before: they run at every step of
every layer, and what costs nothing where all is well is a ``try``.
"""

AUTOCAST = "autocast is on, and casts plain operations only"
"""A fast path gives this reason for not running under autocast."""


@contextmanager
def use(
    *,
    gate: str | None = None,
    mix: str | None = None,
    bumps: str | None = None,
    bumps_laplacian: str | None = None,
) -> Iterator[None]:
    """Force implementations by name inside a ``with`` block, for comparisons and benchmarks.

    Args:
        gate: implementation of :func:`gmlayers.ops.gate`; None leaves the choice as it is.
        mix: implementation of :func:`gmlayers.ops.mix`.
        bumps: implementation of :func:`gmlayers.ops.bumps`.
        bumps_laplacian: implementation of :func:`gmlayers.ops.bumps_laplacian`.

    An operation whose forced implementation cannot take its arguments raises ``ValueError`` with the reason, and so
    does an unknown name. Inside ``torch.compile`` nothing is forced.

    Example:
        >>> import torch
        >>> from gmlayers import GMLayer, ops
        >>> with ops.use(gate="reference", mix="reference"):
        ...     y = GMLayer(4, 2, 3, covariance="diagonal")(torch.rand(5, 4))
    """
    given = {"gate": gate, "mix": mix, "bumps": bumps, "bumps_laplacian": bumps_laplacian}
    forced = {name: value for name, value in given.items() if value is not None}
    for name, value in forced.items():
        look_up(f"implementation of {name}", value, dict.fromkeys(_NAMES[name]))
    token = _FORCED.set({**_FORCED.get(), **forced})
    try:
        yield
    finally:
        _FORCED.reset(token)
