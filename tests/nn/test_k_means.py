import torch
from hypothesis import given
from hypothesis import strategies as st

from gmlayers.nn._k_means import k_means, nearest


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_k_means_finds_separate_clusters():
    truth = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]], dtype=torch.float64)
    points = (truth[:, None] + 0.1 * torch.randn(4, 50, 2, dtype=torch.float64)).flatten(0, 1)
    centres = k_means(points, 4, generator())
    order = nearest(truth, centres)
    torch.testing.assert_close(centres[order], points.view(4, 50, 2).mean(1), rtol=1e-12, atol=1e-12)
    assert torch.equal(nearest(points, centres), order.repeat_interleave(50))


def test_k_means_is_a_fixed_point_of_lloyd():
    points = torch.randn(60, 2, dtype=torch.float64)
    weight = torch.rand(60, dtype=torch.float64)
    centres = k_means(points, 3, generator(3), weight)
    label = (points[:, None] - centres).square().sum(2).argmin(1)
    assert torch.equal(nearest(points, centres), label)
    for k in range(3):
        mine = label == k
        want = (weight[mine, None] * points[mine]).sum(0) / weight[mine].sum()
        torch.testing.assert_close(centres[k], want, rtol=1e-12, atol=1e-12)


def test_the_same_generator_gives_the_same_centres():
    points = torch.randn(20_000, 3)
    first, second, other = (k_means(points, 7, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_points_without_weight_draw_no_centre():
    points = torch.cat([torch.zeros(50, 1), torch.linspace(5, 6, 50)[:, None]])
    weight = torch.cat([torch.zeros(50), torch.ones(50)])
    assert (k_means(points, 5, None, weight) >= 5).all()


@given(n=st.integers(1, 40), d=st.integers(1, 4), heavy=st.integers(0, 40), seed=st.integers(0, 2**32))
def test_as_many_clusters_as_distinct_points_share_none(n, d, heavy, seed):
    """Though some weigh nothing, or none weighs anything."""
    points = torch.randn(n, d, dtype=torch.float64, generator=generator(seed))
    weight = torch.rand(n, dtype=torch.float64, generator=generator(seed)) * (torch.arange(n) < heavy)
    label = nearest(points, k_means(points, n, generator(seed), weight))
    assert sorted(label.tolist()) == list(range(n))


def test_more_clusters_than_distinct_points():
    points = torch.tensor([[0.0], [0.0], [0.0], [1.0]])
    for k in (2, 4, 6):
        assert set(k_means(points, k, generator()).flatten().tolist()) == {0.0, 1.0}
