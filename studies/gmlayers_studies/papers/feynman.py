"""Formulas from physics, of two to six variables (claims C1 and C6 of the GMNM paper)."""

from __future__ import annotations

from gmlayers_studies.approximators.methods import REGRESSION
from gmlayers_studies.approximators.problems import FEYNMAN_PROBLEMS
from gmlayers_studies.methods.contest import Contest, ContestProfile, Size
from gmlayers_studies.papers.fit2d import PEERS, READINGS

CONTEST = Contest(
    name="feynman",
    title="Formulas of the AI Feynman set from 1000 points",
    claim="a GMNM fits functions of more variables with lower error and in less time than KAN and MLP, "
    "often with fewer parameters",
    problems=FEYNMAN_PROBLEMS,
    methods=REGRESSION,
    readings=READINGS,
    peers=PEERS,
    profiles={
        "smoke": ContestProfile(("I.6.2",), (Size(100, 0.3),), Size(100, 0.3), (0, 1), {}),
        "quick": ContestProfile(("I.6.2", "I.8.14"), (Size(350, 3),), Size(350, 3), (0, 1, 2), {}),
        "full": ContestProfile(
            tuple(FEYNMAN_PROBLEMS), (Size(350, 10), Size(1400, 10)), Size(350, 10), (0, 1, 2, 3, 4), {}
        ),
    },
    note="1000 training and 1000 test points, uniform in the boxes of Udrescu and Tegmark (2020), without noise. "
    "Physics-informed Gaussians and networks stand in poisson, where there is an equation to inform them. Variable "
    "projection and the last seed ran on another day than the others, on the same machine.",
    pictured=("mahalanobis", "ridge"),
    claims=("C1", "C6"),
)
