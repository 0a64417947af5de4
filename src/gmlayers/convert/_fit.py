"""Clustering turns a finite network into a mixture of neurons."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import singledispatch
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gmlayers._arguments import check_generator, positive_number
from gmlayers._arrays import Array, numbers
from gmlayers._names import brief_value, flag, whole
from gmlayers._shown import brief
from gmlayers.convert._cluster import LEAST, TINY, mixture, principal
from gmlayers.functional import Activation, get_activation
from gmlayers.nn import Covariance, Full, GMLayer, LowRank, Regression, SharedFactor
from gmlayers.nn._k_means import k_means, nearest
from gmlayers.nn._precision import check_input
from gmlayers.nn.covariance import get_covariance

DEGREES = {"relu": 1, "leaky_relu": 1, "abs": 1, "identity": 1, "square": 2, "relu_squared": 2, "step": 0}
"""These activations are homogeneous: f(cz) = c^degree f(z) for c > 0."""

BLOCK = 2**24
"""A block of features holds about this many numbers."""

MOST_FEATURES = 2**14
"""A refit solves for at most this many features, whose Gram matrix takes 2 GiB."""


class Shift(nn.Module):
    """Add a trained vector: the bias of an output, which a GM layer does not have.

    Args:
        bias: the vector to start from, (features,): a tensor, or an array or list of numbers.

    Example:
        >>> import torch
        >>> from gmlayers.convert import Shift
        >>> Shift(torch.tensor([1.0, 2.0]))(torch.zeros(2))
        tensor([1., 2.], grad_fn=<AddBackward0>)
    """

    def __init__(self, bias: Tensor | Array) -> None:
        super().__init__()
        vector = numbers("Shift: bias", bias, meta=True)
        if vector.ndim != 1:
            raise ValueError(f"Shift: expected a bias (features,), got {tuple(vector.shape)}")
        self.bias = nn.Parameter(vector.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """Return x + bias."""
        check_input("Shift", x, len(self.bias), self.bias)
        return x + self.bias

    def extra_repr(self) -> str:
        """Return the number of features."""
        return str(len(self.bias))


class Fit(NamedTuple):
    """A mixture fitted to the neurons of a network."""

    module: nn.Module
    """The module that replaces the network: the layer, with a :class:`Shift` after it if there is an output bias."""
    layer: GMLayer
    """The mixture."""
    component: Tensor
    """The component that each neuron went to, (width,)."""
    error: float | None
    """Relative error on the inputs, √(Σ‖module(x) - net(x)‖² / Σ‖net(x) - mean‖²): 1 is what a constant would have.

    None without inputs; not finite if the network gives the same for all of them.
    """

    __repr__ = brief


@torch.no_grad()
def mlp_to_gm(
    first: nn.Linear,
    second: nn.Linear,
    num_components: int,
    *,
    covariance: str | Covariance = "low_rank",
    activation: str | Activation = "relu",
    x: Tensor | Array | None = None,
    refit: bool = True,
    ridge: float = 1e-3,
    generator: torch.Generator | None = None,
) -> Fit:
    r"""Fit a Gaussian mixture to the neurons of a trained network: the way back from :func:`gm_to_mlp`.

    The network :math:`h(x) = \sum_j \omega_j f(\langle\beta_j, x\rangle + b_j) + c` is an integral over the measure
    :math:`\sum_j \delta_{(\omega_j, \beta_j, b_j)}`. Since h is linear in :math:`\omega`, a neuron is also one of unit
    output weight :math:`\omega_j/\|\omega_j\|` with a mass :math:`\|\omega_j\|`; and if
    :math:`f(cz) = c^p f(z)` for c > 0, as for ReLU, it is one of unit size, with
    :math:`m_j = \|\omega_j\|\,\|(\beta_j, b_j)\|^p`. That takes the lengths out of the law, where only directions are
    left to be spread. Then

    1. the neurons are clustered, by k-means++ and after it expectation maximisation with as many free directions per
       cluster as ``low_rank`` has factors (none for the other families), as points :math:`(\beta, b, \omega)` in the
       distance :math:`\mathbb E_x(\langle\Delta\beta, x\rangle + \Delta b)^2 + \|\Delta\omega\|^2`, both halves scaled
       to unit size. The expectation is over the inputs; without any, over those of mean 0 and covariance I;
    2. every component takes from its neurons their mean, their mass :math:`M_k` (into ω, which is multiplied by
       :math:`M_k` over the weight of a component), and from their covariance what its family can hold: factors are
       principal directions, stds and couplings what is left of them. A GM layer has one bias for each component: that
       of the mean. The spread of the biases in it is lost to the coupling, while the variance of z keeps it on
       average, since stds (but those of ``full``) are scaled until :math:`\mathbb E_x \operatorname{Var} z` is that of
       the neurons;
    3. if there are inputs, everything that multiplies the output is solved for anew. The output is linear in it, so
       this is least squares against the network, with a ridge that pulls towards step 2.

    With one component for each neuron the result is the network, up to rounding. A std or factor of 0 has gradient 0,
    so components of one neuron stay single neurons if the result is trained.

    Args:
        first: the first map of the block ``second(f(first(x)))``, with or without bias.
        second: the second map, with or without bias.
        num_components: number K of components, at most that of neurons.
        covariance: ``"low_rank"``, ``"shared_factor"``, ``"diagonal"``, ``"full"``, or a descriptor of these families.
        activation: f, by name or as an :class:`~gmlayers.functional.Activation`.
        x: typical inputs of the block, (..., in_features), at least two; some thousands are enough, and make the fit
            very much better. Arrays of numpy and pandas and lists of numbers take the dtype of ``first``.
        refit: whether to take step 3.
        ridge: strength of the ridge in step 3, relative to features of unit size; positive.
        generator: source of randomness, on the CPU; torch's global one by default.

    Returns:
        The fit. Its layer has the device and dtype of ``first`` and ``scaling="sqrt"``. All is computed on the CPU in
        float64.

    Raises:
        TypeError: if a part is no ``nn.Linear``, the number of components no whole number.
        ValueError: if the parts do not fit each other, a weight or an input is not finite, there are more components
            than neurons, the family or activation is unknown, or a refit has too many unknowns.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from gmlayers import convert
        >>> net = nn.Sequential(nn.Linear(4, 30), nn.ReLU(), nn.Linear(30, 2))
        >>> [type(part).__name__ for part in convert.mlp_to_gm(net[0], net[2], 10).module]
        ['GMLayer', 'Shift']
    """
    _check(first, second)
    K = _components(num_components, first.out_features)
    family, act = get_covariance(covariance), get_activation(activation)
    estimate = _estimate(family)
    ridge, refit = positive_number("mlp_to_gm: ridge", ridge), flag("mlp_to_gm: refit", refit)
    check_generator("mlp_to_gm: generator", generator, "cpu")
    rows = None if x is None else _rows(numbers("mlp_to_gm: x", x, like=first.weight), first)
    inner = torch.eye(first.in_features + 1, dtype=torch.float64) if rows is None else _second_moment(rows)
    if not bool(inner.isfinite().all()):
        raise ValueError("mlp_to_gm: x has numbers whose squares float64 cannot hold; scale the inputs")
    neurons = _neurons(first, second, act, inner)
    label = nearest(neurons.point, k_means(neurons.point, K, generator, neurons.mass))
    directions = min(estimate.directions, neurons.point.shape[1] - 1)
    share = mixture(neurons.point, neurons.mass, label, K, directions)
    with torch.random.fork_rng([]):  # what the constructor draws is replaced
        layer = GMLayer(
            first.in_features, second.out_features, K, covariance=family, activation=act, dtype=torch.float64
        )
    clusters = [_cluster(neurons, share[:, k], inner) for k in range(K)]
    _fill(layer, clusters, *estimate.parameters(clusters, inner[:-1, :-1]))
    bias = None if second.bias is None else second.bias.cpu().double()
    error = None
    if rows is not None:
        target = _outputs(first, second, act, rows)
        if refit:
            bias = _refit(layer, bias, rows, target, ridge)
        error = _error(layer, bias, rows, target)
    layer.to(first.weight)
    module = layer if bias is None else nn.Sequential(layer, Shift(bias.to(first.weight)))
    return Fit(module, layer, share.argmax(1).to(first.weight.device), error)


def _check(first: nn.Linear, second: nn.Linear) -> None:
    for name, part in (("first", first), ("second", second)):
        if not isinstance(part, nn.Linear):
            raise TypeError(f"mlp_to_gm: {name} must be an nn.Linear, got {brief_value(part)}")
        for kind, tensor in part.named_parameters():
            if not tensor.isfinite().all():
                raise ValueError(f"mlp_to_gm: {name}.{kind} has values that are not finite")
    if first.out_features != second.in_features:
        raise ValueError(
            f"mlp_to_gm: first gives {first.out_features} features, second takes {second.in_features}; "
            f"give the two Linear layers of one Linear-activation-Linear block"
        )


def _components(num_components: int, width: int) -> int:
    K = whole("mlp_to_gm: num_components", num_components)
    if not 1 <= K <= width:
        raise ValueError(f"mlp_to_gm: num_components must lie between 1 and the number of neurons, {width}, got {K}")
    return K


def _rows(x: Tensor, first: nn.Linear) -> Tensor:
    check_input("mlp_to_gm: x", x, first.in_features, first.weight)
    rows = x.detach().cpu().reshape(-1, x.shape[-1])
    if len(rows) < 2:
        raise ValueError(f"mlp_to_gm: x must hold at least two inputs, got shape {tuple(x.shape)}")
    if not rows.isfinite().all():
        raise ValueError("mlp_to_gm: x has values that are not finite")
    return rows


class _Neurons(NamedTuple):
    """The measure of a network."""

    mass: Tensor
    """The mass m of every neuron, (n,)."""
    beta: Tensor
    """The pair (β, b) after its size has gone into the mass, (n, in + 1)."""
    omega: Tensor
    """The output weights ω, of unit size, (n, out)."""
    point: Tensor
    """Both in coordinates whose Euclidean distance counts, (n, in + 1 + out)."""


def _neurons(first: nn.Linear, second: nn.Linear, activation: Activation, inner: Tensor) -> _Neurons:
    weight, bias = first.weight, first.weight.new_zeros(first.out_features) if first.bias is None else first.bias
    beta, omega = torch.cat([weight, bias[:, None]], 1).cpu().double(), second.weight.T.cpu().double()
    mass = omega.norm(dim=1)
    omega = omega / mass.clamp(min=TINY)[:, None]
    root = _root(inner)
    size = (beta @ root).norm(dim=1)
    degree = DEGREES.get(activation.name) if activation.in_table else None
    if degree is not None:
        size = torch.where(size > 0, size, 1.0)  # a neuron that no input reaches stays as it is
        mass = torch.where((beta == 0).all(1), 0.0, mass * size**degree)  # f(0) = 0
        beta = beta / size[:, None]
    point = beta @ root
    if not mass.sum() > 0:
        mass = torch.ones_like(mass)  # the network is constant: ω is 0, and any mass will do
    typical = (mass @ point.square().sum(1) / mass.sum()).sqrt()
    return _Neurons(mass, beta, omega, torch.cat([point / typical.clamp(min=TINY), omega], 1))


class _Cluster(NamedTuple):
    """The neurons of a component, about their mean."""

    share: Tensor
    """Share of each neuron in the mass of the component, (n,)."""
    mass: Tensor
    mean: Tensor
    """Mean of (β, b), (in + 1,)."""
    output_mean: Tensor
    beta: Tensor
    """Weights β of the neurons, (n, in)."""
    omega: Tensor
    point: Tensor
    spread: Tensor
    """The variance of z, mean over inputs."""


def _cluster(neurons: _Neurons, share: Tensor, inner: Tensor) -> _Cluster:
    near = share > LEAST
    mass = neurons.mass[near] * share[near]
    p = mass / mass.sum().clamp(min=TINY)
    mean, output_mean, centre = (p @ t[near] for t in neurons[1:])
    beta, omega, point = neurons.beta[near] - mean, neurons.omega[near] - output_mean, neurons.point[near] - centre
    return _Cluster(p, mass.sum(), mean, output_mean, beta[:, :-1], omega, point, p @ (beta @ inner * beta).sum(1))


Parameters = dict[str, Tensor]


class _Estimate(NamedTuple):
    """How a family takes its parameters from clusters of neurons."""

    directions: int
    """Clusters are told apart with as many free directions each."""
    parameters: Callable[[Sequence[_Cluster], Tensor], tuple[Parameters, Sequence[Parameters]]]
    """Return those that the components share, and those of every component beside its means, by their names.

    It is given the clusters and the second moment of the inputs.
    """


@singledispatch
def _estimate(family: object) -> _Estimate:
    raise ValueError(f"mlp_to_gm: expected a covariance LowRank, SharedFactor, Diagonal or Full, got {family}")


@_estimate.register
def _(family: LowRank) -> _Estimate:
    return _Estimate(family.rank, lambda clusters, power: ({}, [_low_rank(family, c, power) for c in clusters]))


@_estimate.register
def _(family: SharedFactor) -> _Estimate:
    def parameters(clusters: Sequence[_Cluster], power: Tensor) -> tuple[Parameters, list[Parameters]]:
        factor, direction = _shared_directions(clusters, family.rank)
        return {"factor": factor}, [_shared_factor(cluster, factor, direction, power) for cluster in clusters]

    return _Estimate(0, parameters)


@_estimate.register
def _(family: Full) -> _Estimate:  # noqa: ARG001
    return _Estimate(0, lambda clusters, _: ({}, [_full(cluster) for cluster in clusters]))


@_estimate.register
def _(family: Regression) -> _Estimate:  # noqa: ARG001
    raise ValueError("mlp_to_gm: fit covariance='diagonal', then convert.to_regression gives the paper's coordinates")


def _fill(layer: GMLayer, clusters: Sequence[_Cluster], shared: Parameters, own: Sequence[Parameters]) -> None:
    """Set the parameters of a layer to what its components take from their neurons."""
    for name, value in shared.items():
        layer.get_parameter(name).copy_(value)
    weight = layer.component_weight()
    for k, (cluster, law) in enumerate(zip(clusters, own)):
        law |= {"mean": cluster.mean[:-1], "bias": cluster.mean[-1], "output_mean": cluster.output_mean}
        for name, value in law.items():
            scale = cluster.mass / weight[k] if name in ("output_mean", "output_factor", "coupling") else 1.0
            layer.get_parameter(name)[k] = scale * value


def _low_rank(family: LowRank, cluster: _Cluster, power: Tensor) -> Parameters:
    p = cluster.share
    score = _standard(p, cluster.point @ principal(cluster.point, p, family.rank).direction)
    score = F.pad(score, (0, family.rank - score.shape[1]))
    factor, output_factor = (p[:, None] * score).T @ cluster.beta, (p[:, None] * score).T @ cluster.omega
    rest = cluster.beta - score @ factor
    shape = p @ rest.square() if family.base == "diagonal" else torch.ones_like(cluster.mean[:-1])
    std = _std(shape, cluster.spread, factor, power)
    law = {"std": std if family.base == "diagonal" else std[0]}
    if family.rank:
        law |= {"factor": factor, "output_factor": output_factor}
    if family.coupling:
        law["coupling"] = (p[:, None] * cluster.omega).T @ rest * _inverse(std)
    return law


def _shared_directions(clusters: Sequence[_Cluster], rank: int) -> tuple[Tensor, Tensor]:
    """Return factors (rank, in), and the directions in the coordinates of the points that have the scores for them.

    They are the principal directions, in the distance of the inputs, of all neurons about the means of components.
    """
    features = len(clusters[0].mean)
    weight = torch.cat([cluster.mass * cluster.share for cluster in clusters])
    point = torch.cat([cluster.point for cluster in clusters])[:, :features]
    beta = torch.cat([cluster.beta for cluster in clusters])
    found = principal(point, weight, rank)
    score = _standard(weight / weight.sum(), point @ found.direction)
    missing = rank - score.shape[1]
    factor = (weight[:, None] / weight.sum() * score).T @ beta
    direction = found.direction * _inverse(found.var.sqrt())
    return F.pad(factor, (0, 0, 0, missing)), F.pad(direction, (0, missing))


def _shared_factor(cluster: _Cluster, factor: Tensor, direction: Tensor, power: Tensor) -> Parameters:
    p = cluster.share
    score = cluster.point[:, : len(cluster.mean)] @ direction
    std = (p @ score.square()).sqrt()
    output_factor = (p[:, None] * cluster.omega).T @ score * _inverse(std)
    base = _std(torch.ones_like(cluster.mean[:-1]), cluster.spread, std[:, None] * factor, power)
    return {"std": base[0], "factor_std": std, "output_factor": output_factor}


def _full(cluster: _Cluster) -> Parameters:
    """Return the root (YᵀQ, Rᵀ) for neurons X = QR and their output weights Y, both weighted."""
    missing = max(0, cluster.beta.shape[1] - len(cluster.beta))
    weighted = cluster.share.sqrt()[:, None]
    Q, R = torch.linalg.qr(F.pad(weighted * cluster.beta, (0, 0, 0, missing)))
    return {"scale_tril": R.T, "coupling": F.pad(weighted * cluster.omega, (0, 0, 0, missing)).T @ Q}


def _std(shape: Tensor, spread: Tensor, factor: Tensor, power: Tensor) -> Tensor:
    """Return the stds of the base: variances like ``shape``, scaled so that E Var z is the spread."""
    left = (spread - ((factor @ power) * factor).sum()).clamp(min=0)
    return (shape * left / (shape @ power.diagonal()).clamp(min=TINY)).sqrt()


def _standard(share: Tensor, score: Tensor) -> Tensor:
    """Return scores of variance 1, or 0 where there is no variance but of rounding."""
    return score * _inverse((share @ score.square()).sqrt())


def _inverse(std: Tensor) -> Tensor:
    """Return 1/std, and 0 where std is 0 or no more than rounding of quantities of size 1."""
    return torch.where(std > 1e-12, 1 / std, 0.0)


def _second_moment(rows: Tensor) -> Tensor:
    """Return E (x, 1)(x, 1)ᵀ."""
    inner = torch.zeros(rows.shape[1] + 1, rows.shape[1] + 1, dtype=torch.float64)
    for block in _blocks(rows, rows.shape[1]):
        block = F.pad(block, (0, 1), value=1.0)
        inner += block.T @ block
    return inner / len(rows)


def _root(inner: Tensor) -> Tensor:
    """Return the symmetric square root of a covariance."""
    value, vector = torch.linalg.eigh(inner)
    return vector * value.clamp(min=0).sqrt() @ vector.T


def _blocks(rows: Tensor, features: int) -> Iterator[Tensor]:
    """Yield rows in float64, so few at a time that so many features of them fit a block."""
    return (block.double() for block in rows.split(max(1, BLOCK // features)))


def _outputs(first: nn.Linear, second: nn.Linear, activation: Activation, rows: Tensor) -> Tensor:
    """Return what the network gives, (n, out), float64."""
    weights = [None if t is None else t.cpu().double() for t in (first.weight, first.bias, second.weight, second.bias)]
    return torch.cat(
        [
            F.linear(activation.f(F.linear(block, weights[0], weights[1])), weights[2], weights[3])  # type: ignore[arg-type]
            for block in _blocks(rows, first.out_features)
        ]
    )


def _answers(layer: GMLayer, bias: Tensor | None, rows: Tensor) -> Tensor:
    outputs = torch.cat([layer(block) for block in _blocks(rows, 4 * layer.num_components)])
    return outputs if bias is None else outputs + bias


def _error(layer: GMLayer, bias: Tensor | None, rows: Tensor, target: Tensor) -> float:
    wrong = (_answers(layer, bias, rows) - target).square().sum()
    return float((wrong / (target - target.mean(0)).square().sum()).sqrt())


def _refit(layer: GMLayer, bias: Tensor | None, rows: Tensor, target: Tensor, ridge: float) -> Tensor | None:
    """Solve for what multiplies the output of the layer, in place, and return the new bias of the output.

    The unknown is the change, so that the ridge pulls towards what there was.
    """
    layout = _linear_part(layer, rows[:1].double())
    unknowns = sum(features.shape[1] for features, _ in layout)
    if unknowns > MOST_FEATURES:
        raise ValueError(
            f"mlp_to_gm: {layer.covariance} has {unknowns} unknowns for each output, too many to solve for (at most "
            f"{MOST_FEATURES}); pass refit=False, fewer components, or another family"
        )
    gram = torch.zeros(unknowns + 1, unknowns + 1, dtype=torch.float64)
    right = torch.zeros(unknowns + 1, target.shape[1], dtype=torch.float64)
    wrong = target - _answers(layer, bias, rows)
    for block, wrong_block in zip(_blocks(rows, unknowns), _blocks(wrong, unknowns)):
        phi = torch.cat([features for features, _ in _linear_part(layer, block)], 1)
        phi = F.pad(phi, (0, 1), value=0.0 if bias is None else 1.0)
        gram += phi.T @ phi
        right += phi.T @ wrong_block
    size = torch.where(gram.diagonal() > 0, gram.diagonal().sqrt(), 1.0)[:, None]
    gram = gram / size / size.T
    gram.diagonal().add_(ridge)
    change = torch.cholesky_solve(right / size, torch.linalg.cholesky(gram)) / size
    parts = change[:-1].split([features.shape[1] for features, _ in layout])
    for (_, parameter), part in zip(layout, parts):
        parameter.add_(part.reshape(parameter.shape))
    return None if bias is None else bias + change[-1]


def _linear_part(layer: GMLayer, x: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return what the output of a layer is linear in: features (n, P), and what they meet, (..., out).

    The latter are parameters of the layer, or views of them.
    """
    family, p = layer.covariance, layer.family_parameters()
    m, var, _ = family.moments(p, x)
    m = m if layer.bias is None else m + layer.bias
    weight, law = layer.component_weight(), family.law(p)
    gate = (weight * layer.activation.gate(m, var))[..., None]
    pairs = [(weight * layer.activation.mean(m, var), law.output_mean)]
    if law.factor.shape[1]:
        reading = F.linear(x, law.factor.flatten(0, 1)).unflatten(-1, law.factor.shape[:2])
        reading = reading if law.factor_std is None else law.factor_std * reading
        pairs.append((gate * reading, law.output_factor))
    if law.coupling is not None and law.diagonal is not None:
        pairs.append((gate * law.diagonal * x[:, None, :], law.coupling.mT))
    return [(features.flatten(1), parameter) for features, parameter in pairs]
