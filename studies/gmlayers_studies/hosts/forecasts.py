"""Forecasters with places for heads, cells or attention, and the series that they learn."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import pandas as pd
from torch import Tensor, nn

from gmlayers import GMLSTM, GMNMLSTM, GMFeedForward, GMNMAttention, GMNMFeedForward, MixtureHead
from gmlayers.experiments import _download
from gmlayers.experiments.forecasting.models import (
    Answer,
    DLinear,
    Forecaster,
    Patches,
    Recurrent,
    Segments,
    Window,
    repeated,
)
from gmlayers.experiments.forecasting.scores import (
    calibrated_level,
    coverage,
    depths,
    errors,
    mean_pinball,
)
from gmlayers.experiments.forecasting.series import Series
from gmlayers.nn import NormalMixture
from gmlayers_studies.hosts.run import Learner, batches
from gmlayers_studies.records import Row

LOOK_BACK, BATCH = 96, 32
SEGMENT, STEP, DAY = 48, 4, 24
"""SegRNN reads segments of two days, an LSTM four hours at a step, and seasons are days."""

ENDS = tuple(month * 30 * 24 for month in (12, 16, 20))
"""The parts for training, validation and test have their ends after so many hours: 12, 4 and 4 months."""

WIDTH = 128
"""The states of recurrent nets have this size."""

EVERY = 8
"""Quantiles are judged by every eighth window, as they take long."""

MakeHead = Callable[[int, int], nn.Module]


@cache
def series() -> Series:
    """Return ETTh1 with its usual split."""
    table = pd.read_csv(_download.obtain(_download.ETT), index_col="date", parse_dates=True)
    return Series.of(table, (ENDS[0], ENDS[1], ENDS[2]))


@cache
def fingerprint() -> str:
    """Return a checksum of all values."""
    return hashlib.blake2b(series().values.numpy().tobytes(), digest_size=16).hexdigest()


class Beside(nn.Module):
    """A linear head and a block, added up: what is not linear comes on top."""

    def __init__(self, linear: nn.Module, block: nn.Module) -> None:
        super().__init__()
        self.linear, self.block = linear, block

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of both."""
        return self.linear(x) + self.block(x)


def width(inputs: int, outputs: int) -> int:
    """Return the width of an MLP that is as large as a linear map."""
    return max(1, round(inputs * outputs / (inputs + outputs)))


def beside(make: Callable[[int, int, int], nn.Module]) -> MakeHead:
    """Return what makes a linear head with a block of its size beside it, for inputs, hidden units and outputs."""
    return lambda inputs, outputs: Beside(nn.Linear(inputs, outputs), make(inputs, width(inputs, outputs), outputs))


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Module:
    """Return Linear - GELU - Linear."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs))


HEADS: dict[str, MakeHead] = {
    "linear": nn.Linear,
    "MLP": beside(mlp),
    "GM": beside(GMFeedForward),
    "GMNM": beside(GMNMFeedForward),
    "Gaussian head": lambda inputs, outputs: MixtureHead(inputs, outputs, 1),
    "mixture head": lambda inputs, outputs: MixtureHead(inputs, outputs, 3),
}
"""The table has the heads by name."""

CELLS: dict[str, Callable[[int, int], nn.Module]] = {
    "GM cell": lambda inputs, hidden: GMLSTM(inputs, hidden, batch_first=True),
    "GMNM cell": lambda inputs, hidden: GMNMLSTM(inputs, hidden, batch_first=True),
}
"""The table has the recurrent nets that may stand in the place of torch's."""

ATTENTION: dict[str, Callable[[int], nn.Module]] = {
    "softmax": lambda size: SelfAttention(size),
    "GMNM, 1 component": lambda size: GMNMAttention(size, 4, batch_first=True),
    "GMNM, 2 components": lambda size: GMNMAttention(size, 4, components=2, batch_first=True),
}
"""The table has the kinds of attention by name."""


class SelfAttention(nn.Module):
    """Torch's attention of tokens to themselves."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(size, 4, batch_first=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return what is read, and None."""
        return self.attention(x, x, x, need_weights=False)


class Built(NamedTuple):
    """A forecaster and what stands in its places."""

    net: nn.Module
    places: list[nn.Module]


def _rlinear(name: str, horizon: int) -> Built:
    head = HEADS[name](LOOK_BACK, horizon)
    return Built(Forecaster(Window(), head, horizon, "mean"), [head])


def _segrnn(name: str, horizon: int) -> Built:
    head = HEADS[name](WIDTH, SEGMENT)
    encoder = Segments(len(series().names), SEGMENT, horizon, WIDTH, 0.5)
    return Built(Forecaster(encoder, head, horizon, "last"), [head])


def _lstm(name: str, horizon: int) -> Built:
    size = WIDTH // 2
    if name in CELLS:
        net, head = CELLS[name](STEP, size), nn.Linear(size, horizon)
        return Built(Forecaster(Recurrent(net, STEP), head, horizon, "mean"), [net])
    head = HEADS[name](size, horizon)
    net = nn.LSTM(STEP, size, batch_first=True)
    return Built(Forecaster(Recurrent(net, STEP), head, horizon, "mean"), [net] if name == "linear" else [head])


def _dlinear(name: str, horizon: int) -> Built:  # noqa: ARG001  (there is one)
    net = DLinear(LOOK_BACK, horizon)
    return Built(net, [net])


def _transformer(name: str, horizon: int) -> Built:
    size = 32
    encoder = Patches(ATTENTION[name], LOOK_BACK, width=size)
    head = nn.Linear(encoder.tokens * size, horizon)
    places = [layer.get_submodule("attention") for layer in encoder.layers]
    return Built(Forecaster(encoder, head, horizon, "mean"), places)


class Kind(NamedTuple):
    """A kind of forecaster."""

    build: Callable[[str, int], Built]
    names: tuple[str, ...]
    """What can stand in its places."""
    absolute: bool = False
    """True if it learns by absolute errors, as its authors have it, and not by squares."""


KINDS = {
    "RLinear": Kind(_rlinear, tuple(HEADS)),
    "SegRNN": Kind(_segrnn, tuple(HEADS), absolute=True),
    "LSTM": Kind(_lstm, (*(name for name in HEADS if name != "Gaussian head"), *CELLS)),
    "transformer": Kind(_transformer, tuple(ATTENTION)),
    "DLinear": Kind(_dlinear, ("linear",)),
}
"""The table has the kinds of forecasters by name."""


@dataclass(frozen=True)
class ForecastHost:
    """A forecaster of ETTh1; a :class:`~gmlayers_studies.hosts.run.Host`."""

    kind: str
    horizon: int
    source = "ETTh1.csv"
    measure = "mse"
    decay = 0.0

    @classmethod
    def of(cls, task: str) -> ForecastHost:
        """Return the host of a task, such as ``"SegRNN 96"``."""
        kind, _, horizon = task.rpartition(" ")
        return cls(kind, int(horizon))

    @property
    def shared(self) -> str:
        """The kind: rates are chosen for all horizons at once."""
        return self.kind

    @property
    def row(self) -> str:
        """The kind."""
        return self.kind

    @property
    def order(self) -> float:
        """All go together, seed by seed."""
        return 0

    @property
    def blocks(self) -> Mapping[str, Callable[[int], nn.Module]]:
        """What can stand in its places; the number is that of the horizon."""
        build, names = KINDS[self.kind].build, KINDS[self.kind].names
        return {name: lambda horizon, name=name: build(name, horizon).net for name in names}

    def fingerprint(self) -> str:
        """Return the fingerprint of the series."""
        return fingerprint()

    def begin(self, block: str, seed: int, *, choosing: bool) -> Learner:
        """Return a new forecaster, which sees the windows in one random order after another."""
        data, horizon, kind = series(), self.horizon, KINDS[self.kind]
        net, places = kind.build(block, horizon)
        order = batches(data.windows(0, LOOK_BACK, horizon), BATCH, seed)

        def loss() -> Tensor:
            x, y = data.read(next(order), LOOK_BACK, horizon)
            return loss_of(net(x), y, absolute=kind.absolute)

        def judge() -> Row:
            net.eval()
            found: Row = dict(errors(net, data.batches(1 if choosing else 2, LOOK_BACK, horizon))._asdict())
            if block in ("Gaussian head", "mixture head") and not choosing:
                few = {"every": EVERY, "size": 64}
                tested = depths(net, data.batches(2, LOOK_BACK, horizon, **few))
                level = calibrated_level(depths(net, data.batches(1, LOOK_BACK, horizon, **few)))
                found |= {"coverage": coverage(tested), "calibrated": coverage(tested, level)}
                found |= {"pinball": mean_pinball(net, data.batches(2, LOOK_BACK, horizon, **few))}
            if self.kind == "DLinear" and not choosing:
                for name, period in (("last", 1), ("seasonal", DAY)):
                    windows = data.batches(2, LOOK_BACK, horizon)
                    naive = errors(lambda x, period=period: repeated(x, horizon, period), windows)
                    found |= {f"{name}_{key}": value for key, value in naive._asdict().items()}
            return found

        return Learner(net, places, loss, judge)


def loss_of(answer: Answer, y: Tensor, *, absolute: bool) -> Tensor:
    """Return the loss of numbers, or of a distribution the mean of minus the logarithm of its density."""
    if isinstance(answer, NormalMixture):
        return -answer.log_prob(y).mean()
    error = answer - y
    return error.abs().mean() if absolute else error.square().mean()
