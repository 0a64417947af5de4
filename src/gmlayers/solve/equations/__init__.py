"""Equations: expressions in an unknown function, problems that are made of them, and what they ask for at points."""

from gmlayers.solve.equations.expression import Equation as Equation
from gmlayers.solve.equations.expression import Expression as Expression
from gmlayers.solve.equations.expression import dot as dot
from gmlayers.solve.equations.expression import dt as dt
from gmlayers.solve.equations.expression import grad as grad
from gmlayers.solve.equations.expression import laplacian as laplacian
from gmlayers.solve.equations.expression import normal_derivative as normal_derivative
from gmlayers.solve.equations.expression import unknown as unknown
from gmlayers.solve.equations.problem import EQUATION as EQUATION
from gmlayers.solve.equations.problem import Problem as Problem
from gmlayers.solve.equations.rows import apply as apply
from gmlayers.solve.equations.rows import coefficients as coefficients
from gmlayers.solve.equations.rows import values as values
