import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from gmlayers.experiments.data import load
from gmlayers.experiments.records import readable
from gmlayers.experiments.reproduce import cluster, command, tables, workers
from gmlayers.experiments.reproduce.command import EXPERIMENTS, plot, reproduce
from gmlayers.experiments.reproduce.experiment import PROFILES, Arm, Results, parts
from gmlayers.experiments.run_folder import open_run

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


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reproduce") / "fig2"
    reproduce("fig2", profile="smoke", jobs=2, out=folder)
    return folder


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_smoke(name, tmp_path, capsys):
    reproduce(name, profile="smoke", out=tmp_path / "out", jobs=2)
    text = capsys.readouterr().out
    assert EXPERIMENTS[name].claim in text
    assert "Welch" in text
    for ending in ("png", "svg"):
        assert (tmp_path / "out" / f"{name}.{ending}").stat().st_size > 1000
    table = pd.read_csv(tmp_path / "out" / f"{name}.csv")
    profile = EXPERIMENTS[name].profiles["smoke"]
    assert len(table) == len(EXPERIMENTS[name].arms) * len(profile.size.seeds) * len(profile.datasets)
    assert (table["epoch"] == profile.size.epochs).all()
    page = (tmp_path / "out" / f"{name}.md").read_text()
    assert f"`gmlayers reproduce {name} --profile smoke`" in page
    assert "not finished" not in page


def test_finished_trials_are_not_trained_again(done):
    before = {path: path.stat().st_mtime_ns for path in done.rglob("metrics.jsonl")}
    (done / "digits" / "gm-k-5" / "seed-0" / "checkpoint.safetensors").unlink()  # records alone are enough
    svg = (done / "fig2.svg").read_bytes()
    reproduce("fig2", profile="smoke", out=done)
    assert before == {path: path.stat().st_mtime_ns for path in done.rglob("metrics.jsonl")}
    assert (done / "fig2.svg").read_bytes() == svg


def test_killed_and_resumed_gives_the_same_records(done, tmp_path):
    folder = tmp_path / "killed"
    command = [sys.executable, "-m", "gmlayers", "reproduce", "fig2", "--profile", "smoke", "--out", folder]
    process = subprocess.Popen([*map(str, command), "--jobs", "2"], start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(folder.rglob("metrics.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    with pytest.raises(FileExistsError, match="was begun and is not finished; continue it with --resume"):
        reproduce("fig2", profile="smoke", out=folder)
    reproduce("fig2", profile="smoke", out=folder, resume=True)
    assert metrics(folder) == metrics(done)


def test_existing_folders_and_other_configurations(done, tmp_path):
    config = done / "digits" / "gm-k-5" / "config.json"
    kept = config.read_text()
    config.write_text(kept.replace('"epochs": 3', '"epochs": 4'))
    with pytest.raises(ValueError, match="gm-k-5 holds a run of another configuration"):
        reproduce("fig2", profile="smoke", out=done, resume=True)
    config.write_text(kept)
    with pytest.raises(ValueError, match="unknown experiment 'fig22'; did you mean 'fig2'"):
        reproduce("fig22")
    with pytest.raises(ValueError, match="--jobs must be at least 1, got 0"):
        reproduce("fig2", jobs=0, out=tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="none is not there"):
        plot("fig2", records=tmp_path / "none")
    with pytest.raises(ValueError, match="holds no records of fig2"):
        plot("fig2", records=tmp_path)


def test_a_record_that_cannot_be_read_is_skipped_and_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"epoch": 1}\n{"epo\n{"epoch": 3}\n{"epoch": 4')  # the last line is being written
    with pytest.warns(UserWarning, match="line 2: not a record; it is skipped"):
        assert [row["epoch"] for row in readable(path)] == [1, 3]
    assert readable(tmp_path / "nothing") == []


def dying(folder, seed, watch, messages):
    if seed == 0:
        with (folder / "attempts").open("a") as file:
            file.write("x")
        os.kill(os.getpid(), signal.SIGKILL)
    if seed == 1:
        messages.send("the disk is full")
        sys.exit(1)


def test_workers_that_die_are_tried_once_more_and_the_others_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "_train", dying)
    trials = [workers.Trial(tmp_path, seed, None, lambda row: None) for seed in range(3)]
    failed = {failure.seed: failure.reason for failure in workers.train_all(trials, jobs=2)}
    assert failed == {0: "its process ended with exit code -9", 1: "the disk is full"}
    assert (tmp_path / "attempts").read_text() == "xx"


def test_trials_that_fail_are_named_and_the_rest_is_drawn(tmp_path, monkeypatch, capsys):
    failing = {"processes": lambda trials, jobs: [workers.Failed(tmp_path, 1, "no reason")]}
    monkeypatch.setattr(command, "EXECUTORS", failing)
    with pytest.raises(ValueError, match="1 trials were not finished; try again with --resume"):
        reproduce("fig2", profile="smoke", out=tmp_path / "out")
    assert "seed 1: no reason" in capsys.readouterr().out


def test_comparison_judges_by_welch():
    rows = [
        {
            "dataset": "d",
            "label": label,
            "seed": seed,
            "epoch": 1,
            "train_loss": 0.0,
            "seconds": 1.0,
            "error": error + 0.001 * seed,
        }
        for label, error in (("a", 0.1), ("b", 0.2))
        for seed in range(3)
    ]
    table = pd.DataFrame(rows)
    assert tables.compare(table, "d", "a", "b").verdict == "lower"
    assert tables.compare(table, "d", "b", "a").verdict == "higher"
    assert tables.compare(table, "d", "a", "a").verdict == "cannot be told apart"
    assert tables.compare(table[table["seed"] == 0], "d", "a", "b").verdict == "not judged"
    assert tables.compare(table, "d", "a", "c").verdict == "not judged"
    a, b = Arm("a", "fc"), Arm("b", "fc")
    for pairs, ties, outcome in [
        ([(a, b)], False, "is borne out"),
        ([(a, a)], False, "is not decided by these trials"),
        ([(a, a)], True, "is borne out"),
        ([(a, b), (b, a)], True, "does not hold"),
        ([(a, Arm("c", "fc"))], True, "is not judged yet"),
    ]:
        assert tables.against(*pairs, ties=ties)(Results([], table))[-1] == f"d: the claim {outcome}"


def test_each_run_is_one_of_train(done):
    run = open_run(done / "digits" / "gm-k-20")
    assert (run.model, run.shape.components, run.recipe.epochs) == ("paper", 20, 3)
    assert dataclasses.replace(run) == run


def test_plot_draws_the_same_from_records_alone(done, tmp_path, monkeypatch):
    copy = tmp_path / "copy"
    shutil.copytree(done, copy, ignore=shutil.ignore_patterns("fig2.*", "checkpoint*"))
    monkeypatch.setenv("GMLAYERS_DATA", str(tmp_path / "no data"))
    plot("fig2", records=copy)
    for ending in ("svg", "csv"):
        assert (copy / f"fig2.{ending}").read_bytes() == (done / f"fig2.{ending}").read_bytes()


def test_missing_trials_are_listed(done, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(done, copy)
    shutil.rmtree(copy / "digits" / "gm-k-10" / "seed-1")
    plot("fig2", records=copy)
    assert "not finished: digits, GM K = 10: seeds 1 of 2" in capsys.readouterr().out


@pytest.mark.parametrize("profile", PROFILES)
def test_equal_labels_are_equal_runs(profile):
    """Experiments share their folder."""
    data, runs = load("digits"), {}
    for experiment in EXPERIMENTS.values():
        for part in parts(experiment, experiment.profiles[profile], {"digits": data}, pathlib.Path()):
            assert runs.setdefault(part.folder, part.run) == part.run


def test_ray_gives_the_same_records(done, tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed")
    reproduce("fig2", profile="smoke", out=tmp_path / "ray", jobs=2, executor="ray")
    assert metrics(tmp_path / "ray") == metrics(done)


def test_without_ray_there_is_a_hint(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        ValueError, match=r"--executor ray needs Ray; install it with: pip install 'gmlayers\[cluster\]'"
    ):
        cluster.train_all([], 1)
