import csv
import hashlib
import io
import json
import lzma
import math
import shutil
import zipfile
from contextlib import nullcontext
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gmlayers.experiments.records import read_json, write_json, write_tensors
from gmlayers_studies.archive import Archive, last_rows, records_in, write_archive
from gmlayers_studies.command import archive, plot, reproduce
from gmlayers_studies.methods.method import condense, finite
from gmlayers_studies.methods.outcomes import Outcome
from gmlayers_studies.records import METRICS, MODULE, Folder, Records

ROWS = [
    {"epoch": 0, "error": 0.1 + 0.2, "bad": math.nan, "last": False},
    {"epoch": 1, "error": 1e-300, "bad": math.inf, "values": [[1.0, 2.5], []], "last": False},
    {"epoch": 2, "error": -0.0, "words": 'a "b", c\n=d', "nothing": None, "last": True},
]
"""All that a row may hold, the last as long as the next."""


@dataclass(frozen=True)
class Made:
    """As much of a run as an archive asks for."""

    about: dict
    keeps: bool = True
    """Whether its rows and its modules are kept."""

    @property
    def is_pictured(self):
        return self.keeps

    def condense(self, rows):
        return rows if self.keeps else []


RUNS = {"task/one": Made({"label": "one, a"}), "task/two": Made({"label": "two"})}
FEWER = {place: Made(run.about, keeps=False) for place, run in RUNS.items()}


@pytest.fixture
def folder(tmp_path):
    for run in RUNS:
        own = tmp_path / "runs" / run
        for trial in ("seed-0", "seed-1"):
            (own / trial).mkdir(parents=True)
            (own / trial / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
        write_json(own / "config.json", {"run": run, "seeds": [0, 1]})
        write_json(own / "environment.json", {"processor": "one"})
    (own / "seed-1" / "projected.jsonl").write_text('{"epoch": 0, "mean": [1, 2]}\n{"epoch": 1, "mean": []}\n')
    write_tensors(own / "seed-0" / MODULE, {"a": torch.arange(3.0), "b": torch.eye(2).double()}, {"form": "ridge"})
    return tmp_path / "runs"


def archived(folder, path, runs=RUNS):
    write_archive(path, records_in(folder), runs, caveats="none")
    return path


def unzipped(folder, tmp_path):
    """The JSON file of an archive as version 0.2 wrote them, in files of a folder."""
    with zipfile.ZipFile(archived(folder, tmp_path / "study.zip")) as whole:
        whole.extractall(tmp_path)
    (tmp_path / "study.zip").unlink()
    return tmp_path / "study.json"


def names(path):
    with zipfile.ZipFile(path) as whole:
        return whole.namelist()


def ordered(rows):
    """Rows as text to every digit, in which NaN is NaN, and in which columns may stand in another order."""
    return [sorted(map(repr, row.items())) for row in rows]


def same(one, other):
    """Whether two sets of records say the same, NaN being NaN."""
    assert one.runs() == other.runs() == sorted(RUNS)
    for run in RUNS:
        assert one.config(run) == other.config(run)
        assert one.environment(run) == other.environment(run)
        assert one.trials(run) == other.trials(run) == ["seed-0", "seed-1"]
        for trial in one.trials(run):
            assert sorted(one.tables(run, trial)) == sorted(other.tables(run, trial))
            for table in one.tables(run, trial):
                assert ordered(one.rows(run, trial, table)) == ordered(other.rows(run, trial, table))
            kept, found = one.module(run, trial), other.module(run, trial)
            assert (kept is None) == (found is None)
            if kept is not None and found is not None:
                assert kept.about == found.about
                torch.testing.assert_close(kept.tensors, found.tensors, rtol=0, atol=0)


def test_what_is_archived_comes_back(folder, tmp_path):
    written = archived(folder, tmp_path / "archive" / "study.zip")
    assert [path.name for path in written.parent.iterdir()] == ["study.zip"]
    assert names(written) == ["study.json", "study.csv", "study-curves.csv.xz", "study.safetensors"]
    same(Records([Folder(folder)]), Records([Archive(written)]))
    again = archived(written.parent, tmp_path / "again" / "study.zip")
    assert written.read_bytes() == again.read_bytes()
    fewer = archived(folder, written, FEWER)
    assert names(fewer) == ["study.json", "study.csv", "study-curves.csv.xz"]  # with what is projected
    assert [row["epoch"] for row in Archive(fewer).rows("task/one", "seed-0")] == [2]


def test_an_archive_may_be_unzipped(folder, tmp_path):
    """And so those of version 0.2 are read, and become one file."""
    path = unzipped(folder, tmp_path / "old")
    same(Records([Folder(folder)]), Records([Archive(path)]))
    again = archived(path.parent, tmp_path / "new" / "study.zip")
    same(Records([Folder(folder)]), Records([Archive(again)]))


def test_the_table_of_last_rows_is_for_readers(folder):
    (folder / "task/one/seed-1/metrics.jsonl").write_text("")
    runs = {"task/one": RUNS["task/one"], "task/none": RUNS["task/two"]}
    text = last_rows(records_in(folder), runs).decode()
    assert text.splitlines()[0] == "label,run,trial,epoch,error,words,nothing,last"
    (row,) = csv.DictReader(io.StringIO(text))  # a trial that has no rows has no line, nor has a run without trials
    said = [row["label"], row["run"], row["trial"], row["epoch"], json.loads(row["words"])]
    assert said == ["one, a", "task/one", "seed-0", "2", ROWS[-1]["words"]]


def test_a_table_holds_nothing_that_a_spreadsheet_would_run(folder):
    """Folders and their records may come from somebody else, and so may the name of a data set."""
    runs = {"task/one": Made({"label": "=1+1", "allowed": -2, "dataset": "\x1b[2J"})}
    (row, _) = csv.DictReader(io.StringIO(last_rows(records_in(folder), runs).decode()))
    assert [row["label"], row["allowed"], row["dataset"]] == ["'=1+1", "-2", r"\x1b[2J"]
    (folder / "task/two/seed-0/metrics.jsonl").write_text('{"epoch": 1, "@SUM(A1)": 0}\n')
    (folder / "task/one/seed-0").rename(folder / "task/one/=1+1")
    for place, name in (("task/one", "=1[+]1"), ("task/two", "@SUM[(]A1[)]")):
        with pytest.raises(ValueError, match=f"{place}, .*: a spreadsheet would run the name '{name}'"):
            last_rows(records_in(folder), {place: RUNS[place]})


def test_other_archives_and_folders_complete_each_other(folder, tmp_path):
    path = archived(folder, tmp_path / "study.zip")
    records = Records([Folder(folder), Archive(path)])
    half = folder / "task/one" / "seed-0" / "metrics.jsonl"
    half.write_text(json.dumps({**ROWS[0], "epoch": 9}) + "\n")  # begun anew, beyond the other, and not finished
    assert records.rows("task/one", "seed-0")[-1]["last"]
    shutil.rmtree(folder / "task" / "two")
    assert records.config("task/two") == {"run": "task/two", "seeds": [0, 1]}
    assert records.rows("task/two", "seed-1")[-1]["last"]
    assert records.rows("task/two", "seed-7") == records.rows("task/three", "seed-0") == []
    assert records.config("task/three") is records.environment("task/three") is None


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def resigned(path, name, content):
    """Replace a file of an archive, and its checksum."""
    about = read_json(path)
    path.with_name(name).write_bytes(content)
    about["files"][name] = hashlib.sha256(content).hexdigest()
    write_json(path, about)


@pytest.mark.parametrize("name", ["study.csv", "study-curves.csv.xz", "study.safetensors"])
def test_damage_is_named(folder, tmp_path, name):
    path = unzipped(folder, tmp_path)
    damaged = tmp_path / name
    whole = damaged.read_bytes()

    def read():
        records = Archive(path)
        return records.rows("task/one", "seed-0"), records.module("task/two", "seed-0")

    read()
    cut(damaged)
    said = f"{name} does not have the checksum that its JSON file states: it was cut or changed"
    with pytest.raises(ValueError, match=said):
        read()
    damaged.unlink()
    with pytest.raises(FileNotFoundError, match=f"{name} is not there; the archive .*study.json needs it"):
        read()
    resigned(path, name, b"run,trial,table\n1,2\n" if name.endswith("csv") else whole[:40])
    with pytest.raises(ValueError, match=r"has 2 cells in line 2, not 3|cannot be decompressed|is no file of modules"):
        read()


def rezipped(path, change):
    """Write an archive again with other contents."""
    with zipfile.ZipFile(path) as whole:
        contents = {name: whole.read(name) for name in whole.namelist()}
    with zipfile.ZipFile(path, "w") as whole:
        for name, content in change(contents).items():
            whole.writestr(name, content)


@pytest.mark.parametrize("name", ["study.csv", "study-curves.csv.xz", "study.safetensors"])
def test_damage_inside_of_the_file_is_named(folder, tmp_path, name):
    def read():
        records = Archive(path)
        return records.rows("task/one", "seed-0"), records.module("task/two", "seed-0")

    path = archived(folder, tmp_path / "study.zip")
    rezipped(path, lambda contents: contents | {name: contents[name][:-1]})
    with pytest.raises(ValueError, match=f"study.zip/{name} does not have the checksum that its JSON file states"):
        read()
    rezipped(path, lambda contents: {n: c for n, c in contents.items() if n != name})
    with pytest.raises(FileNotFoundError, match=f"study.zip/{name} is not there; the archive .*study.zip needs it"):
        read()


def test_what_is_no_zip_file_is_named(folder, tmp_path):
    path = archived(folder, tmp_path / "study.zip")
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"text"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"study.zip/study.json cannot be unzipped \(.*\); restore it"):
            Archive(path)
    path.write_bytes(whole[:60] + bytes(200) + whole[260:])
    with pytest.raises(ValueError, match="study.zip/study.json cannot be unzipped|is not valid JSON"):
        Archive(path)
    rezipped(archived(folder, path), lambda contents: {"study.json": b"[]"})
    with pytest.raises(ValueError, match=r"study.zip/study.json: expected a JSON object, got list"):
        records_in(tmp_path)
    with pytest.raises(FileNotFoundError, match="none.zip/none.json is not there; restore it"):
        Archive(tmp_path / "none.zip")


def test_a_cell_that_is_no_json_is_named(folder, tmp_path):
    path = unzipped(folder, tmp_path)
    resigned(path, "study-curves.csv.xz", lzma.compress(b"run,trial,table,epoch\na,b,c,1\na,b,c,x1\n"))
    with pytest.raises(ValueError, match="study-curves.csv.xz has a cell that is no JSON in line 3"):
        Archive(path).rows("task/one", "seed-0")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"format": 9}, r"no archive of format 1 \(it says 9\)"),
        (
            {"machines": []},
            r"study.json: runs\['task/one'\] is of machine 0, and there are 0; it is damaged",
        ),
        ({"runs": 3}, r"study.json: runs must be an object, got 3; it is damaged, restore it"),
        ({"runs": {"a": {"machine": 0}}}, r"study.json: runs\['a'\]: expected the fields config, machine; config is"),
        ({"files": {"study.csv": 3}}, r"study.json: files\['study.csv'\] must be a text, got 3"),
    ],
)
def test_damage_of_the_json_file_is_named(folder, tmp_path, change, match):
    path = unzipped(folder, tmp_path)
    whole = read_json(path)
    write_json(path, {**whole, **change})
    with pytest.raises(ValueError, match=match):
        Archive(path)
    path.write_text(path.read_text().replace('"caveats": "none"', '"caveats": "some"'))
    with pytest.raises(ValueError, match=r"study.json does not have the checksum that it states: it was changed"):
        Archive(path)
    path.write_text(path.read_text()[:50])
    with pytest.raises(ValueError, match=r"study.json is not valid JSON"):
        records_in(tmp_path)


def test_nothing_is_no_archive(tmp_path):
    with pytest.raises(ValueError, match="no records of study to archive"):
        archived(tmp_path, tmp_path / "study.zip")
    assert not list(tmp_path.iterdir())


STATES = st.lists(
    st.fixed_dictionaries(
        {"held_out": st.floats(min_value=0) | st.just(math.nan), "error": st.floats(min_value=0) | st.just(math.nan)}
    ),
    min_size=1,
    max_size=12,
)


@given(STATES)
def test_condensed_states_have_the_errors_of_the_best_so_far(states):
    rows = [{"epoch": i, "seconds": i / 8, **state, "parameters": 7} for i, state in enumerate(states)]
    found = condense(rows)
    assert condense(found) == found
    outcome = Outcome(None, 0, found, {})  # type: ignore[arg-type]
    held_out = [finite(row["held_out"]) for row in rows]
    best = [held_out[: i + 1].index(min(held_out[: i + 1])) for i in range(len(rows))]
    assert outcome.errors.tolist() == [finite(rows[i]["error"]) for i in best]
    assert outcome.seconds.tolist() == [row["seconds"] for row in rows]


def test_of_trials_that_choose_nothing_but_the_last_row_is_kept():
    assert condense([{"epoch": 0, "held_out": 1.0, "seconds": 0.1}]) == []
    assert condense([]) == []


@pytest.fixture(scope="module", params=["fig4", "fit2d"])
def study(request, tmp_path_factory):
    """A study of nets, with a table besides the metrics, and one of methods, with modules; run and archived."""
    folder = tmp_path_factory.mktemp("archive")
    reproduce(request.param, profile="smoke", out=folder / "runs", jobs=2)
    archive(folder / "runs", folder / "docs" / f"{request.param}.zip")
    return request.param, folder


def test_an_archive_is_drawn_as_its_folder_is(study, tmp_path):
    name, folder = study
    shutil.copytree(folder / "docs", tmp_path / "docs")
    shutil.copytree(folder / "runs", tmp_path / "runs")
    for where in ("runs", "docs"):
        plot(name, records=tmp_path / where, page=tmp_path / where / "page.md")
    files = [path.name for path in (tmp_path / "runs").iterdir() if path.is_file()]
    assert {f"{name}.md", f"{name}.png", f"{name}.svg", f"{name}.csv", "page.md"} <= set(files)
    for file in files:
        assert (tmp_path / "runs" / file).read_bytes() == (tmp_path / "docs" / file).read_bytes()


def test_what_an_archive_has_is_not_run_again(study, tmp_path, monkeypatch):
    name, folder = study
    shutil.copytree(folder / "docs", tmp_path / "docs")
    monkeypatch.setattr("gmlayers_studies.command.EXECUTORS", {"processes": no_trials})
    reproduce(name, profile="smoke", out=tmp_path / "docs")
    assert not [path for path in (tmp_path / "docs").iterdir() if path.is_dir()]


def no_trials(jobs, at_once):
    assert not list(jobs)
    return []


def test_an_unfinished_study_goes_on_from_its_archive(study, tmp_path):
    name, folder = study
    shutil.copytree(folder / "runs", tmp_path / "runs")
    (gone, *_) = sorted((tmp_path / "runs").glob("**/seed-0"))
    run = gone.parent.relative_to(tmp_path / "runs").as_posix()
    shutil.rmtree(gone)
    archive(tmp_path / "runs", tmp_path / "docs")  # all studies that are there
    docs = tmp_path / "docs"
    # of fig4 the run has no other trial that was begun
    with pytest.raises(FileExistsError, match="was begun and is not finished") if name == "fit2d" else nullcontext():
        reproduce(name, profile="smoke", out=docs)
    reproduce(name, profile="smoke", out=docs, resume=True, jobs=2)
    assert [path.parent.relative_to(docs).as_posix() for path in docs.glob("**/metrics.jsonl")] == [f"{run}/seed-0"]
    assert "not finished" not in (docs / f"{name}.md").read_text()
    archive(docs, docs / f"{name}.zip")  # what came since, too
    assert Archive(docs / f"{name}.zip").rows(run, "seed-0")


def test_what_cannot_be_archived_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="none is not there"):
        archive(tmp_path / "none", tmp_path / "fig2.zip")
    with pytest.raises(ValueError, match="unknown study 'fig22'; did you mean 'fig2'"):
        archive(tmp_path, tmp_path / "fig22.zip")
    with pytest.raises(ValueError, match="no records of fig2 to archive"):
        archive(tmp_path, tmp_path / "fig2.zip")
    with pytest.raises(ValueError, match="fig2.json: an archive is one file; name it fig2.zip"):
        archive(tmp_path, tmp_path / "fig2.json")
    with pytest.raises(ValueError, match="holds no records; run gmlayers reproduce NAME"):
        archive(tmp_path, tmp_path / "out")
    assert METRICS == "metrics"
