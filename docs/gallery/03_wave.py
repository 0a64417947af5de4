"""A string in motion

The wave equation in space and time is one problem. A film shows its answer.
"""

from gmlayers import plot, solve

answer = solve.solve(solve.problems.wave().problem, tolerance=1e-6)
film = plot.animation(answer, frames=30)
