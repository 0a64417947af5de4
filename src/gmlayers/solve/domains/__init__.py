"""Domains: where an equation holds, with points inside and on the boundary."""

from gmlayers.solve.domains.base import Corner as Corner
from gmlayers.solve.domains.base import Domain as Domain
from gmlayers.solve.domains.base import Points as Points
from gmlayers.solve.domains.combined import Difference as Difference
from gmlayers.solve.domains.combined import Union as Union
from gmlayers.solve.domains.implicit import Implicit as Implicit
from gmlayers.solve.domains.points import Marked as Marked
from gmlayers.solve.domains.points import PointCloud as PointCloud
from gmlayers.solve.domains.shapes import Ball as Ball
from gmlayers.solve.domains.shapes import Box as Box
from gmlayers.solve.domains.shapes import Polygon as Polygon
from gmlayers.solve.domains.shapes import l_shape as l_shape
from gmlayers.solve.domains.space_time import SpaceTime as SpaceTime
