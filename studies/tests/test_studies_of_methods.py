import dataclasses
import json
import math
import posixpath
import re
import shutil
import sys
from dataclasses import dataclass
from importlib import import_module

import numpy as np
import pandas as pd
import pytest
import torch
from filelock import FileLock

from gmlayers import GMNM
from gmlayers.experiments.display import live, print_findings
from gmlayers.experiments.records import read_json, read_tensors, readable, write_json
from gmlayers_studies import papers
from gmlayers_studies.approximators.nets import Scaled
from gmlayers_studies.approximators.problems import FEYNMAN_PROBLEMS, FIT2D_PROBLEMS, POISSON_PROBLEMS, grid
from gmlayers_studies.approximators.tasks import State
from gmlayers_studies.command import plot, reproduce
from gmlayers_studies.methods import claims, keeping, picture, report, verdicts
from gmlayers_studies.methods.method import Contest, Entry, entry_of
from gmlayers_studies.methods.outcomes import Outcome, middle_size, outcomes_of, sizes
from gmlayers_studies.pages import PAGES
from gmlayers_studies.plan import CHOICE_SEED, Plan
from gmlayers_studies.records import Kept, Records
from gmlayers_studies.runner import attempt
from gmlayers_studies.study import Allowance, Extent, Profile, Study

CONTESTS = {name: import_module(papers.module(name)).CONTEST for name in PAGES["gmnm"].studies}


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


CONTEST = Contest({"so": ("ours",)}, ("peer",))

SEVERAL = {"ours": (Constant(0.5), Constant(0.0), Constant(math.inf)), "peer": (Constant(0.0, 3.0),)}


PROBLEMS = {name: FIT2D_PROBLEMS[name] for name in ("exponential", "product")}


def made(methods=SEVERAL, contest=CONTEST, problems=PROBLEMS):
    """A study of methods, of which that called free has a size of its own."""
    seeds = (0, 1, 2)
    own = {"free": Extent(seeds, (Allowance(None, 2),))} if "free" in methods else {}
    extent = Extent(seeds, (Allowance(100, 1), Allowance(350, 1)))
    profile = Profile(tuple(problems), extent, own, chosen_at=Allowance(100, 1))
    return Study(
        *("made", "Made up", "ours is better", contest.entrants(methods), {"smoke": profile}),
        report=report.report(contest),
        tasks=problems,
        claims=("C0",),
        note="A note.",
    )


def run(plan):
    """Run all trials in this process; return why some failed."""
    reasons = []
    with live(many=True) as bars:
        for jobs in plan.rounds(bars, ()):
            for job in jobs:
                reason = job.work()
                reasons += [reason] * (reason is not None)
                for row in readable(job.folder / "metrics.jsonl"):
                    job.show(row)
    return reasons


@pytest.fixture
def known(monkeypatch):
    """Make a study known by its name, as those of the papers are."""

    def know(study):
        monkeypatch.setattr("gmlayers_studies.papers.study", {study.name: study}.__getitem__)
        return study

    return know


@pytest.fixture
def study(known):
    return known(made({**SEVERAL, "free": (Constant(0.1),)}))


@pytest.fixture
def plan(study, tmp_path):
    """Its plan, in folders without a trial."""
    found = Plan.of(study, "smoke", tmp_path)
    found.make(resume=False)
    return found


def test_a_contest_from_its_trials_to_its_page(plan, tmp_path, capsys):
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
    again = Plan.recorded(plan.study, tmp_path)
    kept = page, (tmp_path / "made.svg").read_bytes()
    assert again.compares
    assert again.finish()
    assert ((tmp_path / "made.md").read_text(), (tmp_path / "made.svg").read_bytes()) == kept
    assert [len(jobs) for jobs in plan.rounds(live(), ())] == [0, 0]  # nothing is run again


def test_errors_are_those_of_other_points(plan, tmp_path):
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


def test_what_is_begun_or_other_is_refused_and_trials_start_anew(plan, tmp_path):
    run(plan)
    own = tmp_path / "made" / "exponential" / "ours" / "350-1s" / "seed-1"
    before = [row["error"] for row in readable(own / "metrics.jsonl")]
    lines = (own / "metrics.jsonl").read_text().splitlines(keepends=True)
    (own / "metrics.jsonl").write_text(lines[0] + lines[1][:9])  # killed
    with pytest.raises(FileExistsError, match="was begun and is not finished; continue it with --resume"):
        plan.make(resume=False)
    plan.make(resume=True)
    found = outcomes_of(plan.runs.values(), plan.records)
    assert report.left_out(plan.runs, found) == ["not finished: exponential, 1 s: 1 of 12 trials"]
    assert run(plan) == []
    assert [row["error"] for row in readable(own / "metrics.jsonl")] == before
    path = own.parent / "config.json"
    write_json(path, {**read_json(path), "seconds": 2})
    with pytest.raises(ValueError, match=r"350-1s holds a run of another configuration \(seconds\)"):
        plan.make(resume=True)
    write_json(path, {})
    said = (
        r"exponential/ours/350-1s: expected the fields .*; its config.json is damaged or of another version; start anew"
    )
    with pytest.raises(ValueError, match=said):
        plan.make(resume=True)
    with pytest.raises(ValueError, match=said):
        Plan.recorded(plan.study, tmp_path)
    assert re.search(said, str(attempt("made", tmp_path, "made/exponential/ours/350-1s", "seed-0", 1, 0)))


def test_failures_have_a_reason(known, tmp_path):
    plan = Plan.of(known(made({"ours": (Nothing(),), "peer": (Constant(0.0),)})), "smoke", tmp_path)
    plan.make(resume=False)
    assert set(run(plan)) == {"ours came to nothing in 1 s; give it more"}
    place = next(iter(plan.runs))
    with FileLock(tmp_path / place / "seed-0" / ".lock"):
        found = attempt("made", tmp_path, place, "seed-0", 0, 0)
    assert found == f"{tmp_path / place / 'seed-0'} is being written by another process; wait for it or stop it"


def test_settings_are_chosen_at_one_size_and_not_before_all_are_tried(plan, tmp_path):
    small, large = (f"made/exponential/ours/{numbers}-1s" for numbers in (100, 350))
    assert plan.runs[large].choice(plan.records) is None
    with live(many=True) as bars:
        first = next(iter(plan.rounds(bars, ())))
    for job in first:
        assert job.work() is None
    assert plan.runs[small].choice(plan.records) == plan.runs[large].choice(plan.records) == 1
    (tmp_path / small / "setting-2" / "metrics.jsonl").unlink()
    assert plan.runs[large].choice(plan.records) is None


class Late(Constant):
    """Needs all its time for its first state, and more for the second."""

    def fit(self, task, budget):
        for state in super().fit(task, budget):
            budget.clock._start -= 2
            yield state


def test_states_that_come_late_do_not_count_and_used_time_is_that_allowed(known, tmp_path):
    plan = Plan.of(known(made({"ours": (Late(0.0),), "peer": (Constant(0.0, 3.0),)})), "smoke", tmp_path)
    plan.make(resume=False)
    assert run(plan) == []
    rows = readable(tmp_path / "made" / "product" / "ours" / "350-1s" / "seed-0" / "metrics.jsonl")
    assert len(rows) == 2  # one, and again as the last
    assert rows[-1]["used"] == 1


def test_a_finished_trial_is_not_run_again_by_another_process(plan, tmp_path):
    run(plan)
    place = "made/product/ours/350-1s"
    own = tmp_path / place / "seed-0"
    before = (own / "metrics.jsonl").read_bytes()
    assert attempt("made", tmp_path, place, "seed-0", 1, 0) is None
    assert (own / "metrics.jsonl").read_bytes() == before


def test_records_of_methods_and_problems_that_are_no_more_are_named(plan, tmp_path):
    said = "{} has records of what made does not have among its methods and problems; move them elsewhere"
    fewer = dataclasses.replace(plan.study, contestants=CONTEST.entrants(SEVERAL))
    with pytest.raises(ValueError, match=said.format("made/exponential/free/own-2s")):
        Plan.recorded(fewer, tmp_path)
    fewer = dataclasses.replace(plan.study, tasks={"product": PROBLEMS["product"]})
    with pytest.raises(ValueError, match=said.format("made/exponential/free/own-2s")):
        Plan.recorded(fewer, tmp_path)


def test_a_copy_of_a_run_does_not_count_twice(plan, tmp_path):
    shutil.copytree(tmp_path / "made/product/ours/350-1s", tmp_path / "made/product/ours/350-1s-copy")
    with pytest.raises(ValueError, match=r"made/product/ours/350-1s-copy has records of what made does not have"):
        Plan.recorded(plan.study, tmp_path)


def made_outcomes(errors, seconds=1.0, parameters=350):
    """Outcomes of methods: an error for each seed, reached after half the time."""
    outcomes = []
    for method, several in errors.items():
        entry = Entry("made", "product", method, parameters, seconds, ({},), tuple(range(len(several))), None)
        for seed, error in enumerate(several):
            row = {"setting": 0, "parameters": parameters - 3, "used": seconds, "held_out": error, "error": error}
            states = [{**row, "held_out": 9.0, "error": 1.0, "seconds": 0.1 * seconds}, {**row, "seconds": seconds / 2}]
            outcomes.append(Outcome(entry, seed, states, states[-1]))
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
    (match,) = verdicts.matches_of(CONTEST, made_outcomes({"ours": ours, "peer": theirs}))
    assert match.lower == outcome
    assert "nan" not in " ".join(report._beside(match))


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
    (match,) = verdicts.matches_of(CONTEST, early)
    assert match.sooner == outcome
    assert match.arrivals[1].tolist() == [0.1 if math.inf in theirs else 0.5] * len(theirs)
    assert match.arrivals[0].tolist() == [0.25 if error < 0.01 else math.inf for error in ours] or math.inf in theirs


@pytest.mark.parametrize(
    ("ours", "spread", "enough", "outcome"),
    [
        ((1e-3, 1e-4, 1e-5), 0.1, 100, "borne out"),
        ((1.0, 1e-4, 1e-5), 0.1, 350, "as many"),
        ((1.0, 1.0, 1e-5), 0.1, 1400, "refuted"),
        ((1.0, 1.0, 1.0), 0.1, None, "refuted"),
        ((1.0, 1.0, 1.0), 0.0, None, "not decided"),  # without spread nothing is shown
        ((math.inf, math.inf, math.inf), 0.0, None, "refuted"),
    ],
)
def test_how_few_parameters_are_enough(ours, spread, enough, outcome):
    theirs = (1e-1, 1e-3, 1e-2)
    outcomes = [
        outcome
        for i, number in enumerate((100, 350, 1400))
        for outcome in made_outcomes(
            {"ours": (ours[i], ours[i] * (1 - spread)), "peer": (theirs[i],) * 2}, parameters=number
        )
    ]
    (need,) = verdicts.needs_of(verdicts.matches_of(CONTEST, outcomes))
    assert (need.peer, need.theirs, need.ours, need.fewer) == ("peer", 350, enough, outcome)
    assert need.error == pytest.approx(1e-3)


def test_what_verdicts_come_to():
    assert verdicts.mark([]) == "no records"
    assert verdicts.mark(["borne out", "borne out, at least 10 times"]) == "**confirmed**: 2 of 2 borne out"
    found = verdicts.mark(["refuted", "borne out", "not decided", "not decided"])
    assert found == "**in part**: 1 of 4 borne out, 2 not decided, 1 refuted"
    assert verdicts.mark(["not tested, one seed"]) == "**not confirmed**: 0 of 1 borne out, 1 not tested"


def test_what_is_said_to_be_often_so_is_confirmed_by_more_than_half():
    assert verdicts.mark(["borne out", "borne out", "refuted"], often=True).startswith("**confirmed**: 2 of 3")
    assert verdicts.mark(["borne out", "as many"], often=True).startswith("**in part**: 1 of 2")
    assert verdicts.mark(["as many"], often=True).startswith("**not confirmed**: 0 of 1")


def judged(numbers, readings, errors):
    """A contest in which readings, methods of the same name, are better than the peer or not."""
    contest = Contest({name: (name,) for name in readings}, ("peer",))
    study = dataclasses.replace(made(contest=contest), name=numbers[0], claims=numbers)
    found = [
        outcome
        for number in (100, 350)
        for outcome in made_outcomes({**errors, "peer": (1e-3, 1.1e-3, 1.2e-3)}, parameters=number)
    ]
    matches = verdicts.matches_of(contest, found)
    return claims.Judged(study, contest, [], Records([]), found, matches, verdicts.needs_of(matches))


def test_every_part_of_every_claim_is_marked_for_every_reading():
    good, bad = (1e-6, 1.1e-6, 1.2e-6), (1e-1, 1.1e-1, 1.2e-1)
    functions = judged(("C1", "C6"), ("so", "or so"), {"so": good, "or so": bad})
    equations = judged(("C2",), ("so",), {"so": bad})
    header, _, *rows, end = claims.claims([functions, equations])
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
    assert set(marks) == {(f"| {claim}", part) for claim, parts in claims.CLAIMS.items() for part in parts}


def test_without_contests_no_claims_are_marked():
    assert claims.claims([]) == []


def test_the_best_peer_may_take_fewer_parameters_but_no_more_and_no_more_time():
    errors = {100: (1e-2, 2e-2, 3e-2), 350: (1e-4, 2e-4, 3e-4), 1400: (1e-1, 2e-1, 3e-1)}
    several = [
        made_outcomes({"ours": (1e-3, 2e-3, 3e-3), "peer": theirs}, parameters=number)
        for number, theirs in errors.items()
    ]
    longer = made_outcomes({"peer": (1e-9, 2e-9, 3e-9)}, 60.0, 100)
    matches = verdicts.matches_of(CONTEST, [outcome for own in (*several, longer) for outcome in own])
    assert [match.peer_parameters for match in matches] == [97, 347, 347]
    assert [match.lower for match in matches] == ["borne out", "refuted", "refuted"]


def test_what_there_is_after_a_hundredth_of_the_time():
    outcomes = made_outcomes({"ours": (1e-3, 1e-3), "peer": (1e-2, 1e-2)})
    (match,) = verdicts.matches_of(CONTEST, outcomes)
    assert np.isinf(match.early).all()  # the first state comes after a tenth
    for state in outcomes[0].states:
        state["seconds"] /= 50
    assert match.early.tolist() == [1e-3, math.inf]
    assert "| – |" in " | ".join(["", *report._beside(match), ""])
    outcomes[1].states[0]["seconds"] = 0.01
    assert match.early.tolist() == [1e-3, 1.0]


def test_who_never_arrives_is_not_sooner():
    """However the seeds of the peer differ: they all arrive."""
    (match,) = verdicts.matches_of(CONTEST, made_outcomes({"ours": [0.5] * 5, "peer": [1e-4, 2e-4, 1e-3, 2e-3, 1e-2]}))
    assert np.isfinite(match.arrivals[1]).all()
    assert match.sooner == "refuted"


def test_parameters_with_which_no_difference_is_shown_decide_nothing():
    outcomes = [
        outcome
        for number, ours in ((100, (1e-3, 2e-3, 5e-3)), (1400, (1e-6, 2e-6, 3e-6)))
        for outcome in made_outcomes({"ours": ours, "peer": (9e-4, 2e-3, 4e-3)}, parameters=number)
    ]
    (need,) = verdicts.needs_of(verdicts.matches_of(CONTEST, outcomes))
    assert (need.theirs, need.perhaps, need.ours, need.fewer) == (100, 100, 1400, "not decided")


def test_trials_of_the_profile_that_were_not_begun_are_missing(plan, tmp_path):
    run(plan)
    for folder in (tmp_path / "made" / "product").glob("*/350-1s"):
        shutil.rmtree(folder)
    assert Plan.recorded(plan.study, tmp_path).finish()
    page = (tmp_path / "made.md").read_text()
    assert "From the trials that are finished:" in page
    assert "- not finished: product, 1 s: 6 of 12 trials" in page


def test_a_longer_time_that_has_only_begun_does_not_hide_the_rest():
    outcomes = [*made_outcomes({"ours": (1e-3, 1e-3), "peer": (1e-2, 1e-2)}), *made_outcomes({"ours": (1e-4,)}, 60.0)]
    assert middle_size(outcomes, "product") == Allowance(350, 1.0)
    assert sizes(outcomes, "product") == [Allowance(350, 1.0), Allowance(350, 60.0)]


def test_brackets_are_printed(capsys):
    print_findings("[a]", ["b"], [["[c]"]], "[d]", ["pip install 'gmlayers[bench]' [nan, nan] [/x]"], "[e]")
    text = capsys.readouterr().out
    for piece in ("[a]", "[c]", "[d]", "'gmlayers[bench]' [nan, nan] [/x]", "[e]"):
        assert piece in text


def test_without_pykan_there_is_a_hint(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "kan", None)
    plan = Plan.of(papers.study("fit2d"), "smoke", tmp_path)
    plan.make(resume=False)
    found = attempt("fit2d", tmp_path, "fit2d/exponential/kan/100-0.3s", "setting-0", 0, CHOICE_SEED)
    assert "pip install './studies[peers]'" in str(found)


def test_entries_have_folders_of_their_own():
    for study in map(papers.study, CONTESTS):
        for name, profile in study.profiles.items():
            found = study.runs(name)
            sized = len(study.contestants) - len(profile.but)
            wanted = [run for run in found.values() if run.seeds]
            assert len(wanted) == len(profile.tasks) * (len(profile.but) + sized * len(profile.extent.sizes))
            assert all(len(run.entry.settings) > 1 for run in found.values() if not run.seeds)
            for place, run in found.items():
                assert run.place == place
                if run.entry.chosen_at is not None:
                    chooser = found[posixpath.normpath(f"{place}/{run.entry.chosen_at}")].entry
                    assert chooser.chosen_at is None
                    assert (chooser.problem, chooser.method) == (run.entry.problem, run.entry.method)


@pytest.mark.parametrize("name", CONTESTS)
def test_entries_come_back_from_their_files(name, tmp_path):
    study = papers.study(name)
    plan = Plan.of(study, "smoke", tmp_path)
    plan.make(resume=False)
    plan.make(resume=False)  # nothing is of another configuration
    configs = {place: read_json(tmp_path / place / "config.json") for place in plan.runs}
    entries = {place: run.entry for place, run in plan.runs.items()}
    assert {place: entry_of(content, tmp_path) for place, content in configs.items()} == entries
    found = Plan.recorded(study, tmp_path).runs
    assert found == plan.runs
    tasks, labels = [*study.tasks], [entrant.label for entrant in study.contestants]
    places = sorted(found, key=lambda p: (tasks.index(p.split("/")[1]), labels.index(found[p].label), found[p].rank))
    assert [*found] == places


@pytest.mark.parametrize(
    ("problem", "name"), [(p, n) for ps in (FIT2D_PROBLEMS, POISSON_PROBLEMS) for n, p in ps.items()]
)
def test_the_exact_solution_has_no_error(problem, name):
    found = problem.pose(1).judge(State(problem.exact, 0))
    assert found.pop("error") < 1e-14
    assert found == {} if name == "square-root" else found["gradient_error"] < 1e-12


def test_equations_are_chosen_by_their_loss_on_points_held_out():
    class Exact(torch.nn.Module):
        def forward(self, x):
            return torch.sin(math.pi * x[:, :1]) * torch.sin(math.pi * x[:, 1:])

    question = POISSON_PROBLEMS["poisson-a"].pose(CHOICE_SEED)
    assert len(question.task.interior) == math.ceil(0.9 * 51 * 51)
    assert question.held_out(State(Exact(), 0)) < 1e-12


@pytest.mark.parametrize("form", ["mahalanobis", "ridge"])
def test_modules_are_kept_in_the_units_of_the_problem(form, tmp_path):
    task, _, _ = FIT2D_PROBLEMS["square-root"].pose(0)
    scaled = Scaled(task)
    scaled.net = GMNM(2, 1, 5, form=form, domain=(-1, 1), dtype=torch.float64)
    keeping.keep(scaled, tmp_path / "module.safetensors")
    module = keeping.module_of(Kept(*read_tensors(tmp_path / "module.safetensors")))
    torch.testing.assert_close(module(task.x), scaled(task.x), rtol=1e-12, atol=1e-12)
    keeping.keep(torch.nn.Linear(2, 1), tmp_path / "other.safetensors")
    assert not (tmp_path / "other.safetensors").exists()


@dataclass(frozen=True)
class Module:
    """Yields a module of bumps of the seed."""

    def fit(self, task, budget):
        torch.manual_seed(budget.seed)
        module = GMNM(task.x.shape[1], 1, 3, domain=(-9, 9), dtype=torch.float64)
        yield State(module, 1)


def test_modules_of_one_seed_are_kept_of_pictured_methods_where_there_are_two_variables(known, tmp_path):
    problems = {"exponential": FIT2D_PROBLEMS["exponential"], "I.8.14": FEYNMAN_PROBLEMS["I.8.14"]}
    contest = Contest({"so": ("ours",), "or so": ("other",)}, ("peer",), pictured=("so",))
    study = known(made(dict.fromkeys(("ours", "other", "peer"), (Module(),)), contest, problems))
    plan = Plan.of(study, "smoke", tmp_path)
    plan.make(resume=False)
    assert run(plan) == []
    kept = sorted(path.parent.relative_to(tmp_path / "made").as_posix() for path in tmp_path.glob("**/*.safetensors"))
    assert kept == [f"exponential/ours/{size}-1s/seed-0" for size in (100, 350)]
    assert {place.split("/", 1)[1] + "/seed-0" for place, own in plan.runs.items() if own.is_pictured} == {*kept}
    found = plan.finish()
    assert set(found.figures) == {"", "-bumps"}
    assert len(found.figures["-bumps"].axes) == 3 + 2  # one row, with bars of colours
    assert "![Made up: bumps](made-bumps.png)" in found.page
    archived = Plan(study, plan.runs, tmp_path / "archive")
    plan.archive(tmp_path / "archive" / "made.zip")
    for size in (100, 350):
        for own in (plan, archived):
            module = keeping.module_of(own.records.module(f"made/exponential/ours/{size}-1s", "seed-0"))
            torch.manual_seed(0)
            torch.testing.assert_close(module.mean, GMNM(2, 1, 3, domain=(-9, 9), dtype=torch.float64).mean)


def test_where_nothing_is_chosen_no_size_is_needed_for_it():
    study = made({"ours": (Constant(0.0),), "free": (Constant(0.0),)})
    profile = dataclasses.replace(study.profiles["smoke"], chosen_at=None)
    runs = dataclasses.replace(study, profiles={"smoke": profile}).runs("smoke")
    assert len(runs) == 2 * (2 + 1)
    assert all(own.choice(Records([])) == 0 and not own.settings for own in runs.values())
    assert runs == study.runs("smoke")
    with pytest.raises(ValueError, match="ours has 3 settings; give the profile a size to choose them at"):
        dataclasses.replace(made(), profiles={"smoke": profile}).runs("smoke")


def test_ellipses_are_where_a_bump_has_fallen_to_its_share():
    projection = torch.tensor([[2.0, 1.0], [0.0, 0.5]], dtype=torch.float64)
    wide, _, angle = picture._axes_of(projection)
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
    assert picture._wider(module, (0, -1), (1, 1)) == count


def test_grids_have_their_corners():
    points = grid(((0.0, -1.0), (1.0, 1.0)), 3)
    assert points.shape == (9, 2)
    assert points[0].tolist() == [0, -1]
    assert points[1].tolist() == [0, 0]
    assert points[-1].tolist() == [1, 1]


@pytest.mark.parametrize("name", CONTESTS)
def test_smoke(name, tmp_path, capsys):
    study = papers.study(name)
    reproduce(name, profile="smoke", out=tmp_path, jobs=2)
    text = capsys.readouterr().out
    assert study.claim in text
    assert "  mahalanobis by gradients: lower error " in text
    table = pd.read_csv(tmp_path / f"{name}.csv")
    assert set(table["method"]) == {contestant.label for contestant in study.contestants}
    assert (table[table["trial"].str.startswith("seed-")].groupby(["problem", "method"])["trial"].nunique() == 2).all()
    assert (tmp_path / f"{name}.png").stat().st_size > 1000
    assert (tmp_path / f"{name}-bumps.png").exists()
    with pytest.raises(ValueError, match=r"--dataset mnist: .* has no data that others could stand for"):
        reproduce(name, profile="smoke", dataset="mnist", out=tmp_path)
    (tmp_path / "docs").mkdir()
    plot("gmnm", records=tmp_path, page=tmp_path / "docs" / "page.md")
    page = (tmp_path / "docs" / "page.md").read_text()
    assert page.startswith(PAGES["gmnm"].heading)
    assert f"There are no records of {' and '.join(other for other in CONTESTS if other != name)} here." in page
    assert f"]({name}-bumps.png)" in (tmp_path / f"{name}.md").read_text()
    assert f"](../{name}.md)" in page
    assert f"](../{name}.png)" in page
    for claim in claims.CLAIMS:
        assert (f"\n| {claim} | " in page) == (claim in study.claims)
    assert f" | {name} | **" in page


def test_dataclasses_of_methods_are_settings():
    for name, contest in CONTESTS.items():
        study = papers.study(name)
        labels = {entrant.label for entrant in study.contestants}
        for label, settings in ((entrant.label, entrant.settings) for entrant in study.contestants):
            assert 1 <= len(settings) <= (8 if label == "PINN" else 5)
            assert len({json.dumps(dataclasses.asdict(setting)) for setting in settings}) == len(settings)
        ours = {method for methods in contest.readings.values() for method in methods}
        assert {*ours, *contest.peers} <= labels
        assert set(contest.pictured) <= set(contest.readings)
        for profile in study.profiles.values():
            assert set(profile.but) <= labels
            assert set(profile.tasks) <= set(study.tasks)
