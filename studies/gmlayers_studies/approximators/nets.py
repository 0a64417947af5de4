"""What all nets share: how large they are, and the units in which they see the data."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from gmlayers_studies.approximators.tasks import FunctionTask


def stored(net: nn.Module) -> int:
    """Return how many numbers a net stores: its parameters and its buffers."""
    return sum(t.numel() for t in itertools.chain(net.parameters(), net.buffers()))


def largest(count: Callable[[int], int], parameters: int, least: int = 1) -> int:
    """Return the largest size whose count of numbers is within so many parameters; counts grow with the size.

    Raises:
        ValueError: if even the least size has too many.

    Example:
        >>> largest(lambda n: n * n, 17)
        4
    """
    if count(least) > parameters:
        raise ValueError(
            f"largest: {parameters} parameters are too few, the smallest net has {count(least)}; allow at least as many"
        )
    return next(n for n in itertools.count(least) if count(n + 1) > parameters)


def product(axes: Sequence[Tensor]) -> Tensor:
    """Return all points whose coordinates are on the axes, (n, d); the last coordinate runs fastest."""
    return torch.cartesian_prod(*axes).reshape(-1, len(axes))


class Scaled(nn.Module):
    """A net on the box [-1, 1]^d with standardised outputs, as a function in the units of the data.

    It adds the box and two numbers for the output to the numbers that are stored: 2d + 2.
    """

    box: Tensor
    output: Tensor

    def __init__(self, task: FunctionTask) -> None:
        super().__init__()
        std, mean = torch.std_mean(task.y, correction=0)
        self.register_buffer("box", torch.tensor([task.low, task.high], dtype=torch.float64))
        self.register_buffer("output", torch.stack([mean, torch.where(std > 0, std, 1.0)]))
        d = len(task.low)
        self.unit = FunctionTask(
            self._inside(task.x), (task.y - self.output[0]) / self.output[1], (-1.0,) * d, (1.0,) * d
        )
        """The data as the net sees them."""
        self.net: nn.Module = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return the values (n, 1) at points (n, d)."""
        return self.output[0] + self.output[1] * self.net(self._inside(x))

    def _inside(self, x: Tensor) -> Tensor:
        low, high = self.box
        return (x - low) / (high - low) * 2 - 1
