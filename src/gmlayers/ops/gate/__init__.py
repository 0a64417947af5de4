"""Gaussian expectations of an activation and its slope, and their derivatives, in one pass."""

from gmlayers.ops.gate._op import GATE as GATE
from gmlayers.ops.gate._op import Arguments as Arguments
from gmlayers.ops.gate._op import gate as gate
