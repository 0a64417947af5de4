"""Memory that is not there: what was needed, and what would fit, in place of the words of an allocator."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

RAW = re.compile(r"can't allocate memory|not enough memory|out of memory|bad_alloc", re.IGNORECASE)
"""An error is one of an allocator if it says this."""

ASKED = re.compile(r"allocate ([\d.]+ (?:bytes|[KMGT]i?B))")
"""An allocator says by this how much it was asked for."""

HALVINGS = 16
"""How much memory can be had is found by this many steps of bisection."""


def check_memory(function: str, what: str, number: int, need: Callable[[int], float], device: torch.device) -> None:
    """Raise ``MemoryError`` if the memory for so many of something cannot be had; it is asked for, and not touched.

    Beforehand, because libraries below do not all say when they got none. Of devices other than the CPU nothing is
    asked, since they would keep it.

    Args:
        function: the name of the function that needs it.
        what: what there is that many of.
        number: how many there are.
        need: the bytes that so many need at once; it grows with the number.
        device: where they are needed.
    """
    if device.type != "cpu" or _can_be_had(need(number)):
        return
    room, most = _room(need(number)), 0
    for bit in reversed(range(number.bit_length())):
        if most + 2**bit < number and need(most + 2**bit) <= room:
            most += 2**bit
    raise MemoryError(
        f"{function}: {number} {what} need about {_shown(need(number))} of memory at once, and about {_shown(room)} "
        f"can be had, which is enough for {most}; take fewer"
    )


@contextmanager
def memory_told(function: str) -> Iterator[None]:
    """Say in words of ours that there is not enough memory, if an allocator says so."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        said = str(error)
        if not RAW.search(said) and not (isinstance(error, MemoryError) and not said):
            raise
        asked = ASKED.search(said)
        piece = f"another {asked[1]}" if asked else "what was needed"
        told = MemoryError(
            f"{function}: there is not enough memory, {piece} could not be had; take fewer bumps, or fewer rows or "
            f"points, or leave more memory to this process"
        )
        told.__dict__.update(error.__dict__)  # the best so far
        raise told from error


def _can_be_had(size: float) -> bool:
    try:
        torch.empty(int(size), dtype=torch.uint8)
    except (RuntimeError, MemoryError):
        return False
    return True


def _room(most: float) -> float:
    """Return how many bytes can be had, to a small share of the most that are asked for."""
    low, high = 0.0, most
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _can_be_had(middle) else (low, middle)
    return low


def _shown(size: float) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
