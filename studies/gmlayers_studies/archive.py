"""An archive: all records of one study in one file, to be committed and shared.

``STUDY.zip`` holds ``STUDY.json``, with the configurations, the machines and checksums, of itself and of the others;
``STUDY.csv``, the last row of every trial with all its digits; ``STUDY-curves.csv.xz``, the rows before it, condensed
as the study allows; and, where a picture needs them, ``STUDY.safetensors`` with the modules that trials have kept. A
cell of a table is JSON text; an empty one is absent from its row. Version 0.2 wrote these as files of a folder, and
unzipped they still are an archive.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import lzma
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import safetensors.torch

from gmlayers.experiments.files import read_whole, write_whole
from gmlayers.experiments.records import json_of, unpacked
from gmlayers.experiments.schema import CHECKSUM, Range, checked, checksum
from gmlayers.experiments.text import cell
from gmlayers_studies.records import METRICS, Folder, Kept, Records, Row
from gmlayers_studies.study import Run

FORMAT = 1
"""The layout of an archive has this version, and an archive of another one is refused."""

ENDING = ".zip"
"""An archive has this ending after the name of the study."""

CURVES, MODULES = "-curves.csv.xz", ".safetensors"
"""The names of these files have these endings after the name of the study."""

KEYS = ("run", "trial", "table")
"""These columns say where a row of the curves belongs."""


@dataclass(frozen=True)
class _Recorded:
    machine: Annotated[int, Range(0)]
    """Its number in the list of all machines."""
    config: dict[str, Any]


@dataclass(frozen=True)
class _Contents:
    """What stands in the JSON file of an archive."""

    study: str
    caveats: str
    files: dict[str, str]
    """The checksums of the other files, by their names."""
    about: tuple[str, ...]
    machines: tuple[dict[str, Any] | None, ...]
    runs: dict[str, _Recorded]

    def __post_init__(self) -> None:
        for place, run in self.runs.items():
            if run.machine >= len(self.machines):
                raise ValueError(f"runs[{place!r}] is of machine {run.machine}, and there are {len(self.machines)}")


class Archive:
    """Reads an archive; nothing but its JSON file is read before rows or modules are asked for.

    Args:
        path: ``STUDY.zip``, or the ``STUDY.json`` of one that is unzipped.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged or of another format.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        name = f"{path.stem}.json"
        content = json_of(self._part(name), self._place(name))
        if (found := content.pop("format", None)) != FORMAT:
            raise ValueError(f"{path} is no archive of format {FORMAT} (it says {found!r}); move it")
        whole = checked(_Contents, content, path, advice="it is damaged, restore it")
        self.study, self.files, self._about = whole.study, whole.files, frozenset(whole.about)
        self._machines, self._runs = whole.machines, whole.runs

    def runs(self) -> list[str]:
        """Return the names of all runs."""
        return [*self._runs]

    def config(self, run: str) -> Row | None:
        """Return the configuration of a run."""
        return dict(self._runs[run].config) if run in self._runs else None

    def environment(self, run: str) -> Row | None:
        """Return the machine and the versions that a run was begun with."""
        return self._machines[self._runs[run].machine] if run in self._runs else None

    def trials(self, run: str) -> list[str]:
        """Return the names of the trials that have rows."""
        return [trial for own, trial, table in self._rows if (own, table) == (run, METRICS)] if self.config(run) else []

    def tables(self, run: str, trial: str) -> list[str]:
        """Return the names of the tables of a trial."""
        return [table for *own, table in self._rows if own == [run, trial]] if self.config(run) else []

    def rows(self, run: str, trial: str, table: str = METRICS, *, warn: bool = True) -> list[Row]:  # noqa: ARG002
        """Return the rows of a trial; there is nothing to warn of, as damage is an error here."""
        return self._rows.get((run, trial, table), []) if run in self._runs else []

    def module(self, run: str, trial: str) -> Kept | None:
        """Return the module that a trial has kept."""
        return self._modules.get((run, trial))

    @cached_property
    def _rows(self) -> dict[tuple[str, str, str], list[Row]]:
        """All rows by run, trial and table."""
        found: dict[tuple[str, str, str], list[Row]] = {}
        name = f"{self.study}{CURVES}"
        if name in self.files:
            try:
                text = lzma.decompress(self._read(name)).decode()
            except (lzma.LZMAError, UnicodeDecodeError) as error:
                raise self._damage(name, f"cannot be decompressed ({error})") from None
            for row in self._lines(name, text):
                found.setdefault((row.pop("run"), row.pop("trial"), row.pop("table")), []).append(row)
        name = f"{self.study}.csv"
        for row in self._lines(name, self._read(name).decode()):
            own = row.pop("run"), row.pop("trial"), METRICS
            found.setdefault(own, []).append({key: value for key, value in row.items() if key not in self._about})
        return found

    def _lines(self, name: str, text: str) -> Iterable[Row]:
        """Yield the rows of a table."""
        reader = csv.reader(io.StringIO(text, newline=""))
        header = next(reader, [])
        plain = {*KEYS, *self._about}
        for cells in reader:
            if len(cells) != len(header):
                raise self._damage(name, f"has {len(cells)} cells in line {reader.line_num}, not {len(header)}")
            try:
                yield {key: cell if key in plain else json.loads(cell) for key, cell in zip(header, cells) if cell}
            except ValueError as error:
                raise self._damage(name, f"has a cell that is no JSON in line {reader.line_num} ({error})") from None

    @cached_property
    def _modules(self) -> dict[tuple[str, str], Kept]:
        """All modules by run and trial."""
        name = f"{self.study}{MODULES}"
        if name not in self.files:
            return {}
        content = self._read(name)
        try:
            tensors, about = unpacked(content)
            found: dict[tuple[str, str], Kept] = {}
            for own, what in about.items():
                run, trial = json.loads(own)
                found[run, trial] = Kept({}, what)
            for key, tensor in tensors.items():
                run, trial, parameter = json.loads(key)
                found[run, trial].tensors[parameter] = tensor
        except (KeyError, ValueError, TypeError) as error:
            raise self._damage(name, f"is no file of modules ({type(error).__name__}: {error})") from None
        return found

    def _read(self, name: str) -> bytes:
        content = self._part(name)
        if _checksum(content) != self.files.get(name):
            raise self._damage(name, "does not have the checksum that its JSON file states: it was cut or changed")
        return content

    def _part(self, name: str) -> bytes:
        """Return a file of the archive."""
        try:
            if self.path.suffix != ENDING:
                return read_whole(self.path.with_name(name))
            with zipfile.ZipFile(io.BytesIO(read_whole(self.path))) as whole:
                return whole.read(name)
        except (FileNotFoundError, KeyError):
            lacking = f"the archive {self.path} needs it, restore it" if self.path.exists() else "restore it"
            raise FileNotFoundError(f"{self._place(name)} is not there; {lacking}") from None
        except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError) as error:  # one of a password, too
            raise self._damage(name, f"cannot be unzipped ({error})") from None

    def _place(self, name: str) -> Path:
        return self.path / name if self.path.suffix == ENDING else self.path.with_name(name)

    def _damage(self, name: str, what: str) -> ValueError:
        return ValueError(f"{self._place(name)} {what}; restore it, or archive the study again")


def records_in(folder: Path, study: str | None = None) -> Records:
    """Return all that is recorded in a folder: in folders of runs, and in archives, that of the study before others."""
    archives = sorted([*folder.glob(f"*{ENDING}"), *folder.glob("*.json")], key=lambda path: path.stem != study)
    return Records([Folder(folder), *map(Archive, archives)])


def last_rows(records: Records, runs: Mapping[str, Run]) -> bytes:
    """Return the table of the last rows of all trials, with what is to be said about their runs beside them.

    Raises:
        ValueError: if a run, a trial or a column has a name that a spreadsheet would run, or a terminal obey.
    """
    rows = []
    for place, run in runs.items():
        about = {name: str(cell(value)) for name, value in run.about.items()}
        for trial in records.trials(place):
            if own := records.rows(place, trial, warn=False):
                _refuse_names(place, trial, *own[-1])
                rows.append({**about, "run": place, "trial": trial, **_cells(own[-1])})
    return _table(rows).encode()


def write_archive(path: Path, records: Records, runs: Mapping[str, Run], *, caveats: str) -> None:
    """Write the archive of a study, whole or not at all.

    Args:
        path: ``STUDY.zip``.
        records: where the runs are read.
        runs: the runs of the study by their places.
        caveats: what a reader of the records must know besides.

    Raises:
        ValueError: if there are no rows.
    """
    study = path.stem
    trials = [(place, run, trial) for place, run in runs.items() for trial in records.trials(place)]
    if not trials:
        raise ValueError(f"there are no records of {study} to archive")
    contents = {f"{study}.csv": last_rows(records, runs)}
    curves = [
        {"run": place, "trial": trial, "table": table, **_cells(row)}
        for place, run, trial in trials
        for table in records.tables(place, trial)
        for row in _before_last(records.rows(place, trial, table, warn=False), table, run)
    ]
    if curves:
        contents[f"{study}{CURVES}"] = lzma.compress(_table(curves).encode(), preset=9 | lzma.PRESET_EXTREME)
    kept = {
        (place, trial): module
        for place, run, trial in trials
        if run.is_pictured and (module := records.module(place, trial)) is not None
    }
    if kept:
        tensors = {
            json.dumps([*own, name]): tensor for own, module in kept.items() for name, tensor in module.tensors.items()
        }
        modules = {json.dumps(own): module.about for own, module in kept.items()}
        contents[f"{study}{MODULES}"] = safetensors.torch.save(tensors, {"gmlayers": json.dumps(modules)})
    summary = _summary(study, records, runs, contents, caveats).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, _zipped({f"{study}.json": summary, **contents}))


def _zipped(contents: Mapping[str, bytes]) -> bytes:
    """Return a ZIP file, the same at any time."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as whole:
        for name, content in contents.items():
            whole.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)  # of 1980, as all without a date
    return out.getvalue()


def _summary(study: str, records: Records, runs: Mapping[str, Run], contents: Mapping[str, bytes], caveats: str) -> str:
    """Return the JSON file of an archive; a run has a line of its own, so that what changes is seen in a few lines."""
    machines: list[Row | None] = []
    every = {}
    for place in runs:
        machine = records.environment(place)
        if machine not in machines:
            machines.append(machine)
        every[place] = {"machine": machines.index(machine), "config": records.config(place)}
    lines = [f"  {json.dumps(place)}: {json.dumps(what, ensure_ascii=False)}" for place, what in every.items()]
    head = {
        "format": FORMAT,
        "study": study,
        "caveats": caveats,
        "files": {name: _checksum(content) for name, content in contents.items()},
        "about": sorted({name for run in runs.values() for name in run.about}),
        "machines": machines,
    }
    whole = {**head, "runs": every}
    head = {"format": FORMAT, CHECKSUM: checksum(whole), **head}
    start = json.dumps(head, indent=1, ensure_ascii=False).removesuffix("\n}")
    return start + ',\n "runs": {\n' + ",\n".join(lines) + "\n }\n}\n"


def _before_last(rows: Sequence[Row], table: str, run: Run) -> Sequence[Row]:
    return run.condense(rows[:-1]) if table == METRICS else rows


def _refuse_names(place: str, trial: str, *columns: str) -> None:
    """Raise ``ValueError`` for a name that must stand in a table as it is, and may not: it is read back."""
    for name in (place, trial, *columns):
        if cell(name) != name:
            raise ValueError(
                f"{place}, {trial}: a spreadsheet would run the name {name!r}, or a terminal obey it; give it another"
            )


def _cells(row: Row) -> dict[str, str]:
    return {name: json.dumps(value, ensure_ascii=False) for name, value in row.items()}


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    """Return a CSV file with a column for every name that a row has."""
    out = io.StringIO()
    columns = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
