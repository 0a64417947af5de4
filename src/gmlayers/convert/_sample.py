"""Sampling turns a mixture of neurons into a finite network."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gmlayers._arguments import check_generator, check_tensor, positive_number
from gmlayers._arrays import Array, numbers
from gmlayers._names import flag, whole
from gmlayers.functional import ACTIVATIONS, Activation, get_activation
from gmlayers.nn import GMLayer, Law
from gmlayers.nn._gm_layer import check_layer
from gmlayers.nn._precision import check_input

MODULES: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "identity": nn.Identity}
"""PyTorch has a module for each of these activations."""

NODES = 64
"""The quadrature has this many nodes on either side of 0."""

BLOCK = 2**22
"""A block of the quadrature holds about this many numbers."""


class Pointwise(nn.Module):
    """An activation of :data:`gmlayers.functional.ACTIVATIONS`, or one of your own, as a module.

    Example:
        >>> import torch
        >>> from gmlayers.convert import Pointwise
        >>> from gmlayers.functional import get_activation
        >>> Pointwise(get_activation("sin"))(torch.zeros(2))
        tensor([0., 0.])
    """

    def __init__(self, activation: str | Activation) -> None:
        super().__init__()
        self.activation = get_activation(activation)

    def forward(self, x: Tensor) -> Tensor:
        """Return f(x), elementwise."""
        check_tensor("Pointwise: x", x)
        return self.activation.f(x)

    def extra_repr(self) -> str:
        """Return the name."""
        return str(self.activation)


@torch.no_grad()
def gm_to_mlp(
    layer: GMLayer,
    width: int,
    *,
    stratified: bool = True,
    antithetic: bool = False,
    generator: torch.Generator | None = None,
) -> nn.Sequential:
    r"""Return a finite network whose neurons are drawn from a layer's mixture: unbiased, with an error like 1/√width.

    .. math:: h_m(x) = \sum_k \frac{c_k}{n_k} \sum_{j \in k} \omega_j f(\langle\beta_j, x\rangle + b_k),
        \qquad (\omega_j, \beta_j) = (\bar\omega_k, \bar\beta_k) + (B_k, A_k)\,\zeta_j,\quad \zeta_j \sim N(0, I)

    with c the weights of the components, as in :func:`gmlayers.functional.gm_layer`. :func:`sampling_variance` says how
    large the error will be, and :func:`width_for` which width an accuracy needs.

    Args:
        layer: the layer.
        width: number m of neurons; at least one for each component if ``stratified``, even if ``antithetic``.
        stratified: give every component its share of the neurons, instead of drawing the component of each as well.
        antithetic: draw the noise ζ in pairs of opposite sign, which cancels what is odd in it.
        generator: source of randomness; torch's global one by default.

    Returns:
        ``Sequential(Linear(in, width), activation, Linear(width, out, bias=False))``, in the dtype and on the device of
        the layer, with gradients.

    Raises:
        ValueError: for a width that is too small or odd, a learned weight that leaves a component nothing.
        TypeError: for a width that is not a whole number.

    Example:
        >>> import torch
        >>> from gmlayers import GMLayer, convert
        >>> convert.gm_to_mlp(GMLayer(4, 2, 3), 30)
        Sequential(
          (0): Linear(in_features=4, out_features=30, bias=True)
          (1): ReLU()
          (2): Linear(in_features=30, out_features=2, bias=False)
        )
    """
    check_layer("gm_to_mlp", layer)
    width = whole("gm_to_mlp: width", width)
    stratified = flag("gm_to_mlp: stratified", stratified)
    antithetic = flag("gm_to_mlp: antithetic", antithetic)
    check_generator("gm_to_mlp: generator", generator, layer.mean.device)
    neurons = _neurons(layer)
    if width < (len(neurons.share) if stratified else 1) * (1 + antithetic):
        needed = f"{'2 neurons' if antithetic else '1 neuron'} for each of {len(neurons.share)} components"
        raise ValueError(f"gm_to_mlp: width must be at least {needed if stratified else 1 + antithetic}, got {width}")
    if antithetic and width % 2:
        raise ValueError(f"gm_to_mlp: antithetic neurons come in pairs, got a width of {width}")
    draws = width // (1 + antithetic)
    if stratified:
        counts = _shared_out(draws, neurons.share)
        component = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
        weight = (neurons.total * neurons.share / (counts * (1 + antithetic)))[component]
    else:
        component = torch.multinomial(neurons.share, draws, replacement=True, generator=generator)
        weight = (neurons.total / width).expand(draws)
    beta, omega = _drawn(neurons, component, antithetic=antithetic, generator=generator)
    component, weight = component.repeat(1 + antithetic), weight.repeat(1 + antithetic)
    first = nn.Linear(layer.in_features, width, device=layer.mean.device, dtype=layer.mean.dtype)
    second = nn.Linear(width, layer.out_features, bias=False, device=layer.mean.device, dtype=layer.mean.dtype)
    first.weight.copy_(beta)
    first.bias.copy_(neurons.bias[component])
    second.weight.copy_((weight[:, None] * omega).T)
    activation = MODULES[layer.activation.name]() if _is_torchs(layer.activation) else Pointwise(layer.activation)
    return nn.Sequential(first, activation, second)


@torch.no_grad()
def sampling_variance(layer: GMLayer, x: Tensor | Array, *, stratified: bool = True) -> Tensor:
    r"""Return the variance of the outputs of :func:`gm_to_mlp`, times its width.

    With :math:`p_k` the share of component k in the sum C of all component weights,

    .. math:: m \operatorname{Var} h_m = C^2 \sum_k p_k \operatorname{Var}_k[\omega f(z)] \quad\text{stratified,}\qquad
        C^2 \sum_k p_k \mathbb E_k[\omega^2 f(z)^2] - h^2 \quad\text{otherwise;}

    the first is the part of the second that lies within the components. Stratified, the neurons of a component are
    taken to be :math:`p_k m`, which rounding makes nearly so. The output weight is
    :math:`\omega = \bar\omega + \kappa t + r` with :math:`t = (z - m)/s`, :math:`\kappa = BA^\top x/s` and r
    independent of z, of variance :math:`\|B\|^2 - \kappa^2`, so all of it follows from
    :math:`\mathbb E\, t^j f(z)^2` for j = 0, 1, 2: by Gauss–Legendre quadrature on either side of z = 0, exact to
    rounding for activations that are smooth elsewhere.

    Args:
        layer: the layer.
        x: inputs, (..., in_features); arrays of numpy and pandas and lists of numbers take the dtype of the layer.
        stratified: how :func:`gm_to_mlp` draws; no variance is predicted for ``antithetic``.

    Returns:
        (..., out_features), float64.

    Example:
        >>> import torch
        >>> from gmlayers import GMLayer, convert
        >>> layer = GMLayer(4, 2, 3)
        >>> x = torch.rand(5, 4)
        >>> bool((convert.sampling_variance(layer, x) <= convert.sampling_variance(layer, x, stratified=False)).all())
        True
    """
    check_layer("sampling_variance", layer)
    stratified = flag("sampling_variance: stratified", stratified)
    x = numbers("sampling_variance: x", x, like=layer.mean)
    check_input("sampling_variance", x, layer.in_features, layer.mean)
    neurons, rows = _neurons(layer), x.reshape(-1, x.shape[-1]).double()
    size = max(1, BLOCK // (2 * NODES * len(neurons.share)))
    blocks = [_variance(neurons, layer.activation, block, stratified=stratified) for block in rows.split(size)]
    return torch.cat(blocks).reshape(*x.shape[:-1], layer.out_features)


def width_for(layer: GMLayer, x: Tensor | Array, error: float, *, stratified: bool = True) -> int:
    """Return the smallest width for which :func:`gm_to_mlp` is expected to be as accurate as wanted.

    Args:
        layer: the layer.
        x: typical inputs, (..., in_features), at least one; what :func:`sampling_variance` takes.
        error: the root mean square, over inputs, of the distance of the outputs; positive.
        stratified: how :func:`gm_to_mlp` draws.

    Raises:
        ValueError: for an error that is not positive, or no inputs.

    Example:
        >>> import torch
        >>> from gmlayers import GMLayer, convert
        >>> layer, x = GMLayer(4, 2, 3), torch.rand(5, 4)
        >>> convert.width_for(layer, x, 0.01) >= 25 * convert.width_for(layer, x, 0.1) // 26
        True
    """
    check_layer("width_for", layer)
    error = positive_number("width_for: error", error)
    x = numbers("width_for: x", x, like=layer.mean)
    variance = sampling_variance(layer, x, stratified=stratified)
    if not variance.numel():
        raise ValueError(f"width_for: at least one input is needed, got x of shape {tuple(x.shape)}")
    fewest = layer.num_components if stratified else 1
    width = variance.sum(-1).mean().item() / error / error
    if not math.isfinite(width):
        raise ValueError(f"width_for: no finite width gives an error of {error:g} on inputs x of this size")
    return max(fewest, math.ceil(width))


class _Neurons(NamedTuple):
    """The law of the neurons in float64, and what each component weighs."""

    total: Tensor
    """Sum of the component weights."""
    share: Tensor
    """Probability p of every component, (K,)."""
    bias: Tensor
    """Bias b of every component, (K,)."""
    law: Law
    """The law, with zeros for a diagonal that it has not, and with the factors of each component."""


def _neurons(layer: GMLayer) -> _Neurons:
    law = layer.covariance.law({name: value.double() for name, value in layer.family_parameters().items()})
    weight = layer.component_weight().double()
    if not (weight > 0).all():
        raise ValueError("a component has no weight left; drop it before drawing neurons from the layer")
    bias = torch.zeros_like(weight) if layer.bias is None else layer.bias.double()
    diagonal = law.mean.new_zeros(len(weight), 1) if law.diagonal is None else law.diagonal
    law = law._replace(diagonal=diagonal, factor=law.factors(), factor_std=None)
    return _Neurons(weight.sum(), weight / weight.sum(), bias, law)


def _drawn(
    neurons: _Neurons, component: Tensor, *, antithetic: bool, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Return β and ω of neurons of the given components, and with ``antithetic`` after them those of opposite noise."""
    law, beta, omega = neurons.law, [], []
    assert law.diagonal is not None
    for k in range(len(neurons.share)):
        n = int((component == k).sum())
        options = {"generator": generator, "dtype": torch.float64, "device": law.mean.device}
        z, w = torch.randn(n, law.mean.shape[1], **options), torch.randn(n, law.factor.shape[1], **options)
        of_beta, of_omega = z * law.diagonal[k] + w @ law.factor[k], w @ law.output_factor[k]
        if law.coupling is not None:
            of_omega = of_omega + z @ law.coupling[k].T
        beta.append(torch.stack([law.mean[k] + of_beta, law.mean[k] - of_beta]))
        omega.append(torch.stack([law.output_mean[k] + of_omega, law.output_mean[k] - of_omega]))
    order = torch.argsort(torch.argsort(component, stable=True), stable=True)
    signs = 2 if antithetic else 1
    return tuple(torch.cat(parts, 1)[:signs, order].flatten(0, 1) for parts in (beta, omega))  # type: ignore[return-value]


def _shared_out(number: int, share: Tensor) -> Tensor:
    """Return whole numbers of the given sum, at least 1 each, as near to the shares as can be."""
    counts = (number * share).floor().clamp(min=1)
    while (left := number - int(counts.sum())) != 0:
        want = number * share - counts
        if left > 0:
            counts[want.topk(min(left, len(share))).indices] += 1
        else:
            counts[torch.where(counts > 1, want, math.inf).argmin()] -= 1
    return counts.long()


def _variance(neurons: _Neurons, activation: Activation, x: Tensor, *, stratified: bool) -> Tensor:
    """Return the variance times the width for rows in float64, (n, out)."""
    law = neurons.law
    assert law.diagonal is not None
    reading = torch.einsum("kri,ni->nkr", law.factor, x)
    base = (x.square() @ law.diagonal.square().expand_as(law.mean).T).clamp(min=0)
    std = (base + reading.square().sum(-1)).sqrt().clamp(min=1e-150)
    m = x @ law.mean.T + neurons.bias
    cross = torch.einsum("nkr,kro->nko", reading, law.output_factor)
    spread = law.output_factor.square().sum(1)
    if law.coupling is not None:
        cross = cross + torch.einsum("koi,ki,ni->nko", law.coupling, law.diagonal.expand_as(law.mean), x)
        spread = spread + law.coupling.square().sum(-1)
    kappa = cross / std[..., None]
    f, square = _moments(activation, m, std)
    first = law.output_mean * f[0][..., None] + kappa * f[1][..., None]
    second = (law.output_mean.square() + spread - kappa.square()) * square[0][..., None]
    second = second + 2 * law.output_mean * kappa * square[1][..., None] + kappa.square() * square[2][..., None]
    share = neurons.share[:, None]
    within = (share * second).sum(1) - (share * first.square()).sum(1)
    if stratified:
        return neurons.total**2 * within
    return neurons.total**2 * (within + (share * first.square()).sum(1) - (share * first).sum(1).square())


def _moments(activation: Activation, m: Tensor, std: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Return E t^j f for j = 0, 1, and E t^j f² for j = 0, 1, 2, at z = m + s t."""
    kink = (-m / std).clamp(-_REACH, _REACH)
    f: list[Tensor | float] = [0.0] * 2
    square: list[Tensor | float] = [0.0] * 3
    nodes, weights = (t.to(m) for t in _legendre(NODES))
    for low, high in ((torch.full_like(kink, -_REACH), kink), (kink, torch.full_like(kink, _REACH))):
        half = (high - low)[..., None] / 2
        t = low[..., None] + half * (1 + nodes)
        value = activation.f(m[..., None] + std[..., None] * t)
        measure = half * weights * torch.exp(-0.5 * t.square()) / math.sqrt(2 * math.pi)
        for j in range(3):
            power = measure * t**j
            if j < 2:
                f[j] = f[j] + (power * value).sum(-1)
            square[j] = square[j] + (power * value.square()).sum(-1)
    return f, square  # type: ignore[return-value]


_REACH = 9.0
"""The density of z is 0 in float64 beyond this many stds."""


def _legendre(order: int) -> tuple[Tensor, Tensor]:
    """Return nodes and weights on [-1, 1] (Golub and Welsch 1969)."""
    k = torch.arange(1, order, dtype=torch.float64)
    off = k / (4 * k.square() - 1).sqrt()
    nodes, vectors = torch.linalg.eigh(torch.diag(off, 1) + torch.diag(off, -1))
    return nodes, 2 * vectors[0].square()


def _is_torchs(activation: Activation) -> bool:
    return activation.name in MODULES and activation is ACTIVATIONS[activation.name]
