"""Fully connected nets, which for an equation are physics-informed neural networks (PINN)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from gmlayers_studies.approximators.fitting import Descended, Fitted, drawing, equation_only
from gmlayers_studies.approximators.losses import loss, misfits
from gmlayers_studies.approximators.nets import largest, stored
from gmlayers_studies.approximators.tasks import Clock, Task
from gmlayers_studies.approximators.training import levenberg_marquardt

Activation = Literal["tanh", "relu"]


class MLP(nn.Sequential):
    """A fully connected net with hidden layers of one width.

    Args:
        inputs: the number of inputs.
        width: the width of every hidden layer.
        depth: the number of hidden layers.
        activation: ``"tanh"`` or ``"relu"``; the weights are drawn for it (Glorot and Bengio, 2010).
    """

    def __init__(self, inputs: int, width: int, depth: int, activation: Activation) -> None:
        sizes = [inputs, *[width] * depth]
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise(sizes):
            linear = nn.Linear(a, b, dtype=torch.float64)
            nn.init.xavier_uniform_(linear.weight, nn.init.calculate_gain(activation))
            layers += [linear, nn.Tanh() if activation == "tanh" else nn.ReLU()]
        super().__init__(*layers, nn.Linear(width, 1, dtype=torch.float64))

    @staticmethod
    def count(inputs: int, width: int, depth: int) -> int:
        """Return how many numbers such a net stores."""
        return (inputs + 1) * width + (depth - 1) * (width + 1) * width + width + 1

    def laplacian(self, x: Tensor) -> Tensor:
        """Return the Laplacian (n, 1) at points (n, d)."""
        return self.carry(x, torch.eye(x.shape[1], dtype=x.dtype).expand(len(x), -1, -1), torch.zeros_like(x))

    def carry(self, h: Tensor, slope: Tensor, curved: Tensor) -> Tensor:
        r"""Return the Laplacian of the net after a map with these values, gradients (n, d, in) and Laplacians (n, in).

        All three go through the layers, :math:`\Delta\,\sigma(h) = \sigma''(h) \|\nabla h\|^2 + \sigma'(h)\,\Delta h`:
        Li et al., *A computational framework for neural network-based variational Monte Carlo with Forward Laplacian*
        (2024).
        """
        for layer in self:
            if isinstance(layer, nn.Linear):
                h, slope, curved = layer(h), slope @ layer.weight.T, curved @ layer.weight.T
            else:
                h = layer(h)
                first, second = (1 - h * h, -2 * h * (1 - h * h)) if isinstance(layer, nn.Tanh) else ((h > 0) * 1.0, 0)
                curved = second * slope.square().sum(1) + first * curved
                slope = first.unsqueeze(1) * slope
        return curved


@dataclass(frozen=True)
class FullyConnected(Descended):
    """An MLP, or for an equation a physics-informed neural network, trained by Adam and then by L-BFGS."""

    activation: Activation = "tanh"
    """The activation of every hidden layer."""
    depth: int = 2
    """The number of hidden layers."""
    width: int | None = None
    """The width of the hidden layers whatever the budget; None for the largest that it allows."""
    rate: float = 1e-2
    adam: float = 0.2

    def net(self, task: Task, parameters: int, generator: torch.Generator) -> nn.Module:  # noqa: ARG002
        """Return a net that torch's global generator draws."""
        d = task.points.shape[1]
        width = self.width or largest(lambda n: MLP.count(d, n, self.depth), parameters)
        return MLP(d, width, self.depth, self.activation)


@dataclass(frozen=True)
class Batched(FullyConnected):
    """A physics-informed neural network whose Adam sees some of the points at a time."""

    batch: int = 1000
    """The number of points inside that Adam sees at a time."""

    def sampled(self, task: Task, net: nn.Module, generator: torch.Generator) -> Callable[[], Tensor]:
        """Return the loss at a batch of points inside, and at as large a share of those on the boundary."""
        task = equation_only("Batched", task)
        share = min(1.0, self.batch / len(task.interior))

        def some(x: Tensor) -> Tensor:
            return x[torch.randint(len(x), (math.ceil(share * len(x)),), generator=generator)]

        return lambda: loss(replace(task, interior=some(task.interior), boundary=some(task.boundary)))(net)


@dataclass(frozen=True)
class LevenbergMarquardt(Fitted):
    """A tanh MLP, trained by :func:`~gmlayers_studies.approximators.training.levenberg_marquardt`."""

    depth: int = 2
    """The number of hidden layers."""

    def nets(self, task: Task, parameters: int, clock: Clock, generator: torch.Generator) -> Iterator[nn.Module]:  # noqa: ARG002
        """Yield the same net after every step."""
        with drawing(generator):
            net = FullyConnected("tanh", self.depth).net(task, parameters, generator)
        terms = misfits(self.seen(task, net, generator))
        yield net
        for _ in levenberg_marquardt(net, terms):
            yield net

    def seen(self, task: Task, net: nn.Module, generator: torch.Generator) -> Task:  # noqa: ARG002
        """Return what the net is trained on."""
        return task


@dataclass(frozen=True)
class Thinned(LevenbergMarquardt):
    """A tanh MLP for an equation, at some of the points inside, always the same ones: more steps fit into the time."""

    points: float = 4.0
    """The number of points for each parameter."""

    def seen(self, task: Task, net: nn.Module, generator: torch.Generator) -> Task:
        """Return the task with points that are drawn, or all if there are no more."""
        task = equation_only("Thinned", task)
        order = torch.randperm(len(task.interior), generator=generator)
        return replace(task, interior=task.interior[order[: math.ceil(self.points * stored(net))]])
