"""How a table is understood, that it is said, and what is asked."""

import warnings

import numpy as np
import pytest
import torch

from gmlayers.experiments.data import load, read_inputs, read_table

ROWS = 60


def table(path, header, row, rows=ROWS, *, encoding="utf-8", end="\n"):
    path.write_bytes("".join(line + end for line in [header, *map(row, range(rows))]).encode(encoding))
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "t.csv"


def understood(path, **options):
    """Load, and return the data and the one line that is said of it."""
    said = []
    data = load(path, say=said.append, **options)
    (line,) = said
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    return data, line.removeprefix(f"{path}: ")


def asked(path, *parts, **options):
    """Load, and expect an error in one line that holds all of it, and nothing said before."""
    said = []
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (compared below, as plain text)
        load(path, say=said.append, **options)
    line = str(caught.value)
    assert str(path) in line
    assert "\n" not in line
    assert not said
    for part in parts:
        assert part in line
    return line


def targets(data):
    return sorted(torch.cat([data.train_y, data.test_y]).flatten().tolist())


def features(data):
    return sorted(torch.cat([data.train_x, data.test_x]).tolist())


def as_prices(n):
    return f"{1000 + 37.5 * n:,.2f}"


# What a column holds


def test_prices_are_a_number(path):
    data, line = understood(table(path, "a,price", lambda n: f'{n},"{as_prices(n)}"'))
    assert data.classes is None
    assert targets(data) == [1000 + 37.5 * n for n in range(ROWS)]
    assert "Read as numbers: price ('1,000.00' is 1000)" in line
    assert line.endswith("Target: price, a number from 1000 to 3212.5")


def test_features_follow_the_same_rule(path):
    data, line = understood(table(path, "price,share,y", lambda n: f'"${as_prices(n)}",{n}%,{n / 7}'))
    assert features(data) == [[1000 + 37.5 * n, n] for n in range(ROWS)]
    assert "Features (2): price, share. Read as numbers: price ('$1,000.00' is 1000), share ('0%' is 0)." in line


def test_few_integers_are_classes_and_it_is_said(path):
    data, line = understood(table(path, "a,quality", lambda n: f"{n / 2},{n % 7 + 1}"))
    assert data.classes == tuple("1234567")
    assert line == (
        "60 rows. Features (1): a. Target: quality, one of 7 classes: 1, 2, 3, 4, 5, 6, 7 (--task regression takes it "
        "as a number)"
    )
    data, line = understood(path, task="regression")
    assert data.classes is None
    assert line.endswith("Target: quality, a number from 1 to 7")


@pytest.mark.parametrize(("classes", "asks"), [(12, False), (13, True), (50, True), (51, False)])
def test_integers_that_may_be_either_are_asked_for(path, classes, asks):
    table(path, "a,y", lambda n: f"{n / 2},{n % classes}")
    if not asks:
        assert (load(path).classes is None) == (classes > 50)
        return
    asked(
        path, f"column 'y': the target has {classes} different values in 60 rows", "--task regression", "--task class"
    )
    assert load(path, task="regression").classes is None
    assert load(path, task="classification").classes == tuple(map(str, range(classes)))


def test_grouped_integers_are_integers(path):
    data, _ = understood(table(path, "a,y", lambda n: f'{n / 2},"{(1000, 2000000)[n % 2]:,}"'))
    assert data.classes == ("1000", "2000000")


@pytest.mark.parametrize("value", ["{} kg", "({})", "{}k", "2020-01-{:02}", "€5 {}", "٣{}"])
def test_a_target_of_digits_that_cannot_be_read_is_asked_for(path, value):
    table(path, "a,y", lambda n: f"{n / 2},{value.format(n % 28)}")
    asked(path, "column 'y'", "--task classification")
    assert len(load(path, task="classification").classes or ()) == 28


def test_words_of_which_most_are_alone_are_asked_for(path):
    table(path, "a,y", lambda n: f"{n / 2},name{n}")
    asked(path, "the target has 60 different values in 60 rows such as 'name0'", "--target", "--task classification")
    table(path, "a,y", lambda n: f"{n / 2},name{n // 2}")
    assert len(load(path).classes or ()) == 30


@pytest.mark.parametrize("gap", ["NA", "n/a", "#N/A", "null"])
def test_a_gap_is_no_class(path, gap):
    table(path, "a,y", lambda n: f"{n},{('red', 'blue', gap)[n % 3]}")
    asked(path, f"line 4, column 'y': the target is {gap!r}", "--task classification")
    assert gap in (load(path, task="classification").classes or ())
    table(path, "a,y", lambda n: f"{n},{(gap, gap, n / 7)[n % 3]}")
    asked(path, f"line 2, column 'y': the target is {gap!r}")


def test_what_decides_is_in_the_file_or_is_asked(path):
    table(path, "a,b,y", lambda n: f'{n},{n / 2},"{1 + n % 9},{100 + n}"')
    data, _ = understood(path)  # n / 2 has its decimals after a point
    assert targets(data)[0] == 1100
    table(path, "a,y", lambda n: f'{n},"{1 + n % 9},{100 + n}"')
    asked(path, "column 'y': '1,100' may be 1100 or 1.1", "--decimal point", "--decimal comma")
    assert targets(load(path, decimal="point"))[0] == 1100
    assert targets(load(path, decimal="comma"))[0] == pytest.approx(1.1)


def test_commas_in_one_column_make_points_of_another_groups(path):
    table(path, "a,b,y", lambda n: f'{n % 9 + 1}.{100 + n},"{n},5",{n % 2}')
    data, line = understood(path)
    assert features(data)[0] == [1100, 0.5]
    assert "b ('0,5' is 0.5), a ('1.100' is 1100)" in line


def test_an_unknown_mark_is_refused(path):
    with pytest.raises(ValueError, match="unknown decimal 'dot'"):
        load(table(path, "a,y", lambda n: f"{n},{n}"), decimal="dot")  # type: ignore[arg-type]


def test_plain_tables_keep_their_bits(path):
    g = np.random.default_rng(0)
    values = g.normal(size=(ROWS, 3)) * [1, 1e9, 1e-9]
    table(path, "a,b,y", lambda n: ",".join(map(repr, values[n].tolist())))
    data, _ = understood(path)
    assert features(data) == sorted(values[:, :2].astype(np.float32).tolist())
    assert targets(data) == sorted(values[:, 2].astype(np.float32).tolist())


def test_what_float32_makes_of_a_column_is_said_or_refused(path):
    _, line = understood(table(path, "t,y", lambda n: f"{1_700_000_000 + n},{n / 7}"))
    assert "Float32 rounds to fewer than 100 different numbers, so subtract the least: t" in line
    _, line = understood(table(path, "t,y", lambda n: f"{n}e-50,{n / 7}"))
    assert "subtract the least: t" in line
    asked(table(path, "a,y", lambda n: f"{n},{1_700_000_000.5 + n}"), "column 'y'", "subtract the least")
    asked(table(path, "a,y", lambda n: f"{n},{n}.5e30"), "column 'y'", "multiply it by a power of ten")
    asked(table(path, "a,y", lambda n: f"{n},{n}.5e-30"), "column 'y'", "multiply it by a power of ten")
    asked(
        table(path, "a,y", lambda n: f"{n}e40,{n / 7}"), "line 3, column 'a'", "within the range of float32, got '1e40'"
    )


def test_a_number_that_is_written_in_another_way_is_shown(path):
    advice = "write all numbers of the column in one way, and see --decimal"
    asked(table(path, "a,y", lambda n: f'"{n},{"0" if n else "00.5"}",{n / 7}'), "line 2, column 'a'", "got '0,00.5'")
    asked(table(path, "a,y", lambda n: f'"{n},5",{n / 7}'), "got '0,5'", advice, decimal="point")
    asked(table(path, "a,y", lambda n: f"{n}{'$' if n else '€'},{n / 7}"), "line 2, column 'a'", "got '0€'", advice)


def test_what_never_changes_and_what_is_true_is_said(path):
    _, line = understood(table(path, "a,zip,big,y", lambda n: f"{n},5,{n % 2 == 0},{n / 7}"))
    assert "True is 1 and false is 0 in: big. The same in every row: zip. Target" in line


def test_arrays_are_explained_too(tmp_path):
    path = tmp_path / "t.npz"
    x = np.arange(2.0 * ROWS).reshape(ROWS, 2)
    np.savez(
        path, x=x, y=np.arange(ROWS) % 3, p=[as_prices(n) for n in range(ROWS)], w=[f"{n} kg" for n in range(ROWS)]
    )
    _, line = understood(path)
    assert line == "array x 60 x 2. Target: y, one of 3 classes: 0, 1, 2 (--task regression takes it as a number)"
    data, line = understood(path, target="p")
    assert targets(data) == [1000 + 37.5 * n for n in range(ROWS)]
    assert line.endswith("Target: p ('1,000.00' is 1000), a number from 1000 to 3212.5")
    asked(path, "array 'w'", "--task classification", target="w")


# What separates fields


@pytest.mark.parametrize(("mark", "name"), [(",", ""), (";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_the_mark_is_found(path, mark, name, end, encoding):
    table(
        path,
        mark.join(["größe", "b", "y"]),
        lambda n: mark.join([str(n), f"{n}.5", f"{n / 7}"]),
        encoding=encoding,
        end=end,
    )
    data, line = understood(path)
    assert data.columns == ("größe", "b")
    assert features(data) == [[n, n + 0.5] for n in range(ROWS)]
    assert line.startswith(f"60 rows separated by {name}. " if name else "60 rows. ")


def test_semicolons_and_decimal_commas(path):
    data, line = understood(table(path, "a;b;y", lambda n: f"{n / 2};{n};{n / 7:.2f}".replace(".", ",")))
    assert features(data) == [[n / 2, n] for n in range(ROWS)]
    assert "a ('0,0' is 0), y ('0,00' is 0)" in line
    table(path, "a;y", lambda n: f"{n};{1 + n % 9}.{100 + n}")
    asked(path, "'1.100' may be 1.1 or 1100", "--decimal")


def test_a_mark_in_quotes_and_in_names_does_not_mislead(path):
    data, _ = understood(table(path, '"a;b",y', lambda n: f"{n},{('x;y', 'z;y')[n % 2]}"))
    assert data.columns == ("a;b",)
    assert data.classes == ("x;y", "z;y")


@pytest.mark.parametrize(("mark", "name"), [(",", "commas"), (";", "semicolons"), ("\t", "tabs")])
def test_an_error_of_fields_names_the_mark(path, mark, name):
    table(path, mark.join("aby"), lambda n: mark.join(["1"] * (4 if n == 5 else 3)))
    asked(path, f"line 7: expected 3 fields, got 4; fields are separated by {name}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,y\n1,2\0\n", "line 2: a zero byte"),
        (b'a,y\n"1"2,3\n', "line 2: a quoted field does not end with its quotes"),
        (b'a,y\n"1,3\n', "line 2: unexpected end of data"),
        ("a,y\n1,2\n".encode("utf-16"), "is not UTF-8 text"),
        ("größe,y\n1,2\n".encode("latin-1"), "is not UTF-8 text"),
        (b"1,5;2,5\n1;2\n", "the first line holds only numbers"),
        (b"\n\n  \n", "is empty; expected"),
        (b"\xef\xbb\xbf", "is empty; expected"),
    ],
)
def test_what_is_no_table_is_said(path, content, message):
    path.write_bytes(content)
    asked(path, message)


def test_a_wide_table_takes_no_long_and_its_messages_are_short(path):
    names = [f"c{n}" for n in range(10_000)]
    table(path, ",".join(names), lambda n: ",".join(["1.5"] * 9_999 + [str(n % 2)]), rows=10)
    data, line = understood(path)
    assert data.shape == (9_999,)
    assert len(line) < 1000
    assert "c7 and 9,991 more" in line
    assert len(asked(path, "unknown target column", target="prise")) < 1000
    with pytest.raises(ValueError, match="lacks the column 'z'") as caught:
        read_table(path, ["z"])
    assert len(str(caught.value)) < 1000


def test_a_column_of_words_says_what_to_do(path):
    asked(table(path, "colour,y", lambda n: f"red,{n}"), "60 of its 60 values are none", "0 and 1 for each word")


def test_a_novel_is_no_class(path):
    asked(table(path, "a,y", lambda n: f"{n},{'x' * 5000 if n else 'b'}"), "line 3, column 'y'", "5,000 characters")


# New rows


def test_new_rows_are_read_by_the_same_rule(path):
    table(path, "name;b;a", lambda n: f"x;{n},5;1.234,5", rows=3)
    said = []
    x = read_table(path, ["a", "b"], say=said.append)
    assert x.tolist() == [[1234.5, n + 0.5] for n in range(3)]
    assert said == [
        f"{path}: 3 rows separated by semicolons. Features (2): a, b. Ignored (1): name. Read as numbers: "
        "a ('1.234,5' is 1234.5), b ('0,5' is 0.5)"
    ]
    with pytest.raises(ValueError, match="--decimal"):
        read_inputs(table(path, "a;b", lambda n: "1.234;2", rows=3), shape=(2,), columns=["a", "b"])
    assert read_inputs(path, shape=(2,), columns=["a", "b"], decimal="comma")[0][0].tolist() == [1234, 2]


def test_lines_are_not_dropped_in_silence(path):
    """The module that counts lines keeps one of white space, and the one that reads them drops it."""
    path.write_text("a\n1\n\n2\n")
    assert read_table(path, ["a"]).tolist() == [[1], [2]]
    for blank in ("   ", "\t"):
        path.write_text(f"a\n1\n{blank}\n2\n")
        with pytest.raises(ValueError, match="its 3 rows can also be read as 2; look for lines without fields"):
            read_table(path, ["a"])


def test_nothing_is_said_unless_asked_for(path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(table(path, "a,y", lambda n: f"{n},{n / 7}"))
