"""Two Poisson equations: error against parameters and time (claims C2 and C6 of the GMNM paper)."""

from __future__ import annotations

from gmlayers_studies.approximators.methods import POISSON
from gmlayers_studies.approximators.problems import POISSON_PROBLEMS
from gmlayers_studies.methods.contest import Contest, ContestProfile, Size

OWN_SIZE = ("GMNM, solve (own number)", "KAN [2,10,1]", "PINN 4 x 100")
"""Methods that have a size of their own."""


def _free(seconds: float) -> dict[str, Size]:
    return {label: Size(None, seconds) for label in OWN_SIZE}


CONTEST = Contest(
    name="poisson",
    title="Poisson's equation on a square",
    claim="a GMNM solves Poisson's equation with lower error and in less time than KAN, MLP and PINN, often "
    "with fewer parameters",
    problems=POISSON_PROBLEMS,
    methods={**POISSON, "GMNM, solve (own number)": POISSON["GMNM, solve"]},
    readings={
        "mahalanobis": ("GMNM mahalanobis, variable projection",),
        "ridge": ("GMNM ridge, variable projection",),
        "mahalanobis by gradients": ("GMNM mahalanobis, L-BFGS",),
        "ridge by gradients": ("GMNM ridge, L-BFGS",),
        "solved": ("GMNM, solve", "GMNM, solve (own number)"),
    },
    peers=("PINN", "KAN", "KAN [2,10,1]", "PINN 4 x 100"),
    profiles={
        "smoke": ContestProfile(("poisson-a",), (Size(100, 0.3),), Size(100, 0.3), (0, 1), _free(0.3)),
        "quick": ContestProfile(("poisson-a", "poisson-b"), (Size(350, 10),), Size(350, 10), (0, 1, 2), _free(10)),
        "full": ContestProfile(
            ("poisson-a", "poisson-b"),
            tuple(Size(parameters, 20) for parameters in (350, 100, 1400)),
            Size(350, 20),
            (0, 1, 2, 3, 4),
            _free(300),
        ),
    },
    note="poisson-a is the example of pykan, poisson-b section 3.4 of the KAN paper (arXiv 2404.19756); solutions are "
    "tested on a grid of 101 × 101. [2,10,1] and 4 x 100 are the sizes of the KAN paper; beside them solve takes "
    "up to 10 000 numbers. Solve, variable projection and Chebyshev polynomials choose points of their own, from "
    "the equation. PINNs may be trained by Levenberg–Marquardt, a Gauss-Newton method as is variable projection, "
    "but for that of 4 x 100, whose derivative is too large; settings are chosen at 350 numbers, and with 1400 "
    "there is time for few of its steps only. KANs, splats and physics-informed Gaussians are trained by Adam and "
    "L-BFGS, RBF networks and polynomials solved for. States were judged every fortieth of the time, but those "
    "of PINN, of variable projection and of solve with its own number more densely at first: all others may be "
    "reached sooner by as much than is said. PINN and variable projection ran on another machine of the same kind "
    "than all others, a slower one if anything.",
    pictured=("mahalanobis", "ridge", "solved"),
    claims=("C2", "C6"),
)
