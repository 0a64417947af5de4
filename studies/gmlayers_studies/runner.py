"""Runs trials, each in a process of its own, so that one that dies takes nothing with it."""

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

from filelock import Timeout

from gmlayers.experiments.files import lock, refuse_links, sweep
from gmlayers.experiments.records import read_json, readable
from gmlayers.experiments.text import notes
from gmlayers_studies import papers
from gmlayers_studies.records import METRICS

PRELOADED = ("torch._dynamo",)
"""These modules are imported before processes are forked. The optimizers of torch import them at their first step."""

ATTEMPTS = 2
"""A job is tried this often in all. It is tried again if its process dies."""

PAUSE = 0.2
"""The records are looked at every so many seconds."""


@dataclass
class Job:
    """Something to be done that writes records of its own."""

    folder: Path
    """The folder of this job alone; its records are metrics.jsonl there."""
    work: partial[str | None]
    """The work is done by this, in another process. It returns why it could not come to its end, or None."""
    show: Callable[[dict[str, Any]], None]
    """Every new line of metrics is given to this."""
    modules: tuple[str, ...] = ()
    """These modules are imported before a process is forked for it."""
    attempts: int = 0
    shown: int = -1
    """The last epoch that was shown."""


def attempt(study: str, folder: Path, place: str, trial: str, setting: int, seed: int) -> str | None:
    """Run a trial of a study in this process; return why it could not come to its end, or None."""
    own = folder / place / trial
    try:
        run = papers.study(study).read(place, read_json(folder / place / "config.json"))
        if run is None:
            return f"{folder / place} is not of {study}; choose another --out"
        refuse_links(folder, f"{place}/{trial}")  # again: hours may have passed since the folder was made
        own.mkdir(exist_ok=True)
        path = own / f"{METRICS}.jsonl"
        with lock(own / ".lock").acquire(blocking=False):
            sweep(own)
            if not run.is_finished(readable(path, warn=False)):  # by another process, in the meantime
                run.perform(own, setting, seed)
    except Timeout:
        return f"{own} is being written by another process; wait for it or stop it"
    except (ValueError, OSError, RuntimeError, MemoryError, ImportError) as error:
        return " ".join(str(error).split())
    if not run.is_finished(readable(path, warn=False)):
        return f"{path} cannot be read to its end; delete {own} to run this trial anew"
    return None


@dataclass
class Failed:
    """A job that did not come to its end, and why."""

    folder: Path
    reason: str


@dataclass
class _Worker:
    job: Job
    process: BaseProcess
    messages: Connection = field(repr=False)


def run_all(jobs: Sequence[Job], at_once: int) -> list[Failed]:
    """Run jobs, so many at once; return those that failed. The others are not touched by them."""
    # Processes forked from a server that has all modules loaded start at once; where there is no fork they load anew.
    context = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")
    if sys.platform != "win32":
        modules = {module for job in jobs for module in (job.work.func.__module__, *job.modules)}
        context.set_forkserver_preload([*PRELOADED, *sorted(modules)])
    waiting, workers, failed = list(jobs)[::-1], list[_Worker](), list[Failed]()
    try:
        while waiting or workers:
            while waiting and len(workers) < at_once:
                workers.append(_start(context, waiting.pop()))
            time.sleep(PAUSE)
            for worker in workers[:]:
                look(worker.job)
                if worker.process.is_alive():
                    continue
                workers.remove(worker)
                job, code = worker.job, worker.process.exitcode
                look(job)
                if code == 0:
                    continue
                reason = _reason(worker)
                if reason is None and job.attempts < ATTEMPTS:
                    waiting.append(job)
                else:
                    failed.append(Failed(job.folder, reason or f"its process ended with exit code {code}"))
    finally:
        for worker in workers:
            worker.process.terminate()
            worker.process.join()
    return failed


def look(job: Job) -> None:
    """Show the lines of metrics that have come since the last look."""
    for row in readable(job.folder / f"{METRICS}.jsonl", warn=False):
        if row["epoch"] > job.shown:
            job.show(row)
            job.shown = int(row["epoch"])


def _start(context: Any, job: Job) -> _Worker:  # noqa: ANN401  (contexts have no common type)
    job.attempts += 1
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(job.work, theirs), daemon=True)
    process.start()
    theirs.close()
    return _Worker(job, process, ours)


def _run(work: partial[str | None], messages: Connection) -> None:
    """Do the work in a process of its own, and send the reason if there is one."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with notes():  # this process has not heard of them yet
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
    """Return why a worker says that it has failed, or None if it has died without a word."""
    if worker.messages.poll():
        try:
            return worker.messages.recv()
        except EOFError:
            pass
    return None
