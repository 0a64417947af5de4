"""A Gaussian mixture module: its function, and the bumps that it is a sum of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from torch import Tensor

from gmlayers.nn import GMNM
from gmlayers.plot._style import FALLS, GROUND, RISES, ellipses, field, grid, names_of, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 150
"""A picture shows at most this many bumps, those of the largest weights: more would hide each other."""

STANDARD = 3.0
"""A module without a domain is drawn from minus to plus this, as its features have variance 1."""

RANK = 1e-6
"""A bump is a ridge in the plane where the second of its reciprocal widths is below this share of the first."""


class Plane(NamedTuple):
    """A line or a plane through the inputs of a module, in which it is drawn."""

    along: tuple[int, ...]
    """The one or two features that vary."""
    at: Tensor
    """A point, (d,), of which these features do not count."""
    low: tuple[float, ...]
    high: tuple[float, ...]

    def points(self, moving: Tensor) -> Tensor:
        """Return points (n, d) of the inputs for points (n, 1) or (n, 2) of the plane."""
        x = self.at.expand(len(moving), -1).clone()
        x[:, list(self.along)] = moving
        return x


class Traces(NamedTuple):
    """What of the bumps is to be seen in a plane: each is a Gaussian there, too."""

    centre: Tensor
    """The points at which the bumps are largest in the plane, (m, k)."""
    projection: Tensor
    """The projections along the plane, (m, p, k)."""
    peak: Tensor
    """The weight times the largest value of the bump in the plane, (m,)."""


def module(
    gmnm: GMNM,
    *,
    output: int = 0,
    along: Sequence[int] = (0, 1),
    at: Sequence[float] | Tensor | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the function of a module and its bumps, of one variable as a curve, else in shades of grey over a plane.

    Args:
        gmnm: the module.
        output: the output that is drawn.
        along: the two features that vary, if there are more than one.
        at: the values of all features, for the others; by default the middle of the domain.
        ax: the axes to draw in; by default those of a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: if there is no such output or feature, or ``at`` has another length.
        TypeError: if it is no module.

    Example:
        >>> import torch
        >>> from gmlayers import GMNM, plot
        >>> ax = plot.module(GMNM(2, 1, 20, domain=(-1, 1)))
        >>> ax.get_title()
        '20 bumps'
    """
    plane, output = _plane("module", gmnm, along, at), _output("module", gmnm, output)
    ax = new_axes()[0] if ax is None else ax
    with torch.no_grad():
        if len(plane.along) == 1:
            x = torch.linspace(plane.low[0], plane.high[0], 801, dtype=torch.float64)
            value = _values(gmnm, plane.points(x.unsqueeze(1)))[:, output]
            ax.plot(x.numpy(), value.numpy(), color="black")
        else:
            value = _values(gmnm, plane.points(grid(plane.low, plane.high)))[:, output]
            field(ax, value, plane.low, plane.high, colours=GROUND)
    return bumps(gmnm, output=output, along=along, at=at, ax=ax)


@torch.no_grad()
def bumps(
    gmnm: GMNM,
    *,
    output: int = 0,
    along: Sequence[int] = (0, 1),
    at: Sequence[float] | Tensor | None = None,
    ax: Axes | None = None,
) -> Axes:
    r"""Draw the bumps of a module alone: each where it has fallen to exp(-½) of its largest value in the picture.

    That is an ellipse, for a ridge two lines, and for functions of one variable a bar below the curve. Orange adds and
    blue takes away; the fainter, the smaller the weight. In a plane through more features a bump
    :math:`\exp(-\tfrac12\|A(x - \mu)\|^2)` is a Gaussian again, lower by how far the plane is from it.

    Args:
        gmnm: the module.
        output: the output whose weights give the colours.
        along: as for :func:`module`.
        at: as for :func:`module`.
        ax: as for :func:`module`.

    Returns:
        The axes.

    Raises:
        ValueError: as :func:`module`.
        TypeError: as :func:`module`.

    Example:
        >>> from gmlayers import GMNM, plot
        >>> ax = plot.bumps(GMNM(2, 1, 20, form="ridge", domain=(-1, 1)))
        >>> len(ax.collections)
        1
    """
    plane, output = _plane("bumps", gmnm, along, at), _output("bumps", gmnm, output)
    ax = new_axes()[0] if ax is None else ax
    traces = _traces(gmnm, plane, output)
    shown = traces.peak.abs().argsort(descending=True)[:MOST]
    centre, projection, peak = (t[shown] for t in traces)
    strength = (peak.abs() / peak.abs().amax().clamp(min=1e-300)).sqrt()
    colours = [to_rgba(RISES if float(p) > 0 else FALLS, 0.12 + 0.88 * float(s)) for p, s in zip(peak, strength)]
    if len(plane.along) == 1:
        _bars(ax, centre[:, 0], torch.linalg.vector_norm(projection[..., 0], dim=1), colours)
        ax.set_xlim(plane.low[0], plane.high[0])
    else:
        singular, directions = torch.linalg.svd(projection, full_matrices=False)[1:]
        flat = singular.shape[1] < 2
        ridge = torch.ones_like(peak, dtype=torch.bool) if flat else singular[:, 1] <= RANK * singular[:, 0]
        _ridges(ax, centre[ridge], projection[ridge], colours=[c for c, r in zip(colours, ridge) if r])
        if not bool(ridge.all()):
            cov = directions.mT @ torch.diag_embed(singular.clamp(min=1e-300) ** -2) @ directions
            ellipses(ax, centre[~ridge], cov[~ridge], colours=[c for c, r in zip(colours, ridge) if not r])
        ax.set(xlim=(plane.low[0], plane.high[0]), ylim=(plane.low[1], plane.high[1]))
    names = names_of(gmnm.in_features)
    ax.set_xlabel(names[plane.along[0]])
    if len(plane.along) == 2:
        ax.set_ylabel(names[plane.along[1]])
    m = gmnm.num_components
    ax.set_title(f"{m} bump{'s' * (m > 1)}" + (f", the largest {MOST} of them drawn" if m > MOST else ""))
    return ax


def _plane(name: str, gmnm: GMNM, along: Sequence[int], at: Sequence[float] | Tensor | None) -> Plane:
    if not isinstance(gmnm, GMNM):
        raise TypeError(f"plot.{name}: expected a GMNM, got {type(gmnm).__name__}; of a solution, take answer.u")
    d = gmnm.in_features
    low, high = gmnm.domain or ((-STANDARD,) * d, (STANDARD,) * d)
    middle = torch.tensor([(a + b) / 2 for a, b in zip(low, high)], dtype=torch.float64)
    return plane_through(name, middle, low, high, along, at)


def plane_through(
    name: str,
    middle: Tensor,
    low: Sequence[float],
    high: Sequence[float],
    along: Sequence[int],
    at: Sequence[float] | Tensor | None,
) -> Plane:
    """Return the line or plane that is asked for; raise ``ValueError`` where there is none."""
    d = len(middle)
    axes = (0,) if d == 1 else tuple(int(i) for i in along)
    if len(set(axes)) != min(d, 2) or not all(0 <= i < d for i in axes):
        raise ValueError(f"plot.{name}: along must name two of the {d} coordinates, 0 to {d - 1}, got {tuple(along)}")
    point = middle if at is None else torch.as_tensor(at, dtype=torch.float64).reshape(-1)
    if len(point) != d or not bool(point.isfinite().all()):
        raise ValueError(f"plot.{name}: at must have {d} finite numbers, one for each coordinate, got {at}")
    return Plane(axes, point, tuple(float(low[i]) for i in axes), tuple(float(high[i]) for i in axes))


def _output(name: str, gmnm: GMNM, output: int) -> int:
    if not 0 <= output < gmnm.out_features:
        raise ValueError(f"plot.{name}: output must be from 0 to {gmnm.out_features - 1}, got {output}")
    return output


def _values(gmnm: GMNM, x: Tensor) -> Tensor:
    like = gmnm.mean
    if gmnm.domain is not None:  # the edge of a grid may be rounded out of it
        low, high = x.new_tensor(gmnm.domain)
        x = torch.minimum(torch.maximum(x, low), high)
    return gmnm(x.to(like)).double().cpu()


def _traces(gmnm: GMNM, plane: Plane, output: int) -> Traces:
    r"""Return the bumps in the plane.

    With :math:`A = (A_1, A_2)` along the plane and across it, and :math:`c = A_2 (x_2 - \mu_2)`,

    .. math:: \|A(x - \mu)\|^2 = \|A_1 (x_1 - \mu_1 + A_1^+ c)\|^2 + \|c - A_1 A_1^+ c\|^2.
    """
    mean, A = gmnm.mean.detach().double().cpu(), gmnm.projection_matrix().detach().double().cpu()
    inside = list(plane.along)
    across = [i for i in range(mean.shape[1]) if i not in inside]
    along = A[:, :, inside]
    c = torch.einsum("mpd,md->mp", A[:, :, across], plane.at[across] - mean[:, across])
    shift = (torch.linalg.pinv(along) @ c.unsqueeze(-1)).squeeze(-1)
    left = c - torch.einsum("mpk,mk->mp", along, shift)
    peak = gmnm.weight.detach().double().cpu()[:, output] * torch.exp(-0.5 * left.square().sum(1))
    return Traces(mean[:, inside] - shift, along, peak)


def _bars(ax: Axes, centre: Tensor, scale: Tensor, colours: list[tuple[float, float, float, float]]) -> None:
    """Draw bars of one width to each side in a strip below the curve, the wide ones lowest."""
    low, high = ax.get_ylim()
    half = 1 / scale.clamp(min=1e-300)
    order = half.argsort(descending=True).argsort()
    y = low - (high - low) * (0.05 + 0.2 * (1 - (order + 0.5) / len(order)))
    ends = [[(float(c - h), float(v)), (float(c + h), float(v))] for c, h, v in zip(centre, half, y)]
    ax.add_collection(LineCollection(ends, colors=colours, linewidths=1.2))
    ax.set_ylim(float(y.amin()) - 0.03 * (high - low), high)


def _ridges(ax: Axes, centre: Tensor, projection: Tensor, colours: list[tuple[float, float, float, float]]) -> None:
    """Draw where w · (x - μ) is 1 and -1, as far as any frame reaches."""
    if not len(centre):
        return
    directions = torch.linalg.svd(projection, full_matrices=False)
    normal, scale = directions[2][:, 0], directions[1][:, 0].clamp(min=1e-300)
    (a, b), (c, d) = ax.get_xlim(), ax.get_ylim()
    reach = abs(b - a) + abs(d - c) + float(torch.linalg.vector_norm(centre, dim=1).amax())
    tangent = torch.stack([-normal[:, 1], normal[:, 0]], 1)
    ends = [
        [tuple((p - reach * t).tolist()), tuple((p + reach * t).tolist())]
        for side in (-1, 1)
        for p, t in zip(centre + side * normal / scale.unsqueeze(1), tangent)
    ]
    ax.add_collection(LineCollection(ends, colors=[*colours, *colours], linewidths=0.8))
