"""Functions of two variables: error against parameters and time (claims C1 and C6 of the GMNM paper)."""

from __future__ import annotations

from gmlayers_studies.approximators.methods import REGRESSION
from gmlayers_studies.approximators.problems import FIT2D_PROBLEMS
from gmlayers_studies.methods.method import Contest
from gmlayers_studies.methods.report import report
from gmlayers_studies.study import Allowance, Extent, Profile, Study

READINGS = {
    "mahalanobis": ("GMNM mahalanobis, variable projection",),
    "ridge": ("GMNM ridge, variable projection",),
    "mahalanobis by gradients": ("GMNM mahalanobis, gradients",),
    "ridge by gradients": ("GMNM ridge, gradients",),
}
PEERS = ("ReLU MLP", "tanh MLP", "KAN")

CONTEST = Contest(READINGS, PEERS, pictured=("mahalanobis", "ridge"))

STUDY = Study(
    name="fit2d",
    title="Functions of two variables from 1000 points",
    claim="a GMNM fits functions with lower error and in less time than KAN and MLP, often with fewer parameters",
    contestants=CONTEST.entrants(REGRESSION),
    tasks=FIT2D_PROBLEMS,
    report=report(CONTEST),
    profiles={
        "smoke": Profile(("exponential",), Extent((0, 1), (Allowance(100, 0.3),)), chosen_at=Allowance(100, 0.3)),
        "quick": Profile(tuple(FIT2D_PROBLEMS), Extent((0, 1, 2), (Allowance(350, 3),)), chosen_at=Allowance(350, 3)),
        "full": Profile(
            tuple(FIT2D_PROBLEMS),
            Extent(
                (0, 1, 2, 3, 4),
                tuple(Allowance(parameters, seconds) for seconds in (10, 60) for parameters in (350, 100, 1400)),
            ),
            chosen_at=Allowance(350, 10),
        ),
    },
    note="Every seed has 1000 training and 1000 test points of its own, uniform and without noise. The gradient of "
    "sin(3π√x) is not square integrable, so its error says nothing. Chebyshev polynomials show what is possible "
    "on boxes. A KAN [2, 2, 1] can be each of the four exactly: what counts is what training finds. KANs' splines "
    "are 0 beyond the outermost training points, as in pykan, and a few test points there may make up most of an "
    "error. Where variable projection has converged it begins anew; L-BFGS and Levenberg–Marquardt end. In the "
    "records at 10 s of seeds 0 to 3 of MLP, KAN, RBF network, splats and Chebyshev, states were judged every fortieth "
    "of the time, so that they may have been reached sooner than is said, by as much. In all other records they were "
    "judged more densely at first. "
    "Physics-informed Gaussians and networks stand in poisson, where there is an equation to inform them. "
    "Variable projection, and all at 60 s, ran on another machine of the same kind than the peers at 10 s, a slower "
    "one if anything.",
    claims=("C1", "C6"),
)
