"""A driven drum

Helmholtz's equation on a disc, with a source. Beside the solution stands what it leaves of the equation.
"""

import torch

from gmlayers import plot, solve

u = solve.unknown(2)
drum = solve.Problem(
    solve.Ball((0, 0), 1),
    solve.laplacian(u) + 100 * u == (lambda x: torch.exp(-20 * (x - 0.3).square().sum(1))),
    {"boundary": u == 0},
)
plot.solution(solve.solve(drum, tolerance=1e-6))
