"""What a command needs to know of an experiment of any kind."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from gmlayers.experiments.display import Live
from gmlayers_studies.records import Records, Row
from gmlayers_studies.workers import Trial


class Plan(Protocol):
    """An experiment and what is to be run of it, or was, in a folder."""

    @property
    def name(self) -> str:
        """The name of the experiment; its files are NAME.md, NAME.png and so on."""
        ...

    @property
    def compares(self) -> bool:
        """Whether it has at least two nets or methods."""
        ...

    @property
    def note(self) -> str:
        """What a reader of the records must know besides."""
        ...

    @property
    def records(self) -> Records:
        """What is recorded in the folder by now."""
        ...

    def about(self) -> Mapping[str, Row]:
        """Return the runs, each with what a reader of the table of trials wants to know of it."""
        ...

    def condense(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Return what an archive keeps of the rows of a trial before the last; condensed rows as they are."""
        ...

    def keeps(self, run: str) -> bool:
        """Return whether the modules of a run are drawn."""
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
