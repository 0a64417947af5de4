"""Results fit on a screen, whatever is in them."""

import inspect
from dataclasses import is_dataclass
from importlib import import_module

import pytest
import torch
from torch import nn

from gmlayers import GMLayer, convert, diagnostics, flows, functional
from gmlayers._shown import shown
from gmlayers.flows import transport
from gmlayers.functional import bures, get_activation

LARGE = 400


def results():
    """Return a large result of every type outside of ``solve``."""
    torch.manual_seed(0)
    layer = GMLayer(LARGE, 10, 40)
    mixture = diagnostics.marginal(layer)
    axes = diagnostics.principal_components(diagnostics.neurons(torch.randn(50, LARGE)), 40)
    roots = flows.Roots(torch.randn(30, 6), torch.randn(30, 6, 6))
    covariances = flows.Covariances(roots.mean, roots.cov)
    model = nn.Sequential(*(part for _ in range(12) for part in (nn.Linear(9, 30), nn.ReLU(), nn.Linear(30, 9))))
    blocks = convert.find_blocks(model)
    quadratic = flows.Quadratic(torch.eye(6), torch.zeros(6))
    return [
        layer.root(),
        layer.covariance.law(layer.family_parameters()),
        bures.Gaussian(torch.randn(LARGE), torch.eye(LARGE)),
        functional.gmnm.Derivatives(*(torch.randn(LARGE, 3) for _ in range(3))),
        convert.mlp_to_gm(nn.Linear(9, 60), nn.Linear(60, 3), 8),
        blocks[0],
        blocks[0].slots[0],
        convert.GatedBlock(
            "mlp", nn.Linear(9, 30), nn.Linear(9, 30), get_activation("silu"), nn.Linear(30, 9), 0.1, ()
        ),
        convert.swap_layers(model, lambda b: GMLayer.matching(b.first, b.second)),
        mixture,
        diagnostics.clustering(mixture),
        axes,
        diagnostics.project(diagnostics.neurons(torch.randn(50, LARGE)), axes),
        diagnostics.KernelDrift(torch.rand(()), torch.rand(())),
        transport.Transport(torch.rand(()), torch.rand(60, 60)),
        flows.hermite_nodes(6, 4),
        roots,
        covariances,
        flows.Gradient(torch.zeros(30, 6), torch.zeros(30, 6, 6), torch.zeros(30)),
        flows.velocity(quadratic, roots),
        flows.Moment(0.25, 1.5, covariances),
        flows.NodeError(torch.rand(30), torch.rand(30)),
    ]


@pytest.fixture(scope="module")
def made():
    return results()


def test_results_fit_in_ten_lines(made):
    for result in made:
        lines = repr(result).splitlines()
        assert len(lines) <= 10, repr(result)
        assert max(map(len, lines)) <= 150, repr(result)
        assert type(result).__name__ in lines[0]


def test_all_types_of_results_are_here(made):
    """Public named tuples and dataclasses that hold tensors or modules; settings are no results."""
    settings = {"Activation", "Pattern", "GatedPattern", "Rates", *(name for name in import_module("gmlayers").__all__)}
    modules = (  # flows.optim and ops have none
        "functional",
        "functional.bures",
        "functional.gmnm",
        "nn",
        "convert",
        "flows",
        "flows.transport",
        "diagnostics",
    )
    there = {
        thing
        for name in modules
        for thing in vars(import_module(f"gmlayers.{name}")).values()
        if inspect.isclass(thing) and thing.__module__.startswith("gmlayers.")
        if (issubclass(thing, tuple) or is_dataclass(thing)) and thing.__name__ not in settings
    }
    assert there <= {type(result) for result in made}


def test_numbers_have_four_digits_and_large_tensors_their_shape():
    values = {"a": 1 / 3, "b": torch.tensor([[1.0, 2.5]]), "c": torch.zeros(7, 2), "d": "x" * 500, "e": (1, 2, 3)}
    text = shown("Result", values)
    assert " ".join(text.split()).startswith("Result(a=0.3333, b=[[1, 2.5]], c=tensor of (7, 2), d='xxx")
    assert text.endswith("…,\n    e=(1, 2, … 3 in all))")
