"""Formulas from physics, of two to six variables (claims C1 and C6 of the GMNM paper)."""

from __future__ import annotations

from gmlayers_studies.approximators.methods import REGRESSION
from gmlayers_studies.approximators.problems import FEYNMAN_PROBLEMS
from gmlayers_studies.methods.report import report
from gmlayers_studies.papers.fit2d import CONTEST
from gmlayers_studies.study import Allowance, Extent, Profile, Study

STUDY = Study(
    name="feynman",
    title="Formulas of the AI Feynman set from 1000 points",
    claim="a GMNM fits functions of more variables with lower error and in less time than KAN and MLP, "
    "often with fewer parameters",
    contestants=CONTEST.entrants(REGRESSION),
    tasks=FEYNMAN_PROBLEMS,
    report=report(CONTEST),
    profiles={
        "smoke": Profile(("I.6.2",), Extent((0, 1), (Allowance(100, 0.3),)), chosen_at=Allowance(100, 0.3)),
        "quick": Profile(("I.6.2", "I.8.14"), Extent((0, 1, 2), (Allowance(350, 3),)), chosen_at=Allowance(350, 3)),
        "full": Profile(
            tuple(FEYNMAN_PROBLEMS),
            Extent((0, 1, 2, 3, 4), (Allowance(350, 10), Allowance(1400, 10))),
            chosen_at=Allowance(350, 10),
        ),
    },
    note="There are 1000 training and 1000 test points, uniform in the boxes of Udrescu and Tegmark (2020), without "
    "noise. "
    "Physics-informed Gaussians and networks stand in poisson, where there is an equation to inform them. Variable "
    "projection and the last seed ran on another day than the others, on the same machine.",
    claims=("C1", "C6"),
)
