"""Nested operations on digits, such as ``[MAX 2 9 [MIN 4 7 ] 0 ]``, which is 9, and a transformer that reads them.

They are those of Nangia and Bowman (*ListOps*, 2018).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gmlayers import GMNMAttention
from gmlayers_studies.hosts.run import Learner, batches
from gmlayers_studies.records import Row

OPERATIONS: dict[str, Callable[[Sequence[int]], int]] = {
    "[MAX": max,
    "[MIN": min,
    "[MED": lambda values: int(median(values)),
    "[SM": lambda values: sum(values) % 10,
}
"""The table has the operations by the token that begins them; the last is the sum modulo 10."""

TOKENS = ("", *map(str, range(10)), *OPERATIONS, "]")
"""The tokens stand in the order of their numbers; the first fills up rows."""

DEEPEST, MOST, NESTED = 4, 4, 0.3
"""Expressions have at most this depth and this many arguments, each of which is one itself with this probability."""


def draw(rng: random.Random, depth: int = DEEPEST) -> tuple[list[str], int]:
    """Return the tokens of an expression, and its value."""
    name = rng.choice([*OPERATIONS])
    tokens, values = [name], list[int]()
    for _ in range(rng.randint(2, MOST)):
        if depth > 1 and rng.random() < NESTED:
            inner, value = draw(rng, depth - 1)
            tokens += inner
        else:
            value = rng.randrange(10)
            tokens.append(str(value))
        values.append(value)
    return [*tokens, "]"], OPERATIONS[name](values)


def value_of(tokens: Sequence[str]) -> int:
    """Return the value of an expression, from its tokens alone."""
    stack: list[list[int]] = [[]]
    names: list[str] = []
    for token in tokens:
        if token in OPERATIONS:
            names.append(token)
            stack.append([])
        elif token == "]":
            values = stack.pop()
            stack[-1].append(OPERATIONS[names.pop()](values))
        else:
            stack[-1].append(int(token))
    return stack[0][0]


@cache
def expressions(count: int, longest: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return different expressions of at most so many tokens, (count, longest), and their values, (count,).

    Expressions of one operation without another in it are left out: they are easy.
    """
    rng, number = random.Random(seed), {token: i for i, token in enumerate(TOKENS)}
    rows, values, seen = torch.zeros(count, longest, dtype=torch.int64), torch.zeros(count, dtype=torch.int64), set()
    while len(seen) < count:
        tokens, value = draw(rng)
        text = " ".join(tokens)
        if len(tokens) > longest or text.count("[") < 2 or text in seen:
            continue
        place = len(seen)
        seen.add(text)
        rows[place, : len(tokens)] = torch.tensor([number[token] for token in tokens])
        values[place] = value
    return rows, values


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
        model, order = Reader(self.longest, ATTENTION[block]), batches(torch.arange(TRAINED), BATCH, seed)

        def loss() -> Tensor:
            seen = next(order)
            return F.cross_entropy(model(rows[seen]), values[seen])

        def judge() -> Row:
            model.eval()
            with torch.no_grad():
                found = torch.cat([model(part) for part in rows[judged].split(500)])
            return {"error": float((found.argmax(1) != values[judged]).double().mean())}

        return Learner(model, [layer.get_submodule("attention") for layer in model.layers], loss, judge)
