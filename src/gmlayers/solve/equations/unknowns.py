"""Unknown functions, which are told apart by which they are."""

from __future__ import annotations

from dataclasses import dataclass

NO_SYSTEMS = "systems of equations are not supported yet; call u = unknown(...) once and use that u throughout"
"""Every error about several unknowns ends in these words."""


@dataclass(frozen=True, eq=False)
class Unknown:
    """An unknown function: it equals nothing but itself, so that two of the same coordinates are told apart.

    A copy of a problem, by ``copy.deepcopy`` or ``pickle``, has one unknown of its own, which all its equations share.
    """

    space: int
    """The number of coordinates of space; they come first."""
    time: bool
    """True if time is the last coordinate."""
    name: str | None = None
    """What messages call it."""

    def __repr__(self) -> str:
        """Return the call that makes such an unknown."""
        name = "" if self.name is None else f", name={self.name!r}"
        return f"unknown({self.space}{', time=True' if self.time else ''}{name})"
