"""Two Poisson equations: error against parameters and time (claims C2 and C6 of the GMNM paper)."""

from __future__ import annotations

from gmlayers_studies.approximators.methods import POISSON
from gmlayers_studies.approximators.problems import POISSON_PROBLEMS
from gmlayers_studies.methods.method import Contest
from gmlayers_studies.methods.report import report
from gmlayers_studies.study import Allowance, Extent, Profile, Study

OWN_SIZE = ("GMNM, solve (own number)", "KAN [2,10,1]", "PINN 4 x 100")
"""These methods have a size of their own."""

CONTEST = Contest(
    readings={
        "mahalanobis": ("GMNM mahalanobis, variable projection",),
        "ridge": ("GMNM ridge, variable projection",),
        "mahalanobis by gradients": ("GMNM mahalanobis, L-BFGS",),
        "ridge by gradients": ("GMNM ridge, L-BFGS",),
        "solved": ("GMNM, solve", "GMNM, solve (own number)"),
    },
    peers=("PINN", "KAN", "KAN [2,10,1]", "PINN 4 x 100"),
    pictured=("mahalanobis", "ridge", "solved"),
)


def _own_size(seeds: tuple[int, ...], seconds: float) -> dict[str, Extent]:
    return {label: Extent(seeds, (Allowance(None, seconds),)) for label in OWN_SIZE}


STUDY = Study(
    name="poisson",
    title="Poisson's equation on a square",
    claim="a GMNM solves Poisson's equation with lower error and in less time than KAN, MLP and PINN, often "
    "with fewer parameters",
    contestants=CONTEST.entrants({**POISSON, "GMNM, solve (own number)": POISSON["GMNM, solve"]}),
    tasks=POISSON_PROBLEMS,
    report=report(CONTEST),
    profiles={
        "smoke": Profile(
            ("poisson-a",), Extent((0, 1), (Allowance(100, 0.3),)), _own_size((0, 1), 0.3), Allowance(100, 0.3)
        ),
        "quick": Profile(
            ("poisson-a", "poisson-b"),
            Extent((0, 1, 2), (Allowance(350, 10),)),
            _own_size((0, 1, 2), 10),
            Allowance(350, 10),
        ),
        "full": Profile(
            ("poisson-a", "poisson-b"),
            Extent((0, 1, 2, 3, 4), tuple(Allowance(parameters, 20) for parameters in (350, 100, 1400))),
            _own_size((0, 1, 2, 3, 4), 300),
            Allowance(350, 20),
        ),
    },
    note="poisson-a is the example of pykan, poisson-b section 3.4 of the KAN paper (arXiv 2404.19756); solutions are "
    "tested on a grid of 101 × 101. [2,10,1] and 4 x 100 are the sizes of the KAN paper; beside them solve takes "
    "up to 10 000 numbers. Solve, variable projection and Chebyshev polynomials choose points of their own, from "
    "the equation. PINNs may be trained by Levenberg–Marquardt, a Gauss-Newton method as is variable projection, "
    "but for that of 4 x 100, whose derivative is too large; settings are chosen at 350 numbers, and with 1400 "
    "there is time for few of its steps only. KANs, splats and physics-informed Gaussians are trained by Adam and "
    "L-BFGS; RBF networks and polynomials are solved for. States were judged every fortieth of the time, but "
    "those of PINN, of variable projection and of solve with its own number more densely at first: all others may "
    "have been reached sooner than is said, by as much. PINN and variable projection ran on another machine of the "
    "same kind than all others, a slower one if anything.",
    claims=("C2", "C6"),
)
