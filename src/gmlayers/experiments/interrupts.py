"""Ctrl-C, also where it comes out as another error.

An interrupt may arrive inside of another library, while that lets go of something, and come out as whatever was raised
there. So an error counts as an interrupt if one stands behind it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


def is_interrupt(error: BaseException | None) -> bool:
    """Return whether an error is Ctrl-C, or was raised because of it or while it was handled."""
    seen: set[int] = set()
    left = [error]
    while left:
        error = left.pop()
        if isinstance(error, KeyboardInterrupt):
            return True
        if error is not None and id(error) not in seen:
            seen.add(id(error))
            left += [error.__cause__, error.__context__]
    return False


@contextmanager
def interrupts_say(hint: str) -> Iterator[None]:
    """Let an interrupt of the block say how to go on.

    Raises:
        KeyboardInterrupt: with the hint, for an interrupt and for an error that one stands behind.
    """
    try:
        yield
    except BaseException as error:
        if is_interrupt(error):
            raise KeyboardInterrupt(hint) from None
        raise
