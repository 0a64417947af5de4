"""The operations: checks, choice of an implementation, batch shapes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gmlayers._arguments import autocast_on, check_tensors
from gmlayers.ops._dispatch import AUTOCAST, RAISED, Implementation, Operation, cost, triton_cost, triton_refuses
from gmlayers.ops._fused import Tensors, recorded, run
from gmlayers.ops.bumps import operators, projections, reference
from gmlayers.ops.bumps.projections import offsets, through_offsets


@dataclass(frozen=True)
class Arguments:
    """The choice of an implementation depends on these properties of the arguments."""

    rows: int
    components: int
    projections: int
    features: int
    needs_x: bool
    dtypes: tuple[torch.dtype, ...]
    device: str
    autocast: bool

    @classmethod
    def of(cls, x: Tensor, mean: Tensor, projection: Tensor) -> Arguments:
        """Return the facts of a call of :func:`bumps` or :func:`bumps_laplacian`."""
        _check(x, mean, projection)
        m, p, d = projection.shape
        return cls(
            x.shape[:-1].numel(),
            m,
            p,
            d,
            torch.is_grad_enabled() and x.requires_grad,
            (x.dtype, mean.dtype, projection.dtype),
            x.device.type,
            autocast_on(x.device.type),
        )

    def __str__(self) -> str:
        gradient = "with" if self.needs_x else "without"
        return (
            f"x ({self.rows}, {self.features}) {gradient} a gradient, mean ({self.components}, {self.features}), "
            f"projection {self.components, self.projections, self.features}, {self.device}"
        )

    @property
    def elements(self) -> int:
        """Entries of the bumps."""
        return self.rows * self.components

    @property
    def products(self) -> float:
        """Operations of the matrix products that no implementation avoids, forward and backward."""
        return 2.0 * (2 + self.needs_x) * self.elements * self.projections * self.features

    @property
    def parameter_passes(self) -> float:
        """Elements passed for the offsets Aμ and their gradients."""
        return 4.0 * self.components * self.projections * self.features


def _not_plain(a: Arguments) -> str | None:
    if a.autocast:
        return AUTOCAST
    if len(set(a.dtypes)) > 1:
        return f"x, mean and projection are of different dtypes: {', '.join(str(d) for d in a.dtypes)}"
    if not (a.components and a.projections and a.features):
        return "there are no components, no projections or no features"
    return None


def _not_triton(a: Arguments) -> str | None:
    allowed = (torch.float32, torch.bfloat16, torch.float16)
    if a.dtypes[0] not in allowed or a.dtypes[2] != a.dtypes[0] or a.dtypes[1] != torch.float32:
        given = ", ".join(str(d) for d in a.dtypes)
        return f"it takes x and projection of one dtype of at most float32, and a mean of float32, not {given}"
    if a.autocast:
        return AUTOCAST
    return triton_refuses(a.device)


def _cost_products(a: Arguments) -> float:
    wide = a.elements * a.projections
    passed = 6.0 * wide + 4 * a.elements + a.parameter_passes
    return cost(flops=a.products, passed=passed, made=wide + a.elements, calls=8 + 9 * a.projections)


def _cost_reference(a: Arguments) -> float:
    wide = a.elements * a.projections
    return cost(flops=a.products, passed=12.0 * wide + 2 * a.parameter_passes, made=4 * wide, calls=25)


def _cost_products_laplacian(a: Arguments) -> float:
    wide = a.elements * a.projections
    flops = (2.0 + 2 * (2 + a.needs_x)) * wide * a.features
    passed = 6.0 * wide + a.elements * (a.projections**2 + a.projections + 10.0) + a.parameter_passes
    calls = 30 + 10 * a.projections + a.projections**2
    return cost(flops=flops, passed=passed, made=wide + 3 * a.elements, calls=calls)


def _cost_reference_laplacian(a: Arguments) -> float:
    squared = 12.0 * a.elements * a.projections**3
    return _cost_reference(a) + squared + cost(made=8.0 * a.elements * a.projections, calls=60)


class Triton:
    """The kernels of :mod:`gmlayers.ops.bumps.triton`, which compute v anew tile by tile."""

    outputs = 1
    finds_values = True
    elementwise = False

    def reference(self, x: Tensor, mean: Tensor, projection: Tensor) -> tuple[Tensor, ...]:
        return (reference.bumps(x.float(), mean, projection.float()),)

    def forward(self, x: Tensor, mean: Tensor, projection: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        offset = offsets(mean, projection.float())
        f = operators.forward(x, projection, offset)
        return (f,), (offset,)

    def backward(
        self, tensors: Tensors, kept: tuple[Tensor, ...], grads: tuple[Tensor, ...], needs: tuple[bool, ...]
    ) -> Tensors:
        x, mean, projection = tensors
        assert x is not None and mean is not None and projection is not None  # noqa: PT018
        f, offset = kept
        wanted = [needs[0], needs[2], needs[1] or needs[2]]
        found = operators.backward(x, projection, offset, f, grads[0], wanted)
        grad_x, grad_projection, grad_offset = (grad if want else None for grad, want in zip(found, wanted))
        if grad_offset is None:
            return grad_x, None, None
        wide = None if grad_projection is None else grad_projection.float()
        grad_mean, wide = through_offsets(grad_offset, mean, projection.float(), wide, needs[1])
        return grad_x, grad_mean, None if wide is None else wide.to(projection.dtype)


BUMPS: Operation[Arguments] = Operation(
    "bumps",
    (
        Implementation("products", _not_plain, _cost_products, lambda _: projections.Bumps()),
        Implementation("reference", lambda _: None, _cost_reference, None),
        Implementation("triton", _not_triton, lambda a: triton_cost(a.device, a.products), lambda _: Triton()),
    ),
)

BUMPS_LAPLACIAN: Operation[Arguments] = Operation(
    "bumps_laplacian",
    (
        Implementation("products", _not_plain, _cost_products_laplacian, lambda _: projections.BumpsLaplacian()),
        Implementation("reference", lambda _: None, _cost_reference_laplacian, None),
    ),
)


def bumps(x: Tensor, mean: Tensor, projection: Tensor, *, implementation: str | None = None) -> Tensor:
    r"""Gaussian bumps, the nonlinearity of a Gaussian mixture module.

    .. math:: f_k(x) = \exp\bigl(-\tfrac12 \|A_k (x - \mu_k)\|^2\bigr)

    The module's value is ``bumps(x, mean, projection) @ weight + bias``
    (:func:`gmlayers.functional.gmnm.gmnm`, with its source); that product has nothing to be fused with, because the
    gradient needs the bumps anyway.

    Args:
        x: (..., d).
        mean: μ, (m, d).
        projection: A, (m, p, d).
        implementation: ``"products"``, ``"triton"`` or ``"reference"``; the cheapest by
            count if not given, see :func:`gmlayers.ops.explain`. Inside ``torch.compile`` it is always the reference.

    Returns:
        (..., m), in [0, 1]; in the dtype of x, by ``"triton"`` in float32. All derivatives of any order.

    Raises:
        ValueError: shapes that do not fit, an implementation that is unknown or cannot be used (with its reason).

    Example:
        >>> import torch
        >>> bumps(torch.zeros(1, 2), torch.zeros(3, 2), torch.ones(3, 2, 2))
        tensor([[1., 1., 1.]])
    """
    if recorded():
        _check_tensors(x, mean, projection)
        _check(x, mean, projection)
        return reference.bumps(x, mean, projection)
    try:
        arguments = Arguments.of(x, mean, projection)
        chosen = BUMPS.choose(arguments, implementation)
        if chosen.call is None:
            return reference.bumps(x, mean, projection)
        (f,) = run(chosen.call(arguments), x.reshape(-1, arguments.features), mean, projection)
        return f.view(*x.shape[:-1], arguments.components)
    except RAISED:
        _check_tensors(x, mean, projection)
        raise


def bumps_laplacian(
    x: Tensor, mean: Tensor, projection: Tensor, *, implementation: str | None = None
) -> tuple[Tensor, Tensor]:
    r"""Gaussian bumps and their Laplacians in x: what a physics-informed loss of second order needs.

    .. math:: f_k(x), \qquad \Delta f_k = \bigl(\|A_k^\top v_k\|^2 - \|A_k\|_F^2\bigr) f_k, \quad v_k = A_k(x - \mu_k)

    Args:
        x: (..., d).
        mean: μ, (m, d).
        projection: A, (m, p, d).
        implementation: ``"products"``, which pairs the projections and is for small p, or ``"reference"``.

    Returns:
        Two tensors (..., m). All derivatives of any order.

    Raises:
        ValueError: as :func:`bumps`.

    Example:
        >>> import torch
        >>> bumps_laplacian(torch.zeros(1, 2), torch.zeros(1, 2), torch.eye(2)[None])
        (tensor([[1.]]), tensor([[-2.]]))
    """
    if recorded():
        _check_tensors(x, mean, projection)
        _check(x, mean, projection)
        return reference.bumps_laplacian(x, mean, projection)
    try:
        arguments = Arguments.of(x, mean, projection)
        chosen = BUMPS_LAPLACIAN.choose(arguments, implementation)
        if chosen.call is None:
            return reference.bumps_laplacian(x, mean, projection)
        f, laplacian = run(chosen.call(arguments), x.reshape(-1, arguments.features), mean, projection)
        shape = *x.shape[:-1], arguments.components
        return f.view(shape), laplacian.view(shape)
    except RAISED:
        _check_tensors(x, mean, projection)
        raise


def _check_tensors(x: Tensor, mean: Tensor, projection: Tensor) -> None:
    check_tensors("bumps", x=x, mean=mean, projection=projection)


def _check(x: Tensor, mean: Tensor, projection: Tensor) -> None:
    m, _, d = projection.shape if projection.ndim == 3 else (-1, -1, -1)
    one_place = x.is_meta == mean.is_meta == projection.is_meta  # else torch computes with numbers that are not there
    if x.shape[-1:] != (d,) or mean.shape != (m, d) or not one_place:
        check_tensors("bumps", mixed=True, x=x, mean=mean, projection=projection)
        raise ValueError(
            f"bumps: expected x (..., d), mean (m, d) and projection (m, p, d), got x {tuple(x.shape)}, "
            f"mean {tuple(mean.shape)}, projection {tuple(projection.shape)}"
        )
