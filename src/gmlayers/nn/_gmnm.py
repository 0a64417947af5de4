"""The Gaussian mixture module."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gmlayers import ops
from gmlayers._arguments import check_device, check_dtype, check_generator
from gmlayers._arrays import Array, column, numbers
from gmlayers._names import check_size, flag, positive
from gmlayers.functional import gmnm
from gmlayers.nn._drawing import draws
from gmlayers.nn._form import Form, get_form
from gmlayers.nn._k_means import k_means
from gmlayers.nn._placement import by_residual, domain_of, spacing
from gmlayers.nn._precision import autocast_off, check_input, cubes_fit, upcast
from gmlayers.ops._fused import readable

Bound = float | Sequence[float] | Tensor
FormName = Literal["mahalanobis", "diagonal", "ridge"]

INIT_SCALE = 0.1
"""At the start the output has this root mean square over the inputs."""

FEATURE_RMS = 5.0
"""Features are out of range where their root mean square is larger: there the bumps start below 0.002."""


DOMAIN_KEY = "domain_box"
"""The ``state_dict`` holds the domain by this name, and a property that only shows it has it, too."""


class GMNM(nn.Module):
    r"""Gaussian bumps with learned centres and shapes, and free weights: a trainable nonlinearity.

    The formula and its source stand at :mod:`gmlayers.functional.gmnm`:

    .. math:: G(x) = b + \sum_k \pi_k \exp\bigl(-\tfrac12 \|A_k (x - \mu_k)\|^2\bigr)

    Args:
        in_features: size d of the last axis of the input.
        out_features: size of the last axis of the output.
        num_components: number m of bumps, at least 1.
        form: what is free in A. ``"mahalanobis"``: all of it, ``projection`` (m, rank, d); ``"diagonal"``: one number
            per feature, ``scale`` (m, d), for small d (it costs as much as rank d); ``"ridge"``: the projections are
            summed before they are squared, which makes them one, ``projection`` (m, 1, d): the other reading of the
            paper, a layer of neurons with a Gaussian activation. Or a descriptor: ``Mahalanobis(rank=2)``,
            ``AxisAligned()``, ``Ridge()``.
        rank: projections per bump, for ``"mahalanobis"``; min(d, 8) if not given.
        domain: (low, high), numbers or one per feature: the box from which the inputs are. None: standardised features.
        bias: add a bias to the output.
        device: where the parameters live.
        dtype: floating dtype of the parameters.

    Shape:
        - input: (..., in_features), any batch shape, empty ones too.
        - output: (..., out_features).

    The parameters are ``mean`` μ (m, d), ``projection`` or ``scale``, ``weight`` π (m, out) and ``bias`` b (out,). The
    ``state_dict`` has these and, if there is a domain, its bounds as ``domain_box``, (2, d) in float64: a module that
    loads it takes that domain over, and keeps its own where there is none, as in files of older versions.
    Under autocast and for half-precision parameters the bumps are computed in float32, and so are the derivatives.

    **Range of the inputs.** Far from its bumps G is its bias: there is no extrapolation, and between the domain and
    that far there may be anything. Inputs should be in the domain; without one, features should have mean 0 and
    variance 1 (a norm before the module sees to that), and are out of range where their root mean square is over 5.
    So is what is not finite. :meth:`outside` tells. On a CPU a call with an input out of range warns (which Python
    shows once), except in ``torch.compile``, ``torch.func`` and tracing; on other devices, where it would have to wait
    for the numbers, ask :meth:`outside`.

    Raises:
        ValueError: sizes below 1, an unknown form, a rank for a form without one, a domain that is no box or so
            large or small that bumps of its size are not finite in the dtype, a wrong feature size, a wrong dtype.
        TypeError: a size that is not a whole number, an input that is not floating point.

    Example:
        >>> import torch
        >>> from gmlayers import GMNM
        >>> module = GMNM(2, 1, 50, domain=(-1, 1))
        >>> module(torch.rand(64, 2)).shape
        torch.Size([64, 1])
    """

    mean: Tensor
    weight: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        num_components: int,
        *,
        form: FormName | Form = "mahalanobis",
        rank: int | None = None,
        domain: tuple[Bound, Bound] | None = None,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_dtype("GMNM: dtype", dtype)
        check_device("GMNM: device", device)
        bias = flag("GMNM: bias", bias)
        self.in_features = positive("GMNM: in_features", in_features)
        self.out_features = positive("GMNM: out_features", out_features)
        self.num_components = positive("GMNM: num_components", num_components)
        self.form = get_form(form, rank, self.in_features)
        self.domain = None if domain is None else _box(domain, self.in_features)
        self._form_shapes = self.form.shapes(self.in_features, self.num_components)
        shapes = {
            "mean": (self.num_components, self.in_features),
            **self._form_shapes,
            "weight": (self.num_components, self.out_features),
        }
        check_size("GMNM: in_features, out_features, num_components", shapes.values())
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.empty(shape, device=device, dtype=dtype)))
        self.bias = nn.Parameter(torch.empty(self.out_features, device=device, dtype=dtype)) if bias else None
        self.reset_parameters()

    @classmethod
    @torch.no_grad()
    def from_data(
        cls,
        x: Tensor | Array,
        out_features: int,
        num_components: int,
        *,
        y: Tensor | Array | None = None,
        form: FormName | Form = "mahalanobis",
        rank: int | None = None,
        domain: tuple[Bound, Bound] | None = None,
        bias: bool = True,
        generator: torch.Generator | None = None,
    ) -> GMNM:
        r"""Return a module whose bumps start where the data are, in the dtype and on the device of the inputs.

        Features are measured in their standard deviations. Centres are found by k-means; the width of a bump is the
        mean distance s of its centre to the nearest two others, and A an orthonormal frame times
        :math:`\sqrt{d/r}/s`, where r is the number of directions in which the form falls off. Targets draw three
        quarters of the centres to where the bumps placed before leave a residual. The weights are drawn as in
        :meth:`reset_parameters`, or found by :func:`gmlayers.solve.fit`.

        Args:
            x: inputs, (n, d), at least one row: a tensor, an array of numpy or pandas, or a list of rows. Lists and
                whole numbers are taken in float64, and so is the module then; arrays of floats keep their dtype.
            out_features: size of the output.
            num_components: number of bumps.
            y: targets, (n, anything) or (n,), to place bumps by the residual; they need not be the outputs.
            form: as for the class.
            rank: as for the class.
            domain: as for the class; by default the box of the data, a tenth wider on each side.
            bias: as for the class.
            generator: source of randomness; torch's global one by default.

        Raises:
            ValueError: inputs or targets of a wrong shape or with numbers that are not finite; inputs so large, or that
                vary so little, that parameters would not be finite.
            TypeError: inputs or targets that are no real numbers.

        Example:
            >>> import torch
            >>> from gmlayers import GMNM
            >>> x = torch.rand(200, 2)
            >>> GMNM.from_data(x, 1, 20, y=x[:, :1].sin())  # doctest: +ELLIPSIS
            GMNM(2, 1, 20, form=Mahalanobis(rank=2), domain=((...), (...)), bias=True)
        """
        x, y = _taken(x, y)
        check_generator("GMNM.from_data: generator", generator, x.device)
        wide = upcast(x)
        low, high = wide.amin(0), wide.amax(0)
        domain = domain_of(x) if domain is None else domain
        options = {"device": x.device, "dtype": x.dtype}
        cuda = [x.device] if x.device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda):  # the parameters that are drawn are written over
            module = cls(x.shape[1], out_features, num_components, form=form, rank=rank, bias=bias, **options)
        module.domain = _box(domain, module.in_features)  # only now: no bumps are to be drawn in it
        size = torch.where(high > low, wide.std(0, correction=0), 1.0)
        unit = (wide - wide.mean(0)) / size
        m = module.num_components
        centres = k_means(unit, m, generator) if y is None else by_residual(unit, _standardised(y, unit), m, generator)
        width = spacing(centres, unit).unsqueeze(1) * size
        module.mean.copy_(centres * size + wide.mean(0))
        directions = module.form.directions(module.in_features)
        module.form.init(module.form_parameters(), math.sqrt(module.in_features / directions) / width, generator)
        module._init_weight(x, generator)
        if not all(bool(p.isfinite().all()) for p in module.parameters()):
            raise ValueError(
                f"GMNM.from_data: x, with numbers up to {float(wide.abs().amax()):.3g}, is too large or varies too "
                f"little for {x.dtype}; scale its features to numbers of about 1"
            )
        return module

    @draws
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        r"""Draw all parameters anew.

        With a domain of half widths h, the means are uniform in it, and A is a random orthonormal frame times
        diag(1/(s h)), so a bump with a full frame is isotropic in the coordinates of the domain. Its width s follows
        from the number of bumps: about 4 of them answer at a point,

        .. math:: m\,\bigl(1 + 2/(3s^2)\bigr)^{-r/2} = 4, \qquad r = \min(\mathrm{rank}, d),

        and s is at most √r. (With fewer there are holes, which have no gradient; more blur.) For ``"ridge"`` s is 1/4.
        Without a domain the means are drawn from N(0, 1), and A is a random orthonormal frame divided by √(2r), so that
        :math:`\mathbb E q = 1` for features of variance 1.

        The weights are drawn from N(0, σ²), where σ is such that the root mean square of the output is 0.1, over draws
        of the weights and inputs uniform in the domain or from N(0, 1); the bias starts at 0. ``from_data`` has
        another way to place the bumps; this one forgets it.

        Args:
            generator: source of randomness; torch's global one by default.

        Raises:
            RuntimeError: if a parameter is parametrized, pruned or normed; what is drawn here would be computed away.
        """
        check_generator("GMNM.reset_parameters: generator", generator, self.mean.device)
        sample = torch.empty(256, self.in_features, device=self.mean.device, dtype=upcast(self.mean).dtype)
        if self.domain is None:
            self.mean.normal_(generator=generator)
            sample.normal_(generator=generator)
            unit = sample.new_full((1,), (2 * self.form.directions(self.in_features)) ** -0.5)
        else:
            low, high = torch.tensor(self.domain, dtype=sample.dtype, device="cpu")
            if not bool((high > low).all()):
                raise ValueError(
                    f"GMNM: in {sample.dtype} the domain {self.domain} is a point; take torch.float64, or measure the "
                    f"inputs from a place near them"
                )
            unit = 2 / (self.form.width(self.in_features, self.num_components) * (high - low))
            held = torch.stack([low, high, unit]).to(self.mean.dtype)
            if not bool(held.isfinite().all() and (held[2] > 0).all()):
                raise ValueError(
                    f"GMNM: the domain {self.domain} is too large or too small for finite bumps in {self.mean.dtype}; "
                    f"scale the inputs to numbers of about 1"
                )
            low, high, unit = low.to(sample.device), high.to(sample.device), unit.to(sample.device)
            self.mean.copy_(low + (high - low) * upcast(self.mean).uniform_(generator=generator))
            sample = low + (high - low) * sample.uniform_(generator=generator)
        self.form.init(self.form_parameters(), unit, generator)
        self._init_weight(sample, generator)

    def forward(self, x: Tensor) -> Tensor:
        """Return G(x), (..., out_features), for x of shape (..., in_features).

        Example:
            >>> import torch
            >>> from gmlayers import GMNM
            >>> GMNM(2, 3, 50, domain=(-1, 1))(torch.rand(8, 2)).shape
            torch.Size([8, 3])
        """
        self._check(x)
        with autocast_off(x.device.type):
            f = ops.bumps(*self._bump_arguments(x))
        return F.linear(f.to(x.dtype), self.weight.mT, self.bias)

    def value_gradient_laplacian(self, x: Tensor) -> gmnm.Derivatives:
        """Return value (..., out), gradient (..., out, d) and Laplacian (..., out) in closed form.

        Like the three below it is differentiable to any order, in x and in the parameters.

        Example:
            >>> import torch
            >>> from gmlayers import GMNM
            >>> module = GMNM(2, 3, 50, domain=(-1, 1))
            >>> value, gradient, laplacian = module.value_gradient_laplacian(torch.rand(8, 2))
            >>> value.shape, gradient.shape, laplacian.shape
            (torch.Size([8, 3]), torch.Size([8, 3, 2]), torch.Size([8, 3]))
        """
        self._check(x)
        with autocast_off(x.device.type):
            arguments, weight = self._all_arguments(x)
            f, curved = ops.bumps_laplacian(*arguments)
            value = f @ weight if self.bias is None else f @ weight + self.bias.to(weight.dtype)
            dtype = upcast(x).dtype
            slope = gmnm.gradient(*arguments, weight)
            return gmnm.Derivatives(value.to(dtype), slope.to(dtype), (curved @ weight).to(dtype))

    def gradient(self, x: Tensor) -> Tensor:
        """Return the first derivatives in x, (..., out, d).

        Example:
            >>> import torch
            >>> from gmlayers import GMNM
            >>> GMNM(2, 3, 50, domain=(-1, 1)).gradient(torch.rand(8, 2)).shape
            torch.Size([8, 3, 2])
        """
        self._check(x)
        with autocast_off(x.device.type):
            arguments, weight = self._all_arguments(x)
            return gmnm.gradient(*arguments, weight).to(upcast(x).dtype)

    def laplacian(self, x: Tensor) -> Tensor:
        """Return the sum of the unmixed second derivatives, (..., out).

        Example:
            >>> import torch
            >>> from gmlayers import GMNM
            >>> GMNM(2, 3, 50, domain=(-1, 1)).laplacian(torch.rand(8, 2)).shape
            torch.Size([8, 3])
        """
        self._check(x)
        with autocast_off(x.device.type):
            arguments, weight = self._all_arguments(x)
            return (ops.bumps_laplacian(*arguments)[1] @ weight).to(upcast(x).dtype)

    def hessian(self, x: Tensor) -> Tensor:
        """Return all second derivatives in x, the mixed ones too, (..., out, d, d).

        Example:
            >>> import torch
            >>> from gmlayers import GMNM
            >>> GMNM(2, 3, 50, domain=(-1, 1)).hessian(torch.rand(8, 2)).shape
            torch.Size([8, 3, 2, 2])
        """
        self._check(x)
        with autocast_off(x.device.type):
            arguments, weight = self._all_arguments(x)
            return gmnm.hessian(*arguments, weight).to(upcast(x).dtype)

    def outside(self, x: Tensor) -> Tensor:
        """Return which inputs are out of range, (...,) of bool, for x of shape (..., in_features).

        That is outside the domain, or too large for features, or not finite. The inputs may be of any floating dtype.

        Raises:
            ValueError: a wrong feature size.
            TypeError: an input that is not floating point.

        Example:
            >>> import torch
            >>> from gmlayers import GMNM
            >>> GMNM(1, 1, 5, domain=(0, 2)).outside(torch.tensor([[-0.1], [0.0], [2.0], [2.1]]))
            tensor([ True, False, False,  True])
        """
        check_input("GMNM", x, self.in_features, None)
        return ~self._inside(x)

    def centred(self, x: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
        """Return inputs and means, both less the middle of the domain where that is far from 0.

        There A x and A μ would be too large for their difference.
        """
        if self.domain is None or all(abs(low + high) <= high - low for low, high in zip(*self.domain)):
            return x, mean
        middle = mean.new_tensor([(low + high) / 2 for low, high in zip(*self.domain)])
        return x - middle, mean - middle

    def projection_matrix(self) -> Tensor:
        """Return A as dense matrices, (m, p, d), whatever the form; differentiable in the parameters.

        Example:
            >>> from gmlayers import GMNM
            >>> GMNM(3, 1, 50, form="diagonal").projection_matrix().shape
            torch.Size([50, 3, 3])
        """
        return self.form.projection(self.form_parameters())

    def form_parameters(self) -> dict[str, Tensor]:
        """Return the parameters of the form by name, through ``getattr`` so that parametrizations apply."""
        return {name: getattr(self, name) for name in self._form_shapes}

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self.domain is not None:  # no buffer: a module that is cast or moved would have its bounds rounded
            destination[prefix + DOMAIN_KEY] = self.domain_box

    @property
    def domain_box(self) -> Tensor | None:
        """The bounds of the domain as they stand in the ``state_dict``, (2, d) in float64 on the CPU, or None.

        ``torch.distributed.checkpoint`` looks up every entry of a ``state_dict`` as an attribute.
        """
        return None if self.domain is None else torch.tensor(self.domain, dtype=torch.float64, device="cpu")

    @domain_box.setter
    def domain_box(self, value: Tensor | None) -> None:
        """Leave the domain as it is: ``functional_call`` exchanges what it is given, and exchanges it back."""

    @domain_box.deleter
    def domain_box(self) -> None:
        """Leave the domain as it is."""

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        given = state_dict.pop(prefix + DOMAIN_KEY, None)  # from the copy that load_state_dict has made
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )
        if given is None or given.is_meta:
            return
        if given.shape != (2, self.in_features):
            error_msgs.append(f"{prefix}{DOMAIN_KEY}: expected (2, {self.in_features}), got {tuple(given.shape)}")
            return
        try:
            self.domain = _box(tuple(given), self.in_features)
        except ValueError as error:
            error_msgs.append(f"{prefix}{DOMAIN_KEY}: {error}")

    def extra_repr(self) -> str:
        """Return the arguments of the constructor; of a domain that has other bounds in every feature the first 8."""
        return (
            f"{self.in_features}, {self.out_features}, {self.num_components}, form={self.form}, "
            f"domain={_shown(self.domain)}, bias={self.bias is not None}"
        )

    def _bump_arguments(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return *self.centred(upcast(x), upcast(self.mean)), upcast(self.projection_matrix())

    def _all_arguments(self, x: Tensor) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
        """Return bumps and weights, in float64 where powers of them are out of the range of float32."""
        arguments, weight = self._bump_arguments(x), upcast(self.weight)
        if cubes_fit(*arguments, weight):
            return arguments, weight
        x, mean = self.centred(x.double(), self.mean.double())
        return (x, mean, self.projection_matrix().double()), self.weight.double()

    def _init_weight(self, sample: Tensor, generator: torch.Generator | None) -> None:
        squares = [f.square().sum(-1) for f in (ops.bumps(*self._bump_arguments(x)) for x in sample.split(8192))]
        self.weight.normal_(generator=generator).mul_(INIT_SCALE / torch.cat(squares).mean().sqrt())
        if self.bias is not None:
            self.bias.zero_()

    def _inside(self, x: Tensor) -> Tensor:
        if self.domain is None:
            return x.float().square().mean(-1) <= FEATURE_RMS**2
        low, high = x.new_tensor(self.domain).nan_to_num()  # in half precision a bound may be infinite
        return ((x >= low) & (x <= high)).all(-1)

    def _check(self, x: Tensor) -> None:
        check_input("GMNM", x, self.in_features, self.mean)
        if readable(x) and not bool(self._inside(x).all()):
            where = "of a root mean square over 5" if self.domain is None else "outside the domain"
            warnings.warn(
                f"GMNM: an input is {where} or not finite: there is no extrapolation; `module.outside(x)` tells which, "
                f"scale the inputs or give the module their domain=(low, high)",
                stacklevel=2,
            )


def _box(domain: tuple[Bound, Bound], in_features: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the domain as bounds per feature."""
    try:
        given = [torch.as_tensor(bound, dtype=torch.float64, device="cpu").flatten().tolist() for bound in domain]
        low, high = (tuple(bound * in_features if len(bound) == 1 else bound) for bound in given)
    except (TypeError, ValueError):
        raise TypeError(f"GMNM: domain must be (low, high), numbers or one per feature, got {domain!r}") from None
    if not (len(low) == len(high) == in_features and all(-math.inf < a < b < math.inf for a, b in zip(low, high))):
        raise ValueError(
            f"GMNM: domain must be (low, high) with low < high, both finite, numbers or {in_features} of them each, "
            f"got {domain}"
        )
    return low, high


def _standardised(y: Tensor, like: Tensor) -> Tensor:
    """Return targets about 0 and of size 1, so that no dtype, constant or unit gets in the way of the residual."""
    wide = y.double()
    wide = wide / wide.abs().amax().clamp(min=torch.finfo(wide.dtype).tiny)
    wide = wide - wide.mean(0)
    return (wide / wide.abs().amax().clamp(min=torch.finfo(wide.dtype).tiny)).to(like)


def _shown(domain: tuple[tuple[float, ...], tuple[float, ...]] | None) -> str:
    """Return the domain so that Python reads it as it is; if it is no cube and has more than 8 features, in part."""
    if domain is None:
        return "None"
    if all(len(set(bounds)) == 1 for bounds in domain):
        return f"({_number(domain[0][0])}, {_number(domain[1][0])})"
    texts = [", ".join([*map(_number, bounds[:8]), *(["..."] if len(bounds) > 8 else [])]) for bounds in domain]
    return f"(({texts[0]}), ({texts[1]}))"


def _number(value: float) -> str:
    """Return a number in six digits if these are all it has, else in all of them."""
    return short if float(short := f"{value:.6g}") == value else repr(value)


def _taken(x: object, y: object) -> tuple[Tensor, Tensor | None]:
    """Return data as tensors (n, d) and (n, out); raise for what is none."""
    inputs = numbers("GMNM.from_data: x", x)
    targets = None if y is None else column(numbers("GMNM.from_data: y", y))
    if inputs.ndim != 2 or not inputs.numel():
        raise ValueError(f"GMNM.from_data: expected inputs x (n, d), n > 0 and d > 0, got {tuple(inputs.shape)}")
    if targets is not None and (targets.ndim != 2 or len(targets) != len(inputs) or not targets.numel()):
        raise ValueError(f"GMNM.from_data: expected targets y ({len(inputs)}, out), got {tuple(targets.shape)}")
    if targets is not None and targets.device != inputs.device:
        raise ValueError(f"GMNM.from_data: x is on {inputs.device} and y on {targets.device}; move one to the other")
    for name, values in {"x": inputs, "y": targets}.items():
        if values is not None and not bool(values.isfinite().all()):
            raise ValueError(f"GMNM.from_data: {name} has numbers that are not finite; leave those rows out")
    return inputs, targets
