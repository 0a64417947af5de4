"""What a type checker makes of the public names: pyright reads this file, and nothing runs it."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

import torch
from torch import Tensor, nn
from typing_extensions import assert_type

import gmlayers
from gmlayers import GMNM, PAPER_RATES, Diagonal, GMLayer, LowRank, Mahalanobis, parameter_groups
from gmlayers.flows import optim
from gmlayers.nn import ParameterGroup, Root


def check() -> None:
    layer = GMLayer(4, 2, 3, covariance=LowRank(rank=2))
    assert_type(layer, GMLayer)
    assert_type(layer.root(), Root)
    assert_type(GMNM(2, 1, 5, form=Mahalanobis(1)).gradient(torch.zeros(3, 2)), Tensor)
    assert_type(gmlayers.nn.Diagonal(), Diagonal)
    assert_type(parameter_groups(nn.Linear(1, 1)), list[ParameterGroup])
    torch.optim.SGD(parameter_groups(layer, *PAPER_RATES))
    torch.optim.SGD(optim.component_groups(layer, lr=0.1))
    optim.WassersteinSGD(optim.layer_groups(layer))
    assert_type(PAPER_RATES.std_lr, float)
    assert_type(gmlayers.__version__, str)
    _ = gmlayers.no_such_name  # pyright: ignore[reportAttributeAccessIssue]
    GMLayer("four", 2, 3)  # pyright: ignore[reportArgumentType]
