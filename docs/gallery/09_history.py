"""How the error fell

Sets of bumps grow until the estimated error is below the tolerance.
"""

from gmlayers import plot, solve

plot.history(solve.solve(solve.problems.poisson_b().problem, tolerance=1e-10))
