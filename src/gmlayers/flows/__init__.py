r"""Gradient flows of functionals over Gaussian mixtures, in the geometry of optimal transport."""

from gmlayers.flows import optim as optim
from gmlayers.flows import transport as transport
from gmlayers.flows._functionals import Divergence as Divergence
from gmlayers.flows._functionals import Functional as Functional
from gmlayers.flows._functionals import KernelDiscrepancy as KernelDiscrepancy
from gmlayers.flows._functionals import Nodes as Nodes
from gmlayers.flows._functionals import Quadratic as Quadratic
from gmlayers.flows._functionals import QuadraticInteraction as QuadraticInteraction
from gmlayers.flows._functionals import Regularised as Regularised
from gmlayers.flows._functionals import Supervised as Supervised
from gmlayers.flows._functionals import hermite_nodes as hermite_nodes
from gmlayers.flows._functionals import log_density as log_density
from gmlayers.flows._functionals import random_nodes as random_nodes
from gmlayers.flows._integrators import Method as Method
from gmlayers.flows._integrators import Moment as Moment
from gmlayers.flows._integrators import euler as euler
from gmlayers.flows._integrators import flow as flow
from gmlayers.flows._integrators import forward_backward as forward_backward
from gmlayers.flows._integrators import gradient as gradient
from gmlayers.flows._integrators import rk4 as rk4
from gmlayers.flows._integrators import velocity as velocity
from gmlayers.flows._mixture import Covariances as Covariances
from gmlayers.flows._mixture import Gradient as Gradient
from gmlayers.flows._mixture import Mixture as Mixture
from gmlayers.flows._mixture import Roots as Roots
from gmlayers.flows._mixture import Velocity as Velocity
