"""What was read from a file, checked against annotations: names, types and ranges, in errors that name file and field.

A dataclass says by its annotations what its part of a file must hold; :func:`checked` makes one from JSON. Where the
names are known only when the file is read, :func:`table` takes them as a mapping from name to annotation. A file of
JSON carries a checksum of what stands in it, by :func:`sealed`, and :func:`unsealed` looks whether it is still that.
"""

from __future__ import annotations

import hashlib
import json
import math
import types
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass, is_dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

C = TypeVar("C")

CHECKSUM = "checksum"
"""The checksum of a file of JSON stands under this name."""

FOR_A_RUN = "restore it, or start a new run"
"""This is what to do about damage where a reader has nothing better to say."""

_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", type(None): "null"}


class Unchecked(UserWarning):
    """A file has no checksum, and is used as it is. The command line says so once."""


@dataclass(frozen=True)
class Range:
    """An annotation of numbers: they lie between these two, which are allowed themselves."""

    low: float = -math.inf
    high: float = math.inf
    nan: bool = False
    """If this is true, what is no number is allowed as well."""

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high or (self.nan and value != value)

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"of at least {self.low:g}"
        return f"in [{self.low:g}, {self.high:g}]"


Count = Annotated[int, Range(1)]
"""A whole number from 1."""


Number = Annotated[float, Range(0, nan=True)]
"""A number that is not negative, or none: a loss, an error, a time."""


def checked(
    kind: type[C], content: object, path: Path, *, may_lack: Collection[str] = (), advice: str = FOR_A_RUN
) -> C:
    """Return the dataclass that the content of a file describes.

    Args:
        kind: a dataclass; its annotations may be of bool, int, float, str and None, ``Literal``, unions, tuples,
            mappings by names, dataclasses, ``Any``, and ``Annotated`` with a :class:`Range`.
        content: as JSON gives it; a list stands for a tuple.
        path: the file, for errors.
        may_lack: the names of fields that came later, so that files may lack them.
        advice: what to do about damage.

    Raises:
        ValueError: if a field is missing, unknown, of another type or out of range, or the dataclass refuses itself.
    """
    try:
        return _dataclass(kind, content, "", may_lack)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; {advice}") from None


def table(content: object, fields: Mapping[str, Any], path: Path, place: str = "", *, advice: str = FOR_A_RUN) -> Any:  # noqa: ANN401
    """Return a mapping whose fields are known by name and annotation; other fields are left as they are.

    Args:
        content: as JSON gives it.
        fields: name -> annotation, as in :func:`checked`.
        path: the file, for errors.
        place: where in the file it stands.
        advice: what to do about damage.

    Raises:
        ValueError: if it is no mapping, or a field is missing, of another type or out of range.
    """
    try:
        return {**_mapping(content, place), **_fields(content, fields, place)}
    except ValueError as error:
        raise ValueError(f"{path}: {error}; {advice}") from None


def from_json(text: bytes | str) -> Any:  # noqa: ANN401  (whatever stands there)
    """Return what a text of JSON holds.

    Raises:
        ValueError: if it is none, or nested deeper than anything that we write.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content with a checksum of it."""
    return {**content, CHECKSUM: checksum(content)}


def unsealed(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return the content of a file without its checksum; warn if it has none.

    Raises:
        ValueError: if the checksum is that of another content.
    """
    rest = {name: value for name, value in content.items() if name != CHECKSUM}
    if CHECKSUM not in content:
        unchecked(path)
    elif content[CHECKSUM] != checksum(rest):
        raise ValueError(
            f"{path} does not have the checksum that it states: it was changed; restore it, or take the line "
            f'"{CHECKSUM}" out of it if you have changed it yourself'
        )
    return rest


def unchecked(path: Path) -> None:
    """Warn that a file has no checksum."""
    warnings.warn(
        f"{path} has no checksum, as files of older versions and files that were edited: damage in it, or in others "
        f"that have none, would not be noticed",
        Unchecked,
        stacklevel=3,
    )


def checksum(content: Mapping[str, Any], *parts: bytes | memoryview) -> str:
    """Return a checksum of what stands in JSON, however it is written, and of parts beside it."""
    digest = hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _dataclass(kind: type[C], content: object, place: str, may_lack: Collection[str]) -> C:
    hints = _hints(kind)
    found = _mapping(content, place)
    wanted = ", ".join(sorted(hints))
    if unknown := sorted(found.keys() - hints.keys()):
        raise ValueError(f"{_there(place)}expected the fields {wanted}, got {_short(unknown[0])} as well")
    if missing := sorted(hints.keys() - found.keys() - set(may_lack)):
        raise ValueError(f"{_there(place)}expected the fields {wanted}; {missing[0]} is missing")
    return kind(**_fields(found, {name: hint for name, hint in hints.items() if name in found}, place, may_lack))


def _fields(content: object, fields: Mapping[str, Any], place: str, may_lack: Collection[str] = ()) -> dict[str, Any]:
    found = _mapping(content, place)
    if missing := [name for name in fields if name not in found]:
        raise ValueError(f"{_there(place)}{missing[0]} is missing")
    return {name: _value(hint, found[name], f"{place}.{name}".lstrip("."), may_lack) for name, hint in fields.items()}


def _value(hint: Any, value: Any, place: str, may_lack: Collection[str]) -> Any:  # noqa: ANN401
    """Return a value as an annotation wants it, or raise ``ValueError``."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin is Annotated:
        found = _value(arguments[0], value, place, may_lack)
        for limits in arguments[1:]:
            if isinstance(limits, Range) and isinstance(found, (int, float)) and found not in limits:
                raise _wrong(place, f"{_in_words(arguments[0])} {limits}", value)
        return found
    if origin in (Union, types.UnionType):
        kinds = [kind for kind in arguments if kind is not type(None)]
        if value is None and len(kinds) < len(arguments):
            return None
        if len(kinds) == 1:  # its error says more
            return _value(kinds[0], value, place, may_lack)
        raise AssertionError(f"{place}: unions of several types are not supported")
    if origin is Literal:
        if not any(type(value) is type(one) and value == one for one in arguments):
            raise _wrong(place, f"one of {', '.join(map(str, arguments))}", value)
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise _wrong(place, "a list", value)
        assert arguments[1:] == (...,), f"{place}: tuples of given lengths are not supported"
        return tuple(_value(arguments[0], entry, f"{place}[{i}]", may_lack) for i, entry in enumerate(value))
    if origin is dict:
        return {
            name: _value(arguments[1], v, f"{place}[{name!r}]", may_lack) for name, v in _mapping(value, place).items()
        }
    if isinstance(hint, type) and is_dataclass(hint):
        return _dataclass(hint, value, place, may_lack)
    kinds = (int, float) if hint is float else (hint,)
    if type(value) not in kinds:  # True is no number
        raise _wrong(place, _in_words(hint), value)
    if hint is float and isinstance(value, int) and abs(value) >= 2**1023:
        raise _wrong(place, "a number that floating point has", value)
    return value


def _mapping(value: object, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(place or "its content", "an object", value)
    return value


def _wrong(place: str, wanted: str, got: object) -> ValueError:
    return ValueError(f"{place} must be {wanted}, got {_short(got)}")


def _there(place: str) -> str:
    return f"{place}: " if place else ""


def _in_words(hint: Any) -> str:  # noqa: ANN401
    return _KINDS.get(hint, "what was written")


def _short(value: object) -> str:
    """Return a value as it stands in JSON, cut where it is long."""
    try:
        text = json.dumps(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, say
        text = f"what {type(value).__name__} it is"
    return text if len(text) <= 60 else f"{text[:57]}..."
