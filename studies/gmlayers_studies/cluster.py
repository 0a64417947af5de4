"""Trials on a Ray cluster: the one of RAY_ADDRESS, or one on this machine.

The folder of records must lie on a file system that all machines of the cluster share, and GMLAYERS_DATA be set
on each of them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial

from gmlayers._names import in_a_clone
from gmlayers_studies import runner
from gmlayers_studies.runner import ATTEMPTS, PAUSE, Failed, Job


def run_all(jobs: Sequence[Job], at_once: int) -> list[Failed]:
    """Run jobs, each on one core of the cluster (of a local one: so many at a time); return those that failed.

    Raises:
        ValueError: if Ray is not installed.
    """
    try:
        import ray
        from ray.exceptions import RayError
    except ModuleNotFoundError:
        raise ValueError(f"--executor ray needs Ray; install it {in_a_clone('cluster', './studies')}") from None
    address = os.environ.get("RAY_ADDRESS")
    own = not ray.is_initialized()
    if own:
        options = {} if address else {"num_cpus": at_once, "include_dashboard": False}
        ray.init(address or "local", log_to_driver=False, **options)
    try:
        run = ray.remote(num_cpus=1, max_retries=ATTEMPTS - 1)(_run)
        waiting = {run.remote(job.work): job for job in jobs}
        failed = []
        while waiting:
            done, _ = ray.wait(list(waiting), timeout=PAUSE)
            for job in waiting.values():
                runner.look(job)
            for reference in done:
                job = waiting.pop(reference)
                try:
                    reason = ray.get(reference)
                except RayError as error:  # its process died, its machine went away
                    reason = " ".join(str(error).split())
                if reason is not None:
                    failed.append(Failed(job.folder, reason))
        return failed
    finally:
        if own:
            ray.shutdown()


def _run(work: partial[str | None]) -> str | None:
    return work()
