r"""Functionals of mixtures, most of them with flows that are known.

A functional is any function of a :class:`~gmlayers.flows.Mixture` that returns a scalar and can be differentiated in
its tensors. It must be that of a measure: depend on the weights as they stand, and on the roots through :math:`CC^\top`
alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gmlayers._arguments import (
    called,
    check_callable,
    check_dtype,
    check_generator,
    check_tensor,
    check_tensors,
    check_values,
    got,
    is_dense,
    positive_number,
)
from gmlayers._names import MOST, check_size, positive, whole
from gmlayers._shown import brief
from gmlayers.flows._mixture import Mixture, Roots, check_mixture
from gmlayers.functional import VARIANCE_FLOOR, Activation, bures, get_activation
from gmlayers.functional._shapes import require_shapes
from gmlayers.functional.quadrature import gauss_hermite

Functional = Callable[[Mixture], Tensor]


class Nodes(NamedTuple):
    """A quadrature of the standard Gaussian in q dimensions."""

    points: Tensor
    """The points, (n, q)."""
    weight: Tensor
    """Their weights, (n,), of sum 1."""

    __repr__ = brief


def hermite_nodes(dim: int, order: int, *, dtype: torch.dtype = torch.float64) -> Nodes:
    """Return the product of Gauss–Hermite quadratures: order ** dim nodes, exact for degrees below 2 · order.

    Args:
        dim: number of dimensions q, at least 1; the nodes are too many from 5 on.
        order: number of nodes in each dimension.
        dtype: floating dtype of the nodes.

    Example:
        >>> from gmlayers.flows import hermite_nodes
        >>> hermite_nodes(2, 5).points.shape
        torch.Size([25, 2])
    """
    dim, order = positive("hermite_nodes: dim", dim), whole("hermite_nodes: order", order)
    check_dtype("hermite_nodes: dtype", dtype, optional=False)
    if dim * math.log2(max(2, order)) > math.log2(MOST):
        raise ValueError(
            f"hermite_nodes: {order} nodes in each of dim = {dim} dimensions are more than any machine holds; take "
            f"random_nodes"
        )
    points, weight = gauss_hermite(order)
    grid = torch.cartesian_prod(*[points] * dim).reshape(-1, dim)
    share = torch.cartesian_prod(*[weight] * dim).reshape(-1, dim).prod(1)
    return Nodes(grid.to(dtype), share.to(dtype))


def random_nodes(
    dim: int, number: int, *, generator: torch.Generator | None = None, dtype: torch.dtype = torch.float64
) -> Nodes:
    r"""Return draws of the standard Gaussian with its moments up to degree 3, of equal weight: for many dimensions.

    Draws Z are taken in pairs of opposite sign, so that moments of odd degree are 0, and mapped by the inverse of the
    root of their own second moment, so that this is I: with :math:`\tfrac1n Z^\top Z = LL^\top` the nodes are the rows
    of :math:`ZL^{-\top}` (moment matching; Barraquand, *Numerical valuation of high dimensional multivariate European
    securities*, Management Science 1995). Quadratics are then integrated without error, and a Gaussian that is fitted
    to one by :class:`Divergence` is exact. What is not quadratic leaves an error, which :func:`node_error` tells.

    Args:
        dim: number of dimensions q.
        number: number of draws, even, and at least 2q, without which no second moment is I.
        generator: source of randomness.
        dtype: floating dtype of the nodes.

    Example:
        >>> import torch
        >>> from gmlayers.flows import random_nodes
        >>> points, weight = random_nodes(20, 100)
        >>> (points.T @ (weight[:, None] * points) - torch.eye(20)).abs().max() < 1e-12
        tensor(True)
    """
    dim, number = positive("random_nodes: dim", dim), whole("random_nodes: number", number)
    check_dtype("random_nodes: dtype", dtype, optional=False)
    check_generator("random_nodes: generator", generator, "cpu")
    check_size("random_nodes: number and dim", [(max(number, 0), dim)])
    if number < 2 or number % 2:
        raise ValueError(f"random_nodes: number must be even and positive, got {number}")
    if number < 2 * dim:
        raise ValueError(
            f"random_nodes: number must be at least {2 * dim} in {dim} dimensions, got {number}; fewer nodes leave "
            f"directions in which they see nothing"
        )
    half = torch.randn(number // 2, dim, generator=generator, dtype=dtype).double()
    root = torch.linalg.cholesky(half.T @ half / len(half))
    half = torch.linalg.solve_triangular(root, half.T, upper=False).T.to(dtype)
    return Nodes(torch.cat([half, -half]), half.new_full((number,), 1 / number))


class Quadratic:
    r"""A quadratic potential: :math:`F = \int \tfrac12 (x - b)^\top P (x - b)\, d\rho(x)`.

    .. math:: F = \sum_k w_k \bigl[\tfrac12 (\mu_k - b)^\top P (\mu_k - b) + \tfrac12 \mathrm{tr}\, P\Sigma_k\bigr]

    Its flow is :math:`\mu_k - b \mapsto e^{-tP}(\mu_k - b)`, :math:`C_k \mapsto e^{-tP} C_k`.

    Args:
        precision: P, symmetric, (d, d).
        centre: b, (d,).

    Example:
        >>> import torch
        >>> from gmlayers.flows import Quadratic, Roots
        >>> Quadratic(torch.eye(2), torch.zeros(2))(Roots.particles(torch.ones(3, 2)))
        tensor(1.)
    """

    def __init__(self, precision: Tensor, centre: Tensor) -> None:
        check_tensors("Quadratic", precision=precision, centre=centre)
        _require_symmetric("Quadratic: precision", precision)
        if centre.shape != precision.shape[:1]:
            raise ValueError(
                f"Quadratic: centre must be ({len(precision)},) as the precision is {tuple(precision.shape)}, got "
                f"{tuple(centre.shape)}"
            )
        self.precision, self.centre = precision, centre

    def __call__(self, mixture: Mixture) -> Tensor:
        """Return F."""
        _require_dimensions("Quadratic", mixture, len(self.precision), precision=self.precision)
        away = mixture.mean - self.centre
        spread = (self.precision * mixture.cov).sum((-2, -1))
        return 0.5 * mixture.weight @ ((away @ self.precision * away).sum(1) + spread)


class QuadraticInteraction:
    r"""Attraction along springs: :math:`F = \tfrac12 \iint \tfrac12 (x - y)^\top P (x - y)\, d\rho(x)\, d\rho(y)`.

    With the centre of mass :math:`\bar\mu` of weights of sum W, :math:`F = \tfrac{W}2 \sum_k w_k \bigl[
    (\mu_k - \bar\mu)^\top P (\mu_k - \bar\mu) + \mathrm{tr}\, P\Sigma_k\bigr]`. Its flow contracts by
    :math:`e^{-tP}` towards the centre of mass, which rests.

    Args:
        precision: P, symmetric, (d, d).

    Example:
        >>> import torch
        >>> from gmlayers.flows import QuadraticInteraction, Roots
        >>> QuadraticInteraction(torch.eye(1))(Roots.particles(torch.tensor([[-1.0], [1.0]])))
        tensor(0.5000)
    """

    def __init__(self, precision: Tensor) -> None:
        check_tensor("QuadraticInteraction: precision", precision)
        _require_symmetric("QuadraticInteraction: precision", precision)
        self.precision = precision

    def __call__(self, mixture: Mixture) -> Tensor:
        """Return F."""
        _require_dimensions("QuadraticInteraction", mixture, len(self.precision), precision=self.precision)
        w, total = mixture.weight, mixture.weight.sum()
        away = mixture.mean - (w @ mixture.mean) / total
        spread = (self.precision * mixture.cov).sum((-2, -1))
        return 0.5 * total * w @ ((away @ self.precision * away).sum(1) + spread)


class KernelDiscrepancy:
    r"""Half of the squared maximum mean discrepancy to a target, with a Gaussian kernel.

    .. math:: F = \tfrac12 \iint e^{-\|x - y\|^2 / 2h^2}\, d(\rho - \rho^*)(x)\, d(\rho - \rho^*)(y)

    (Gretton et al., *A kernel two-sample test*, JMLR 2012), an interaction energy with a potential, in closed form:
    between two Gaussians the kernel has the mean :math:`|I + S/h^2|^{-1/2} e^{-\frac12 \delta^\top (h^2 I + S)^{-1}
    \delta}` with the sum S of their covariances and the difference δ of their means. It is 0 at the target alone, and
    there are no gradients far from it.

    Args:
        target: :math:`\rho^*`.
        bandwidth: h, positive.

    Example:
        >>> import torch
        >>> from gmlayers.flows import KernelDiscrepancy, Roots
        >>> points = Roots.particles(torch.rand(5, 2))
        >>> KernelDiscrepancy(points, 1.0)(points).abs() < 1e-6
        tensor(True)
    """

    def __init__(self, target: Mixture, bandwidth: float) -> None:
        check_mixture("KernelDiscrepancy: target", target)
        bandwidth = positive_number("KernelDiscrepancy: bandwidth", bandwidth)
        if not 0 < bandwidth * bandwidth < math.inf:
            raise ValueError(f"KernelDiscrepancy: bandwidth must have a finite square above 0, got {bandwidth}")
        self.target, self.bandwidth = target, bandwidth

    def __call__(self, mixture: Mixture) -> Tensor:
        """Return F."""
        _require_dimensions("KernelDiscrepancy", mixture, self.target.mean.shape[1], target=self.target.mean)
        mean = torch.cat([mixture.mean, self.target.mean])
        cov = torch.cat([mixture.cov, self.target.cov])
        w = torch.cat([mixture.weight, -self.target.weight])
        return 0.5 * w @ self._kernel(mean, cov) @ w

    def _kernel(self, mean: Tensor, cov: Tensor) -> Tensor:
        eye = torch.eye(mean.shape[1], dtype=mean.dtype, device=mean.device)
        chol = torch.linalg.cholesky(eye + (cov[:, None] + cov) / self.bandwidth**2)
        away = (mean[:, None] - mean)[..., None] / self.bandwidth
        white = torch.linalg.solve_triangular(chol, away, upper=False)[..., 0]
        return torch.exp(-0.5 * white.square().sum(-1) - chol.diagonal(dim1=-2, dim2=-1).log().sum(-1))


class Divergence:
    r"""The Kullback–Leibler divergence from :math:`\pi \propto e^{-V}`, up to its constant, by quadrature.

    .. math:: F = \int (V + \log\rho)\, d\rho
        \approx \sum_k w_k \sum_i \omega_i\, (V + \log\rho)(\mu_k + C_k \varepsilon_i)

    Its flow is variational inference with Gaussian mixtures (Lambert, Chewi, Bach, Bonnabel and Rigollet, *Variational
    inference via Wasserstein gradient flows*, NeurIPS 2022, section 5). For a single Gaussian the entropy is exact with
    nodes of degree 2, and if V is quadratic all is: then F falls as :math:`e^{-2\alpha t}` with the least eigenvalue α
    of its Hessian.

    Args:
        potential: V, which takes points (..., d) to values (...); differentiable. It may use autograd itself: in a
            flow the points require gradients.
        nodes: what :func:`hermite_nodes` or :func:`random_nodes` gives, in as many dimensions as roots have columns.

    With nodes that are neither exact nor many the flow fits the nodes; :func:`node_error` tells how much. Nodes that
    lack the fourth moments of the Gaussian, random ones above all, are mapped by the symmetric root of Σ in place of C,
    which the flow would turn to their liking.

    Raises:
        TypeError: for a potential that cannot be called; when called, for one that returns no tensor.
        ValueError: when called, for nodes of another dimension, a singular covariance (there is no density), a
            potential of another shape or one that is detached from its points.

    Example:
        >>> import torch
        >>> from gmlayers.flows import Divergence, Roots, hermite_nodes
        >>> F = Divergence(lambda x: 0.5 * x.square().sum(-1), hermite_nodes(2, 3, dtype=torch.float32))
        >>> standard = Roots(torch.zeros(1, 2), torch.eye(2)[None])
        >>> round(float(F(standard)), 4)  # minus the logarithm of 2π
        -1.8379
    """

    def __init__(self, potential: Callable[[Tensor], Tensor], nodes: Nodes) -> None:
        check_callable("Divergence: potential", potential, takes=1)
        if not isinstance(nodes, Nodes):
            raise TypeError(f"Divergence: nodes must be Nodes, as hermite_nodes returns them, got {got(nodes)}")
        require_shapes("Divergence: nodes", points=(nodes.points, "n q"), weight=(nodes.weight, "n"))
        self.potential, self.nodes = potential, nodes
        self._turns = not _hold_degree_4(nodes)

    def __call__(self, mixture: Mixture) -> Tensor:
        """Return F."""
        check_mixture("Divergence: the argument", mixture)
        root = mixture.root
        if self._turns and isinstance(mixture, Roots) and root.shape[1] == root.shape[2]:
            root = bures.sqrt(mixture.cov)  # a root that may turn would be fitted to the nodes, too
        nodes = Nodes(*(t.to(root) for t in self.nodes))
        if nodes.points.shape[1] != root.shape[2]:
            raise ValueError(
                f"Divergence: the nodes have {nodes.points.shape[1]} dimensions and the roots {root.shape[2]} columns; "
                f"give nodes of {root.shape[2]}"
            )
        x = mixture.mean[:, None] + nodes.points @ root.mT
        return mixture.weight @ ((self._values(x) + log_density(mixture, x)) @ nodes.weight)

    def _values(self, x: Tensor) -> Tensor:
        values = called("Divergence", "potential", self.potential, x)
        if not isinstance(values, Tensor) or not is_dense(values):
            raise TypeError(
                f"Divergence: potential must return a tensor {tuple(x.shape[:-1])} for points {tuple(x.shape)}, got "
                f"{got(values)}"
            )
        if values.shape != x.shape[:-1]:
            raise ValueError(
                f"Divergence: the potential must take points (..., d) to values (...), and took {tuple(x.shape)} to "
                f"{tuple(values.shape)} instead of {tuple(x.shape[:-1])}"
            )
        if x.requires_grad and not values.requires_grad and bool((values != values.flatten()[0]).any()):
            raise ValueError(
                "Divergence: the potential has detached its values from its points; it must be differentiable in torch"
            )
        return values


def _hold_degree_4(nodes: Nodes) -> bool:
    """Return whether nodes have the fourth moments of the Gaussian, so that turning them hardly matters."""
    square = nodes.points.double().square()
    moments = square.T @ (nodes.weight.double()[:, None] * square)
    exact = 1 + 2 * torch.eye(len(moments), dtype=moments.dtype, device=moments.device)
    return bool((moments - exact).abs().max() < 1e-4)


def log_density(mixture: Mixture, x: Tensor) -> Tensor:
    r"""Return :math:`\log \sum_k w_k N(x; \mu_k, \Sigma_k)`, (...), for x of shape (..., d).

    Raises:
        ValueError: for a singular covariance, by its index.

    Example:
        >>> import torch
        >>> from gmlayers.flows import Roots, log_density
        >>> log_density(Roots(torch.zeros(1, 2), torch.eye(2)[None]), torch.zeros(2))
        tensor(-1.8379)
    """
    check_mixture("log_density: mixture", mixture)
    check_tensors("log_density", x=x, mixture=mixture.mean)
    if x.ndim == 0 or x.shape[-1] != mixture.mean.shape[1]:
        raise ValueError(f"log_density: expected x (..., {mixture.mean.shape[1]}), got {tuple(x.shape)}")
    chol, info = torch.linalg.cholesky_ex(mixture.cov)
    if bool(info.any()):
        raise ValueError(f"log_density: the covariance of component {int(info.nonzero()[0])} is singular")
    away = (x[..., None, :] - mixture.mean)[..., None]
    white = torch.linalg.solve_triangular(chol, away, upper=False)[..., 0].square().sum(-1)
    scale = chol.diagonal(dim1=-2, dim2=-1).log().sum(-1) + 0.5 * x.shape[-1] * math.log(2 * math.pi)
    return torch.logsumexp(mixture.weight.log() - scale - 0.5 * white, -1)


class Regularised:
    r"""A functional plus τ times the mean negative entropy of the components.

    .. math:: F + \tau \sum_k w_k \int \log N_k\, dN_k
        = F - \tau \sum_k w_k \bigl[\tfrac12 \log\det\Sigma_k + \tfrac d2 \log 2\pi e\bigr]

    For one component this is the entropy itself, and with F the integral of V and τ = 1 the Kullback–Leibler divergence
    from :math:`e^{-V}`. For several it is an upper bound, by convexity, that keeps each of them from collapsing.

    Args:
        smooth: F.
        temperature: τ, positive.

    Raises (when called):
        ValueError: for a singular covariance.

    Example:
        >>> import torch
        >>> from gmlayers.flows import Quadratic, Regularised, Roots
        >>> F = Regularised(Quadratic(torch.eye(2), torch.zeros(2)), 1.0)
        >>> round(float(F(Roots(torch.zeros(1, 2), torch.eye(2)[None]))), 4)
        -1.8379
    """

    def __init__(self, smooth: Functional, temperature: float) -> None:
        check_callable("Regularised: smooth", smooth, takes=1)
        temperature = positive_number("Regularised: temperature", temperature)
        self.smooth, self.temperature = smooth, temperature

    def __call__(self, mixture: Mixture) -> Tensor:
        """Return the sum."""
        check_mixture("Regularised: the argument", mixture)
        chol, info = torch.linalg.cholesky_ex(mixture.cov)
        if bool(info.any()):
            raise ValueError(f"Regularised: the covariance of component {int(info.nonzero()[0])} is singular")
        half_log_det = chol.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        entropy = half_log_det + 0.5 * chol.shape[-1] * math.log(2 * math.pi * math.e)
        smooth = called("Regularised", "smooth", self.smooth, mixture)
        if not isinstance(smooth, Tensor) or smooth.shape != ():
            raise ValueError(f"Regularised: smooth must return a tensor that is a scalar, got {got(smooth)}")
        return smooth - self.temperature * mixture.weight @ entropy


class Supervised:
    r"""The loss of a two-layer network whose neurons (ω, β) follow the mixture.

    .. math:: F = \ell(h_\rho(x), y), \qquad h_\rho(x) = \int \omega f(\langle\beta, x\rangle)\, d\rho
        = \sum_k w_k \bigl[\mathbb E f(z_k)\, \mu_{\omega,k} + \mathbb E f'(z_k)\, \Sigma_{\omega\beta,k}\, x\bigr]

    with :math:`z_k \sim N(\langle\mu_{\beta,k}, x\rangle, x^\top\Sigma_{\beta\beta,k}x)`: the functional of Theorem 1
    of Chewi, Rigollet and Yan (2025). The mixture lives in out + in dimensions, those of ω first. It is
    :func:`gmlayers.functional.gm_layer`, written with covariances.

    Args:
        x: inputs, (n, in).
        y: targets, whatever the loss takes.
        loss: takes outputs (n, out) and targets to a scalar.
        activation: f.

    Example:
        >>> import torch
        >>> from torch.nn import functional as F
        >>> from gmlayers.flows import Roots, Supervised
        >>> loss = Supervised(torch.rand(8, 3), torch.rand(8, 1), F.mse_loss)
        >>> loss(Roots(torch.rand(5, 4), torch.rand(5, 4, 4))).shape
        torch.Size([])
    """

    def __init__(
        self, x: Tensor, y: Tensor, loss: Callable[[Tensor, Tensor], Tensor], activation: str | Activation = "relu"
    ) -> None:
        check_tensor("Supervised: x", x)
        if x.ndim != 2 or not x.shape[1]:
            raise ValueError(f"Supervised: expected x (n, in), got {tuple(x.shape)}")
        check_callable("Supervised: loss", loss, takes=2)
        self.x, self.y, self.loss, self.activation = x, y, loss, get_activation(activation)

    def outputs(self, mixture: Mixture) -> Tensor:
        """Return h at the inputs, (n, out)."""
        check_mixture("Supervised: the argument", mixture)
        check_tensors("Supervised", x=self.x, mixture=mixture.mean)
        inputs = self.x.shape[1]
        out = mixture.mean.shape[1] - inputs
        if out < 1:
            raise ValueError(
                f"Supervised: the mixture must have the dimensions of ω before the {inputs} of the inputs, got "
                f"{mixture.mean.shape[1]} in all"
            )
        omega, beta = mixture.mean.split([out, inputs], 1)
        cov = mixture.cov[:, :, out:]
        m = self.x @ beta.T
        read = torch.einsum("kdi,ni->nkd", cov, self.x)
        var = torch.einsum("nki,ni->nk", read[..., out:], self.x) + VARIANCE_FLOOR
        level, gate = self.activation.mean(m, var)[..., None], self.activation.gate(m, var)[..., None]
        return torch.einsum("k,nko->no", mixture.weight, level * omega + gate * read[..., :out])

    def __call__(self, mixture: Mixture) -> Tensor:
        """Return the loss."""
        value = called("Supervised", "loss of the outputs at x and of y", self.loss, self.outputs(mixture), self.y)
        if not isinstance(value, Tensor):
            raise TypeError(f"Supervised: loss must return a tensor, got {got(value)}")
        return value


def _require_dimensions(function: str, mixture: Mixture, dim: int, **like: Any) -> None:  # noqa: ANN401
    check_mixture(f"{function}: the argument", mixture)
    check_tensors(function, mixture=mixture.mean, **like)
    if mixture.mean.shape[1] != dim:
        raise ValueError(f"{function}: expected a mixture in {dim} dimensions, got one in {mixture.mean.shape[1]}")


def _require_symmetric(label: str, matrix: Tensor) -> None:
    check_values(label, matrix)
    if not matrix.numel() or matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"{label} must be (d, d), got {tuple(matrix.shape)}")
    skew = float((matrix - matrix.T).abs().max())
    if not skew <= 1e-6 * float(matrix.abs().max()):
        raise ValueError(f"{label} must be symmetric, it differs from its transpose by up to {skew:g}")
