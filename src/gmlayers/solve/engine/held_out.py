"""Data in units, and which of their rows are held out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from gmlayers.nn import GMNM
from gmlayers.nn._gmnm import FormName
from gmlayers.nn._placement import domain_of
from gmlayers.solve.engine.modules import assign

Shapes = Mapping[str, Tensor]
"""The shapes of bumps are their parameters by name, (m, ...)."""

SEED = 0
"""The rows that are held out are drawn from this seed, and so are places to start from."""

ROUNDING = 64 * torch.finfo(torch.float64).eps
"""Numbers whose spread relative to their size is below this are constant."""


@dataclass(frozen=True)
class HoldingOut:
    """Which rows are held out."""

    share: float = 0.15
    """This share of the rows is held out."""
    least: int = 20
    """The least number of different rows with which an error can be estimated."""
    nearly: float = 1e-6
    """Rows that differ by less than this part of a standard deviation of the inputs count as copies of one."""


HOLDING_OUT = HoldingOut()

FULL = 5
"""Bumps may be turned and sheared if there are at most this many features."""

BUMPS_PER_ROW = 0.5
"""There are at most this many bumps for each row that is fitted."""

FIRST = 6
"""The first set has this many bumps, and the number of them that is allowed is never less."""


class Units(NamedTuple):
    """Means and standard deviations, (k,) each; where numbers are constant the latter are 1."""

    mean: Tensor
    size: Tensor

    @classmethod
    def of(cls, values: Tensor) -> Units:
        """Return the units of columns (n, k)."""
        largest = values.abs().amax(0)
        top = torch.where(largest > 0, largest, 1.0)
        size = top * (values / top).std(0, correction=0)
        varies = size > ROUNDING * largest
        return cls(torch.where(varies, values.mean(0), values[0]), torch.where(varies, size, 1.0))

    def scaled(self, values: Tensor) -> Tensor:
        """Return numbers in units."""
        return (values - self.mean) / self.size

    def given(self, values: Tensor) -> Tensor:
        """Return numbers as they were given."""
        return self.mean + self.size * values


@dataclass(frozen=True)
class Data:
    """Rows to fit and rows that are held out, in units: of mean 0 and standard deviation 1, where they vary.

    They are in random order, so that the first ones are a sample.
    """

    x: Tensor
    y: Tensor
    held_x: Tensor
    held_y: Tensor
    different: int
    """The number of rows to fit that are no copies of others."""
    held_out: Tensor
    """True for the rows, as they were given, that are held out; (n,) of bool."""
    x_units: Units
    y_units: Units
    domain: tuple[Tensor, Tensor]
    """The domain of the function: the box of all rows, and a margin as :meth:`~gmlayers.GMNM.from_data` has it."""

    @classmethod
    def of(cls, x: Tensor, y: Tensor) -> Data:
        """Take data in; copies of a row, and rows that are nearly copies, are on the same side."""
        x, y = x.detach().double().cpu(), y.detach().double().cpu()
        x_units, y_units = Units.of(x), Units.of(y)
        unit_x, unit_y = x_units.scaled(x), y_units.scaled(y)
        different, row = (unit_x / HOLDING_OUT.nearly).round().unique(dim=0, return_inverse=True)
        check_number(len(different))
        generator = torch.Generator().manual_seed(SEED)
        held_out = (torch.randperm(len(different), generator=generator) < HOLDING_OUT.share * len(different))[row]
        order = torch.randperm(len(x), generator=generator)
        fitted, held = order[~held_out[order]], order[held_out[order]]
        sides = unit_x[fitted], unit_y[fitted], unit_x[held], unit_y[held]
        return cls(*sides, len(row[fitted].unique()), held_out, x_units, y_units, domain_of(x))

    @property
    def most(self) -> int:
        """The number of bumps there may be."""
        return max(FIRST, int(BUMPS_PER_ROW * self.different))

    @property
    def form(self) -> FormName:
        """The form of all bumps."""
        return "mahalanobis" if self.x.shape[1] <= FULL else "diagonal"

    def module(self, shapes: Shapes) -> GMNM:
        """Return a module in units with bumps of these shapes; its weights are not yet found."""
        return self._module(shapes, *map(self.x_units.scaled, self.domain))

    def function(self, module: GMNM, weight: Tensor) -> GMNM:
        """Return the function of rows as they are given, from bumps in units and their weights with the bias."""
        shapes = {name: value / self.x_units.size for name, value in module.form_parameters().items()}
        weight = self.y_units.size * weight
        weight[-1] += self.y_units.mean
        given = self._module({**shapes, "mean": self.x_units.given(module.mean)}, *self.domain)
        assign(given, weight)
        return given.requires_grad_(False)

    def _module(self, shapes: Shapes, low: Tensor, high: Tensor) -> GMNM:
        m, d = shapes["mean"].shape
        rank = d if self.form == "mahalanobis" else None
        with torch.random.fork_rng(devices=[]):  # the parameters that are drawn are written over
            module = GMNM(d, self.y.shape[1], m, form=self.form, rank=rank, domain=(low, high), dtype=torch.float64)
        for name, value in shapes.items():
            getattr(module, name).copy_(value)
        return module


def check_number(different: int) -> None:
    """Raise ``ValueError`` if that many different rows are too few."""
    if different < HOLDING_OUT.least:
        raise ValueError(
            f"approximate: {different} different rows of x are too few to fit and to hold some out; give at least "
            f"{HOLDING_OUT.least} that are more than {HOLDING_OUT.nearly:g} of the standard deviation apart, and no "
            f"outliers that make it large"
        )
