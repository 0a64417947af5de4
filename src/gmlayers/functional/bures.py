r"""Bures–Wasserstein geometry: Gaussians as points of a manifold whose distance is optimal transport.

The distance of two Gaussians depends on a pair of roots :math:`S = AA^\top` and :math:`S' = BB^\top` alone,

.. math:: W_2^2 = \|\mu - \mu'\|^2 + \min_{O\ \mathrm{orthogonal}} \|A - BO\|_F^2,
    \qquad O\ \text{the orthogonal factor of}\ B^\top A,

after Bhatia, Jain and Lim, *On the Bures–Wasserstein distance between positive definite matrices* (Expositiones
Mathematicae 2019), Theorem 1. Everything here is computed in this form: it needs no inverse, so singular matrices are
as good as others, and it does not cancel where the distance is small. Its optimal :math:`O` also gives the optimal map
:math:`T`, for :math:`TA = BO`.

All functions take

- ``mean`` μ: (..., d);
- ``cov`` S: (..., d, d), symmetric and positive semi-definite, in float32 or float64;

with any batch axes in front, which are broadcast against each other. Eigenvalues below d · eps times the largest, on
either side of 0, are rounding and count as 0. Everything but :func:`barycentre` is differentiable to any order, at
repeated eigenvalues too, and goes through ``torch.func``, with ``vmap`` and forward mode over reverse mode (as in
``hessian``). Where a square root has no derivative, for changes within the kernel of a singular matrix, the derivative
is taken to be 0.

Raises of all functions:
    ValueError: for matrices that are not square, of other dtypes than float32 and float64, of sizes that do not fit,
        not finite, not symmetric to half the digits of the dtype, or with eigenvalues below zero by more than
        rounding. The message says which one of the batch it is.
    NotImplementedError: under forward mode inside forward mode.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from gmlayers._arguments import check_tensor, check_tensors, check_values, positive_number, real
from gmlayers._names import positive
from gmlayers._shown import brief
from gmlayers.functional import _roots

__all__ = [
    "Gaussian",
    "barycentre",
    "distance",
    "distance_squared",
    "exp",
    "geodesic",
    "log",
    "sqrt",
    "transport_map",
]


class Gaussian(NamedTuple):
    """A Gaussian, or a batch of them."""

    mean: Tensor
    """(..., d)."""
    cov: Tensor
    """(..., d, d)."""

    __repr__ = brief


def sqrt(cov: Tensor) -> Tensor:
    r"""Return the symmetric square root of positive semi-definite matrices, (..., d, d).

    Its derivative X in the direction Y is the solution of :math:`S^{1/2} X + X S^{1/2} = Y`, in the basis of the
    eigenvectors :math:`X_{ij} = Y_{ij} / (\sqrt{\lambda_i} + \sqrt{\lambda_j})`: there are no differences of
    eigenvalues, as there are in that of the eigenvectors.

    Example:
        >>> import torch
        >>> sqrt(torch.tensor([[4.0, 0.0], [0.0, 9.0]]))
        tensor([[2., 0.],
                [0., 3.]])
    """
    _require_shapes("sqrt", cov=cov)
    return _roots.root("sqrt: cov", cov)


def distance_squared(mean1: Tensor, cov1: Tensor, mean2: Tensor, cov2: Tensor) -> Tensor:
    r"""Return the squared Wasserstein distance of Gaussians, (...).

    .. math:: W_2^2 = \|\mu_1 - \mu_2\|^2 + \mathrm{tr}\, S_1 + \mathrm{tr}\, S_2
        - 2\,\mathrm{tr}\,(S_1^{1/2} S_2 S_1^{1/2})^{1/2}

    (Dowson and Landau, *The Fréchet distance between multivariate normal distributions*, 1982), in the form that stands
    at the head of this module. In float64 its relative error is below 1e-12 for matrices of condition numbers up to
    100, and below 1e-11 up to 1e6, unless the distance is small beside the matrices. Its gradient in :math:`S_1` is
    :math:`I - T` with the map T of :func:`transport_map`.

    All pairs of K Gaussians: ``distance_squared(mean[:, None], cov[:, None], mean, cov)``.

    Example:
        >>> import torch
        >>> distance_squared(torch.zeros(2), torch.eye(2), torch.ones(2), 4 * torch.eye(2))
        tensor(4.)
    """
    _require_shapes("distance_squared", mean1=mean1, cov1=cov1, mean2=mean2, cov2=cov2)
    return _distance_squared("distance_squared", mean1, cov1, mean2, cov2)


def distance(mean1: Tensor, cov1: Tensor, mean2: Tensor, cov2: Tensor) -> Tensor:
    """Return the Wasserstein distance of Gaussians, (...): the root of :func:`distance_squared`.

    Where it is 0 its gradient is taken to be 0. Means that are not finite are not looked for: NaN gives NaN.

    Example:
        >>> import torch
        >>> distance(torch.zeros(2), torch.eye(2), torch.zeros(2), torch.eye(2))
        tensor(0.)
    """
    _require_shapes("distance", mean1=mean1, cov1=cov1, mean2=mean2, cov2=cov2)
    squared = _distance_squared("distance", mean1, cov1, mean2, cov2)
    same = squared == 0  # NaN is not the same as anything
    return torch.where(same, 0.0, torch.where(same, 1.0, squared).sqrt())


def transport_map(cov1: Tensor, cov2: Tensor) -> Tensor:
    r"""Return the symmetric positive semi-definite T with :math:`T S_1 T = S_2`, (..., d, d).

    .. math:: T = S_1^{-1/2} (S_1^{1/2} S_2 S_1^{1/2})^{1/2} S_1^{-1/2}

    The optimal map between the Gaussians is :math:`x \mapsto \mu_2 + T(x - \mu_1)` (Olkin and Pukelsheim, *The distance
    between two random vectors with given dispersion matrices*, 1982).

    Raises:
        ValueError: also if ``cov1`` is singular: no map need lead from it to ``cov2``. :func:`geodesic` needs none.

    Example:
        >>> import torch
        >>> transport_map(torch.eye(2), torch.tensor([[4.0, 0.0], [0.0, 9.0]]))
        tensor([[2., 0.],
                [0., 3.]])
    """
    _require_shapes("transport_map", cov1=cov1, cov2=cov2)
    return _map("transport_map", cov1, cov2)


def geodesic(mean1: Tensor, cov1: Tensor, mean2: Tensor, cov2: Tensor, t: Tensor | float) -> Gaussian:
    r"""Return the Gaussian a fraction t of the way from the first to the second, in a straight line of transport.

    .. math:: \mu_t = (1 - t)\mu_1 + t\mu_2, \qquad
        S_t = \bigl((1 - t)I + tT\bigr) S_1 \bigl((1 - t)I + tT\bigr) = A_t A_t^\top, \quad A_t = (1 - t)A + tBO

    (McCann, *A convexity principle for interacting gases*, 1997). It has constant speed. Between singular matrices it
    may be one of several.

    Args:
        mean1: mean of the start.
        cov1: covariance of the start.
        mean2: mean of the end.
        cov2: covariance of the end.
        t: a number or tensor of times that is broadcast against the batch axes. Beyond [0, 1] the line goes on, and is
            a geodesic as long as :math:`(1 - t)I + tT` stays positive definite.

    Example:
        >>> import torch
        >>> geodesic(torch.zeros(1), torch.eye(1), torch.ones(1), 9 * torch.eye(1), 0.5)
        Gaussian(mean=[0.5], cov=[[4]])
    """
    _require_shapes("geodesic", mean1=mean1, cov1=cov1, mean2=mean2, cov2=cov2)
    if isinstance(t, Tensor):
        check_tensor("geodesic: t", t)
        check_values("geodesic: t", t)
        t = t.to(cov1)
    else:
        t = cov1.new_tensor(real("geodesic: t", t))
    batches = {tuple(mean1.shape[:-1]), tuple(cov1.shape[:-2]), tuple(mean2.shape[:-1]), tuple(cov2.shape[:-2])}
    try:
        torch.broadcast_shapes(tuple(t.shape), *batches)
    except RuntimeError:
        raise ValueError(
            f"geodesic: t {tuple(t.shape)} cannot be broadcast against the batch axes {', '.join(map(str, batches))}"
        ) from None
    A, B = _roots.root("geodesic: cov1", cov1), _roots.root("geodesic: cov2", cov2)
    A, BO = _matched(A, B)
    T = t[..., None, None]
    root = torch.lerp(*torch.broadcast_tensors(A, BO, T))
    cross = A @ BO.mT
    expanded = (1 - T) ** 2 * (A @ A.mT) + T * (1 - T) * (cross + cross.mT) + T**2 * (B @ B.mT)
    cov = _valued(expanded, root @ root.mT)
    return Gaussian(torch.lerp(*torch.broadcast_tensors(mean1, mean2, t[..., None])), cov)


def exp(cov: Tensor, tangent: Tensor) -> Tensor:
    r"""Return where the geodesic from a covariance in the direction of a tangent is at time 1, (..., d, d).

    .. math:: \exp_S(L) = (I + L)\, S\, (I + L)

    (Takatsu, *Wasserstein geometry of Gaussian measures*, 2011). A tangent L is a symmetric matrix, the velocity field
    :math:`x \mapsto Lx`; its length is :math:`(\mathrm{tr}\, LSL)^{1/2}`.

    Args:
        cov: covariances, (..., d, d).
        tangent: symmetric matrices, (..., d, d).

    Raises:
        ValueError: also if :math:`I + L` is not positive definite: the geodesic has left the manifold before time 1.

    Example:
        >>> import torch
        >>> exp(torch.eye(2), torch.eye(2))
        tensor([[4., 0.],
                [0., 4.]])
    """
    _require_shapes("exp", cov=cov, tangent=tangent)
    eye = torch.eye(cov.shape[-1], dtype=cov.dtype, device=cov.device)
    T = _roots.psd("exp: I + tangent", eye + tangent, definite=True)
    return T @ _roots.psd("exp: cov", cov) @ T


def log(cov1: Tensor, cov2: Tensor) -> Tensor:
    r"""Return the tangent at the first covariance that leads to the second, (..., d, d): the inverse of :func:`exp`.

    .. math:: \log_{S_1}(S_2) = T - I

    with the map T of :func:`transport_map`. Its length is the distance of the two.

    Raises:
        ValueError: also if ``cov1`` is singular.

    Example:
        >>> import torch
        >>> log(torch.eye(2), 4 * torch.eye(2))
        tensor([[1., 0.],
                [0., 1.]])
    """
    _require_shapes("log", cov1=cov1, cov2=cov2)
    return _map("log", cov1, cov2) - torch.eye(cov1.shape[-1], dtype=cov1.dtype, device=cov1.device)


def barycentre(
    means: Tensor,
    covs: Tensor,
    weights: Tensor | None = None,
    *,
    tolerance: float | None = None,
    max_iterations: int = 1000,
) -> Gaussian:
    r"""Return the Gaussian of least weighted squared distance to n given ones.

    .. math:: \min_{\mu, S} \sum_i w_i W_2^2\bigl(N(\mu, S), N(\mu_i, S_i)\bigr), \qquad
        S \leftarrow \bar T S \bar T,\quad \bar T = \sum_i w_i T_{S \to S_i}

    (Álvarez-Esteban, del Barrio, Cuesta-Albertos and Matrán, *A fixed-point approach to barycenters in Wasserstein
    space*, 2016, Theorem 4.2). On roots the iteration is :math:`A \leftarrow \sum_i w_i B_i O_i`, without inverses; it
    starts at :math:`\sum_i w_i S_i^{1/2}`, which is the answer if the matrices commute. The length of a step is the
    distance of two iterates and the length of the gradient. The barycentre is unique if one of the matrices of positive
    weight is positive definite.

    Args:
        means: (..., n, d).
        covs: (..., n, d, d).
        weights: (..., n), not negative and of sum 1 up to 1e-4; by default 1/n each.
        tolerance: how small the last step must be, relative to the size of the iterate,
            :math:`(\mathrm{tr}\, S)^{1/2}`; by default eps^(2/3): 4e-11 in float64 and 2e-5 in float32.
        max_iterations: number of steps that may be taken, at least 1.

    Returns:
        Means, (..., d), and covariances, (..., d, d). The covariances can be differentiated in nothing: to stop an
        iteration by its values does not make its derivatives right. Their backward raises an error.

    Raises:
        ValueError: also for weights or options out of range, and n = 0.
        RuntimeError: if the tolerance is not reached; the message says what is.

    Example:
        >>> import torch
        >>> barycentre(torch.tensor([[0.0], [2.0]]), torch.tensor([[[1.0]], [[9.0]]]))
        Gaussian(mean=[1], cov=[[4]])
    """
    _require_shapes("barycentre", means=means, covs=covs)
    if covs.ndim < 3 or means.ndim < 2 or means.shape[-2] != covs.shape[-3] or 0 in covs.shape[-3:]:
        raise ValueError(
            f"barycentre: expected means (..., n, d) and covs (..., n, d, d) with n at least 1, got means "
            f"{tuple(means.shape)} and covs {tuple(covs.shape)}"
        )
    max_iterations = positive("barycentre: max_iterations", max_iterations)
    if tolerance is None:
        tolerance = torch.finfo(covs.dtype).eps ** (2 / 3)
    tolerance = positive_number("barycentre: tolerance", tolerance)
    w = _weights(weights, means)
    mean = (w.unsqueeze(-1) * means).sum(-2)
    with torch.no_grad():
        root = _iterate(_roots.root("barycentre: covs", covs), w[..., None, None], tolerance, max_iterations)
        batch = torch.broadcast_shapes(mean.shape[:-1], root.shape[:-2])
    cov = _NotDifferentiable.apply((root @ root.mT).expand(*batch, *root.shape[-2:]), covs, w)
    return Gaussian(mean.expand(*batch, mean.shape[-1]), cov)


def _iterate(B: Tensor, w: Tensor, tolerance: float, max_iterations: int) -> Tensor:
    """Return a root of the barycentre of matrices of roots B, (..., n, d, d)."""
    A, step = (w * B).sum(-3), B.new_zeros(())
    for _ in range(max_iterations):
        last, A = A, (w * (B @ _roots.orthogonal_factor(B.mT @ A.unsqueeze(-3)))).sum(-3)
        size = torch.linalg.matrix_norm(A)
        step = torch.linalg.matrix_norm(A - last) / torch.where(size > 0, size, 1.0)
        if bool((step <= tolerance).all()):
            return A
    raise RuntimeError(
        f"barycentre: not converged after {max_iterations} iterations: the last step is {float(step.max()):.3g} of the "
        f"size of the iterate{_roots.at(step == step.max())}, tolerance is {tolerance:.3g}; raise one of them"
    )


def _weights(weights: Tensor | None, means: Tensor) -> Tensor:
    """Return weights of sum 1, (..., n)."""
    n = means.shape[-2]
    if weights is None:
        return means.new_full((n,), 1 / n)
    check_tensor("barycentre: weights", weights)
    if weights.device != means.device:
        raise ValueError(f"barycentre: weights must be on {means.device} as the means, got them on {weights.device}")
    if weights.ndim < 1 or weights.shape[-1] != n or weights.dtype != means.dtype:
        raise ValueError(
            f"barycentre: weights must be (..., {n}) of {means.dtype}, got {tuple(weights.shape)} of {weights.dtype}"
        )
    total = weights.sum(-1, keepdim=True)
    wrong = ~((weights >= 0).all(-1, keepdim=True) & ((total - 1).abs() <= 1e-4))
    if bool(wrong.any()):
        raise ValueError(
            f"barycentre: weights must not be negative and sum to 1{_roots.at(wrong[..., 0])}, got minimum "
            f"{float(weights.min()):g} and sums from {float(total.min()):g} to {float(total.max()):g}"
        )
    return weights / total


def _distance_squared(function: str, mean1: Tensor, cov1: Tensor, mean2: Tensor, cov2: Tensor) -> Tensor:
    A, B = _roots.root(f"{function}: cov1", cov1), _roots.root(f"{function}: cov2", cov2)
    A, BO = _matched(A, B)
    expanded = A.square().sum((-2, -1)) + B.square().sum((-2, -1)) - 2 * (A * BO).sum((-2, -1))
    return (mean1 - mean2).square().sum(-1) + _valued(expanded, (A - BO).square().sum((-2, -1)))


def _map(function: str, cov1: Tensor, cov2: Tensor) -> Tensor:
    A, BO = _matched(_roots.root(f"{function}: cov1", cov1, definite=True), _roots.root(f"{function}: cov2", cov2))
    T = torch.linalg.solve(A, BO.mT)  # TA = BO, and both T and A are symmetric
    return (T + T.mT) / 2


def _matched(A: Tensor, B: Tensor) -> tuple[Tensor, Tensor]:
    """Return two roots after the best rotation of the second."""
    return A, B @ _roots.orthogonal_factor(B.mT @ A)


def _valued(expanded: Tensor, value: Tensor) -> Tensor:
    """Return the value, which does not cancel, with the derivatives of the expanded square.

    That has BBᵀ in place of BO(BO)ᵀ, whose derivative in O is 0, but for a rounding error that swamps the rest where B
    is much larger than A.
    """
    return value.detach() + (expanded - expanded.detach())


class _NotDifferentiable(Function):
    """A value that came from others in a way that is not differentiated; to ask for it is an error, not a zero."""

    @staticmethod
    def forward(value: Tensor, *sources: Tensor) -> Tensor:  # type: ignore[override]  # noqa: ARG004
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:  # noqa: ANN401
        pass

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:  # noqa: ANN401
        raise NotImplementedError("barycentre: its covariance cannot be differentiated; detach it if it is a constant")


def _require_shapes(function: str, **tensors: Any) -> None:  # noqa: ANN401
    """Raise unless means are (..., d) and matrices (..., d, d), of one dtype, batch axes broadcastable."""
    _roots.refuse_nested_forward_mode(function)
    check_tensors(function, mixed=True, **tensors)
    for name, tensor in tensors.items():
        check_values(f"{function}: {name}", tensor)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    matrices = {name: shape for name, shape in shapes.items() if not name.startswith("mean")}
    for name, shape in matrices.items():
        if len(shape) < 2 or shape[-1] != shape[-2] or shape[-1] == 0:
            raise ValueError(f"{function}: {name} must be square matrices, (..., d, d) with d at least 1, got {shape}")
    dtypes = {tensor.dtype for tensor in tensors.values()}
    if len(dtypes) > 1 or not dtypes <= {torch.float32, torch.float64}:
        found = ", ".join(f"{name} {tensor.dtype}" for name, tensor in tensors.items())
        raise ValueError(f"{function}: expected float32 or float64, one for all, got {found}")
    sizes = {shape[-1] if shape else 0 for shape in shapes.values()}
    batches = [shape[: -2 if name in matrices else -1] for name, shape in shapes.items()]
    found = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
    if len(sizes) > 1:
        raise ValueError(f"{function}: means (..., d) and matrices (..., d, d) must have one d, got {found}")
    try:
        torch.broadcast_shapes(*batches)
    except RuntimeError:
        raise ValueError(f"{function}: batch axes cannot be broadcast against each other, got {found}") from None
