"""What a trainer saves after every epoch, and what is checked before it goes on from there.

A checkpoint says which trial it belongs to, and has a checksum of its content. Files that older versions wrote lack
both. So what is read must also fit by itself: the tensors have the names, shapes and types of those that a trainer has
after a step, and of the state of optimizer and schedule only what depends on the way there is taken from the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from gmlayers.experiments.records import DELETE, read_tensors, write_tensors
from gmlayers.experiments.schema import Count, Range, checked, table

FILE = "checkpoint.safetensors"
"""A checkpoint has this name in the folder of its seed."""

LATER = frozenset({"trial", "metrics"})
"""Checkpoints may lack these fields, which came later."""

FREE = frozenset({"device"})
"""These fields of a trial do not decide what is learned."""

MOVES: dict[str, Any] = {
    "lr": Annotated[float, Range(0, torch.finfo(torch.float32).max)],
    "betas": tuple[Annotated[float, Range(0, 1)], ...],
    "momentum": Annotated[float, Range(0, 1)],
}
"""A schedule moves these settings of an optimizer."""


@dataclass(frozen=True)
class Header:
    """What stands in a checkpoint beside the tensors."""

    epoch: Count
    metrics_size: Annotated[int, Range(0)]
    """The size of the records, in bytes, up to this epoch."""
    param_groups: tuple[dict[str, Any], ...]
    scheduler: dict[str, Any]
    trial: dict[str, Any] | None = None
    """What is trained."""
    metrics: str | None = None
    """A checksum of the records up to this epoch."""


def write(path: Path, tensors: Mapping[str, Tensor], header: Header) -> None:
    """Write a checkpoint, whole or not at all."""
    write_tensors(path, tensors, vars(header))


def read(path: Path, trial: Mapping[str, Any], epochs: int) -> tuple[dict[str, Tensor], Header]:
    """Read a checkpoint.

    Args:
        path: of the file.
        trial: what it must belong to, by the names and values of its settings.
        epochs: how many the trial has.

    Raises:
        ValueError: if it is damaged, or belongs to another trial.
        FileNotFoundError: if there is none.
    """
    tensors, metadata = read_tensors(path)
    header = checked(Header, metadata, path, may_lack=LATER, advice=DELETE)
    if header.trial is not None:
        own, stated = dict(_flat(json.loads(json.dumps(trial)))), dict(_flat(header.trial))
        for name in sorted(own.keys() & stated.keys() - FREE):  # a setting that came later is not there
            if own[name] != stated[name]:
                raise ValueError(
                    f"{path} belongs to another trial, with {name} {stated[name]!r} where the configuration says "
                    f"{own[name]!r}; restore the configuration, or start a new run"
                )
    if header.epoch > epochs:
        raise ValueError(f"{path}: epoch must be in [1, {epochs}], the epochs of the run, got {header.epoch}; {DELETE}")
    return tensors, header


def weights(tensors: Mapping[str, Tensor], model: nn.Module, path: Path) -> dict[str, Tensor]:
    """Return the weights of a model among the tensors of a checkpoint; the model itself may have none (meta).

    Raises:
        ValueError: if they are those of another model, naming the first difference, or not finite.
    """
    found = under("model.", tensors)
    refuse_others(model.state_dict(), found, path)
    for name, value in sorted(found.items()):
        if not value.isfinite().all():
            count = int((~value.isfinite()).sum())
            raise ValueError(
                f"{path}: of the {value.numel():,} numbers of {name!r}, {count:,} are not finite, and what such a "
                f"model computes is worth nothing; {DELETE}"
            )
    return found


def refuse_others(wanted: Mapping[str, Tensor], have: Mapping[str, Tensor], path: Path) -> None:
    """Raise ``ValueError`` if tensors do not have the names, shapes and types of those wanted; name the first."""
    for name in sorted(wanted.keys() | have.keys()):
        expected, got = _form(wanted.get(name)), _form(have.get(name))
        if expected != got:
            raise ValueError(
                f"{path} holds another model: for {name!r} expected {expected}, got {got}; "
                f"give the run folder that belongs to it"
            )


def optimizer_tensors(state: Mapping[int, Mapping[str, Any]]) -> dict[str, Tensor]:
    """Return the state of an optimizer as tensors with names."""
    return {
        f"optimizer.{index}.{name}": value
        for index, own in state.items()
        for name, value in own.items()
        if value is not None
    }


def optimizer_state(
    tensors: Mapping[str, Tensor], header: Header, like: Mapping[str, Any], path: Path
) -> dict[str, Any]:
    """Return the state of an optimizer that a checkpoint holds.

    Args:
        tensors: of the checkpoint.
        header: of the checkpoint.
        like: the state of such an optimizer after a step, which has all names, and all that does not move.
        path: of the checkpoint, for errors.

    Raises:
        ValueError: if it is not the state of such an optimizer.
    """
    found = under("optimizer.", tensors)
    refuse_others(under("optimizer.", optimizer_tensors(like["state"])), found, path)
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in found.items():
        index, _, key = name.partition(".")
        if value.isnan().any():
            raise ValueError(f"{path}: the state {name!r} of the optimizer is not a number in places; {DELETE}")
        state.setdefault(int(index), {})[key] = value
    groups, own = header.param_groups, json.loads(json.dumps(like["param_groups"]))
    if len(groups) != len(own):
        raise ValueError(f"{path}: param_groups must be {len(own)} groups, got {len(groups)}; {DELETE}")
    return {"state": state, "param_groups": [_group(*pair, i, path) for i, pair in enumerate(zip(groups, own))]}


def scheduler_state(header: Header, like: Mapping[str, Any], steps: int, path: Path) -> dict[str, Any]:
    """Return the state of a schedule that a checkpoint holds: what it is follows from the number of steps.

    Args:
        header: of the checkpoint.
        like: the state of such a schedule after a step.
        steps: so many were made.
        path: of the checkpoint, for errors.

    Raises:
        ValueError: if it is the state of another schedule, or after another number of steps.
    """
    wanted = {
        **json.loads(json.dumps(like)),
        "last_epoch": steps,
        "_step_count": steps + like["_step_count"] - like["last_epoch"],
        "_last_lr": [group["lr"] for group in header.param_groups],
    }
    _refuse_values(wanted, header.scheduler, {"last_epoch"}, "scheduler", path)
    return wanted


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _group(found: Mapping[str, Any], like: Mapping[str, Any], index: int, path: Path) -> dict[str, Any]:
    """Return a group of parameters: what a schedule moves as it was found, and the rest as it must be."""
    place = f"param_groups[{index}]"
    moves = {name: hint for name, hint in MOVES.items() if name in like}
    moved = table(found, moves, path, place, advice=DELETE)
    _refuse_values({name: value for name, value in like.items() if name not in moves}, found, set(), place, path)
    return {**like, **{name: moved[name] for name in moves}}


def _refuse_values(
    wanted: Mapping[str, Any], found: Mapping[str, Any], needed: set[str], place: str, path: Path
) -> None:
    """Raise ``ValueError`` for a value that is not the one wanted; versions of torch do not all have the same names."""
    for name, value in wanted.items():
        if name in found:
            if found[name] != value:
                raise ValueError(f"{path}: {place}.{name} must be {value!r}, got {found[name]!r}; {DELETE}")
        elif name in needed:
            raise ValueError(f"{path}: {place}.{name} is missing; {DELETE}")


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _form(tensor: Tensor | None) -> str:
    """Return the shape and the type of a tensor in words."""
    if tensor is None:
        return "nothing"
    kind = "" if tensor.dtype == torch.float32 else f" of {str(tensor.dtype).removeprefix('torch.')}"
    return f"{tuple(tensor.shape)}{kind}"
