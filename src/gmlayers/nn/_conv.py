"""Convolutions of Gaussian neurons and of bumps: what a layer does to a vector, done to every patch."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gmlayers._arguments import check_device, check_dtype, check_generator, is_dense, no_tensor
from gmlayers._names import check_size, flag, look_up, positive, whole
from gmlayers.functional import Activation
from gmlayers.nn._drawing import draws
from gmlayers.nn._mixture import MixtureModule, Scaling
from gmlayers.nn._precision import check_place, upcast
from gmlayers.nn._reading import Patches
from gmlayers.nn.covariance import Covariance, get_covariance
from gmlayers.ops._fused import batched_by_vmap, recorded

Padding = int | tuple[int, ...] | Literal["same", "valid"]
PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]


class Geometry:
    """Which patches a convolution reads: the arguments of torch's convolutions, checked.

    Args:
        module: errors begin with this name.
        axes: 1 for sequences, 2 for images.
        in_channels: as in ``nn.Conv2d``, and so are those that follow.
    """

    def __init__(
        self,
        module: str,
        axes: int,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...],
        padding: Padding,
        dilation: int | tuple[int, ...],
        groups: int,
        padding_mode: PaddingMode,
    ) -> None:
        self.module, self.axes = module, axes
        self.in_channels = positive(f"{module}: in_channels", in_channels)
        self.out_channels = positive(f"{module}: out_channels", out_channels)
        self.kernel = _each(f"{module}: kernel_size", kernel_size, axes, 1)
        self.stride = _each(f"{module}: stride", stride, axes, 1)
        self.dilation = _each(f"{module}: dilation", dilation, axes, 1)
        self.groups = positive(f"{module}: groups", groups)
        for name, channels in (("in_channels", self.in_channels), ("out_channels", self.out_channels)):
            if channels % self.groups:
                raise ValueError(f"{module}: {name} must be a multiple of groups, got {channels} and {self.groups}")
        modes = {"zeros": "constant", "reflect": "reflect", "replicate": "replicate", "circular": "circular"}
        self.padding_mode: PaddingMode = padding_mode
        self.fill: str = look_up("padding_mode", padding_mode, modes)
        self.padding = padding
        self.sides = self._sides(padding)
        symmetric = all(before == after for before, after in self.sides) and padding_mode == "zeros"
        own = tuple(before for before, _ in self.sides) if symmetric else (0,) * axes
        self.read = Patches(self.kernel, self.stride, own, self.dilation)
        self.outside = () if symmetric else tuple(side for pair in reversed(self.sides) for side in pair)
        """What is padded before the convolution, in the order of ``F.pad``."""

    def _sides(self, padding: Padding) -> tuple[tuple[int, int], ...]:
        if isinstance(padding, str):
            if look_up("padding", padding, {"same": True, "valid": False}) is False:
                return ((0, 0),) * self.axes
            if any(s != 1 for s in self.stride):
                raise ValueError(f"{self.module}: padding='same' is for a stride of 1, got {self.stride}")
            total = [d * (k - 1) for d, k in zip(self.dilation, self.kernel)]
            return tuple((t // 2, t - t // 2) for t in total)
        return tuple((p, p) for p in _each(f"{self.module}: padding", padding, self.axes, 0))

    @property
    def in_features(self) -> int:
        """Size of a patch of one group."""
        return self.in_channels // self.groups * math.prod(self.kernel)

    def tell(self, module: nn.Module) -> None:
        """Give a module the attributes that torch's convolutions have."""
        module.in_channels, module.out_channels = self.in_channels, self.out_channels  # type: ignore[assignment]
        module.kernel_size, module.stride = self.kernel, self.stride  # type: ignore[assignment]
        module.padding, module.dilation = self.padding, self.dilation  # type: ignore[assignment]
        module.groups, module.padding_mode = self.groups, self.padding_mode  # type: ignore[assignment]

    def batch(self, x: Tensor, like: Tensor) -> tuple[Tensor, bool]:
        """Return the input, padded, with a batch axis, and whether it had one.

        Raises:
            TypeError: for what is no dense tensor of floating-point numbers.
            ValueError: for another shape, dtype or device, or an input smaller than a patch.
        """
        if not is_dense(x):
            raise no_tensor(f"{self.module}: the input x", x)
        sizes = "length" if self.axes == 1 else "height, width"
        if x.ndim not in (self.axes + 1, self.axes + 2) or x.shape[-self.axes - 1] != self.in_channels:
            raise ValueError(
                f"{self.module}: expected an input of shape (batch, {self.in_channels}, {sizes}) or "
                f"({self.in_channels}, {sizes}), got {tuple(x.shape)}"
            )
        check_place(self.module, x, like)
        batched = x.ndim == self.axes + 2
        x = x if batched else x.unsqueeze(0)
        if self.outside:
            x = F.pad(x, self.outside, self.fill)
        if min(self.read.sizes(x.shape[2:])) < 1:
            raise ValueError(
                f"{self.module}: an input of {sizes} {tuple(x.shape[2:])} with its padding is smaller than a patch, "
                f"{self.kernel} with dilation {self.dilation}"
            )
        return x, batched

    def described(self) -> str:
        """Return what a module says of it."""
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel}, stride={self.stride}"
        text += f", padding={self.padding!r}" if self.padding not in (0, "valid") else ""
        text += f", dilation={self.dilation}" if any(d != 1 for d in self.dilation) else ""
        text += f", groups={self.groups}" if self.groups > 1 else ""
        return text + (f", padding_mode={self.padding_mode!r}" if self.padding_mode != "zeros" else "")


class _GMConv(MixtureModule):
    _axes: ClassVar[int]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] = 1,
        padding: Padding = 0,
        dilation: int | tuple[int, ...] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        *,
        num_components: int | None = None,
        covariance: str | Covariance = "low_rank",
        activation: str | Activation = "relu",
        scaling: Scaling = "sqrt",
        init_scale: float = 1.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        shape = (in_channels, out_channels, kernel_size, stride, padding, dilation, groups, padding_mode)
        geometry = Geometry(self._name, self._axes, *shape)
        family, d, out = get_covariance(covariance), geometry.in_features, geometry.out_channels // geometry.groups
        one, two = (sum(math.prod(s) for s in family.shapes(d, out, K).values()) for K in (1, 2))
        if num_components is None:
            target = geometry.out_channels * (d + 1) - (2 * one - two)
            per_group = round(target / (two - one + 1) / geometry.groups)
            num_components = geometry.groups * max(1, per_group)
        num_components = positive(f"{self._name}: num_components", num_components)
        if num_components % geometry.groups:
            raise ValueError(
                f"{self._name}: num_components must be a multiple of groups, got {num_components} and {geometry.groups}"
            )
        shared = [name for name, s in family.shapes(d, out, 1).items() if s == family.shapes(d, out, 2)[name]]
        if shared and geometry.groups > 1:
            raise ValueError(
                f"{self._name}: the components of {family} share {', '.join(shared)}, which groups cannot, since they "
                f"read other channels; take groups=1 or another covariance"
            )
        super().__init__(
            d,
            out,
            num_components,
            covariance=family,
            activation=activation,
            scaling=scaling,
            learn_weights=False,
            bias=bias,
            init_scale=init_scale,
            device=device,
            dtype=dtype,
        )
        self.geometry = geometry
        geometry.tell(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the answers for all patches, (batch, out_channels, *sizes), or without a batch axis as x."""
        x, batched = self.geometry.batch(x, self.mean)
        if self._axes == 2 and (recorded() or not batched_by_vmap(x)):  # which cannot do that
            x = x.contiguous(memory_format=torch.channels_last)  # so that the features of a patch lie side by side
        p, grouped = self.family_parameters(), self.geometry.groups > 1
        y = self._by_group(p, x) if grouped else self._answer(p, self.bias, None, x, self.geometry.read)
        y = y.movedim(-1, 1)
        return y if batched else y.squeeze(0)

    def _by_group(self, p: dict[str, Tensor], x: Tensor) -> Tensor:
        """Return the answers of all groups, (batch, *sizes, out_channels): one call with another axis."""
        g = self.geometry.groups
        split = {name: value.unflatten(0, (g, -1)) for name, value in p.items()}
        bias = None if self.bias is None else self.bias.unflatten(0, (g, -1))

        def answer(p: dict[str, Tensor], bias: Tensor | None, x: Tensor) -> Tensor:
            return self._answer(p, bias, None, x, self.geometry.read)

        if recorded():  # an exporter takes the batch of a vmap for a constant
            parts = [
                answer({name: value[i] for name, value in split.items()}, None if bias is None else bias[i], part)
                for i, part in enumerate(x.chunk(g, 1))
            ]
            return torch.cat(parts, -1)
        dims = (0, None if bias is None else 0, 1)
        return torch.vmap(answer, dims, -2)(split, bias, x.unflatten(1, (g, -1))).flatten(-2)

    @property
    def _scale(self) -> float:
        K = self.num_components // self.geometry.groups  # a group is a layer of its own
        return K**-0.5 if self.scaling == "sqrt" else 1 / K

    def extra_repr(self) -> str:
        """Return the arguments of the constructor."""
        return f"{self.geometry.described()}, num_components={self.num_components}, {self._described()}"


class GMConv1d(_GMConv):
    r"""A :class:`~gmlayers.GMLayer` for every patch of a sequence: a convolution of Gaussian neurons.

    See :class:`GMConv2d`, of which this is the form for (batch, channels, length).

    Raises:
        ValueError, TypeError: as :class:`GMConv2d`.

    Example:
        >>> import torch
        >>> from gmlayers import GMConv1d
        >>> GMConv1d(4, 8, 5, padding="same")(torch.randn(2, 4, 100)).shape
        torch.Size([2, 8, 100])
    """

    _name, _axes = "GMConv1d", 1


class GMConv2d(_GMConv):
    r"""A :class:`~gmlayers.GMLayer` for every patch of an image: a convolution of Gaussian neurons.

    .. math:: y_{ij} = c \sum_k \mathbb E f(z_k)\,\bar\omega_k + \mathbb E f'(z_k)\, B_k A_k^\top u_{ij}, \qquad
        z_k \sim N(\langle\bar\beta_k, u_{ij}\rangle + b_k,\ \|A_k^\top u_{ij}\|^2)

    for the patch :math:`u_{ij}`, all channels of it in a row. It is made of convolutions, and nothing is unfolded but
    for families with a coupling to the noise of the base (``coupling=True``, ``"diagonal"``, ``"full"``,
    ``"regression"``). It takes the place of a convolution and its activation, or of convolution, activation and
    1 × 1 convolution; the first arguments are those of ``nn.Conv2d``.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: height and width of a patch, or one number for both.
        stride: steps between patches.
        padding: added on every side, or ``"same"`` or ``"valid"``.
        dilation: steps between the entries of a patch.
        groups: groups of channels, each of which is a layer of its own.
        bias: a bias of every component.
        padding_mode: what is added: ``"zeros"``, ``"reflect"``, ``"replicate"`` or ``"circular"``.
        num_components: number K of Gaussians; by default as many as make the parameters of such an ``nn.Conv2d``, but
            one for each group at least. With groups a multiple of these.
        covariance: as in :class:`~gmlayers.GMLayer`; families that share something between components have no groups.
        activation: f.
        scaling: ``"sqrt"`` or ``"mean"``.
        init_scale: size of the output at the start, where 1 is about that of the input. A layer alone starts at 0.1;
            inside nets that is too small to train well.
        device: where the parameters live.
        dtype: floating dtype of the parameters.

    Shape:
        - input: (batch, in_channels, height, width), or without the batch axis.
        - output: (batch, out_channels, height', width'), as of ``nn.Conv2d``.

    The parameters are those of a layer whose input is a patch, of in_channels / groups · kernel height · width numbers:
    ``in_features``; ``out_features`` is out_channels / groups.

    Raises:
        ValueError: sizes, groups or paddings that do not fit, a wrong shape, dtype or device, an input smaller than a
            patch.
        TypeError: a size that is not a whole number, an input that is not floating point.

    Example:
        >>> import torch
        >>> from gmlayers import GMConv2d
        >>> layer = GMConv2d(32, 64, 3, padding=1)
        >>> layer(torch.randn(2, 32, 28, 28)).shape, layer.num_components
        (torch.Size([2, 64, 28, 28]), 26)
    """

    _name, _axes = "GMConv2d", 2


class GMNMConv2d(nn.Module):
    r"""Gaussian bumps across the patches of an image: a mixture module as a convolution (Lu et al., 2025).

    .. math:: y_{ij} = \sum_k \pi_k \exp\bigl(-\tfrac12 \|P_k u_{ij} - t_k\|^2\bigr) + c

    for the patch :math:`u_{ij}`, as in :class:`~gmlayers.GMNMFeedForward`.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: height and width of a patch, or one number for both.
        stride: steps between patches.
        padding: added on every side, or ``"same"`` or ``"valid"``.
        dilation: steps between the entries of a patch.
        groups: groups of channels, each of which is a layer of its own.
        bias: a bias c of every output channel.
        padding_mode: what is added: ``"zeros"``, ``"reflect"``, ``"replicate"`` or ``"circular"``.
        num_components: number K of bumps; by default as many as make the parameters of such an ``nn.Conv2d``, but one
            for each group at least. With groups a multiple of these.
        rank: projections of a bump.
        device: where the parameters live.
        dtype: floating dtype of the parameters.

    Shape:
        - input: (batch, in_channels, height, width), or without the batch axis; of mean 0 and variance 1, which a norm
          before it sees to.
        - output: (batch, out_channels, height', width'), as of ``nn.Conv2d``.

    The parameters are ``projection`` P (K, rank, patch), ``offset`` t (K, rank), ``weight`` π
    (K, out_channels / groups) and ``bias`` c.

    Raises:
        ValueError, TypeError: as :class:`GMConv2d`.

    Example:
        >>> import torch
        >>> from gmlayers import GMNMConv2d
        >>> GMNMConv2d(32, 64, 3, padding=1)(torch.randn(2, 32, 28, 28)).shape
        torch.Size([2, 64, 28, 28])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] = 1,
        padding: Padding = 0,
        dilation: int | tuple[int, ...] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        *,
        num_components: int | None = None,
        rank: int = 1,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_dtype("GMNMConv2d: dtype", dtype)
        check_device("GMNMConv2d: device", device)
        shape = (in_channels, out_channels, kernel_size, stride, padding, dilation, groups, padding_mode)
        self.geometry = Geometry("GMNMConv2d", 2, *shape)
        self.geometry.tell(self)
        self.rank, bias = positive("GMNMConv2d: rank", rank), flag("GMNMConv2d: bias", bias)
        g, d = self.geometry.groups, self.geometry.in_features
        out = self.geometry.out_channels // g
        if num_components is None:
            own = self.rank * (d + 1) + out
            num_components = g * max(1, round(self.geometry.out_channels * d / own / g))
        K = self.num_components = positive("GMNMConv2d: num_components", num_components)
        if K % g:
            raise ValueError(f"GMNMConv2d: num_components must be a multiple of groups, got {K} and {g}")
        shapes = (K, self.rank, d), (K, self.rank), (K, out)
        check_size("GMNMConv2d: in_channels, out_channels, kernel_size, num_components", shapes)
        self.projection, self.offset, self.weight = (
            nn.Parameter(torch.empty(shape, device=device, dtype=dtype)) for shape in shapes
        )
        self.bias = nn.Parameter(torch.empty(g * out, device=device, dtype=dtype)) if bias else None
        self.reset_parameters()

    @draws
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw projections from N(0, 1/d) for patches of d numbers and offsets from N(0, 1), weights from N(0, 1/K).

        Args:
            generator: source of randomness; torch's global one by default.

        Raises:
            RuntimeError: if a parameter is parametrized, pruned or normed; what is drawn here would be computed away.
        """
        check_generator("GMNMConv2d.reset_parameters: generator", generator, self.projection.device)
        self.projection.normal_(0, 1 / math.sqrt(self.geometry.in_features), generator=generator)
        self.offset.normal_(0, 1, generator=generator)
        self.weight.normal_(0, 1 / math.sqrt(self.num_components / self.geometry.groups), generator=generator)
        if self.bias is not None:
            self.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Return the sums of bumps for all patches, (batch, out_channels, height', width')."""
        geometry, read = self.geometry, self.geometry.read
        x, batched = geometry.batch(x, self.projection)
        rows = self.projection.flatten(0, 1).unflatten(1, (-1, *geometry.read.kernel))
        how = (read.stride, read.padding, read.dilation, geometry.groups)
        away = F.conv2d(x, rows, -self.offset.flatten(), *how)
        bumps = torch.exp(-0.5 * upcast(away).square().unflatten(1, (-1, self.rank)).sum(2)).to(away.dtype)
        weight = self.weight.unflatten(0, (geometry.groups, -1)).mT.flatten(0, 1)[..., None, None]
        y = F.conv2d(bumps, weight, self.bias, groups=geometry.groups)
        return y if batched else y.squeeze(0)

    def extra_repr(self) -> str:
        """Return the arguments of the constructor."""
        return (
            f"{self.geometry.described()}, num_components={self.num_components}, rank={self.rank}, "
            f"bias={self.bias is not None}"
        )


def _each(name: str, value: int | tuple[int, ...], axes: int, least: int) -> tuple[int, ...]:
    """Return one whole number for each axis."""
    given = value if isinstance(value, (tuple, list)) else (value,) * axes
    if len(given) != axes:
        raise ValueError(f"{name} must be a number or {axes} of them, got {len(given)}")
    found = tuple(whole(name, v) for v in given)
    if min(found) < least:
        raise ValueError(f"{name} must be at least {least}, got {min(found)}")
    return found
