"""How modules draw their parameters, whoever holds them, and which parameters are none: torch computes them anew."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeGuard, TypeVar

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

M = TypeVar("M", bound=nn.Module)
P = ParamSpec("P")


def draws(reset: Callable[Concatenate[M, P], None]) -> Callable[Concatenate[M, P], None]:
    """Make of a method that draws all parameters of a module one that may be called whoever holds them.

    It refuses parameters that are computed from others. Where they are sharded, as by FSDP2, every process draws the
    whole of them as a module on one machine would, by the generator of the first, and keeps its part: what is drawn
    does not depend on how many there are.
    """

    @functools.wraps(reset)
    @torch.no_grad()
    def whole(self: M, *args: P.args, **kwargs: P.kwargs) -> None:
        for module in self.modules():
            refuse_computed(f"{type(self).__name__}.reset_parameters", module)
        shards = [
            (owner, name, p)
            for owner in self.modules()
            for name, p in owner.named_parameters(recurse=False)
            if is_sharded(p)
        ]
        full = [torch.empty(p.shape, dtype=p.dtype, device=p.to_local().device) for _, _, p in shards]
        for (owner, name, _), values in zip(shards, full):
            owner._parameters[name] = nn.Parameter(values)
        try:
            reset(self, *args, **kwargs)
        finally:
            for owner, name, shard in shards:
                owner._parameters[name] = shard  # type: ignore[assignment]
        if shards:
            from torch.distributed.tensor import distribute_tensor

            for (_, _, shard), values in zip(shards, full):
                shard.copy_(distribute_tensor(values, shard.device_mesh, shard.placements))

    return whole


def is_sharded(tensor: Tensor) -> TypeGuard[DTensor]:
    """Return whether a tensor is spread over processes; what knows of that is not imported for the question."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def refuse_computed(function: str, module: nn.Module) -> None:
    """Raise if a parameter of the module is computed, so that what is written into it would be lost.

    A parametrization takes its parameter out of the module; so do ``torch.nn.utils.prune`` and the older norms of
    weights, which leave a plain tensor in its place and what it is computed from as ``_orig``, or ``_g`` and ``_v``.

    Raises:
        RuntimeError: if there is one.
    """
    lost = "is computed anew in every forward, and what is written into it would be lost"
    if nn.utils.parametrize.is_parametrized(module):
        (name, *_) = module.parametrizations  # type: ignore[misc]
        raise RuntimeError(
            f"{function}: remove the parametrizations of the module first, then register them anew: its {name} {lost}"
        )
    kept = dict(module.named_parameters(recurse=False))
    plain = (name for name, value in vars(module).items() if isinstance(value, Tensor))
    name = next((name for name in plain if kept.keys() & {f"{name}_orig", f"{name}_v"}), None)
    if name is not None:
        raise RuntimeError(
            f"{function}: remove the pruning or the norm of {name} first, by torch.nn.utils.prune.remove or its like, "
            f"then apply it anew: {name} {lost}"
        )
