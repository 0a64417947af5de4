"""Trials over processes: each in one of its own, so that one that dies takes nothing with it."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from gmlayers.experiments.records import readable
from gmlayers.experiments.reproduce.experiment import Watch
from gmlayers.experiments.run_folder import open_run, seed_folder
from gmlayers.experiments.training import Trainer

ATTEMPTS = 2
"""A trial whose process dies is tried once more."""

PAUSE = 0.2
"""Seconds between two looks at the records."""


@dataclass
class Trial:
    """One seed of a run on disk."""

    folder: Path
    seed: int
    watch: Callable[[Trainer], Watch] | None
    show: Callable[[dict[str, Any]], None]
    """Is given every new line of metrics."""
    attempts: int = 0
    shown: int = 0
    """The last epoch shown."""


@dataclass
class Failed:
    """A trial that did not come to its end, and why."""

    folder: Path
    seed: int
    reason: str


@dataclass
class _Worker:
    trial: Trial
    process: BaseProcess
    messages: Connection = field(repr=False)


def train_all(trials: Sequence[Trial], jobs: int) -> list[Failed]:
    """Train trials, so many at a time; return those that failed. The others are not touched by them."""
    # Processes forked from a server that has torch loaded start at once; where there is no fork they load it anew.
    context = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")
    if sys.platform != "win32":
        context.set_forkserver_preload([__name__])
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
                    failed.append(Failed(worker.trial.folder, worker.trial.seed, reason))
    finally:
        for worker in workers:
            worker.process.terminate()
            worker.process.join()
    return failed


def is_finished(folder: Path, seed: int, epochs: int) -> bool:
    """Return whether the records of a trial go to its last epoch; the checkpoint need not be there."""
    rows = readable(seed_folder(folder, seed) / "metrics.jsonl", warn=False)
    return bool(rows) and rows[-1]["epoch"] >= epochs


def _start(context: Any, trial: Trial) -> _Worker:  # noqa: ANN401  (contexts have no common type)
    trial.attempts += 1
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_train, args=(trial.folder, trial.seed, trial.watch, theirs), daemon=True)
    process.start()
    theirs.close()
    return _Worker(trial, process, ours)


def _train(folder: Path, seed: int, watch: Callable[[Trainer], Watch] | None, messages: Connection) -> None:
    """What a process of its own does."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    reason = train(folder, seed, watch)
    if reason is not None:
        messages.send(reason)
        sys.exit(1)


def _end_with_parent() -> None:
    """End this process when the one that wants its results has died: nobody would know of it."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def train(folder: Path, seed: int, watch: Callable[[Trainer], Watch] | None) -> str | None:
    """Train one trial in this process; return why it could not come to its end, or None."""
    own = seed_folder(folder, seed)
    try:
        run = open_run(folder)
        own.mkdir(exist_ok=True)
        with FileLock(own / ".lock").acquire(blocking=False):
            torch.set_num_threads(run.threads)
            trial, data = run.trial(seed), run.load()
            watching = None if watch is None else watch(Trainer(trial, data))
            for _ in Trainer(trial, data, own, watch=watching).run():
                pass
    except Timeout:
        return f"{own} is being trained by another process; wait for it or stop it"
    except (ValueError, OSError, RuntimeError, MemoryError) as error:
        return " ".join(str(error).split())
    if not is_finished(folder, seed, run.recipe.epochs):
        return f"{own / 'metrics.jsonl'} cannot be read to its end; delete {own} to train this seed anew"
    return None


def look(trial: Trial) -> None:
    """Show the lines of metrics that have come since the last look."""
    for row in readable(seed_folder(trial.folder, trial.seed) / "metrics.jsonl", warn=False):
        if row["epoch"] > trial.shown:
            trial.show(row)
            trial.shown = int(row["epoch"])


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
