"""Fits that use structure: output weights by linear least squares, shapes by variable projection."""

from gmlayers.solve._fit import assign as assign
from gmlayers.solve._fit import fit as fit
from gmlayers.solve._least_squares import LeastSquares as LeastSquares
from gmlayers.solve._least_squares import Rows as Rows
from gmlayers.solve._least_squares import least_squares as least_squares
from gmlayers.solve._variable_projection import VariableProjection as VariableProjection
from gmlayers.solve._variable_projection import variable_projection as variable_projection
