"""Names and paths from somebody else: what is opened is said, and nothing of them is run or obeyed."""

import csv
import io
import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from gmlayers.experiments import records

TITLE = "\x1b]0;gone\x07"
RUN = "=cmd|' /C calc'!A0"


def rename_source(run, source):
    path = run / "config.json"
    records.write_json(path, records.read_json(path) | {"source": str(source)})


@pytest.fixture
def table(tmp_path):
    """A table whose classes and columns have names that do something."""
    path = tmp_path / "table.csv"
    text = io.StringIO()
    rows = [[i % 2, i / 40, (TITLE, RUN)[i % 2]] for i in range(40)]
    csv.writer(text).writerows([["=1+1", f"size{TITLE}", "kind"], *rows])
    path.write_text(text.getvalue())
    return path


@pytest.fixture
def tabular(table, tmp_path, call):
    folder = tmp_path / "tabular"
    assert call("train", table, "--epochs", 1, "--width", 8, "--out", folder)[0] == 0
    return folder


@contextmanager
def at_most(seconds):
    """End what hangs; no error that the command line would take for its own."""

    def end(*_):
        pytest.fail("it hangs")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def harmless(text):
    return all(c.isprintable() or c == "\n" for c in text)


@pytest.mark.parametrize("command", ["train", "resume", "evaluate", "predict"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
@pytest.mark.parametrize("ending", [".csv", ".npz", ".png"])
def test_what_is_no_file_is_not_waited_for(received, tabular, tmp_path, call, command, kind, ending):
    """A pipe hangs until somebody writes to it, and /dev/zero never ends."""
    source = tmp_path / f"source{ending}"
    os.mkfifo(source) if kind == "pipe" else source.symlink_to("/dev/zero")
    run = received if ending == ".png" else tabular
    rename_source(run, source)
    arguments = {
        "train": ["train", source, "--out", tmp_path / "new"],
        "resume": ["train", "--resume", run],
        "evaluate": ["evaluate", run],
        "predict": ["predict", run, source],
    }
    with at_most(30):
        code, _, err = call(*arguments[command])
    assert code == 2
    line = err.strip().splitlines()[-1]
    assert line.startswith("gmlayers: ")
    assert str(source) in line
    assert f"is a {kind}" in line or "unsupported type '.png'" in line
    if command in ("resume", "evaluate"):
        assert f"gmlayers: note: reading {source}, as {run / 'config.json'} says" in err


def test_a_process_of_its_own_ends_at_a_pipe(tabular, tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    rename_source(tabular, tmp_path / "pipe.csv")
    line = [sys.executable, "-m", "gmlayers", "evaluate", str(tabular)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "pipe.csv is a pipe" in done.stderr


def test_what_is_opened_is_said_and_no_more_than_that_needs(tabular, received, table, call):
    for command in (["evaluate"], ["train", "--resume"]):
        assert f"reading {table}" in call(*command, tabular)[2]
        assert "reading" not in call(*command, received)[2]  # digits, which is no path


def test_names_from_data_are_shown_and_not_obeyed(tabular, table, tmp_path, call):
    out = tmp_path / "out.csv"
    answers = [
        call("evaluate", tabular),
        call("train", "--resume", tabular),
        call("predict", tabular, table),
        call("predict", tabular, table, "--out", out),
        call("compare", tabular),
    ]
    assert [code for code, *_ in answers] == [0] * 5
    assert all(harmless(out + err) for _, out, err in answers)
    assert answers[2][1] == out.read_text()
    kinds = {row["prediction"] for row in csv.DictReader(io.StringIO(out.read_text()))}
    assert kinds
    assert kinds <= {r"\x1b]0;gone\x07", f"'{RUN}"}


def test_nor_in_errors_and_notes(tabular, tmp_path, call):
    other = tmp_path / f"other{TITLE}.csv"
    other.write_text("a,b\n1,2\n")
    code, _, err = call("predict", tabular, other)
    assert code == 2
    assert harmless(err)
    assert r"other\x1b]0;gone\x07.csv lacks the column '=1+1'" in err
    code, _, err = call("compare", tmp_path / f"none{TITLE}")
    assert code == 2
    assert r"none\x1b]0;gone\x07 is no run" in err
    assert harmless(err)


def test_nor_of_folders(received, tmp_path, call):
    name = f"={TITLE}[red]$\\foo$"
    received.rename(tmp_path / name)
    out = tmp_path / "out.csv"
    for command in (["train", "--resume"], ["compare", "--out", out, "--figure", tmp_path / "figure.png"]):
        code, shown, err = call(*command, tmp_path / name)
        assert code == 0
        assert harmless(shown + err)
        assert r"=\x1b]0;gone\x07[red]" in shown
    assert (tmp_path / "figure.png").exists()
    assert out.read_text().splitlines()[1].startswith(r"'=\x1b]0;gone\x07[red]$\foo$,low_rank,")
