"""Functions that turn a layer into another form of it, or a network into layers and back."""

from gmlayers.convert._blocks import GATED_PATTERNS as GATED_PATTERNS
from gmlayers.convert._blocks import PATTERNS as PATTERNS
from gmlayers.convert._blocks import Block as Block
from gmlayers.convert._blocks import GatedBlock as GatedBlock
from gmlayers.convert._blocks import GatedPattern as GatedPattern
from gmlayers.convert._blocks import Pattern as Pattern
from gmlayers.convert._blocks import block_inputs as block_inputs
from gmlayers.convert._blocks import find_blocks as find_blocks
from gmlayers.convert._coordinates import to_diagonal as to_diagonal
from gmlayers.convert._coordinates import to_full as to_full
from gmlayers.convert._coordinates import to_regression as to_regression
from gmlayers.convert._distill import distill as distill
from gmlayers.convert._fit import Fit as Fit
from gmlayers.convert._fit import Shift as Shift
from gmlayers.convert._fit import mlp_to_gm as mlp_to_gm
from gmlayers.convert._fold import fold as fold
from gmlayers.convert._gated import glu_to_gm as glu_to_gm
from gmlayers.convert._gated import to_layer as to_layer
from gmlayers.convert._record import record as record
from gmlayers.convert._record import swapped_class as swapped_class
from gmlayers.convert._sample import Pointwise as Pointwise
from gmlayers.convert._sample import gm_to_mlp as gm_to_mlp
from gmlayers.convert._sample import sampling_variance as sampling_variance
from gmlayers.convert._sample import width_for as width_for
from gmlayers.convert._swap import Swapped as Swapped
from gmlayers.convert._swap import swap_layers as swap_layers
