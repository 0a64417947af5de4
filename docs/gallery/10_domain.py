"""A domain and its parts

Shapes are put together by | and −. Conditions refer to the parts of the boundary by their names.
"""

from gmlayers import plot, solve

plot.domain(solve.Box((0, 0), (2, 1)) - solve.Ball((0.6, 0.5), 0.25))
