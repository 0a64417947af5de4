"""Forecasters of several series at once: a norm, an encoder, and a head that answers for every series by itself.

All read (batch, series, look-back) and answer with numbers, (batch, series, horizon), or with a
:class:`~gmlayers.nn.NormalMixture` of them, as their head does. Series share all parameters but for what says which one
it is in :class:`Segments`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gmlayers.nn import NormalMixture

Answer = Tensor | NormalMixture
MakeHead = Callable[[int, int], nn.Module]
"""A head is made for so many features and outputs."""

TREND = 25
"""A trend is the moving average of so many steps in DLinear."""


class Forecaster(nn.Module):
    """A norm, an encoder and a head.

    Args:
        encoder: from normed series (batch, series, look-back) to features (batch, series, parts, size); every part
            answers for as many steps, one after the other.
        head: from features to steps: a module that returns numbers, or a :class:`~gmlayers.MixtureHead`.
        horizon: how many steps are wanted.
        norm: what is taken off a series before and added after: its ``"mean"``, and it is divided by its standard
            deviation (RevIN, Kim et al., 2022); its ``"last"`` value (NLinear, Zeng et al., 2023); or ``"nothing"``.

    Example:
        >>> import torch
        >>> from gmlayers.experiments.forecasting.models import Forecaster, Window
        >>> Forecaster(Window(), torch.nn.Linear(96, 24), 24, norm="mean")(torch.randn(2, 7, 96)).shape
        torch.Size([2, 7, 24])
    """

    def __init__(
        self, encoder: nn.Module, head: nn.Module, horizon: int, norm: Literal["mean", "last", "nothing"]
    ) -> None:
        super().__init__()
        self.encoder, self.head, self.horizon, self.norm = encoder, head, horizon, norm

    def forward(self, x: Tensor) -> Answer:
        """Return what comes after windows (batch, series, look-back)."""
        shift, scale = torch.zeros_like(x[..., :1]), torch.ones_like(x[..., :1])
        if self.norm == "last":
            shift = x[..., -1:]
        elif self.norm == "mean":
            std, shift = torch.std_mean(x, -1, correction=0, keepdim=True)
            scale = torch.sqrt(std.square() + 1e-5)
        answer = self.head(self.encoder((x - shift) / scale))
        if isinstance(answer, NormalMixture):
            logits, mean, std = (self._steps(part) for part in answer.tensors())
            shift, scale = shift.unsqueeze(-1), scale.unsqueeze(-1)
            return NormalMixture(logits, mean * scale + shift, std * scale)
        return self._steps(answer) * scale + shift

    def _steps(self, answer: Tensor) -> Tensor:
        """Return (batch, series, horizon, ...) for parts that answer one after the other."""
        return answer.flatten(2, 3)[:, :, : self.horizon]


class Window(nn.Module):
    """The window itself as features: with a linear head this is RLinear (Li et al., 2023)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, series, 1, look-back)."""
        return x.unsqueeze(2)


class Recurrent(nn.Module):
    """The state of a recurrent net that has read a window.

    Args:
        net: a recurrent net with ``batch_first``.
        step: it reads so many numbers at once; the look-back is a multiple.
    """

    def __init__(self, net: nn.Module, step: int = 1) -> None:
        super().__init__()
        self.net, self.step = net, step

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, series, 1, hidden size)."""
        y, _ = self.net(x.flatten(0, 1).unflatten(-1, (-1, self.step)))
        return y[:, -1].unflatten(0, x.shape[:2]).unsqueeze(2)


class Segments(nn.Module):
    """The encoder of SegRNN (Lin et al., 2023): a GRU reads segments, and answers for all segments to come at once.

    Args:
        series: number of series.
        segment: steps in a segment; the look-back is a multiple.
        horizon: number of steps to answer for.
        width: size of the state; even.
        dropout: rate of dropout of the features.
    """

    def __init__(self, series: int, segment: int, horizon: int, width: int, dropout: float) -> None:
        super().__init__()
        self.segment, self.parts = segment, math.ceil(horizon / segment)
        self.into = nn.Linear(segment, width)
        self.gru = nn.GRU(width, width, batch_first=True)
        self.place = nn.Parameter(torch.randn(self.parts, width // 2))
        self.which = nn.Parameter(torch.randn(series, width // 2))
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, series, parts, width)."""
        batch, series = x.shape[:2]
        _, state = self.gru(F.relu(self.into(x.flatten(0, 1).unflatten(-1, (-1, self.segment)))))
        place = self.place.expand(series, -1, -1)
        which = self.which.unsqueeze(1).expand(-1, self.parts, -1)
        asked = torch.cat([place, which], -1).flatten(0, 1).unsqueeze(1).repeat(batch, 1, 1)
        _, said = self.gru(asked, state.repeat_interleave(self.parts, 1))
        return self.drop(said.squeeze(0).unflatten(0, (batch, series, self.parts)))


class Patches(nn.Module):
    """The encoder of PatchTST (Nie et al., 2023): patches of a window are the tokens of a transformer.

    Args:
        attention: makes the attention of a layer, a module that takes tokens and returns a pair, for a width.
        look_back: steps of a window.
        patch: steps of a patch; half of them are those of the next.
        width: of everything.
        layers: number of layers.
        dropout: rate of dropout in the layers.
    """

    def __init__(
        self,
        attention: Callable[[int], nn.Module],
        look_back: int,
        patch: int = 16,
        width: int = 32,
        layers: int = 2,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.patch, self.tokens = patch, (look_back - patch) // (patch // 2) + 2
        self.into = nn.Linear(patch, width)
        self.place = nn.Parameter(0.02 * torch.randn(self.tokens, width))
        self.layers = nn.ModuleList(_Layer(attention(width), width, dropout) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, series, 1, tokens * width)."""
        x = F.pad(x, (0, self.patch // 2), "replicate").unfold(-1, self.patch, self.patch // 2)
        h = (self.into(x) + self.place).flatten(0, 1)
        for layer in self.layers:
            h = layer(h)
        return h.unflatten(0, x.shape[:2]).flatten(2).unsqueeze(2)


class _Layer(nn.Module):
    def __init__(self, attention: nn.Module, width: int, dropout: float) -> None:
        super().__init__()
        self.first, self.attention, self.second = nn.LayerNorm(width), attention, nn.LayerNorm(width)
        self.block = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop(self.attention(self.first(x))[0])
        return x + self.drop(self.block(self.second(x)))


class DLinear(nn.Module):
    """A linear map of the moving average of a window, and one of what is left (Zeng et al., 2023).

    Args:
        look_back: steps of a window.
        horizon: number of steps to answer for.
    """

    def __init__(self, look_back: int, horizon: int) -> None:
        super().__init__()
        self.trend, self.rest = nn.Linear(look_back, horizon), nn.Linear(look_back, horizon)
        for linear in (self.trend, self.rest):
            nn.init.constant_(linear.weight, 1 / look_back)

    def forward(self, x: Tensor) -> Tensor:
        """Return what comes after windows (batch, series, look-back)."""
        half = TREND // 2
        trend = F.avg_pool1d(F.pad(x, (half, half), "replicate"), TREND, 1)
        return self.trend(trend) + self.rest(x - trend)


def repeated(x: Tensor, horizon: int, period: int) -> Tensor:
    """Return the last period of windows again and again: the last value for a period of 1, else a seasonal forecast."""
    last = x[..., -period:]
    return last.repeat(*(1 for _ in x.shape[:-1]), math.ceil(horizon / period))[..., :horizon]
