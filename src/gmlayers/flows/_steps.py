"""Steps along a flow that are halved where one is refused, and doubled again where many have been good."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gmlayers.flows._mixture import Mixture
from gmlayers.functional import bures

HALVINGS = 30
"""A step is halved at most this often, to a billionth: what fails there fails at any length."""

PATIENCE = 8
"""After this many good parts in a row one of twice the length is tried."""

KINK = 2
"""A part is halved at most this many times for a kink. Shorter parts lead over it as well."""

ROUNDING = 4.0
"""A rise of the energy is no rise up to this many times its own rounding errors."""

FAR = 1e4
"""A rise by this many times the rounding errors that were found once is one without a second look."""


class Place(NamedTuple):
    """A mixture on the way, and its energy."""

    mixture: Mixture
    energy: float


class Refused(Exception):
    """No part of a step is short enough."""

    def __init__(self, time: float, length: float, reason: Exception) -> None:
        super().__init__(time, length, reason)
        self.time, self.length, self.reason = time, length, reason


class Stepper:
    r"""Takes whole steps of a flow in :math:`2^l` parts; the level l is kept from one step to the next.

    A part is refused if it raises an error of value, leaves the finite numbers, raises the energy, which no gradient
    flow does, or, where a tolerance is given, if it is not within it of two halves. Parts are dyadic, so that they meet
    the end of the step exactly. At a kink of the functional parts of any length rise, but not further above the least
    energy than the flow would fall from there in the same time; those are halved twice and then taken.

    Args:
        advance: takes a mixture and a length to the mixture a step later.
        energy: takes a mixture to its energy.
        slope: takes a mixture to the rate at which its energy falls.
        tolerance: the relative error that a whole step may have, or None.
    """

    def __init__(
        self,
        advance: Callable[[Mixture, float], Mixture],
        energy: Callable[[Mixture], Tensor],
        slope: Callable[[Mixture], float],
        tolerance: float | None = None,
    ) -> None:
        self.advance, self.energy, self.slope, self.tolerance = advance, energy, slope, tolerance
        self.level = self.good = 0
        self.needed = 0  # the level that something else than a kink has asked for
        self.noise = 0.0
        self.least: Place | None = None

    def place(self, mixture: Mixture) -> Place:
        """Return a mixture with its energy.

        Raises:
            ValueError: if that is not finite.
        """
        energy = float(self.energy(mixture))
        if not math.isfinite(energy):
            raise ValueError(f"the functional is not finite: {energy}")
        return Place(mixture, energy)

    def over(self, start: Place, step: float) -> Place:
        """Return the place a whole step later.

        Raises:
            Refused: if no part is short enough.
        """
        at, done, whole = start, 0, 1 << HALVINGS
        while done < whole:
            part = min(whole >> self.level, done & -done or whole)  # what has been done is a multiple of it
            share = part / whole
            try:
                at = self._part(at, step * share, share)
            except (ValueError, torch.linalg.LinAlgError) as error:  # type: ignore[attr-defined]
                if part == 1:
                    raise Refused(step * done / whole, step * share, error) from error
                self.level, self.good = HALVINGS + 2 - part.bit_length(), 0
                continue
            done, self.good = done + part, self.good + 1
            if self.good >= PATIENCE and self.level:
                self.level, self.good = self.level - 1, 0
                self.needed = min(self.needed, self.level)
        return at

    def _part(self, at: Place, length: float, share: float) -> Place:
        """Return where a part leads; raise ``ValueError`` if it is too long."""
        self.least = at if self.least is None or at.energy <= self.least.energy else self.least
        found = self.advance(at.mixture, length)
        if self.tolerance is not None:
            whole, found = found, self.advance(self.advance(at.mixture, length / 2), length / 2)
            rounding = ROUNDING * torch.finfo(found.mean.dtype).eps
            if not _apart(whole, found) <= max(share * self.tolerance, rounding):
                self.needed = self.level + 1
                raise ValueError("the step does not come within the tolerance")
        ahead = self.place(found)
        if not self._rises(at, ahead):
            return ahead
        if ahead.energy - self.least.energy > length * self.slope(self.least.mixture):
            self.needed = self.level + 1
        if self.level < self.needed + KINK:
            raise ValueError("the step raises the functional, and no gradient flow does")
        return ahead

    def _rises(self, at: Place, ahead: Place) -> bool:
        rise = ahead.energy - at.energy
        if rise <= self.noise:
            return False
        if rise < FAR * self.noise or not self.noise:
            self.noise = max(self.noise, ROUNDING * self._noise(at))
        return rise > self.noise

    def _noise(self, at: Place) -> float:
        """Return how far the energy differs between mixtures that are the same but for rounding, or draws at random."""
        m, eps = at.mixture, torch.finfo(at.mixture.mean.dtype).eps
        shift = eps * m.mean.abs().amax()
        others = [m.like(m.mean + j * shift, m.spread * (1 + j * eps), m.weight) for j in (-2, -1, 0, 1, 2)]
        found = [at.energy, *(float(self.energy(other)) for other in others)]
        return max(max(found) - min(found), eps * abs(at.energy))


def _apart(one: Mixture, other: Mixture) -> float:
    r"""Return :math:`(\sum_k w_k W_2^2(N_k, N'_k))^{1/2}` over the standard deviation of the whole mixture."""
    w = other.weight
    apart = w @ bures.distance_squared(one.mean, one.cov, other.mean, other.cov) + (one.weight - w).square().sum()
    spread = w @ ((other.mean - w @ other.mean).square().sum(1) + other.cov.diagonal(dim1=1, dim2=2).sum(1))
    return float((apart / spread).sqrt()) if spread > 0 else float(apart.sqrt())
