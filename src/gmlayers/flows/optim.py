r"""Optimizers that train GM layers along the flows of :mod:`gmlayers.flows`, one gradient a step.

The gradient flow of a loss over the law of the neurons moves component k by its Euclidean gradient in (μ, C) divided by
its weight, that is times K (see :mod:`gmlayers.flows`). Three steps towards it:

- :func:`component_groups` multiplies the rates of plain SGD, or of any optimizer, by K;
- :class:`WassersteinSGD` also divides by learned weights, moves these by Fisher–Rao, and goes along geodesics whatever
  the coordinates of a family: the triangular root of ``full`` and the slopes of ``regression`` are coordinates only,
  and the law moves as if they were not. For ``full`` this is the Bures–Wasserstein flow; the roots of the other
  families are held to their patterns, and the law moves within the family, along the gradient in the root;
- :class:`WassersteinAdam` gives every component its own pace, by running moments of its gradient's *length*: adaptive
  steps on a product of manifolds (Bécigneul and Ganea, *Riemannian adaptive optimization methods*, ICLR 2019), which do
  not depend on the axes of the input as Adam's do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

import torch
from torch import Tensor, nn

from gmlayers._arguments import check_callable, check_module, got, not_negative_number, positive_number, real, several
from gmlayers._names import renamed
from gmlayers.nn import Full, GMLayer, ParameterGroup, Regression
from gmlayers.nn._drawing import refuse_computed

__all__ = ["LayerGroup", "WassersteinAdam", "WassersteinSGD", "component_groups", "layer_groups"]

Named = dict[str, Tensor]


class LayerGroup(TypedDict):
    """One entry of what torch's optimizers take: the parameters of a GM layer, or all the rest."""

    params: list[nn.Parameter]
    lr: float
    names: list[str]
    """The names of the parameters in their GM layer; the group of the rest has none."""
    shared: list[str]
    """The names of those parameters that all components share."""
    coordinates: str
    """The key of ``COORDINATES`` by which the layer moves."""


def component_groups(model: nn.Module, lr: float) -> list[ParameterGroup]:
    """Return a group for every GM layer of a model, its rate times its number of components, and one for the rest.

    With SGD, layers of different K then run at equal Wasserstein time if their ``scaling`` is ``"mean"``: as many steps
    take them equally far along their flows. What all components share, and the rest, keep the rate as it is.

    Args:
        model: any module; parameters that require no gradient are left out.
        lr: the rate of the flow, at least 0. It has no default, because it takes the place of the optimizer's.

    Raises:
        ValueError: for a rate out of range, a model with nothing to train.

    Example:
        >>> import torch
        >>> from gmlayers import GMLayer
        >>> from gmlayers.flows import optim
        >>> optimizer = torch.optim.SGD(optim.component_groups(GMLayer.paper(784, 10, 20), lr=0.005))
        >>> [group["lr"] for group in optimizer.param_groups]
        [0.1]
    """
    groups: list[ParameterGroup] = []
    for group in layer_groups(model, lr):
        trained = [(n, p) for n, p in zip(group["names"], group["params"]) if p.requires_grad]
        own = [p for n, p in trained if n not in group["shared"]]
        rest = [p for n, p in trained if n in group["shared"]] if group["names"] else group["params"]
        if own:
            groups.append({"params": own, "lr": len(own[0]) * lr})
        if rest:
            groups.append({"params": rest, "lr": lr})
    return groups


def layer_groups(model: nn.Module, lr: float = 0.1) -> list[LayerGroup]:
    """Return a group for every GM layer of a model and one for the rest, all at one rate: for the optimizers below.

    Example:
        >>> from gmlayers import GMLayer
        >>> from gmlayers.flows.optim import WassersteinSGD, layer_groups
        >>> optimizer = WassersteinSGD(layer_groups(GMLayer(784, 10, 20), lr=0.005))
    """
    check_module("layer_groups: model", model)
    lr = not_negative_number("layer_groups: lr", lr)
    groups: list[LayerGroup] = []
    seen: set[int] = set()
    for layer in model.modules():
        if not isinstance(layer, GMLayer):
            continue
        try:
            refuse_computed("layer_groups", layer)
        except RuntimeError as error:
            raise ValueError(str(error)) from None
        named = {n: p for n, p in layer.named_parameters() if p.requires_grad and id(p) not in seen}
        seen |= {id(p) for p in named.values()}
        if named:
            if layer.weight_logits is not None:  # gradients are divided by the weights, learned or frozen
                named["weight_logits"] = layer.weight_logits
            one, two = (layer.covariance.shapes(layer.in_features, layer.out_features, K) for K in (1, 2))
            groups.append(
                LayerGroup(
                    params=list(named.values()),
                    lr=lr,
                    names=list(named),
                    shared=[n for n in named if n in one and one[n] == two[n]],
                    coordinates=_coordinates(layer, named),
                )
            )
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in seen]
    if rest:
        groups.append(_rest(rest, lr))
    if not groups:
        raise ValueError("the model has no parameter that requires a gradient")
    return groups


class Coordinates(NamedTuple):
    """Two functions that move the law of the neurons by moving the parameters of a family."""

    tangent: Callable[[Named, Named], Named]
    """Takes parameters and their gradients to the gradient in coordinates in which steps are straight."""
    moved: Callable[[Named, Named], tuple[Named, Tensor | None]]
    """Takes parameters and a step in those coordinates to the parameters after it, and what has turned (B, A)."""


class _Wasserstein(torch.optim.Optimizer):
    """The part that the two optimizers share: gradients by component, steps along geodesics."""

    def _direction(self, group: Mapping[str, Any], p: Tensor, tangent: Tensor, axes: tuple[int, ...]) -> Tensor:
        """Return the direction of a step; ``axes`` are those along which a part of the parameter moves as one."""
        raise NotImplementedError

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take a step; layers without a gradient rest."""
        check_callable(f"{type(self).__name__}.step: closure", closure, optional=True, takes=0)
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        # all that can fail comes before anything moves
        tangents = [self._tangent(group) if group["names"] else None for group in self.param_groups]
        for group, tangent in zip(self.param_groups, tangents):
            if tangent is not None:
                self._move_layer(group, tangent)
            elif not group["names"]:
                for p in group["params"]:
                    if p.grad is not None:
                        p.sub_(group["lr"] * self._direction(group, p, p.grad, ()))
        return loss

    def _tangent(self, group: Mapping[str, Any]) -> Named | None:
        """Return the gradient of a layer by component, in coordinates in which steps are straight; None without one."""
        named: Named = dict(zip(group["names"], group["params"]))
        if all(p.grad is None for p in named.values()):
            return None
        gradient = {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in named.items()}
        return _by_weight(named, COORDINATES[group["coordinates"]].tangent(named, gradient), group["shared"])

    def _move_layer(self, group: Mapping[str, Any], tangent: Named) -> None:
        named: Named = dict(zip(group["names"], group["params"]))
        steps = {
            n: -group["lr"] * self._direction(group, named[n], t, tuple(range(n not in group["shared"], t.ndim)))
            for n, t in tangent.items()
        }
        moved, turn = COORDINATES[group["coordinates"]].moved(named, steps)
        for name, value in moved.items():
            named[name].copy_(value)
        for name in () if turn is None else ("scale_tril", "coupling"):
            state = self.state[named[name]]
            state |= {key: state[key] @ turn for key in ("velocity", "mean") if key in state}


class WassersteinSGD(_Wasserstein):
    r"""Gradient descent in the law of the neurons, with momentum if wanted.

    Args:
        groups: what :func:`layer_groups` returns.
        momentum: share of the last step that is taken again, from 0 to below 1.

    Raises:
        ValueError: for options out of range, groups of another kind.

    Example:
        >>> import torch
        >>> from gmlayers import GMLayer
        >>> from gmlayers.flows import optim
        >>> layer = GMLayer.paper(4, 1, 3)
        >>> optimizer = optim.WassersteinSGD(optim.layer_groups(layer, lr=0.1))
        >>> layer(torch.rand(8, 4)).square().mean().backward()
        >>> optimizer.step()
    """

    def __init__(self, groups: Sequence[LayerGroup], *, momentum: float = 0.0) -> None:
        momentum = real("WassersteinSGD: momentum", momentum)
        if not 0 <= momentum < 1:
            raise ValueError(f"WassersteinSGD: momentum must lie in [0, 1), got {momentum}")
        super().__init__(_checked("WassersteinSGD", groups), {"momentum": momentum})

    def _direction(self, group: Mapping[str, Any], p: Tensor, tangent: Tensor, axes: tuple[int, ...]) -> Tensor:  # noqa: ARG002
        if not group["momentum"]:
            return tangent
        state = self.state[p]
        state["velocity"] = group["momentum"] * state["velocity"] + tangent if state else tangent.clone()
        return state["velocity"]


class WassersteinAdam(_Wasserstein):
    r"""Steps of one size for every component: :math:`\eta\, \hat m_k / (\hat v_k^{1/2} + \epsilon)`.

    m is the running mean of the gradient, v that of its mean square over the entries of one component's part of a
    parameter, both with the usual corrections for the start. So within a component directions are kept, and a rotation
    of the inputs rotates the path. Parameters outside of GM layers are moved as by Adam, entry by entry.

    Args:
        groups: what :func:`layer_groups` returns.
        betas: how much of each of the two running means is kept at a step, from 0 to below 1.
        eps: ε, positive.

    Raises:
        ValueError: for options out of range, groups of another kind.

    Example:
        >>> import torch
        >>> from gmlayers import GMLayer
        >>> from gmlayers.flows import optim
        >>> layer = GMLayer(4, 1, 3)
        >>> optimizer = optim.WassersteinAdam(optim.layer_groups(layer, lr=0.01))
        >>> layer(torch.rand(8, 4)).square().mean().backward()
        >>> optimizer.step()
    """

    def __init__(
        self,
        groups: Sequence[LayerGroup],
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        two = several("WassersteinAdam: betas", betas, object, "two numbers in [0, 1)")
        kept = [real("WassersteinAdam: one of betas", beta) for beta in two]
        if not (len(kept) == 2 and all(0 <= beta < 1 for beta in kept)):
            raise ValueError(f"WassersteinAdam: betas must be two numbers in [0, 1), got {got(betas)} of {kept}")
        eps = positive_number("WassersteinAdam: eps", eps)
        super().__init__(_checked("WassersteinAdam", groups), {"betas": (kept[0], kept[1]), "eps": eps})

    def _direction(self, group: Mapping[str, Any], p: Tensor, tangent: Tensor, axes: tuple[int, ...]) -> Tensor:
        state, (beta1, beta2) = self.state[p], group["betas"]
        square = tangent.square().mean(axes, keepdim=True) if axes else tangent.square()
        if not state:
            state |= {"step": torch.zeros(()), "mean": torch.zeros_like(tangent), "square": torch.zeros_like(square)}
        state["step"] += 1
        state["mean"].lerp_(tangent, 1 - beta1)
        state["square"].lerp_(square, 1 - beta2)
        t = float(state["step"])
        return (state["mean"] / (1 - beta1**t)) / ((state["square"] / (1 - beta2**t)).sqrt() + group["eps"])


def _by_weight(values: Named, tangent: Named, shared: Sequence[str]) -> Named:
    """Divide the gradient of every component by its weight."""
    logits = values.get("weight_logits")
    found = {}
    for name, t in tangent.items():
        if name in shared:
            found[name] = t
        elif logits is None:
            found[name] = len(t) * t
        else:
            weight = logits.softmax(0).view(-1, *[1] * (t.ndim - 1))
            found[name] = _ratio(t, weight)
    return found


def _ratio(above: Tensor, below: Tensor) -> Tensor:
    """Return a quotient that is 0 where its denominator is, and NaN where either of the two is."""
    none = below == 0
    return torch.where(none, 0.0 * above, above / torch.where(none, 1.0, below))


def _straight(values: Named, gradient: Named) -> Named:  # noqa: ARG001
    return gradient


def _plus(values: Named, step: Named) -> Named:
    return {name: values[name] + by for name, by in step.items()}


def _straight_moved(values: Named, step: Named) -> tuple[Named, None]:
    return _plus(values, step), None


def _regression_tangent(values: Named, gradient: Named) -> Named:
    r"""Return the gradient in :math:`(\mu, \sigma, B = U\,\mathrm{diag}\,\sigma, \mu_\omega = U\mu + v)`.

    By the chain rule :math:`\partial_v = \partial_{\mu_\omega}`,
    :math:`\partial_U = \partial_B\,\mathrm{diag}\,\sigma + \partial_{\mu_\omega}\mu^\top`, and so on; where σ = 0 B
    meets no noise, and its gradient is 0. It stands under the names of U and v.
    """
    std, of_mean = values["std"][:, None], gradient["intercept"]
    of_slope = gradient["slope"] - of_mean[..., None] * values["mean"][:, None]
    of_coupling = _ratio(of_slope, std)
    return gradient | {
        "mean": gradient["mean"] - torch.einsum("ko,koi->ki", of_mean, values["slope"]),
        "std": gradient["std"] - (of_coupling * values["slope"]).sum(1),
        "slope": of_coupling,
        "intercept": of_mean,
    }


def _regression_moved(values: Named, step: Named) -> tuple[Named, None]:
    joint = Regression.joint(values)
    moved = _plus(values, step)
    std = moved["std"][:, None]
    coupling = joint["coupling"] + step["slope"]
    slope = _ratio(coupling, std)
    output_mean = joint["output_mean"] + step["intercept"]
    intercept = output_mean - torch.einsum("koi,ki->ko", slope, moved["mean"])
    return moved | {"slope": slope, "intercept": intercept}, None


def _triangular_tangent(values: Named, gradient: Named) -> Named:
    r"""Return the gradient in (B, A) for any square A, from that for a triangular one.

    The loss depends on :math:`AA^\top` and :math:`BA^\top` alone. With its derivatives S, symmetric, and T in these,
    :math:`\partial_B = TA` and :math:`\partial_A = 2SA + T^\top B`. What is known of the latter is its lower triangle,
    and so that of :math:`A^\top 2SA`, which is symmetric and A lower triangular: this gives all of it. What a singular
    A does not see is taken for 0.
    """
    A, B = values["scale_tril"].tril(), values["coupling"]
    T = gradient["coupling"] @ (inverse := _inverse(A))
    known = (A.mT @ (gradient["scale_tril"].tril() - (T.mT @ B).tril())).tril()
    congruent = known + known.tril(-1).mT
    return gradient | {"scale_tril": inverse.mT @ congruent + T.mT @ B}


def _inverse(A: Tensor) -> Tensor:
    """Return the inverses of triangular matrices, pseudo-inverses if one is singular."""
    size = A.diagonal(dim1=-2, dim2=-1).abs()
    if bool((size.amin(-1) <= torch.finfo(A.dtype).eps * size.amax(-1)).any()):
        return torch.linalg.pinv(A)
    eye = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
    return torch.linalg.solve_triangular(A, eye.expand_as(A), upper=False)


def _triangular_moved(values: Named, step: Named) -> tuple[Named, Tensor]:
    """Move (B, A) and turn it so that A is triangular again: the law does not see it. Signs are kept."""
    before = values["scale_tril"].tril()
    moved = _plus(values | {"scale_tril": before}, step)
    Q, R = torch.linalg.qr(moved["scale_tril"].mT)
    sign = torch.where(R.diagonal(dim1=-2, dim2=-1) * before.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0).to(R)
    turn = Q * sign[:, None]
    return moved | {"scale_tril": R.mT * sign[:, None], "coupling": moved["coupling"] @ turn}, turn


COORDINATES: dict[str, Coordinates] = {
    "euclidean": Coordinates(_straight, _straight_moved),
    "regression": Coordinates(_regression_tangent, _regression_moved),
    "triangular": Coordinates(_triangular_tangent, _triangular_moved),
}


def _coordinates(layer: GMLayer, named: Mapping[str, Tensor]) -> str:
    """Return the coordinates of a layer; where parameters are frozen they are taken as they are."""
    if isinstance(layer.covariance, Regression) and {"mean", "std", "slope", "intercept"} <= named.keys():
        return "regression"
    if isinstance(layer.covariance, Full) and {"scale_tril", "coupling"} <= named.keys():
        if layer.mean.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"layer_groups: a full layer must be in float32 or float64, got {layer.mean.dtype}")
        return "triangular"
    return "euclidean"


def _rest(params: list[nn.Parameter], lr: float) -> LayerGroup:
    return LayerGroup(params=params, lr=lr, names=[], shared=[], coordinates="euclidean")


def _checked(name: str, groups: Sequence[LayerGroup]) -> list[dict[str, Any]]:
    found = several(f"{name}: groups", groups, object, "the groups of layer_groups(model)")
    if not found:
        raise ValueError(f"{name}: expected the groups of layer_groups(model), got none")
    for group in found:
        if not isinstance(group, dict) or "coordinates" not in group:
            raise ValueError(f"{name}: expected the groups of layer_groups(model), got {got(group)}")
    return [dict(group) for group in groups]


def _parameter_groups(model: nn.Module, lr: float = 0.1) -> list[ParameterGroup]:
    return component_groups(model, lr)


if not TYPE_CHECKING:
    __getattr__ = renamed(
        __name__,
        {
            "Group": ("LayerGroup", LayerGroup),
            "PlainGroup": ("gmlayers.nn.ParameterGroup", ParameterGroup),
            "parameter_groups": ("component_groups", _parameter_groups),
        },
    )
