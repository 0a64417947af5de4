"""Feed-forward blocks of transformers and of mixers: drop-ins for Linear - activation - Linear."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gmlayers import ops
from gmlayers._arguments import check_device, check_dtype, check_generator, share
from gmlayers._names import check_size, flag, positive
from gmlayers.functional import VARIANCE_FLOOR, Activation, get_activation
from gmlayers.nn._drawing import draws
from gmlayers.nn._precision import autocast_off, check_input, squares_fit, upcast
from gmlayers.ops import _neurons

SLOPES = {
    "gelu_integral": "gelu",
    "gelu_tanh_integral": "gelu_tanh",
    "silu_integral": "silu",
    "softplus": "sigmoid",
}
"""The gate of the former is the level of the latter, and a block without levels needs no more."""

START = 0.3
"""All stds are this multiple of their unit at the start. Byte-level language models decided it: see docs/blocks.md."""


class GMFeedForward(nn.Module):
    r"""A feed-forward block whose neurons are Gaussian: what stands in the place of a transformer's MLP.

    .. math::

        y = \sum_k \mathbb E f(z_k)\; \bar\omega_k + \sum_{kj} \mathbb E f'(z_k)\, a_{kj}\; C_{kj} + c, \qquad
        z_k \sim N\Bigl(\langle\mu_k, x\rangle + b_k,\ \frac{\sigma_k^2}{d}\|x\|^2 + \varepsilon_k^2 \|a_k\|^2\Bigr),
        \qquad a_k = F_k x

    The first sum is the *level*, the second the *gate*. For :math:`\varepsilon_k \ne 0` this is a
    :class:`~gmlayers.GMLayer` with a low-rank covariance (Chewi, Rigollet and Yan, 2025) in coordinates that train well
    in deep nets: its factors are :math:`\varepsilon F`, its output factors :math:`C/\varepsilon`, its std is
    :math:`\sigma/\sqrt d`, and the factor :math:`1/\sqrt K` is in the outputs (:func:`gmlayers.convert.to_layer`).
    With :math:`\sigma = \varepsilon = 0` (``spread=False``), which is a limit of mixtures and none itself, level and
    gate are a neuron and its tangent; the gate alone is then a gated linear unit, :math:`f'(\mu x + b) \odot Fx`:
    :func:`gmlayers.convert.glu_to_gm` makes one of every such block.

    Args:
        in_features: size d of the last axis of the input.
        hidden_features: width of the MLP that it replaces, 4 d by default: there are as many components K as make as
            many parameters.
        out_features: size of the last axis of the output, d by default.
        activation: f; a name of :data:`gmlayers.functional.ACTIVATIONS` or an
            :class:`~gmlayers.functional.Activation`. For a gate alone it is the integral of that of the gated block.
        rank: directions in which a neuron varies, F is (K, rank, d).
        level: whether there is the first sum.
        gate: whether there is the second; without it there are no factors, and the neurons vary by σ alone.
        spread: whether the neurons vary; without it there are no stds.
        bias: a bias b of every component, and one of the output.
        drop: rate of dropout of the levels and gates, where an MLP has it after the activation.
        num_components: K, instead of ``hidden_features``.
        device: where the parameters live.
        dtype: floating dtype of the parameters.

    Shape:
        - input: (..., in_features), any batch shape, empty ones too.
        - output: (..., out_features).

    The parameters are ``mean`` μ (K, d), ``std`` σ (K,), ``factor`` F (K, rank, d), ``factor_std`` ε (K,),
    ``output_mean`` (K, out), ``output_factor`` C (K, rank, out), ``bias`` b (K,), ``output_bias`` c (out,). Stds and
    biases are not to be decayed: :func:`gmlayers.parameter_groups` sees to that. Matrix products are in the dtype of
    the parameters, or of autocast, as in an MLP; variances and expectations are in float32 at least, and on a CPU in
    float64 where float32 has no squares of the numbers.

    Raises:
        ValueError: sizes below 1, neither level nor gate, both sizes given, an unknown activation, a wrong input.
        TypeError: a size that is not a whole number, an input that is not floating point.

    Example:
        >>> import torch
        >>> from gmlayers import GMFeedForward
        >>> block = GMFeedForward(64)
        >>> block(torch.randn(8, 20, 64)).shape
        torch.Size([8, 20, 64])
    """

    mean: Tensor
    std: Tensor
    factor: Tensor
    factor_std: Tensor
    output_mean: Tensor
    output_factor: Tensor
    bias: Tensor | None
    output_bias: Tensor | None

    def __init__(
        self,
        in_features: int,
        hidden_features: int | None = None,
        out_features: int | None = None,
        *,
        activation: str | Activation = "gelu",
        rank: int = 1,
        level: bool = True,
        gate: bool = True,
        spread: bool = True,
        bias: bool = True,
        drop: float = 0.0,
        num_components: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_dtype("GMFeedForward: dtype", dtype)
        check_device("GMFeedForward: device", device)
        self.in_features = positive("GMFeedForward: in_features", in_features)
        self.out_features = _size("GMFeedForward: out_features", out_features, self.in_features)
        self.activation = get_activation(activation)
        self.rank = positive("GMFeedForward: rank", rank)
        self.level, self.gate = flag("GMFeedForward: level", level), flag("GMFeedForward: gate", gate)
        self.spread, bias = flag("GMFeedForward: spread", spread), flag("GMFeedForward: bias", bias)
        if not (self.level or self.gate):
            raise ValueError("GMFeedForward: level and gate are both False, so that nothing is left; set one of them")
        d, r, out = self.in_features, self.rank, self.out_features
        own: dict[str, tuple[int, ...]] = {"mean": (d,)}
        own |= {"factor": (r, d), "output_factor": (r, out)} if self.gate else {}
        own |= {"std": ()} if self.spread else {}
        own |= {"factor_std": ()} if self.spread and self.gate else {}
        own |= {"output_mean": (out,)} if self.level else {}
        size = sum(math.prod(shape) for shape in own.values())
        K = _components("GMFeedForward", d, hidden_features, out, num_components, size, bias)
        self.num_components = K
        shapes = {name: (K, *shape) for name, shape in own.items()}
        shapes |= {"bias": (K,), "output_bias": (out,)} if bias else {}
        check_size("GMFeedForward: in_features, hidden_features, out_features, rank", shapes.values())
        for name in ("mean", "std", "factor", "factor_std", "output_mean", "output_factor", "bias", "output_bias"):
            parameter = nn.Parameter(torch.empty(shapes[name], device=device, dtype=dtype)) if name in shapes else None
            self.register_parameter(name, parameter)
        self.drop = nn.Dropout(share("GMFeedForward: drop", drop))
        self.reset_parameters()

    @draws
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw means and factors from N(0, 1/d), set stds to 0.3, biases and all that meets the output to 0.

        Args:
            generator: source of randomness; torch's global one by default.

        Raises:
            RuntimeError: if a parameter is parametrized, pruned or normed; what is drawn here would be computed away.
        """
        check_generator("GMFeedForward.reset_parameters: generator", generator, self.mean.device)
        for name, parameter in self.named_parameters():
            if name in ("mean", "factor"):
                parameter.normal_(0, 1 / math.sqrt(self.in_features), generator=generator)
            else:
                parameter.fill_(START if name in ("std", "factor_std") else 0.0)

    def output_weights(self) -> list[nn.Parameter]:
        """Return what multiplies levels and gates on the way to the output; it starts at 0."""
        return [p for name, p in self.named_parameters() if name in ("output_mean", "output_factor")]

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the block, (..., out_features), for x of shape (..., in_features)."""
        check_input("GMFeedForward", x, self.in_features, self.mean)
        y = self._at_once(x)
        return self._by_parts(x) if y is None else y

    def _by_parts(self, x: Tensor) -> Tensor:
        """Return the output as the sum of what levels and gates give, whichever there are."""
        m = F.linear(x, self.mean, self.bias)
        reading = F.linear(x, self.factor.flatten(0, 1)).unflatten(-1, self.factor.shape[:2]) if self.gate else None
        with autocast_off(x.device.type):
            level, gated = self._hidden(upcast(m), upcast(x), None if reading is None else upcast(reading))
        if not self.gate:
            return self._out(level.to(m.dtype), self.output_mean, self.output_bias)
        y = self._out(gated.to(m.dtype).flatten(-2), self.output_factor.flatten(0, 1), self.output_bias)
        return y + self._out(level.to(m.dtype), self.output_mean) if self.level else y

    def _out(self, hidden: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return F.linear(self.drop(hidden), weight.T, bias)

    def _at_once(self, x: Tensor) -> Tensor | None:
        """Return the output by one operation, where there is one for the block and the numbers are in its range."""
        dropped = self.training and self.drop.p > 0
        if not (self.level and self.gate and self.spread) or self.rank > 1 or dropped:
            return None
        outputs = self.output_mean, self.output_factor[:, 0], self.output_bias
        stds = self.std / math.sqrt(self.in_features), self.factor_std
        if not _neurons.applies(self.activation, x, self.mean, self.factor, *stds, *outputs):
            return None
        m, a = F.linear(x, self.mean, self.bias), F.linear(x, self.factor[:, 0])
        return _neurons.neurons(m, a, torch.linalg.vecdot(x, x), *stds, *outputs, self.activation)

    def _hidden(self, m: Tensor, x: Tensor, reading: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return E f, (..., K), and E f' times the reading, (..., K, r), of those that there are."""
        f = self.activation
        if not self.spread:
            slope = m if reading is None else _slope(f, m)[..., None] * reading
            return f.f(m) if self.level else m, slope
        power = torch.linalg.vecdot(x, x).unsqueeze(-1) / self.in_features
        std = upcast(self.std).to(m.dtype)
        var = F.linear(power, std.square().unsqueeze(1), m.new_full(m.shape[-1:], VARIANCE_FLOOR))
        read = ()
        if reading is not None:
            spread = reading[..., 0].square() if self.rank == 1 else reading.square().sum(-1)
            factor_std = upcast(self.factor_std).to(m.dtype)
            var, read = torch.addcmul(var, spread, factor_std.square()), (reading, factor_std)
        if not squares_fit(var, x, std, *read):
            return self._hidden(m.double(), x.double(), None if reading is None else reading.double())
        if not self.level and reading is not None and f.in_table and f.name in SLOPES:
            slope, _ = ops.gate(m, var, SLOPES[f.name])
            return slope, slope[..., None] * reading
        return ops.gate(m, var, f, reading=reading)

    def extra_repr(self) -> str:
        """Return the arguments of the constructor."""
        return (
            f"{self.in_features}, out_features={self.out_features}, num_components={self.num_components}, "
            f"activation={self.activation.argument}, rank={self.rank}, level={self.level}, gate={self.gate}, "
            f"spread={self.spread}, bias={self.bias is not None}"
        )


class GMNMFeedForward(nn.Module):
    r"""A feed-forward block of Gaussian bumps across learned projections: the ridges of a mixture module, as an MLP.

    .. math:: y = \sum_k \pi_k \exp\bigl(-\tfrac12 \|P_k x - t_k\|^2\bigr) + c

    That is :class:`~gmlayers.GMNM` (Lu et al., 2025, C7) with centres μ of which only :math:`P_k\mu_k = t_k` matters:
    as cheap as an MLP in many dimensions, where a centre of its own would double a bump.

    Args:
        in_features: size d of the last axis of the input.
        hidden_features: width of the MLP that it replaces, 4 d by default: there are as many bumps as make as many
            parameters.
        out_features: size of the last axis of the output, d by default.
        rank: projections of a bump; P is (K, rank, d).
        bias: a bias c of the output.
        drop: rate of dropout of the bumps.
        num_components: number K of bumps, instead of ``hidden_features``.
        device: where the parameters live.
        dtype: floating dtype of the parameters.

    Shape:
        - input: (..., in_features), any batch shape; of mean 0 and variance 1, which a norm before the block sees to.
        - output: (..., out_features).

    The parameters are ``projection`` P (K, rank, d), ``offset`` t (K, rank), ``weight`` π (K, out) and ``bias`` c.

    Raises:
        ValueError: sizes below 1, both sizes given, a wrong input.
        TypeError: a size that is not a whole number, an input that is not floating point.

    Example:
        >>> import torch
        >>> from gmlayers import GMNMFeedForward
        >>> block = GMNMFeedForward(64, drop=0.1)
        >>> block(torch.randn(8, 20, 64)).shape
        torch.Size([8, 20, 64])
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int | None = None,
        out_features: int | None = None,
        *,
        rank: int = 1,
        bias: bool = True,
        drop: float = 0.0,
        num_components: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_dtype("GMNMFeedForward: dtype", dtype)
        check_device("GMNMFeedForward: device", device)
        self.in_features = positive("GMNMFeedForward: in_features", in_features)
        self.out_features = _size("GMNMFeedForward: out_features", out_features, self.in_features)
        self.rank = positive("GMNMFeedForward: rank", rank)
        bias = flag("GMNMFeedForward: bias", bias)
        own = self.rank * (self.in_features + 1) + self.out_features
        self.num_components = _components(
            *("GMNMFeedForward", in_features, hidden_features, self.out_features, num_components, own - bias, bias)
        )
        K = self.num_components
        shapes = (K, self.rank, self.in_features), (K, self.rank), (K, self.out_features)
        check_size("GMNMFeedForward: in_features, hidden_features, out_features, rank", shapes)
        self.projection, self.offset, self.weight = (
            nn.Parameter(torch.empty(shape, device=device, dtype=dtype)) for shape in shapes
        )
        self.bias = nn.Parameter(torch.empty(self.out_features, device=device, dtype=dtype)) if bias else None
        self.drop = nn.Dropout(share("GMNMFeedForward: drop", drop))
        self.reset_parameters()

    @draws
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw projections from N(0, 1/d) and offsets from N(0, 1), set weights and bias to 0.

        For inputs of mean 0 and variance 1 both are of the size of a projected input, so that bumps are neither flat
        nor empty where they start.

        Args:
            generator: source of randomness; torch's global one by default.

        Raises:
            RuntimeError: if a parameter is parametrized, pruned or normed; what is drawn here would be computed away.
        """
        check_generator("GMNMFeedForward.reset_parameters: generator", generator, self.projection.device)
        self.projection.normal_(0, 1 / math.sqrt(self.in_features), generator=generator)
        self.offset.normal_(0, 1, generator=generator)
        self.weight.zero_()
        if self.bias is not None:
            self.bias.zero_()

    def output_weights(self) -> list[nn.Parameter]:
        """Return what multiplies the bumps on the way to the output; it starts at 0."""
        return [p for name, p in self.named_parameters() if name == "weight"]

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the block, (..., out_features), for x of shape (..., in_features)."""
        check_input("GMNMFeedForward", x, self.in_features, self.projection)
        away = F.linear(x, self.projection.flatten(0, 1), -self.offset.flatten())
        bumps = torch.exp(-0.5 * upcast(away).square().unflatten(-1, (-1, self.rank)).sum(-1))
        return F.linear(self.drop(bumps.to(away.dtype)), self.weight.T, self.bias)

    def extra_repr(self) -> str:
        """Return the arguments of the constructor."""
        return (
            f"{self.in_features}, out_features={self.out_features}, num_components={self.num_components}, "
            f"rank={self.rank}, bias={self.bias is not None}"
        )


def _slope(f: Activation, m: Tensor) -> Tensor:
    return f.gate(m, torch.full_like(m, VARIANCE_FLOOR)) if f.slope is None else f.slope(m)


def _size(name: str, given: int | None, default: int) -> int:
    return default if given is None else positive(name, given)


def _components(
    module: str, inputs: int, hidden: int | None, outputs: int, components: int | None, own: int, bias: bool
) -> int:
    """Return as many components, of so many parameters beside a bias, as make the size of an MLP."""
    if components is not None:
        if hidden is not None:
            raise ValueError(f"{module}: hidden_features and num_components both set the size; give one of them")
        return positive(f"{module}: num_components", components)
    width = _size(f"{module}: hidden_features", hidden, 4 * inputs)
    return max(1, round(width * (inputs + outputs + bias) / (own + bias)))
