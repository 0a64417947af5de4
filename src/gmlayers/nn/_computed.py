"""Parameters that are none: torch computes them from others in every forward."""

from __future__ import annotations

from torch import Tensor, nn


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
