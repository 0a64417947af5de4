"""What was found is not lost when a run is interrupted, whatever interrupts it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

ATTRIBUTE = "best_so_far"
"""An exception that ends a run has what was found until then by this name."""

NOTE = f"What was found until then is the attribute {ATTRIBUTE} of this exception."
"""This is added to the exception, where Python can do that (3.11 and later), so that it is seen in a traceback."""


@contextmanager
def kept(best: Callable[[], object]) -> Iterator[None]:
    """Attach what was found until then to an exception that ends what is done here; it is raised as it is.

    Args:
        best: returns what was found; None for nothing. Solvers call each other, and the outermost one has the last
            word.
    """
    try:
        yield
    except BaseException as stop:
        with suppress(Exception):  # what ended the run is to be seen, not that something was wrong with its results
            found = best()
            if found is not None:
                add_note = None if hasattr(stop, ATTRIBUTE) else getattr(stop, "add_note", None)
                setattr(stop, ATTRIBUTE, found)
                if add_note is not None:
                    add_note(NOTE)
        raise
