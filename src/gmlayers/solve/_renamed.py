"""What all solvers have in common when they are called: no gradients, memory, old names of options that still work."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

from gmlayers.solve._memory import memory_told

P = ParamSpec("P")
R = TypeVar("R")


def solver(**renamed: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function that runs without gradients, and that takes options by their old names, too, with a warning.

    Args:
        renamed: the new names by the old ones.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        name = function.__name__

        @functools.wraps(function)
        def call(*arguments: P.args, **options: P.kwargs) -> R:
            for old, new in renamed.items():
                if old not in options:
                    continue
                if new in options:
                    raise TypeError(f"{name}: {old!r} is the old name of {new!r}; give {new!r} alone")
                warnings.warn(f"{name}: {old!r} is deprecated; its name is now {new!r}", FutureWarning, stacklevel=2)
                options[new] = options.pop(old)
            with torch.no_grad(), memory_told(name):
                return function(*arguments, **options)

        return call

    return decorate
