import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from gmlayers.experiments import schema
from gmlayers.experiments.schema import Count, Range, checked, table

FILE = Path("a.json")


@dataclass(frozen=True)
class Inner:
    size: Count
    name: str | None = None


@dataclass(frozen=True)
class Outer:
    inner: Inner
    kind: Literal["one", "two"]
    rates: tuple[Annotated[float, Range(0)], ...]
    flag: bool
    free: dict[str, Any]
    later: int = 3

    def __post_init__(self):
        if self.flag and not self.rates:
            raise ValueError("a flag needs rates")


CONTENT = {"inner": {"size": 1, "name": None}, "kind": "one", "rates": [1, 0.5], "flag": True, "free": {"a": [1]}}


def test_what_is_written_comes_back():
    found = checked(Outer, CONTENT, FILE, may_lack={"later"})
    assert found == Outer(Inner(1), "one", (1, 0.5), flag=True, free={"a": [1]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inner": []}, "inner must be an object, got []"),
        ({"inner": {"size": 0, "name": None}}, "inner.size must be a whole number of at least 1, got 0"),
        ({"inner": {"size": True, "name": None}}, "inner.size must be a whole number, got true"),
        ({"inner": {"size": 1.0, "name": None}}, "inner.size must be a whole number, got 1.0"),
        ({"inner": {"size": 1, "name": 3}}, "inner.name must be a text, got 3"),
        ({"inner": {"size": 1}}, "inner: expected the fields name, size; name is missing"),
        ({"kind": "three"}, 'kind must be one of one, two, got "three"'),
        ({"kind": ["one"]}, 'kind must be one of one, two, got ["one"]'),
        ({"rates": 3}, "rates must be a list, got 3"),
        ({"rates": "ab"}, 'rates must be a list, got "ab"'),
        ({"rates": [1, "a"]}, 'rates[1] must be a number, got "a"'),
        ({"rates": [-1e-9]}, "rates[0] must be a number of at least 0, got -1e-09"),
        ({"rates": [math.nan]}, "rates[0] must be a number of at least 0, got NaN"),
        ({"rates": [10**400]}, "rates[0] must be a number that floating point has, got 1000"),
        ({"rates": []}, "a flag needs rates"),
        ({"flag": 1}, "flag must be true or false, got 1"),
        ({"free": None}, "free must be an object, got null"),
        ({"more": 1}, 'expected the fields flag, free, inner, kind, later, rates, got "more" as well'),
    ],
)
def test_errors_name_file_and_field(change, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        checked(Outer, {**CONTENT, **change}, FILE, may_lack={"later"}, advice="do something")
    assert str(error.value).startswith(f"a.json: {message}")
    assert str(error.value).endswith("; do something")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [None, [], 3, "text"])
def test_what_is_no_object(content):
    for read in (lambda: checked(Outer, content, FILE), lambda: table(content, {}, FILE)):
        with pytest.raises(ValueError, match=r"a.json: its content must be an object"):
            read()


def test_fields_that_may_lack_are_named():
    with pytest.raises(ValueError, match="later is missing"):
        checked(Outer, CONTENT, FILE)


def test_a_table_leaves_other_fields_as_they_are():
    assert table({"a": 1, "b": "?"}, {"a": int}, FILE) == {"a": 1, "b": "?"}
    with pytest.raises(ValueError, match=r"a.json: line 3.a must be a whole number, got null"):
        table({"a": None}, {"a": int}, FILE, "line 3")
    with pytest.raises(ValueError, match=r"a.json: line 3: a is missing"):
        table({}, {"a": int}, FILE, "line 3")


def test_a_number_may_be_none_where_that_is_said():
    assert math.isnan(table({"a": math.nan}, {"a": Annotated[float, Range(0, nan=True)]}, FILE)["a"])


def test_a_checksum_does_not_know_how_json_is_written():
    content = {"a": (1, 2.5), "b": {"c": None, "d": "é"}}
    written = json.loads(json.dumps(schema.sealed(content), indent=3))
    assert schema.unsealed(dict(reversed(written.items())), FILE) == {"a": [1, 2.5], "b": {"c": None, "d": "é"}}


def test_what_was_changed_is_refused_and_what_has_no_checksum_is_said():
    content = schema.sealed({"a": 1})
    with pytest.raises(ValueError, match=r"a.json does not have the checksum that it states: it was changed"):
        schema.unsealed({**content, "a": 2}, FILE)
    with pytest.warns(schema.Unchecked, match=r"a.json has no checksum"):
        assert schema.unsealed({"a": 2}, FILE) == {"a": 2}


def test_json_that_is_nested_too_deep():
    with pytest.raises(ValueError, match="nested too deep"):
        schema.from_json("[" * 100_000)
