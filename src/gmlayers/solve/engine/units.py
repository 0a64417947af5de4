"""Numbers so small or large that their squares are not to be had are measured in a unit that is a power of two.

A power of two changes no digit, and it is 1 for all numbers whose squares can be had: those are not touched.
"""

from __future__ import annotations

import math

from torch import Tensor

REACH = 400
"""Numbers from 2 to minus this to 2 to this are left as they are: what is left of them after 16 digits can still be
squared in float64."""


def unit_of(*values: Tensor | float) -> float:
    """Return the unit for numbers: 1, or a power of two near the largest if that is out of reach."""
    largest = max(largest_of(v) for v in values)
    if largest == 0 or not math.isfinite(largest):
        return 1.0
    exponent = math.frexp(largest)[1] - 1
    return 1.0 if abs(exponent) <= REACH else math.ldexp(1.0, exponent)


def units_of_columns(matrix: Tensor) -> Tensor:
    """Return the units of the columns of a matrix (n, k), (k,)."""
    units = [unit_of(largest) for largest in matrix.abs().amax(0).tolist()]
    return matrix.new_tensor(units)


def root_mean_square(values: Tensor) -> Tensor:
    """Return the roots of the mean squares along the first axis: of columns (n, k), (k,), of numbers (n,), one."""
    unit = unit_of(values)
    return (values / unit).square().mean(0).sqrt() * unit


def largest_of(values: Tensor | float) -> float:
    """Return the largest magnitude of numbers, 0 if there are none."""
    if not isinstance(values, Tensor):
        return abs(values)
    return float(values.abs().amax()) if values.numel() else 0.0
