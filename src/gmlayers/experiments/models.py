"""The models that the commands know by name."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from tyro.conf import FlagCreatePairsOff, arg

from gmlayers import PAPER_RATES, Diagonal, GMLayer, LowRank, Regression, SharedFactor
from gmlayers._names import look_up
from gmlayers.nn import Covariance


class Affine(nn.Module):
    """A fixed scale and shift, held as buffers: weights on disk are then enough to predict from raw values.

    Args:
        size: one pair per feature, or ``None`` for one pair for all of them. Both start as the identity.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, size: int | None = None) -> None:
        super().__init__()
        shape = () if size is None else (size,)
        self.register_buffer("scale", torch.ones(shape))
        self.register_buffer("shift", torch.zeros(shape))

    def standardise(self, x: Tensor) -> None:
        """Become the map that gives ``x`` (N, features) mean 0 and variance 1; constants are only shifted."""
        std, mean = torch.std_mean(x.double(), dim=0 if self.scale.ndim else (0, 1), correction=0)
        std = torch.where(std == 0, 1.0, std)
        self.scale.copy_(1 / std)
        self.shift.copy_(-mean / std)

    def unstandardise(self, x: Tensor) -> None:
        """Become the inverse of what :meth:`standardise` makes."""
        self.standardise(x)
        scale = self.scale.clone()
        self.scale.copy_(1 / scale)
        self.shift.copy_(-self.shift / scale)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x * scale + shift``."""
        return x * self.scale + self.shift


@dataclass(frozen=True)
class Shape:
    """What decides the size and form of a net."""

    width: int = 240
    """Hidden units of the fully connected net; a GM layer gets as many components as match its parameters."""
    components: Annotated[int | None, arg(metavar="INT", help_behavior_hint="")] = None
    """Components of the GM layer, instead of matching --width."""
    rank: int = 1
    """Rank of the joint covariance (low_rank)."""
    base: Literal["isotropic", "diagonal"] = "isotropic"
    """Base of the joint covariance (low_rank)."""
    coupling: Annotated[bool, FlagCreatePairsOff] = False
    """Full coupling of output and input noise (low_rank)."""
    factors: int = 16
    """Factors that the components share, at most as many as there are inputs (shared_factor)."""
    scaling: Literal["sqrt", "mean"] = "sqrt"
    """Factor before the sum over components, 1/sqrt(K) or 1/K (low_rank, diagonal)."""
    activation: str = "relu"
    """Activation; `gmlayers list` names them."""
    init_scale: Annotated[float | None, arg(metavar="FLOAT", help_behavior_hint="")] = None
    """Size of the output at the start (GM layers, fc_mean); each model has a default."""
    hidden: Annotated[int | None, arg(metavar="INT", help_behavior_hint="")] = None
    """Size between two layers, which make the net then (paper)."""
    matched: Annotated[bool, FlagCreatePairsOff] = False
    """Draw the weights as those of the neurons of the paper's layer are distributed (fc_mean)."""
    trunk: Annotated[int | None, arg(metavar="INT", help_behavior_hint="")] = None
    """Channels of a small convolutional trunk before the net (images of at least 8 x 8)."""

    def changed(self) -> set[str]:
        """Return the names of the fields that are not at their defaults."""
        return {f.name for f in fields(self) if getattr(self, f.name) != f.default}


def _gm_layer(in_features: int, out_features: int, shape: Shape, covariance: Covariance) -> nn.Module:
    if shape.components is None:
        return GMLayer.matching(
            *_linear_pair(in_features, out_features, shape.width),
            covariance=covariance,
            activation=shape.activation,
            scaling=shape.scaling,
            init_scale=shape.init_scale,
        )
    return GMLayer(
        in_features,
        out_features,
        shape.components,
        covariance=covariance,
        activation=shape.activation,
        scaling=shape.scaling,
        init_scale=shape.init_scale,
    )


def _low_rank(in_features: int, out_features: int, shape: Shape) -> nn.Module:
    return _gm_layer(in_features, out_features, shape, LowRank(shape.rank, shape.base, shape.coupling))


def _shared_factor(in_features: int, out_features: int, shape: Shape) -> nn.Module:
    return _gm_layer(in_features, out_features, shape, SharedFactor(min(shape.factors, in_features)))


def _diagonal(in_features: int, out_features: int, shape: Shape) -> nn.Module:
    return _gm_layer(in_features, out_features, shape, Diagonal())


def _paper(in_features: int, out_features: int, shape: Shape) -> nn.Module:
    components = 20 if shape.components is None else shape.components
    scale = Regression().default_init_scale if shape.init_scale is None else shape.init_scale
    if shape.hidden is None:
        return GMLayer.paper(in_features, out_features, components, scale)
    return nn.Sequential(
        GMLayer.paper(in_features, shape.hidden, components, scale),
        GMLayer.paper(shape.hidden, out_features, components, scale),
    )


FC_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "gelu": nn.GELU}


def _fully_connected(in_features: int, out_features: int, shape: Shape) -> nn.Module:
    activation = look_up("activation for a fully connected net", shape.activation, FC_ACTIVATIONS)()
    first, second = _linear_pair(in_features, out_features, shape.width)
    return nn.Sequential(first, activation, second)


class MeanFieldNet(nn.Module):
    r"""A two-layer net in mean-field scaling, without biases.

    .. math:: h(x) = \frac1m \sum_j \omega_j\, f(\langle\beta_j, x\rangle)

    All weights are drawn from N(0, init_scale²). Under plain SGD at a rate proportional to m its curves approach, as m
    grows, those of the Wasserstein gradient flow (Chewi, Rigollet, Yan 2025, section 2).

    Args:
        in_features: size of the last axis of the input.
        out_features: size of the last axis of the output.
        width: m.
        activation: f.
        init_scale: γ, standard deviation of the weights at the start.
        matched: give the weights the second moments that they have in the paper's layer at that γ instead: 2γ² for
            β = μ + σz, and 2dγ⁴ + γ² for ω = Uβ + v.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        width: int,
        activation: nn.Module,
        init_scale: float,
        *,
        matched: bool = False,
    ) -> None:
        super().__init__()
        self.first = nn.Linear(in_features, width, bias=False)
        self.activation = activation
        self.second = nn.Linear(width, out_features, bias=False)
        first, second = init_scale**2, init_scale**2
        if matched:
            first, second = 2 * first, 2 * in_features * init_scale**4 + second
        nn.init.normal_(self.first.weight, std=first**0.5)
        nn.init.normal_(self.second.weight, std=second**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean over the neurons, (..., out_features)."""
        return self.second(self.activation(self.first(x))) / self.first.out_features


def _mean_field(in_features: int, out_features: int, shape: Shape) -> nn.Module:
    activation = look_up("activation for a fully connected net", shape.activation, FC_ACTIVATIONS)()
    scale = Regression().default_init_scale if shape.init_scale is None else shape.init_scale
    if shape.width < 1:
        raise ValueError(f"width must be at least 1, got {shape.width}")
    return MeanFieldNet(in_features, out_features, shape.width, activation, scale, matched=shape.matched)


def _linear_pair(in_features: int, out_features: int, width: int) -> tuple[nn.Linear, nn.Linear]:
    if width < 1:
        raise ValueError(f"width must be at least 1, got {width}")
    return nn.Linear(in_features, width), nn.Linear(width, out_features)


def trunk(shape: tuple[int, ...], channels: int) -> nn.Sequential:
    """Return three convolutions, each halving height and width, from rows of pixels to rows of features.

    Args:
        shape: of an image, (C, H, W).
        channels: after the first convolution; twice as many after the others.
    """
    if len(shape) != 3 or min(shape[1:]) < 8 or channels < 1:
        raise ValueError(f"a trunk takes images of at least 8 x 8 and at least 1 channel, got {shape}, {channels}")
    layers: list[nn.Module] = [nn.Unflatten(1, shape)]
    before = shape[0]
    for after in (channels, 2 * channels, 2 * channels):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        before = after
    return nn.Sequential(*layers, nn.Flatten())


def trunk_features(shape: tuple[int, ...], channels: int) -> int:
    """Return the number of features that a trunk gives."""
    return 2 * channels * (shape[1] // 8) * (shape[2] // 8)


Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Recipe:
    """How a model is trained unless told otherwise."""

    optimizer: str = "adam"
    schedule: str = "one-cycle"
    epochs: int = 30
    batch_size: int = 128
    lr: float = 5e-3
    std_lr: float = 5e-3
    weight_decay: float = 0.0
    input_dropout: float = 0.3
    label_smoothing: float = 0.0
    standardise: bool = True
    fewest_steps: int = 5000
    frozen: tuple[str, ...] = ()
    """Parameters of GM layers that stay as they were drawn, by name."""
    precision: Precision = "float32"
    """Matrix products of a step are in this dtype, by autocast; parameters are in float32."""

    def fitted(self, rows: int, *, images: bool) -> Recipe:
        """Return the recipe for a data set of that many training rows.

        Few rows need more epochs to make as many steps; and input dropout is for pixels, of which a neighbour
        tells much the same, not for the columns of a table.
        """
        steps_per_epoch = math.ceil(rows / self.batch_size)
        epochs = max(self.epochs, math.ceil(self.fewest_steps / steps_per_epoch))
        return replace(self, epochs=epochs, input_dropout=self.input_dropout if images else 0.0)


PLAIN = Recipe("sgd", "constant", 200, 64, *PAPER_RATES, input_dropout=0.0, standardise=False, fewest_steps=0)
"""This is the recipe of Chewi, Rigollet and Yan (2025)."""


@dataclass(frozen=True)
class Model:
    """A row of the table of models."""

    build: Callable[[int, int, Shape], nn.Module]
    options: frozenset[str]
    """The fields of :class:`Shape` that it heeds."""
    recipe: Recipe


MODELS: dict[str, Model] = {
    "low_rank": Model(
        _low_rank,
        frozenset(f.name for f in fields(Shape)) - {"factors", "hidden", "matched"},
        Recipe(),
    ),
    "shared_factor": Model(
        _shared_factor,
        frozenset({"width", "components", "factors", "scaling", "activation", "init_scale", "trunk"}),
        Recipe(),
    ),
    "diagonal": Model(
        _diagonal,
        frozenset({"width", "components", "scaling", "activation", "init_scale", "trunk"}),
        Recipe(input_dropout=0.2),
    ),
    "paper": Model(
        _paper,
        frozenset({"components", "init_scale", "hidden", "trunk"}),
        PLAIN,
    ),
    "fc": Model(
        _fully_connected,
        frozenset({"width", "activation", "trunk"}),
        Recipe("adamw", lr=2e-3, std_lr=2e-3, weight_decay=0.05),
    ),
    "fc_mean": Model(
        _mean_field,
        frozenset({"width", "activation", "init_scale", "matched", "trunk"}),
        PLAIN,
    ),
}
"""The table has a row for every name of :data:`gmlayers.experiments.names.MODELS`."""
