import os
import shutil
import zipfile

import pytest

from gmlayers.cli import main
from gmlayers.experiments.records import read_json, write_json
from gmlayers_studies import command, papers
from gmlayers_studies.archive import Archive
from gmlayers_studies.command import plot, reproduce
from gmlayers_studies.pages import PAGES
from gmlayers_studies.plan import Plan


@pytest.fixture
def refused(capsys):
    """Run a command line that is refused; return the one line that says why."""

    def say(*words):
        with pytest.raises(SystemExit) as end:
            main([str(word) for word in words])
        out, line = capsys.readouterr()
        assert (end.value.code, out, line.count("\n")) == (2, "", 1)
        assert line.startswith("gmlayers: ")
        return line.removeprefix("gmlayers: ").rstrip("\n")

    return say


@pytest.fixture
def runs(done, tmp_path):
    """A copy of the folder of a study that has come to its end, without what it was drawn to."""
    return shutil.copytree(done, tmp_path / "runs", ignore=shutil.ignore_patterns("fig2.*"))


@pytest.fixture
def docs(runs, tmp_path, capsys):
    """The folder of an archive of that study."""
    main(["archive", str(runs), str(tmp_path / "docs" / "fig2.zip")])
    assert f"{tmp_path / 'docs' / 'fig2.zip'}  2 KiB\n" in capsys.readouterr().out
    return tmp_path / "docs"


@pytest.fixture
def unzipped(docs):
    """The same as files of a folder, as version 0.2 wrote them."""
    with zipfile.ZipFile(docs / "fig2.zip") as whole:
        whole.extractall(docs)
    (docs / "fig2.zip").unlink()
    return docs


def files(folder):
    return sorted(path.name for path in folder.iterdir() if path.is_file())


@pytest.mark.parametrize("name", ["digits", "digits/gm-k-5/seed-0", "digits/gm-k-5/seed-0/metrics.jsonl"])
def test_a_study_that_is_received_leads_nowhere(runs, tmp_path, refused, name):
    """A link in it must not let records be written elsewhere."""
    link, elsewhere = runs / name, tmp_path / "elsewhere"
    link.rename(elsewhere)
    link.symlink_to(elsewhere)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    line = refused("reproduce", "fig2", "--profile", "smoke", "--resume", "--out", runs)
    assert line.startswith(f"{link} is a link to {elsewhere}, and nothing is written through a link")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_reproduce_refuses(refused, tmp_path):
    out = "--out", tmp_path / "out"
    assert refused("reproduce", "fig22", *out).startswith("unknown study 'fig22'; did you mean 'fig2'")
    assert refused("reproduce", "fig2", "--jobs", 0, *out) == "--jobs must be at least 1, got 0"
    said = "--dataset mnist: fit2d has no data that others could stand for; omit it"
    assert refused("reproduce", "gmnm", "--profile", "smoke", "--dataset", "mnist", *out) == said
    assert not (tmp_path / "out").exists()


def test_no_more_trials_run_at_once_than_there_are_cores(tmp_path, monkeypatch):
    asked = []

    def run_all(todo, at_once):
        asked.append(at_once)
        return []

    monkeypatch.setitem(command.EXECUTORS, "processes", run_all)
    reproduce("fig2", profile="smoke", jobs=10**6, out=tmp_path)
    assert asked == [os.cpu_count() or 1]


def test_plot_refuses(refused, tmp_path):
    said = "is not there; give the folder that `gmlayers reproduce` wrote to"
    assert refused("plot", "fig2", "--records", tmp_path / "none") == f"{tmp_path / 'none'} {said}"
    assert refused("plot", "fig22", "--records", tmp_path).startswith("unknown study 'fig22'; did you mean 'fig2'")
    for name in ("fig2", "fit2d", "gm-paper"):
        said = f"{tmp_path} holds no records of {name}; run gmlayers reproduce {name} --out {tmp_path}"
        assert refused("plot", name, "--records", tmp_path) == said
    assert files(tmp_path) == []


def test_archive_refuses_what_is_not_there(refused, tmp_path):
    said = f"{tmp_path / 'none'} is not there; give the folder that `gmlayers reproduce` wrote to"
    assert refused("archive", tmp_path / "none", tmp_path / "fig2.zip") == said
    assert refused("archive", tmp_path / "none", tmp_path / "out") == said
    (tmp_path / "file").write_text("")
    assert refused("archive", tmp_path / "file", tmp_path / "out").startswith(f"{tmp_path / 'file'} is not there")
    said = "there are no records of fig2 to archive"
    assert refused("archive", tmp_path, tmp_path / "fig2.zip") == said
    said = f"{tmp_path} holds no records; run gmlayers reproduce NAME --out {tmp_path}"
    assert refused("archive", tmp_path, tmp_path / "out") == said
    assert files(tmp_path) == ["file"]


def test_archive_refuses_names_that_are_no_study(refused, runs):
    for name in ("fig22", "gm-paper", "fig2.old"):
        assert refused("archive", runs, runs.parent / f"{name}.zip").startswith(f"unknown study '{name}'")
    assert files(runs.parent) == []
    taken = runs.parent / "fig2"  # the suffix is forgotten, and such a file is there
    taken.write_text("")
    assert str(taken) in refused("archive", runs, taken)


def test_archive_does_not_take_one_study_for_another(refused, runs):
    assert refused("archive", runs, runs.parent / "fit2d.zip") == "there are no records of fit2d to archive"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 9}, "is no archive of format 1 (it says 9); move it"),
        ({"format": None}, "is no archive of format 1 (it says None); move it"),
        ({"runs": []}, "there are no records"),
        ({"machines": []}, "is of machine 0, and there are 0; it is damaged, restore it"),
        (None, "is not valid JSON"),
    ],
)
def test_archives_of_another_format_are_refused_by_every_command(refused, unzipped, tmp_path, change, said):
    docs, path = unzipped, unzipped / "fig2.json"
    content = path.read_text()
    if change is None:
        path.write_text(content[:100])
    else:
        write_json(path, {**read_json(path), **change})
    before = {name: (docs / name).read_bytes() for name in files(docs)}
    lines = [
        refused("archive", docs, tmp_path / "again" / "fig2.zip"),
        refused("plot", "fig2", "--records", docs),
    ]
    if change != {"runs": []}:
        lines.append(refused("reproduce", "fig2", "--profile", "smoke", "--out", docs, "--resume"))
        assert all(line.startswith(str(path)) and said in line for line in lines)
    assert not (tmp_path / "again").exists()
    assert before == {name: (docs / name).read_bytes() for name in files(docs)}


def test_an_archive_that_lacks_a_file_is_refused(refused, unzipped, tmp_path):
    (unzipped / "fig2.csv").unlink()
    said = f"{unzipped / 'fig2.csv'} is not there; the archive {unzipped / 'fig2.json'} needs it, restore it"
    assert refused("plot", "fig2", "--records", unzipped) == said
    assert refused("archive", unzipped, tmp_path / "fig2.zip") == said


def test_an_archive_that_was_cut_is_refused(refused, docs, tmp_path):
    path = docs / "fig2.zip"
    path.write_bytes(path.read_bytes()[:-100])
    for line in (refused("plot", "fig2", "--records", docs), refused("archive", docs, tmp_path / "fig2.zip")):
        assert line.startswith(f"{path / 'fig2.json'} cannot be unzipped (")


def test_a_study_that_is_unfinished_is_archived_and_goes_on_from_there_if_it_is_resumed(
    refused, runs, tmp_path, capsys
):
    docs = tmp_path / "docs"
    shutil.rmtree(runs / "digits" / "gm-k-10" / "seed-1")
    rows = (runs / "digits" / "gm-k-20" / "seed-0" / "metrics.jsonl").read_text().splitlines(keepends=True)
    (runs / "digits" / "gm-k-20" / "seed-0" / "metrics.jsonl").write_text("".join(rows[:2]))
    main(["archive", str(runs), str(docs)])
    assert "fig2.zip" in capsys.readouterr().out
    assert "fig2.zip" in files(docs)
    assert [row["epoch"] for row in Archive(docs / "fig2.zip").rows("digits/gm-k-20", "seed-0")] == [1, 2]
    main(["plot", "fig2", "--records", str(docs)])
    out = capsys.readouterr().out
    assert "not finished: digits, GM K = 10: seeds 1 of 2" in out
    assert "not finished: digits, GM K = 20: seeds 0 of 2" in out
    line = refused("reproduce", "fig2", "--profile", "smoke", "--out", docs)
    said = "was begun and is not finished; continue it with --resume, or choose another --out"
    assert line == f"{docs / 'digits' / 'gm-k-10'} {said}"
    main(["reproduce", "fig2", "--profile", "smoke", "--out", str(docs), "--resume", "--jobs", "2"])
    assert "not finished" not in capsys.readouterr().out
    trained = sorted(path.parent.relative_to(docs).as_posix() for path in docs.rglob("metrics.jsonl"))
    assert trained == ["digits/gm-k-10/seed-1", "digits/gm-k-20/seed-0"]


def test_studies_that_were_made_and_not_begun_keep_no_other_from_its_archive(runs, tmp_path, refused, capsys):
    """So it is when gm-paper was stopped."""
    for name in ("fig3", "rates"):
        Plan.of(papers.study(name), "smoke", runs).make(resume=False)
    main(["archive", str(runs), str(tmp_path / "docs")])
    capsys.readouterr()
    written = {path.stem for path in (tmp_path / "docs").glob("*.zip")}
    assert "fig2" in written
    assert "rates" not in written
    assert refused("archive", runs, tmp_path / "rates.zip") == "there are no records of rates to archive"


def test_archive_and_resume_refuse_another_configuration(refused, docs):
    line = refused("reproduce", "fig2", "--profile", "quick", "--dataset", "digits", "--out", docs, "--resume")
    said = "holds a run of another configuration (recipe); choose another --out"
    assert line == f"{docs / 'digits' / 'gm-k-5'} {said}"
    assert not (docs / "digits").exists()


def test_trials_that_fail_are_named_and_those_that_did_not_run_are_drawn(runs, monkeypatch, capsys):
    (runs / "digits" / "gm-k-5" / "seed-1" / "metrics.jsonl").unlink()

    asked = []

    def run_all(jobs, at_once):
        asked.append(len(jobs))
        return [command.runner.Failed(job.folder, "no [reason]") for job in jobs]

    monkeypatch.setattr(command, "EXECUTORS", {"processes": run_all})
    with pytest.raises(ValueError, match="1 trials were not finished; try again with --resume"):
        reproduce("fig2", profile="smoke", out=runs, resume=True)
    assert asked == [1]  # a round of no trials starts no processes, and no cluster
    said = capsys.readouterr().out
    assert f"not finished: {runs / 'digits' / 'gm-k-5' / 'seed-1'}: no [reason]" in said
    assert "not finished: digits, GM K = 5: seeds 1 of 2" in said
    assert (runs / "fig2.png").stat().st_size > 1000


def test_an_interruption_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    def interrupt(jobs, at_once):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "EXECUTORS", {"processes": interrupt})
    with pytest.raises(SystemExit) as end:
        main(["reproduce", "fig2", "--profile", "smoke", "--out", str(tmp_path / "out")])
    assert end.value.code == 130
    assert f"continue with the same command and --resume; it writes to {tmp_path / 'out'}" in capsys.readouterr().err


def test_a_page_of_several_studies_links_their_figures_and_names_what_is_missing(runs, tmp_path):
    """Of the other studies that have one of the nets there is nothing to say."""
    page = tmp_path / "docs" / "page.md"
    plot("gm-paper", records=runs, page=page)
    text = page.read_text()
    assert text.startswith(PAGES["gm-paper"].heading)
    assert "](../runs/fig2.png)" in text
    assert "](../runs/fig2.md)" in text
    others = [name for name in PAGES["gm-paper"].studies if name != "fig2"]
    assert f"There are no records of {' and '.join(others)} here." in text
