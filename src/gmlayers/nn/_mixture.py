"""What layers of Gaussian neurons have in common, whatever it is that they read."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from gmlayers import ops
from gmlayers._arguments import check_device, check_dtype, check_generator, not_negative_number
from gmlayers._names import check_size, flag, look_up, positive
from gmlayers.functional import Activation, get_activation
from gmlayers.nn._drawing import draws
from gmlayers.nn._precision import autocast_off, result_dtype, squares_fit, upcast
from gmlayers.nn._reading import DENSE, Reading
from gmlayers.nn.covariance import Covariance, Root, get_covariance
from gmlayers.ops import _neurons

Scaling = Literal["sqrt", "mean"]
How = tuple[()] | tuple[Reading]


class MixtureModule(nn.Module):
    """Parameters of a mixture of Gaussian neurons, and their average answer to what a reading gives them.

    Args:
        in_features: size of the vectors that a neuron reads.
        out_features: size of the answer.
        num_components: number K of Gaussians.
        covariance: a family or its name.
        activation: f.
        scaling: ``"sqrt"`` or ``"mean"``.
        learn_weights: whether the components have weights.
        bias: whether the components have a bias.
        init_scale: size of the output at the start; None for that of the family.
        device: where the parameters live.
        dtype: of the parameters.
    """

    mean: Tensor
    std: Tensor
    _name = "MixtureModule"
    """Errors begin with this name."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        num_components: int,
        *,
        covariance: str | Covariance,
        activation: str | Activation,
        scaling: Scaling,
        learn_weights: bool,
        bias: bool,
        init_scale: float | None,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        name = self._name
        check_dtype(f"{name}: dtype", dtype)
        check_device(f"{name}: device", device)
        self.in_features = positive(f"{name}: in_features", in_features)
        self.out_features = positive(f"{name}: out_features", out_features)
        self.num_components = positive(f"{name}: num_components", num_components)
        if init_scale is not None:
            init_scale = not_negative_number(f"{name}: init_scale", init_scale)
        learn_weights, bias = flag(f"{name}: learn_weights", learn_weights), flag(f"{name}: bias", bias)
        self.covariance = get_covariance(covariance)
        self.activation = get_activation(activation)
        self.scaling: Scaling = look_up("scaling", scaling, {"sqrt": "sqrt", "mean": "mean"})
        self.init_scale = self.covariance.default_init_scale if init_scale is None else init_scale
        self._family_shapes = self.covariance.shapes(self.in_features, self.out_features, self.num_components)
        check_size(f"{name}: in_features, out_features, num_components", self._family_shapes.values())
        for parameter, shape in self._family_shapes.items():
            self.register_parameter(parameter, nn.Parameter(torch.empty(shape, device=device, dtype=dtype)))
        per_component = torch.empty(self.num_components, device=device, dtype=dtype)
        self.bias = nn.Parameter(per_component) if bias else None
        self.weight_logits = nn.Parameter(torch.empty_like(per_component)) if learn_weights else None
        self.reset_parameters()

    @draws
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
        check_generator(f"{self._name}.reset_parameters: generator", generator, self.mean.device)
        self.covariance.init(self.family_parameters(), self.init_scale, generator)
        for constant in (self.bias, self.weight_logits):
            if constant is not None:
                constant.zero_()

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

    def family_parameters(self) -> dict[str, Tensor]:
        """Return the parameters of the covariance by name, through ``getattr`` so that parametrizations apply."""
        return {name: getattr(self, name) for name in self._family_shapes}

    def _answer(
        self, p: dict[str, Tensor], bias: Tensor | None, weight: Tensor | None, x: Tensor, read: Reading = DENSE
    ) -> Tensor:
        """Return the scaled sum over the components, (..., out), for all that is read of x.

        Args:
            p: parameters of the family.
            bias: (K,) or None.
            weight: of the components, (K,), or None for ones.
            x: the input.
            read: how it is read; a dense reading is not told to the family, which may know of no other.
        """
        y = self._at_once(p, bias, weight, x, read)
        if y is not None:
            return y
        how = () if read is DENSE else (read,)
        with autocast_off(x.device.type):
            wide, wide_x = {n: upcast(v) for n, v in p.items()}, upcast(x)
            m, var, reading = self.covariance.moments(wide, wide_x, *how)
        if not squares_fit(var, wide_x, *self.covariance.squared(wide, reading)):
            return self._in_float64(p, bias, weight, x, how)
        with autocast_off(x.device.type):
            level, gate = self._expectations(m, var, reading, bias, weight)
        return self._readout(p, level.to(x.dtype), gate.to(x.dtype), x, reading.to(x.dtype), how)

    def _in_float64(
        self, p: dict[str, Tensor], bias: Tensor | None, weight: Tensor | None, x: Tensor, how: How
    ) -> Tensor:
        """Return the output for numbers of which float32 has no squares, in the dtype that it has for others."""
        dtype = result_dtype(x)
        p, x = {name: value.double() for name, value in p.items()}, x.double()
        with autocast_off(x.device.type):
            m, var, reading = self.covariance.moments(p, x, *how)
            level, gate = self._expectations(m, var, reading, bias, weight)
            return self._readout(p, level, gate, x, reading, how).to(dtype)

    def _at_once(
        self, p: dict[str, Tensor], bias: Tensor | None, weight: Tensor | None, x: Tensor, read: Reading
    ) -> Tensor | None:
        """Return the output by one operation, where there is one for the family and the numbers are in its range."""
        one = self.covariance.one_factor(p)
        if one is None or not _neurons.applies(self.activation, x, *one):
            return None
        level, gate = one.output_mean, one.output_factor
        if weight is not None:
            level, gate = weight.unsqueeze(1) * level, weight.unsqueeze(1) * gate
        m, a = read.project_both(x, one.mean, one.factor, bias)
        return _neurons.neurons(m, a, read.power(x), one.std, None, level, gate, None, self.activation, self._scale)

    def _expectations(
        self, m: Tensor, var: Tensor, reading: Tensor, bias: Tensor | None, weight: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return weighted E f and E f', (..., K) each, the latter times the reading where the family is for that."""
        m = m if bias is None else m + bias
        gated = reading if self.covariance.gates_reading else None
        level, gate = ops.gate(m, var, self.activation, reading=gated)
        if weight is None:
            return level, gate
        return weight * level, (weight if gated is None else weight[:, None]) * gate

    def _readout(
        self,
        p: dict[str, Tensor],
        level: Tensor,
        gate: Tensor,
        x: Tensor,
        reading: Tensor,
        how: How,
    ) -> Tensor:
        """Return the output; the gate is as :meth:`_expectations` returns it."""
        if self.covariance.gates_reading:
            return self._scale * self.covariance.readout_gated(p, level, gate)
        return self._scale * self.covariance.readout(p, level, gate, x, reading, *how)

    def _weight(self) -> Tensor | None:
        """Return the learned weights of the components, (K,), of mean 1."""
        return None if self.weight_logits is None else self.component_weight() / self._scale

    @property
    def _scale(self) -> float:
        return self.num_components**-0.5 if self.scaling == "sqrt" else 1 / self.num_components

    def _described(self) -> str:
        """Return what all of them say of themselves."""
        return (
            f"covariance={self.covariance}, activation={self.activation.argument}, scaling={self.scaling!r}, "
            f"learn_weights={self.weight_logits is not None}, bias={self.bias is not None}, "
            f"init_scale={self.init_scale}"
        )
