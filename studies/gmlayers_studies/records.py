"""Reads what has been recorded, whether it lies in the folders that trials write to or in archives of whole studies.

A *run* is one contestant on one task at one size. It is named by the path of its folder below the folder of records,
and its trials by their own folders in it: ``mnist/gm-k-20`` and ``seed-0``. Everything that draws, judges or resumes
reads through :class:`Records`, and so need not know where a run lies.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from gmlayers.experiments.records import read_json, read_tensors, readable

Row = dict[str, Any]

DAMAGED = "the records are damaged; restore them, or delete that trial to run it anew"
"""This is what to do about rows that no trial can have written."""

METRICS = "metrics"
"""Every trial writes a table with this name. It has a row for every epoch, or for every state."""

MODULE = "module.safetensors"
"""A trial keeps a module in this file. A picture needs it."""


def seed_name(seed: int) -> str:
    """Return the name of the trial of a seed."""
    return f"seed-{seed}"


def setting_name(setting: int) -> str:
    """Return the name of the trial by which a setting is tried."""
    return f"setting-{setting}"


def as_read(row: Row) -> Row:
    """Return a row as it comes back from a file: a tuple and a list of the same are equal there."""
    return json.loads(json.dumps(row))


class Kept(NamedTuple):
    """A module that a trial has kept to be drawn."""

    tensors: dict[str, Tensor]
    about: Mapping[str, Any]
    """What is needed to build the module that the tensors belong to."""


class Source(Protocol):
    """Somewhere that runs are recorded. Asked for what it lacks, it returns None or nothing."""

    def runs(self) -> Iterable[str]:
        """Return the names of all runs."""
        ...

    def config(self, run: str) -> Row | None:
        """Return the configuration of a run."""
        ...

    def environment(self, run: str) -> Row | None:
        """Return the machine and the versions that a run was begun with."""
        ...

    def trials(self, run: str) -> Iterable[str]:
        """Return the names of the trials that have rows."""
        ...

    def tables(self, run: str, trial: str) -> Iterable[str]:
        """Return the names of the tables of a trial."""
        ...

    def rows(self, run: str, trial: str, table: str = METRICS, *, warn: bool = True) -> list[Row]:
        """Return the rows of a trial in the order of their epochs."""
        ...

    def module(self, run: str, trial: str) -> Kept | None:
        """Return the module that a trial has kept."""
        ...


class Folder:
    """The folders that trials write to while they run: ``RUN/config.json``, ``RUN/TRIAL/metrics.jsonl``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def runs(self) -> list[str]:
        """Return the names of all runs, but for hidden folders: these are being made, or were left half made."""
        found = (path.parent.relative_to(self.root) for path in self.root.glob("*/**/config.json"))
        return sorted(run.as_posix() for run in found if not any(part.startswith(".") for part in run.parts))

    def config(self, run: str) -> Row | None:
        """Return the configuration of a run."""
        return self._json(run, "config.json")

    def environment(self, run: str) -> Row | None:
        """Return the machine and the versions that a run was begun with."""
        return self._json(run, "environment.json")

    def trials(self, run: str) -> list[str]:
        """Return the names of the trials that have rows."""
        return sorted(path.parent.name for path in (self.root / run).glob(f"*/{METRICS}.jsonl"))

    def tables(self, run: str, trial: str) -> list[str]:
        """Return the names of the tables of a trial."""
        return sorted(path.stem for path in (self.root / run / trial).glob("*.jsonl") if "." not in path.stem)

    def rows(self, run: str, trial: str, table: str = METRICS, *, warn: bool = True) -> list[Row]:
        """Return the rows of a trial; lines that cannot be read are skipped, with a warning if it is wanted."""
        return readable(self.root / run / trial / f"{table}.jsonl", warn=warn)

    def module(self, run: str, trial: str) -> Kept | None:
        """Return the module that a trial has kept."""
        path = self.root / run / trial / MODULE
        return Kept(*read_tensors(path)) if path.exists() else None

    def _json(self, run: str, name: str) -> Row | None:
        path = self.root / run / name
        return read_json(path) if path.exists() else None


class Records:
    """All that is recorded below a folder: by trials that wrote there, and in the archives that lie there.

    Where several sources know a trial, one that is finished is believed, or the one whose rows go furthest.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = sources

    def runs(self) -> list[str]:
        """Return the names of all runs."""
        return sorted({run for source in self.sources for run in source.runs()})

    def config(self, run: str) -> Row | None:
        """Return the configuration of a run, or None if there is no such run."""
        return next((found for source in self.sources if (found := source.config(run)) is not None), None)

    def environment(self, run: str) -> Row | None:
        """Return the machine and the versions that a run was begun with."""
        return next((found for source in self.sources if (found := source.environment(run)) is not None), None)

    def trials(self, run: str) -> list[str]:
        """Return the names of the trials that have rows."""
        return sorted({trial for source in self.sources for trial in source.trials(run)})

    def tables(self, run: str, trial: str) -> list[str]:
        """Return the names of the tables of a trial."""
        return sorted({table for source in self.sources for table in source.tables(run, trial)})

    def rows(self, run: str, trial: str, table: str = METRICS, *, warn: bool = True) -> list[Row]:
        """Return the rows of a trial in the order of their epochs, and none if it was not begun."""
        every = (source.rows(run, trial, table, warn=warn) for source in self.sources)
        return max(every, key=_reach, default=[])

    def module(self, run: str, trial: str) -> Kept | None:
        """Return the module that a trial has kept, or None if it has kept none."""
        return next((found for source in self.sources if (found := source.module(run, trial)) is not None), None)


def _reach(rows: Sequence[Row]) -> tuple[bool, int]:
    return (bool(rows[-1].get("last", False)), int(rows[-1]["epoch"])) if rows else (False, -1)
