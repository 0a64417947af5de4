"""One rule for arguments: what a function cannot take is an error of one line that names it, got and allowed.

A tensor is dense, of real floating-point numbers, and on the device and of the dtype of the others. Only what a tensor
is gets looked at, and never its numbers, so that nothing waits for a device, and ``torch.compile``, ``torch.func`` and
subclasses of tensors go through. What else the library takes for numbers stands in :mod:`gmlayers._arrays`.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Collection, Iterable, Mapping
from numbers import Real
from typing import TypeVar

import torch
from torch import Tensor, nn

from gmlayers._names import brief_value, cut

T = TypeVar("T")

FULL = (torch.float32, torch.float64)
"""All functions can compute in these dtypes."""

REAL = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
"""Layers can have parameters of these dtypes."""


def got(value: object) -> str:
    """Return in a few words what was got: of tensors and arrays type, shape, dtype, layout and device."""
    if not isinstance(value, Tensor):
        return brief_value(value)
    layout = "nested " if value.is_nested else "" if value.layout is torch.strided else f"{value.layout} "
    size = "" if value.is_nested else f" {tuple(value.shape)}"
    place = "" if value.device.type == "cpu" else f" on {value.device}"
    return f"a {layout}tensor{size} of {value.dtype}{place}"


def is_dense(value: object) -> bool:
    """Return whether that is a dense tensor of real floating-point numbers."""
    return (
        isinstance(value, Tensor)
        and value.layout is torch.strided
        and value.is_floating_point()
        and not value.is_nested
    )


def check_tensor(name: str, value: object, *, full: bool = False) -> None:
    """Raise ``TypeError`` unless that is a dense tensor of real floating-point numbers.

    Args:
        name: what errors call it.
        value: what is to be a tensor.
        full: whether it must be in float32 or float64, for what torch does not compute in less.

    Raises:
        TypeError: for what is no such tensor.
        ValueError: for a tensor of lower precision.
    """
    if not is_dense(value):
        raise no_tensor(name, value)
    if full and value.dtype not in FULL:  # type: ignore[attr-defined]
        raise ValueError(f"{name} must be in float32 or float64, got {got(value)}; convert it with .float()")


def check_tensors(function: str, *, mixed: bool = False, optional: Collection[str] = (), **tensors: object) -> None:
    """Raise unless all are dense tensors of real floating-point numbers, on one device and of one dtype.

    Args:
        function: errors begin with this name.
        mixed: whether dtypes may differ. Where autocast is on they may always.
        optional: None may be given for these.
        tensors: the tensors by name.

    Raises:
        TypeError: for what is no such tensor.
        ValueError: for several devices or dtypes.
    """
    first = None
    for name, value in tensors.items():
        if value is None and name in optional:
            continue
        if not is_dense(value):
            raise no_tensor(f"{function}: {name}", value)
        assert isinstance(value, Tensor)
        if first is None:
            first = value
        elif value.device != first.device:
            found = _listed(tensors, "device")
            raise ValueError(f"{function}: expected all tensors on one device, got {found}; move them with .to()")
        elif value.dtype != first.dtype and not mixed and not autocast_on(first.device.type):
            found = _listed(tensors, "dtype")
            raise ValueError(f"{function}: expected one dtype for all tensors, got {found}; convert them with .to()")


def check_inputs(name: str, value: object) -> None:
    """Raise unless that is a dense tensor (n, ...) with numbers of any dtype, for a module that is not ours.

    Raises:
        TypeError: for what is no dense tensor.
        ValueError: for a tensor without numbers, or without rows.
    """
    if not isinstance(value, Tensor) or value.is_nested or value.is_quantized or value.layout is not torch.strided:
        raise no_tensor(name, value)
    check_values(name, value)
    if value.ndim == 0 or len(value) == 0:
        raise ValueError(f"{name} must be inputs of shape (n, ...) with n at least 1, got {tuple(value.shape)}")


def check_values(name: str, value: Tensor) -> None:
    """Raise ``ValueError`` for a tensor without numbers, where they are looked at."""
    if value.is_meta:
        raise ValueError(f"{name} must have numbers, got {got(value)}, where there are none")


def no_tensor(name: str, value: object) -> TypeError:
    """Return the error for what :func:`is_dense` is not true of."""
    if not isinstance(value, Tensor):
        hint = "; torch.as_tensor makes one" if hasattr(value, "__array__") or isinstance(value, list | tuple) else ""
        return TypeError(f"{name} must be a tensor, got {got(value)}{hint}")
    if value.is_nested or value.layout is not torch.strided:
        return TypeError(f"{name} must be a dense tensor, got {got(value)}; .to_dense() or padding makes one")
    hint = "" if value.is_complex() or value.is_quantized else "; convert it with .float() or .double()"
    return TypeError(f"{name} must be a tensor of real floating-point numbers, got {got(value)}{hint}")


def _listed(tensors: dict[str, object], what: str) -> str:
    return ", ".join(f"{name} {getattr(value, what)}" for name, value in tensors.items() if isinstance(value, Tensor))


def autocast_on(device_type: str) -> bool:
    """Return whether autocast is at work on that kind of device."""
    return torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type)


def number_or_none(value: object) -> float | None:
    """Return a real number, or a tensor or an array of one, as ``float``; None for anything else.

    A number beyond the range of ``float`` is infinite.
    """
    if isinstance(value, Tensor):
        if value.numel() != 1 or value.is_meta or value.is_complex() or value.dtype == torch.bool:
            return None
        return float(value.detach().item())
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item") and not isinstance(value, Real):
        value = value.item()  # type: ignore[attr-defined]
    if not isinstance(value, Real) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.copysign(math.inf, int(value > 0) - 0.5)  # type: ignore[operator]


def real(name: str, value: object) -> float:
    """Return a real number as ``float``; raise ``TypeError`` for anything else. NaN and infinity are numbers."""
    number = number_or_none(value)
    if number is None:
        raise TypeError(f"{name} must be a number, got {got(value)}")
    if isinstance(value, int) and not math.isfinite(number):
        raise ValueError(f"{name} must be a number that float64 can hold, got {got(value)}")
    return number


def _written(value: object, number: float) -> str:
    return got(value) if isinstance(value, int | float) else repr(number)


def finite_number(name: str, value: object) -> float:
    """Return a finite number; raise ``ValueError`` or ``TypeError`` for anything else."""
    number = real(name, value)
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, got {_written(value, number)}")
    return number


def positive_number(name: str, value: object) -> float:
    """Return a finite number above 0; raise ``ValueError`` or ``TypeError`` for anything else."""
    number = real(name, value)
    if not 0 < number < math.inf:
        raise ValueError(f"{name} must be positive and finite, got {_written(value, number)}")
    return number


def not_negative_number(name: str, value: object) -> float:
    """Return a finite number from 0 up; raise ``ValueError`` or ``TypeError`` for anything else."""
    number = real(name, value)
    if not 0 <= number < math.inf:
        raise ValueError(f"{name} must be finite and not negative, got {_written(value, number)}")
    return number


def check_callable(name: str, value: object, *, optional: bool = False, takes: int | None = None) -> None:
    """Raise ``TypeError`` for what cannot be called, or not with so many arguments; None may be given if optional."""
    if value is None and optional:
        return
    if not callable(value):
        raise TypeError(f"{name} must be a function{' or None' if optional else ''}, got {got(value)}")
    if takes is None:
        return
    try:
        signature = inspect.signature(value)
    except ValueError:  # what is written in C may have none
        return
    try:
        signature.bind(*[None] * takes)
    except TypeError:
        found = cut(f"{getattr(value, '__qualname__', type(value).__name__)}{signature}")
        raise TypeError(
            f"{name} must be a function of {takes} argument{'' if takes == 1 else 's'}, got {found}"
        ) from None


def check_module(name: str, value: object, kind: type[nn.Module] = nn.Module) -> None:
    """Raise ``TypeError`` for what is no module of that kind."""
    if not isinstance(value, kind):
        known = "nn.Module" if kind is nn.Module else f"nn.{kind.__name__}"
        raise TypeError(f"{name} must be an {known}, got {got(value)}")


def several(name: str, value: object, kind: type[T] | tuple[type[T], ...], what: str) -> tuple[T, ...]:
    """Return things of one kind that were given in a list or the like; raise ``TypeError`` for anything else."""
    if isinstance(value, str | bytes | Mapping | type) or not isinstance(value, Iterable):
        raise TypeError(f"{name} must be {what}, got {got(value)}")
    found = tuple(value)
    for i, item in enumerate(found):
        if not isinstance(item, kind):
            raise TypeError(f"{name} must be {what}, got one with {got(item)} at {i}")
    return found


def check_generator(name: str, value: object, device: torch.device | str) -> None:
    """Raise ``TypeError`` for what is no generator and not None, and ``ValueError`` for one of another device."""
    if value is None:
        return
    if not isinstance(value, torch.Generator):
        raise TypeError(f"{name} must be a torch.Generator or None, got {got(value)}")
    if value.device.type != (kind := torch.device(device).type) and kind != "meta":
        raise ValueError(f"{name} must be on {kind}, where the numbers are drawn, got one on {value.device}")


def check_dtype(name: str, dtype: object, *, optional: bool = True) -> None:
    """Raise ``TypeError`` for a dtype that no layer can compute in; None may be given if it is optional."""
    if not (dtype is None and optional) and not (isinstance(dtype, torch.dtype) and dtype in REAL):
        raise TypeError(f"{name} must be of real floating-point numbers, such as torch.float32, got {got(dtype)}")


def check_device(name: str, device: object) -> None:
    """Raise ``TypeError`` or ``ValueError`` for a device that there is not; None is any."""
    if device is None:
        return
    if isinstance(device, bool) or not isinstance(device, torch.device | str | int):
        raise TypeError(f"{name} must be a torch.device or its name, such as 'cpu', got {got(device)}")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, OverflowError, ImportError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{name} must be one that this machine has, got {got(device)}: {reason}") from error


def called(function: str, name: str, given: object, *arguments: object) -> object:
    """Return what a function or module that was given returns; an error of torch's in it is told as one of ours.

    Raises:
        ValueError: if it cannot take the arguments.
    """
    assert callable(given)
    try:
        return given(*arguments)
    except (RuntimeError, TypeError, IndexError, AttributeError, NotImplementedError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        reason = " ".join(str(error).split("\n")[0].split())
        taken = ", ".join(map(got, arguments))
        raise ValueError(f"{function}: {name} failed when called with {taken}: {reason}") from error


def share(name: str, rate: float) -> float:
    """Return a rate of dropout.

    Raises:
        ValueError: if it does not lie in [0, 1).
        TypeError: if it is no number.
    """
    rate = not_negative_number(name, rate)
    if rate >= 1:
        raise ValueError(f"{name} must lie in [0, 1), got {rate:g}")
    return rate
