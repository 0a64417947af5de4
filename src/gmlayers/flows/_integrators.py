r"""The gradient flow of a functional over mixtures, step by step.

The mixing measure of a mixture is a measure on the space of Gaussians with the Bures–Wasserstein distance. Its
Wasserstein gradient flow for a functional F moves every component by

.. math:: \dot\mu_k = -\mathbb E\,\nabla\delta F(X_k), \qquad \dot\Sigma_k = -H_k\Sigma_k - \Sigma_k H_k, \qquad
    H_k = \mathbb E\,\nabla^2\delta F(X_k), \qquad X_k \sim N(\mu_k, \Sigma_k)

(Chewi, Niles-Weed and Rigollet, *Statistical Optimal Transport*, 2024, section 5.8; Theorem 1 of Chewi, Rigollet and
Yan, *Gaussian mixture layers for neural networks*, TMLR 2025). As a function :math:`G(w, \mu, C)` of the coordinates F
has the derivatives

.. math:: \partial_{\mu_k} G = w_k\,\mathbb E\,\nabla\delta F(X_k), \qquad \partial_{C_k} G = w_k H_k C_k, \qquad
    \partial_{\Sigma_k} G = \tfrac12 w_k H_k, \qquad \partial_{w_k} G = \mathbb E\,\delta F(X_k) + \mathrm{const},

so no first variation is asked for: G is differentiated. With weights :math:`1/K` the flow is gradient descent in (μ, C)
with rates multiplied by K. With a ``reaction`` r the weights move as well, as under Wasserstein–Fisher–Rao:
:math:`\dot w_k = -r\, w_k\,(\partial_{w_k} G - \sum_j w_j\, \partial_{w_j} G)`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from gmlayers._arguments import check_callable, finite_number, not_negative_number, positive_number
from gmlayers._names import whole
from gmlayers._shown import brief
from gmlayers.flows._functionals import Functional, Regularised
from gmlayers.flows._mixture import Gradient, Mixture, Roots, Velocity, check_mixture
from gmlayers.flows._steps import Refused, Stepper


class Moment(NamedTuple):
    """A flow at a time."""

    time: float
    energy: float
    """The value of the functional."""
    mixture: Mixture

    __repr__ = brief


class Method(Protocol):
    """Takes one step of a flow."""

    def __call__(self, functional: Functional, mixture: Mixture, step: float, reaction: float) -> Mixture:
        """Return the mixture a step later."""
        ...


def gradient(functional: Functional, mixture: Mixture) -> tuple[Tensor, Gradient]:
    """Return a functional and its partial derivatives in the coordinates of the mixture.

    Raises:
        ValueError: if either is not finite, or the functional is no scalar.

    Example:
        >>> import torch
        >>> from gmlayers.flows import Quadratic, Roots, gradient
        >>> value, found = gradient(Quadratic(torch.eye(2), torch.zeros(2)), Roots.particles(torch.ones(4, 2)))
        >>> found.mean[0]
        tensor([0.2500, 0.2500])
    """
    check_callable("gradient: functional", functional, takes=1)
    check_mixture("gradient: mixture", mixture)
    value, leaves = _value(functional, mixture)
    if not value.requires_grad:
        raise ValueError("gradient: the functional does not depend on the mixture, or has detached it")
    with torch.enable_grad():
        found = Gradient(*torch.autograd.grad(value, leaves, materialize_grads=True))
    for name, t in {"the functional": value.detach(), **found._asdict()}.items():
        if not bool(t.isfinite().all()):
            what = name if name == "the functional" else f"its derivative in the {name}"
            raise ValueError(f"gradient: {what} is not finite{_worst(t)}")
    return value.detach(), found


def velocity(functional: Functional, mixture: Mixture, reaction: float = 0.0) -> Velocity:
    """Return the velocity of the gradient flow; weights move if there is a reaction.

    Example:
        >>> import torch
        >>> from gmlayers.flows import Quadratic, Roots, velocity
        >>> velocity(Quadratic(torch.eye(2), torch.zeros(2)), Roots.particles(torch.ones(4, 2))).mean[0]
        tensor([-1., -1.])
    """
    reaction = finite_number("velocity: reaction", reaction)
    check_mixture("velocity: mixture", mixture)
    found = mixture.velocity(gradient(functional, mixture)[1])
    return found._replace(log_weight=reaction * found.log_weight)


def euler(functional: Functional, mixture: Mixture, step: float, reaction: float = 0.0) -> Mixture:
    r"""Take a step along the geodesics of the velocity: :math:`C \leftarrow (I - \eta H) C`, in both coordinates.

    Raises:
        ValueError: in the coordinates Σ, if :math:`I - \eta H` is not positive definite: the geodesic has left the
            manifold. In the coordinates C it may pass through singular matrices and is not stopped.
    """
    step = finite_number("euler: step", step)
    check_mixture("euler: mixture", mixture)
    return mixture.moved(velocity(functional, mixture, reaction), step)


def rk4(functional: Functional, mixture: Mixture, step: float, reaction: float = 0.0) -> Mixture:
    """Take a step of the classical Runge–Kutta method of order 4 in the coordinates, for weights in the logarithm.

    Raises:
        ValueError: in the coordinates Σ, if a matrix is no covariance any more.
    """
    step = finite_number("rk4: step", step)
    check_mixture("rk4: mixture", mixture)

    def rate(at: Mixture) -> Velocity:
        return at.rate(velocity(functional, at, reaction))

    one = rate(mixture)
    two = rate(mixture.plus(one, step / 2))
    three = rate(mixture.plus(two, step / 2))
    four = rate(mixture.plus(three, step))
    mean = Velocity(*((a + 2 * b + 2 * c + d) / 6 for a, b, c, d in zip(one, two, three, four)))
    return mixture.plus(mean, step)


def forward_backward(functional: Functional, mixture: Mixture, step: float, reaction: float = 0.0) -> Mixture:
    r"""Take a step of :func:`euler` for the smooth part of :class:`Regularised`, then a proximal one for the entropy.

    The second is the minimiser of :math:`W_2^2(N', \cdot)/2\eta` plus τ times the negative entropy: each eigenvalue
    :math:`s^2` of :math:`\Sigma'` becomes the square of :math:`\tfrac12 (s + \sqrt{s^2 + 4\eta\tau})` (Wibisono,
    *Sampling as optimization in the space of measures*, COLT 2018; Diao, Balasubramanian, Chewi and Salim,
    *Forward-backward Gaussian variational inference via JKO in the Bures–Wasserstein space*, ICML 2023). Singular
    covariances, where the entropy has no gradient, are left in one step, and no step is too long for it.

    Raises:
        TypeError: for another functional than :class:`Regularised`.
        ValueError: for roots that are not square.
    """
    if not isinstance(functional, Regularised):
        raise TypeError(f"forward_backward: expected a Regularised functional, got {type(functional).__name__}")
    step, reaction = positive_number("forward_backward: step", step), finite_number("reaction", reaction)
    ahead = euler(functional.smooth, mixture, step, reaction)
    root = ahead.root
    if root.shape[1] != root.shape[2]:
        raise ValueError(f"forward_backward: roots must be square to become regular, got {tuple(root.shape)}")
    U, s, Vh = torch.linalg.svd(root)
    s = (s + (s.square() + 4 * step * functional.temperature).sqrt()) / 2
    weight = ahead.weight
    if reaction:
        # d/dw of the entropic part, which euler has not seen
        entropy = -functional.temperature * s.log().sum(1)
        weight = (weight.log() + step * reaction * (weight @ entropy - entropy)).softmax(0)
    left = U * s[:, None]
    return ahead.like(ahead.mean, left @ Vh if isinstance(ahead, Roots) else left @ left.mT, weight)


def flow(
    functional: Functional,
    start: Mixture,
    *,
    step: float,
    steps: int,
    method: Method = rk4,
    reaction: float = 0.0,
    tolerance: float | None = None,
) -> Iterator[Moment]:
    r"""Follow the gradient flow of a functional, from the start on: ``steps + 1`` moments.

    With the coordinates :class:`Roots` this is the flow of Theorem 1 of Chewi, Rigollet and Yan (2025); with
    :class:`Covariances` the same in other coordinates; with :meth:`Roots.particles` that of points, the network's own;
    with a reaction the Wasserstein–Fisher–Rao flow of each.

    Moments are ``step`` apart, whatever the flow needs in between. A step that leaves the manifold or the finite
    numbers, or lets the functional rise, which no gradient flow does, is taken in halves, these in halves if need be,
    and so on; later steps begin with parts of that length, which grow again. A step that is taken whole is one of the
    method. This keeps a stiff flow stable, and at the times given; how accurate it is on the way depends on the step,
    unless a ``tolerance`` says.

    Args:
        functional: any function of a mixture, differentiable; see :mod:`gmlayers.flows`.
        start: where the flow begins.
        step: length of a step in time, positive.
        steps: number of steps, at least 0.
        method: :func:`euler`, :func:`rk4`, :func:`forward_backward`, or one of your own.
        reaction: rate at which mass moves between components, at least 0.
        tolerance: what a step may be off by, as a share of the standard deviation of the mixture, positive: parts are
            compared with two of half their length, and these are taken. That costs three times as much. By default
            only what raises the functional is refused.

    Raises (while it is followed):
        TypeError: if the start is no mixture, the number of steps no whole number, the functional returns no tensor.
        ValueError: for options out of range, a functional that is not finite, a step of which no part, however short,
            stays on the manifold; the message says at which time.

    Example:
        >>> import torch
        >>> from gmlayers.flows import Quadratic, Roots, flow
        >>> start = Roots(torch.tensor([[1.0]]), torch.tensor([[[2.0]]]))
        >>> *_, last = flow(Quadratic(torch.eye(1), torch.zeros(1)), start, step=0.1, steps=10)
        >>> round(float(last.mixture.mean), 4), round(float(last.mixture.root), 4)  # 1/e and 2/e
        (0.3679, 0.7358)
    """
    check_callable("flow: functional", functional, takes=1)
    check_callable("flow: method", method, takes=4)
    step, reaction = positive_number("flow: step", step), not_negative_number("flow: reaction", reaction)
    steps = whole("flow: steps", steps)
    if not isinstance(start, Mixture):
        raise TypeError(f"flow: start must be a mixture, Roots or Covariances, got {type(start).__name__}")
    if steps < 0:
        raise ValueError(f"flow: steps must be at least 0, got {steps}")
    if tolerance is not None:
        tolerance = positive_number("flow: tolerance", tolerance)

    def advance(mixture: Mixture, length: float) -> Mixture:
        ahead = method(functional, mixture, length, reaction)
        if not isinstance(ahead, Mixture):
            raise TypeError(f"flow: a method must return a mixture, got {type(ahead).__name__}")
        return ahead

    def slope(mixture: Mixture) -> float:
        found = gradient(functional, mixture)[1]
        ahead = mixture.velocity(found)
        moved = mixture.rate(ahead._replace(log_weight=reaction * ahead.log_weight))
        by_weight = mixture.weight * moved.log_weight
        return -float((found.mean * moved.mean).sum() + (found.spread * moved.spread).sum() + found.weight @ by_weight)

    stepper = Stepper(advance, lambda mixture: _value(functional, mixture)[0].detach(), slope, tolerance)
    try:
        at = stepper.place(start.like(start.mean.detach(), start.spread.detach(), start.weight.detach()))
    except ValueError as error:
        raise ValueError(f"flow: stopped at time 0: {error}") from error
    yield Moment(0.0, at.energy, at.mixture)
    for number in range(1, steps + 1):
        try:
            at = stepper.over(at, step)
        except Refused as error:
            time = (number - 1) * step + error.time
            raise ValueError(
                f"flow: stopped at time {time:g}: {error.reason}; no step down to {error.length:.1g} leads on from "
                "there"
            ) from error.reason
        yield Moment(number * step, at.energy, at.mixture)


def _value(functional: Functional, mixture: Mixture) -> tuple[Tensor, list[Tensor]]:
    """Return a functional, and what of the mixture it can be differentiated in: it may itself use derivatives."""
    leaves = [t.detach().requires_grad_() for t in (mixture.mean, mixture.spread, mixture.weight)]
    with torch.enable_grad():
        value = functional(mixture.like(*leaves))
    if not isinstance(value, Tensor):
        raise TypeError(f"gradient: a functional must return a tensor, got {type(value).__name__}")
    if value.shape != ():
        raise ValueError(f"gradient: a functional must return a scalar, got shape {tuple(value.shape)}")
    return value, leaves


def _worst(t: Tensor) -> str:
    return f" at {(~t.isfinite()).nonzero()[0].tolist()}" if t.ndim else f": {float(t)}"
