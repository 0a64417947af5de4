import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial

import pytest
from filelock import FileLock

from gmlayers.experiments.records import readable
from gmlayers.experiments.run_folder import open_run
from gmlayers.experiments.trainer import read_model
from gmlayers_studies import cluster, runner
from gmlayers_studies.command import reproduce
from gmlayers_studies.nets.net import NetRun
from gmlayers_studies.runner import Job

TRIALS = [(f"gm-k-{K}", seed) for K in (5, 10, 20) for seed in (0, 1)]


def metrics(folder):
    """All records but the clock's."""
    return {
        (label, seed): [
            {name: value for name, value in json.loads(line).items() if name != "seconds"}
            for line in (folder / "digits" / label / f"seed-{seed}" / "metrics.jsonl").read_text().splitlines()
        ]
        for label, seed in TRIALS
    }


def test_a_record_that_cannot_be_read_is_skipped_and_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"epoch": 1}\n{"epo\n3\n{}\n{"epoch": 3}\n{"epoch": 3, "again": 1}\n{"epoch": 4')  # being written
    with pytest.warns(UserWarning, match="not a record; it is skipped") as notes:
        assert readable(path) == [{"epoch": 1}, {"epoch": 3, "again": 1}]
    assert [str(note.message).split(": ")[0][-6:] for note in notes] == ["line 2", "line 3", "line 4"]
    assert readable(tmp_path / "nothing") == []


def work(folder, what):
    if what == "dies":
        with (folder / "attempts").open("a") as file:
            file.write("x")
        os.kill(os.getpid(), signal.SIGKILL)
    return "the disk is full" if what == "fails" else None


def test_notes_of_workers_are_fit_for_a_terminal(tmp_path):
    """A name in the data may be of somebody else, and would do something there."""
    program = """
import pathlib, sys, warnings
from functools import partial
from gmlayers_studies.runner import Job, run_all
work = partial(warnings.warn, "class \\x1b]0;gone\\x07\\nnext")
assert run_all([Job(pathlib.Path(sys.argv[1]), work, print)], 1) == []
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stderr == "gmlayers: note: class \\x1b]0;gone\\x07 next\n"


def test_workers_that_die_are_tried_once_more_and_the_others_go_on(tmp_path):
    jobs = [
        Job(tmp_path / what, partial(work, tmp_path, what), lambda row: None) for what in ("dies", "fails", "works")
    ]
    failed = {failure.folder.name: failure.reason for failure in runner.run_all(jobs, at_once=2)}
    assert failed == {"dies": "its process ended with exit code -9", "fails": "the disk is full"}
    assert (tmp_path / "attempts").read_text() == "xx"


def test_killed_and_resumed_gives_the_same_records(done, tmp_path):
    folder = tmp_path / "killed"
    line = [sys.executable, "-m", "gmlayers", "reproduce", "fig2", "--profile", "smoke", "--out", folder]
    process = subprocess.Popen([*map(str, line), "--jobs", "2"], start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(folder.glob("digits/gm-k-*/seed-*/metrics.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    with pytest.raises(FileExistsError, match="was begun and is not finished; continue it with --resume"):
        reproduce("fig2", profile="smoke", out=folder)
    reproduce("fig2", profile="smoke", out=folder, resume=True)
    assert metrics(folder) == metrics(done)


def test_ray_gives_the_same_records(done, tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed")
    reproduce("fig2", profile="smoke", out=tmp_path / "ray", jobs=2, executor="ray")
    assert metrics(tmp_path / "ray") == metrics(done)


def test_without_ray_there_is_a_hint(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        ValueError,
        match=r"--executor ray needs Ray; install it from a clone of gmlayers: pip install '\./studies\[cluster\]'",
    ):
        cluster.run_all([], 1)


def test_workers_end_with_the_process_that_wants_their_results(tmp_path):
    folder = tmp_path / "full"
    line = [sys.executable, "-m", "gmlayers", "reproduce", "fig2", "--profile", "full", "--dataset", "digits"]
    process = subprocess.Popen([*line, "--jobs", "1", "--out", str(folder)], stderr=subprocess.DEVNULL)
    path = folder / "digits" / "gm-k-5" / "seed-0" / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not readable(path, warn=False) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    time.sleep(1)
    size = path.stat().st_size
    time.sleep(1)
    assert path.stat().st_size == size


def test_a_trial_has_one_writer(done):
    folder = done / "digits" / "gm-k-5"
    with FileLock(folder / "seed-0" / ".lock"):
        found = runner.attempt("fig2", done, "digits/gm-k-5", "seed-0", 0, 0)
    assert found == f"{folder / 'seed-0'} is being written by another process; wait for it or stop it"


@pytest.mark.parametrize("name", ["digits", "digits/gm-k-5", "digits/gm-k-5/seed-1", "digits/gm-k-5/seed-1/.lock"])
def test_a_trial_is_not_run_through_a_link(done, tmp_path, name):
    """It is looked at again by the process that runs it: hours may have passed since the study was begun."""
    folder = shutil.copytree(done, tmp_path / "records")
    link, elsewhere = folder / name, tmp_path / "elsewhere"
    link.rename(elsewhere)
    link.symlink_to(elsewhere)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    found = runner.attempt("fig2", folder, "digits/gm-k-5", "seed-1", 0, 1)
    assert str(found).startswith(f"{link} is a link to {elsewhere}")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_records_that_no_checkpoint_continues_are_kept(done, tmp_path):
    copy = tmp_path / "digits" / "gm-k-5"
    shutil.copytree(done / "digits" / "gm-k-5", copy)
    again = partial(runner.attempt, "fig2", tmp_path, "digits/gm-k-5", "seed-1", 0, 1)
    (copy / "seed-1" / "checkpoint.safetensors").unlink()
    before = (copy / "seed-1" / "metrics.jsonl").read_text()
    assert again() is None  # it is finished, and nothing is to be done
    assert [path.name for path in (copy / "seed-1").glob("[!.]*")] == ["metrics.jsonl"]
    assert (copy / "seed-1" / "metrics.jsonl").read_text() == before
    (copy / "seed-1" / "metrics.jsonl").write_text("".join(before.splitlines(keepends=True)[:2]))
    with pytest.warns(UserWarning, match=r"no checkpoint to continue; see metrics.lost-1.jsonl"):
        assert again() is None
    assert len((copy / "seed-1" / "metrics.lost-1.jsonl").read_text().splitlines()) == 2
    (copy / "seed-1" / "checkpoint.safetensors").unlink()
    run = open_run(copy)
    with pytest.raises(FileNotFoundError, match="only records are; delete"):
        read_model(run.trial(1), run.task, copy / "seed-1")


def test_why_a_trial_did_not_come_to_its_end(done, tmp_path, monkeypatch):
    copy = tmp_path / "digits" / "gm-k-5"
    shutil.copytree(done / "digits" / "gm-k-5", copy)
    again = partial(runner.attempt, "fig2", tmp_path, "digits/gm-k-5", "seed-1", 0, 1)
    (copy / "seed-1" / "metrics.jsonl").unlink()
    monkeypatch.setattr(NetRun, "perform", lambda *_: None)  # a full disk, or a folder that another one deletes
    assert again() == f"{copy / 'seed-1' / 'metrics.jsonl'} cannot be read to its end; delete {copy / 'seed-1'} " + (
        "to run this trial anew"
    )
    other = runner.attempt("fig7", tmp_path, "digits/gm-k-5", "seed-1", 0, 1)
    assert other == f"{copy} is not of fig7; choose another --out"
    (copy / "config.json").write_text("{")
    assert "config.json is not valid JSON" in str(again())
    (copy / "config.json").unlink()
    assert "config.json is not there" in str(again())


@pytest.mark.parametrize("error", [ValueError, OSError, RuntimeError, MemoryError, ImportError])
def test_errors_of_a_trial_are_its_reason_in_one_line(done, tmp_path, monkeypatch, error):
    shutil.copytree(done / "digits" / "gm-k-5", tmp_path / "digits" / "gm-k-5")
    (tmp_path / "digits" / "gm-k-5" / "seed-1" / "metrics.jsonl").unlink()

    def fail(*_):
        raise error("in two\n   lines")

    monkeypatch.setattr(NetRun, "perform", fail)
    assert runner.attempt("fig2", tmp_path, "digits/gm-k-5", "seed-1", 0, 1) == "in two lines"


def test_every_line_of_a_trial_is_shown_once(tmp_path):
    seen = []
    job = Job(tmp_path, partial(str), seen.append)
    runner.look(job)
    for last in (1, 1, 3):
        lines = [json.dumps({"epoch": epoch}) for epoch in range(last + 1)]
        (tmp_path / "metrics.jsonl").write_text("\n".join([*lines, '{"epo']))  # the last is being written
        runner.look(job)
    assert [row["epoch"] for row in seen] == [0, 1, 2, 3]
