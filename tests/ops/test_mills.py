import math

import numpy as np
import pytest
from scipy.special import erfcx

from gmlayers.ops._mills import MILLS_COEFFICIENTS, MILLS_SHIFT, SECOND_COEFFICIENTS, SECOND_SHIFT

EVERYWHERE = np.concatenate([np.linspace(0, 15, 20_001), np.geomspace(15, 1e6, 2001)]).astype(np.float32)
IN_SIGHT = EVERYWHERE[EVERYWHERE <= 13]  # where the density is a normal number in float32


def mills(u):
    return math.sqrt(math.pi / 2) * erfcx(np.float64(u) / math.sqrt(2))


def continued_fraction(n, u):
    """Return the ratio of E(Z - u)_+^n to E(Z - u)_+^(n-1): n/(u + (n+1)/(u + (n+2)/(u + ...))), without cancelling."""
    u = np.maximum(np.float64(u), 0.5)
    value = u
    for k in range(n + 400, n, -1):
        value = u + k / value
    return n / value


def mean_excess(u):
    """Return R = 1 - uM to 1e-12: the difference where little cancels."""
    m = mills(u)
    return np.where(u < 1, 1 - u * m, m * continued_fraction(1, u))


def square_excess(u):
    """Return S = M - uR likewise."""
    m, r = mills(u), mean_excess(u)
    return np.where(u < 1, m - u * r, r * continued_fraction(2, u))


def polynomial(coefficients, shift, u, dtype):
    """Return y and its polynomial, in Horner's order, every operation rounded to dtype."""
    y = dtype(1) / (dtype(1) + u.astype(dtype) / dtype(shift))
    value = np.full_like(y, coefficients[-1])
    for p in reversed(coefficients[:-1]):
        value = value * y + dtype(p)
    return y, value


def error(value, true):
    return np.abs(value / true - 1).max()


@pytest.mark.parametrize(
    ("dtype", "of_mills", "of_mean"), [(np.float64, 1e-7, 1e-5), (np.float32, 5e-7, 4e-5)], ids=["float64", "float32"]
)
def test_mills_ratio(dtype, of_mills, of_mean):
    y, value = polynomial(MILLS_COEFFICIENTS, MILLS_SHIFT, EVERYWHERE, dtype)
    assert error(y * value, mills(EVERYWHERE)) <= of_mills

    y, value = polynomial(MILLS_COEFFICIENTS, MILLS_SHIFT, IN_SIGHT, dtype)
    assert error(dtype(1) - IN_SIGHT.astype(dtype) * (y * value), mean_excess(IN_SIGHT)) <= of_mean


@pytest.mark.parametrize(("dtype", "most"), [(np.float64, 1e-7), (np.float32, 1e-6)], ids=["float64", "float32"])
def test_three_ratios_from_the_second(dtype, most):
    u = EVERYWHERE.astype(dtype)
    y, value = polynomial(SECOND_COEFFICIENTS, SECOND_SHIFT, EVERYWHERE, dtype)
    s, unit = y * y * y * value, dtype(1) + u * u
    seen = EVERYWHERE <= 13
    assert error((u + s) / unit, mills(EVERYWHERE)) <= most
    assert error(((dtype(1) - u * s) / unit)[seen], mean_excess(EVERYWHERE)[seen]) <= most
    assert error(s[seen], square_excess(EVERYWHERE)[seen]) <= most


@pytest.mark.parametrize("u", [0.0, 0.9, 1.0, 3.0, 13.0])
def test_the_oracle(u):
    """The continued fractions against mpmath's integrals."""
    mpmath = pytest.importorskip("mpmath")

    def moment(n):
        return mpmath.quad(lambda z: z**n * mpmath.exp(-u * z - z * z / 2), [0, 1, 4, mpmath.inf])

    assert float(moment(0)) == pytest.approx(float(mills(u)), rel=1e-12)
    assert float(moment(1)) == pytest.approx(float(mean_excess(np.float64(u))), rel=1e-11)
    assert float(moment(2)) == pytest.approx(float(square_excess(np.float64(u))), rel=1e-10)
