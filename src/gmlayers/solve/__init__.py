"""Fits that use structure: output weights by linear least squares, shapes by variable projection."""

from gmlayers.solve._domain import Ball as Ball
from gmlayers.solve._domain import Box as Box
from gmlayers.solve._domain import Difference as Difference
from gmlayers.solve._domain import Domain as Domain
from gmlayers.solve._domain import Implicit as Implicit
from gmlayers.solve._domain import PointCloud as PointCloud
from gmlayers.solve._domain import Points as Points
from gmlayers.solve._domain import Polygon as Polygon
from gmlayers.solve._domain import SpaceTime as SpaceTime
from gmlayers.solve._domain import Union as Union
from gmlayers.solve._domain import l_shape as l_shape
from gmlayers.solve._fit import assign as assign
from gmlayers.solve._fit import fit as fit
from gmlayers.solve._least_squares import LeastSquares as LeastSquares
from gmlayers.solve._least_squares import Rows as Rows
from gmlayers.solve._least_squares import least_squares as least_squares
from gmlayers.solve._variable_projection import VariableProjection as VariableProjection
from gmlayers.solve._variable_projection import variable_projection as variable_projection
