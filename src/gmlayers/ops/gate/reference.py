"""The plain form that every implementation is held against."""

from __future__ import annotations

from torch import Tensor

from gmlayers.functional import Activation


def gate(activation: Activation, m: Tensor, var: Tensor, reading: Tensor | None) -> tuple[Tensor, Tensor]:
    r"""Return E f(z) and E f'(z), z ~ N(m, var), the latter times the reading if there is one.

    Args:
        activation: f with its closed forms.
        m: (..., K).
        var: (..., K).
        reading: (..., K, r) or None.
    """
    level, slope = activation.mean(m, var), activation.gate(m, var)
    return level, slope if reading is None else slope[..., None] * reading
