"""Numbers as users have them: tensors, arrays of numpy and pandas, and lists of numbers, all of them as tensors.

Neither numpy nor pandas is imported: what has ``__array__`` is an array.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any, Protocol

import torch
from torch import Tensor

from gmlayers._arguments import check_values, got, is_dense, number_or_none


class SupportsArray(Protocol):
    """What numpy can read: its arrays, and tables and columns of pandas."""

    def __array__(self) -> Any:  # noqa: ANN401
        """Return an array of numpy."""
        ...


Array = SupportsArray | Sequence[Any]
"""Numbers that are no tensor: arrays of numpy and pandas, lists of numbers, and lists of these."""

FLOATS = {2: "float16", 4: "float32", 8: "float64"}
"""Floating dtypes have these names in numpy, by the number of bytes; one that torch does not have becomes float64."""


def numbers(name: str, value: object, *, like: Tensor | None = None, meta: bool = False) -> Tensor:
    """Return numbers as a dense tensor of floating-point numbers.

    A tensor of them is returned as it is. Whole numbers, True and False, which count as 1 and 0, and lists of numbers
    become float64; arrays of floating-point numbers keep their precision. An array is copied, so that nobody changes it
    from outside.

    Args:
        name: what errors call it.
        value: a tensor, an array of numpy or pandas, a number, or a list of these of one size.
        like: what is no tensor takes dtype and device of this one.
        meta: whether a tensor without numbers may be given.

    Raises:
        TypeError: for what has no real numbers in it: strings, dates, missing values, complex numbers.
        ValueError: for lists of several lengths, entries that are masked, and tensors without numbers.
    """
    if isinstance(value, Tensor):
        found = value if is_dense(value) else _whole_numbers(name, value)
        if not meta:
            check_values(name, found)
        return found
    if hasattr(value, "__array__"):
        found = _from_array(name, value)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
        found = _from_list(name, value)
    else:
        number = number_or_none(value)
        if number is None:
            raise TypeError(f"{name} must be a tensor, an array or a list of numbers, got {got(value)}")
        found = torch.tensor(number, dtype=torch.float64, device="cpu")
    return found if like is None else found.to(like)


def column(values: Tensor) -> Tensor:
    """Return targets (n,) as one column, (n, 1), and all others as they are."""
    return values.unsqueeze(1) if values.ndim == 1 else values


def _whole_numbers(name: str, value: Tensor) -> Tensor:
    plain = value.layout is torch.strided and not (value.is_nested or value.is_complex() or value.is_quantized)
    if not plain:
        raise TypeError(f"{name} must be a dense tensor of floating-point or whole numbers, got {got(value)}")
    return value.double()


def _from_array(name: str, value: Any) -> Tensor:  # noqa: ANN401
    mask = getattr(value, "mask", None)
    if hasattr(value, "filled") and bool(getattr(mask, "any", lambda: mask)()):
        raise ValueError(f"{name} must have no masked entries, got {got(value)} with some; leave those rows out")
    try:
        array = value.__array__()
        kind, size = array.dtype.kind, array.dtype.itemsize
    except Exception as error:  # whatever somebody's array does
        reason = str(error).partition("\n")[0]
        raise TypeError(f"{name} must be an array of numbers, got {got(value)}, which is none: {reason}") from error
    if kind == "O":
        _check_entries(name, value, array)
    elif kind not in "fiub":
        raise TypeError(f"{name} must be an array of real numbers, got {got(value)} of {array.dtype}")
    dtype = FLOATS.get(size, "float64") if kind == "f" else "float64"
    try:
        return torch.from_numpy(array.astype(dtype, order="C", copy=True))  # also read-only and reversed ones
    except OverflowError:
        raise ValueError(f"{name} must have numbers that float64 can hold, got a larger one in {got(value)}") from None


def _check_entries(name: str, value: object, array: Any) -> None:  # noqa: ANN401
    """Raise unless an array of objects holds numbers alone, as pandas' nullable columns do."""
    for i, entry in enumerate(array.flat):
        if not isinstance(entry, Real):
            at = [int(n) for n in _place(i, array.shape)]
            raise TypeError(
                f"{name} must be an array of real numbers, got {got(value)} with {_entry(entry)} at {at}; leave out "
                f"what is missing, and write the rest as numbers"
            )


def _place(i: int, shape: Sequence[int]) -> list[int]:
    found = []
    for size in reversed(shape):
        i, rest = divmod(i, size)
        found.append(rest)
    return found[::-1]


def _entry(value: object) -> str:
    text = " ".join(repr(value).split())
    return f"{text[:40]} ({type(value).__name__})"


def _from_list(name: str, value: Sequence[object]) -> Tensor:
    flat = _flat(value)
    if flat is not None:
        return torch.tensor(flat, dtype=torch.float64, device="cpu")
    rows = [numbers(f"{name}[{i}]", row) for i, row in enumerate(value)]
    shapes = {tuple(row.shape) for row in rows}
    if len(shapes) > 1:
        odd = next(i for i, row in enumerate(rows) if row.shape != rows[0].shape)
        raise ValueError(
            f"{name} must be rows of one size, got a list whose entry 0 is {tuple(rows[0].shape)} and entry {odd} is "
            f"{tuple(rows[odd].shape)}"
        )
    device = next((row.device for row in rows if row.device.type != "cpu"), torch.device("cpu"))
    return torch.stack([row.double().to(device) for row in rows])


def _flat(value: Iterable[object]) -> list[Any] | None:
    """Return a list of plain numbers as floats, or None for any other list."""
    found = []
    for entry in value:
        if not isinstance(entry, Real):
            return None
        found.append(float(entry) if isinstance(entry, bool) else number_or_none(entry))
    return found
