"""The few fused operations, and the choice among their implementations; the only place that knows devices."""

from gmlayers.ops._dispatch import use as use
from gmlayers.ops._explain import explain as explain
from gmlayers.ops.bumps import bumps as bumps
from gmlayers.ops.bumps import bumps_laplacian as bumps_laplacian
from gmlayers.ops.gate import gate as gate
from gmlayers.ops.mix import mix as mix
