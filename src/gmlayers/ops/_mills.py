r"""Coefficients for the lower tail of the standard normal, in float32 and without a branch.

With φ the density, Z standard normal and u ≥ 0, three ratios say all about the tail:

.. math::
    M(u) = \frac{\mathbb P(Z > u)}{\varphi(u)},\qquad
    R(u) = \frac{\mathbb E(Z - u)_+}{\varphi(u)} = 1 - uM,\qquad
    S(u) = \frac{\mathbb E(Z - u)_+^2}{\varphi(u)} = M - uR.

M is the Mills ratio, :math:`\sqrt{\pi/2}\,\mathrm{erfcx}(u/\sqrt2)`. They fall like 1/u, 1/u² and 2/u³, so in terms of
:math:`y = 1/(1 + u/c)`, which maps [0, ∞) to (0, 1], M/y and S/y³ are smooth up to the end y = 0. Each has a
polynomial here:

.. math:: M(u) \approx y \sum_j p_j y^j \quad\text{and, with another c,}\quad S(u) \approx y^3 \sum_j q_j y^j.

M alone gives :math:`\Phi(-u) = \varphi M` and :math:`\rho(-u) = \varphi\,(1 - uM)`; in the difference an error of M
counts u² times. S gives all three by sums of positive numbers, except for 1 - uS ≥ 0.67, which is as good:

.. math:: M = (u + S)/(1 + u^2), \qquad R = (1 - uS)/(1 + u^2).

The polynomials are least-squares fits in Chebyshev polynomials of y on 300 Chebyshev nodes, to values of 40 digits, of
the smallest relative error; Lawson's reweighting (multiply each weight by the error at its node, fit again) makes them
nearly minimax. M is fitted on all of [0, ∞), S on [0, 15], beyond which :math:`\varphi(u)` is 0 in float32. Largest
relative errors as evaluated, those of R and S up to u = 13:

========================  =======  =======  =======
from which, evaluated in  M        R        S
========================  =======  =======  =======
M, float64                3e-8     4e-6
M, float32                4e-7     4e-5
S, float64                9e-8     5e-8     9e-8
S, float32                5e-7     4e-7     7e-7
========================  =======  =======  =======
"""

from __future__ import annotations

MILLS_SHIFT = 4.0
"""This is the c of y = 1/(1 + u/c) for M."""

MILLS_COEFFICIENTS = (
    0.249999994,
    0.250001616,
    0.234306647,
    0.204232172,
    0.150189244,
    0.149685865,
    -0.0540803357,
    0.199949819,
    -0.16563392,
    0.0305316451,
    0.00413142163,
)
"""These are p_0 to p_10 of M(u) = y Σ p_j y^j."""

SECOND_SHIFT = 3.5
"""This is the c of y = 1/(1 + u/c) for S."""

SECOND_COEFFICIENTS = (
    0.0467064495,
    0.138167369,
    0.279730014,
    0.188971547,
    1.10122379,
    -1.8309554,
    4.00640877,
    -4.55705593,
    2.33474409,
    -0.454626662,
)
"""These are q_0 to q_9 of S(u) = y³ Σ q_j y^j."""
