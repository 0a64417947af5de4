from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from gmlayers.experiments.records import Metrics, readable
from gmlayers_studies.hosts.report import Measure, Outcome, Pair, draw, mean_of, outcome, sentence
from gmlayers_studies.hosts.run import BlockEntrant, BlockRun, Entry, Learner, batches, kept, size
from gmlayers_studies.plan import CHOICE_SEED
from gmlayers_studies.records import Folder, Records
from gmlayers_studies.study import Extent, Profile, Steps, Study

ERROR = Measure("error", "error, %", "makes", "points", 1, "Errors.", 100, {"gap": mean_of("gap", ".1f", 10)})


@dataclass(frozen=True)
class Line:
    """A host: a line through two points of a plane."""

    name: str
    source = "the points"
    measure = "error"
    decay = 0.0
    order = 0.0

    @property
    def shared(self):
        return self.name[0]

    @property
    def row(self):
        return self.name[0]

    @property
    def blocks(self):
        return {"A": lambda width: nn.Linear(width, 1), "B": lambda width: nn.Linear(width, 1, bias=False)}

    def fingerprint(self):
        return f"points of {self.name}"

    def begin(self, block, seed, *, choosing):
        model, x = self.blocks[block](2), torch.eye(2)

        def judge():
            return {"error": float((model(x) - 1).detach().square().mean()), "choosing": choosing}

        return Learner(model, [model], lambda: (model(x) - 1).square().mean(), judge)


def study(tasks=("a1", "a2", "b1"), labels=("A", "B")):
    return Study(
        name="lines",
        title="t",
        claim="c",
        contestants=tuple(BlockEntrant(label, (1e-3, 1e-1), Line) for label in labels),
        profiles={"smoke": Profile(tasks, Extent((0, 1, 2), (Steps(60),)))},
        report=lambda _: None,
        tasks={name: Line(name) for name in tasks},
    )


def test_rates_are_chosen_once_for_the_tasks_that_share_them(tmp_path):
    runs = study().runs("smoke")
    assert list(runs) == [f"lines/{t}/{b}/60-steps" for t in ("a1", "a2", "b1") for b in ("a", "b")]
    assert [list(run.settings) for run in runs.values()] == [[0, 1], [0, 1], [], [], [0, 1], [0, 1]]
    first, second = runs["lines/a1/a/60-steps"], runs["lines/a2/a/60-steps"]
    records = Records([Folder(tmp_path)])
    assert first.choice(records) is None
    for setting in (0, 1):
        own = tmp_path / first.place / f"setting-{setting}"
        own.mkdir(parents=True)
        first.perform(own, setting, CHOICE_SEED)
    tried = first.tried(records)
    assert tried[1] < tried[0]
    assert first.choice(records) == second.choice(records) == 1
    assert second.tried(records) == tried


def test_a_trial_writes_what_it_learned_and_cost(tmp_path):
    run = next(iter(study().runs("smoke").values()))
    run.perform(tmp_path, 1, 0)
    rows = readable(tmp_path / "metrics.jsonl")
    assert [row["epoch"] for row in rows] == [50, 60]
    assert rows[-1]["error"] < 0.1
    assert not rows[-1]["choosing"]
    assert rows[-1]["parameters"] == 3
    assert run.is_finished(rows)
    assert not run.is_finished(rows[:1])
    run.perform(tmp_path, 0, CHOICE_SEED)  # from its beginning
    rows = readable(tmp_path / "metrics.jsonl")
    assert [row["epoch"] for row in rows] == [50, 60]
    assert rows[-1]["choosing"]


def test_a_trial_is_the_same_twice(tmp_path):
    run = next(iter(study().runs("smoke").values()))
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        run.perform(tmp_path / name, 1, 7)
    one, two = (readable(tmp_path / name / "metrics.jsonl")[-1] for name in ("one", "two"))
    assert one["error"] == two["error"]


def test_other_data_are_refused(tmp_path):
    run = BlockRun(Entry("lines", "a1", "A", 3, (1e-3,), "a1", (0,), "others"), Line("a1"))
    with pytest.raises(ValueError, match="the points is not that of the records; choose another --out"):
        run.perform(tmp_path, 0, 0)


def test_runs_are_read_back():
    made = study()
    for place, run in made.runs("smoke").items():
        assert made.read(place, run.config()) == run
        assert made.read(place + "x", run.config()) is None
    assert made.read("fit2d/sines/kan/100-1s", {}) is None


def test_a_block_that_a_host_has_no_place_for_takes_no_part():
    assert list(study(("a1",), ("A", "C")).runs("smoke")) == ["lines/a1/a/60-steps"]


def test_bytes_that_are_kept_are_those_of_a_count_by_hand():
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 1))
    x = torch.randn(7, 3)
    learner = Learner(model, [model], lambda: model(x).sum(), dict)
    assert kept(learner) == 4 * (7 * 3 + 7 * 5)  # the input and what ReLU gives; the weights are there anyway
    assert size([model]) == 3 * 5 + 5 + 5 + 1


def seen(label, *values, tried=(1.0,), task="a1", entry_seeds=(0, 1, 2, 3)):
    entry = Entry("lines", task, label, 3, (1e-3,), task, entry_seeds, "text")
    rows = [{"error": value, "gap": 0.25} for value in values]
    return Outcome(BlockRun(entry, Line(task)), rows, 100 * np.array(values), tried)


@pytest.mark.parametrize(
    ("one", "said"),
    [
        ((0.01, 0.0101, 0.0099), "yes; A makes -1.0 [-1.0, -1.0] points more than B, p = "),
        ((0.03, 0.0301, 0.0299), "no, it makes more; A makes +1.0 ["),
        ((0.01, 0.02, 0.031), "not told apart; A makes"),
        ((0.01, 0.0101), "not judged, fewer than 3 seeds"),
    ],
)
def test_pairs_are_judged_by_the_whole_interval(one, said):
    by = {("a1", "A"): seen("A", *one), ("a1", "B"): seen("B", 0.02, 0.0201, 0.0199)}
    assert sentence(by, "a1", Pair("A", "B", "is it"), ERROR).startswith(f"a1, is it: {said}")


def test_the_best_of_a_group_is_chosen_without_the_test():
    by = {
        ("a1", "A"): seen("A", 0.5, 0.51, 0.49, tried=(3.0, 0.1)),
        ("a1", "B"): seen("B", 0.1, 0.11, 0.09, tried=(0.2, 0.3)),
        ("a1", "C"): seen("C", 0.3, 0.31, 0.29, tried=(0.4, 0.3)),
    }
    said = sentence(by, "a1", Pair(("A", "B"), ("C", "D"), "is it"), ERROR)
    assert said.startswith("a1, is it: no, it makes more; A makes +20.0 [")
    assert sentence(by, "a1", Pair("A", "D", "is it"), ERROR) is None
    by["a1", "B"] = seen("B", 0.1, tried=None)
    said = sentence(by, "a1", Pair(("A", "B"), "C", "is it"), ERROR)
    assert said == "a1, is it: not judged, rates are not chosen yet"


def test_columns_of_means():
    column = mean_of("gap", ".2f", 2)
    assert column([{"gap": 1.0}, {"gap": 2.0}]) == "3.00"
    assert column([{"gap": 1.0}, {}]) == ""


def test_outcomes_are_those_of_finished_trials(tmp_path):
    run = next(iter(study().runs("smoke").values()))
    for seed, last in ((0, 60), (1, 50), (2, 60)):
        own = tmp_path / run.place / f"seed-{seed}"
        own.mkdir(parents=True)
        Metrics(own / "metrics.jsonl").append({"epoch": last, "setting": 0, "train_loss": 1.0, "error": 0.1 * seed})
    found = outcome(Records([Folder(tmp_path)]), run, ERROR)
    np.testing.assert_allclose(found.values, [0, 20])
    assert found.tried is None


def test_the_figure_has_a_row_for_each_kind_of_host():
    by = {
        (task, label): seen(label, *np.array(values) / 100, task=task)
        for task in ("a1", "a2", "b1")
        for label, values in (("A", (1, 1.1, 0.9)), ("B", (2, 2.1, 1.9)), ("GM", (3, 3.1)))
    }
    figure = draw(by, ["a1", "a2", "b1"], "A", ERROR)
    axes = figure.axes
    assert [axis.get_title() for axis in axes] == ["a1", "a2", "b1", ""]
    assert [text.get_text() for text in axes[0].get_yticklabels()] == ["B", "GM"]
    points = [line for line in axes[0].lines if line.get_marker() == "o"]
    assert len(points) == 1  # two seeds are not judged
    assert points[0].get_xdata()[0] == pytest.approx(1)
    assert axes[0].get_ylim()[0] > 1
    assert axes[0].get_ylim()[1] < 0


def test_an_epoch_has_every_row_once():
    order = batches(torch.arange(10, 20), 4, 0)
    one, other = ([next(order) for _ in range(3)] for _ in range(2))
    assert [len(part) for part in one] == [2, 4, 4]
    assert sorted(torch.cat(one).tolist()) == sorted(torch.cat(other).tolist()) == [*range(10, 20)]
    assert torch.cat(one).tolist() != torch.cat(other).tolist()
