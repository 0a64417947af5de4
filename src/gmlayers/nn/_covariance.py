"""Whole modules that version 0.2 has pickled name their families by this module."""

from gmlayers.nn.covariance import Diagonal as Diagonal
from gmlayers.nn.covariance import Full as Full
from gmlayers.nn.covariance import LowRank as LowRank
from gmlayers.nn.covariance import Regression as Regression
from gmlayers.nn.covariance import SharedFactor as SharedFactor
