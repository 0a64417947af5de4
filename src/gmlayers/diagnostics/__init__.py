"""Measures of what training does to a layer.

They tell how far its mixture moved, how its components differ, and whether training was lazy.

Quantities are computed in float64 and returned in the dtype of what was given. None of them is meant to be
differentiated.
"""

from typing import TYPE_CHECKING

from gmlayers._names import renamed as _renamed
from gmlayers.diagnostics._components import Clustering as Clustering
from gmlayers.diagnostics._components import clustering as clustering
from gmlayers.diagnostics._components import effective_components as effective_components
from gmlayers.diagnostics._distance import component_displacements as component_displacements
from gmlayers.diagnostics._distance import displacement as displacement
from gmlayers.diagnostics._distance import transport as transport
from gmlayers.diagnostics._mixture import NeuronMixture as NeuronMixture
from gmlayers.diagnostics._mixture import log_determinants as log_determinants
from gmlayers.diagnostics._mixture import marginal as marginal
from gmlayers.diagnostics._mixture import neurons as neurons
from gmlayers.diagnostics._models import KernelDrift as KernelDrift
from gmlayers.diagnostics._models import function_distance as function_distance
from gmlayers.diagnostics._models import kernel_drift as kernel_drift
from gmlayers.diagnostics._models import tangent_kernel as tangent_kernel
from gmlayers.diagnostics._principal import PrincipalComponents as PrincipalComponents
from gmlayers.diagnostics._principal import Projection as Projection
from gmlayers.diagnostics._principal import principal_components as principal_components
from gmlayers.diagnostics._principal import project as project

if not TYPE_CHECKING:
    __getattr__ = _renamed(__name__, {"Mixture": ("NeuronMixture", NeuronMixture)})
