import sys
import weakref

import pytest
import torch

from gmlayers import ops
from gmlayers.ops import _fused


@pytest.mark.parametrize(
    "values",
    [
        lambda t: ops.gate(t, t.square() + 1),
        lambda t: ops.bumps(t, t, t[:, None, :]),
        lambda t: ops.bumps_laplacian(t, t, t[:, None, :]),
        lambda t: ops.mix(t, t[:, None, :], t),
    ],
    ids=["gate", "bumps", "bumps_laplacian", "mix"],
)
def test_a_graph_that_is_dropped_is_freed(values, monkeypatch):
    calls = []

    def run(call, *tensors):
        calls.append(weakref.ref(call))
        return original(call, *tensors)

    original = _fused.run
    for op in (ops.gate, ops.mix, ops.bumps):
        monkeypatch.setattr(sys.modules[op.__module__], "run", run)
    values(torch.rand(4, 4, requires_grad=True))
    assert calls
    assert calls[0]() is None  # held by the node, which nothing may hold but the values
