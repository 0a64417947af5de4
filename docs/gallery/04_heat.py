"""Heat in space and time

Time is the last coordinate, and upwards in the picture.
"""

from gmlayers import plot, solve

plot.solution(solve.solve(solve.problems.heat().problem, tolerance=1e-8))
