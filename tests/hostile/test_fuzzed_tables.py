"""Whatever a table's bytes are, a command ends with 0 or 2 and one line, and has done with each column what it said.

The tables are drawn by hypothesis, always the same. Most are tables that somebody could have, with one or two faults;
some are bytes of one that were cut, doubled or overwritten.
"""

import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
import tyro
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gmlayers.experiments import records
from gmlayers.experiments.data import load
from gmlayers.experiments.models import Shape
from gmlayers.experiments.text import visible
from gmlayers.experiments.train_command import Changes

T = TypeVar("T")

EXAMPLES = 150
RECIPE, NET = Changes(epochs=1), Shape(width=1)
ODD_CELLS = [
    "",
    "NA",
    "nan",
    "inf",
    "1e999",
    "1e39",
    "-",
    "?",
    "True",
    "red",
    "1.2.3",
    "1,5",
    "1.5",
    "٣",
    "1_0",
    "0x1F",
]
ODD_CELLS += [
    "1,234",
    "1.234",
    "1,234.50",
    "1.234,5",
    "$5",
    "5 €",
    "7%",
    "12 kg",
    "(5)",
    "\u22125",
    "1 234",
    "a\nb",
    "=1+1",
    "\x1b[2J",
]

fuzzed = settings(
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def grouped(n: int, mark: str) -> str:
    text = f"{1000 + 37.5 * n:,.2f}"
    return text if mark == "point" else text.translate(str.maketrans(",.", ".,"))


COLUMNS: dict[str, Callable[[int], str]] = {
    "count": lambda n: str(n),
    "half": lambda n: f"{n / 2}",
    "comma": lambda n: f"{n / 2}".replace(".", ","),
    "price": lambda n: grouped(n, "point"),
    "preis": lambda n: grouped(n, "comma") + " €",
    "open": lambda n: f"{n % 9 + 1},{n + 100}",
    "tausend": lambda n: f"{n % 9 + 1}.{n + 100}",
    "share": lambda n: f"{n}%",
    "same": lambda n: "5",
    "truth": lambda n: str(n % 3 == 0),
    "time": lambda n: str(1_700_000_000 + n),
    "few": lambda n: str(n % 3),
    "some": lambda n: str(n % 9),
    "word": lambda n: ("red", "green", "blue")[n % 3],
    "name": lambda n: f"name{n}",
    "date": lambda n: f"2020-01-{n % 28 + 1:02}",
    "weight": lambda n: f"{n} kg",
    "tiny": lambda n: f"{n}e-50",
    "huge": lambda n: f"{n}e30",
    "gap": lambda n: "" if n % 5 == 0 else str(n),
}
"""Each kind of column gives the text of a row."""

NUMBERS = ["count", "half", "comma", "price", "preis", "share", "same", "truth", "time", "few", "tiny", "huge"]
"""These kinds can be read as numbers whatever else is in the table."""


def quoted(text: str, mark: str) -> str:
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in (mark, '"', "\n", "\r")) else text


def usually(value: T, *others: T) -> st.SearchStrategy[T]:
    """Draw one value mostly; the others stand in the middle, since hypothesis likes the ends."""
    often = [value] * 4 * len(others)
    return st.sampled_from([*often, *others, *often])


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    """Draw the bytes of a table."""
    mark = draw(st.sampled_from([",", ",", ";", "\t", "|"]))
    features = st.sampled_from([*NUMBERS * 5, *COLUMNS])
    kinds = [*draw(st.lists(features, min_size=1, max_size=3)), draw(st.sampled_from([*COLUMNS]))]
    rows = draw(usually(40, 0, 1, 9, 10))
    names = [f"{kind}{index}" for index, kind in enumerate(kinds)]
    cells = [names, *([COLUMNS[kind](n) for kind in kinds] for n in range(rows))]
    for _ in range(draw(usually(0, 1, 2))):  # another text in some cell, the first line among them
        line = draw(st.sampled_from(cells))
        line[draw(st.integers(0, len(line) - 1))] = draw(st.sampled_from(ODD_CELLS) | st.text(max_size=4))
    if draw(usually(False, True)):  # a field too many, or too few
        line = draw(st.sampled_from(cells))
        draw(st.sampled_from([lambda: line.append("1"), lambda: line.pop()]))()
    end = draw(st.sampled_from(["\n", "\n", "\r\n", "\r"]))
    text = end.join(mark.join(quoted(cell, mark) for cell in line) for line in cells) + draw(st.sampled_from([end, ""]))
    encoding = draw(usually("utf-8", "utf-8-sig", "latin-1", "utf-16"))
    content = text.encode(encoding, errors="replace" if encoding != "utf-8" else "surrogatepass")
    if draw(usually(False, True)):
        start, length = draw(st.integers(0, len(content))), draw(st.integers(0, 20))
        middle = draw(st.binary(max_size=3) | st.sampled_from([b'"', b"\0", b"\r", b"\n\n", b"   \n", b",", b";"]))
        content = content[:start] + middle + content[start + length :]
    return content


@pytest.fixture
def command(call: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """Run a command without what takes most of the time: the words on the command line, and a look at the machine."""
    monkeypatch.setattr(records, "environment", dict)

    def run(name: str, **arguments: Any) -> tuple[int, str, str]:
        monkeypatch.setattr(tyro, "cli", lambda function, **_: function(**arguments))
        return call(name)

    return run


def one_line(err: str) -> tuple[list[str], list[str]]:
    """The lines on standard error: those of notes, and those of an error."""
    lines = [line for line in err.split("\n") if line and not re.match(r"\w+ seed 0  epoch 1/1  ", line)]
    assert all(line.startswith("gmlayers: ") for line in lines), err
    notes = [line.removeprefix("gmlayers: note: ") for line in lines if line.startswith("gmlayers: note: ")]
    return notes, [line for line in lines if not line.startswith("gmlayers: note: ")]


def check_what_was_said(path: Path, note: str, config: dict[str, Any], options: dict[str, Any]) -> None:
    """Compare the note with what the run has kept and with the rows themselves."""
    task = config["task"]
    data = load(path, **options)
    x, y = torch.cat([data.train_x, data.test_x]), torch.cat([data.train_y, data.test_y]).flatten()
    assert note.startswith(f"{path}: {len(x):,} rows")
    said = re.search(r"\. Features \((\d+)\): (.*?)(?:\. [A-Z]|$)", note)
    assert said is not None
    assert int(said[1]) == len(task["columns"]) == x.shape[1]
    assert said[2].startswith(visible(" ".join(task["columns"][0].split()))[:20])
    target = note.rpartition("Target: ")[2]
    if task["classes"] is None:
        low, high = map(float, re.findall(r"a number from (\S+) to (\S+)", target)[-1])
        assert [y.min().item(), y.max().item()] == pytest.approx([low, high], rel=1e-5)
    else:
        assert f"one of {len(task['classes'])} classes: " in target
        assert len(task["classes"]) == len(y.unique()) == len(data.classes or ())
    for kind, index in re.findall(r"([a-z]+)(\d) \('[^']*' is ", note):  # of columns that still have their names
        name = f"{kind}{index}"
        if name not in task["columns"] and name in target:
            continue
        column = x[:, task["columns"].index(name)]
        values = [float(value) for value in re.findall(rf"\b{name} \('[^']*' is ([^)]*)\)", note)]
        assert any(torch.isclose(column, torch.tensor(value)).any() for value in values)
    groups = {
        "same": r"The same in every row: (.*?)\. (?:Target|Float32)",
        "least": r"subtract the least: (.*?)\. Target",
    }
    listed = {group: found[1].split(", ") if (found := re.search(p, note)) else [] for group, p in groups.items()}
    for index, name in enumerate(task["columns"]):
        if not re.fullmatch(r"[a-z]+\d", name):
            continue
        constant = bool((x[:, index] == x[0, index]).all())
        assert not (name in listed["same"] and not constant)
        assert not (constant and name not in listed["same"] + listed["least"])


def run(call: Any, content: bytes, options: dict[str, Any]) -> int:
    """Train on a table and predict for it; return the code of the training."""
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "t.csv", Path(folder) / "run"
        path.write_bytes(content)
        code, shown, err = call("train", source=str(path), recipe=RECIPE, net=NET, out=out, **options)
        notes, errors = one_line(err)
        assert "Traceback" not in shown + err
        assert code in (0, 2)
        assert len(errors) == (code == 2), err
        assert not [name for name in Path(folder).iterdir() if name not in (path, out)]
        if code == 2:
            return code
        (note,) = notes
        check_what_was_said(path, note, json.loads((out / "config.json").read_text()), options)
        code, shown, err = call("predict", run=out, files=[path])
        notes, errors = one_line(err)
        assert code in (0, 2)
        assert len(errors) == (code == 2), err
        assert code == 2 or len(shown.split("\n")) >= 10
        return 0


OPTIONS: list[dict[str, str]] = [
    *[{}] * 6, {"task": "regression"}, *[{"task": "classification"}] * 3, {"decimal": "point"}, {"decimal": "comma"},
]  # fmt: skip


def test_a_table_of_any_bytes(command):
    codes = []

    @settings(fuzzed, max_examples=EXAMPLES)
    @given(content=tables(), options=st.sampled_from(OPTIONS))
    def check(content, options):
        codes.append(run(command, content, options))

    check()
    assert min(codes.count(0), codes.count(2)) > EXAMPLES / 6  # or the tables say little of one of the two


@settings(fuzzed, max_examples=20)
@given(content=st.binary(max_size=60))
def test_bytes_that_are_no_table(command, content):
    assert run(command, content, {}) == 2
