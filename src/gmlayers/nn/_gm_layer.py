"""The Gaussian mixture layer."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gmlayers._arguments import check_module
from gmlayers._names import brief_value, flag
from gmlayers.functional import Activation
from gmlayers.nn._mixture import MixtureModule, Scaling
from gmlayers.nn._precision import check_input
from gmlayers.nn.covariance import Covariance, Regression, get_covariance


class GMLayer(MixtureModule):
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

    _name = "GMLayer"

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
        super().__init__(
            in_features,
            out_features,
            num_components,
            covariance=covariance,
            activation=activation,
            scaling=scaling,
            learn_weights=learn_weights,
            bias=bias,
            init_scale=init_scale,
            device=device,
            dtype=dtype,
        )

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

    def forward(self, x: Tensor) -> Tensor:
        """Return the average answer of all neurons, (..., out_features), for x of shape (..., in_features)."""
        check_input("GMLayer", x, self.in_features, self.mean)
        return self._answer(self.family_parameters(), self.bias, self._weight(), x)

    def extra_repr(self) -> str:
        """Return the arguments of the constructor."""
        return f"{self.in_features}, {self.out_features}, {self.num_components}, {self._described()}"


def check_layer(function: str, layer: object) -> None:
    """Raise if something is no Gaussian mixture layer; compiled ones are."""
    if not isinstance(getattr(layer, "_orig_mod", layer), GMLayer):
        raise TypeError(f"{function}: layer must be a GMLayer, got {brief_value(layer)}")
