"""Flows whose steps are too long: parts are refused, halved, and grow again; what is not a number stays visible."""

import itertools
import math

import pytest
import torch

from gmlayers import GMLayer, flows
from gmlayers.flows import Covariances, Divergence, Quadratic, Roots, euler, flow, hermite_nodes, optim, rk4, transport
from gmlayers.nn import Diagonal, Full, LowRank, Regression, SharedFactor


def banana(x):
    """A density bent along a parabola, a twentieth thick: its Hessian reaches 6400."""
    return 0.5 * x[..., 0] ** 2 + 0.5 * ((x[..., 1] - x[..., 0] ** 2) / 0.05) ** 2


def on_the_banana(kind, K=2):
    m = torch.linspace(-2, 2, K, dtype=torch.float64)
    root = 0.2 * torch.eye(2, dtype=torch.float64).expand(K, 2, 2)
    mean = torch.stack([m, m**2], 1)
    return Roots(mean, root) if kind == "roots" else Covariances(mean, root @ root.mT)


def counted(functional):
    def count(m):
        count.calls += 1
        return functional(m)

    count.calls = 0
    return count


def falls(moments):
    return all(after.energy <= before.energy for before, after in itertools.pairwise(moments))


def is_near(found, exact, tolerance):
    spread = float(exact.cov.diagonal(dim1=1, dim2=2).sum() / len(exact.mean)) ** 0.5
    assert (found.mean - exact.mean).norm(dim=1).max() < tolerance * spread
    assert (found.cov - exact.cov).abs().max() < 2 * tolerance * spread**2


@pytest.mark.parametrize("kind", ["roots", "covariances"])
def test_a_stiff_flow_goes_on_and_agrees_with_one_of_tiny_steps(kind):
    start, F = on_the_banana(kind), Divergence(banana, hermite_nodes(2, 6))
    *_, exact = flow(F, start, step=5e-5, steps=100)
    for step, steps in ((1e-3, 5), (5e-3, 1)):
        moments = [*flow(F, start, step=step, steps=steps)]
        assert moments[-1].time == steps * step
        assert falls(moments)
        is_near(moments[-1].mixture, exact.mixture, 0.05)
        accurate = [*flow(F, start, step=step, steps=steps, tolerance=1e-5)]
        is_near(accurate[-1].mixture, exact.mixture, 1e-4)


@pytest.mark.parametrize("method", [euler, rk4])
@pytest.mark.parametrize("kind", [Roots, Covariances])
def test_a_stiff_quadratic_is_followed_at_any_step(method, kind):
    """Means go to e^(−pt), and the number of parts is that which stability asks for."""
    p = torch.tensor([1.0, 3.0, 400.0], dtype=torch.float64)
    F = counted(Quadratic(torch.diag(p), torch.zeros(3, dtype=torch.float64)))
    start = kind(torch.ones(1, 3, dtype=torch.float64), torch.eye(3, dtype=torch.float64)[None])
    moments = [*flow(F, start, step=0.5, steps=2, method=method)]
    assert falls(moments)
    torch.testing.assert_close(moments[-1].mixture.mean[0], torch.exp(-p), rtol=0, atol=0.02)
    assert F.calls < 10 * 400


def test_parts_grow_again_where_the_flow_is_no_longer_stiff():
    """A wall of e^(300x) at the start, then a slope."""

    def wall(m):
        return m.weight @ (torch.exp(30 * m.mean[:, 0]) + m.mean[:, 0])

    F = counted(wall)
    moments = [*flow(F, Roots.particles(torch.tensor([[0.3]], dtype=torch.float64)), step=0.5, steps=100)]
    assert falls(moments)
    assert F.calls < 2500
    speed = (moments[-2].mixture.mean - moments[-1].mixture.mean) / 0.5
    assert float(speed) == pytest.approx(1, abs=1e-6)


def test_a_step_that_leaves_the_manifold_is_taken_in_parts():
    F = Quadratic(torch.diag(torch.tensor([1.0, 100.0])).double(), torch.zeros(2).double())
    start = Covariances(torch.zeros(2, 2).double(), torch.eye(2).double().expand(2, 2, 2))
    with pytest.raises(ValueError, match=r"\[0\] is not positive"):
        euler(F, start, 0.1)
    moments = [*flow(F, start, step=0.1, steps=3, method=euler)]
    assert falls(moments)
    assert torch.linalg.eigvalsh(moments[-1].mixture.cov).min() >= 0


def test_the_tolerance_bounds_the_error():
    P = torch.diag(torch.tensor([1.0, 5.0], dtype=torch.float64))
    F = Quadratic(P, torch.zeros(2, dtype=torch.float64))
    start = Roots(torch.ones(1, 2, dtype=torch.float64), torch.eye(2, dtype=torch.float64)[None])
    exact = torch.exp(-P.diagonal())
    errors = []
    for tolerance in (1e-2, 1e-4, 1e-6):
        *_, end = flow(F, start, step=0.5, steps=2, tolerance=tolerance)
        errors.append(float((end.mixture.root[0].diagonal() - exact).norm() / exact.norm()))
        assert errors[-1] < 2 * tolerance
    assert errors[0] > errors[1] > errors[2]


def test_whole_steps_are_those_of_the_method():
    """Where nothing is refused the path is the method's own, to the bit."""
    F = Divergence(lambda x: 0.1 * x.pow(4).sum(-1), hermite_nodes(2, 4))
    m = Roots(torch.eye(2, dtype=torch.float64), 0.5 * torch.eye(2, dtype=torch.float64).expand(2, 2, 2))
    for moment in flow(F, m, step=0.05, steps=20):
        if moment.time:
            m = rk4(F, m, 0.05)
        assert torch.equal(moment.mixture.mean, m.mean)
        assert torch.equal(moment.mixture.root, m.root)
        assert moment.energy == float(F(m))


def test_a_kink_costs_a_few_parts_and_no_more():
    F = counted(lambda m: m.mean.abs().sum())
    start = Roots.particles(torch.tensor([[1.0, 0.3], [-0.77, 2.0]], dtype=torch.float64))
    *_, end = flow(F, start, step=0.1, steps=100, method=euler)
    assert F.calls < 100 * 40
    assert end.mixture.mean.abs().max() < 0.2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounding_at_the_minimum_is_no_rise(dtype):
    """The energy is a difference of large numbers there, and half of the steps raise it."""
    F = counted(lambda m: (1e3 + m.mean.square().sum()) - 1e3 + m.mean.square().sum() * 1e-9)
    *_, end = flow(F, Roots.particles(torch.full((4, 1), 0.3, dtype=dtype)), step=0.1, steps=300)
    assert F.calls < 300 * 8
    assert end.mixture.mean.abs().max() < 0.1


def test_draws_of_the_functional_are_no_rise():
    generator = torch.Generator().manual_seed(0)

    def fresh(m):
        nodes = flows.random_nodes(2, 64, generator=generator)
        return Divergence(lambda x: 0.25 * x.pow(4).sum(-1), nodes)(m)

    F = counted(fresh)
    start = Roots(torch.ones(1, 2, dtype=torch.float64), torch.eye(2, dtype=torch.float64)[None])
    [*_] = flow(F, start, step=0.05, steps=100)
    assert F.calls < 100 * 15


@pytest.mark.parametrize(
    ("functional", "message"),
    [
        (lambda m: m.mean.sum() * math.nan, "flow: stopped at time 0: the functional is not finite: nan"),
        (lambda m: m.mean.sum() / 0, "flow: stopped at time 0: the functional is not finite: inf"),
        (  # x² = 1 − 2t, and no logarithm beyond
            lambda m: m.mean.log().sum(),
            r"flow: stopped at time 0\.[45]\d*: .*; no step down to \S+ leads on from there",
        ),
    ],
)
def test_a_flow_that_ends_says_when_and_why(functional, message):
    start = Roots.particles(torch.ones(1, 1, dtype=torch.float64))
    with pytest.raises(ValueError, match=message):
        [*flow(functional, start, step=0.1, steps=100)]


def uphill(functional, mixture, step, reaction):
    return mixture.like(mixture.mean + step, mixture.spread, mixture.weight)


def restless(functional, mixture, step, reaction):
    return mixture.like(-mixture.mean, mixture.spread, mixture.weight)


@pytest.mark.parametrize(
    ("method", "tolerance", "reason"),
    [
        (uphill, None, "the step raises the functional, and no gradient flow does"),
        (restless, 1e-3, "the step does not come within the tolerance"),
    ],
)
def test_a_flow_says_why_the_steps_of_a_method_are_refused(method, tolerance, reason):
    square = Quadratic(torch.eye(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64))
    start = Roots.particles(torch.ones(1, 1, dtype=torch.float64))
    with pytest.raises(ValueError, match=rf"^flow: stopped at time \S+: {reason}; no step down to"):
        [*flow(square, start, step=0.1, steps=3, method=method, tolerance=tolerance)]


def test_values_of_the_options():
    start = Roots.particles(torch.ones(1, 1))
    for tolerance in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="flow: tolerance must be positive and finite"):
            next(flow(lambda m: m.mean.sum(), start, step=0.1, steps=1, tolerance=tolerance))
    with pytest.raises(TypeError, match="a method must return a mixture, got NoneType"):
        [*flow(lambda m: m.mean.sum(), start, step=0.1, steps=1, method=lambda *_: None)]
    with pytest.raises(TypeError, match="a functional must return a tensor, got float"):
        next(flow(lambda m: 1.0, start, step=0.1, steps=1))


def test_a_functional_may_use_derivatives_of_its_own():
    """The mean square of a gradient: autograd runs inside of the functional, in every evaluation."""

    def slope(x):
        (found,) = torch.autograd.grad((0.25 * x.pow(4)).sum(), x, create_graph=True)
        return 0.5 * found.square().sum(-1)

    start = Roots(torch.ones(1, 2, dtype=torch.float64), torch.eye(2, dtype=torch.float64)[None])
    nodes = hermite_nodes(2, 5)
    one = [*flow(Divergence(slope, nodes), start, step=0.01, steps=5)]
    other = [*flow(Divergence(lambda x: 0.5 * x.pow(6).sum(-1), nodes), start, step=0.01, steps=5)]
    torch.testing.assert_close(one[-1].mixture.cov, other[-1].mixture.cov)
    assert one[-1].energy == pytest.approx(other[-1].energy)


def test_a_generator_closed_early_leaves_nothing_behind():
    start = Roots(torch.ones(1, 2), torch.eye(2)[None])
    before = start.mean.clone(), start.root.clone()
    path = flow(Quadratic(torch.eye(2), torch.zeros(2)), start, step=0.1, steps=5)
    next(path), next(path)
    path.close()
    assert torch.equal(start.mean, before[0])
    assert torch.equal(start.root, before[1])
    assert torch.is_grad_enabled()
    with torch.no_grad():
        [*flow(Quadratic(torch.eye(2), torch.zeros(2)), start, step=0.1, steps=1)]
        assert not torch.is_grad_enabled()


FAMILIES = [LowRank(1), LowRank(2, "diagonal", coupling=True), SharedFactor(2), Diagonal(), Full(), Regression()]


def own(layer):
    """The parameters of which every component has a part."""
    return {n: p for n, p in layer.named_parameters() if n != "weight_logits" and len(p) == layer.num_components}


@pytest.mark.parametrize("make", [optim.WassersteinSGD, optim.WassersteinAdam])
@pytest.mark.parametrize("family", FAMILIES, ids=str)
@pytest.mark.parametrize("where", ["gradient", "gradient without weight or noise", "logits", "parameter"])
def test_nan_is_not_taken_for_zero(make, family, where):
    torch.manual_seed(0)
    layer = GMLayer(3, 2, 4, covariance=family, learn_weights=True)
    optimizer = make(optim.layer_groups(layer, 0.1))
    with torch.no_grad():
        if "without" in where:
            layer.weight_logits[1] = -1e4  # its weight underflows to 0
            if "std" in own(layer):
                layer.std[1] = 0.0
    layer(torch.rand(5, 3)).square().mean().backward()
    with torch.no_grad():
        for p in own(layer).values():
            if "gradient" in where and p.grad is not None:
                p.grad[1] = math.nan
            if where == "parameter":
                p[1] = math.nan
        if where == "logits":
            layer.weight_logits[1] = math.nan
    optimizer.step()
    for name, p in own(layer).items():
        assert p[1].isnan().any(), name


def test_a_component_of_weight_0_still_rests():
    layer = GMLayer(3, 2, 4, learn_weights=True)
    with torch.no_grad():
        layer.weight_logits[1] = -1e4
    before = layer.mean[1].clone()
    layer(torch.rand(5, 3)).square().mean().backward()
    optim.WassersteinSGD(optim.layer_groups(layer, 0.1)).step()
    assert torch.equal(layer.mean[1], before)


@pytest.mark.parametrize("what", ["mean", "root", "weight"])
def test_no_distance_from_nan(what):
    one = Roots(torch.zeros(2, 2), torch.eye(2).expand(2, 2, 2))
    other = Roots(torch.ones(2, 2), torch.eye(2).expand(2, 2, 2).clone(), torch.full((2,), 0.5))
    with torch.no_grad():
        {"mean": other.mean, "root": other.root, "weight": other.weight}[what].view(-1)[0] = math.nan
    with pytest.raises(ValueError, match="finite|must not be negative"):
        transport.mixture_distance(one, other)


@pytest.mark.parametrize("make", [optim.WassersteinSGD, optim.WassersteinAdam])
def test_a_step_that_fails_moves_nothing(make):
    """The second layer has no inverse: one component is singular, another is not a number."""
    torch.manual_seed(0)
    model = torch.nn.ModuleList([GMLayer(3, 2, 4), GMLayer(3, 2, 4, covariance="full")])
    optimizer = make(optim.layer_groups(model, 0.1))
    x = torch.rand(5, 3)
    sum(layer(x).square().mean() for layer in model).backward()
    with torch.no_grad():
        model[1].scale_tril[0] = 0.0
        model[1].scale_tril[1, 0, 0] = math.nan
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(RuntimeError, match="non-finite"):
        optimizer.step()
    assert all(torch.equal(a.nan_to_num(7), b.nan_to_num(7)) for a, b in zip(before, model.parameters()))
    assert not optimizer.state


@pytest.mark.parametrize("make", [optim.WassersteinSGD, optim.WassersteinAdam])
def test_a_closure_that_fails_moves_nothing(make):
    layer = GMLayer(3, 2, 4)
    optimizer = make(optim.layer_groups(layer, 0.1))
    before = [p.clone() for p in layer.parameters()]

    def closure():
        layer(torch.rand(5, 3)).square().mean().backward()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        optimizer.step(closure)
    assert all(torch.equal(a, b) for a, b in zip(before, layer.parameters()))
    assert not optimizer.state
    assert torch.is_grad_enabled()
