import copy

import pytest
import torch
from torch import nn

from gmlayers import GMLayer, LowRank
from gmlayers.diagnostics import function_distance, kernel_drift, tangent_kernel


def shaken(module, scale=0.3):
    module = copy.deepcopy(module)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(torch.randn_like(p), alpha=scale)
    return module


def mlp(dtype=torch.float64):
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).to(dtype)


MODELS = {
    "mlp": mlp,
    "low_rank": lambda: GMLayer(4, 3, 2, dtype=torch.float64),
    "diagonal": lambda: GMLayer(4, 3, 2, covariance="diagonal", learn_weights=True, dtype=torch.float64),
    "coupled": lambda: GMLayer(4, 3, 2, covariance=LowRank(2, coupling=True), dtype=torch.float64),
    "paper": lambda: GMLayer.paper(4, 3, 2, dtype=torch.float64),
}


@pytest.mark.parametrize("name", MODELS)
def test_kernel_loop(name):
    """Σ_c ⟨∇h_c(x_i), ∇h_c(x_j)⟩, a backward pass for every row and output."""
    model, x = shaken(MODELS[name]()), torch.randn(5, 4, dtype=torch.float64)
    gradients = [[torch.autograd.grad(model(row[None])[0, c], list(model.parameters())) for c in range(3)] for row in x]
    expected = torch.zeros(5, 5, dtype=torch.float64)
    for i in range(5):
        for j in range(5):
            for c in range(3):
                for a, b in zip(gradients[i][c], gradients[j][c]):
                    expected[i, j] += (a * b).sum()
    torch.testing.assert_close(tangent_kernel(model, x), expected)


@pytest.mark.parametrize("chunk_size", [1, 2, 3, 5, 100])
def test_chunks_do_not_matter(chunk_size):
    model, x = mlp(), torch.randn(5, 4, dtype=torch.float64)
    kernel = tangent_kernel(model, x, chunk_size=chunk_size)
    torch.testing.assert_close(kernel, tangent_kernel(model, x), rtol=1e-13, atol=1e-13)
    assert torch.equal(kernel, kernel.T)


def test_kernels_of_groups_add_up(dtype):
    model, x = mlp(dtype), torch.randn(5, 4, dtype=dtype)
    parts = [tangent_kernel(model, x, parameters=lambda n: n.startswith(group)) for group in ("0.", "2.")]  # noqa: B023
    whole = tangent_kernel(model, x)
    assert whole.dtype == dtype
    torch.testing.assert_close(sum(parts), whole)
    assert torch.linalg.eigvalsh(whole.double()).min() > -1e-5


def test_no_state_is_touched():
    model, x = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout()).eval(), torch.randn(5, 4)
    model[0].weight.requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    kernel = tangent_kernel(model, x)
    assert not kernel.requires_grad
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values()))
    assert all(p.grad is None for p in model.parameters())
    assert [p.requires_grad for p in model[0].parameters()] == [False, True]
    # frozen or not, all parameters count
    assert torch.equal(kernel, tangent_kernel(model.requires_grad_(), x))


def test_shapes_of_inputs_and_outputs():
    class Scalar(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.ones(2, 3))

        def forward(self, x):
            return (x * self.w).sum((1, 2))

    x = torch.randn(4, 2, 3)
    torch.testing.assert_close(tangent_kernel(Scalar(), x), x.flatten(1) @ x.flatten(1).T)
    assert tangent_kernel(nn.Conv2d(1, 2, 3), torch.randn(3, 1, 5, 5)).shape == (3, 3)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_has_not_drifted_from_itself(name):
    model = shaken(MODELS[name]())
    assert tuple(map(float, kernel_drift(model, copy.deepcopy(model), torch.randn(6, 4, dtype=torch.float64)))) == (
        0,
        0,
    )


@pytest.mark.parametrize("name", MODELS)
def test_training_drifts(name):
    model = MODELS[name]()
    found = kernel_drift(model, shaken(model), torch.randn(6, 4, dtype=torch.float64))
    assert float(found.change) > 0.01
    assert 1e-4 < float(found.misalignment) <= 1


def test_linear_in_the_parameters_is_lazy_at_any_parameters(dtype):
    x = torch.randn(6, 4, dtype=dtype)
    linear = nn.Linear(4, 3, dtype=dtype)
    found = kernel_drift(linear, shaken(linear, 10), x)
    assert max(map(float, found)) <= 1e-6
    layer = GMLayer(4, 3, 2, covariance="diagonal", dtype=dtype)
    other = copy.deepcopy(layer)
    with torch.no_grad():
        other.output_mean.normal_(), other.coupling.normal_()
    found = kernel_drift(layer, other, x, parameters=["output_mean", "coupling"].__contains__)
    assert max(map(float, found)) <= 1e-6
    assert float(kernel_drift(layer, other, x).change) > 0.1  # the rest of the kernel grew


def test_drift_loop():
    before, after = mlp(), shaken(mlp())
    x = torch.randn(5, 4, dtype=torch.float64)
    A, B = (tangent_kernel(m, x) for m in (before, after))
    C = torch.eye(5, dtype=torch.float64) - 1 / 5
    inner = {
        (a, b): sum((C @ P @ C)[i, j] * (C @ Q @ C)[i, j] for i in range(5) for j in range(5))
        for a, P in enumerate((A, B))
        for b, Q in enumerate((A, B))
    }
    found = kernel_drift(before, after, x)
    torch.testing.assert_close(found.change, ((B - A).square().sum() / A.square().sum()).sqrt())
    torch.testing.assert_close(found.misalignment, 1 - inner[0, 1] / (inner[0, 0] * inner[1, 1]).sqrt())


def test_a_common_factor_changes_only_the_size():
    """Without biases two layers of ReLU are 2-homogeneous: parameters times c give the kernel times c²."""
    model = nn.Sequential(nn.Linear(4, 6, bias=False), nn.ReLU(), nn.Linear(6, 3, bias=False)).double()
    scaled = copy.deepcopy(model)
    with torch.no_grad():
        for p in scaled.parameters():
            p.mul_(1.5)
    found = kernel_drift(model, scaled, torch.randn(6, 4, dtype=torch.float64))
    assert float(found.change) == pytest.approx(1.25)
    assert float(found.misalignment) == pytest.approx(0, abs=1e-14)


def test_misalignment_of_constant_kernels_is_not_a_number(dtype):
    model = mlp(dtype)
    other = shaken(model)
    assert kernel_drift(model, other, torch.randn(1, 4, dtype=dtype)).misalignment.isnan()
    found = kernel_drift(model, other, torch.randn(1, 4, dtype=dtype).expand(5, 4))
    assert found.misalignment.isnan()
    assert found.change > 0
    assert found.change.dtype == found.misalignment.dtype == dtype


def test_misalignment_of_kernels_that_are_constant_up_to_rounding(dtype):
    class Radius(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.ones((), dtype=dtype))

        def forward(self, x):
            return self.w * x.square().sum(1, keepdim=True)

    angle = torch.rand(9, dtype=dtype)
    x = torch.stack([angle.cos(), angle.sin()], 1)
    assert tangent_kernel(Radius(), x).unique().numel() > 1
    assert kernel_drift(Radius(), Radius(), x).misalignment.isnan()


def test_function_distance_loop(dtype):
    one, other, x = mlp(dtype), mlp(dtype), torch.randn(5, 4, dtype=dtype, requires_grad=True)
    total = 0.0
    for i in range(5):
        for c in range(3):
            total += float((one(x[i : i + 1])[0, c] - other(x[i : i + 1])[0, c]).detach()) ** 2 / 5
    found = function_distance(one, other, x)
    assert found.dtype == dtype
    assert not found.requires_grad
    assert float(found) == pytest.approx(total**0.5, rel=1e-5)
    assert float(function_distance(one, one, x)) == 0
    assert torch.equal(function_distance(other, one, x), found)
    assert float(function_distance(nn.Flatten(0), nn.Flatten(0), torch.ones(3))) == 0


def test_refusals():
    model, x = mlp(torch.float32), torch.randn(5, 4)
    for call in (lambda x: tangent_kernel(model, x), lambda x: function_distance(model, model, x)):
        with pytest.raises(ValueError, match=r"x must be inputs of shape \(n, ...\) with n at least 1, got \(0, 4\)"):
            call(x[:0])
    with pytest.raises(ValueError, match="chunk_size must be at least 1, got 0"):
        tangent_kernel(model, x, chunk_size=0)
    with pytest.raises(TypeError, match="chunk_size must be a whole number, got 2.0"):
        tangent_kernel(model, x, chunk_size=2.0)
    with pytest.raises(
        ValueError, match="no parameter was chosen by parameters; the model has 0.weight, 0.bias, 2.weight, 2.bias"
    ):
        tangent_kernel(model, x, parameters=lambda name: False)
    with pytest.raises(ValueError, match="no parameter was chosen by parameters; the model has none"):
        tangent_kernel(nn.Flatten(), x)
    with pytest.raises(
        ValueError, match="only the first has: 0.bias, 0.weight, 2.bias, 2.weight; only the second has: bias, weight"
    ):
        kernel_drift(model, nn.Linear(4, 3), x)
    with pytest.raises(ValueError, match=r"outputs of one and other must agree in shape, got \(5, 3\) and \(5, 2\)"):
        function_distance(model, nn.Linear(4, 2), x)
