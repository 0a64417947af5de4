"""What a run leaves on disk: JSON, tensors, append-only metrics, and what is known of the machine."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

import gmlayers
from gmlayers.experiments.files import open_own, read_whole, sync_folder, write_whole
from gmlayers.experiments.schema import CHECKSUM, FOR_A_RUN, checksum, from_json, sealed, table, unchecked, unsealed

DELETE = "restore it, or delete it to train that seed afresh"
"""This is what to do about a checkpoint that is damaged."""


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a mapping as JSON with its checksum, whole or not at all."""
    write_whole(path, (json.dumps(sealed(content), indent=2) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object, without its checksum; warn if it has none.

    Raises:
        ValueError: if the file is not one, or has the checksum of another.
        FileNotFoundError: if there is none.
    """
    try:
        content = read_whole(path)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"{path} is not there; expected the folder of a run made by `gmlayers train`") from None
    return json_of(content, path)


def json_of(content: bytes, path: Path) -> dict[str, Any]:
    """Return the JSON object that is the content of a file, as :func:`read_json` does; errors name the path."""
    try:
        found = from_json(content)
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}); restore it or start a new run") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path}: expected a JSON object, got {type(found).__name__}; start a new run")
    return unsealed(found, path)


def make_folder(folder: Path, config: Mapping[str, Any]) -> None:
    """Make the folder of a run, with its configuration and what is known of the machine, or not at all.

    Raises:
        OSError: if that is not possible, or the folder is there and not empty.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent)) / folder.name
    try:
        staging.mkdir()
        write_json(staging / "environment.json", environment())
        write_json(staging / "config.json", config)
        staging.rename(folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(staging.parent)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write tensors and a JSON-able mapping as one safetensors file with its checksum, whole or not at all."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    about = {**metadata, CHECKSUM: _checksum(plain, metadata)}
    write_whole(path, safetensors.torch.save(plain, {"gmlayers": json.dumps(about)}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`write_tensors` wrote; warn if it has no checksum.

    Raises:
        ValueError: if the file is cut, altered, or of another origin.
        FileNotFoundError: if there is none.
    """
    content = read_whole(path)
    try:
        tensors, metadata = unpacked(content)
    except ValueError as error:
        raise ValueError(f"{path} is not a whole checkpoint of gmlayers ({error}); {DELETE}") from None
    if CHECKSUM not in metadata:
        unchecked(path)
    elif metadata.pop(CHECKSUM) != _checksum(tensors, metadata):
        raise ValueError(f"{path} does not have the checksum that it states: it was changed; {DELETE}")
    return tensors, metadata


def unpacked(content: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors of a safetensors file, and what is said of them under the name of the library.

    Raises:
        ValueError: if it is none, or nothing is said of them.
    """
    try:
        tensors = safetensors.torch.load(content)
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise ValueError(" ".join(f"{type(error).__name__}: {error}".split())) from None
    header = from_json(content[8 : 8 + int.from_bytes(content[:8], "little")])
    about = from_json(header.get("__metadata__", {}).get("gmlayers", "null"))
    if not isinstance(about, dict):
        raise ValueError("gmlayers has written nothing about its tensors")
    return tensors, about


def _checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> str:
    names = sorted(tensors)
    forms = [[name, str(tensors[name].dtype), list(tensors[name].shape)] for name in names]
    return checksum(
        {"tensors": forms, "metadata": metadata},
        *(tensors[name].reshape(-1).view(torch.uint8).numpy().data for name in names),
    )


class Metrics:
    """An append-only file of JSON lines."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a line and bring it to the disk.

        Raises:
            ValueError: if the file is a link, or no file.
        """
        with open_own(self.path) as file:
            file.write((json.dumps(row) + "\n").encode())
            file.flush()
            os.fsync(file.fileno())

    def written(self) -> tuple[int, str]:
        """Return the number of bytes written so far, and a checksum of them."""
        content = self._content()
        return len(content), checksum({}, content)

    def cut(self, size: int, stated: str | None = None) -> None:
        """Drop what came after the first ``size`` bytes: lines of an epoch that no checkpoint has.

        Raises:
            ValueError: if there are fewer, or they do not have the checksum that is stated.
        """
        content = self._content()
        if len(content) < size:
            raise ValueError(
                f"{self.path} is shorter than its checkpoint says ({len(content)} < {size} bytes); restore it, or "
                f"delete {self.path.parent} to train this seed anew"
            )
        if stated is not None and stated != checksum({}, content[:size]):
            raise ValueError(
                f"{self.path} was changed since its checkpoint was written; restore it, or delete {self.path.parent} "
                f"to train this seed anew"
            )
        if self.path.exists():  # as a new file, since this one may have a second name that is not of this run
            write_whole(self.path, content[:size])

    def rows(self, fields: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Return all lines, their fields checked by name and annotation as by :func:`.schema.table`.

        Raises:
            ValueError: if one cannot be read, or a field is missing, of another type or out of range.
        """
        rows = []
        for number, line in enumerate(self._content().splitlines(), 1):
            try:
                row = from_json(line)
            except ValueError as error:
                raise ValueError(f"{self.path}, line {number}: not a record ({error}); {FOR_A_RUN}") from None
            rows.append(table(row, fields or {}, self.path, f"line {number}"))
        return rows

    def _content(self) -> bytes:
        return _if_there(self.path)


def _if_there(path: Path) -> bytes:
    """Return the content of a file, and nothing if it is not there; one that may not be read is an error."""
    try:
        return read_whole(path)
    except FileNotFoundError:
        return b""


def readable(path: Path, *, warn: bool = True) -> list[dict[str, Any]]:
    """Return the whole lines of a file of metrics, which may still be written to; none if there is no file.

    A line that cannot be read is skipped, and named in a warning; of several for one epoch the last one counts.
    """
    rows: dict[int, dict[str, Any]] = {}
    text = _if_there(path).decode(errors="replace")
    for number, line in enumerate(text[: text.rfind("\n") + 1].splitlines(), 1):
        try:
            row = table(from_json(line), {"epoch": int}, path)
            rows[row["epoch"]] = row
        except ValueError:
            if warn:
                warnings.warn(f"{path}, line {number}: not a record; it is skipped", stacklevel=2)
    return [rows[epoch] for epoch in sorted(rows)]


def environment() -> dict[str, Any]:
    """Return what a reader of the numbers needs to know of the machine and the versions."""
    return {
        "gmlayers": gmlayers.__version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "preloaded": _preloaded(),
    }


def environment_in_words(e: Mapping[str, Any]) -> str:
    """Return what records were made with, of what :func:`environment` returned then."""
    loaded = ", ".join(map(str, e.get("preloaded") or ()))  # which older records lack
    with_it = f" with {loaded} loaded before" if loaded else ""
    processor, cpus, version, python = (e.get(name, "unknown") for name in ("processor", "cpus", "torch", "python"))
    return f"{processor} ({cpus} cores), torch {version}{with_it}, Python {python}"


def _commit() -> str | None:
    """Return the commit of the checkout that this code runs from; None for an installed copy, or without git."""
    source = Path(gmlayers.__file__).parents[1]
    if source.name != "src" or not (source.parent / ".git").exists():
        return None
    try:
        line = ["git", "-C", str(source), "describe", "--always", "--dirty", "--abbrev=12"]
        found = subprocess.run(line, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return found.stdout.strip() or None


def _preloaded() -> list[str]:
    """Return the names of the libraries that LD_PRELOAD puts before torch's own: they may change its times a lot."""
    return [Path(part).name for part in re.split("[: ]+", os.environ.get("LD_PRELOAD", "")) if part]


def _processor() -> str:
    """Return the processor's name; Linux keeps it where the platform module does not look."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
