"""A transformer with two layers, and the blocks that can stand in it, all of the size of one MLP."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gmlayers import GMFeedForward, GMLayer, GMNMFeedForward

LAYERS, HEADS, BYTES = 2, 4, 256


class Squared(nn.Module):
    """The square of ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        """Return relu(x)²."""
        return F.relu(x).square()


class Gated(nn.Module):
    """A gated block, down(φ(gate(x)) * up(x)), as large as an MLP of four times the width."""

    def __init__(self, width: int, phi: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        hidden = round(8 * width / 3)
        self.gate, self.up = nn.Linear(width, hidden), nn.Linear(width, hidden, bias=False)
        self.down, self.phi = nn.Linear(hidden, width), phi

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the block."""
        return self.down(self.phi(self.gate(x)) * self.up(x))


def mlp(width: int, activation: nn.Module) -> nn.Module:
    """Return Linear - activation - Linear."""
    return nn.Sequential(nn.Linear(width, 4 * width), activation, nn.Linear(4 * width, width))


def shipped(width: int) -> nn.Module:
    """Return a layer with the defaults of the library."""
    return GMLayer.matching(nn.Linear(width, 4 * width), nn.Linear(4 * width, width))


BLOCKS: dict[str, Callable[[int], nn.Module]] = {
    "MLP, GELU": lambda width: mlp(width, nn.GELU()),
    "MLP, squared ReLU": lambda width: mlp(width, Squared()),
    "SwiGLU": lambda width: Gated(width, F.silu),
    "GEGLU": lambda width: Gated(width, F.gelu),
    "GMFeedForward": GMFeedForward,
    "GMFeedForward, no variance": lambda width: GMFeedForward(width, spread=False),
    "GMFeedForward, gate alone": lambda width: GMFeedForward(width, level=False, activation="gelu_integral"),
    "GMFeedForward, level alone": lambda width: GMFeedForward(width, gate=False),
    "GMLayer as it is": shipped,
    "GMNMFeedForward": GMNMFeedForward,
}
"""The table has every block by its name."""


class Attention(nn.Module):
    """Causal attention."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.into, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return what every place reads of those before it."""
        q, k, v = (t.unflatten(-1, (HEADS, -1)).transpose(1, 2) for t in self.into(x).chunk(3, -1))
        return self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """Attention and a block, each with a norm before it and a sum after it."""

    def __init__(self, width: int, block: nn.Module) -> None:
        super().__init__()
        self.first, self.attention = nn.LayerNorm(width), Attention(width)
        self.second, self.block = nn.LayerNorm(width), block

    def forward(self, x: Tensor) -> Tensor:
        """Return x with what attention and block add."""
        x = x + self.attention(self.first(x))
        return x + self.block(self.second(x))


class ByteModel(nn.Module):
    """A language model over bytes.

    Args:
        width: of everything.
        length: most bytes that are read at once.
        block: a name of :data:`BLOCKS`.
    """

    def __init__(self, width: int, length: int, block: str) -> None:
        super().__init__()
        self.byte, self.place = nn.Embedding(BYTES, width), nn.Embedding(length, width)
        for table in (self.byte, self.place):
            nn.init.normal_(table.weight, std=1 / math.sqrt(width))
        self.layers = nn.Sequential(*(Layer(width, BLOCKS[block](width)) for _ in range(LAYERS)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, BYTES)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of the next byte, (batch, length, 256), for bytes (batch, length)."""
        h = self.byte(x) + self.place.weight[: x.shape[1]]
        return self.head(self.norm(self.layers(h)))

    def loss(self, rows: Tensor) -> Tensor:
        """Return the mean bits a byte of windows (batch, length + 1)."""
        logits = self(rows[:, :-1])
        return F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten()) / math.log(2)


def in_blocks(model: ByteModel) -> int:
    """Return the number of parameters in the blocks."""
    return sum(p.numel() for layer in model.layers.children() for p in layer.get_submodule("block").parameters())


@torch.no_grad()
def bits(model: ByteModel, rows: Tensor, batch: int = 64) -> float:
    """Return the mean bits a byte of windows."""
    model.eval()
    parts = [float(model.loss(part)) * len(part) for part in rows.split(batch)]
    model.train()
    return sum(parts) / len(rows)
