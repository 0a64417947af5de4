"""Soft mixture of linear maps: y = Σ_k gate_k W_k x."""

from gmlayers.ops.mix._op import MIX as MIX
from gmlayers.ops.mix._op import Arguments as Arguments
from gmlayers.ops.mix._op import mix as mix
