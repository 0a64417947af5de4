"""The engine: rows of problems and data, least squares for weights and shapes, sets of bumps and their quality."""

from gmlayers.solve.engine.collocation import Collocation as Collocation
from gmlayers.solve.engine.derivatives import rows as rows
from gmlayers.solve.engine.least_squares import least_squares as least_squares
