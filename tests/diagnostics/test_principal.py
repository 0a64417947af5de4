import math

import pytest
import torch

from gmlayers.diagnostics import NeuronMixture, neurons, principal_components, project

WEIGHT = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)


def test_loops(mixture):
    """Mean and covariance entry by entry; the axes are its eigenvectors, the shares its eigenvalues over the trace."""
    m = mixture(3, 4, 2, weight=WEIGHT)
    mean, cov = torch.zeros(4, dtype=torch.float64), torch.zeros(4, 4, dtype=torch.float64)
    for i in range(4):
        mean[i] = sum(WEIGHT[k] * m.mean[k, i] for k in range(3))
    for k in range(3):
        for i in range(4):
            for j in range(4):
                S = sum(m.factor[k, i, r] * m.factor[k, j, r] for r in range(2)) + (i == j) * m.var[k, i]
                cov[i, j] += WEIGHT[k] * (S + (m.mean[k, i] - mean[i]) * (m.mean[k, j] - mean[j]))
    found = principal_components(m, 4)
    torch.testing.assert_close(found.mean, mean)
    torch.testing.assert_close(cov @ found.axes, found.axes * found.share * cov.trace())
    torch.testing.assert_close(found.axes.T @ found.axes, torch.eye(4, dtype=torch.float64))
    torch.testing.assert_close(found.share.sum(), torch.tensor(1.0, dtype=torch.float64))
    assert (found.share.diff() <= 0).all()


def test_variance_of_draws_along_the_axes(mixture, sample):
    m = mixture(3, 4, 1, weight=WEIGHT)
    found = principal_components(m, 2)
    total = m.var.mul(WEIGHT[:, None]).sum() + (WEIGHT[:, None, None] * m.factor.square()).sum()
    total = total + (WEIGHT[:, None] * (m.mean - WEIGHT @ m.mean).square()).sum()
    square = ((sample(m, 100_000) - found.mean) @ found.axes).square()
    error = square.std(0) / math.sqrt(len(square))
    assert ((square.mean(0) - found.share * total).abs() <= 5 * error).all()


def test_signs_are_settled(mixture):
    m = mixture(3, 5, 1)
    axes = principal_components(m, 5).axes
    assert (axes.gather(0, axes.abs().argmax(0, keepdim=True)) > 0).all()
    mirrored = principal_components(NeuronMixture(m.weight, -m.mean, m.var, -m.factor), 5).axes
    torch.testing.assert_close(mirrored, axes)


@pytest.mark.parametrize(("K", "d", "r"), [(1, 1, 0), (1, 1, 2), (3, 1, 0), (1, 4, 1), (2, 4, 0)])
def test_awkward_sizes(mixture, K, d, r, dtype):
    m = mixture(K, d, r, dtype=dtype)
    found = principal_components(m, d)
    assert {t.dtype for t in (*found, *project(m, found))} == {dtype}
    torch.testing.assert_close(found.share.sum(), torch.tensor(1.0, dtype=dtype))
    torch.testing.assert_close(found.axes.T @ found.axes, torch.eye(d, dtype=dtype))
    assert float(principal_components(m, 1).share) <= 1 + 1e-6


@pytest.mark.parametrize("m", [1, 3])
def test_a_single_point_varies_along_no_axis(m):
    found = principal_components(neurons(torch.rand(1, 3).expand(m, 3)), 2)
    assert (found.share == 0).all()
    assert found.axes.isfinite().all()


def test_projection_loop(mixture):
    m, final = mixture(3, 4, 2, weight=WEIGHT), principal_components(mixture(2, 4, 1), 2)
    found = project(m, final)
    assert torch.equal(found.weight, WEIGHT)
    for k in range(3):
        S = torch.diag(m.var[k]) + m.factor[k] @ m.factor[k].T
        for a in range(2):
            v = final.axes[:, a]
            assert float(found.mean[k, a]) == pytest.approx(float(v @ (m.mean[k] - final.mean)))
            for b in range(2):
                assert float(found.cov[k, a, b]) == pytest.approx(float(v @ S @ final.axes[:, b]))


def test_refusals(mixture):
    m = mixture(2, 3, 1)
    for k in (0, 4):
        with pytest.raises(ValueError, match=f"k must be between 1 and the 3 dimensions, got {k}"):
            principal_components(m, k)
    with pytest.raises(TypeError, match="principal_components: k must be a whole number, got 1.5"):
        principal_components(m, 1.5)
    with pytest.raises(ValueError, match="project: the mixture has 4 dimensions, the principal components have 3"):
        project(mixture(2, 4, 1), principal_components(m))
