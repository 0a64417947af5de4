"""Trials over processes: each in one of its own, so that one that dies takes nothing with it."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from gmlayers.experiments.records import readable

PRELOADED = ("torch._dynamo",)
"""What torch's optimizers import at their first step, in seconds."""

ATTEMPTS = 2
"""A trial whose process dies is tried once more."""

PAUSE = 0.2
"""Seconds between two looks at the records."""


@dataclass
class Trial:
    """Something to be done that writes records of its own."""

    folder: Path
    """Of this trial alone; its records are metrics.jsonl there."""
    work: partial[str | None]
    """Does it, in another process; returns why it could not come to its end, or None."""
    show: Callable[[dict[str, Any]], None]
    """Is given every new line of metrics."""
    attempts: int = 0
    shown: int = -1
    """The last epoch shown."""


@dataclass
class Failed:
    """A trial that did not come to its end, and why."""

    folder: Path
    reason: str


@dataclass
class _Worker:
    trial: Trial
    process: BaseProcess
    messages: Connection = field(repr=False)


def run_all(trials: Sequence[Trial], jobs: int) -> list[Failed]:
    """Run trials, so many at a time; return those that failed. The others are not touched by them."""
    # Processes forked from a server that has all modules loaded start at once; where there is no fork they load anew.
    context = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")
    if sys.platform != "win32":
        context.set_forkserver_preload([*PRELOADED, *sorted({trial.work.func.__module__ for trial in trials})])
    waiting, workers, failed = list(trials)[::-1], list[_Worker](), list[Failed]()
    try:
        while waiting or workers:
            while waiting and len(workers) < jobs:
                workers.append(_start(context, waiting.pop()))
            time.sleep(PAUSE)
            for worker in workers[:]:
                look(worker.trial)
                if worker.process.is_alive():
                    continue
                workers.remove(worker)
                reason = _reason(worker)
                look(worker.trial)
                if reason is None:
                    continue
                if reason.startswith("its process ended") and worker.trial.attempts < ATTEMPTS:
                    waiting.append(worker.trial)
                else:
                    failed.append(Failed(worker.trial.folder, reason))
    finally:
        for worker in workers:
            worker.process.terminate()
            worker.process.join()
    return failed


def look(trial: Trial) -> None:
    """Show the lines of metrics that have come since the last look."""
    for row in readable(trial.folder / "metrics.jsonl", warn=False):
        if row["epoch"] > trial.shown:
            trial.show(row)
            trial.shown = int(row["epoch"])


def _start(context: Any, trial: Trial) -> _Worker:  # noqa: ANN401  (contexts have no common type)
    trial.attempts += 1
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(trial.work, theirs), daemon=True)
    process.start()
    theirs.close()
    return _Worker(trial, process, ours)


def _run(work: partial[str | None], messages: Connection) -> None:
    """What a process of its own does."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    reason = work()
    if reason is not None:
        messages.send(reason)
        sys.exit(1)


def _end_with_parent() -> None:
    """End this process when the one that wants its results has died: nobody would know of it."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _reason(worker: _Worker) -> str | None:
    """Return why a worker that has ended has failed, or None."""
    if worker.process.exitcode == 0:
        return None
    if worker.messages.poll():
        try:
            return worker.messages.recv()
        except EOFError:
            pass
    return f"its process ended with exit code {worker.process.exitcode}"
