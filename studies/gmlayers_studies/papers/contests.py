"""The contests by name."""

from __future__ import annotations

from collections.abc import Mapping

from gmlayers_studies.methods.contest import Contest
from gmlayers_studies.papers import feynman, fit2d, poisson

CONTESTS: Mapping[str, Contest] = {module.CONTEST.name: module.CONTEST for module in (fit2d, feynman, poisson)}
