"""The mathematics: pure functions of tensors, differentiable to any order, without state."""

from gmlayers.functional import activations as activations
from gmlayers.functional import attention as attention
from gmlayers.functional import bures as bures
from gmlayers.functional import gmnm as gmnm
from gmlayers.functional import normal as normal
from gmlayers.functional import quadrature as quadrature
from gmlayers.functional.activations import ACTIVATIONS as ACTIVATIONS
from gmlayers.functional.activations import Activation as Activation
from gmlayers.functional.activations import get_activation as get_activation
from gmlayers.functional.gm import VARIANCE_FLOOR as VARIANCE_FLOOR
from gmlayers.functional.gm import gm_layer as gm_layer
