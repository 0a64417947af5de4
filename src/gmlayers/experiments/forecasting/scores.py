"""How good forecasts are: errors, quantiles, and intervals that are calibrated on windows that were held out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from gmlayers.nn import NormalMixture

QUANTILES = tuple(i / 10 for i in range(1, 10))
"""The pinball loss is a mean over these."""

LEVEL = 0.8
"""Intervals hold what comes with this probability."""

Windows = Iterable[tuple[Tensor, Tensor]]
"""What is read, (batch, series, look-back), and what came, (batch, series, horizon)."""

Forecast = Callable[[Tensor], "Tensor | NormalMixture"]


class Errors(NamedTuple):
    """The means of squared and absolute errors."""

    mse: float
    mae: float


def errors(forecast: Forecast, windows: Windows) -> Errors:
    """Return the errors of forecasts; those of a distribution are its mean's."""
    squares = sizes = count = 0.0
    with torch.no_grad():
        for x, y in windows:
            answer = forecast(x)
            error = (answer.mean if isinstance(answer, NormalMixture) else answer) - y
            squares, sizes = squares + float(error.square().sum()), sizes + float(error.abs().sum())
            count += error.numel()
    return Errors(squares / count, sizes / count)


def pinball(quantile: Tensor, y: Tensor, level: float) -> Tensor:
    r"""Return the pinball loss, :math:`\max(\tau (y - q), (\tau - 1)(y - q))`, of a quantile of level τ."""
    away = y - quantile
    return torch.maximum(level * away, (level - 1) * away)


def mean_pinball(forecast: Forecast, windows: Windows) -> float:
    """Return the mean pinball loss over :data:`QUANTILES`."""
    total = count = 0.0
    with torch.no_grad():
        for x, y in windows:
            answer = forecast(x)
            assert isinstance(answer, NormalMixture)
            for level in QUANTILES:
                total += float(pinball(answer.icdf(y.new_tensor(level)), y, level).sum())
                count += y.numel()
    return total / count


def depths(forecast: Forecast, windows: Windows) -> Tensor:
    r"""Return how far from the middle what came lies, (windows, series, horizon): :math:`|2 F(y) - 1|`.

    An interval between the quantiles (1 ± l)/2 holds what has a depth of at most l.
    """
    found = []
    with torch.no_grad():
        for x, y in windows:
            answer = forecast(x)
            assert isinstance(answer, NormalMixture)
            found.append((2 * answer.cdf(y) - 1).abs())
    return torch.cat(found)


def calibrated_level(held_out: Tensor, level: float = LEVEL) -> float:
    """Return the level l whose intervals held a share of what came in held-out windows.

    That is split conformal prediction with the depth as the score (Vovk et al., *Algorithmic learning in a random
    world*, 2005). Windows that overlap are not exchangeable, so that the share is not guaranteed.

    Args:
        held_out: depths of held-out windows.
        level: the share.
    """
    flat = held_out.flatten().sort().values
    rank = min(len(flat), -int(-(len(flat) + 1) * level // 1))
    return float(flat[rank - 1])


def coverage(tested: Tensor, level: float = LEVEL) -> float:
    """Return the share of depths of at most a level."""
    return float((tested <= level).double().mean())
