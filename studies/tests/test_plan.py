import json
import shutil
from dataclasses import dataclass, field

import pytest

from gmlayers.experiments.display import live
from gmlayers.experiments.records import read_json, write_json
from gmlayers.experiments.run_folder import open_run
from gmlayers_studies import papers
from gmlayers_studies.command import plot, reproduce
from gmlayers_studies.plan import CHOICE_SEED, Plan
from gmlayers_studies.study import Profile, Study, epochs


@dataclass(frozen=True)
class Made:
    """A run whose trials are finished by one row; its settings are tried at its own place."""

    place: str
    label: str = "made"
    seeds: tuple[int, ...] = (0, 1)
    settings: tuple[int, ...] = ()
    title: str = "made"
    rank: tuple[float, ...] = (0.0,)
    about: dict = field(default_factory=dict)
    is_pictured: bool = False

    def config(self):
        return {"label": self.label, "seeds": self.seeds, "rank": self.rank}

    def is_finished(self, rows):
        return bool(rows)

    def condense(self, rows):
        return rows

    def choice(self, records):
        tried = [records.rows(self.place, f"setting-{i}") for i in self.settings]
        return len(tried) - 1 if all(tried) else None

    def bar(self, live, trial):
        return lambda row: None


@dataclass(frozen=True)
class Several:
    """A contestant with the runs that it is given."""

    label: str
    own: tuple[Made, ...]

    def runs(self, study, task, what, profile):
        return self.own

    def read(self, study, place, content):
        same = [run for run in self.own if run.place == place and json.loads(json.dumps(run.config())) == content]
        return same[0] if same else None


def plan_of(folder, *runs, digest=None):
    contestants = tuple(Several(run.label, (run,)) for run in runs)
    profiles = {"smoke": Profile(("task",), epochs((0, 1), 1))}
    study = Study("made", "", "", contestants, profiles, lambda _: None, {"task": None}, digest=digest)
    return Plan.of(study, "smoke", folder)


def names(jobs, folder):
    return [job.folder.relative_to(folder).as_posix() for job in jobs]


def finish(jobs):
    for job in jobs:
        job.folder.mkdir()
        (job.folder / "metrics.jsonl").write_text('{"epoch": 0}\n')


def test_the_shortest_runs_go_first_and_seed_by_seed(tmp_path):
    runs = Made("made/b", "b", rank=(2.0,)), Made("made/a", "a", (4, 3, 9)), Made("made/c", "c", (5,))
    plan = plan_of(tmp_path, *runs)
    plan.make(resume=False)
    choices, trials = plan.rounds(live(), ())
    assert choices == []
    order = ["a/seed-4", "c/seed-5", "a/seed-3", "a/seed-9", "b/seed-0", "b/seed-1"]
    assert names(trials, tmp_path) == [f"made/{name}" for name in order]


def test_settings_are_tried_before_all_else_and_what_failed_is_left_out(tmp_path):
    digested = []
    plan = plan_of(
        tmp_path, Made("made/a", "a", settings=(0, 1)), Made("made/b", "b"), digest=lambda *a: digested.append(a)
    )
    plan.make(resume=False)
    failed = set()
    rounds = plan.rounds(live(), failed)
    choices = next(rounds)
    assert names(choices, tmp_path) == ["made/a/setting-0", "made/a/setting-1"]
    assert [job.work.args[-2:] for job in choices] == [(0, CHOICE_SEED), (1, CHOICE_SEED)]
    finish(choices)
    failed.add(tmp_path / "made/b/seed-0")
    trials = next(rounds)
    assert names(trials, tmp_path) == ["made/a/seed-0", "made/a/seed-1", "made/b/seed-1"]
    assert trials[0].work.args == ("made", tmp_path.resolve(), "made/a", "seed-0", 1, 0)
    assert not digested
    finish(trials)
    assert list(rounds) == []
    assert digested == [([*plan.runs.values()], tmp_path)]
    assert [names(jobs, tmp_path) for jobs in plan.rounds(live(), ())] == [[], ["made/b/seed-0"]]


def test_seeds_wait_for_the_choice_of_their_setting(tmp_path):
    plan = plan_of(tmp_path, Made("made/a", "a", settings=(0, 1)), Made("made/b", "b"))
    plan.make(resume=False)
    rounds = plan.rounds(live(), ())
    finish(next(rounds)[:1])  # the other fails
    assert names(next(rounds), tmp_path) == ["made/b/seed-0", "made/b/seed-1"]


@pytest.mark.parametrize(
    "name", ["made", "made/a", "made/a/seed-0", "made/a/seed-0/metrics.jsonl", "made/a/config.json.part"]
)
def test_a_study_is_not_continued_through_a_link(tmp_path, name):
    """Its folder may come from somebody else, with links that lead out of it."""
    folder, outside = tmp_path / "records", tmp_path / "outside"
    outside.mkdir()
    (outside / "metrics.jsonl").write_text("what the user would not lose")
    plan = plan_of(folder, Made("made/a"))
    plan.make(resume=False)
    link = folder / name
    if link.is_dir():
        shutil.rmtree(link)
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(outside / "metrics.jsonl" if link.suffix else outside)
    with pytest.raises(ValueError, match=f"{link} is a link to {outside}.*; delete it"):
        plan.make(resume=True)
    assert [path.name for path in outside.iterdir()] == ["metrics.jsonl"]
    assert (outside / "metrics.jsonl").read_text() == "what the user would not lose"


def test_the_names_of_what_is_configured_otherwise_are_said(tmp_path):
    plan_of(tmp_path, Made("made/a")).make(resume=False)
    plan_of(tmp_path, Made("made/a")).make(resume=False)  # nothing was begun
    with pytest.raises(
        ValueError, match=r"made/a holds a run of another configuration \(seeds\); choose another --out"
    ):
        plan_of(tmp_path, Made("made/a", seeds=(7,))).make(resume=True)
    with pytest.raises(ValueError, match=r"another configuration \(label, rank\)"):
        plan_of(tmp_path, Made("made/a", "other", rank=(1.0,))).make(resume=True)


def test_a_folder_has_its_configuration_or_is_not_there(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("gmlayers.experiments.records.environment", fail)
        with pytest.raises(OSError, match="full"):
            plan_of(tmp_path, Made("made/a")).make(resume=False)
    assert list((tmp_path / "made").iterdir()) == []
    plan_of(tmp_path, Made("made/a")).make(resume=False)
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["a"]
    assert sorted(path.name for path in (tmp_path / "made" / "a").iterdir()) == ["config.json", "environment.json"]


def test_a_folder_that_is_being_made_is_no_run(tmp_path):
    """Of a process that was killed it may stay."""
    plan = plan_of(tmp_path, Made("made/a"))
    plan.make(resume=False)
    shutil.copytree(tmp_path / "made" / "a", tmp_path / "made" / ".a-x1y2" / "a")
    assert plan.records.runs() == ["made/a"]
    assert [*Plan.recorded(plan.study, tmp_path).runs] == ["made/a"]


def test_records_of_no_contestant_are_named(tmp_path):
    plan = plan_of(tmp_path, Made("made/a", "a"), Made("made/b", "b"))
    plan.make(resume=False)
    assert plan.compares
    one = plan_of(tmp_path, Made("made/a", "a"))
    assert not one.compares
    said = "made/b has records of what made does not have among its methods and problems; move them elsewhere"
    with pytest.raises(ValueError, match=said):
        Plan.recorded(one.study, tmp_path)


def test_finished_trials_are_not_trained_again(done, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(done, copy)
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("metrics.jsonl")}
    (copy / "digits" / "gm-k-5" / "seed-0" / "checkpoint.safetensors").unlink()  # records alone are enough
    svg = (copy / "fig2.svg").read_bytes()
    reproduce("fig2", profile="smoke", out=copy)
    assert before == {path: path.stat().st_mtime_ns for path in copy.rglob("metrics.jsonl")}
    assert (copy / "fig2.svg").read_bytes() == svg


def test_existing_folders_and_other_configurations(done, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(done, copy)
    config = copy / "digits" / "gm-k-5" / "config.json"
    kept = config.read_text()
    content = read_json(config)
    write_json(config, {**content, "recipe": {**content["recipe"], "epochs": 4}})
    with pytest.raises(
        ValueError, match=r"gm-k-5 holds a run of another configuration \(recipe\); choose another --out"
    ):
        reproduce("fig2", profile="smoke", out=copy, resume=True)
    config.write_text(kept)
    reproduce("fig2", profile="smoke", out=copy)
    (copy / "digits" / "gm-k-5" / "seed-1" / "metrics.jsonl").unlink()
    with pytest.raises(FileExistsError, match="gm-k-5 was begun and is not finished; continue it with --resume"):
        reproduce("fig2", profile="smoke", out=copy)


def test_plot_draws_the_same_from_records_alone(done, tmp_path, monkeypatch):
    copy = tmp_path / "copy"
    shutil.copytree(done, copy, ignore=shutil.ignore_patterns("fig2.*", "checkpoint*"))
    monkeypatch.setenv("GMLAYERS_DATA", str(tmp_path / "no data"))
    plot("fig2", records=copy)
    for ending in ("svg", "csv", "png", "md"):
        assert (copy / f"fig2.{ending}").read_bytes() == (done / f"fig2.{ending}").read_bytes()


def test_recorded_runs_are_those_of_the_profile(done):
    study = papers.study("fig2")
    plan = Plan.recorded(study, done)
    assert plan.runs == Plan.of(study, "smoke", done).runs
    assert [open_run(done / place) for place in plan.runs] == [run.training for run in plan.runs.values()]
    other = Plan.recorded(papers.study("fig7"), done)  # which has one of the nets, too
    assert [*other.runs] == ["digits/gm-k-20"]
    assert not other.compares
