"""The Gaussian mixture layer."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from gmlayers import ops
from gmlayers._arguments import (
    check_device,
    check_dtype,
    check_generator,
    check_module,
    not_negative_number,
)
from gmlayers._names import brief_value, check_size, flag, look_up, positive
from gmlayers.functional import ACTIVATIONS, Activation, get_activation
from gmlayers.nn._computed import refuse_computed
from gmlayers.nn._precision import autocast_off, check_input, result_dtype, upcast
from gmlayers.nn._range import squares_fit
from gmlayers.nn.covariance import Covariance, Regression, Root, get_covariance
from gmlayers.ops import _neurons

Scaling = Literal["sqrt", "mean"]


class GMLayer(nn.Module):
    r"""A two-layer network of infinite width whose neurons follow a Gaussian mixture, in closed form.

    It replaces ``Linear(in, width) – activation – Linear(width, out)``. The formula and its source stand at
    :func:`gmlayers.functional.gm_layer`:

    .. math::

        h(x) = c \sum_k \bigl[\, \mathbb E f(z_k)\; \bar\omega_k + \mathbb E f'(z_k)\; B_k A_k^\top x \,\bigr],
        \qquad z_k \sim N\bigl(\langle\bar\beta_k, x\rangle + b_k,\ \|A_k^\top x\|^2\bigr)

    where the covariance family is the structure of the root :math:`(B_k, A_k)`, and :math:`c = K^{-1/2}` for
    ``scaling="sqrt"``, :math:`1/K` for ``scaling="mean"``.

    Args:
        in_features: size of the last axis of the input.
        out_features: size of the last axis of the output.
        num_components: number K of Gaussians, at least 1.
        covariance: ``"low_rank"`` (rank 1 on an isotropic base), ``"shared_factor"`` (16 factors that all components
            share), ``"diagonal"``, ``"full"`` (any covariance), ``"regression"`` (the paper's coordinates), or a
            descriptor such as ``LowRank(rank=4, base="diagonal", coupling=True)``.
        activation: a name of :data:`gmlayers.functional.ACTIVATIONS`, or your own
            :class:`~gmlayers.functional.Activation`.
        scaling: ``"sqrt"`` trains well with Adam at every K; ``"mean"`` is the mean-field scaling of the theory.
        learn_weights: learn the weights of the components as a softmax instead of holding them at 1/K.
        bias: an additive bias in the mean of z, one per component.
        init_scale: size of the output at the start, in the sense of :meth:`reset_parameters`; by default 0.1,
            for ``regression`` 0.5 as in the paper.
        device: where the parameters live.
        dtype: floating dtype of the parameters.

    Shape:
        - input: (..., in_features), any batch shape, empty ones too.
        - output: (..., out_features).

    The parameters are ``mean``, ``std`` (its sign is free: only its square enters), ``bias``, ``output_mean``,
    and those of the family; see :class:`LowRank`, :class:`SharedFactor`, :class:`Diagonal`, :class:`Full` (which has a
    triangular root in place of ``std``), :class:`Regression`.
    Under autocast and for half-precision parameters the moments and expectations are computed in float32. Variances are
    squares, which leave the range of float32 from 1e19 on: numbers so large that theirs might are counted in float64.
    That takes a look at them, and so is done on a CPU alone, and neither in ``torch.compile`` nor in ``torch.func``.

    Raises:
        ValueError: sizes below 1, an unknown name, a wrong feature size, a wrong dtype.
        TypeError: a size that is not a whole number, an input that is not floating point.

    Example:
        >>> import torch
        >>> from gmlayers import GMLayer
        >>> layer = GMLayer(784, 10, 120)
        >>> layer(torch.rand(64, 784)).shape
        torch.Size([64, 10])
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        num_components: int,
        *,
        covariance: str | Covariance = "low_rank",
        activation: str | Activation = "relu",
        scaling: Scaling = "sqrt",
        learn_weights: bool = False,
        bias: bool = True,
        init_scale: float | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_dtype("GMLayer: dtype", dtype)
        check_device("GMLayer: device", device)
        self.in_features = positive("GMLayer: in_features", in_features)
        self.out_features = positive("GMLayer: out_features", out_features)
        self.num_components = positive("GMLayer: num_components", num_components)
        if init_scale is not None:
            init_scale = not_negative_number("GMLayer: init_scale", init_scale)
        learn_weights, bias = flag("GMLayer: learn_weights", learn_weights), flag("GMLayer: bias", bias)
        self.covariance = get_covariance(covariance)
        self.activation = get_activation(activation)
        self.scaling: Scaling = look_up("scaling", scaling, {"sqrt": "sqrt", "mean": "mean"})
        self.init_scale = self.covariance.default_init_scale if init_scale is None else init_scale
        self._family_shapes = self.covariance.shapes(self.in_features, self.out_features, self.num_components)
        check_size("GMLayer: in_features, out_features, num_components", self._family_shapes.values())
        for name, shape in self._family_shapes.items():
            self.register_parameter(name, nn.Parameter(torch.empty(shape, device=device, dtype=dtype)))
        per_component = torch.empty(self.num_components, device=device, dtype=dtype)
        self.bias = nn.Parameter(per_component) if bias else None
        self.weight_logits = nn.Parameter(torch.empty_like(per_component)) if learn_weights else None
        self.reset_parameters()

    @classmethod
    def paper(
        cls,
        in_features: int,
        out_features: int,
        num_components: int,
        init_scale: float = 0.5,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> GMLayer:
        r"""Return the layer of Chewi, Rigollet and Yan (2025), eq. (6), with the paper's initialisation.

        The ``regression`` family, ReLU, weights 1/K, no bias; entries of μ, U, v drawn from N(0, γ²) and
        σ = γ = ``init_scale``. Train it by
        ``SGD(parameter_groups(model, *PAPER_RATES))``, batch 64.

        Example:
            >>> from gmlayers import GMLayer
            >>> sum(p.numel() for p in GMLayer.paper(784, 10, 20).parameters())
            188360
        """
        return cls(
            in_features,
            out_features,
            num_components,
            covariance=Regression(),
            scaling="mean",
            bias=False,
            init_scale=init_scale,
            device=device,
            dtype=dtype,
        )

    @classmethod
    def matching(
        cls,
        first: nn.Linear,
        second: nn.Linear,
        *,
        covariance: str | Covariance = "low_rank",
        activation: str | Activation = "relu",
        scaling: Scaling = "sqrt",
        learn_weights: bool = False,
        bias: bool = True,
        init_scale: float | None = None,
    ) -> GMLayer:
        """Return a fresh layer for the place of ``second(activation(first(x)))``, with as many parameters.

        The number of components is the one whose parameter count comes nearest; device and dtype are those
        of ``first``. The function is not preserved, only its size.

        Raises:
            ValueError: if the output of ``first`` is not the input of ``second``.

        Example:
            >>> from torch import nn
            >>> from gmlayers import GMLayer
            >>> first, second = nn.Linear(784, 240, bias=False), nn.Linear(240, 10, bias=False)
            >>> GMLayer.matching(first, second).num_components
            120
        """
        check_module("GMLayer.matching: first", first, nn.Linear)
        check_module("GMLayer.matching: second", second, nn.Linear)
        bias, learn_weights = (
            flag("GMLayer.matching: bias", bias),
            flag("GMLayer.matching: learn_weights", learn_weights),
        )
        if first.out_features != second.in_features:
            raise ValueError(
                f"GMLayer.matching: first gives {first.out_features} features, second takes "
                f"{second.in_features}; give the two Linear layers of one Linear-activation-Linear block"
            )
        family = get_covariance(covariance)
        one, two = (
            sum(math.prod(s) for s in family.shapes(first.in_features, second.out_features, K).values()) for K in (1, 2)
        )
        per_component, shared = two - one + int(bias) + int(learn_weights), 2 * one - two
        target = sum(p.numel() for block in (first, second) for p in block.parameters())
        return cls(
            first.in_features,
            second.out_features,
            max(1, round((target - shared) / per_component)),
            covariance=covariance,
            activation=activation,
            scaling=scaling,
            learn_weights=learn_weights,
            bias=bias,
            init_scale=init_scale,
            device=first.weight.device,
            dtype=first.weight.dtype,
        )

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        r"""Draw all parameters anew.

        For the families in joint coordinates the law of β is of unit size: entries of its means and factors
        are drawn from N(0, 1/d), its stds are 1/√d, where d is ``in_features``. Everything that multiplies
        the output (``output_mean``, ``output_factor``, ``coupling``) is drawn from N(0, init_scale²). Then
        over draws, for ReLU and ``scaling="sqrt"`` (``"mean"`` divides it by K),

        .. math:: \mathrm{Var}\,h(x) = \kappa\,\mathrm{init\_scale}^2\,\|x\|^2/d,

        with κ = 0.609, 1.047, 1.476 at rank 0, 1, 2, and with full coupling 0.333, 0.312, 0.299 more (so 0.942
        for ``diagonal``, and for ``full``, whose root starts as a diagonal); 1.057 for ``shared_factor``, whose
        ``factor_std`` starts at 1/√rank.

        The ``regression`` family is drawn as in the paper, with γ = ``init_scale``: entries of ``mean``,
        ``slope`` and ``intercept`` from N(0, γ²), stds equal to γ. For ReLU, ``scaling="mean"`` and large d
        this gives :math:`\mathrm{Var}\,h(x) \approx 0.609\,\gamma^4\|x\|^2(d\gamma^2+1)/K`.

        Biases and the logits of learned weights start at 0.

        Args:
            generator: source of randomness; torch's global one by default.

        Raises:
            RuntimeError: if a parameter is parametrized, pruned or normed; what is drawn here would be computed away.
        """
        refuse_computed("GMLayer.reset_parameters", self)
        check_generator("GMLayer.reset_parameters: generator", generator, self.mean.device)
        self.covariance.init(self.family_parameters(), self.init_scale, generator)
        for constant in (self.bias, self.weight_logits):
            if constant is not None:
                constant.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Return the average answer of all neurons, (..., out_features), for x of shape (..., in_features)."""
        check_input("GMLayer", x, self.in_features, self.mean)
        p = self.family_parameters()
        y = self._at_once(p, x)
        if y is not None:
            return y
        with autocast_off(x.device.type):
            wide, wide_x = {n: upcast(v) for n, v in p.items()}, upcast(x)
            m, var, reading = self.covariance.moments(wide, wide_x)
        if not squares_fit(var, wide_x, *self.covariance.squared(wide, reading)):
            return self._in_float64(p, x)
        with autocast_off(x.device.type):
            level, gate = self._expectations(m, var, reading)
        return self._readout(p, level.to(x.dtype), gate.to(x.dtype), x, reading.to(x.dtype))

    def _at_once(self, p: dict[str, Tensor], x: Tensor) -> Tensor | None:
        """Return the output by one operation, where there is one for the family and the numbers are in its range."""
        one = self.covariance.one_factor(p)
        if one is None or not _neurons.applies(self.activation, x, *one):
            return None
        if self.weight_logits is not None:
            weight = (self.component_weight() / self._scale).unsqueeze(1)
            one = one._replace(output_mean=weight * one.output_mean, output_factor=weight * one.output_factor)
        y = _neurons.neurons(x, *one, None, self.bias, None, self.activation)
        return None if y is None else self._scale * y

    def root(self) -> Root:
        r"""Return the law of the neurons as dense matrices (mean, root, output_mean, output_root).

        Differentiable in the parameters. With ``bias`` and the weights of the components,
        ``functional.gm_layer(x, *layer.root(), layer.activation, bias=layer.bias, weight=layer.component_weight())`` is
        the layer itself.
        """
        return self.covariance.root(self.family_parameters())

    def component_weight(self) -> Tensor:
        """Return what multiplies each component in the sum, (K,): the scaling times the learned weights."""
        if self.weight_logits is None:
            return self.mean.new_full((self.num_components,), self._scale)
        return self._scale * self.num_components * self.weight_logits.softmax(0)

    def _expectations(self, m: Tensor, var: Tensor, reading: Tensor) -> tuple[Tensor, Tensor]:
        """Return weighted E f and E f', (..., K) each, the latter times the reading where the family is for that."""
        m = m if self.bias is None else m + self.bias
        gated = reading if self.covariance.gates_reading else None
        level, gate = ops.gate(m, var, self.activation, reading=gated)
        if self.weight_logits is None:
            return level, gate
        weight = self.component_weight() / self._scale
        return weight * level, (weight if gated is None else weight[:, None]) * gate

    def _readout(self, p: dict[str, Tensor], level: Tensor, gate: Tensor, x: Tensor, reading: Tensor) -> Tensor:
        """Return the output; the gate is as :meth:`_expectations` returns it."""
        if self.covariance.gates_reading:
            return self._scale * self.covariance.readout_gated(p, level, gate)
        return self._scale * self.covariance.readout(p, level, gate, x, reading)

    def _in_float64(self, p: dict[str, Tensor], x: Tensor) -> Tensor:
        """Return the output for numbers of which float32 has no squares, in the dtype that it has for others."""
        dtype = result_dtype(x)
        p, x = {name: value.double() for name, value in p.items()}, x.double()
        with autocast_off(x.device.type):
            m, var, reading = self.covariance.moments(p, x)
            level, gate = self._expectations(m, var, reading)
            return self._readout(p, level, gate, x, reading).to(dtype)

    @property
    def _scale(self) -> float:
        return self.num_components**-0.5 if self.scaling == "sqrt" else 1 / self.num_components

    def extra_repr(self) -> str:
        """Return the arguments of the constructor."""
        name = self.activation.name
        known = ACTIVATIONS.get(name) is self.activation
        return (
            f"{self.in_features}, {self.out_features}, {self.num_components}, covariance={self.covariance}, "
            f"activation={repr(name) if known else name}, scaling={self.scaling!r}, "
            f"learn_weights={self.weight_logits is not None}, bias={self.bias is not None}, "
            f"init_scale={self.init_scale}"
        )

    def family_parameters(self) -> dict[str, Tensor]:
        """Return the parameters of the covariance by name, through ``getattr`` so that parametrizations apply."""
        return {name: getattr(self, name) for name in self._family_shapes}


def check_layer(function: str, layer: object) -> None:
    """Raise if something is no Gaussian mixture layer; compiled ones are."""
    if isinstance(layer, type) or not hasattr(layer, "family_parameters"):
        raise TypeError(f"{function}: layer must be a GMLayer, got {brief_value(layer)}")
