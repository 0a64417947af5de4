"""Layers: thin modules over :mod:`gmlayers.functional`."""

from gmlayers.nn._attention import GMNMAttention as GMNMAttention
from gmlayers.nn._attention import KeyValueCache as KeyValueCache
from gmlayers.nn._conv import GMConv1d as GMConv1d
from gmlayers.nn._conv import GMConv2d as GMConv2d
from gmlayers.nn._conv import GMNMConv2d as GMNMConv2d
from gmlayers.nn._feed_forward import GMFeedForward as GMFeedForward
from gmlayers.nn._feed_forward import GMNMFeedForward as GMNMFeedForward
from gmlayers.nn._folded import FoldedGMLayer as FoldedGMLayer
from gmlayers.nn._form import AxisAligned as AxisAligned
from gmlayers.nn._form import Form as Form
from gmlayers.nn._form import Mahalanobis as Mahalanobis
from gmlayers.nn._form import Ridge as Ridge
from gmlayers.nn._gm_layer import GMLayer as GMLayer
from gmlayers.nn._gmnm import GMNM as GMNM
from gmlayers.nn._parameter_groups import PAPER_RATES as PAPER_RATES
from gmlayers.nn._parameter_groups import ParameterGroup as ParameterGroup
from gmlayers.nn._parameter_groups import Rates as Rates
from gmlayers.nn._parameter_groups import parameter_groups as parameter_groups
from gmlayers.nn.covariance import Covariance as Covariance
from gmlayers.nn.covariance import Diagonal as Diagonal
from gmlayers.nn.covariance import Full as Full
from gmlayers.nn.covariance import Law as Law
from gmlayers.nn.covariance import LowRank as LowRank
from gmlayers.nn.covariance import Regression as Regression
from gmlayers.nn.covariance import Root as Root
from gmlayers.nn.covariance import SharedFactor as SharedFactor
