"""What the solvers read from modules and write into them: checks of data, output weights, and what float32 loses."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from torch import Tensor

from gmlayers import ops
from gmlayers._arrays import Array, column, numbers
from gmlayers.nn import GMNM
from gmlayers.nn._drawing import refuse_computed
from gmlayers.solve.engine.units import root_mean_square

FLOAT32_SHARE = 1e-3
"""If nothing is said, a module of less than float64 may lose this share of the size of the targets without warning."""


@torch.no_grad()
def assign(module: GMNM, weight: Tensor | Array) -> None:
    """Write output weights into a module.

    Args:
        module: its ``weight`` and its ``bias`` are written, in its dtype.
        weight: the weights, (m, out), or with a bias (m + 1, out) and the bias last, as solutions have it; for one
            output also (m,) or (m + 1,). Arrays and lists of numbers are taken.

    Raises:
        ValueError: if the weight is of another shape, not finite, or too large for the dtype of the module.
        TypeError: if the module is of another kind, or the weight has no real numbers.
        RuntimeError: if the module is parametrized.

    Example:
        >>> import torch
        >>> from gmlayers import GMNM, solve
        >>> module = GMNM(2, 1, 3)
        >>> solve.assign(module, torch.ones(4, 1))
        >>> module.bias.item()
        1.0
    """
    check_module("assign", module)
    weight = column(numbers("assign: weight", weight))
    sizes = [module.num_components, 1 if module.bias is not None else 0]
    if weight.shape != (sum(sizes), module.out_features):
        raise ValueError(f"assign: expected a weight {(sum(sizes), module.out_features)}, got {tuple(weight.shape)}")
    if not bool(weight.isfinite().all()):
        raise ValueError("assign: the weight has numbers that are not finite; take the weights of a solution")
    if not bool(weight.to(module.weight.dtype).isfinite().all()):
        raise ValueError(
            f"assign: weights up to {float(weight.abs().amax()):.2g} are too large for {module.weight.dtype}; take a "
            f"module of a wider dtype, or regularise"
        )
    bumps, bias = weight.split(sizes)
    module.weight.copy_(bumps)
    if module.bias is not None:
        module.bias.copy_(bias[0])


def data_for(
    function: str, module: GMNM, x: Tensor | Array, y: Tensor | Array, row_weight: Tensor | Array | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return inputs, targets and row weights for a fit of the module as tensors; raise if they are none.

    Targets (n,) are one column. What is no tensor is put on the device of the module, in its own precision.
    """
    check_module(function, module)

    def taken(name: str, value: Tensor | Array) -> Tensor:
        found = numbers(f"{function}: {name}", value)
        found = found if isinstance(value, Tensor) else found.to(module.mean.device)
        if found.device != module.mean.device:
            raise ValueError(
                f"{function}: {name} is on {found.device} and the module on {module.mean.device}; move one to the other"
            )
        return found

    x, y = taken("x", x), column(taken("y", y))
    row_weight = None if row_weight is None else taken("row_weight", row_weight)
    if x.ndim != 2 or x.shape[1] != module.in_features or y.shape != (len(x), module.out_features) or not len(x):
        raise ValueError(
            f"{function}: expected x (n, {module.in_features}) and y (n, {module.out_features}), n > 0, got "
            f"{tuple(x.shape)} and {tuple(y.shape)}"
        )
    if row_weight is not None and not (
        row_weight.shape == x.shape[:1] and bool((row_weight >= 0).all()) and bool(row_weight.any())
    ):
        raise ValueError(
            f"{function}: expected a row_weight ({len(x)},), not negative and somewhere positive, got "
            f"{tuple(row_weight.shape)}"
        )
    for name, value in {"x": x, "y": y, "row_weight": row_weight}.items():
        if value is not None and not bool(value.isfinite().all()):
            raise ValueError(f"{function}: {name} has numbers that are not finite; leave those rows out")
    return x, y, row_weight


def check_trained(function: str, module: GMNM, *names: str) -> None:
    """Raise ``ValueError`` if one of these parameters, which are to be written, is frozen; of all if none are given."""
    for name, parameter in module.named_parameters():
        if (not names or name in names) and not parameter.requires_grad:
            raise ValueError(
                f"{function}: {name} would be written, and it is frozen (requires_grad=False); call "
                f"module.{name}.requires_grad_() if it may change"
            )


def warn_of_range(function: str, module: GMNM, x: Tensor, row_weight: Tensor | None = None) -> None:
    """Warn, at the line that called the caller, if inputs that count are out of the range of the module."""
    away = module.outside(x)
    if row_weight is not None:
        away &= row_weight > 0
    if bool(away.any()):
        warnings.warn(
            f"{function}: {int(away.sum())} of {len(x)} inputs are out of the range of the module; scale them, or take "
            f"a module with a wider domain",
            stacklevel=4,  # past the caller and its decorator
        )


class Sum(NamedTuple):
    """The numbers of a sum of bumps, of any dtype."""

    mean: Tensor
    """The centres, (m, d)."""
    projection: Tensor
    """The projections A, (m, p, d)."""
    weight: Tensor
    """The weights, (m, out)."""
    bias: Tensor
    """The bias, (out,)."""

    @classmethod
    def of(cls, module: GMNM) -> Sum:
        """Return those of a module."""
        bias = module.weight.new_zeros(module.out_features) if module.bias is None else module.bias
        return cls(module.mean, module.projection_matrix(), module.weight, bias)


def float32_loss(module: GMNM, x: Tensor, numbers: Sum | None = None) -> Tensor:
    """Return the root mean square of what a module loses in float32, (out,), at inputs that are rounded to it.

    Its numbers may be given, if what it holds is rounded already. It is infinite where float32 overflows.
    """
    x, numbers = x.float(), Sum.of(module) if numbers is None else numbers
    lost = answers(module, x, numbers).double() - answers(module, x.double(), numbers)
    return root_mean_square(lost).nan_to_num(nan=torch.inf)


def answers(module: GMNM, x: Tensor, numbers: Sum) -> Tensor:
    """Return what a module with these numbers answers in the dtype of inputs, wherever those are."""
    mean, projection, weight, bias = (number.to(x) for number in numbers)
    return ops.bumps(*module.centred(x, mean), projection) @ weight + bias


def float32_allowed(module: GMNM, size: float, given: float | None) -> float | None:
    """Return what float32 may lose without a warning, for targets of this size."""
    return FLOAT32_SHARE * size if given is None and module.mean.dtype != torch.float64 else given


def check_module(function: str, module: GMNM) -> None:
    """Raise if that is no module, and if what is written into it would be computed away."""
    if not isinstance(module, GMNM):
        raise TypeError(
            f"{function}: expected a GMNM, got {type(module).__name__}; give the module itself, not what it is in"
        )
    refuse_computed(function, module)
