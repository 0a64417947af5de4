"""What a study of methods compares: readings of our module with peers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gmlayers_studies.approximators.tasks import Approximator
from gmlayers_studies.methods.method import Entrant


@dataclass(frozen=True)
class Contest:
    """How the module is read, and what it is held against."""

    readings: Mapping[str, tuple[str, ...]]
    """The methods that stand for each reading of the module; at any size at most one of them stands."""
    peers: tuple[str, ...]
    """The claim compares the module with these methods."""
    pictured: tuple[str, ...] = ()
    """The page shows what these readings have learned."""

    def entrants(self, methods: Mapping[str, tuple[Approximator, ...]]) -> tuple[Entrant, ...]:
        """Return the methods, given the settings of each, as contestants."""
        drawn = {label for reading in self.pictured for label in self.readings[reading]}
        return tuple(Entrant(label, settings, label in drawn) for label, settings in methods.items())
