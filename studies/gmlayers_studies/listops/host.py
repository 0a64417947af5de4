"""A transformer that reads expressions, with a place for attention."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gmlayers import GMNMAttention
from gmlayers_studies.hosts.run import Learner
from gmlayers_studies.listops.expressions import TOKENS, expressions
from gmlayers_studies.records import Row

WIDTH, LAYERS, BATCH = 64, 2, 64
TRAINED, JUDGED = 30_000, 4_000
"""So many expressions are for training, and so many each for validation and for the test."""


def _softmax(heads: int) -> Callable[[int], nn.Module]:
    return lambda width: nn.MultiheadAttention(width, heads, batch_first=True)


def _mixture(components: int) -> Callable[[int], nn.Module]:
    return lambda width: GMNMAttention(width, 1, components=components, batch_first=True)


ATTENTION: dict[str, Callable[[int], nn.Module]] = {
    "softmax, 1 head": _softmax(1),
    "softmax, 2 heads": _softmax(2),
    "softmax, 4 heads": _softmax(4),
    "GMNM, 1 head, 1 component": _mixture(1),
    "GMNM, 1 head, 2 components": _mixture(2),
    "GMNM, 1 head, 4 components": _mixture(4),
}
"""The table has the kinds of attention by name."""


class Layer(nn.Module):
    """Attention and an MLP, each with a norm before it and a sum after it."""

    def __init__(self, width: int, attention: nn.Module) -> None:
        super().__init__()
        self.first, self.attention, self.second = nn.LayerNorm(width), attention, nn.LayerNorm(width)
        self.block = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor, empty: Tensor) -> Tensor:
        """Return x with what both add; empty places are not looked at."""
        h = self.first(x)
        x = x + self.attention(h, h, h, key_padding_mask=empty, need_weights=False)[0]
        return x + self.block(self.second(x))


class Reader(nn.Module):
    """A transformer that tells the value of an expression by the mean over its tokens."""

    def __init__(self, longest: int, attention: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.token, self.place = nn.Embedding(len(TOKENS), WIDTH), nn.Embedding(longest, WIDTH)
        for table in (self.token, self.place):
            nn.init.normal_(table.weight, std=1 / math.sqrt(WIDTH))
        self.layers = nn.ModuleList(Layer(WIDTH, attention(WIDTH)) for _ in range(LAYERS))
        self.head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 10))

    def forward(self, rows: Tensor) -> Tensor:
        """Return the logits of the ten digits, (batch, 10), for tokens (batch, longest)."""
        rows = rows[:, : int((rows > 0).sum(1).max())]  # what fills up all of them need not be read
        empty = rows == 0
        h = self.token(rows) + self.place.weight[: rows.shape[1]]
        for layer in self.layers:
            h = layer(h, empty)
        there = (~empty).unsqueeze(-1).to(h.dtype)
        return self.head((h * there).sum(1) / there.sum(1))


@dataclass(frozen=True)
class ListHost:
    """A reader of expressions of some length; a :class:`~gmlayers_studies.hosts.run.Host`."""

    longest: int
    source = "what is drawn by this Python"
    measure = "error"
    decay = 0.01
    row = ""

    @classmethod
    def of(cls, task: str) -> ListHost:
        """Return the host of a task, such as ``"up to 40 tokens"``."""
        return cls(int(task.split()[2]))

    @property
    def shared(self) -> str:
        """The length: at each the rate is chosen anew."""
        return str(self.longest)

    @property
    def order(self) -> float:
        """Short expressions go first."""
        return self.longest

    @property
    def blocks(self) -> Mapping[str, Callable[[int], nn.Module]]:
        """What can stand in its places."""
        return ATTENTION

    def fingerprint(self) -> str:
        """Return what tells the expressions from those of another version of Python."""
        rows, values = expressions(100, self.longest, 0)
        return f"{int((rows * torch.arange(1, rows.shape[1] + 1)).sum())}-{int(values.sum())}"

    def begin(self, block: str, seed: int, *, choosing: bool) -> Learner:
        """Return a new reader, which sees the expressions in one random order after another."""
        rows, values = expressions(TRAINED + 2 * JUDGED, self.longest, 0)
        judged = slice(TRAINED, TRAINED + JUDGED) if choosing else slice(TRAINED + JUDGED, None)
        model, generator = Reader(self.longest, ATTENTION[block]), torch.Generator().manual_seed(seed)
        order = list[Tensor]()

        def loss() -> Tensor:
            if not order:
                order.extend(torch.randperm(TRAINED, generator=generator).split(BATCH))
            seen = order.pop()
            return F.cross_entropy(model(rows[seen]), values[seen])

        def judge() -> Row:
            model.eval()
            with torch.no_grad():
                found = torch.cat([model(part) for part in rows[judged].split(500)])
            return {"error": float((found.argmax(1) != values[judged]).double().mean())}

        return Learner(model, [layer.get_submodule("attention") for layer in model.layers], loss, judge)
