import pytest
import torch
from torch import nn

from gmlayers import GMLayer, LowRank, SharedFactor, convert
from gmlayers.nn import FoldedGMLayer

FAMILIES = [
    "low_rank",
    "diagonal",
    "regression",
    LowRank(0, "isotropic"),
    LowRank(0, "diagonal"),
    LowRank(3, "diagonal"),
    LowRank(2, "isotropic", coupling=True),
    LowRank(2, "diagonal", coupling=True),
    SharedFactor(),
    SharedFactor(1),
    "full",
]


def shaken(layer):
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(torch.randn_like(p), alpha=0.3)
    return layer


@pytest.mark.parametrize("covariance", FAMILIES, ids=str)
@pytest.mark.parametrize("scaling", ["sqrt", "mean"])
@pytest.mark.parametrize("extras", [True, False])
@pytest.mark.parametrize(("in_features", "K"), [(6, 4), (1, 1), (3, 1)])
def test_same_function(covariance, scaling, extras, in_features, K, dtype):
    layer = shaken(
        GMLayer(
            in_features, 3, K, covariance=covariance, scaling=scaling, bias=extras, learn_weights=extras, dtype=dtype
        )
    )
    folded = convert.fold(layer)
    for rows in [(), (0,), (5,), (2, 3)]:
        x = torch.randn(*rows, in_features, dtype=dtype)
        torch.testing.assert_close(folded(x), layer(x))
    torch.testing.assert_close(
        folded(torch.zeros(2, in_features, dtype=dtype)), layer(torch.zeros(2, in_features, dtype=dtype))
    )


@pytest.mark.parametrize("activation", ["gelu", "erf", "cos"])
def test_activation_is_kept(activation):
    layer = shaken(GMLayer(6, 3, 4, activation=activation))
    x = torch.randn(5, 6)
    torch.testing.assert_close(convert.fold(layer)(x), layer(x))


def test_input_gradients_are_the_layer_s():
    layer = shaken(GMLayer(6, 3, 4, covariance="diagonal", dtype=torch.float64))
    x = torch.randn(5, 6, dtype=torch.float64, requires_grad=True)
    folded = convert.fold(layer)
    found, expected = (torch.func.jacrev(lambda x: f(x).sum(0))(x) for f in (folded, layer))  # noqa: B023
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    layer = GMLayer(6, 3, 4).to(dtype)
    x = torch.randn(5, 6, dtype=dtype)
    torch.testing.assert_close(convert.fold(layer)(x), layer(x), rtol=0.05, atol=0.02)


@pytest.mark.parametrize("covariance", ["low_rank", "diagonal", "shared_factor", "full"])
def test_autocast(covariance):
    layer = shaken(GMLayer(6, 3, 4, covariance=covariance))
    x = torch.randn(5, 6)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(convert.fold(layer)(x), layer(x), rtol=0.05, atol=0.02)


@pytest.mark.parametrize("covariance", [*FAMILIES[:3], SharedFactor(2), "full"], ids=str)
def test_export_takes_any_batch(covariance):
    folded = convert.fold(shaken(GMLayer(6, 3, 4, covariance=covariance)))
    program = torch.export.export(
        folded, (torch.randn(5, 6),), dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=4096)},)
    )
    x = torch.randn(9, 6)
    torch.testing.assert_close(program.module()(x), folded(x))


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("covariance", ["low_rank", "diagonal", "shared_factor", "full"])
def test_half_precision_and_back(half, covariance):
    folded = convert.fold(shaken(GMLayer(6, 3, 4, covariance=covariance)))
    x = torch.randn(5, 6)
    expected = folded(x)
    for dtype in (half, torch.float32):
        folded.to(dtype)
        torch.testing.assert_close(folded(x.to(dtype)).float(), expected, rtol=0.05, atol=0.1)
        assert folded(torch.zeros(2, 6, dtype=dtype)).isfinite().all()


def test_meta_device():
    source = convert.fold(shaken(GMLayer(6, 3, 4)))
    folded = convert.fold(GMLayer(6, 3, 4, device="meta")).to_empty(device="cpu")
    folded.load_state_dict(source.state_dict())
    x = torch.randn(5, 6)
    assert torch.equal(folded(x), source(x))


def test_what_would_be_lost_is_refused():
    class Mine(GMLayer):
        pass

    with pytest.raises(ValueError, match="fold: Mine may do more than GMLayer"):
        convert.fold(nn.Sequential(Mine(6, 3, 4)))
    layer = GMLayer(6, 3, 4)
    handle = layer.register_forward_hook(lambda module, args, output: 2 * output)
    with pytest.raises(ValueError, match="fold: the layer has forward hooks"):
        convert.fold(layer)
    handle.remove()
    nn.utils.parametrizations.weight_norm(layer, "mean")
    x = torch.randn(5, 6)
    torch.testing.assert_close(convert.fold(layer)(x), layer(x))


def test_model_with_layers_inside():
    shared = GMLayer(4, 4, 3)
    inner = nn.Sequential(GMLayer(5, 4, 3), shared)
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 5), inner, shared, GMLayer(4, 2, 3)).train()
    folded = convert.fold(model)
    x = torch.randn(7, 6)
    torch.testing.assert_close(folded(x), model(x))
    assert folded[2][1] is folded[3]
    assert not folded.training
    assert model.training
    assert not any(isinstance(m, GMLayer) for m in folded.modules())
    assert sum(isinstance(m, FoldedGMLayer) for m in folded.modules()) == 3
    assert [n for n, _ in folded.named_parameters()] == ["1.weight", "1.bias"]


def test_the_copy_is_independent():
    layer = GMLayer(6, 3, 4)
    folded = convert.fold(layer)
    x = torch.randn(5, 6)
    before = folded(x)
    with torch.no_grad():
        for p in layer.parameters():
            p.zero_()
    assert torch.equal(folded(x), before)


def test_state_dict_round_trip():
    one, other = (convert.fold(shaken(GMLayer(6, 3, 4, covariance="diagonal"))) for _ in range(2))
    other.load_state_dict(one.state_dict())
    x = torch.randn(5, 6)
    assert torch.equal(one(x), other(x))


def test_refusals():
    folded = convert.fold(GMLayer(6, 3, 4))
    with pytest.raises(ValueError, match=r"FoldedGMLayer: expected an input of shape \(..., 6\), got \(5, 7\)"):
        folded(torch.randn(5, 7))
    assert "6, 3, 4, rank=1, base='isotropic'" in repr(folded)
