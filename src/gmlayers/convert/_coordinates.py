"""A layer can be written in another covariance family that holds the same function."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from gmlayers.nn import Covariance, Diagonal, Full, GMLayer, Regression
from gmlayers.nn._gm_layer import check_layer
from gmlayers.nn._precision import upcast


@torch.no_grad()
def to_diagonal(layer: GMLayer) -> GMLayer:
    r"""Return a ``diagonal`` layer with the law of a ``regression`` layer.

    :math:`\mu_\omega = U\mu + v` and :math:`B = U\,\mathrm{diag}\,\sigma`.

    Raises:
        ValueError: if the layer is of another family.

    Example:
        >>> from gmlayers import GMLayer, convert
        >>> convert.to_diagonal(GMLayer.paper(4, 2, 3)).covariance
        Diagonal()
    """
    _require(layer, Regression(), "to_diagonal")
    return _rebuilt(layer, Diagonal(), Regression.joint(_parameters(layer)))


@torch.no_grad()
def to_regression(layer: GMLayer) -> GMLayer:
    r"""Return a ``regression`` layer that is the same function as a ``diagonal`` one.

    :math:`U = B\,\mathrm{diag}\,\sigma^{-1}` and :math:`v = \mu_\omega - U\mu`. Where σ = 0 the entry of B meets a
    noise that is not there: the slope is set to 0, the function is unchanged, and the way back gives B = 0.
    Rounding grows with :math:`|\mu/\sigma|`, since v is a difference of two terms of that size: convert in
    float64 where stds are below 1e-3 of the means.

    Raises:
        ValueError: if the layer is of another family.

    Example:
        >>> from gmlayers import GMLayer, convert
        >>> convert.to_regression(GMLayer(4, 2, 3, covariance="diagonal")).covariance
        Regression()
    """
    _require(layer, Diagonal(), "to_regression")
    p = _parameters(layer)
    std = p["std"][:, None, :]
    largest = std.abs().amax(-1, keepdim=True)
    silent = std.abs() <= torch.finfo(std.dtype).eps * largest  # no noise, or lost in the rounding of the rest
    slope = torch.where(silent, 0.0, p["coupling"] / torch.where(silent, 1.0, std))
    intercept = p["output_mean"] - torch.einsum("koi,ki->ko", slope, p["mean"])
    return _rebuilt(layer, Regression(), {**p, "slope": slope, "intercept": intercept})


@torch.no_grad()
def to_full(layer: GMLayer) -> GMLayer:
    r"""Return a ``full`` layer with the law of a layer of any family, up to noise that ω has of its own.

    For the root (B, A) of the layer let :math:`A^\top = QR` with R upper triangular. The new root is
    :math:`(BQ, R^\top)`: it gives the same :math:`AA^\top = R^\top R`, of which it is the Cholesky factor, and the same
    :math:`BA^\top = BQR`. No covariance is formed or inverted, so singular ones are no exception.

    Example:
        >>> from gmlayers import GMLayer, convert
        >>> convert.to_full(GMLayer(4, 2, 3)).covariance
        Full()
    """
    check_layer("to_full", layer)
    mean, root, output_mean, output_root = (upcast(t) for t in layer.root())
    missing = max(0, layer.in_features - root.shape[-1])  # a family of one's own may have fewer columns than inputs
    Q, R = torch.linalg.qr(F.pad(root, (0, missing)).mT)
    sign = torch.where(R.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0).to(R.dtype)
    joint = {
        "mean": mean,
        "scale_tril": R.mT * sign[:, None, :],
        "output_mean": output_mean,
        "coupling": F.pad(output_root, (0, missing)) @ Q * sign[:, None, :],
    }
    return _rebuilt(layer, Full(), joint)


def _require(layer: GMLayer, covariance: Covariance, function: str) -> None:
    check_layer(function, layer)
    if layer.covariance != covariance:
        raise ValueError(f"{function}: expected a layer with covariance={covariance}, got {layer.covariance}")


def _parameters(layer: GMLayer) -> dict[str, Tensor]:
    return dict(layer.named_parameters())


def _rebuilt(layer: GMLayer, covariance: Covariance, p: Mapping[str, Tensor]) -> GMLayer:
    """Return a layer like the given one but for its family, with parameters taken from ``p`` by name."""
    device = layer.mean.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):  # what the constructor draws is replaced
        twin = GMLayer(
            layer.in_features,
            layer.out_features,
            layer.num_components,
            covariance=covariance,
            activation=layer.activation,
            scaling=layer.scaling,
            learn_weights=layer.weight_logits is not None,
            bias=layer.bias is not None,
            init_scale=layer.init_scale,
            device=device,
            dtype=layer.mean.dtype,
        )
    shared = _parameters(layer) | dict(p)
    for name, parameter in twin.named_parameters():
        parameter.copy_(shared[name])
    return twin.train(layer.training)
