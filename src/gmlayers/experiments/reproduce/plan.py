"""What a command needs to know of an experiment of any kind."""

from __future__ import annotations

from collections.abc import Container, Iterator
from pathlib import Path
from typing import Protocol

from gmlayers.experiments.display import Live
from gmlayers.experiments.reproduce.workers import Trial


class Plan(Protocol):
    """An experiment and what is to be run of it, or was, in a folder."""

    @property
    def name(self) -> str:
        """Of the experiment; its files are NAME.md, NAME.png and so on."""
        ...

    @property
    def compares(self) -> bool:
        """Whether it has at least two nets or methods."""
        ...

    def make(self, *, resume: bool) -> None:
        """Make the folders of all trials that can be known, or see that those that are there are the same.

        Raises:
            ValueError: if they are of another configuration.
            FileExistsError: if they were begun, are not finished, and not to be resumed.
        """
        ...

    def rounds(self, live: Live, failed: Container[Path]) -> Iterator[list[Trial]]:
        """Yield trials that are not finished and have not failed; the next ones when those before are over."""
        ...

    def finish(self) -> bool:
        """Write the figure and what it says, and print it; return whether there were records."""
        ...
