"""How results are shown: a few lines, however much is in them."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import fields

from torch import Tensor, nn

WIDTH = 100
"""A line of a representation is broken after this many characters."""

FEW = 4
"""A tensor with more entries than this is shown by its size, and a mapping by its first ones."""

PAIR = 2
"""A sequence with more entries than this is shown by its first ones and its length."""

LONGEST = 120
"""A text of more characters than this is cut."""


def shown(name: str, values: Mapping[str, object]) -> str:
    """Return ``name(key=value, ...)`` in a few lines; numbers have four digits, and tensors their shape."""
    inside = ", ".join(f"{key}={_short(value)}" for key, value in values.items())
    return "\n".join(textwrap.wrap(f"{name}({inside})", WIDTH, subsequent_indent=4 * " ", break_long_words=False))


def brief(self: object) -> str:
    """Return the ``__repr__`` of a named tuple or a dataclass: its fields, in a few lines."""
    if isinstance(self, tuple):
        names: Sequence[str] = getattr(self, "_fields", ())
    else:
        names = [field.name for field in fields(self) if field.repr]  # type: ignore[arg-type]
    return shown(type(self).__name__, {name: getattr(self, name) for name in names})


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
        return f"({len(value)} steps, the last {_cut(' '.join(repr(value[-1]).split()))})"
    if isinstance(value, (tuple, list)) and len(value) > PAIR:
        return f"({', '.join(map(_short, value[:PAIR]))}, … {len(value)} in all)"
    if isinstance(value, (tuple, list)):
        return f"({', '.join(map(_short, value))})"
    return _cut(repr(value))


def _tensor(value: Tensor) -> str:
    """Return the numbers if they are few, else the shape."""
    if value.is_floating_point() and value.numel() <= FEW and not value.is_meta:
        return _numbers(value.tolist())
    return f"tensor of {tuple(value.shape)}"


def _numbers(values: object) -> str:
    return f"[{', '.join(map(_numbers, values))}]" if isinstance(values, list) else f"{values:.4g}"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
