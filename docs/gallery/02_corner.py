"""A re-entrant corner

The L-shape, whose solution has an infinite gradient in the corner. Bumps are graded towards it.
"""

from gmlayers import plot, solve

plot.solution(solve.solve(solve.problems.poisson_l().problem, tolerance=1e-4))
