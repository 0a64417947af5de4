"""Checks of arguments, with errors that help."""

from __future__ import annotations

import math
import operator
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
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
    return ValueError(f"unknown {kind} {brief_value(name)}; {hint}known: {', '.join(names[:LISTED])}{more}")


LONGEST = 80
"""A value is shown in errors by at most this many characters."""


def cut(text: str) -> str:
    """Return a text, cut where it is longer than :data:`LONGEST`."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def brief_value(value: object) -> str:
    """Return in a few words what a value is: plain ones as Python writes them, all others by type, shape and dtype."""
    if value is None or isinstance(value, bool | int | float | complex | str):
        try:
            return cut(repr(value))
        except ValueError:  # Python does not write out the longest whole numbers
            return "a whole number of thousands of digits"
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    text = type(value).__name__
    text = f"{text} {shape}" if isinstance(shape, tuple) else text
    return text if dtype is None else f"{text} of {dtype}"


def look_up(kind: str, name: str, table: Mapping[str, T]) -> T:
    """Return ``table[name]``; raise ``ValueError`` naming what is known, or ``TypeError`` for what is no name."""
    if not isinstance(name, str):
        raise TypeError(f"{kind} must be one of {', '.join(sorted(table))}, by name, got {brief_value(name)}")
    if name not in table:
        raise unknown(kind, name, table)
    return table[name]


MOST = 2**40
"""No whole number that is given may be larger: that many numbers take eight terabytes."""


def whole(name: str, value: object) -> int:
    """Return a whole number as ``int``; what floats, strings and True stand for is not guessed.

    Raises:
        TypeError: for anything else.
        ValueError: for a number that is too large to count anything, see :data:`MOST`.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except (TypeError, RuntimeError):  # torch's, of a tensor without numbers
        number = None
    if number is None:
        raise TypeError(f"{name} must be a whole number, got {brief_value(value)}")
    if abs(number) > MOST:
        raise ValueError(f"{name} must be a whole number of a size that fits a machine, got {brief_value(number)}")
    return number


def check_size(name: str, shapes: Iterable[Sequence[int]]) -> None:
    """Raise ``ValueError`` for sizes that make more numbers than :data:`MOST`."""
    total = sum(math.prod(shape) for shape in shapes)
    if total > MOST:
        raise ValueError(f"{name} make {total:.3g} numbers, more than any machine holds; give smaller ones")


def flag(name: str, value: object) -> bool:
    """Return True or False; raise ``TypeError`` for anything that merely counts as one of them, such as "no"."""
    if value is True or value is False or (isinstance(value, int) and value in (0, 1)):
        return bool(value)
    if type(value).__name__ in ("bool", "bool_") and getattr(value, "ndim", None) == 0:  # numpy's
        return bool(value)
    raise TypeError(f"{name} must be True or False, got {brief_value(value)}")


def positive(name: str, value: object) -> int:
    """Return a whole number of at least 1 as ``int``, or raise ``TypeError`` or ``ValueError``."""
    size = whole(name, value)
    if size < 1:
        raise ValueError(f"{name} must be at least 1, got {size}")
    return size


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
