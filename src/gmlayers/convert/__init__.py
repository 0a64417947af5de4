"""From one form of a layer to another."""

from gmlayers.convert._coordinates import to_diagonal as to_diagonal
from gmlayers.convert._coordinates import to_full as to_full
from gmlayers.convert._coordinates import to_regression as to_regression
from gmlayers.convert._fold import fold as fold
