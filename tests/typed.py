"""What a type checker makes of the public names: pyright reads this file, and nothing runs it."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

import torch
from torch import Tensor, nn
from typing_extensions import assert_type

import gmlayers
from gmlayers import GMNM, Diagonal, GMLayer, LowRank, parameter_groups
from gmlayers.nn import ParameterGroup, Root


def check() -> None:
    layer = GMLayer(4, 2, 3, covariance=LowRank(rank=2))
    assert_type(layer, GMLayer)
    assert_type(layer.root(), Root)
    assert_type(GMNM(2, 1, 5).gradient(torch.zeros(3, 2)), Tensor)
    assert_type(gmlayers.nn.Diagonal(), Diagonal)
    assert_type(parameter_groups(nn.Linear(1, 1)), list[ParameterGroup])
    assert_type(gmlayers.__version__, str)
    _ = gmlayers.no_such_name  # pyright: ignore[reportAttributeAccessIssue]
    GMLayer("four", 2, 3)  # pyright: ignore[reportArgumentType]
