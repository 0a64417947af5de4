"""Small language models over bytes, which differ in their blocks or their attention alone, and their text."""

from __future__ import annotations

import hashlib
import math
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gmlayers import GMFeedForward, GMLayer, GMNMAttention, GMNMFeedForward
from gmlayers_studies.hosts.run import Learner

TENTH = 10
"""One file in so many is for validation, and one for the test: whole files, since a file repeats itself."""


class Corpus(NamedTuple):
    """Bytes as numbers, and what tells them from those of another version of Python."""

    train: Tensor
    validation: Tensor
    test: Tensor
    fingerprint: str


@cache
def corpus() -> Corpus:
    """Return the modules of the standard library that are one file, each in one of the three parts."""
    parts: list[list[bytes]] = [[], [], []]
    digest = hashlib.sha256()
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        text = path.read_bytes()
        digest.update(text)
        place = int(hashlib.sha256(path.name.encode()).hexdigest(), 16) % TENTH
        parts[{0: 1, 1: 2}.get(place, 0)].append(text)
    train, validation, test = (torch.from_numpy(np.frombuffer(b"".join(p), np.uint8).astype(np.int64)) for p in parts)
    return Corpus(train, validation, test, digest.hexdigest()[:16])


def windows(text: Tensor, length: int, number: int) -> Tensor:
    """Return so many windows of a text, evenly spread over it, (number, length + 1)."""
    starts = torch.linspace(0, len(text) - length - 1, number).long()
    return text[starts[:, None] + torch.arange(length + 1)]


def draw(text: Tensor, length: int, number: int, generator: torch.Generator) -> Tensor:
    """Return windows at random places, (number, length + 1)."""
    starts = torch.randint(len(text) - length, (number,), generator=generator)
    return text[starts[:, None] + torch.arange(length + 1)]


LAYERS, HEADS, BYTES = 2, 4, 256

BATCH, LENGTH = 16, 128
"""A step reads so many windows of so many bytes."""

JUDGED = 400
"""The bits a byte are those of so many windows."""


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
    "GMFeedForward, rank 2": lambda width: GMFeedForward(width, rank=2),
    "GMFeedForward, no variance": lambda width: GMFeedForward(width, spread=False),
    "GMFeedForward, gate alone": lambda width: GMFeedForward(width, level=False, activation="gelu_integral"),
    "GMFeedForward, level alone": lambda width: GMFeedForward(width, gate=False),
    "GMLayer as it is": shipped,
    "GMNMFeedForward": GMNMFeedForward,
}
"""The table has every block by its name."""


class Attention(nn.Module):
    """Attention, causal or not."""

    def __init__(self, width: int, *, causal: bool = True) -> None:
        super().__init__()
        self.causal = causal
        self.into, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return what every place reads of the others, or of those before it."""
        q, k, v = (t.unflatten(-1, (HEADS, -1)).transpose(1, 2) for t in self.into(x).chunk(3, -1))
        return self.out(F.scaled_dot_product_attention(q, k, v, is_causal=self.causal).transpose(1, 2).flatten(2))


class ByMixtures(nn.Module):
    """Causal attention by mixtures."""

    def __init__(self, width: int, components: int) -> None:
        super().__init__()
        self.attention = GMNMAttention(width, HEADS, components=components, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return what every place reads of those before it."""
        return self.attention(x, is_causal=True)[0]


ATTENTION: dict[str, Callable[[int], nn.Module]] = {
    f"GMNM attention, {r} component{'s' * (r > 1)}": lambda width, r=r: ByMixtures(width, r) for r in (1, 2, 4)
}
"""The table has the kinds of attention that take part beside a GELU MLP, by name."""


class Layer(nn.Module):
    """Attention and a block, each with a norm before it and a sum after it."""

    def __init__(self, width: int, block: nn.Module, attention: nn.Module) -> None:
        super().__init__()
        self.first, self.attention = nn.LayerNorm(width), attention
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
        block: a name of :data:`BLOCKS`, or of :data:`ATTENTION`, beside which stands the first of the blocks.
    """

    def __init__(self, width: int, length: int, block: str) -> None:
        super().__init__()
        self.byte, self.place = nn.Embedding(BYTES, width), nn.Embedding(length, width)
        for table in (self.byte, self.place):
            nn.init.normal_(table.weight, std=1 / math.sqrt(width))
        make, attend = BLOCKS.get(block, BLOCKS["MLP, GELU"]), ATTENTION.get(block, Attention)
        self.layers = nn.Sequential(*(Layer(width, make(width), attend(width)) for _ in range(LAYERS)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, BYTES)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of the next byte, (batch, length, 256), for bytes (batch, length)."""
        h = self.byte(x) + self.place.weight[: x.shape[1]]
        return self.head(self.norm(self.layers(h)))

    def loss(self, rows: Tensor) -> Tensor:
        """Return the mean bits a byte of windows (batch, length + 1)."""
        logits = self(rows[:, :-1])
        return F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten()) / math.log(2)


@torch.no_grad()
def bits(model: ByteModel, rows: Tensor, batch: int = 64) -> float:
    """Return the mean bits a byte of windows."""
    model.eval()
    parts = [float(model.loss(part)) * len(part) for part in rows.split(batch)]
    model.train()
    return sum(parts) / len(rows)


@dataclass(frozen=True)
class ByteHost:
    """A language model of some width; a :class:`~gmlayers_studies.hosts.run.Host`.

    Args:
        width: of everything.
        whole: whether attention may be exchanged, too, and the parameters of the whole model are told.
    """

    width: int
    whole: bool = False
    source = "the standard library of this Python"
    measure = "bits"
    decay = 0.1
    row = ""

    @property
    def shared(self) -> str:
        """The width: at each the rate is chosen anew."""
        return f"width {self.width}"

    @property
    def order(self) -> float:
        """Narrow models go first."""
        return self.width

    @property
    def blocks(self) -> Mapping[str, Callable[[int], nn.Module]]:
        """What can stand in its places."""
        return BLOCKS | ATTENTION if self.whole else BLOCKS

    def fingerprint(self) -> str:
        """Return the fingerprint of the text."""
        return corpus().fingerprint

    def begin(self, block: str, seed: int, *, choosing: bool) -> Learner:
        """Return a new model, which reads windows at random places."""
        text, batches = corpus(), torch.Generator().manual_seed(seed)
        model = ByteModel(self.width, LENGTH, block)
        judged = windows(text.validation if choosing else text.test, LENGTH, JUDGED)
        return Learner(
            model,
            [model] if self.whole else [layer.get_submodule("block") for layer in model.layers.children()],
            lambda: model.loss(draw(text.train, LENGTH, BATCH, batches)),
            lambda: {"bits": bits(model, judged)},
        )
