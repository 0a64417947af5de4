"""A head that answers with a distribution: a mixture of normal ones, for every output."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, MixtureSameFamily, Normal
from torch.nn import functional as F

from gmlayers._arguments import check_device, check_dtype, check_generator, check_tensors, positive_number
from gmlayers._names import brief_value, check_size, positive, whole
from gmlayers.functional import normal
from gmlayers.nn._drawing import draws
from gmlayers.nn._precision import autocast_off, check_input, upcast

HALVINGS = 50
"""A quantile takes so many halvings in float64, also for narrow components that are far apart."""


class NormalMixture(MixtureSameFamily):
    r"""Mixtures of normal distributions of numbers, with quantiles and the continuous ranked probability score.

    .. math:: p(y) = \sum_r w_r\, N(y;\ \mu_r, \sigma_r^2)

    It is a ``torch.distributions.MixtureSameFamily``: ``log_prob``, ``cdf``, ``mean``, ``variance`` and ``sample`` are
    torch's.

    Args:
        logits: the softmax of which are the weights w, (..., R).
        mean: μ, (..., R).
        std: σ, (..., R), positive.

    Raises:
        ValueError: tensors of several shapes, dtypes or devices.
        TypeError: arguments that are no tensors of floating-point numbers.

    Example:
        >>> import torch
        >>> from gmlayers.nn import NormalMixture
        >>> y = NormalMixture(torch.zeros(2), torch.tensor([-1.0, 1.0]), torch.ones(2))
        >>> y.mean, y.icdf(torch.tensor(0.9)), y.crps(torch.tensor(0.0))
        (tensor(0.), tensor(1.8495), tensor(0.3594))
    """

    def __init__(self, logits: Tensor, mean: Tensor, std: Tensor) -> None:
        check_tensors("NormalMixture", logits=logits, mean=mean, std=std)
        if not logits.shape == mean.shape == std.shape or not logits.ndim or not logits.shape[-1]:
            raise ValueError(
                f"NormalMixture: expected logits, mean and std of one shape (..., components), got "
                f"{tuple(logits.shape)}, {tuple(mean.shape)} and {tuple(std.shape)}"
            )
        weights, parts = Categorical(logits=logits, validate_args=False), Normal(mean, std, validate_args=False)
        super().__init__(weights, parts, validate_args=False)

    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits, whose exponentials are the weights, means and stds, (..., R)."""
        parts, weights = self.component_distribution, self.mixture_distribution
        assert isinstance(parts, Normal)
        assert isinstance(weights, Categorical)
        return weights.logits, parts.loc, parts.scale

    def expand(  # type: ignore[override]
        self,
        batch_shape: torch.Size | tuple[int, ...],
        _instance: object = None,
    ) -> NormalMixture:
        """Return the distributions in a larger shape.

        Raises:
            ValueError: a shape to which they cannot be broadcast.
            TypeError: what is no shape.
        """
        name = "NormalMixture.expand: batch_shape"
        if not isinstance(batch_shape, (tuple, list)):
            raise TypeError(f"{name} must be a tuple of sizes, got {brief_value(batch_shape)}")
        shape, own = tuple(whole(name, size) for size in batch_shape), tuple(self.batch_shape)
        fits = len(shape) >= len(own) and all(a in (1, b) for a, b in zip(reversed(own), reversed(shape)))
        if not fits or min(shape, default=0) < 0:
            raise ValueError(f"{name} {shape} is no shape to which mixtures of {own} can be broadcast")
        return NormalMixture(*(part.expand(*shape, part.shape[-1]) for part in self.tensors()))

    @property
    def _parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """Weights, means and stds, (..., R)."""
        parts, weights = self.component_distribution, self.mixture_distribution
        assert isinstance(parts, Normal)
        assert isinstance(weights, Categorical)
        return weights.probs, parts.loc, parts.scale

    def icdf(self, value: Tensor) -> Tensor:
        r"""Return quantiles, (..., *own), of probabilities in (0, 1), which are broadcast with the distributions.

        Bisection finds q; its first derivatives are those that follow from :math:`F(q) = p`, and it has no others.

        Raises:
            ValueError: a probability that does not lie in (0, 1).
            TypeError: what is no tensor.
        """
        mean = self._parts[1]
        check_tensors("NormalMixture.icdf", value=value, mean=mean)
        shape = _broadcast("NormalMixture.icdf: value", value, mean)
        if not bool(((value > 0) & (value < 1)).all()):
            raise ValueError("NormalMixture.icdf: probabilities must lie in (0, 1), where quantiles are finite")
        own = tuple(upcast(part) for part in self._parts)
        with torch.no_grad():
            wide = tuple(part.double() for part in own)
            share = value.double()
            reach = wide[2] * torch.special.ndtri(share.unsqueeze(-1))  # a quantile lies between those of the parts
            low, high = (end.expand(shape) for end in (wide[1] + reach).aminmax(dim=-1))
            for _ in range(HALVINGS):
                middle = low + 0.5 * (high - low)
                below = _below(middle, *wide) < share
                low, high = torch.where(below, middle, low), torch.where(below, high, middle)
            found = (low + 0.5 * (high - low)).to(own[1].dtype)
            density = self.log_prob(found).exp().clamp(min=torch.finfo(found.dtype).tiny)
        error = _below(found, *own) - upcast(value)
        return (found - (error - error.detach()) / density).to(mean.dtype)

    def crps(self, y: Tensor) -> Tensor:
        r"""Return the continuous ranked probability score of what came, which is lower for better forecasts.

        .. math::

            &\int \bigl(F(z) - 1\{y \le z\}\bigr)^2 dz \\
            &= \sum_r w_r\, A(y - \mu_r, \sigma_r^2) - \tfrac12 \sum_{rs} w_r w_s\, A(\mu_r - \mu_s,
            \sigma_r^2 + \sigma_s^2)

        with :math:`A(m, v) = \mathbb E|N(m, v)|` (Grimit et al., *The continuous ranked probability score for circular
        variables and its application to mesoscale forecast ensemble verification*, 2006, equation 5).

        Args:
            y: what came, broadcast with the distributions.

        Raises:
            ValueError: another dtype or device.
            TypeError: what is no tensor.
        """
        weights, mean, std = self._parts
        check_tensors("NormalMixture.crps", y=y, mean=mean)
        _broadcast("NormalMixture.crps: y", y, mean)
        own = (weights * _magnitude(y.unsqueeze(-1) - mean, std)).sum(-1)
        apart, spread = mean.unsqueeze(-1) - mean.unsqueeze(-2), torch.hypot(std.unsqueeze(-1), std.unsqueeze(-2))
        both = weights.unsqueeze(-1) * weights.unsqueeze(-2)
        return own - 0.5 * (both * _magnitude(apart, spread)).sum((-2, -1))


class MixtureHead(nn.Module):
    r"""A linear head that answers with mixtures of normal distributions: a mixture density network (Bishop, 1994).

    .. math:: p(y_j \mid x) = \sum_r w_{jr}(x)\, N\bigl(y_j;\ \mu_{jr}(x), \sigma_{jr}(x)^2\bigr)

    Train it by ``-head(x).log_prob(y).mean()`` or by ``head(x).crps(y).mean()``; one component is a Gaussian head.

    Args:
        in_features: size of the last axis of the input.
        out_features: number of outputs, each with a mixture of its own.
        components: number R of components.
        least_std: stds are larger than this, in the unit of the outputs: a likelihood has no bound if they may vanish.
        device: where the parameters live.
        dtype: floating dtype of the parameters.

    Shape:
        - input: (..., in_features).
        - output: a :class:`NormalMixture` of (..., out_features) numbers.

    The parameters are ``weight`` (3, out, R, in) and ``bias`` (3, out, R) of the logits of w, of μ and of what σ is the
    softplus of.

    Raises:
        ValueError: sizes below 1, a wrong input.
        TypeError: a size that is not a whole number, an input that is not floating point.

    Example:
        >>> import torch
        >>> from gmlayers import MixtureHead
        >>> forecast = MixtureHead(32, 24)(torch.randn(8, 32))
        >>> forecast.log_prob(torch.zeros(8, 24)).shape, forecast.icdf(torch.tensor(0.9)).shape
        (torch.Size([8, 24]), torch.Size([8, 24]))
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        components: int = 3,
        *,
        least_std: float = 1e-3,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_dtype("MixtureHead: dtype", dtype)
        check_device("MixtureHead: device", device)
        self.in_features = positive("MixtureHead: in_features", in_features)
        self.out_features = positive("MixtureHead: out_features", out_features)
        self.components = positive("MixtureHead: components", components)
        self.least_std = positive_number("MixtureHead: least_std", least_std)
        shape = 3, self.out_features, self.components
        check_size("MixtureHead: in_features, out_features, components", [(*shape, self.in_features)])
        self.weight = nn.Parameter(torch.empty(*shape, self.in_features, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.reset_parameters()

    @draws
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        r"""Draw weights from :math:`U(-1/\sqrt d, 1/\sqrt d)`; set stds to 1 and means evenly from -1 to 1.

        Args:
            generator: source of randomness; torch's global one by default.

        Raises:
            RuntimeError: if a parameter is parametrized, pruned or normed; what is drawn here would be computed away.
        """
        check_generator("MixtureHead.reset_parameters: generator", generator, self.weight.device)
        reach = 1 / math.sqrt(self.in_features)
        self.weight.uniform_(-reach, reach, generator=generator)
        R = self.components
        self.bias[0] = 0.0
        self.bias[1] = torch.linspace(-1, 1, R, dtype=self.bias.dtype, device=self.bias.device) if R > 1 else 0.0
        self.bias[2] = math.log(math.expm1(1.0))

    def forward(self, x: Tensor) -> NormalMixture:
        """Return the distributions of the outputs, for x of shape (..., in_features)."""
        return NormalMixture(*self.tensors(x))

    def tensors(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits, means and stds, (..., out_features, components), which can be exported.

        Raises:
            ValueError, TypeError: for a wrong input.
        """
        check_input("MixtureHead", x, self.in_features, self.weight)
        found = F.linear(x, self.weight.flatten(0, 2), self.bias.flatten())
        with autocast_off(x.device.type):
            logits, mean, raw = upcast(found).unflatten(-1, self.weight.shape[:3]).unbind(-3)
            return logits, mean, F.softplus(raw) + self.least_std

    def extra_repr(self) -> str:
        """Return the arguments of the constructor."""
        return f"{self.in_features}, {self.out_features}, components={self.components}, least_std={self.least_std:g}"


def _broadcast(name: str, values: Tensor, mean: Tensor) -> torch.Size:
    """Return the common shape of values and of mixtures with means (..., R), or raise ``ValueError``."""
    own = mean.shape[:-1]
    fits = all(1 in pair or pair[0] == pair[1] for pair in zip(reversed(values.shape), reversed(own)))
    if not fits:
        raise ValueError(f"{name} has shape {tuple(values.shape)}, which does not go with mixtures of {tuple(own)}")
    return torch.broadcast_shapes(values.shape, own)


def _below(y: Tensor, weights: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return the distribution function, accurate in the lower tail."""
    return (weights * normal.cdf((y.unsqueeze(-1) - mean) / std)).sum(-1)


def _magnitude(mean: Tensor, std: Tensor) -> Tensor:
    """Return the mean of the magnitude of normal numbers."""
    t = mean / std
    return 2 * std * normal.pdf(t) + mean * torch.erf(t * math.sqrt(0.5))
