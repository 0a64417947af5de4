"""Checks of arguments, with errors that help."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import TypeVar

T = TypeVar("T")

LISTED = 40
"""An error shows at most this many known names, since a table may have a hundred thousand columns."""


def unknown(kind: str, name: object, known: Iterable[str]) -> ValueError:
    """Return the error for a name that is not known, with the nearest known one suggested."""
    names = sorted(known)
    near = get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    more = f" and {len(names) - LISTED:,} more" if len(names) > LISTED else ""
    return ValueError(f"unknown {kind} {name!r}; {hint}known: {', '.join(names[:LISTED])}{more}")


def look_up(kind: str, name: str, table: Mapping[str, T]) -> T:
    """Return ``table[name]``, or raise ``ValueError`` naming what is known."""
    if name not in table:
        raise unknown(kind, name, table)
    return table[name]


def whole(name: str, value: object) -> int:
    """Return a whole number as ``int``, or raise ``TypeError``; floats and strings are not taken for numbers."""
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name} must be a whole number, got {value!r}") from None


def positive(name: str, value: object) -> int:
    """Return a whole number of at least 1 as ``int``, or raise ``TypeError`` or ``ValueError``."""
    size = whole(name, value)
    if size < 1:
        raise ValueError(f"{name} must be at least 1, got {size}")
    return size


def check_real(name: str, dtype: object) -> None:
    """Raise ``TypeError`` for a dtype of parameters that is not of real floating-point numbers; None is any."""
    if dtype is not None and not getattr(dtype, "is_floating_point", False):
        raise TypeError(f"{name} must be of real floating-point numbers, such as torch.float32, got {dtype}")


def in_a_clone(extra: str, project: str = ".") -> str:
    """Return how to install an extra; the packages are on no index, and so come from a clone of their repository."""
    return f"from a clone of gmlayers: pip install '{project}[{extra}]'"


def renamed(module: str, names: Mapping[str, tuple[str, object]]) -> Callable[[str], object]:
    """Return the ``__getattr__`` of a module that still gives things by their old names, with a ``FutureWarning``.

    Args:
        module: the name of the module.
        names: for each old name the new one, and the thing itself.
    """

    def get(name: str) -> object:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        new, thing = names[name]
        warnings.warn(f"{module}.{name} is deprecated; its name is now {new}", FutureWarning, stacklevel=2)
        return thing

    return get
