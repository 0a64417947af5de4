"""Checks of the options that all solvers have, and the warnings that they share."""

from __future__ import annotations

import math
import warnings
from typing import TypeVar

import torch
from torch import Tensor

from gmlayers._arguments import check_callable, not_negative_number, positive_number, real
from gmlayers._names import whole

V = TypeVar("V")


def check_limits(
    name: str,
    tolerance: float,
    max_seconds: float,
    max_components: int,
    least: int,
    float32_tolerance: float | None,
    callback: object,
) -> int:
    """Return the number of components as ``int``; raise ``ValueError`` or ``TypeError`` for what is out of range."""
    check_positive(f"{name}: tolerance", tolerance)
    check_seconds(name, max_seconds)
    check_float32(name, float32_tolerance)
    check_callback(name, callback)
    max_components = whole(f"{name}: max_components", max_components)
    if max_components < least:
        raise ValueError(f"{name}: max_components must be at least {least}, got {max_components}")
    return max_components


def check_positive(name: str, value: object) -> None:
    """Raise ``ValueError`` or ``TypeError`` for what is no finite number above 0."""
    positive_number(name, without_gradient(name, value))


def check_not_negative(name: str, value: object) -> None:
    """Raise ``ValueError`` or ``TypeError`` for what is no finite number from 0 up, or has a square that is none."""
    number = not_negative_number(name, without_gradient(name, value))
    if not number * number < math.inf:
        raise ValueError(f"{name} must have a square that float64 can hold, got {number!r}")


def check_float32(name: str, float32_tolerance: object) -> None:
    """Raise ``ValueError`` or ``TypeError`` for what is neither None nor a number from 0 up, infinity included."""
    if float32_tolerance is not None and not _real(f"{name}: float32_tolerance", float32_tolerance) >= 0:
        raise ValueError(f"{name}: float32_tolerance must not be negative, got {float32_tolerance}")


def check_rank_tolerance(name: str, rank_tolerance: object) -> None:
    """Raise ``ValueError`` or ``TypeError`` for what is no share of the largest singular value."""
    if not 0 <= _real(f"{name}: rank_tolerance", rank_tolerance) < 1:
        raise ValueError(f"{name}: rank_tolerance must be from 0 to below 1, got {rank_tolerance}")


def check_seconds(name: str, max_seconds: object) -> None:
    """Raise ``ValueError`` or ``TypeError`` for what is no time that is allowed."""
    if not _real(f"{name}: max_seconds", max_seconds) > 0:
        raise ValueError(f"{name}: max_seconds must be positive, got {max_seconds}")


def check_callback(name: str, callback: object) -> None:
    """Raise ``TypeError`` for what cannot be called with a step."""
    check_callable(f"{name}: callback", callback, optional=True, takes=1)


def without_gradient(name: str, value: V) -> V:
    """Return what was given; raise ``TypeError`` for a tensor, alone or in a list, whose gradient would be lost."""
    if isinstance(value, list | tuple):
        for part in value:
            without_gradient(name, part)
    if isinstance(value, Tensor) and value.requires_grad:
        raise TypeError(
            f"{name} requires a gradient, and none goes through a solve; give its values alone, by .detach(), got a "
            f"tensor {tuple(value.shape)}"
        )
    return value


def warn_of_float32(name: str, what: str, max_weight: float, lost: float, tolerance: float | None) -> None:
    """Warn, at the line that called the caller's caller, if it was measured that float32 loses more than that."""
    _warn(name, f"{what} in float32 is", max_weight, lost, tolerance, "stay in float64")


def warn_of_weights(name: str, max_weight: float, tolerance: float | None) -> None:
    """Warn, at the line that called the caller's caller, if float32 may lose more than that by weights that cancel."""
    lost = max_weight * torch.finfo(torch.float32).eps
    advice = "stay in float64, or regularise, or take narrower bumps"
    _warn(name, "sums of bumps in float32 may be", max_weight, lost, tolerance, advice)


def _warn(name: str, what: str, max_weight: float, lost: float, tolerance: float | None, advice: str) -> None:
    if tolerance is not None and lost > tolerance:
        warnings.warn(
            f"{name}: {what} off by {lost:.2g}, with weights as large as {max_weight:.2g}; {advice}",
            stacklevel=5,  # past the caller of the caller and its decorator
        )


def _real(name: str, value: object) -> float:
    return real(name, without_gradient(name, value))
