r"""Forms of a bump's exponent: which parameters make up the projection A of :math:`q = \|A(x - \mu)\|^2`.

Forms are stateless values: the parameters live on the module.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gmlayers._names import brief_value, look_up, positive

Params = Mapping[str, Tensor]

OVERLAP = 4.0
"""At the start a point of the domain lies in about this many bumps."""


class Form(ABC):
    """A form of the exponent; every method takes the module's parameters by name."""

    @abstractmethod
    def shapes(self, in_features: int, num_components: int) -> dict[str, tuple[int, ...]]:
        """Return the shape of every parameter of the form."""

    @abstractmethod
    def directions(self, in_features: int) -> int:
        """Return in how many directions a bump falls off."""

    def width(self, in_features: int, num_components: int) -> float:
        r"""Return the width s of a bump with which about 4 bumps answer at a point of the box [-1, 1]^d.

        For x and μ uniform in the box, taken as normal, :math:`m\,\mathbb E f = m\,(1 + 2/(3s^2))^{-r/2}` in r
        directions. With one bump per point there are holes, which have no gradient, with 16 all is blurred; from 2 to 8
        Adam fits about as well. It is at most √r, with which :math:`\mathbb E q = 2/3`.
        """
        r = self.directions(in_features)
        spare = max(num_components / OVERLAP, 1.0) ** (2 / r) - 1
        return math.sqrt(r if 3 * r * spare < 2 else 2 / (3 * spare))

    @abstractmethod
    def init(self, p: Params, unit: Tensor, generator: torch.Generator | None) -> None:
        """Fill the parameters in place, so that A is an orthonormal frame times diag(unit); unit is (d,) or (m, d)."""

    @abstractmethod
    def projection(self, p: Params) -> Tensor:
        """Return A, (m, p, d)."""


@dataclass(frozen=True)
class Mahalanobis(Form):
    """Any projection: ``projection`` A (m, rank, d).

    Args:
        rank: rows of A, at least 1.

    Example:
        >>> from gmlayers import GMNM, Mahalanobis
        >>> GMNM(5, 1, 50, form=Mahalanobis(2)).projection.shape
        torch.Size([50, 2, 5])
    """

    rank: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "rank", positive("Mahalanobis: rank", self.rank))

    def shapes(self, in_features: int, num_components: int) -> dict[str, tuple[int, ...]]:
        return {"projection": (num_components, self.rank, in_features)}

    def directions(self, in_features: int) -> int:
        return min(self.rank, in_features)

    def init(self, p: Params, unit: Tensor, generator: torch.Generator | None) -> None:
        p["projection"].copy_(_frames(p["projection"], generator) * unit.unsqueeze(-2))

    def projection(self, p: Params) -> Tensor:
        return p["projection"]


@dataclass(frozen=True)
class AxisAligned(Form):
    """One reciprocal width per feature, its sign free: ``scale`` (m, d); A is its diagonal matrix.

    Example:
        >>> from gmlayers import GMNM, AxisAligned
        >>> GMNM(5, 1, 50, form=AxisAligned()).scale.shape
        torch.Size([50, 5])
    """

    def shapes(self, in_features: int, num_components: int) -> dict[str, tuple[int, ...]]:
        return {"scale": (num_components, in_features)}

    def directions(self, in_features: int) -> int:
        return in_features

    def init(self, p: Params, unit: Tensor, generator: torch.Generator | None) -> None:  # noqa: ARG002
        p["scale"].copy_(unit.expand_as(p["scale"]))

    def projection(self, p: Params) -> Tensor:
        return torch.diag_embed(p["scale"])


@dataclass(frozen=True)
class Ridge(Mahalanobis):
    """The sum of all projections, which is one projection: ``projection`` (m, 1, d).

    Example:
        >>> from gmlayers import GMNM, Ridge
        >>> GMNM(5, 1, 50, form=Ridge()).projection.shape
        torch.Size([50, 1, 5])
    """

    rank: int = field(default=1, init=False, repr=False)

    def width(self, in_features: int, num_components: int) -> float:  # noqa: ARG002
        """Return a quarter: as far as a bump reaches in its one direction, whatever their number; by experiment."""
        return 0.25


def get_form(form: str | Form, rank: int | None, in_features: int) -> Form:
    """Return the form of that name, of which only ``"mahalanobis"`` has a rank to choose; a descriptor as it is.

    Raises:
        ValueError: an unknown name, a rank below 1, a rank where there is none.
        TypeError: a rank that is not a whole number.
    """
    fixed: Mapping[str, Callable[[], Form] | None] = {"mahalanobis": None, "diagonal": AxisAligned, "ridge": Ridge}
    if not isinstance(form, Form | str):
        raise TypeError(f"GMNM: form must be a name or a Form, like Mahalanobis(2), got {brief_value(form)}")
    make = (lambda: form) if isinstance(form, Form) else look_up("form", form, fixed)
    if make is None:
        return Mahalanobis(min(in_features, 8) if rank is None else positive("GMNM: rank", rank))
    if rank is not None:
        raise ValueError(f"GMNM: rank is for form='mahalanobis', got rank={rank} with form={form!r}; leave it out")
    return make()


def _frames(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return random matrices of that shape (m, p, d) with orthonormal rows, or columns where p > d."""
    m, p, d = like.shape
    dtype = torch.promote_types(like.dtype, torch.float32)  # torch has no QR of half precision
    tall = torch.empty(m, max(p, d), min(p, d), dtype=dtype, device=like.device).normal_(generator=generator)
    frames = torch.linalg.qr(tall)[0]
    return frames if p > d else frames.mT
