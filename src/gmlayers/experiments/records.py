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
from gmlayers.experiments.files import open_own, read_whole, refuse_special, sync_folder, write_whole


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a mapping as JSON, whole or not at all."""
    write_whole(path, (json.dumps(content, indent=2) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ValueError: if the file is not one.
        FileNotFoundError: if there is none.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; expected the folder of a run made by `gmlayers train`")
    try:
        content = json.loads(read_whole(path))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}); restore it or start a new run") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a JSON object, got {type(content).__name__}; start a new run")
    return content


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
    """Write tensors and a JSON-able mapping as one safetensors file, whole or not at all."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_whole(path, safetensors.torch.save(plain, {"gmlayers": json.dumps(metadata)}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`write_tensors` wrote.

    Raises:
        ValueError: if the file is cut, altered, or of another origin.
    """
    refuse_special(path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
            return tensors, json.loads((file.metadata() or {})["gmlayers"])
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise ValueError(
            f"{path} is not a whole checkpoint of gmlayers ({error}); delete it to train that seed afresh"
        ) from None


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

    def size(self) -> int:
        """Return the number of bytes written so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def cut(self, size: int) -> None:
        """Drop what came after the first ``size`` bytes: lines of an epoch that no checkpoint has."""
        if self.size() < size:
            raise ValueError(
                f"{self.path} is shorter than its checkpoint says ({self.size()} < {size} bytes); restore it, or "
                f"delete {self.path.parent} to train this seed anew"
            )
        if self.path.exists():  # as a new file, since this one may have a second name that is not of this run
            write_whole(self.path, read_whole(self.path)[:size])

    def rows(self) -> list[dict[str, Any]]:
        """Return all lines."""
        if not self.path.exists():
            return []
        return [json.loads(line) for line in read_whole(self.path).decode().splitlines()]


def readable(path: Path, *, warn: bool = True) -> list[dict[str, Any]]:
    """Return the whole lines of a file of metrics, which may still be written to; none if there is no file.

    A line that cannot be read is skipped, and named in a warning; of several for one epoch the last one counts.
    """
    rows: dict[int, dict[str, Any]] = {}
    text = read_whole(path).decode(errors="replace") if path.exists() else ""
    for number, line in enumerate(text[: text.rfind("\n") + 1].splitlines(), 1):
        try:
            row = json.loads(line)
            rows[int(row["epoch"])] = row
        except (ValueError, TypeError, KeyError):
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
    loaded = ", ".join(e.get("preloaded", []))  # which older records lack
    with_it = f" with {loaded} loaded before" if loaded else ""
    return f"{e['processor']} ({e['cpus']} cores), torch {e['torch']}{with_it}, Python {e['python']}"


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
