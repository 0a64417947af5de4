from gmlayers import convert as convert
from gmlayers import diagnostics as diagnostics
from gmlayers import flows as flows
from gmlayers import functional as functional
from gmlayers import nn as nn
from gmlayers import ops as ops
from gmlayers import plot as plot
from gmlayers import solve as solve
from gmlayers.nn import GMLSTM as GMLSTM
from gmlayers.nn import GMNM as GMNM
from gmlayers.nn import GMNMGRU as GMNMGRU
from gmlayers.nn import GMNMLSTM as GMNMLSTM
from gmlayers.nn import PAPER_RATES as PAPER_RATES
from gmlayers.nn import AxisAligned as AxisAligned
from gmlayers.nn import Diagonal as Diagonal
from gmlayers.nn import Full as Full
from gmlayers.nn import GMConv1d as GMConv1d
from gmlayers.nn import GMConv2d as GMConv2d
from gmlayers.nn import GMFeedForward as GMFeedForward
from gmlayers.nn import GMLayer as GMLayer
from gmlayers.nn import GMNMAttention as GMNMAttention
from gmlayers.nn import GMNMConv2d as GMNMConv2d
from gmlayers.nn import GMNMFeedForward as GMNMFeedForward
from gmlayers.nn import LowRank as LowRank
from gmlayers.nn import Mahalanobis as Mahalanobis
from gmlayers.nn import MixtureHead as MixtureHead
from gmlayers.nn import Regression as Regression
from gmlayers.nn import Ridge as Ridge
from gmlayers.nn import SharedFactor as SharedFactor
from gmlayers.nn import parameter_groups as parameter_groups

__all__ = [
    "GMLSTM",
    "GMNM",
    "GMNMGRU",
    "GMNMLSTM",
    "PAPER_RATES",
    "AxisAligned",
    "Diagonal",
    "Full",
    "GMConv1d",
    "GMConv2d",
    "GMFeedForward",
    "GMLayer",
    "GMNMAttention",
    "GMNMConv2d",
    "GMNMFeedForward",
    "LowRank",
    "Mahalanobis",
    "MixtureHead",
    "Regression",
    "Ridge",
    "SharedFactor",
    "convert",
    "diagnostics",
    "flows",
    "functional",
    "ops",
    "parameter_groups",
    "plot",
    "solve",
]

__version__: str
