"""The contests by name."""

from __future__ import annotations

from collections.abc import Mapping

from gmlayers.experiments.reproduce import feynman, fit2d, poisson
from gmlayers.experiments.reproduce.contest import Contest

CONTESTS: Mapping[str, Contest] = {module.CONTEST.name: module.CONTEST for module in (fit2d, feynman, poisson)}
