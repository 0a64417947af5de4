import dataclasses
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from itertools import pairwise
from types import SimpleNamespace

import pandas as pd
import pytest
from filelock import FileLock

from gmlayers import diagnostics
from gmlayers.experiments.data import load
from gmlayers.experiments.records import readable
from gmlayers.experiments.run_folder import open_run
from gmlayers.experiments.train import train
from gmlayers.experiments.training import Trainer, read_model
from gmlayers_studies import cluster, command, workers
from gmlayers_studies.command import TRAINED, plot, reproduce
from gmlayers_studies.nets import tables, trained
from gmlayers_studies.papers import dynamics, fig6
from gmlayers_studies.study import PROFILES, Arm, Profile, Results, Size, parts

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


SAYS = {  # a piece of what every experiment must find
    "fig2": "more components, lower error, at each step: ",
    "fig3": "the GM layer is comparable (to within 10 % of its error): ",
    "fig4": "GM K = 5 watched (γ = 1/256): moved by ",
    "fig5": "freezing multiplies the mean error by ",
    "fig6": "GM K = 5 (γ = 2^-8) ",
    "fig7": "two layers are better than one: ",
    "dynamics": "epoch 3: GM K = 20 (equal time) and GM K = 80 (equal time): displacement ",
    "tuning": "digits: best of 12 configurations of FC-1000: FC ",
    "practical": "GM (size of FC-500) has 0.501 of the parameters of FC-1000 and takes ",
    "ladder-rates": "digits: best of 4 configurations of GM rank 16, coupled: GM rank 16, coupled, rate ",
    "ladder": "digits, epoch 2: GM rank 1, coupled ",
    "rates": "digits: best of 5 configurations of Wasserstein SGD: Wasserstein SGD, rate ",
    "optimizers": "steps along the flow are better than in the paper's coordinates: ",
    "cifar": "the GM head is as good (to within 5 % of its error): ",
}


@pytest.mark.parametrize("name", TRAINED)
def test_smoke(name, tmp_path, capsys):
    out = tmp_path / "out"
    reproduce(name, profile="smoke", out=out, jobs=2)
    text = capsys.readouterr().out
    assert TRAINED[name].claim in text
    assert SAYS[name] in text
    for ending in ("png", "svg"):
        assert (out / f"{name}.{ending}").stat().st_size > 1000
    table = pd.read_csv(out / f"{name}.csv")
    profile = TRAINED[name].profiles["smoke"]
    sizes = [profile.but.get(arm.label, profile.size) for arm in TRAINED[name].arms]
    assert len(table) == sum(len(size.seeds) for size in sizes) * len(profile.datasets)
    assert sorted(table["epoch"]) == sorted(size.epochs for size in sizes for _ in size.seeds)
    page = (out / f"{name}.md").read_text()
    assert SAYS[name] in page
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


def test_workers_that_die_are_tried_once_more_and_the_others_go_on(tmp_path):
    trials = [
        workers.Trial(tmp_path / what, partial(work, tmp_path, what), lambda row: None)
        for what in ("dies", "fails", "works")
    ]
    failed = {failure.folder.name: failure.reason for failure in workers.run_all(trials, jobs=2)}
    assert failed == {"dies": "its process ended with exit code -9", "fails": "the disk is full"}
    assert (tmp_path / "attempts").read_text() == "xx"


def test_trials_that_fail_are_named_and_the_rest_is_drawn(tmp_path, monkeypatch, capsys):
    failing = {"processes": lambda trials, jobs: [workers.Failed(tmp_path / "seed-1", "no reason")]}
    monkeypatch.setattr(command, "EXECUTORS", failing)
    with pytest.raises(ValueError, match="1 trials were not finished; try again with --resume"):
        reproduce("fig2", profile="smoke", out=tmp_path / "out")
    assert "seed-1: no reason" in capsys.readouterr().out


def records_of(errors, seeds=3, epochs=(1,)):
    """A table of two or more nets whose errors differ by a little from seed to seed."""
    return pd.DataFrame(
        {
            "dataset": "d",
            "label": label,
            "seed": seed,
            "epoch": epoch,
            "train_loss": 0.0,
            "seconds": 1.0,
            "error": error + 0.001 * seed,
        }
        for label, error in errors.items()
        for seed in range(seeds)
        for epoch in epochs
    )


def outcome(table, pairs, within=0.0, seeds=(0, 1, 2)):
    digits = load("digits")
    arms = {label: Arm(label, "fc") for pair in pairs for label in pair}
    experiment = dataclasses.replace(TRAINED["fig2"], arms=tuple(arms.values()))
    pieces = parts(experiment, Profile(("d",), Size(seeds, 1)), {"d": digits})
    judge = tables.against(*((arms[a], arms[b]) for a, b in pairs), claim="so it is", within=within)
    return judge(Results(pieces, table))[-1].rpartition(": ")[2]


def test_claims_are_judged_by_the_whole_interval():
    table = records_of({"a": 0.1, "b": 0.2, "wild": 0.1})
    table.loc[(table["label"] == "wild") & (table["seed"] == 0), "error"] = 0.4
    assert outcome(table, [("a", "b")]) == "borne out"
    assert outcome(table, [("b", "a")]) == "refuted"
    assert outcome(table, [("a", "b"), ("b", "a")]) == "refuted"
    assert outcome(table, [("a", "a")]) == "not decided by these trials"
    assert outcome(table, [("a", "a")], within=0.1) == "borne out"
    assert outcome(table, [("wild", "b")], within=0.1) == "not decided by these trials"  # noise is no evidence


def test_what_cannot_be_judged():
    table = records_of({"a": 0.1, "b": 0.2})
    assert outcome(table, [("a", "c")]) == "not judged yet"
    assert outcome(table, [("a", "b")], seeds=(0, 1, 2, 3)) == "not judged yet"  # a seed is missing
    assert outcome(table[table["seed"] == 0], [("a", "b")], seeds=(0,)) == "not judged yet"
    assert outcome(table.assign(error=0.9), [("a", "b")]) == "not judged yet"  # no spread


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
    for experiment in TRAINED.values():
        for part in parts(experiment, experiment.profiles[profile], {"digits": data}):
            assert runs.setdefault(part.place, part.run) == part.run


def test_ray_gives_the_same_records(done, tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed")
    reproduce("fig2", profile="smoke", out=tmp_path / "ray", jobs=2, executor="ray")
    assert metrics(tmp_path / "ray") == metrics(done)


def test_without_ray_there_is_a_hint(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        ValueError, match=r"--executor ray needs Ray; install it from a clone of gmlayers: pip install '\.\[cluster\]'"
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
        assert "is being trained by another process" in str(trained.train(folder, 0, None))


def test_records_that_no_checkpoint_continues_are_kept(done, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(done / "digits" / "gm-k-5", copy)
    (copy / "seed-1" / "checkpoint.safetensors").unlink()
    before = (copy / "seed-1" / "metrics.jsonl").read_text()
    assert "is finished and its checkpoint is not there" in str(trained.train(copy, 1, None))
    assert (copy / "seed-1" / "metrics.jsonl").read_text() == before
    (copy / "seed-1" / "metrics.jsonl").write_text("".join(before.splitlines(keepends=True)[:2]))
    with pytest.warns(UserWarning, match=r"no checkpoint to continue; see metrics.lost-1.jsonl"):
        assert trained.train(copy, 1, None) is None
    assert len((copy / "seed-1" / "metrics.lost-1.jsonl").read_text().splitlines()) == 2
    (copy / "seed-1" / "checkpoint.safetensors").unlink()
    run = open_run(copy)
    with pytest.raises(FileNotFoundError, match="only records are; delete"):
        read_model(run.trial(1), run.task, copy / "seed-1")


def test_numbers_as_targets_are_refused(tmp_path):
    pd.DataFrame({"a": range(200), "y": [0.5 * i for i in range(200)]}).to_csv(tmp_path / "r.csv", index=False)
    with pytest.raises(ValueError, match="experiments judge the share of wrong classes"):
        reproduce("fig2", profile="smoke", dataset=str(tmp_path / "r.csv"), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_names_of_data_sets_decide_the_configuration_in_any_case():
    digits = load("digits")
    practical = TRAINED["practical"]
    one, other = (parts(practical, practical.profiles["smoke"], {n: digits}) for n in NAMED)
    assert [p.run for p in one] == [p.run for p in other]


NAMED = ("fashion-mnist", "Fashion-MNIST")


def test_figure_4_is_projected_onto_the_plane_of_the_last_mixture(tmp_path):
    reproduce("fig4", profile="smoke", out=tmp_path, jobs=2)
    folder = tmp_path / "digits" / "gm-k-5-watched-gamma-1-2" / "seed-0"
    lines = readable(folder / "projected.jsonl")
    assert [line["epoch"] for line in lines] == [0, 1, 2, 3]
    assert lines[0]["displacement"] == 0 < lines[1]["displacement"] < lines[3]["displacement"]
    run = open_run(folder.parent)
    law = diagnostics.marginal(read_model(run.trial(0), run.task, folder)[-1])
    plane = diagnostics.principal_components(law)
    seen = diagnostics.project(law, plane)
    assert lines[3]["mean"] == [pytest.approx(mean, rel=1e-3, abs=1e-4) for mean in seen.mean.tolist()]
    for found, expected in zip(lines[3]["cov"], seen.cov.tolist()):
        assert found == [pytest.approx(row, rel=1e-3, abs=1e-5) for row in expected]
    shutil.rmtree(folder / "snapshots")  # committed records go without them
    before = (folder / "projected.jsonl").read_text()
    reproduce("fig4", profile="smoke", out=tmp_path)
    assert (folder / "projected.jsonl").read_text() == before
    with pytest.raises(ValueError, match="is watched by `gmlayers reproduce`"):
        train(resume=folder.parent)


@pytest.mark.parametrize(
    ("intervals", "outcome"),
    [
        ([(0.5, 2.0), *[(-1.0, 1.0)] * 4], "borne out"),
        ([(-2.0, -0.5), *[(math.nan, math.nan)] * 4], "borne out"),
        ([(-1.0, 1.0)] * 5, "not borne out"),
        ([*[(-1.0, 1.0)] * 4, (math.nan, math.nan)], "not judged yet"),
    ],
)
def test_a_scale_that_differs_bears_the_claim_out(intervals, outcome, monkeypatch):
    found = iter(intervals)
    monkeypatch.setattr(tables, "compare", lambda *_: tables.Comparison("said", *next(found), 1.0))
    results = SimpleNamespace(table=pd.DataFrame({"dataset": ["made"]}))
    assert fig6.judge(results) == [*["said"] * 5, f"made: the initial scale matters: {outcome}"]


@pytest.mark.parametrize(
    ("layer", "outcome"),
    [
        ((2.0, 2.1, 2.2), "borne out for displacement, kernel, function, clustering"),
        ((1.05, 1.0, 1.1), "not borne out"),  # within what two nets differ by
        ((0.1, 5.0, 2.0), "not borne out"),  # all over the place
    ],
)
def test_a_layer_is_held_against_how_far_nets_are_apart(layer, outcome):
    nets = {dynamics.net(1000).label: (1.0, 1.01, 0.99), dynamics.net(10_000).label: (1.2,)}
    rows = [
        {"dataset": "made", "label": label, "seed": seed, "epoch": epoch, **dict.fromkeys(dynamics.QUANTITIES, value)}
        for label, values in {dynamics.gm(80).label: layer, **nets}.items()
        for seed, value in enumerate(values)
        for epoch in ((3,) if label == dynamics.net(10_000).label else (3, 10))
    ]
    *each, last = dynamics._apart(pd.DataFrame(rows), "made")
    assert len(each) == 4
    assert "epoch 10: relative change of the kernel: GM K = 80 (equal time) has " in each[1]
    assert "(3 and 3 seeds); the nets differ by a factor of 1.20 at epoch 3: " in each[1]
    assert "the nets differ by 0.200 at epoch 3: " in each[3]
    assert last.endswith(f": {outcome}")
    assert dynamics._apart(pd.DataFrame(rows[:2]), "made") == []


def test_dynamics_start_at_nothing_and_move():
    arm = dynamics.net(100)
    run = parts(TRAINED["dynamics"], TRAINED["dynamics"].profiles["smoke"], {"digits": load("digits")})
    trial = next(p.run for p in run if p.arm.label == arm.label).trial(0)
    trainer = Trainer(trial, load("digits"))
    watch = dynamics.Dynamics(trainer)
    still = watch(SimpleNamespace(epoch=1, model=trainer.model, trial=trial))
    assert [still[name] for name in ("displacement", "kernel", "function")] == [0, 0, 0]
    rows = list(Trainer(trial, load("digits"), watch=watch).run())
    assert all(0 < a[name] < b[name] for a, b in pairwise(rows) for name in ("displacement", "function"))
