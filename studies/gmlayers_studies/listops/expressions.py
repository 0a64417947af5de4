"""Nested operations on digits, such as ``[MAX 2 9 [MIN 4 7 ] 0 ]``, which is 9 (Nangia and Bowman, ListOps, 2018)."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import cache
from statistics import median

import torch
from torch import Tensor

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
