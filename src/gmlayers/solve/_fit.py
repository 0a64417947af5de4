"""Fits of Gaussian mixture modules that use their linearity in the output weights."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from gmlayers import ops
from gmlayers.nn import GMNM
from gmlayers.solve._least_squares import RANK_TOLERANCE, LeastSquares, Rows, least_squares
from gmlayers.solve._limits import check_float32, warn_of_weights

BLOCK = 2**21
"""Numbers of a block of rows."""

FLOAT32_SHARE = 1e-3
"""Of the size of the targets: what modules of less than float64 may lose without a warning, if nothing is said."""


@torch.no_grad()
def fit(
    module: GMNM,
    x: Tensor,
    y: Tensor,
    *,
    weight: Tensor | None = None,
    rank_tolerance: float = RANK_TOLERANCE,
    regularisation: float | Literal["gcv"] = 0.0,
    float32_tolerance: float | None = None,
) -> LeastSquares:
    r"""Set the output weights, and the bias, to the best ones for data; the bumps stay as they are.

    All is computed in float64, whatever the dtype of the module, in which the weights are then written. Where training
    by gradients wants bumps that hardly overlap, a solve makes good use of wide ones, but they get large weights that
    cancel: ``max_weight`` and ``float32_error`` of what is returned say what a module in float32 loses.

    If there is a bias, targets are fitted as differences from their weighted mean, so that regularisation does not pull
    that towards 0.

    Args:
        module: whose ``mean`` and form are used; its ``weight`` and ``bias`` are written.
        x: inputs, (n, in_features), of any floating dtype.
        y: targets, (n, out_features).
        weight: how much each row counts, (n,), not negative.
        rank_tolerance: as for :func:`least_squares`.
        regularisation: as for :func:`least_squares`.
        float32_tolerance: as for :func:`least_squares`; by default 10⁻³ of the root mean square of the targets for
            modules of less than float64, and infinity for others.

    Returns:
        As :func:`least_squares`; its ``weight`` is in float64 and has the bias as the last row, and with a bias
        ``relative`` is in terms of the targets less their mean.

    Raises:
        ValueError: as :func:`least_squares`, for shapes or a device that are not those of the module, and for weights
            that its dtype cannot hold.
        TypeError: what is no module of this kind; data that are no tensors, or complex; options that are no numbers.
        RuntimeError: if the module is parametrized; what is written here would be computed away.

    Warns:
        UserWarning: inputs out of the range of the module, and weights by which float32 may lose more than it may.

    Example:
        >>> import torch
        >>> from gmlayers import GMNM, solve
        >>> x = torch.rand(500, 2, dtype=torch.float64) * 2 - 1
        >>> module = GMNM(2, 1, 100, domain=(-1, 1), dtype=torch.float64)
        >>> with torch.no_grad():
        ...     wider = module.projection.div_(5)
        >>> result = solve.fit(module, x, x.prod(1, keepdim=True))
        >>> bool(result.relative < 1e-4)
        True
    """
    check_data("fit", module, x, y, weight)
    warn_of_range("fit", module, x, weight)
    check_float32("fit", float32_tolerance)
    wide = y.double()
    share = torch.full_like(wide[:, 0], 1 / len(wide)) if weight is None else weight.double() / weight.double().sum()
    level = share @ wide if module.bias is not None else torch.zeros_like(wide[0])
    result = least_squares(
        _blocks(module, x, wide - level, weight), rank_tolerance=rank_tolerance, regularisation=regularisation
    )
    solution, lost = result.weight.clone(), result.float32_error
    if module.bias is not None:
        more = (solution[-1] + level).square() - solution[-1].square()
        lost = (lost.square() + 2.0**-48 * more).clamp(min=0).sqrt()
        solution[-1] += level
    assign(module, solution)
    largest = float(solution.abs().amax())
    size = float((share @ wide.square()).mean().sqrt())
    warn_of_weights("fit", largest, float32_allowed(module, size, float32_tolerance))
    return result._replace(weight=solution, max_weight=largest, float32_error=lost)


@torch.no_grad()
def assign(module: GMNM, weight: Tensor) -> None:
    """Write output weights into a module.

    Args:
        module: whose ``weight`` and ``bias`` are written, in its dtype.
        weight: (m, out), or with a bias (m + 1, out) and the bias last, as solutions have it.

    Raises:
        ValueError: for another shape, and weights that are too large for the dtype of the module.
        TypeError: for what is no module of this kind, and a weight that is no tensor.
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
    check_tensor("assign", "weight", weight)
    sizes = [module.num_components, 1 if module.bias is not None else 0]
    if weight.shape != (sum(sizes), module.out_features):
        raise ValueError(f"assign: expected a weight {(sum(sizes), module.out_features)}, got {tuple(weight.shape)}")
    if not bool(weight.to(module.weight.dtype).isfinite().all()) and bool(weight.isfinite().all()):
        raise ValueError(
            f"assign: weights up to {float(weight.abs().amax()):.2g} are too large for {module.weight.dtype}; take a "
            f"module of a wider dtype, or regularise"
        )
    bumps, bias = weight.split(sizes)
    module.weight.copy_(bumps)
    if module.bias is not None:
        module.bias.copy_(bias[0])


def _blocks(module: GMNM, x: Tensor, y: Tensor, weight: Tensor | None) -> Iterator[Rows]:
    mean, projection = module.mean.double(), module.projection_matrix().double()
    counts = None if weight is None else weight.double()
    size = max(1, BLOCK // (module.num_components * projection.shape[1]))
    for start in range(0, len(x), size):
        part = slice(start, start + size)
        f = ops.bumps(*module.centred(x[part].double(), mean), projection)
        if module.bias is not None:
            f = torch.cat([f, f.new_ones(len(f), 1)], 1)
        yield Rows(f, y[part], None if counts is None else counts[part])


def check_data(function: str, module: GMNM, x: Tensor, y: Tensor, weight: Tensor | None) -> None:
    """Raise if those are no data for a fit of the module."""
    check_module(function, module)
    for name, value in {"x": x, "y": y, "weight": weight}.items():
        if value is None:
            continue
        check_tensor(function, name, value)
        if value.is_complex():
            raise TypeError(f"{function}: {name} must be of real numbers, got {value.dtype}")
        if value.device != module.mean.device:
            raise ValueError(
                f"{function}: {name} is on {value.device} and the module on {module.mean.device}; move one to the other"
            )
    if x.ndim != 2 or x.shape[1] != module.in_features or y.shape != (len(x), module.out_features) or not len(x):
        raise ValueError(
            f"{function}: expected x (n, {module.in_features}) and y (n, {module.out_features}), n > 0, got "
            f"{tuple(x.shape)} and {tuple(y.shape)}"
        )
    if weight is not None and (weight.shape != x.shape[:1] or not bool((weight >= 0).all()) or not weight.any()):
        raise ValueError(
            f"{function}: expected a weight ({len(x)},), not negative and somewhere positive, got {tuple(weight.shape)}"
        )
    for name, value in {"x": x, "y": y, "weight": weight}.items():
        if value is not None and not bool(value.isfinite().all()):
            raise ValueError(f"{function}: {name} has numbers that are not finite; leave those rows out")


def warn_of_range(function: str, module: GMNM, x: Tensor, weight: Tensor | None = None) -> None:
    """Warn, at the line that called the caller, if inputs that count are out of the range of the module."""
    away = module.outside(x if x.is_floating_point() else x.double())
    if weight is not None:
        away &= weight > 0
    if bool(away.any()):
        warnings.warn(
            f"{function}: {int(away.sum())} of {len(x)} inputs are out of the range of the module; scale them, or take "
            f"a module with a wider domain",
            stacklevel=4,  # past the caller and its decorator
        )


def check_tensor(function: str, name: str, value: object) -> None:
    """Raise if that is no tensor."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{function}: {name} must be a tensor, got {type(value).__name__}; torch.as_tensor makes one")


class Sum(NamedTuple):
    """The numbers of a sum of bumps, of any dtype."""

    mean: Tensor
    """(m, d)."""
    projection: Tensor
    """(m, p, d)."""
    weight: Tensor
    """(m, out)."""
    bias: Tensor
    """(out,)."""

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
    return lost.square().mean(0).sqrt().nan_to_num(nan=torch.inf)


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
    if nn.utils.parametrize.is_parametrized(module):
        raise RuntimeError(f"{function}: remove the parametrizations of the module first, then register them anew")
