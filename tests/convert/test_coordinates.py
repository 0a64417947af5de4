import pytest
import torch

from gmlayers import GMLayer, convert


@pytest.fixture
def paper():
    layer = GMLayer.paper(6, 3, 4, dtype=torch.float64)
    with torch.no_grad():
        layer.std.copy_(torch.randn(4, 6))
    return layer


def test_paper_to_diagonal_and_back(paper):
    x = torch.randn(7, 6, dtype=torch.float64)
    joint = convert.to_diagonal(paper)
    back = convert.to_regression(joint)
    torch.testing.assert_close(joint(x), paper(x), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(back(x), paper(x), rtol=1e-12, atol=1e-14)
    for (name, a), (_, b) in zip(back.named_parameters(), paper.named_parameters()):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13, msg=name)
    assert (joint.scaling, joint.bias) == ("mean", None)


def test_diagonal_to_regression_keeps_every_option():
    layer = GMLayer(6, 3, 4, covariance="diagonal", activation="gelu", learn_weights=True, dtype=torch.float64)
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(torch.randn_like(p))
    other = convert.to_regression(layer)
    x = torch.randn(7, 6, dtype=torch.float64)
    torch.testing.assert_close(other(x), layer(x), rtol=1e-11, atol=1e-12)
    assert other.activation is layer.activation
    assert other.weight_logits is not None


def test_without_noise_the_slope_is_zero_and_the_function_kept():
    layer = GMLayer(6, 3, 4, covariance="diagonal", dtype=torch.float64)
    with torch.no_grad():
        layer.std[:, ::2] = 0
    other = convert.to_regression(layer)
    x = torch.randn(7, 6, dtype=torch.float64)
    torch.testing.assert_close(other(x), layer(x), rtol=1e-12, atol=1e-13)
    slope = dict(other.named_parameters())["slope"]
    assert (slope[..., ::2] == 0).all()
    assert slope.isfinite().all()


def test_a_std_that_is_next_to_nothing_gives_no_infinity():
    layer = GMLayer(6, 3, 4, covariance="diagonal")
    with torch.no_grad():
        layer.std[:, ::2] = 1e-40
    other = convert.to_regression(layer)
    x = torch.randn(7, 6)
    torch.testing.assert_close(other(x), layer(x), rtol=1e-4, atol=1e-5)


def test_conversion_draws_nothing_and_keeps_the_mode(paper):
    paper.eval()
    state = torch.get_rng_state()
    assert not convert.to_diagonal(paper).training
    assert torch.equal(state, torch.get_rng_state())


def test_the_copy_is_independent(paper):
    joint = convert.to_diagonal(paper)
    with torch.no_grad():
        joint.mean.zero_()
    assert paper.mean.abs().sum() > 0


def test_other_families_are_refused():
    with pytest.raises(ValueError, match=r"to_diagonal: expected a layer with covariance=Regression\(\), got LowRank"):
        convert.to_diagonal(GMLayer(6, 3, 4))
    with pytest.raises(ValueError, match=r"to_regression: expected a layer with covariance=Diagonal\(\)"):
        convert.to_regression(GMLayer.paper(6, 3, 4))
