"""What the solvers may use, checked, and what they warn of."""

from __future__ import annotations

import math
import warnings
from numbers import Real

from gmlayers._names import whole


def check_limits(
    name: str, tol: float, max_seconds: float, max_components: int, least: int, float32_tolerance: float | None
) -> int:
    """Return the number of components as ``int``; raise ``ValueError`` or ``TypeError`` for what is out of range."""
    _real(f"{name}: tol", tol)
    if not 0 < tol < math.inf:
        raise ValueError(f"{name}: tol must be positive and finite, got {tol}")
    check_seconds(name, max_seconds)
    if float32_tolerance is not None:
        _real(f"{name}: float32_tolerance", float32_tolerance)
        if not 0 <= float32_tolerance < math.inf:
            raise ValueError(
                f"{name}: float32_tolerance must be None or finite and not negative, got {float32_tolerance}"
            )
    max_components = whole(f"{name}: max_components", max_components)
    if max_components < least:
        raise ValueError(f"{name}: max_components must be at least {least}, got {max_components}")
    return max_components


def check_seconds(name: str, max_seconds: float) -> None:
    """Raise ``ValueError`` or ``TypeError`` for what is no time that is allowed."""
    _real(f"{name}: max_seconds", max_seconds)
    if not max_seconds > 0:
        raise ValueError(f"{name}: max_seconds must be positive, got {max_seconds}")


def warn_of_float32(
    name: str, what: str, max_weight: float, lost: float, tolerance: float | None, advice: str = "stay in float64"
) -> None:
    """Warn, at the line that called the caller's caller, if float32 loses more than the tolerance."""
    if tolerance is not None and lost > tolerance:
        warnings.warn(
            f"{name}: {what} off by {lost:.2g}, with weights as large as {max_weight:.2g}; {advice}",
            stacklevel=4,  # past the caller and its decorator
        )


def _real(name: str, value: object) -> None:
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number, got {value!r}")
