"""The methods of the studies, each with the settings among which the best is looked for."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace

from gmlayers_studies.approximators.chebyshev import Polynomials
from gmlayers_studies.approximators.gaussians import PhysicsInformedGaussians, RadialBasis, Splatted
from gmlayers_studies.approximators.gmnm import Collocated, GMNMByGradient, Solve, VariableProjection
from gmlayers_studies.approximators.kan import KolmogorovArnold
from gmlayers_studies.approximators.mlp import Activation, Batched, FullyConnected, LevenbergMarquardt, Thinned
from gmlayers_studies.approximators.tasks import Approximator


def _rates(method: Splatted | GMNMByGradient) -> tuple[Approximator, ...]:
    """Return the method with three rates of Adam."""
    return tuple(replace(method, rate=rate) for rate in (1e-2, 3e-3, 3e-2))


def _mlps(activation: Activation) -> tuple[Approximator, ...]:
    """Return two depths, each by L-BFGS after some Adam and by Adam alone, which comes first where there are kinks."""
    pairs = itertools.product((0.2, 1.0) if activation == "tanh" else (1.0, 0.2), (2, 1))
    return tuple(FullyConnected(activation, depth, adam=adam) for adam, depth in pairs)


_KANS = tuple(KolmogorovArnold(hidden) for hidden in ((2,), (5,), (2, 2), (5, 5)))
_RBFS = tuple(RadialBasis(width) for width in (2.0, 1.0, 3.0, 5.0))
_WIDENED = (0.5, 1.0, 2.0, 4.0)
_SHARES = (1.0, 0.1, 0.01)

REGRESSION: Mapping[str, tuple[Approximator, ...]] = {
    "GMNM mahalanobis, variable projection": tuple(VariableProjection("mahalanobis", w) for w in _WIDENED),
    "GMNM ridge, variable projection": tuple(VariableProjection("ridge", w) for w in _WIDENED),
    "GMNM mahalanobis, gradients": (
        *_rates(GMNMByGradient("mahalanobis")),
        GMNMByGradient("mahalanobis", adam=0.2),
    ),
    "GMNM ridge, gradients": (*_rates(GMNMByGradient("ridge")), GMNMByGradient("ridge", adam=0.2)),
    "tanh MLP": (*_mlps("tanh"), LevenbergMarquardt()),
    "ReLU MLP": _mlps("relu"),
    "KAN": _KANS,
    "RBF network": _RBFS,
    "splats": (*_rates(Splatted()), Splatted(adam=0.2)),
    "Chebyshev": tuple(Polynomials(total, ratio) for ratio, total in itertools.product((2.0, 8.0), (True, False))),
}
"""The table has the methods for functions; the best of the settings of each is looked for."""

POISSON: Mapping[str, tuple[Approximator, ...]] = {
    "GMNM, solve": (Solve(),),
    "GMNM mahalanobis, variable projection": tuple(Collocated("mahalanobis", share) for share in _SHARES),
    "GMNM ridge, variable projection": tuple(Collocated("ridge", share) for share in _SHARES),
    "GMNM mahalanobis, L-BFGS": _rates(GMNMByGradient("mahalanobis", adam=0.1)),
    "GMNM ridge, L-BFGS": _rates(GMNMByGradient("ridge", adam=0.1)),
    "PINN": (
        *(FullyConnected(depth=depth, rate=rate, adam=0.1) for depth, rate in itertools.product((2, 3), (1e-2, 1e-3))),
        *(Thinned(depth, points) for depth, points in itertools.product((2, 3), (4.0, 2.0))),
    ),
    "KAN": tuple(replace(kan, uniform=True) for kan in _KANS),
    "RBF network": _RBFS,
    "splats": (*_rates(Splatted()), Splatted(adam=0.1)),
    "physics-informed Gaussians": tuple(PhysicsInformedGaussians(features) for features in (4, 2, 8)),
    "Chebyshev": (Polynomials(),),
    "KAN [2,10,1]": tuple(KolmogorovArnold((10,), grid=grid, uniform=True) for grid in (20, 5)),
    "PINN 4 x 100": (
        *(
            FullyConnected(depth=4, width=100, rate=rate, adam=adam)
            for rate, adam in ((1e-3, 0.2), (1e-3, 1.0), (1e-2, 0.2))
        ),
        *(Batched(depth=4, width=100, rate=3e-3, adam=adam) for adam in (1.0, 0.8)),
    ),
}
"""The table has the methods for equations; the last two have the size that their authors gave them, whatever the
budget."""
