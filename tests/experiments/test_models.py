import dataclasses
import math

import pytest
import torch

from gmlayers import GMLayer, SharedFactor
from gmlayers.experiments.models import MODELS, MeanFieldNet, Recipe, Shape, trunk, trunk_features
from gmlayers.experiments.trainer import Trainer, Trial


def test_mean_field_net_is_the_mean_of_its_neurons():
    net = MeanFieldNet(4, 3, 7, torch.nn.ReLU(), 0.5).double()
    x = torch.randn(5, 4, dtype=torch.float64)
    beta, omega = net.first.weight, net.second.weight
    expected = torch.zeros(5, 3, dtype=torch.float64)
    for j in range(7):
        expected += omega[:, j] * (x @ beta[j]).relu()[:, None] / 7
    torch.testing.assert_close(net(x), expected)


def test_mean_field_weights_are_drawn_at_their_scale():
    net = MODELS["fc_mean"].build(100, 100, Shape(width=400, init_scale=0.25))
    for parameter in net.parameters():
        assert parameter.std().item() == pytest.approx(0.25, rel=0.02)
        assert abs(parameter.mean().item()) < 5 * 0.25 / parameter.numel() ** 0.5


def test_matched_weights_have_the_second_moments_of_the_layer_s_neurons():
    torch.manual_seed(0)
    layer, net = (
        MODELS[name].build(49, 30, Shape(**shape))
        for name, shape in (
            ("paper", {"components": 400, "init_scale": 0.3}),
            ("fc_mean", {"width": 4000, "init_scale": 0.3, "matched": True}),
        )
    )
    mean, root, output_mean, output_root = layer.root()
    beta = mean.square().mean() + root.square().sum(2).mean()
    omega = output_mean.square().mean() + output_root.square().sum(2).mean()
    assert net.first.weight.square().mean().item() == pytest.approx(beta.item(), rel=0.03)
    assert net.second.weight.square().mean().item() == pytest.approx(omega.item(), rel=0.05)


def test_two_layers_of_the_paper():
    net = MODELS["paper"].build(9, 4, Shape(components=3, hidden=5))
    assert [(layer.in_features, layer.out_features, layer.num_components) for layer in net] == [(9, 5, 3), (5, 4, 3)]
    assert net(torch.randn(2, 9)).shape == (2, 4)
    with pytest.raises(ValueError, match="hidden has no effect on low_rank"):
        Trial("low_rank", Shape(hidden=5))


def test_shared_factor_has_the_size_of_the_net_beside_it():
    """The shared part is counted once."""
    shape = Shape(width=240)
    sizes = [
        sum(p.numel() for p in MODELS[name].build(784, 10, shape).parameters()) for name in ("shared_factor", "fc")
    ]
    per_component = 784 + 1 + 1 + 10 + 16 + 160
    assert abs(sizes[0] - sizes[1]) <= per_component / 2
    net = MODELS["shared_factor"].build(4, 2, Shape(components=3))
    assert isinstance(net, GMLayer)
    assert net.covariance == SharedFactor(4)  # no more factors than inputs
    net = MODELS["shared_factor"].build(9, 2, Shape(components=3, factors=8))
    assert isinstance(net, GMLayer)
    assert net.covariance == SharedFactor(8)
    with pytest.raises(ValueError, match="factors has no effect on low_rank"):
        Trial("low_rank", Shape(factors=8))


def test_a_trunk_gives_as_many_features_as_it_says():
    for shape in ((1, 8, 8), (3, 32, 32), (2, 17, 9)):
        features = trunk(shape, 4)(torch.randn(5, math.prod(shape)))
        assert features.shape == (5, trunk_features(shape, 4))
    with pytest.raises(ValueError, match=r"images of at least 8 x 8 and at least 1 channel, got \(13,\), 4"):
        trunk((13,), 4)


def test_a_net_on_a_trunk_is_trained(images):
    trial = Trial("shared_factor", Shape(width=8, trunk=2), Recipe(epochs=2, batch_size=16))
    wide = [torch.nn.functional.interpolate(x, (8, 8)) for x in (images.train_x, images.test_x)]
    trainer = Trainer(trial, dataclasses.replace(images, train_x=wide[0], test_x=wide[1]))
    before = trainer.model.trunk[1].weight.clone()
    assert len(list(trainer.run())) == 2
    assert not torch.equal(trainer.model.trunk[1].weight, before)
