import dataclasses
import json
import math
import posixpath
import re
import shutil
import sys
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch
from gmlayers_studies.methods.plan import ContestPlan, attempt, choice
from scipy import stats

from gmlayers import GMNM
from gmlayers.experiments.display import live, print_findings
from gmlayers.experiments.records import read_tensors, readable
from gmlayers_studies.approximators.nets import Scaled
from gmlayers_studies.approximators.problems import FIT2D_PROBLEMS, POISSON_PROBLEMS, grid
from gmlayers_studies.approximators.tasks import State
from gmlayers_studies.command import CONTESTS, GROUPS, plot, reproduce
from gmlayers_studies.methods import claims as contest_claims
from gmlayers_studies.methods import outcomes as contest_outcomes
from gmlayers_studies.methods import picture as contest_picture
from gmlayers_studies.methods import plan as contest_plan
from gmlayers_studies.methods import report as contest_report
from gmlayers_studies.methods import verdicts as contest_verdicts
from gmlayers_studies.methods.contest import (
    CHOICE_SEED,
    Contest,
    ContestProfile,
    Entry,
    Size,
    entries,
    read_entry,
)
from gmlayers_studies.records import Kept, Records


@dataclass(frozen=True)
class Constant:
    """Predicts the mean plus an offset, and a state before that which is worse."""

    offset: float
    gap: float = 0.0

    def fit(self, task, budget):
        mean = task.y.mean() + self.gap
        for offset in (self.offset + 1, self.offset):
            yield State(lambda x, c=mean + offset: c + 0 * x[:, :1], 1)


@dataclass(frozen=True)
class Nothing:
    """Has no state to yield."""

    def fit(self, task, budget):
        yield from ()


def made(**methods):
    methods = methods or {"ours": (Constant(0.5), Constant(0.0), Constant(math.inf)), "peer": (Constant(0.0, 3.0),)}
    profile = ContestProfile(
        ("exponential", "product"), (Size(100, 1), Size(350, 1)), Size(100, 1), (0, 1, 2), {"free": Size(None, 2)}
    )
    profile = dataclasses.replace(profile, free={k: v for k, v in profile.free.items() if k in methods})
    profiles = {"smoke": profile}
    return Contest(
        *("made", "Made up", "ours is better", FIT2D_PROBLEMS, methods, {"so": ("ours",)}, ("peer",), profiles),
        note="A note.",
        claims=("C0",),
    )


def run(plan):
    """Run all trials in this process; return why some failed."""
    reasons = []
    with live(many=True) as bars:
        for trials in plan.rounds(bars, ()):
            for trial in trials:
                reason = trial.work()
                reasons += [reason] * (reason is not None)
                for row in readable(trial.folder / "metrics.jsonl"):
                    trial.show(row)
    return reasons


@pytest.fixture
def contest(monkeypatch):
    contest = made(
        ours=(Constant(0.5), Constant(0.0), Constant(math.inf)), peer=(Constant(0.0, 3.0),), free=(Constant(0.1),)
    )
    monkeypatch.setattr(contest_plan, "CONTESTS", {"made": contest})
    return contest


def test_a_contest_from_its_trials_to_its_page(contest, tmp_path, capsys):
    plan = ContestPlan.of(contest, "smoke", tmp_path)
    plan.make(resume=False)
    assert run(plan) == []
    assert plan.finish()
    said = capsys.readouterr().out
    page = (tmp_path / "made.md").read_text()
    for text in (said, page):
        assert "borne out" in text
        assert "as many" in text
        assert "not finished" not in text
    assert "  so: lower error " in said
    assert "**Claim (C0).** Ours is better." in page
    assert "| so | **" in page
    assert re.search(r"\| exponential \| 350 \| 1 \| so \| .* \| peer \| .* \(3 of 3\) \|", page)
    assert re.search(r"\| exponential \| 1 \| .* \| peer \| 100 \| 100 \|", page)
    assert "`gmlayers reproduce made --profile smoke`" in page
    assert "| exponential | free | 1 (its own) | 2 |" in page
    assert "Constant(offset 0.0, gap 0.0) (of 3)" in page  # the best on the points held out
    assert (
        "| ours | Constant(offset 0.5, gap 0.0); Constant(offset 0.0, gap 0.0); Constant(offset inf, gap 0.0) |" in page
    )
    table = pd.read_csv(tmp_path / "made.csv")
    assert len(table) == 2 * (2 * 2 + 1) * 3 + 2 * 3  # and the trials by which settings are chosen
    seeds = table["trial"].str.startswith("seed-")
    assert set(table[seeds & (table["method"] == "ours")]["setting"]) == {1}
    for ending in ("png", "svg"):
        assert (tmp_path / f"made.{ending}").stat().st_size > 1000
    again = ContestPlan.recorded(contest, tmp_path)
    kept = page, (tmp_path / "made.svg").read_bytes()
    assert again.compares
    assert again.finish()
    assert ((tmp_path / "made.md").read_text(), (tmp_path / "made.svg").read_bytes()) == kept
    assert [len(trials) for trials in plan.rounds(None, ())] == [0, 0]  # nothing is run again


def test_errors_are_those_of_other_points(contest, tmp_path):
    plan = ContestPlan.of(contest, "smoke", tmp_path)
    plan.make(resume=False)
    run(plan)
    folder = tmp_path / "made" / "product" / "ours" / "100-1s"
    task, _, _ = FIT2D_PROBLEMS["product"].pose(0)
    test = FIT2D_PROBLEMS["product"].target.data(0, 1000, held_out=True).x
    expected = (task.y.mean() - test.prod(1, keepdim=True)).square().mean().sqrt()
    rows = readable(folder / "seed-0" / "metrics.jsonl")
    assert [row["last"] for row in rows] == [False, False, True]
    assert rows[-1]["error"] == rows[-2]["error"] == pytest.approx(float(expected), rel=1e-12)  # the best, held out
    assert len(task.x) == 900
    assert rows[-1]["gradient_error"] == pytest.approx(float(test.square().sum(1).mean().sqrt()), rel=1e-12)
    part, _, _ = FIT2D_PROBLEMS["product"].pose(CHOICE_SEED)
    whole = FIT2D_PROBLEMS["product"].target.data(CHOICE_SEED, 1000)
    expected = (part.y.mean() - whole.y[900:]).square().mean().sqrt()
    rows = readable(folder / "setting-1" / "metrics.jsonl")
    assert rows[-1]["held_out"] == pytest.approx(float(expected), rel=1e-12)
    assert not {"error", "gradient_error"} & set(rows[-1])  # nothing is chosen by test points


def test_what_is_begun_or_other_is_refused_and_trials_start_anew(contest, tmp_path):
    plan = ContestPlan.of(contest, "smoke", tmp_path)
    plan.make(resume=False)
    run(plan)
    own = tmp_path / "made" / "exponential" / "ours" / "350-1s" / "seed-1"
    before = [row["error"] for row in readable(own / "metrics.jsonl")]
    lines = (own / "metrics.jsonl").read_text().splitlines(keepends=True)
    (own / "metrics.jsonl").write_text(lines[0] + lines[1][:9])  # killed
    with pytest.raises(FileExistsError, match="was begun and is not finished; continue it with --resume"):
        plan.make(resume=False)
    plan.make(resume=True)
    outcomes = contest_outcomes.outcomes_of(plan.entries, plan.records)
    assert contest_report.left_out(plan.entries, outcomes) == ["not finished: exponential, 1 s: 1 of 12 trials"]
    assert run(plan) == []
    assert [row["error"] for row in readable(own / "metrics.jsonl")] == before
    path = own.parent / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "seconds": 2}))
    with pytest.raises(ValueError, match="350-1s holds records of another configuration"):
        plan.make(resume=True)
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"config.json is damaged or of another version"):
        read_entry(own.parent)


def test_failures_have_a_reason(monkeypatch, tmp_path):
    contest = made(ours=(Nothing(),), peer=(Constant(0.0),))
    monkeypatch.setattr(contest_plan, "CONTESTS", {"made": contest})
    plan = ContestPlan.of(contest, "smoke", tmp_path)
    plan.make(resume=False)
    assert set(run(plan)) == {"ours came to nothing in 1 s; give it more"}
    folder = tmp_path / next(iter(plan.entries))
    with contest_plan.FileLock(folder / "seed-0" / ".lock"):
        assert "is being written by another process" in str(attempt("made", folder / "seed-0", 0, 0))


def test_settings_are_chosen_at_one_size_and_not_before_all_are_tried(contest, tmp_path):
    plan = ContestPlan.of(contest, "smoke", tmp_path)
    plan.make(resume=False)
    small, large = (f"made/exponential/ours/{numbers}-1s" for numbers in (100, 350))
    assert choice(large, plan.entries[large], plan.records) is None
    with live(many=True) as bars:
        first = next(iter(plan.rounds(bars, ())))
    for trial in first:
        assert trial.work() is None
    assert choice(small, plan.entries[small], plan.records) == choice(large, plan.entries[large], plan.records) == 1
    (tmp_path / small / "setting-2" / "metrics.jsonl").unlink()
    assert choice(large, plan.entries[large], plan.records) is None


class Late(Constant):
    """Needs all its time for its first state, and more for the second."""

    def fit(self, task, budget):
        for state in super().fit(task, budget):
            budget.clock._start -= 2
            yield state


def test_states_that_come_late_do_not_count_and_used_time_is_that_allowed(monkeypatch, tmp_path):
    contest = made(ours=(Late(0.0),), peer=(Constant(0.0, 3.0),))
    monkeypatch.setattr(contest_plan, "CONTESTS", {"made": contest})
    plan = ContestPlan.of(contest, "smoke", tmp_path)
    plan.make(resume=False)
    assert run(plan) == []
    rows = readable(tmp_path / "made" / "product" / "ours" / "350-1s" / "seed-0" / "metrics.jsonl")
    assert len(rows) == 2  # one, and again as the last
    assert rows[-1]["used"] == 1


def test_a_finished_trial_is_not_run_again_by_another_process(contest, tmp_path):
    plan = ContestPlan.of(contest, "smoke", tmp_path)
    plan.make(resume=False)
    run(plan)
    own = tmp_path / "made" / "product" / "ours" / "350-1s" / "seed-0"
    before = (own / "metrics.jsonl").read_bytes()
    assert attempt("made", own, 1, 0) is None
    assert (own / "metrics.jsonl").read_bytes() == before


def test_records_of_methods_that_are_no_more_are_named(contest, tmp_path):
    plan = ContestPlan.of(contest, "smoke", tmp_path)
    plan.make(resume=False)
    fewer = dataclasses.replace(contest, methods={"ours": contest.methods["ours"]})
    with pytest.raises(ValueError, match="has records of free on exponential, which made does not have"):
        ContestPlan.recorded(fewer, tmp_path)


def made_outcomes(errors, seconds=1.0, parameters=350):
    """Outcomes of methods: an error for each seed, reached after half the time."""
    outcomes = []
    for method, several in errors.items():
        entry = Entry("made", "product", method, parameters, seconds, ({},), tuple(range(len(several))), None)
        for seed, error in enumerate(several):
            row = {"setting": 0, "parameters": parameters - 3, "used": seconds, "held_out": error, "error": error}
            states = [{**row, "held_out": 9.0, "error": 1.0, "seconds": 0.1 * seconds}, {**row, "seconds": seconds / 2}]
            outcomes.append(contest_outcomes.Outcome(entry, seed, states, states[-1]))
    return outcomes


@pytest.mark.parametrize(
    ("ours", "theirs", "outcome"),
    [
        ((1e-4, 2e-4, 3e-4), (1e-3, 2e-3, 3e-3), "borne out"),
        ((1e-4, 1.1e-4, 1.2e-4), (1e-2, 1.1e-2, 1.2e-2), "borne out, at least 10 times"),
        ((1e-2, 1.1e-2, 1.2e-2), (1e-4, 1.1e-4, 1.2e-4), "refuted"),
        ((1e-2, 2e-2, 3e-2), (1.1e-2, 2.1e-2, 2.9e-2), "not decided"),
        ((1e-4, math.inf, math.nan), (1e-2, 2e-2, 3e-2), "refuted, 2 of our seeds have no finite error"),
        ((1e-4, 1e-4), (math.inf, math.nan), "borne out, the peer has no finite error"),
        ((1e-4, 1e-4), (math.inf, 1.0), "not tested, some seeds of the peer have no finite error"),
        ((1e-4, 1e-4), (1e-2, 1e-2), "not tested, no spread"),
        ((1e-4,), (1e-2,), "not tested, one seed"),
    ],
)
def test_what_a_comparison_says(ours, theirs, outcome):
    (match,) = contest_verdicts.matches_of(made(), made_outcomes({"ours": ours, "peer": theirs}))
    assert match.lower == outcome
    assert "nan" not in " ".join(contest_report._beside(match))


@pytest.mark.parametrize(
    ("ours", "theirs", "outcome"),
    [
        ([1e-3] * 5, [1e-2] * 5, "borne out"),  # reached by the first state, and by the last
        ([1e-3] * 4 + [0.5], [1e-2] * 5, "not decided"),
        ([0.5] * 5, [1e-2] * 5, "refuted"),
        ([1e-3] * 2, [1e-2] * 2, "not decided"),
        ([1e-3] * 5, [1e-2] * 4 + [math.inf], "not tested, some seeds of the peer have no finite error"),
    ],
)
def test_what_the_times_to_an_error_say(ours, theirs, outcome):
    outcomes = made_outcomes({"ours": ours, "peer": theirs})
    early = [
        dataclasses.replace(o, states=[{**state, "seconds": state["seconds"] / 2} for state in o.states])
        if o.entry.method == "ours"
        else o
        for o in outcomes
    ]
    (match,) = contest_verdicts.matches_of(made(), early)
    assert match.sooner == outcome
    assert match.arrivals[1].tolist() == [0.1 if math.inf in theirs else 0.5] * len(theirs)
    assert match.arrivals[0].tolist() == [0.25 if error < 0.01 else math.inf for error in ours] or math.inf in theirs


@pytest.mark.parametrize(
    ("ours", "enough", "outcome"),
    [
        ((1e-3, 1e-4, 1e-5), 100, "borne out"),
        ((1.0, 1e-4, 1e-5), 350, "as many"),
        ((1.0, 1.0, 1e-5), 1400, "refuted"),
        ((1.0, 1.0, 1.0), None, "refuted"),
    ],
)
def test_how_few_parameters_are_enough(ours, enough, outcome):
    theirs = (1e-1, 1e-3, 1e-2)
    outcomes = [
        outcome
        for i, number in enumerate((100, 350, 1400))
        for outcome in made_outcomes({"ours": (ours[i],) * 2, "peer": (theirs[i],) * 2}, parameters=number)
    ]
    (need,) = contest_verdicts.needs_of(contest_verdicts.matches_of(made(), outcomes))
    assert (need.peer, need.theirs, need.ours, need.fewer) == ("peer", 350, enough, outcome)
    assert need.error == pytest.approx(1e-3)


def test_what_verdicts_come_to():
    assert contest_verdicts.mark([]) == "no records"
    assert contest_verdicts.mark(["borne out", "borne out, at least 10 times"]) == "**confirmed**: 2 of 2 borne out"
    found = contest_verdicts.mark(["refuted", "borne out", "not decided", "not decided"])
    assert found == "**in part**: 1 of 4 borne out, 2 not decided, 1 refuted"
    assert contest_verdicts.mark(["not tested, one seed"]) == "**not confirmed**: 0 of 1 borne out, 1 not tested"


def test_what_is_said_to_be_often_so_is_confirmed_by_more_than_half():
    assert contest_verdicts.mark(["borne out", "borne out", "refuted"], often=True).startswith("**confirmed**: 2 of 3")
    assert contest_verdicts.mark(["borne out", "as many"], often=True).startswith("**in part**: 1 of 2")
    assert contest_verdicts.mark(["as many"], often=True).startswith("**not confirmed**: 0 of 1")


def judged(claims, readings, errors):
    """A contest in which readings, methods of the same name, are better than the peer or not."""
    one = dataclasses.replace(made(), name=claims[0], claims=claims, readings={name: (name,) for name in readings})
    outcomes = [
        outcome
        for number in (100, 350)
        for outcome in made_outcomes({**errors, "peer": (1e-3, 1.1e-3, 1.2e-3)}, parameters=number)
    ]
    matches = contest_verdicts.matches_of(one, outcomes)
    return contest_claims.Judged(one, {}, Records([]), outcomes, matches, contest_verdicts.needs_of(matches))


def test_every_part_of_every_claim_is_marked_for_every_reading():
    good, bad = (1e-6, 1.1e-6, 1.2e-6), (1e-1, 1.1e-1, 1.2e-1)
    functions = judged(("C1", "C6"), ("so", "or so"), {"so": good, "or so": bad})
    equations = judged(("C2",), ("so",), {"so": bad})
    header, _, *rows, end = contest_claims.claims([functions, equations])
    assert header == "| claim |  | from | so | or so |"
    assert not end
    marks = {tuple(row.split(" | ")[:2]): row.strip("| ").split(" | ")[2:] for row in rows}
    assert marks["| C1", "on functions a lower error"] == [
        "C1",
        "**confirmed**: 2 of 2 borne out",
        "**not confirmed**: 0 of 2 borne out, 2 refuted",
    ]
    assert marks["| C2", "on Poisson's equation a lower error"][1:] == [
        "**not confirmed**: 0 of 2 borne out, 2 refuted",
        "–",
    ]
    assert marks["| C6", "often fewer parameters"][1].startswith("**not confirmed**: 0 of 1 borne out, 1 as many")
    assert set(marks) == {(f"| {claim}", part) for claim, parts in contest_claims.CLAIMS.items() for part in parts}


def test_without_contests_no_claims_are_marked():
    assert contest_claims.claims([]) == []


def test_the_best_peer_may_take_fewer_parameters_but_no_more_and_no_more_time():
    errors = {100: (1e-2, 2e-2, 3e-2), 350: (1e-4, 2e-4, 3e-4), 1400: (1e-1, 2e-1, 3e-1)}
    several = [
        made_outcomes({"ours": (1e-3, 2e-3, 3e-3), "peer": theirs}, parameters=number)
        for number, theirs in errors.items()
    ]
    longer = made_outcomes({"peer": (1e-9, 2e-9, 3e-9)}, 60.0, 100)
    matches = contest_verdicts.matches_of(made(), [outcome for own in (*several, longer) for outcome in own])
    assert [match.peer_parameters for match in matches] == [97, 347, 347]
    assert [match.lower for match in matches] == ["borne out", "refuted", "refuted"]


def test_what_there_is_after_a_hundredth_of_the_time():
    outcomes = made_outcomes({"ours": (1e-3, 1e-3), "peer": (1e-2, 1e-2)})
    (match,) = contest_verdicts.matches_of(made(), outcomes)
    assert np.isinf(match.early).all()  # the first state comes after a tenth
    for state in outcomes[0].states:
        state["seconds"] /= 50
    assert match.early.tolist() == [1e-3, math.inf]
    assert "| – |" in " | ".join(["", *contest_report._beside(match), ""])
    outcomes[1].states[0]["seconds"] = 0.01
    assert match.early.tolist() == [1e-3, 1.0]


def test_who_never_arrives_is_not_sooner():
    """However the seeds of the peer differ: they all arrive."""
    (match,) = contest_verdicts.matches_of(
        made(), made_outcomes({"ours": [0.5] * 5, "peer": [1e-4, 2e-4, 1e-3, 2e-3, 1e-2]})
    )
    assert np.isfinite(match.arrivals[1]).all()
    assert match.sooner == "refuted"


def test_parameters_with_which_no_difference_is_shown_decide_nothing():
    outcomes = [
        outcome
        for number, ours in ((100, (1e-3, 2e-3, 5e-3)), (1400, (1e-6, 2e-6, 3e-6)))
        for outcome in made_outcomes({"ours": ours, "peer": (9e-4, 2e-3, 4e-3)}, parameters=number)
    ]
    (need,) = contest_verdicts.needs_of(contest_verdicts.matches_of(made(), outcomes))
    assert (need.theirs, need.perhaps, need.ours, need.fewer) == (100, 100, 1400, "not decided")


def test_trials_of_the_profile_that_were_not_begun_are_missing(contest, tmp_path):
    plan = ContestPlan.of(contest, "smoke", tmp_path)
    plan.make(resume=False)
    run(plan)
    for folder in (tmp_path / "made" / "product").glob("*/350-1s"):
        shutil.rmtree(folder)
    assert ContestPlan.recorded(contest, tmp_path).finish()
    page = (tmp_path / "made.md").read_text()
    assert "From the trials that are finished:" in page
    assert "- not finished: product, 1 s: 6 of 12 trials" in page


def test_a_longer_time_that_has_only_begun_does_not_hide_the_rest():
    outcomes = [*made_outcomes({"ours": (1e-3, 1e-3), "peer": (1e-2, 1e-2)}), *made_outcomes({"ours": (1e-4,)}, 60.0)]
    assert contest_outcomes.middle_size(outcomes, "product") == Size(350, 1.0)
    assert contest_outcomes.sizes(outcomes, "product") == [Size(350, 1.0), Size(350, 60.0)]


def test_brackets_are_printed(capsys):
    print_findings("[a]", ["b"], [["[c]"]], "[d]", ["pip install 'gmlayers[bench]' [nan, nan] [/x]"], "[e]")
    text = capsys.readouterr().out
    for piece in ("[a]", "[c]", "[d]", "'gmlayers[bench]' [nan, nan] [/x]", "[e]"):
        assert piece in text


def test_without_pykan_there_is_a_hint(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "kan", None)
    plan = ContestPlan.of(CONTESTS["fit2d"], "smoke", tmp_path)
    plan.make(resume=False)
    own = tmp_path / "fit2d" / "exponential" / "kan" / "100-0.3s" / "setting-0"
    assert "pip install '.[bench]'" in str(attempt("fit2d", own, 0, CHOICE_SEED))


def test_entries_have_folders_of_their_own():
    for contest in CONTESTS.values():
        for profile in contest.profiles.values():
            found = entries(contest, profile)
            sized = len(contest.methods) - len(profile.free)
            wanted = [entry for entry in found.values() if entry.seeds]
            assert len(wanted) == len(profile.problems) * (len(profile.free) + sized * len(profile.sizes))
            assert all(len(entry.settings) > 1 for entry in found.values() if not entry.seeds)
            for place, entry in found.items():
                if entry.chosen_at is not None:
                    chooser = found[posixpath.normpath(f"{place}/{entry.chosen_at}")]
                    assert chooser.chosen_at is None
                    assert (chooser.problem, chooser.method) == (entry.problem, entry.method)


@pytest.mark.parametrize("name", CONTESTS)
def test_entries_come_back_from_their_files(name, tmp_path):
    plan = ContestPlan.of(CONTESTS[name], "smoke", tmp_path)
    plan.make(resume=False)
    plan.make(resume=False)  # nothing is of another configuration
    assert {place: read_entry(tmp_path / place) for place in plan.entries} == dict(plan.entries)
    assert ContestPlan.recorded(CONTESTS[name], tmp_path).entries == plan.entries


def test_ratios_of_errors_are_judged_by_their_logarithms():
    ones, others = np.array([1e-4, 2e-4, 4e-4]), np.array([1e-2, 2e-2, 4e-2])
    found = contest_outcomes.ratio(ones, others)
    assert found.mean == pytest.approx(100)
    assert 1 < found.low < 100 < found.high
    welch = stats.ttest_ind(np.log(others), np.log(ones), equal_var=False)
    assert found.p == pytest.approx(welch.pvalue)
    assert np.log([found.low, found.high]) == pytest.approx([*welch.confidence_interval(0.95)])
    assert contest_outcomes.ratio(ones[:1].repeat(2), others).p < 0.05  # one has no spread
    back = contest_outcomes.ratio(others, ones)
    assert (back.mean, back.low, back.high) == pytest.approx((0.01, 1 / found.high, 1 / found.low))
    assert math.isnan(contest_outcomes.ratio(ones[:1], others).low)
    assert math.isnan(contest_outcomes.ratio(ones, np.array([1.0, math.inf])).low)
    assert math.isnan(contest_outcomes.ratio(ones[:1].repeat(2), others[:1].repeat(2)).low)  # no spread
    assert contest_outcomes.ratio(np.array([0, 1e-20, 2e-16]), others).mean > 1e13


@pytest.mark.parametrize(
    ("problem", "name"), [(p, n) for ps in (FIT2D_PROBLEMS, POISSON_PROBLEMS) for n, p in ps.items()]
)
def test_the_exact_solution_has_no_error(problem, name):
    found = problem.pose(1).judge(State(problem.exact, 0))
    assert found.pop("error") < 1e-14
    assert found == {} if name == "root" else found["gradient_error"] < 1e-12


def test_equations_are_chosen_by_their_loss_on_points_held_out():
    class Exact(torch.nn.Module):
        def forward(self, x):
            return torch.sin(math.pi * x[:, :1]) * torch.sin(math.pi * x[:, 1:])

    question = POISSON_PROBLEMS["poisson-a"].pose(CHOICE_SEED)
    assert len(question.task.interior) == math.ceil(0.9 * 51 * 51)
    assert question.held_out(State(Exact(), 0)) < 1e-12


@pytest.mark.parametrize("form", ["mahalanobis", "ridge"])
def test_modules_are_kept_in_the_units_of_the_problem(form, tmp_path):
    task, _, _ = FIT2D_PROBLEMS["root"].pose(0)
    scaled = Scaled(task)
    scaled.net = GMNM(2, 1, 5, form=form, domain=(-1, 1), dtype=torch.float64)
    contest_picture.keep(scaled, tmp_path / "module.safetensors")
    module = contest_picture.module_of(Kept(*read_tensors(tmp_path / "module.safetensors")))
    torch.testing.assert_close(module(task.x), scaled(task.x), rtol=1e-12, atol=1e-12)
    contest_picture.keep(torch.nn.Linear(2, 1), tmp_path / "other.safetensors")
    assert not (tmp_path / "other.safetensors").exists()


def test_ellipses_are_where_a_bump_has_fallen_to_its_share():
    projection = torch.tensor([[2.0, 1.0], [0.0, 0.5]], dtype=torch.float64)
    wide, _, angle = contest_picture._axes_of(projection)
    turn = math.radians(angle)
    end = torch.tensor([math.cos(turn), math.sin(turn)], dtype=torch.float64) * wide / 2
    assert float((projection @ end).norm()) == pytest.approx(1)


@pytest.mark.parametrize("form", ["mahalanobis", "ridge"])
def test_bumps_that_are_wider_than_the_frame_are_counted(form):
    """Their lines would not be seen; against all points of a fine grid."""
    torch.manual_seed(0)
    module = GMNM(2, 1, 60, form=form, domain=((0, -1), (1, 1)), dtype=torch.float64)
    with torch.no_grad():
        for shapes in module.form_parameters().values():
            shapes.mul_(torch.rand(60, dtype=torch.float64).view(-1, *[1] * (shapes.dim() - 1)))
    points = grid(((0.0, -1.0), (1.0, 1.0)), 41)
    away = torch.einsum("mpd,nmd->nmp", module.projection_matrix(), points.unsqueeze(1) - module.mean)
    count = int((away.norm(dim=-1).amax(0) < 1).sum())
    assert 0 < count < 60
    assert contest_picture._wider(module, (0, -1), (1, 1)) == count


def test_grids_have_their_corners():
    points = grid(((0.0, -1.0), (1.0, 1.0)), 3)
    assert points.shape == (9, 2)
    assert points[0].tolist() == [0, -1]
    assert points[1].tolist() == [0, 0]
    assert points[-1].tolist() == [1, 1]


@pytest.mark.parametrize("name", CONTESTS)
def test_smoke(name, tmp_path, capsys):
    reproduce(name, profile="smoke", out=tmp_path, jobs=2)
    text = capsys.readouterr().out
    assert CONTESTS[name].claim in text
    assert "  mahalanobis by gradients: lower error " in text
    table = pd.read_csv(tmp_path / f"{name}.csv")
    assert set(table["method"]) == set(CONTESTS[name].methods)
    assert (table[table["trial"].str.startswith("seed-")].groupby(["problem", "method"])["trial"].nunique() == 2).all()
    assert (tmp_path / f"{name}.png").stat().st_size > 1000
    assert (tmp_path / f"{name}-bumps.png").exists()
    with pytest.raises(ValueError, match=r"--dataset mnist: .* has functions"):
        reproduce(name, profile="smoke", dataset="mnist", out=tmp_path)
    (tmp_path / "docs").mkdir()
    plot("gmnm", records=tmp_path, page=tmp_path / "docs" / "page.md")
    page = (tmp_path / "docs" / "page.md").read_text()
    assert page.startswith(GROUPS["gmnm"].heading)
    assert f"There are no records of {' and '.join(other for other in CONTESTS if other != name)} here." in page
    assert f"](../{name}-bumps.png)" in page
    assert f"](../{name}.png)" in page
    for claim in contest_claims.CLAIMS:
        assert (f"\n| {claim} | " in page) == (claim in CONTESTS[name].claims)
    assert f" | {name} | **" in page


def test_dataclasses_of_methods_are_settings():
    for contest in CONTESTS.values():
        for label, settings in contest.methods.items():
            assert 1 <= len(settings) <= (8 if label == "PINN" else 5)
            assert len({json.dumps(dataclasses.asdict(setting)) for setting in settings}) == len(settings)
        ours = {method for methods in contest.readings.values() for method in methods}
        assert {*ours, *contest.peers} <= set(contest.methods)
        for profile in contest.profiles.values():
            assert set(profile.free) <= set(contest.methods)
            assert set(profile.problems) <= set(contest.problems)
