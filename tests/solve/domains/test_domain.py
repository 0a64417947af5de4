import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gmlayers import solve
from gmlayers.solve.domains import wrapped
from gmlayers.solve.domains.wrapped import Remembered

F64 = torch.float64
X = torch.rand(10, 2)


def ellipse(x):
    return (x[:, 0] / 2) ** 2 + x[:, 1] ** 2 - 1


DOMAINS = {
    "interval": (lambda: solve.Box((-1,), (2,)), 3.0, None),
    "box": (lambda: solve.Box((0, -1), (1, 2)), 3.0, 8.0),
    "box in 3": (lambda: solve.Box((0, 0, 0), (1, 2, 3)), 6.0, 22.0),
    "disc": (lambda: solve.Ball((1, 2), 0.5), math.pi / 4, math.pi),
    "ball": (lambda: solve.Ball((0, 0, 0), 1), 4 * math.pi / 3, 4 * math.pi),
    "segment": (lambda: solve.Ball((0,), 2), 4.0, None),
    "L": (solve.l_shape, 3.0, 8.0),
    "triangle": (lambda: solve.Polygon([(0, 0), (0, 1), (1, 0)]), 0.5, 2 + math.sqrt(2)),
    "ellipse": (lambda: solve.Implicit(ellipse, (-2, -1), (2, 1)), 2 * math.pi, 9.688448220547675),
    "union": (lambda: solve.Box((0, 0), (2, 1)) | solve.Box((1, 0.53), (3.1, 2)), 2 + 2.1 * 1.47 - 0.47, None),
    "hole": (lambda: solve.Box((-1, -1), (1, 1)) - solve.Ball((0, 0), 0.5), 4 - math.pi / 4, None),
    "touching": (lambda: solve.Box((0, 0), (1, 1)) | solve.Box((1, 0), (2, 1)), 2.0, None),
    "steps": (lambda: solve.Box((0, 0), (1, 1)) | solve.Box((1, 0), (2, 2)), 3.0, None),
    "notch": (lambda: solve.Box((-1, -1), (1, 1)) - solve.Box((0.1, -1), (1, 0.1)), 3.01, None),
    "halves": (lambda: solve.Box((0,), (1,)) | solve.Box((1,), (2,)), 2.0, None),
    "cubes": (lambda: solve.Box((0, 0, 0), (1, 1, 1)) | solve.Box((1, 0, 0), (2, 1, 1)), 2.0, None),
    "tube": (lambda: solve.SpaceTime(solve.Ball((0, 0), 1), 2.0), 2 * math.pi, None),
}


HIDDEN = {  # parts of which nothing is left
    "touching": {"first high 0", "second low 0"},
    "steps": {"first high 0"},
    "notch": {"second high 0", "second low 1"},
    "halves": {"first high 0", "second low 0"},
    "cubes": {"first high 0", "second low 0"},
}


@pytest.mark.parametrize("held_out", [False, True])
@pytest.mark.parametrize("name", DOMAINS)
def test_points_are_where_they_should_be(name, held_out):
    domain = DOMAINS[name][0]()
    x = domain.interior(300, held_out=held_out)
    assert x.shape == (300, domain.dim)
    assert x.dtype == F64
    assert (domain.distance(x) < 0).all()
    for part in set(domain.parts) - HIDDEN.get(name, set()):
        edge = domain.boundary(100, part, held_out=held_out)
        assert edge.normal is not None
        if part != "initial" and part != "final":  # these have points on their rim, too
            torch.testing.assert_close(domain.distance(edge.x), torch.zeros(len(edge.x), dtype=F64), rtol=0, atol=1e-9)
        assert domain.inside(edge.x).all()
        torch.testing.assert_close(edge.normal.norm(dim=1), torch.ones(len(edge.x), dtype=F64))
        assert (domain.low - 1e-9 <= edge.x).all()
        assert (edge.x <= domain.high + 1e-9).all()


@pytest.mark.parametrize("name", DOMAINS)
def test_normals_point_outwards(name):
    domain = DOMAINS[name][0]()
    x, normal = domain.boundary(100, held_out=True)  # none of these is on a corner, where one side is beside the domain
    if name == "tube":
        inner = (x[:, -1] > 0.1) & (x[:, -1] < 1.9)
        x, normal = x[inner], normal[inner]
    assert (domain.distance(x + 1e-4 * normal) > 0).all()
    assert (domain.distance(x - 1e-4 * normal) < 0).all()


@pytest.mark.parametrize("name", [n for n, (_, volume, _) in DOMAINS.items() if volume])
def test_the_signed_distance_has_the_volume(name):
    """By Monte Carlo, with five standard errors."""
    make, volume, _ = DOMAINS[name]
    domain = make()
    box = float((domain.high - domain.low).prod())
    n = 20000
    x = domain.low + (domain.high - domain.low) * torch.rand(n, domain.dim, dtype=F64)
    share = (domain.distance(x) < 0).double().mean().item()
    assert abs(share - volume / box) <= 5 * math.sqrt(volume / box * max(1 - volume / box, 0) / n) + 1e-12


@pytest.mark.parametrize("name", ["interval", "box", "box in 3", "disc", "ball", "L", "triangle", "ellipse", "hole"])
def test_the_divergence_theorem(name):
    """The mean of x·n over the boundary is d · volume / area: points and normals are right, and spread evenly."""
    make, volume, area = DOMAINS[name]
    domain = make()
    x, normal = domain.boundary(4000)
    if area is None:
        area = 2.0 if domain.dim == 1 else 8 + math.pi
    if name == "hole":  # its two boundaries have as many points each, so one by one
        outer = normal.abs().amax(1) == 1
        outer &= x.abs().amax(1) == 1
        flux = 8 * (x * normal)[outer].sum(1).mean() + math.pi * (x * normal)[~outer].sum(1).mean()
    else:
        flux = area * (x * normal).sum(1).mean()
    want = domain.dim * volume
    assert abs(flux - want) < 0.02 * want


@given(x=st.floats(-2, 2), y=st.floats(-2, 2))
@settings(max_examples=50)
def test_the_distance_of_a_polygon_equals_that_of_the_box_with_its_vertices(x, y):
    box, polygon = solve.Box((-1, -0.5), (1, 0.5)), solve.Polygon([(-1, -0.5), (-1, 0.5), (1, 0.5), (1, -0.5)])
    point = torch.tensor([[x, y]], dtype=F64)
    torch.testing.assert_close(polygon.distance(point), box.distance(point), rtol=0, atol=1e-14)


def test_the_two_ways_round_a_polygon_are_one():
    vertices = [(-1, -1), (0, -1), (0, 0), (1, 0), (1, 1), (-1, 1)]
    x = torch.rand(200, 2, dtype=F64) * 3 - 1.5
    there, back = solve.Polygon(vertices), solve.Polygon(vertices[::-1])
    torch.testing.assert_close(there.distance(x), back.distance(x))
    assert len(there.corners) == len(back.corners) == 1


def test_reentrant_corners_and_how_far_the_domain_is_a_cone_there():
    (corner,) = solve.l_shape().corners
    assert corner.point.tolist() == [0, 0]
    assert corner.radius == 1
    assert solve.Polygon([(0, 0), (1, 0), (0, 1)]).corners == ()
    cross = [(1, 0), (2, 0), (2, 1), (3, 1), (3, 2), (2, 2), (2, 3), (1, 3), (1, 2), (0, 2), (0, 1), (1, 1)]
    assert sorted(c.point.tolist() for c in solve.Polygon(cross).corners) == [[1, 1], [1, 2], [2, 1], [2, 2]]
    assert {c.radius for c in solve.Polygon(cross).corners} == {1.0}


def corners(domain):
    return sorted((tuple(c.point.tolist()), round(c.radius, 12)) for c in domain.corners)


def test_corners_of_domains_put_together():
    box = solve.Box
    square, l_shape = box((-1, -1), (1, 1)), [((0.0, 0.0), 1.0)]
    assert corners(square - box((0, -1), (1, 0))) == l_shape
    assert corners(square - box((0, -2), (2, 0))) == l_shape
    assert corners(box((-1, 0), (1, 1)) | box((-1, -1), (0, 1))) == l_shape
    assert corners(box((-1, 0), (1, 1)) | box((-1, -1), (0, 0))) == l_shape
    assert corners(box((-1, 0), (1, 1)) | solve.Polygon([(-1, -1), (0, -1), (0, 1), (-1, 1)])) == l_shape
    assert corners(box((0, 0), (1, 1)) | box((1, 0), (2, 1))) == []
    assert corners(box((0, 0), (1, 1)) | box((0.5, 0.5), (2, 2))) == [((0.5, 1.0), 0.5), ((1.0, 0.5), 0.5)]
    hole = corners(square - box((-0.5, -0.5), (0.5, 0.5)))
    assert [radius for _, radius in hole] == [0.5] * 4
    assert [point for point, _ in hole] == [(-0.5, -0.5), (-0.5, 0.5), (0.5, -0.5), (0.5, 0.5)]
    assert corners(square - solve.Ball((0, 0), 0.5)) == []
    assert corners(solve.l_shape() - solve.Ball((-0.5, 0.5), 0.25)) == [((0.0, 0.0), round(0.5**0.5 - 0.25, 12))]
    assert corners(box((0, 0, 0), (1, 1, 1)) - box((0.5, 0.5, 0.5), (2, 2, 2))) == []


@pytest.mark.parametrize("turned", [False, True])
def test_edges_of_a_polygon_are_parts_in_the_order_of_the_vertices(turned):
    vertices = [(0, 0), (2, 0), (2, 1), (0, 1)]
    order = vertices[::-1] if turned else vertices
    domain = solve.Polygon(order)
    for i, (start, end) in enumerate(zip(order, order[1:] + order[:1])):
        x, normal = domain.boundary(7, f"edge {i}")
        ends = {tuple(x[0].tolist()), tuple(x[-1].tolist())}
        assert ends == {tuple(map(float, start)), tuple(map(float, end))}
        assert len(x) == 7
        assert (domain.distance(x + 1e-3 * normal) > 0).all()


def test_a_vertex_that_is_given_twice_counts_once():
    ring = solve.Polygon([(0, 0), (1, 0), (1, 0), (0, 1), (0, 0)])
    assert torch.equal(ring.start, solve.Polygon([(0, 0), (1, 0), (0, 1)]).start)


def test_parts_of_domains_put_together():
    plate = solve.Box((-1, -1), (1, 1)) - solve.Ball((0, 0), 0.5)
    assert plate.parts[:3] == ("boundary", "first", "first low 0")
    assert plate.parts[-1] == "second"
    x, normal = plate.boundary(60, "second")
    torch.testing.assert_close(x, -0.5 * normal)
    assert (plate.boundary(60, "first high 1").x[:, 1] == 1).all()
    assert solve.SpaceTime(plate, 1.0).boundary(60, "second").x.shape[1] == 3


def test_faces_of_a_box_and_ends_of_time():
    domain = solve.SpaceTime(solve.Box((0, 0), (1, 2)), 5.0, start=3.0)
    assert (domain.boundary(50, "initial").x[:, 2] == 3).all()
    assert (domain.boundary(50, "final").x[:, 2] == 5).all()
    assert (domain.boundary(50, "high 1").x[:, 1] == 2).all()
    around = domain.boundary(200)
    assert around.x[:, 2].min() < 3.1
    assert around.x[:, 2].max() > 4.9
    assert (around.normal[:, 2] == 0).all()


@pytest.mark.parametrize("mark", [{}, {"sensor": torch.full((1, 2), 0.5)}])
def test_a_cloud_without_a_boundary_has_no_rim_at_the_ends_of_time(mark):
    space = solve.PointCloud(torch.rand(40, 2), {}).marked(mark)
    domain = solve.SpaceTime(space, 1.0)
    for held_out in (False, True):
        for part, time in ("initial", 0.0), ("final", 1.0):
            x, normal = domain.boundary(10, part, held_out=held_out)
            assert torch.equal(x[:, :2], space.interior(10, held_out=held_out))
            assert (x[:, 2] == time).all()
            assert normal.shape == x.shape


def test_all_parts_of_a_domain_with_a_cloud_can_be_used():
    outer, far, x = solve.Box((-1, -1), (2, 2)), solve.Box((2, 2), (3, 3)), torch.rand(40, 2)
    named = solve.PointCloud(x, {"wall": x[:8]})
    for domain in outer - named, named | far, far | (outer - named):
        assert "boundary" not in domain.parts
        for part in domain.parts:
            assert domain.boundary(20, part).x.shape[1] == 2
    assert (outer - solve.PointCloud(x, {"boundary": x[:8]})).parts[0] == "boundary"


@pytest.mark.parametrize("name", [name for name in DOMAINS if name != "ellipse"])
def test_the_boundary_is_no_nearer_than_the_distance_says(name):
    """Nor is it further away, where the distance is exact, but for the gaps between the points there."""
    domain = DOMAINS[name][0]()
    edge = torch.cat([domain.boundary(2000, part).x for part in {"boundary", "final", "initial"} & set(domain.parts)])
    x = domain.low + (domain.high - domain.low) * (1.4 * torch.rand(500, domain.dim, dtype=F64) - 0.2)
    nearest, distance = torch.cdist(x, edge).amin(1), domain.distance(x)
    assert (distance.abs() <= nearest + 1e-9).all()
    side = -1 if isinstance(domain, solve.Difference) else 1 if isinstance(domain, solve.Union) else distance.sign()
    gap = 0.3 if domain.dim == 3 else 0.05
    assert (nearest <= distance.abs() + gap)[distance.sign() == side].all()


def test_inside_a_union_the_boundary_may_be_further_away_than_the_distance_says():
    union = solve.Box((0, 0), (2, 2)) | solve.Box((1, 0), (3, 2))
    x = torch.tensor([[1.5, 1.0]], dtype=F64)
    assert union.distance(x).item() == -0.5
    assert torch.cdist(x, union.boundary(400).x).amin().item() == pytest.approx(1, abs=1e-3)


def test_points_are_the_same_every_time_and_take_nothing_from_the_global_generator():
    state = torch.get_rng_state()
    domain = solve.Box((0, 0), (1, 1))
    assert torch.equal(domain.interior(50), domain.interior(50))
    assert not torch.equal(domain.interior(50), domain.interior(50, held_out=True))
    assert torch.equal(state, torch.get_rng_state())


def test_a_cloud_holds_a_quarter_out():
    x = torch.rand(100, 2)
    cloud = solve.PointCloud(x, {"left": x[:8], "right": x[8:20]})
    fitted, held = cloud.interior(0), cloud.interior(0, held_out=True)
    assert (len(fitted), len(held)) == (75, 25)
    assert not (fitted[:, None] == held[None]).all(-1).any()
    assert cloud.boundary(0, "left").x.shape == (6, 2)
    assert cloud.inside(x).all()
    assert not cloud.inside(torch.tensor([[3.0, 3.0]])).any()


def test_what_a_cloud_holds_out_does_not_go_by_the_order_of_its_points():
    """Every fourth point of a sequence of low discrepancy is in one quadrant."""
    cloud = solve.PointCloud(solve.Box((0, 0), (1, 1)).interior(1000), {})
    for held_out in (False, True):
        x = cloud.interior(0, held_out=held_out)
        for quadrant in ((0, 0), (0, 1), (1, 0), (1, 1)):
            inside = ((x >= 0.5) == torch.tensor(quadrant)).all(1).double().mean()
            assert 0.2 < inside < 0.3


def test_normals_of_a_cloud_have_length_1():
    x = torch.rand(20, 2)
    normal = torch.randn(20, 2)
    cloud = solve.PointCloud(x, {"boundary": solve.Points(x, 7 * normal)})
    plain = solve.PointCloud(x, {"boundary": solve.Points(x, normal)})
    torch.testing.assert_close(cloud.boundary(0).normal, plain.boundary(0).normal)
    torch.testing.assert_close(cloud.boundary(0).normal.norm(dim=1), torch.ones(15, dtype=F64))


def test_many_points_of_a_curve_are_as_even_as_few():
    disc = solve.Implicit(lambda x: x.square().sum(1) - 1, (-1, -1), (1, 1))
    for n in (100, 5000):
        x = disc.boundary(n).x
        gaps = torch.atan2(x[:, 1], x[:, 0]).sort()[0].diff() * n / (2 * math.pi)
        assert len(x) == n
        assert gaps.quantile(0.01) > 0.4
        assert gaps.max() < 3


def test_a_domain_that_is_a_small_part_of_its_box():
    disc = solve.Implicit(lambda x: x.square().sum(1) - 1, (-10, -10), (10, 10))
    assert len(disc.interior(100)) == 100
    assert len(disc.boundary(50).x) == 50


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: solve.PointCloud(X, {"a": solve.Points(X, X[:, :1])}), "normals of 'a' like its points"),
        (lambda: solve.PointCloud(X, {"a": solve.Points(X, 0 * X)}), "finite and not 0"),
        (lambda: solve.l_shape().marked({"a": X + 2}), "none of them outside"),
        (lambda: solve.l_shape().marked({"a": X / 0}), "expected finite points 'a'"),
        (lambda: solve.l_shape().marked({"a": X[:, :1]}), r"\(n, 2\), n > 0, .* got \(10, 1\)"),
        (lambda: solve.l_shape().marked({"a": X[:0]}), r"got \(0, 2\)"),
        (lambda: solve.l_shape().marked({"edge 0": -X}), "a part 'edge 0' already"),
        (lambda: solve.l_shape().marked({"a": -X}) - solve.Ball((-0.5, 0.5), 0.2), "mark points in the domain that is"),
        (lambda: solve.Box((0, 0), (1, 0)), "low < high"),
        (lambda: solve.Box((0,), (1, 2)), "low < high"),
        (lambda: solve.Box((0,), (math.inf,)), "finite"),
        (lambda: solve.Ball((0, 0), -1), r"Ball: expected .* a finite radius > 0, got \[0.0, 0.0\] and -1.0"),
        (lambda: solve.Ball((0, 0), math.nan), "a finite radius > 0"),
        (lambda: solve.Ball((0, math.inf), 1), r"Ball: expected a finite centre .* got \[0.0, inf\]"),
        (lambda: solve.Ball((), 1), r"Ball: expected a finite centre .* got \[\]"),
        (lambda: solve.Polygon([(0, 0), (1, 1)]), "three different vertices, got 2"),
        (lambda: solve.Box((0, 0), (1, 1)).boundary(5, "top"), "no part 'top'.*low 0"),
        (lambda: solve.Ball((0,), 1) | solve.Ball((0, 0), 1), "1 and 2 coordinates"),
        (lambda: solve.SpaceTime(solve.Box((0,), (1,)), 0.0), "times with start < end, got 0.0 and 0.0"),
        (lambda: solve.SpaceTime(solve.Box((0,), (1,)), math.inf), "finite times with start < end, got 0.0 and inf"),
        (lambda: solve.SpaceTime(solve.Box((0,), (1,)).marked({"initial": X[:, :1]}), 1), "a part 'initial' already"),
        (lambda: solve.SpaceTime(solve.PointCloud(X, {"final": X}), 1), "a part 'final' already"),
        (lambda: solve.SpaceTime(solve.SpaceTime(solve.Box((0,), (1,)), 1), 1), "a part 'initial' already"),
        (lambda: solve.SpaceTime(solve.l_shape().marked({"a": -X}), 1) | solve.Ball((0,) * 3, 1), "mark points in the"),
        (lambda: (solve.Ball((0, 0), 1) - solve.PointCloud(X, {"a": X})).boundary(5), "there are: first, second a"),
        (lambda: solve.PointCloud(X, {}).boundary(5), "there is no part 'boundary'; there are: none"),
        (lambda: solve.PointCloud(torch.rand(10, 2), {"boundary": torch.rand(5, 3)}), "one size d"),
        (lambda: solve.PointCloud(torch.rand(10, 2) / 0, {}), "finite"),
        (lambda: solve.PointCloud(torch.rand(10, 0), {}), r"finite points \(n, d\), d > 0, .* got interior \(10, 0\)"),
        (lambda: solve.PointCloud(X * torch.tensor([1, 0]) + 0.5, {}), "coordinate 1 is 0.5 for all .*; leave it out"),
        (lambda: solve.Implicit(lambda x: x[:, 0] ** 2 + 1, (-1, -1), (1, 1)).interior(5), "not much larger"),
        (lambda: solve.Implicit(lambda x: x[:, 0] ** 2 + 1, (-1, -1), (1, 1)).boundary(5), "0 nowhere"),
        (lambda: solve.Implicit(lambda x: x.square().sum(1) - 1, (-0.9, -0.9), (0.9, 0.9)), "beyond its box"),
        (lambda: solve.Implicit(lambda x: x, (-1, -1), (1, 1)), r"values \(\d+,\)"),
        (lambda: solve.Implicit(lambda x: (x[:, 0] > 0).double(), (-1, -1), (1, 1)), "no derivative"),
        (lambda: solve.Polygon([(0, 0), (1, 1), (2, 2)]), "on a line"),
        (lambda: solve.Polygon([(0, 0), (1, 0), (2, 0)]), "on a line"),
        (lambda: solve.Polygon([(0.1, 0), (0.1, 0.3), (0.1, 0.7)]), "on a line"),
        (lambda: solve.Polygon([(0, 0), (1, 0), (1, math.inf)]), r"finite vertices, got \[1.0, inf\]"),
        (lambda: solve.Polygon([(0, 0), (1, 0), (1, 0), (0, 0)]), "three different vertices"),
        (lambda: solve.Polygon([(0, 0), (1, 1), (1, 0), (0, 1)]), "edge 0 and edge 2 cross"),
        (lambda: (solve.Box((0,), (1,)) | solve.Box((1,), (2,))).boundary(5, "second low 0"), "nothing is left"),
    ],
)
def test_domains_that_are_none(make, match):
    with pytest.raises(ValueError, match=match):
        make()


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: solve.SpaceTime(((0,), (1,)), 1.0), r"SpaceTime: expected a domain, like Box\(.*, got tuple"),
        (lambda: solve.Box((0,), (1,)) | 3, "Union: expected a domain, .* got 3"),
        (lambda: solve.Difference("box", solve.Box((0,), (1,))), "Difference: .* got 'box'"),
    ],
)
def test_what_is_no_domain(make, match):
    with pytest.raises(TypeError, match=match):
        make()


def test_points_that_are_remembered_are_the_same():
    plain = solve.SpaceTime(solve.Box((0, 0), (1, 2)), 3.0)
    domain = Remembered(plain)
    for _ in range(2):
        for held_out in (False, True):
            for n in (5, 50):
                assert torch.equal(domain.interior(n, held_out=held_out), plain.interior(n, held_out=held_out))
                for part in plain.parts:
                    got, want = (d.boundary(n, part, held_out=held_out) for d in (domain, plain))
                    assert all(map(torch.equal, got, want))
    assert domain.interior(5) is domain.interior(5)
    assert (domain.parts, domain.dim, domain.units.tolist()) == (plain.parts, 3, plain.units.tolist())


def test_no_more_points_are_remembered_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(wrapped, "REMEMBERED", 250)
    domain = Remembered(solve.Box((0, 0), (1, 1)))
    first = domain.interior(100)
    assert domain.interior(100) is first
    assert len(domain.boundary(100).x) == 100
    assert domain.interior(100) is not first


def test_marked_points_are_those_that_were_given():
    few, many = torch.rand(7, 2), torch.rand(40, 2)
    plain = solve.l_shape()
    domain = plain.marked({"few": -few, "many": -many})
    assert domain.parts == (*plain.parts, "few", "many")
    assert torch.equal(domain.boundary(3, "few").x, -few.double())
    assert torch.equal(domain.boundary(3, "few", held_out=True).x, -few.double())
    fitted, held = domain.boundary(3, "many").x, domain.boundary(3, "many", held_out=True).x
    assert (len(fitted), len(held)) == (30, 10)
    assert {*map(tuple, fitted.tolist()), *map(tuple, held.tolist())} == {*map(tuple, (-many).double().tolist())}
    for name in ("interior", "boundary"):
        for held_out in (False, True):
            got, want = (getattr(d, name)(50, held_out=held_out) for d in (domain, plain))
            assert all(map(torch.equal, got, want))
    assert domain.corners == plain.corners
    assert (solve.SpaceTime(domain, 1.0).boundary(21, "few").x[:7, :2] == -few.double()).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: solve.l_shape().marked({"a": [["0.0", "0.5"]]}),
        lambda: solve.PointCloud(torch.ones(10, 2, dtype=torch.complex64), {}),
        lambda: solve.PointCloud(torch.rand(10, 2), {"a": [None] * 5}),
    ],
)
def test_points_that_are_no_numbers(make):
    with pytest.raises(TypeError, match="(PointCloud: the|Marked: 'a').* must be .* numbers, got "):
        make()


def test_points_may_be_arrays_and_lists():
    x, edge = torch.rand(12, 2, dtype=F64), torch.rand(5, 2, dtype=F64)
    plain = solve.PointCloud(x, {"a": edge})
    for cloud in (
        solve.PointCloud(x.numpy(), {"a": edge.numpy()}),
        solve.PointCloud(x.tolist(), {"a": edge.tolist()}),
        solve.PointCloud(x.numpy(), {"a": solve.Points(edge.tolist())}),
    ):
        assert torch.equal(cloud.interior(9), plain.interior(9))
        assert torch.equal(cloud.boundary(9, "a").x, plain.boundary(9, "a").x)
    marked = solve.l_shape().marked({"a": [[0.0, 0.5]]})
    assert marked.boundary(1, "a").x.tolist() == [[0.0, 0.5]]
