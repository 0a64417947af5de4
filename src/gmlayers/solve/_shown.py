"""How results are shown: a few lines, however much is in them."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from torch import Tensor, nn

WIDTH = 100
"""A line of a representation is broken after this many characters."""

FEW = 4
"""Of a tensor or a mapping with more entries than this only the size, or the first ones, are shown."""

LONGEST = 120
"""A text of more characters than this is cut."""


def shown(name: str, values: Mapping[str, object]) -> str:
    """Return ``name(key=value, ...)`` in a few lines; numbers have four digits, and tensors their shape."""
    inside = ", ".join(f"{key}={_short(value)}" for key, value in values.items())
    return "\n".join(textwrap.wrap(f"{name}({inside})", WIDTH, subsequent_indent=4 * " ", break_long_words=False))


def _short(value: object) -> str:
    """Return a value as a text that fits in a line."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Tensor):
        return _tensor(value)
    if isinstance(value, nn.Module):
        return _cut(" ".join(repr(value).split()))
    if isinstance(value, Mapping):
        first = [f"{key!r}: {_short(entry)}" for key, entry in list(value.items())[:FEW]]
        return "{" + ", ".join(first + (["…"] if len(value) > FEW else [])) + "}"
    if isinstance(value, tuple) and value and isinstance(value[-1], tuple):
        return f"{len(value)} steps" if len(value) > 1 else "1 step"
    return _cut(repr(value))


def _tensor(value: Tensor) -> str:
    numbers = value.is_floating_point() and value.numel() <= FEW and not value.is_meta
    if numbers and value.ndim == 1:
        return "[" + ", ".join(f"{number:.4g}" for number in value.tolist()) + "]"
    if numbers and value.ndim == 0:
        return f"{value.item():.4g}"
    return f"tensor{tuple(value.shape)}"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
