import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gmlayers import solve
from gmlayers.solve import problems
from gmlayers.solve.engine.boxes import SPLITTING, Boxes

F64 = torch.float64


def boxes(dim=2, density=100, split=()):
    low, side = torch.linspace(-1.3, 0.4, dim, dtype=F64), torch.linspace(0.3, 0.5, dim, dtype=F64)
    return Boxes(low, side, density, split)


def one_by_one(given, x):
    """The depth of a point by going down from the largest box, in Python's floats."""
    depths = []
    for point in x.tolist():
        depth, place = 0, zip(point, given.low.tolist(), given.side.tolist())
        units = [(p - low) / side for p, low, side in place]
        while depth < len(given.split):
            index = [int(u * 2**depth // 1) for u in units]
            if index not in given.split[depth].tolist():
                break
            depth += 1
        depths.append(depth)
    return depths


def grown(dim, seed, times=3):
    """Boxes around random points, and points in and around them."""
    g = torch.Generator().manual_seed(seed)
    found, x = boxes(dim), 4 * torch.rand(400, dim, generator=g, dtype=F64) - 2
    centre = 2 * torch.rand(1, dim, generator=g, dtype=F64) - 1
    for _ in range(times):
        here = torch.cat([x, centre])
        square = torch.cat([1e-6 * torch.rand(400, generator=g, dtype=F64), torch.ones(1, dtype=F64)])
        found = found.refined(here, square, 10**6) or found
    return found, torch.cat([x, centre + 0.2 * torch.randn(100, dim, generator=g, dtype=F64)])


@given(dim=st.integers(1, 3), seed=st.integers(0, 10**6))
@settings(max_examples=20)
def test_depths_are_those_of_a_search_from_the_top(dim, seed):
    found, x = grown(dim, seed)
    assert len(found.split) == 3
    assert found.depth(x).tolist() == one_by_one(found, x)


@given(dim=st.integers(1, 3), seed=st.integers(0, 10**6))
@settings(max_examples=20)
def test_every_box_that_is_split_is_in_one_that_is(dim, seed):
    found, x = grown(dim, seed)
    sampled = found.sampled()
    for tree in (found, sampled):
        for outer, inner in itertools.pairwise(tree.split):
            assert {tuple(b) for b in (inner // 2).tolist()} <= {tuple(b) for b in outer.tolist()}
            assert len(inner.unique(dim=0)) == len(inner)
    assert (sampled.depth(x) >= found.depth(x)).all()
    for split, more in zip(found.split, sampled.split):
        beside = split + SPLITTING.sampled * torch.ones(dim, dtype=torch.long)
        assert {tuple(b) for b in beside.tolist()} <= {tuple(b) for b in more.tolist()}


@given(dim=st.integers(1, 3), seed=st.integers(0, 10**6), factor=st.floats(1, 4))
@settings(max_examples=20)
def test_there_is_a_bump_in_the_middle_of_every_half(dim, seed, factor):
    found, _ = grown(dim, seed)
    mean, scale = found.bumps(factor)
    assert len(mean) == len(scale) == found.num_bumps == 2**dim * sum(map(len, found.split))
    assert len(mean.unique(dim=0)) == len(mean)
    width = 1 / scale / factor / found.side
    depth = -width.log2()
    torch.testing.assert_close(depth, depth.round())
    units = (mean - found.low) / (found.side * width)
    torch.testing.assert_close(units - units.floor(), torch.full_like(units, 0.5))
    assert (found.depth(mean).unsqueeze(1) >= depth.round()).all()


@given(dim=st.integers(1, 2), seed=st.integers(0, 10**6))
@settings(max_examples=20)
def test_the_fewest_boxes_that_have_the_bulk_are_split(dim, seed):
    """Against a loop, for boxes of one depth."""
    g = torch.Generator().manual_seed(seed)
    start, x = boxes(dim), 20 * torch.rand(3000, dim, generator=g, dtype=F64)
    square = torch.rand(3000, generator=g, dtype=F64) ** 40
    sums = {}
    for point, s in zip(((x - start.low) / start.side).floor().long().tolist(), square.tolist()):
        sums[tuple(point)] = sums.get(tuple(point), 0.0) + s
    largest = sorted(sums, key=sums.__getitem__, reverse=True)
    share, number = 0.0, 0
    while share < SPLITTING.bulk * sum(sums.values()):
        share, number = share + sums[largest[number]], number + 1
    found = start.refined(x, square, 10**6)
    if number > SPLITTING.concentrated * len(sums):
        assert found is None
        return
    assert found is not None
    steps = list(itertools.product(range(-SPLITTING.reach, SPLITTING.reach + 1), repeat=dim))
    want = {tuple(b + s for b, s in zip(box, step)) for box in largest[:number] for step in steps}
    assert {tuple(b) for b in found.split[0].tolist()} == want


def test_what_is_everywhere_is_not_concentrated():
    x = torch.rand(2000, 2, dtype=F64) * 4 - 2
    assert boxes().refined(x, torch.ones(2000, dtype=F64), 10**6) is None


@pytest.mark.parametrize("most", [99, 100, 150, 400])
def test_there_are_no_more_bumps_than_there_may_be(most):
    x = torch.rand(2000, 2, dtype=F64, generator=torch.Generator().manual_seed(0)) * 10 - 2
    square = torch.zeros(2000, dtype=F64)
    square[::200] = 1  # ten places, each of 25 boxes with 4 bumps
    found = boxes().refined(x, square, most)
    assert (found is None) == (most < 100)
    assert found is None or 100 <= found.num_bumps <= most


def test_boxes_are_not_split_for_ever():
    found, x = boxes(density=2**17), torch.arange(9, dtype=F64)[:, None].expand(9, 2) ** 2
    square = torch.eye(9, dtype=F64)[0]
    for depth in (1, 2):
        found = found.refined(x, square, 10**6)
        assert found is not None
        assert len(found.split) == depth
    assert found.deepest == 2
    assert found.refined(x, square, 10**6) is None


# --- equations -----------------------------------------------------------------------------------------------


def error(u, exact, domain):
    x = domain.interior(20000, held_out=True)
    return ((u(x)[:, 0] - exact(x)).norm() / exact(x).norm()).item()


@pytest.mark.parametrize(("name", "most", "limit"), [("poisson-peak", 1000, 1e-4), ("layer-50", 1200, 1e-5)])
def test_peaks_and_layers_are_resolved_by_boxes(name, most, limit):
    problem, exact = problems.KNOWN[name]()
    found = solve.solve(problem, tolerance=1e-6, max_components=most)
    assert error(found.u, exact, problem.domain) < limit
    assert found.history[-1].depth >= 2
    assert found.u.num_components <= most


def test_a_peak_in_space_and_time():
    """Heat from a narrow start: boxes are at the beginning only."""
    s = 0.04

    def exact(x):
        var = s**2 + 2 * 0.01 * x[:, 1]
        return s / var.sqrt() * torch.exp(-(x[:, 0] - 0.4).square() / (2 * var))

    u = solve.unknown(1, time=True)
    domain = solve.SpaceTime(solve.Box((0,), (1,)), 1.0)
    problem = solve.Problem(
        domain, solve.dt(u) == 0.01 * solve.laplacian(u), {"initial": u == exact, "boundary": u == exact}
    )
    found = solve.solve(problem, tolerance=1e-6, max_components=1500)
    assert error(found.u, exact, domain) < 1e-3
    (narrow,) = (found.u.scale[:, 0] > found.u.scale[:, 0].min() * 3).nonzero(as_tuple=True)
    assert found.history[-1].depth >= 1
    assert len(narrow)
    assert found.u.mean[narrow, 1].max() < 0.7


def test_smooth_solutions_have_no_boxes():
    for name in ("poisson-a", "poisson-b", "helmholtz", "heat", "wave"):
        found = solve.solve(problems.KNOWN[name]().problem, tolerance=1e-9, max_components=700)
        assert {step.depth for step in found.history} == {0}
