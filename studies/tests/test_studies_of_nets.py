import dataclasses
import json
import math
import shutil
from itertools import pairwise
from types import SimpleNamespace
from typing import get_args

import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from gmlayers import diagnostics
from gmlayers.experiments.data import load
from gmlayers.experiments.records import readable
from gmlayers.experiments.run_folder import open_run
from gmlayers.experiments.train_command import train
from gmlayers.experiments.trainer import Trainer, read_model
from gmlayers_studies import papers
from gmlayers_studies.archive import records_in
from gmlayers_studies.command import plot, reproduce
from gmlayers_studies.nets import drawing, judging
from gmlayers_studies.nets.judging import Comparison, NetResults
from gmlayers_studies.nets.net import Net
from gmlayers_studies.pages import PAGES
from gmlayers_studies.papers import dynamics, fig6
from gmlayers_studies.study import Profile, ProfileName, epochs

NETS = PAGES["gm-paper"].studies


SAYS = {  # a piece of what every study of nets must find
    "fig2": "more components, lower error, at each step: ",
    "fig3": "the GM layer is comparable (to within 10 % of its error): ",
    "fig4": "GM K = 5 watched (γ = 1/256): moved by ",
    "fig5": "freezing multiplies the mean error by ",
    "fig6": "GM K = 5 (γ = 2^-8) ",
    "fig7": "two layers are better than one: ",
    "dynamics": "epoch 3: GM K = 20 (equal time) and GM K = 80 (equal time): displacement ",
    "tuning": "digits: best of 12 configurations of FC-1000: FC ",
    "finalists": "digits: best of 3 configurations of FC-240: FC-240, ",
    "practical": "GM (size of FC-500) has 0.501 of the parameters of FC-1000 and takes ",
    "ladder-rates": "digits: best of 4 configurations of GM rank 16, coupled: GM rank 16, coupled, rate ",
    "ladder": "digits, epoch 2: GM rank 1, coupled ",
    "rates": "digits: best of 5 configurations of Wasserstein SGD: Wasserstein SGD, rate ",
    "optimizers": "steps along the flow are better than in the paper's coordinates: ",
    "cifar": "the GM head is as good (to within 5 % of its error): ",
}


@pytest.mark.parametrize("name", NETS)
def test_smoke(name, tmp_path, capsys):
    out = tmp_path / "out"
    reproduce(name, profile="smoke", out=out, jobs=2)
    text = capsys.readouterr().out
    study = papers.study(name)
    assert study.claim in text
    assert SAYS[name] in text
    for ending in ("png", "svg"):
        assert (out / f"{name}.{ending}").stat().st_size > 1000
    table = pd.read_csv(out / f"{name}.csv")
    profile = study.profiles["smoke"]
    extents = [profile.of(net.label) for net in study.contestants]
    assert len(table) == sum(len(extent.seeds) for extent in extents) * len(profile.tasks)
    assert sorted(table["epoch"]) == sorted(size.epochs for seeds, sizes in extents for size in sizes for _ in seeds)
    assert set(table["label"]) == {net.label for net in study.contestants}
    page = (out / f"{name}.md").read_text()
    assert SAYS[name] in page
    assert f"`gmlayers reproduce {name} --profile smoke`" in page
    assert "not finished" not in page


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
    nets = {label: Net(label, "fc") for pair in pairs for label in pair}
    study = dataclasses.replace(papers.study("fig2"), contestants=tuple(nets.values()))
    profile = Profile(("d",), epochs(seeds, 1))
    runs = [run for net in nets.values() for run in net.runs(study, "d", load("digits"), profile)]
    judge = judging.against(*((nets[a], nets[b]) for a, b in pairs), claim="so it is", within=within)
    return judge(NetResults(runs, table))[-1].rpartition(": ")[2]


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
    one = table.assign(error=table["error"].where(table["label"] != "a", 0.1))
    assert outcome(one, [("a", "b")]) == "borne out"  # one of the two may be without spread, as in Welch's test


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"test_error": "x"}, r'seed-0, epoch 1.test_error must be a number, got "x"'),
        ({"test_error": 17}, r"seed-0, epoch 1.test_error must be a number in \[0, 1\], got 17"),
        ({"seconds": None}, "seed-0, epoch 1.seconds must be a number, got null"),
        ({}, "seed-0, epoch 1: test_error is missing"),
    ],
)
def test_rows_that_no_trial_can_have_written_are_named(done, tmp_path, row, said):
    shutil.copytree(done, tmp_path / "copy")
    path = tmp_path / "copy" / "digits" / "gm-k-5" / "seed-0" / "metrics.jsonl"
    first, *rest = readable(path)
    if not row:
        del first["test_error"]
    path.write_text("".join(json.dumps(line) + "\n" for line in [{**first, **row}, *rest]))
    with pytest.raises(ValueError, match=f"digits/gm-k-5: {said}.*the records are damaged; restore them"):
        plot("fig2", records=tmp_path / "copy")


def test_the_name_of_a_data_set_is_no_formula_in_a_figure():
    """It would be an error, where it is none that can be set."""
    table = pd.DataFrame({"dataset": [r"$\no_such_command$"], "label": ["a"]})
    figure = drawing.panels(NetResults([], table), lambda axes, rows: None, "error")
    FigureCanvasAgg(figure).draw()


def test_each_run_is_one_of_train(done):
    run = open_run(done / "digits" / "gm-k-20")
    assert (run.model, run.shape.components, run.recipe.epochs) == ("paper", 20, 3)
    assert dataclasses.replace(run) == run


def test_what_an_archive_keeps_of_epochs(done):
    run = papers.study("fig2").runs("smoke")["digits/gm-k-5"]
    rows = readable(done / "digits" / "gm-k-5" / "seed-0" / "metrics.jsonl")
    kept = run.condense(rows)
    assert run.condense(kept) == kept
    for row, own in zip(rows, kept, strict=True):
        assert set(row) - set(own) == {"step", "lr"}
        assert own["train_loss"] == pytest.approx(row["train_loss"], rel=5e-5)
        assert all(own[name] == row[name] for name in own if name != "train_loss")
    assert [run.is_finished(rows[:n]) for n in range(4)] == [False, False, False, True]


def test_recorded_nets_stand_mnist_first_and_then_as_in_the_study(done, tmp_path):
    for dataset in ("digits", "fashion-mnist", "mnist"):
        for net in ("gm-k-5", "gm-k-20"):
            folder = tmp_path / dataset / net
            folder.mkdir(parents=True)
            shutil.copy(done / "digits" / net / "config.json", folder)
    found = papers.study("fig2").recorded(records_in(tmp_path))
    datasets = ("mnist", "digits", "fashion-mnist")
    assert [*found] == [f"{dataset}/{net}" for dataset in datasets for net in ("gm-k-5", "gm-k-20")]


def test_missing_trials_are_listed(done, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(done, copy)
    shutil.rmtree(copy / "digits" / "gm-k-10" / "seed-1")
    plot("fig2", records=copy)
    assert "not finished: digits, GM K = 10: seeds 1 of 2" in capsys.readouterr().out


@pytest.mark.parametrize("profile", get_args(ProfileName))
def test_equal_labels_are_equal_runs(profile):
    """Studies share their folder."""
    data, runs = load("digits"), {}
    for study in map(papers.study, NETS):
        for net in study.contestants:
            for run in net.runs(study, "digits", data, study.profiles[profile]):
                assert runs.setdefault(run.place, run) == run


def test_numbers_as_targets_are_refused(tmp_path):
    pd.DataFrame({"a": range(200), "y": [0.5 * i for i in range(200)]}).to_csv(tmp_path / "r.csv", index=False)
    with pytest.raises(ValueError, match="studies judge the share of wrong classes"):
        reproduce("fig2", profile="smoke", dataset=str(tmp_path / "r.csv"), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_names_of_data_sets_decide_the_configuration_in_any_case():
    digits, practical = load("digits"), papers.study("practical")
    profile = practical.profiles["smoke"]
    one, other = (
        [run for net in practical.contestants for run in net.runs(practical, name, digits, profile)]
        for name in ("fashion-mnist", "Fashion-MNIST")
    )
    assert one == other
    assert [run.place for run in one] == [run.place for run in other]
    (usual,) = practical.contestants[0].runs(practical, "mnist", digits, profile)
    assert one[0].training.recipe != usual.training.recipe


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
    monkeypatch.setattr(judging, "compare", lambda *_: Comparison("said", *next(found), 1.0))
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
    runs = papers.study("dynamics").runs("smoke")
    trial = next(run for run in runs.values() if run.label == dynamics.net(100).label).training.trial(0)
    trainer = Trainer(trial, load("digits"))
    watch = dynamics.Dynamics(trainer)
    still = watch(SimpleNamespace(epoch=1, model=trainer.model, trial=trial))
    assert [still[name] for name in ("displacement", "kernel", "function")] == [0, 0, 0]
    rows = list(Trainer(trial, load("digits"), watch=watch).run())
    assert all(0 < a[name] < b[name] for a, b in pairwise(rows) for name in ("displacement", "function"))
